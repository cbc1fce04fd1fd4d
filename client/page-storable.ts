import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { ADDED, ascii, ENTRY, type Entry, isForbidden, STEERING } from "./page.ts"

/** Which pages may be kept, and with what. */

/** Of larger ones, the tags are left out: such a copy counts as depending on anything. */
const MAX_ENTRY_BYTES = 8_000

/** What is about one request or one connection, whoever set it. No page is made of it, and it is not kept with one. */
export const OF_ONE_REQUEST =
  /^(?:(?:x-)?(?:request|correlation|trace)-id|x-amzn-trace-id|traceparent|tracestate|server-timing|(?:x-)?ratelimit(?:-.*)?|retry-after|x-csrf-token|authorization|authentication-info|proxy-.*|connection|keep-alive|te|trailer|transfer-encoding|upgrade)$/

/** Codings that `fetch` decodes everywhere but in Workers, leaving the header that names them. */
const DECODED = /^(?:(?:x-)?gzip|deflate|br|zstd)$/i

/** A nonce in a policy is one visitor's own, and the page is made with it. */
const NONCED = /'nonce-/i

/**
 * Whether a response may be kept and shown to others: 200, nothing in its headers that says it is private, no cookie,
 * no stream of events or parts, and `Vary` only by what is in the key.
 *
 * Nor one that another such cache answered: its copy is older than the stamp that it would get here.
 *
 * @param own those of its headers that the page itself made
 */
export function isStorable({ status, headers }: Response, own: Headers, varied: readonly string[]): boolean {
  if (status !== 200 || own.has("set-cookie") || isForbidden(headers) || isOverAtOnce(headers)) return false
  if (/^(?:text\/event-stream|multipart\/)/i.test(headers.get("content-type") ?? "")) return false
  if (/(?:^|[\s,"])tidemark[\s",;]/i.test(headers.get("cache-status") ?? "")) return false
  for (const name of ["content-security-policy", "content-security-policy-report-only"])
    if (NONCED.test(headers.get(name) ?? "")) return false
  const vary = (headers.get("vary") ?? "").toLowerCase().split(/[,\s]+/)
  return vary.every((name) => ["", "accept-encoding", ...varied].includes(name))
}

/** Headers by which an origin steers shared caches alone, all or those of one vendor. */
const TARGETED = /^(?:surrogate-control|(?:.+-)?cdn-cache-control)$/

/** The three forms that a date may have in a header (RFC 9110, 5.6.7); V8 reads many more as one. */
const HTTP_DATE =
  /^(?:[a-z]{3}, \d\d [a-z]{3} \d{4}|[a-z]{6,9}, \d\d-[a-z]{3}-\d\d) \d\d:\d\d:\d\d gmt$|^[a-z]{3} [a-z]{3} [\d ]\d \d\d:\d\d:\d\d \d{4}$/i

/**
 * Whether an origin says to shared caches that a response is not fresh for a moment: then it is not kept. A lifetime
 * for everybody (`max-age`) is another matter: it is for browsers, which nobody can purge.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9213 of which headers the more targeted one counts
 */
function isOverAtOnce(headers: Headers): boolean {
  const lives = [...headers]
    .filter(([name]) => TARGETED.test(name))
    .map(([, value]) => secondsOf(value, "s-maxage") ?? secondsOf(value, "max-age"))
  const control = headers.get("cache-control")
  const seconds = lives.includes(0) ? 0 : (lives.find(Boolean) ?? secondsOf(control, "s-maxage"))
  if (seconds !== undefined) return seconds === 0
  const expires = headers.get("expires")
  if (expires === null || secondsOf(control, "max-age") !== undefined) return false
  // What is no date is in the past (RFC 9111, 5.3).
  const isDate = HTTP_DATE.test(expires)
  return !(isDate && timeOf(expires) > (timeOf(headers.get("date") ?? "") || Date.now()))
}

/** V8 takes two digits of a year from 50 on for 19xx; in a header they are of the next 50 years, or else past. */
function timeOf(date: string): Milliseconds {
  const time = Date.parse(date)
  if (!/-\d\d /.test(date)) return time
  const later = new Date(time)
  later.setUTCFullYear(later.getUTCFullYear() + 100)
  return later.getUTCFullYear() <= new Date().getUTCFullYear() + 50 ? later.getTime() : time
}

function secondsOf(control: string | null, directive: string): number | undefined {
  const [, seconds] =
    new RegExp(`(?:^|[^\\w-])${directive}\\s*=\\s*"?(-?\\d+)`, "i").exec(control ?? "") ?? []
  return seconds === undefined ? undefined : Math.max(0, Number(seconds))
}

/**
 * Whether the body of a response that was fetched has been decoded, though its headers do not say so.
 *
 * @param isRead it was read, by which it is decoded in Workers too
 */
export function isDecoded({ url, headers }: Response, isRead = false): boolean {
  const codings = headers.get("content-encoding")?.split(",") ?? []
  const isWorker = typeof navigator === "object" && navigator.userAgent === "Cloudflare-Workers"
  const isFetched = url !== "" && codings.length > 0 && (isRead || !isWorker)
  return isFetched && codings.every((name) => DECODED.test(name.trim()))
}

/** How many bytes a body is said to have, where that is about the body as it is read. */
export function lengthOf({ headers }: Response): number | undefined {
  const length = headers.get("content-length") ?? ""
  return /^\d+$/.test(length) && !headers.has("content-encoding") ? Number(length) : undefined
}

/**
 * The headers of the copy that goes into the Cache API. It lives for `keep`: how long it may be *served* is for its
 * stamp to say, not for its age.
 *
 * @param own those that the page itself made
 */
export function storedHeaders(
  own: Headers,
  entry: Omit<Entry, "headers">,
  keep: Milliseconds,
): Record<string, string> {
  const headers: Record<string, string> = {}
  const given: Record<string, string> = {}
  const listed = (own.get("connection") ?? "").toLowerCase().split(/[,\s]+/)
  for (const [name, value] of own) {
    if (ADDED.includes(name) || OF_ONE_REQUEST.test(name) || name === "set-cookie" || listed.includes(name))
      continue
    ;(STEERING.test(name) ? given : headers)[name] = value
  }
  headers["cache-control"] = `max-age=${Math.ceil(keep / SECOND)}`
  const whole = ascii({ ...entry, headers: given })
  headers[ENTRY] =
    whole.length <= MAX_ENTRY_BYTES ? whole : ascii({ ...entry, depends: "anything", headers: given })
  return headers
}
