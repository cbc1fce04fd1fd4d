import { fromBase64, sha256, toBase64, toHex, utf8 } from "../protocol/bytes.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { SECOND } from "../protocol/time.ts"
import { type Entries, MAX_KEPT, type SharedOptions } from "./nuxt-entries.ts"
import { type H3Event, isWithinFill, notesOf } from "./nuxt-event.ts"
import { type CapturedResponse, eventForFill, withoutTracking } from "./nuxt-fill.ts"
import { whyForwarded } from "./page.ts"
import { isStorable } from "./page-storable.ts"
import { STEERING } from "./stamped.ts"
import type { Labeller } from "./tag-header.ts"

/** Responses of h3 1 under stamps: what handlers and pages of `tidemark/nuxt` have in common. */

type OrPromise<T> = T | Promise<T>

/** Headers by which Nuxt tells how the site was called, and so what its pages may name. In every key. */
const HOST_HEADERS = ["host", "x-forwarded-host", "x-forwarded-proto"]

/** Options that handlers and pages share. */
export interface ResponseOptions<E extends H3Event> extends SharedOptions {
  /** The namespace of the responses. */
  readonly namespace: Namespace | ((event: E) => Namespace)
  /** The url that a response is published under. Default: the request's, with its `Host` and `X-Forwarded-Proto`. */
  readonly url?: (event: E) => string
  /**
   * What stands in the key for path and query. Several may share one, where they do not matter. The host is in the key
   * in any case.
   */
  readonly getKey?: (event: E) => OrPromise<string>
  /**
   * Names of request headers that responses differ by. They are in the key, and what makes a response sees no others but
   * `Host`, `X-Forwarded-Host` and `X-Forwarded-Proto`. A response whose `Vary` names any other but `Accept-Encoding`
   * is not kept. Default: none.
   */
  readonly varies?: readonly string[]
  /**
   * Lets a request pass as if it were not cached, where it answers true: for a draft, or for somebody who is logged in.
   * Default: never.
   */
  readonly bypass?: (event: E) => OrPromise<boolean>
  /**
   * Labels responses for the cache in front, so that it can be purged by their tags: `labelsFor(cloudflare)` of
   * `tidemark/tags`. With them it is told to keep responses (`s-maxage`), which browsers are not. Default: none.
   */
  readonly labels?: Labeller
}

export type Responder<E extends H3Event> = (event: E, make: (event: E) => unknown) => Promise<Served | Passed>

/** How what was made is read. */
export interface Reading<E extends H3Event> {
  readonly tags: (value: unknown, event: E) => OrPromise<readonly string[]>
  /** What h3 is handed, with what is said of it beside what was set on the event. */
  readonly parts: (value: unknown) => Rendered
}

/** What Nuxt renders. */
export interface Rendered {
  readonly body?: unknown
  readonly statusCode?: number | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** What is kept, on its way to a visitor. */
export interface Served {
  readonly headers: Headers
  readonly body: string | Uint8Array
  /** The visitor's browser has it already, by its `If-None-Match`. */
  readonly isKnown: boolean
}

/** As it was made; a `Blob` of what was written to the event itself. All of its headers are set already. */
export interface Passed {
  readonly passed: unknown
}

/** A response as it is kept. Its status is 200. */
export interface Stored {
  readonly headers: [name: string, value: string][]
  readonly body: string
  readonly isBase64: boolean
}

/**
 * Answers requests: with what is kept where its stamp allows it, else with what is made, which is then kept. What passes
 * is made under the visitor's own event.
 */
export function createResponder<E extends H3Event>(
  options: ResponseOptions<E>,
  entries: Entries<Stored | undefined>,
  { tags, parts }: Reading<E>,
): Responder<E> {
  const { namespace, labels, maxAge = Infinity, bypass, getKey, varies = [] } = options
  const varied = [...HOST_HEADERS, ...varies.map((name) => name.toLowerCase())]
  // Only a cache in front can be purged. Browsers are to ask.
  const shared = labels ? `, s-maxage=${Math.floor(Math.min(maxAge, MAX_KEPT / SECOND))}` : ""
  const cacheControl = `public, max-age=0, must-revalidate${shared}`

  /** Labels what was made for the cache in front, and tells its tags. */
  async function label(
    headers: Headers,
    own: Namespace,
    value: unknown,
    event: E,
  ): Promise<readonly string[]> {
    const all = [...(await tags(value, event)), ...notesOf(event).tags]
    labels?.(headers, own, all)
    return all
  }

  /** The response as it is kept; undefined, and unread, where it is not to be. */
  async function storedOf(response: Response): Promise<Stored | undefined> {
    const { headers } = response
    if (!isStorable(response, headers, varied) || headers.has("content-encoding")) return undefined
    const bytes = new Uint8Array(await response.arrayBuffer())
    // What h3 is handed as text it calls HTML.
    const text = headers.has("content-type") ? textOf(bytes) : undefined
    const body = text ?? toBase64(bytes)
    for (const name of ["content-length", "date", "age"]) headers.delete(name)
    if (!headers.has("cache-control")) headers.set("cache-control", cacheControl)
    if (!headers.has("etag")) headers.set("etag", `W/"${toHex(await sha256(utf8(body))).slice(0, 32)}"`)
    return { headers: [...headers], body, isBase64: text === undefined }
  }

  return async (event, make) => {
    const { req, res } = event.node
    const url = urlOf(event)
    const own = typeof namespace === "function" ? namespace(event) : namespace
    const asked = { method: req.method, headers: headersOf(req.headers) } as Request
    const isOdd = url === undefined || res.statusCode !== 200
    const why = whyForwarded(asked) ?? (isOdd || (await bypass?.(event)) ? "bypass" : undefined)
    if (why || url === undefined) {
      const passed = await make(event)
      const headers = new Headers()
      if (why !== "method" && res.statusCode === 200) await label(headers, own, passed, event)
      handOver(event, headers, `fwd=${why}`)
      return { passed }
    }

    const keyed = Object.fromEntries(
      varied.flatMap((name) => {
        const value = asked.headers.get(name)
        return value === null ? [] : [[name, value]]
      }),
    )
    let made: { readonly headers: Headers; readonly status: number; readonly passed: unknown } | undefined
    const key = [(await getKey?.(event)) ?? url, new URL(url).protocol, keyed]
    const found = await entries.get(JSON.stringify(key), {
      namespace: own,
      mayBeStale: !isWithinFill(event),
      waitUntil: event.waitUntil?.bind(event),
      async fill(isBackground) {
        const filling = eventForFill(event, keyed)
        const captured = filling.node.res
        let value: unknown
        try {
          value = await make(filling)
        } catch (error) {
          // What was set by then goes out with the error's page.
          if (!isBackground) handOver(event, captured.headers)
          throw error
        }
        const read = parts(value)
        const response = responseOf(read, captured)
        const { status, headers } = response ?? { status: captured.statusCode, headers: captured.headers }
        const all = response && status === 200 ? await label(headers, own, value, filling) : []
        const stored = response && (await storedOf(response))
        if (stored) return { value: stored, tags: all, urls: urlsOf(options.url?.(event) ?? url) }
        const isGone = status < 400 || status === 404 || status === 410
        if (isBackground && !isGone)
          throw new Error(`${new URL(url).pathname} was revalidated, and answered with status ${status}`)
        // Without its headers, which are handed over: h3 would add the cookies once more.
        const unsent =
          response && read.body instanceof Response ? new Response(response.body, { status }) : value
        const passed = captured.writableEnded ? new Blob(captured.chunks) : unsent
        if (!isBackground) made = { headers, status, passed }
        return { value: undefined, tags: [], isKept: isGone ? "gone" : "no" }
      },
    })
    const { value, how, isStale } = found
    if (made) {
      handOver(event, made.headers, how)
      res.statusCode = made.status
      return { passed: made.passed }
    }
    const body = isStored(value) ? (value.isBase64 ? fromBase64(value.body) : value.body) : undefined
    if (!value || body === undefined) return { passed: await make(event) }
    const headers = servedHeaders(event, value, how, isStale)
    return { headers, body, isKnown: isKnown(headers.get("etag"), asked.headers.get("if-none-match")) }
  }
}

/** Whether a browser has this already. */
function isKnown(etag: string | null, known: string | null): boolean {
  const weak = (tag: string) => tag.trim().replace(/^W\//, "")
  return etag !== null && known !== null && known.split(",").some((tag) => weak(tag) === weak(etag))
}

/** The url that was asked for, as h3 tells it, without parameters of tracking; undefined where it is none. */
function urlOf({ node: { req } }: H3Event): string | undefined {
  const { encrypted } = (req.connection ?? {}) as { readonly encrypted?: boolean }
  const isSecure = req.headers["x-forwarded-proto"] === "https" || encrypted === true
  const base = `${isSecure ? "https" : "http"}://${String(req.headers["host"] ?? "localhost")}`
  const path = withoutTracking(req.originalUrl ?? req.url ?? "/").replace(/^[/\\]+/, "/")
  return URL.canParse(path, base) ? new URL(path, base).href : undefined
}

/** The urls that a response is invalidated by: the payload of a page of Nuxt by its page's as well. */
function urlsOf(url: string): readonly string[] {
  // Of which build it is, stands in a parameter.
  const page = url.replace(/([?&])_b=[^&]*&?/, "$1").replace(/[?&]$/, "")
  const of = (slash: string) => page.replace(/\/_payload\.js(?:on)?(?=\?|$)/, slash)
  return [...new Set([url, of(""), of("/")])]
}

function headersOf(given: H3Event["node"]["req"]["headers"]): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(given)) if (value) headers.set(name, String(value))
  return headers
}

/** Sets on the visitor's response what was set under another event. Cookies join those that are there. */
function handOver(event: H3Event, headers: Headers, how?: string): void {
  const { res } = event.node
  if (res.headersSent) return
  if (how) headers.set("cache-status", statusWith(event, how))
  for (const [name, value] of headers) if (name !== "set-cookie") res.setHeader(name, value)
  const cookies = headers.getSetCookie()
  if (cookies.length > 0)
    res.setHeader("set-cookie", [res.getHeader("set-cookie") ?? [], cookies].flat().map(String))
}

/** `Cache-Status`, behind what others say in it. */
const statusWith = ({ node: { res } }: H3Event, how: string): string =>
  [res.getHeader("cache-status") ?? [], `tidemark; ${how}`].flat().join(", ")

/**
 * The headers with which a kept response is served. What others prepared for the visitor stays as it is: only what is
 * said of the body is said of this one.
 */
function servedHeaders(event: H3Event, stored: Stored, how: string, isStale: boolean): Headers {
  const { res } = event.node
  const headers = new Headers(stored.headers)
  // Whose cookies go along with it, a cache in front must not show to others.
  const isTheirs = res.hasHeader("set-cookie")
  for (const [name, value] of stored.headers) {
    const prepared = res.getHeader(name)
    if ((isStale || isTheirs) && STEERING.test(name)) headers.delete(name)
    else if (prepared !== undefined && name === "vary") headers.set(name, [prepared, value].flat().join(", "))
    else if (prepared !== undefined && !name.startsWith("content-")) headers.delete(name)
  }
  // Stale, as `no-store`: a cache in front that has just been purged would take it for the new one.
  if (isStale || isTheirs) headers.set("cache-control", isStale ? "no-store" : "private, no-cache")
  headers.set("cache-status", statusWith(event, how))
  return headers
}

/** Of what a storage gives nothing is certain. */
const isStored = (value: Partial<Stored> | undefined): value is Stored =>
  typeof value?.body === "string" && Array.isArray(value.headers)

/** What h3 would make of a value; undefined where it would send nothing, or what has no end that can be waited for. */
function responseOf({ body, ...parts }: Rendered, captured: CapturedResponse): Response | undefined {
  const { headers, writableEnded, chunks } = captured
  const inner = body instanceof Response ? body : undefined
  for (const [name, value] of [...Object.entries(parts.headers ?? {}), ...(inner?.headers ?? [])])
    captured[name === "set-cookie" ? "appendHeader" : "setHeader"](name, value)
  const status = parts.statusCode ?? inner?.status ?? captured.statusCode
  const as = (given: BodyInit | null, type?: string) => {
    if (type && !headers.has("content-type")) headers.set("content-type", type)
    const response = new Response([204, 205, 304].includes(status) ? null : given, { status, headers })
    // Else it would say of text that it is plain.
    if (!headers.has("content-type")) response.headers.delete("content-type")
    return response
  }
  if (writableEnded) return as(new Blob(chunks))
  if (inner) return as(inner.body)
  if (typeof body === "string") return as(body, "text/html")
  if (body instanceof Blob) return as(body, body.type)
  if (body instanceof Uint8Array || body instanceof ReadableStream) return as(body as BodyInit)
  const isJson =
    ["number", "boolean", "bigint"].includes(typeof body) || (typeof body === "object" && body !== null)
  if (!isJson || body instanceof Error || "pipe" in Object(body) || "end" in Object(body)) return undefined
  return as(typeof body === "bigint" ? `${body}` : JSON.stringify(body), "application/json")
}

/** What bytes say in UTF-8, byte for byte; undefined where they say nothing. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
