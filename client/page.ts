import type { Milliseconds } from "../protocol/time.ts"
import type { Depends } from "./tidemark.ts"

/** The header of a stored copy that holds its stamp, what it depends on, and the headers that it had. Never sent on. */
export const ENTRY = "tidemark-entry"

/**
 * Headers by which an origin steers caches, those for one vendor's alone among them. A stored copy carries its own, and
 * gives these back when it is served.
 */
export const STEERING = /cache-control$|^(?:expires|pragma|surrogate-control)$/

/**
 * What a cache adds, and must not be told to the next one. A page that its stamp found fresh is as good as just made;
 * by `Age` or `Date` a cache in front would take it for as old as the copy.
 */
export const ADDED: readonly string[] = [ENTRY, "age", "date", "cf-cache-status"]

/**
 * Why a request has nothing to do with a shared cache, in the words of RFC 9211; undefined where it has.
 *
 * Only GET is cached, and HEAD answered from that. What carries `Authorization` may be answered for one person, a part
 * (`Range`) is no page, and a request may say that it wants nothing of caches (`no-store`).
 */
export function whyForwarded({ method, headers }: Request): "method" | "request" | undefined {
  if (method !== "GET" && method !== "HEAD") return "method"
  const isOurs = !headers.has("authorization") && !headers.has("range")
  return isOurs && !isForbidden(headers, "no-store") ? undefined : "request"
}

/**
 * Whether headers say that a response is not for caches that others read, or not at all. Whatever parts the words: who
 * wrote a semicolon, or quotes, meant the same.
 */
export function isForbidden(headers: Headers, words = "private|no-store|no-cache"): boolean {
  const forbids = new RegExp(`(?:^|[^\\w-])(?:${words})\\b`, "i")
  for (const [name, value] of headers) if (STEERING.test(name) && forbids.test(value)) return true
  return false
}

/** Longer than anything lasts, and finite: JSON knows no `Infinity`. In milliseconds, or in seconds. */
export const FOREVER = 1e15

/** What is told of a stored copy by itself. */
export interface Entry {
  readonly stamp: string
  readonly depends: Depends
  /** When it is stale though nothing invalidated it, in milliseconds since 1970. */
  readonly until: Milliseconds
  /** How long it may then be served, where that is its own matter, in milliseconds. */
  readonly swr?: Milliseconds | undefined
  /** Those by which its origin steers caches. */
  readonly headers: Readonly<Record<string, string>>
}

/** A stored copy, and what it tells of itself. */
export interface Found extends Entry {
  readonly copy: Response
}

/**
 * What a stored copy tells of itself; undefined for none, and for what somebody else put there.
 */
export function entryOf(copy: Response | undefined): Found | undefined {
  const text = copy?.headers.get(ENTRY)
  if (!copy) return undefined
  try {
    const { stamp, depends, until, swr, headers } = fromAscii(text ?? "")
    // Of headers that are none, this throws.
    const given = Object.fromEntries(new Headers(headers))
    const isOurs =
      typeof stamp === "string" && typeof until === "number" && ["undefined", "number"].includes(typeof swr)
    if (isOurs) return { copy, stamp, depends, until, swr, headers: given }
  } catch {
    // Not ours.
  }
  discard(copy)
  return undefined
}

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

/** What a stored entry says that it depends on, and urls by which it is asked; on anything, where that is not understood. */
export function dependsOn(stored: unknown, asked: readonly string[] = []): Depends {
  const { tags, urls } = (stored ?? {}) as { readonly tags?: unknown; readonly urls?: unknown }
  return isList(tags) && isList(urls) ? { tags, urls: [...new Set([...urls, ...asked])] } : "anything"
}

export const isList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string")

/** An unread body keeps its memory. Not waited for: a branch of a body only ends when the other one does. */
export function discard({ body }: Response): void {
  void body?.cancel().catch(() => undefined)
}

/** JSON that a header can carry: of what it cannot, and of `%`, the bytes as in a url. */
export const ascii = (value: unknown): string =>
  JSON.stringify(value).replaceAll(/[^ -$&-~]+/g, encodeURIComponent)

/** @throws {Error} for what is none */
export const fromAscii = (encoded: string) => JSON.parse(decodeURIComponent(encoded))
