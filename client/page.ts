import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { Depends } from "./tidemark.ts"

/** The header of a stored copy that holds its stamp, what it depends on, and the headers that it had. Never sent on. */
const ENTRY = "tidemark-entry"

/** Of larger ones, the tags are left out: such a copy counts as depending on anything. */
const MAX_ENTRY_BYTES = 8_000

/**
 * Headers by which an origin steers caches, those for one vendor's alone among them. A stored copy carries its own, and
 * gives these back when it is served.
 */
const STEERING = /cache-control$|^(?:expires|pragma|surrogate-control)$/

/**
 * What a cache adds, and must not be told to the next one. A page that its stamp found fresh is as good as just made;
 * by `Age` or `Date` a cache in front would take it for as old as the copy.
 */
const ADDED: readonly string[] = [ENTRY, "age", "date", "cf-cache-status"]

const FORBIDS_STORING = /(?:^|[,\s])(?:private|no-store|no-cache)\b/i

/**
 * Why a request has nothing to do with a shared cache, in the words of RFC 9211; undefined where it has.
 *
 * Only GET is cached. What carries `Authorization` may be answered for one person, a part (`Range`) is no page, and
 * a request may say that it wants nothing of caches (`no-store`).
 */
export function whyForwarded(request: Request): "method" | "request" | undefined {
  const { method, headers } = request
  if (method !== "GET") return "method"
  const isOurs = !headers.has("authorization") && !headers.has("range")
  return isOurs && !/(?:^|[,\s])no-store\b/i.test(text(request, "cache-control")) ? undefined : "request"
}

/**
 * Whether a response may be kept and shown to others: 200, nothing in its headers that says it is private, no cookie,
 * no stream of events, and `Vary` only by what is in the key (`accept-encoding` is the runtime's own concern).
 *
 * Nor one that another such cache answered: its copy is older than the stamp that it would get here.
 */
export function isStorable(response: Response, varied: readonly string[]): boolean {
  const { status, headers } = response
  if (status !== 200 || headers.has("set-cookie")) return false
  for (const [name, value] of headers) if (STEERING.test(name) && FORBIDS_STORING.test(value)) return false
  if (/^text\/event-stream\b/i.test(text(response, "content-type"))) return false
  if (/(?:^|[\s,"])tidemark[\s",;]/i.test(text(response, "cache-status"))) return false
  const vary = text(response, "vary")
    .toLowerCase()
    .split(/[,\s]+/)
  return vary.every((name) => ["", "accept-encoding", ...varied].includes(name))
}

/** Longer than anything lasts, and finite: JSON knows no `Infinity`. In milliseconds, or in seconds. */
export const FOREVER = 1e15

/** What is told of a stored copy by itself. Once read, it is what the cache says: nothing of it is certain. */
export interface Entry {
  readonly stamp: string
  readonly depends: Depends
  /** When it is stale though nothing invalidated it, in milliseconds since 1970. */
  readonly until: Milliseconds
  /** Those by which its origin steers caches. */
  readonly headers: Readonly<Record<string, string>>
}

const text = ({ headers }: Request | Response, name: string): string => headers.get(name) ?? ""

/**
 * The copy that goes into the Cache API, made of a response that nobody else reads. It lives for `keep`: how long it
 * may be *served* is for its stamp to say, not for its age.
 */
export function storedCopy(response: Response, entry: Omit<Entry, "headers">, keep: Milliseconds): Response {
  const headers: Record<string, string> = {}
  const given: Record<string, string> = {}
  for (const [name, value] of response.headers)
    if (!ADDED.includes(name)) (STEERING.test(name) ? given : headers)[name] = value
  headers["cache-control"] = `max-age=${Math.ceil(keep / SECOND)}`
  const whole = ascii({ ...entry, headers: given })
  headers[ENTRY] =
    whole.length <= MAX_ENTRY_BYTES ? whole : ascii({ ...entry, depends: "anything", headers: given })
  return new Response(response.body, { headers })
}

/**
 * What a stored copy tells of itself.
 *
 * @throws {Error} for none, and for what somebody else put there
 */
export const entryOf = (copy = new Response()): Entry & { readonly copy: Response } => ({
  ...fromAscii(text(copy, ENTRY)),
  copy,
})

/**
 * The headers with which a stored copy is served, those by which its origin steers caches among them. One that is stale
 * goes out as `no-store`: a cache in front that has just been purged would otherwise take the old page for the new one,
 * and keep it.
 */
export function servedHeaders(
  copy: Response,
  given: Readonly<Record<string, string>> = { "cache-control": "no-store" },
): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of copy.headers)
    if (!ADDED.includes(name) && name !== "cache-control") headers[name] = value
  return Object.assign(headers, given)
}

/**
 * The key of a page, as a url. On a host of its own: under the page's own url, an origin that is fetched through the
 * same cache would be answered with our copy, which would then be stamped anew.
 */
export const keyUrl = (namespace: Namespace, key: string, varied: readonly unknown[]): string =>
  `https://pages.tidemark.invalid/${encodeURIComponent(JSON.stringify([namespace, key, varied]))}`

/** What a stored entry says that it depends on, and urls by which it is asked; on anything, where that is not understood. */
export function dependsOn(stored: unknown, asked: readonly string[] = []): Depends {
  const { tags, urls } = (stored ?? {}) as { readonly tags?: unknown; readonly urls?: unknown }
  return isList(tags) && isList(urls) ? { tags, urls: [...new Set([...urls, ...asked])] } : "anything"
}

const isList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string")

/** JSON that a header can carry: of what it cannot, and of `%`, the bytes as in a url. */
export const ascii = (value: unknown): string =>
  JSON.stringify(value).replaceAll(/[^ -$&-~]+/g, encodeURIComponent)

/** @throws {Error} for what is none */
export const fromAscii = (encoded: string) => JSON.parse(decodeURIComponent(encoded))
