import { sha256, toHex } from "../protocol/bytes.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, SECOND } from "../protocol/time.ts"
import { isFailure } from "./making.ts"
import { notModified } from "./not-modified.ts"
import { say, type SharedOptions, timesOf, versionOf } from "./nuxt-entries.ts"
import { type H3Event, type HeaderValue, isWithinFill, notesOf } from "./nuxt-event.ts"
import { type CapturedResponse, eventForFill } from "./nuxt-fill.ts"
import { pagesIn } from "./nuxt-storage.ts"
import { STEERING } from "./page.ts"
import { type KeyOptions, keyingOf, NAMING, PERSONAL } from "./page-key.ts"
import { createPages, type Made, type Turn } from "./pages.ts"
import { sourceOf } from "./page-source.ts"
import { isStorable } from "./page-storable.ts"
import type { Labeller } from "./tag-header.ts"

/** Responses of h3 1 under stamps: what handlers and pages of `tidemark/nuxt` have in common. */

type OrPromise<T> = T | Promise<T>

/** Options that handlers and pages share. */
export interface ResponseOptions<E extends H3Event> extends SharedOptions, Omit<KeyOptions, "version"> {
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

/** What is kept, or just was, on its way to a visitor. */
export interface Served {
  readonly headers: Headers
  readonly body: Uint8Array
  /** What 304 says, where the visitor's browser has it already. */
  readonly known: Readonly<Record<string, string>> | undefined
}

/** As it was made; a `Blob` of what was written to the event itself. All of its headers are set already. */
export interface Passed {
  readonly passed: unknown
}

/** One request. */
interface Asked<E extends H3Event> {
  readonly event: E
  readonly isOwn: boolean
}

/** What was made that is handed on as it is, and the response that stands for it on its way through the cache. */
interface Raw {
  readonly standIn: Response
  readonly hand: () => Passed
}

/**
 * Answers requests: with what is kept where its stamp allows it, else with what is made, which is then kept. What passes
 * is made under the visitor's own event.
 */
export function createResponder<E extends H3Event>(
  options: ResponseOptions<E>,
  kind: string,
  { tags, parts }: Reading<E>,
): Responder<E> {
  const { tidemark, namespace, labels, bypass, getKey, query, vary, storageTimeout } = options
  const { maxAge, swr, staleIfError } = timesOf(options)
  const version = versionOf(options)
  const keys = { ...(query && { query }), ...(vary && { vary }), ...(version && { version }) }
  const keying = keyingOf(keys)
  // Only a cache in front can be purged. Browsers are to ask.
  const shared = labels ? `, s-maxage=${Math.floor(Math.min(maxAge, 30 * DAY) / SECOND)}` : ""
  const cacheControl = `public, max-age=0, must-revalidate${shared}`
  /** What a response was made of. */
  const sources = new WeakMap<Response, readonly [value: unknown, event: E]>()
  const serve = createPages<Asked<E>>({
    ...keys,
    tidemark,
    namespace: ({ event }) => (typeof namespace === "function" ? namespace(event) : namespace),
    async tags({ event }, response) {
      const [value, source] = sources.get(response) ?? [undefined, event]
      return [...(await tags(value, source)), ...notesOf(source).tags]
    },
    bypass: ({ isOwn }) => isOwn,
    swr,
    staleIfError,
    cache: pagesIn(options.storage, kind),
    ...(storageTimeout !== undefined && { cacheTimeout: storageTimeout }),
    ...(labels && { labels }),
    ...(getKey && { key: ({ event }) => getKey(event) }),
    // A payload of Nuxt's names its build, and goes with its page.
    url: ({ event }) => options.url?.(event) ?? urlOf(event).replace(/(\/_payload\.json)\?_b=[^&]*$/, "$1"),
    onWarning: options.onWarning ?? say(),
  })

  return async (event, make) => {
    const { res } = event.node
    const prepared = headersOf(res.getHeaders())
    const isOwn = res.statusCode !== 200 || !isUrl(event) || (await bypass?.(event)) === true
    const request = requestOf(event)
    const isWithin = isWithinFill(event)
    const context = { event, isOwn }
    let raw: Raw | undefined
    let isHit = false

    async function pass(): Promise<Made> {
      const value = await make(event)
      const standIn = standInFor(value instanceof Response ? value.status : res.statusCode)
      sources.set(standIn, [value, event])
      raw = { standIn, hand: () => ({ passed: value }) }
      return { response: standIn }
    }

    /** Made from what its key holds, whatever the visitor sent. */
    async function fill(isBackground: boolean): Promise<Made> {
      const page = keying.keyed(request, "", undefined)
      const source = sourceOf(request, page)
      const search = page.plain.isStripped ? new URL(source.url).search : undefined
      const filling = eventForFill(event, namedHeaders(source, keying.varied), search)
      const captured = filling.node.res
      const hand = (status: number, value: () => unknown): Made => {
        const standIn = standInFor(status, captured.headers)
        if (!isBackground)
          raw = { standIn, hand: () => ((res.statusCode = captured.statusCode), { passed: value() }) }
        return { response: standIn, mayBeKept: false }
      }
      let value: unknown
      try {
        value = await make(filling)
      } catch (error) {
        const { statusCode } = Object(error) as { readonly statusCode?: unknown }
        const failed = hand(typeof statusCode === "number" ? statusCode : 500, () => {
          throw error
        })
        if (!isFailure(failed.response)) return failed
        // What was set by then goes out with the error's page.
        if (!isBackground) handOver(event, captured.headers)
        throw error
      }
      const read = parts(value)
      const response = responseOf(read, captured)
      const status = response?.status ?? captured.statusCode
      if (
        response &&
        isStorable(response, response.headers, keying.varied) &&
        !response.headers.has("content-encoding")
      ) {
        const bytes = new Uint8Array(await response.arrayBuffer())
        const { headers } = response
        if (!headers.has("cache-control")) headers.set("cache-control", cacheControl)
        if (!headers.has("etag")) headers.set("etag", `W/"${toHex(await sha256(bytes)).slice(0, 32)}"`)
        const whole = new Response(bytes, { headers })
        if (!headers.has("content-type")) whole.headers.delete("content-type")
        sources.set(whole, [value, filling])
        return { response: whole, maxAge }
      }
      captured.statusCode = status
      // Without its headers, which are handed over: h3 would add the cookies once more.
      const unsent =
        response && read.body instanceof Response ? new Response(response.body, { status }) : value
      const made = hand(status, () => (captured.writableEnded ? new Blob(captured.chunks) : unsent))
      sources.set(made.response, [value, filling])
      return made
    }

    const turnOf = (asked: Request, isRevalidation: boolean): Turn<Asked<E>> => ({
      context,
      request: asked,
      prepared,
      isRevalidation,
      waitUntil: event.waitUntil?.bind(event),
      make: (_, isToBeKept) => (isToBeKept ? fill(isRevalidation) : pass()),
      // What is made of this one is kept in turn: it would be stamped newer than what it shows.
      revalidate: !isWithin && ((again) => serve(turnOf(again, true))),
      respond(body, init) {
        if (isWithin && /; detail=stale/.test(init.headers["cache-status"] ?? "")) return undefined
        isHit = true
        return new Response(body, init)
      },
    })

    const response = await serve(turnOf(request, false))
    if (raw && !isHit) {
      handOver(event, response.headers)
      return raw.hand()
    }
    const headers = servedHeaders(event, response.headers)
    const known = notModified(conditionsOf(event), Object.fromEntries(headers))
    return { headers, body: new Uint8Array(await response.arrayBuffer()), known }
  }
}

/** A response without a body, of a status that one can have. */
const standInFor = (status: number, headers: Headers = new Headers()): Response =>
  new Response(null, { status: status >= 200 && status <= 599 ? status : 500, headers })

/**
 * What was asked for, as the cache is asked. Without conditions: whether a browser has the page already is for the end,
 * when others have changed it on its way.
 */
function requestOf(event: H3Event): Request {
  const { method = "GET", headers } = event.node.req
  const asked = headersOf(headers)
  for (const name of Array.from(asked.keys())) if (name.startsWith("if-")) asked.delete(name)
  const url = isUrl(event) ? urlOf(event) : "http://localhost/"
  // Fetch knows no requests of these methods. All of them pass, and change nothing.
  return new Request(url, {
    method: /^(?:CONNECT|TRACE|TRACK)$/i.test(method) ? "OPTIONS" : method,
    headers: asked,
  })
}

const conditionsOf = ({ node: { req } }: H3Event): Request =>
  new Request("http://localhost/", { headers: headersOf(req.headers) })

/** The url that was asked for, as h3 tells it. It may be none. */
function urlOf({ node: { req } }: H3Event): string {
  const { encrypted } = (req.connection ?? {}) as { readonly encrypted?: boolean }
  const isSecure = req.headers["x-forwarded-proto"] === "https" || encrypted === true
  const base = `${isSecure ? "https" : "http"}://${String(req.headers["host"] ?? "localhost")}`
  const path = (req.originalUrl ?? req.url ?? "/").replace(/^[/\\]+/, "/")
  return URL.canParse(path, base) ? new URL(path, base).href : ""
}

const isUrl = (event: H3Event): boolean => urlOf(event) !== ""

function headersOf(given: Readonly<Record<string, HeaderValue | undefined>>): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(given))
    for (const one of [value ?? []].flat()) headers.append(name, String(one))
  return headers
}

/** Those headers that are in the key, as they are there. */
function namedHeaders({ headers }: Request, varied: readonly string[]): Record<string, string> {
  const named: Record<string, string> = {}
  for (const name of [...NAMING, ...varied]) {
    const value = headers.get(name)
    if (value !== null) named[name] = name === "forwarded" ? value.replaceAll(PERSONAL, "") : value
  }
  return named
}

/** Sets on the visitor's response what was set under another event. Cookies join those that are there. */
function handOver(event: H3Event, headers: Headers): void {
  const { res } = event.node
  if (res.headersSent) return
  for (const [name, value] of headers) {
    if (name === "set-cookie") continue
    res.setHeader(name, name === "cache-status" ? behind(res.getHeader(name), value) : value)
  }
  const cookies = headers.getSetCookie()
  if (cookies.length > 0)
    res.setHeader("set-cookie", [res.getHeader("set-cookie") ?? [], cookies].flat().map(String))
}

/** Behind what others say in it. */
const behind = (prepared: HeaderValue | undefined, value: string): string =>
  [prepared ?? [], value].flat().join(", ")

/**
 * The headers with which a kept response is served. What others prepared for the visitor stays as it is: only what is
 * said of the body is said of this one.
 */
function servedHeaders({ node: { res } }: H3Event, kept: Headers): Headers {
  const headers = new Headers(kept)
  const isStale = kept.get("cache-control") === "no-store"
  // Whose cookies go along with it, a cache in front must not show to others.
  const isTheirs = !isStale && res.getHeader("set-cookie") !== undefined
  for (const [name, value] of kept) {
    const prepared = res.getHeader(name)
    if (isTheirs && STEERING.test(name)) headers.delete(name)
    else if (prepared === undefined || name.startsWith("content-")) continue
    else if (name === "vary" || name === "cache-status") headers.set(name, behind(prepared, value))
    else if (!(isStale && STEERING.test(name))) headers.delete(name)
  }
  if (isTheirs) headers.set("cache-control", "private, no-cache")
  return headers
}

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
