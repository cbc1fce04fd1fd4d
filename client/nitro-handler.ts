import { DAY, SECOND } from "../protocol/time.ts"
import { BackOff } from "./back-off.ts"
import { droppedTeller } from "./dropped.ts"
import type { WaitUntil } from "./epochs.ts"
import type { CacheEntry, EpochHandlerOptions, StoredResponse } from "./nitro.ts"
import {
  definedOnly,
  handOver,
  type HTTPEvent,
  NotKept,
  preparedOn,
  takePrepared,
  windowOf,
  withPrepared,
} from "./nitro-event.ts"
import { type Filled, fill as makeKept, run } from "./nitro-fill.ts"
import { notModified } from "./not-modified.ts"
import { ENTRY, fromAscii, isForbidden, STEERING } from "./page.ts"
import { keyingOf } from "./page-key.ts"
import { sourceOf } from "./page-source.ts"
import { readOptions, staleFor, type Usable, usableFor } from "./stamped.ts"

/** How `tidemark/nitro` answers requests, around ocache. It is loaded with the first one. */

const AUTHORIZATION = ["authorization", "proxy-authorization"]

/** How long a cache in front is told to keep a response at most, in seconds: as long as `maxCacheTtl`. */
const MAX_SHARED = (30 * DAY) / SECOND

/** What ocache's cache is wrapped in. */
export interface Handling<E extends HTTPEvent> {
  readonly serve: (event: E) => Promise<Response>
  /** Makes a response, for ocache. */
  readonly fill: (event: E) => Promise<unknown>
  readonly judged: (kept: unknown) => Promise<CacheEntry<StoredResponse> | null>
  readonly keyOf: (event: E) => Promise<string>
  readonly eventForFill: (event: E) => E
  /** Whether a request is answered as if nothing was cached. */
  readonly isPassed: (event: E) => boolean
}

/** @param cached ocache's, which asks for all else that is told here */
export function createHandling<E extends HTTPEvent>(
  handler: (event: E) => unknown,
  options: EpochHandlerOptions<E>,
  cached: (event: E) => unknown,
): Handling<E> {
  const { tidemark, namespace, tags, toResponse, labels, bypass, query, vary, version, ...own } = options
  const { allowQuery, varies = [], getKey, swr } = own
  const backOff = new BackOff()
  // The names of the host need not be in the key: ocache takes all headers but these off what makes a page.
  const keying = keyingOf({
    query: query ?? (Array.isArray(allowQuery) ? { allow: allowQuery } : {}),
    ...(vary && { vary }),
    ...(version && { version }),
  })
  const keyed = [...varies, ...keying.varied].map((name) => name.toLowerCase())
  const varied = [
    ...keyed,
    ...(own.allowCookies ? ["cookie"] : []),
    ...(own.allowAuthorization ? AUTHORIZATION : []),
  ]
  const filling = {
    handler,
    tags,
    toResponse,
    labels,
    tellDropped: droppedTeller(),
    namespace,
    varied,
    isStreamed: own.stream === true,
  }
  /** What a request made itself, by its mark: not what was kept, and not what another made. */
  const filled = new WeakMap<E, Filled>()
  /** The copy that a request was answered with, and whether it could not make it once more. */
  const copies = new WeakMap<E, string>()
  const failed = new WeakSet<E>()
  const bypassing = new WeakSet<E>()
  const waitUntilOf = (event: E) => own.waitUntil ?? event.req.waitUntil?.bind(event.req)
  const judge = async (mark: unknown, waitUntil?: WaitUntil, entry?: CacheEntry) =>
    usableFor(await staleFor(tidemark, namespace, mark, readOptions(waitUntil)), windowOf(own, entry))

  return { serve, fill, judged, keyOf, eventForFill, isPassed: (event) => bypassing.has(event) }

  async function fill(event: E): Promise<unknown> {
    if (bypassing.has(event)) return (await run(event, filling)).made
    const { stamp } = await tidemark.begin(namespace, readOptions(waitUntilOf(event)))
    try {
      const one = await makeKept(event, stamp, filling)
      filled.set(event, one)
      return one.made
    } catch (error) {
      if (error instanceof NotKept && error.status === undefined) failed.add(event)
      setBack(event)
      throw error
    }
  }

  /** A copy that could not be made once more: it is tried again later. */
  function setBack(event: E): void {
    const text = copies.get(event)
    if (text !== undefined && failed.has(event)) backOff.failed(text)
  }

  /**
   * An event like a visitor's, with a response of its own: what is prepared for the visitor does not get into what is
   * kept, nor what a revalidation prepares into what they are answered with meanwhile. Its request says what the key
   * holds, and has no conditions.
   */
  function eventForFill(event: E): E {
    const { said } = keying.keyed(event.req, namespace, undefined)
    const plain = keying.plain(event.url?.href ?? event.req.url)
    const req = sourceOf(event.req, { key: undefined, plain, said })
    if (req !== event.req)
      Object.assign(req, definedOnly({ waitUntil: event.req.waitUntil?.bind(event.req) }))
    const { context } = event as { readonly context?: object }
    // Where h3 has the response.
    const blank = Object.fromEntries(Object.getOwnPropertySymbols(event).map((name) => [name, undefined]))
    const url = event.url && { url: new URL(plain.url) }
    return Object.assign(Object.create(event), blank, {
      req,
      ...url,
      ...(context && { context: { ...context } }),
      ...(Object.hasOwn(event, "res") && { res: { headers: new Headers() } }),
    })
  }

  /** What ocache is given of what was kept: only what may be served. */
  async function judged(kept: unknown): Promise<CacheEntry<StoredResponse> | null> {
    const entry = kept as CacheEntry<StoredResponse> | null
    const text = entry?.value?.headers?.[ENTRY]
    const usable = entry && (await judge(parse(text), own.waitUntil, entry))
    if (!usable) return null
    // ocache itself would try again at each visit.
    if (swr && backOff.isResting(String(text))) return { ...entry, stale: false, mtime: Date.now() }
    return usable === "stale" ? { ...entry, stale: true } : entry
  }

  /** What the user says stands for path and query, and not for the host. */
  async function keyOf(event: E): Promise<string> {
    return keying.keyed(event.req, namespace, await getKey?.(event)).key ?? ""
  }

  async function isBypassed(event: E): Promise<boolean> {
    const { method, headers } = event.req
    const prepared = preparedOn(event)
    return (
      own.headersOnly === true ||
      !["GET", "HEAD"].includes(method) ||
      headers.has("range") ||
      (prepared !== undefined && isForbidden(prepared.headers, "private|no-store")) ||
      (await own.shouldBypassCache?.(event)) === true ||
      (await bypass?.(event)) === true ||
      (await tidemark.begin(namespace, readOptions(waitUntilOf(event)))).stamp === undefined
    )
  }

  /** Says what is to be kept by whom, where the handler says nothing; of what is stale, that nobody is to keep it. */
  function steer(headers: Headers, usable: Usable): void {
    if (usable === "stale") {
      for (const name of [...headers.keys()].filter((key) => STEERING.test(key))) headers.delete(name)
      headers.set("cache-control", "no-store")
    } else if (own.sendCacheControl === undefined) {
      const shared = labels ? `, s-maxage=${Math.min(own.maxAge ?? 1, MAX_SHARED)}` : ""
      if (!headers.has("cache-control"))
        headers.set("cache-control", `public, max-age=0, must-revalidate${shared}`)
    }
  }

  /** As if nothing was cached, under the visitor's own event. */
  async function pass(event: E): Promise<Response> {
    bypassing.add(event)
    return (await cached(event)) as Response
  }

  async function serve(event: E): Promise<Response> {
    if (await isBypassed(event)) return pass(event)
    const shared = eventForFill(event)
    let response: Response
    try {
      response = (await cached(shared)) as Response
    } catch (error) {
      if (!(error instanceof NotKept)) throw error
      if (error.made === undefined) throw error.cause
      // Nor is it for those who waited for it.
      return error.event === shared ? handOver(event, shared, error.made) : pass(event)
    }
    const text = response.headers.get(ENTRY) ?? undefined
    const made = filled.get(shared)
    const isFilled = made !== undefined && made.text === text
    // Of what ocache made by itself nothing is known, and none is kept.
    const isJustMade = isFilled || text === undefined
    const usable = isJustMade ? "fresh" : await judge(parse(text), waitUntilOf(event))
    if (!usable) {
      // Another's fill, which an invalidation overtook while this request waited for it.
      void response.body?.cancel().catch(() => undefined)
      return pass(event)
    }
    response.headers.delete(ENTRY)
    if (text !== undefined && !isFilled) copies.set(shared, text)
    setBack(shared)
    steer(response.headers, usable)
    const known = notModified(event.req, Object.fromEntries(response.headers))
    const answer = known ? new Response(null, { status: 304, headers: known }) : response
    for (const [name, value] of isFilled ? made.unkept : []) answer.headers.set(name, value)
    return withPrepared(answer, takePrepared(event))
  }
}

function parse(text: unknown): unknown {
  try {
    return typeof text === "string" ? fromAscii(text) : undefined
  } catch {
    return undefined
  }
}
