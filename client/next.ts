import { formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import { type Milliseconds, SECOND, type Seconds } from "../protocol/time.ts"
import { createNextCache, NEVER, type NextCacheOptions } from "./next-cache.ts"
import type { StoredEntry } from "./next-storage.ts"
import { older, splitTags, stampTag } from "./next-tags.ts"
import { settles } from "./patience.ts"

/** `tidemark/next`: a handler for the `cacheHandlers` of Next.js, which keeps the entries of `use cache`. */
export { type CacheHandlerWarning, publishTags, type PublishTagsOptions } from "./next-cache.ts"
export type { EntryStorage, StoredEntry } from "./next-storage.ts"

/** How long a `get` waits for the `set` of its key, which may be of what never ends. */
const SET_PATIENCE: Milliseconds = 5 * SECOND

/** Stamps that are remembered. A new one is only taken when the log has moved on. */
const MAX_STAMPS = 1_000

const NOT_MADE_ANEW = "An entry could not be made anew, and the old one is still served."

/** An entry as Next.js hands it over, and gets it back. */
export interface CacheEntry {
  value: ReadableStream<Uint8Array>
  tags: string[]
  /** For the browser's router. */
  stale: Seconds
  /** When making it began, by the clock of the process that made it. */
  timestamp: Milliseconds
  /** After this it is never used. */
  expire: Seconds
  /** After this it is made anew in the background. */
  revalidate: Seconds
}

/** What Next.js calls: 16 as it is, and 15 from 15.4 on, which spreads tags over the arguments. */
export interface CacheHandler {
  get(cacheKey: string, softTags?: readonly string[]): Promise<CacheEntry | undefined>
  set(cacheKey: string, pendingEntry: Promise<CacheEntry>): Promise<void>
  refreshTags(): Promise<void>
  getExpiration(...tags: readonly (string | readonly string[])[]): Promise<number>
  updateTags(tags: readonly string[], durations?: { readonly expire?: Seconds | undefined }): Promise<void>
  /** Next.js 15. */
  expireTags(...tags: readonly (string | readonly string[])[]): Promise<void>
}

export type CacheHandlerOptions = NextCacheOptions

/**
 * Makes a handler for `cacheHandlers` of Next.js: entries of `use cache` are kept under their stamps, and none is served
 * as fresh that was invalidated since making it began. While nothing is known of the epochs nothing is served or kept.
 *
 * `revalidateTag(tag)`, `updateTag(tag)`, `revalidatePath(path)` and `revalidateTag(tag, { expire: 0 })` purge;
 * `revalidateTag(tag, "max")` and other profiles invalidate, and how long the old entry is served after is for `swr` to
 * say. They reject when something was not published: the invalidation would be lost otherwise. Server actions fail by
 * it. Route handlers do not, which is what `publishTags` is for. A tag that Tidemark has no name for is published as its
 * whole namespace.
 *
 * Next.js makes a softly invalidated entry anew at the next visit; after one that failed, the
 * next is a second later, and then ever more rarely, up to every 30 seconds.
 *
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     // cache-handler.mjs, to which cacheHandlers.default and cacheHandlers.remote of next.config point
 *     export default createCacheHandler({ tidemark, namespace: "blog" })
 */
export function createCacheHandler(options: CacheHandlerOptions): CacheHandler {
  const { now, warn, find, put, judge, attempts, outside, takeStamp, update } = createNextCache(options)
  const stamps = new Stamps()
  const sets = new Map<string, Promise<unknown>>()

  /** Takes a stamp for whatever is made from now on. */
  async function noteStamp(): Promise<void> {
    const stamp = await takeStamp()
    if (stamp) stamps.add(now(), stamp)
  }

  /** An entry as it may be served; undefined where it may not. */
  async function toServe(
    key: string,
    { value, stamp, ...entry }: StoredEntry,
    softTags: readonly string[],
  ): Promise<CacheEntry | undefined> {
    const made = parseStamp(stamp)
    const verdict = await judge(made, [...entry.tags, ...softTags])
    if (!made || (verdict !== "fresh" && verdict !== "stale")) return undefined
    const served: CacheEntry = {
      ...entry,
      tags: [...entry.tags],
      value: streamOf(value),
      // Of a host whose clock is ahead: it would pass as just made for as long as that.
      timestamp: Math.min(entry.timestamp, now()),
    }
    if (verdict === "fresh") return served
    const pause = attempts.pauseOf(key, stamp)
    if (pause === 0) {
      attempts.begin(key, stamp)
      return { ...served, revalidate: -1 }
    }
    // Next.js can only be kept from making it by calling it fresh, which is done for a short while; and what is made from
    // it is told to be as old as it is.
    const timestamp = now()
    return {
      ...served,
      tags: [...entry.tags, stampTag(made)],
      timestamp,
      revalidate: Math.ceil(pause / SECOND),
      expire: entry.expire - (timestamp - served.timestamp) / SECOND,
    }
  }

  async function get(key: string, softTags: readonly string[]): Promise<CacheEntry | undefined> {
    const pending = sets.get(key)
    // One that has kept somebody waiting in vain is waited for by nobody any more.
    const isLost = pending !== undefined && !(await settles(pending, SET_PATIENCE))
    if (isLost && sets.get(key) === pending) sets.delete(key)
    const [stored] = await Promise.all([find(key), noteStamp()])
    if (!stored) return undefined
    const entry = await toServe(key, stored, softTags)
    // Next makes an entry anew for reasons of its own, too. What was learned in judging counts for the one that it makes.
    await noteStamp()
    return entry
  }

  async function set(key: string, pendingEntry: Promise<CacheEntry>): Promise<void> {
    const kept = keep(key, pendingEntry)
    const settled = Promise.all([sets.get(key), kept]).then(() => {
      if (sets.get(key) === settled) sets.delete(key)
    })
    sets.set(key, settled)
    await kept
  }

  /** Settles when the entry was made, and not when it has been stored. Never rejects. */
  async function keep(key: string, pendingEntry: Promise<CacheEntry>): Promise<void> {
    try {
      const entry = await toStore(await pendingEntry)
      if (!entry) return
      attempts.succeed(key)
      void put(key, entry)
    } catch (cause) {
      // It was not made to its end: the entry is none, or breaks off. Next tells it, but not that an old one is served.
      if (attempts.fail(key)) warn("revalidation-failed", NOT_MADE_ANEW, cause)
    }
  }

  async function toStore({
    value,
    timestamp,
    tags: all,
    ...life
  }: CacheEntry): Promise<StoredEntry | undefined> {
    const { tags, stamps: inherited } = splitTags(all)
    const stamp = stamps.takenBefore(timestamp)
    if (!stamp || !(life.expire > 0)) {
      // Not waited for: a branch of a stream only ends when the other one does.
      void value.cancel().catch(() => undefined)
      return undefined
    }
    return {
      value: new Uint8Array(await new Response(value).arrayBuffer()),
      tags,
      stamp: formatStamp(inherited.reduce(older, stamp)),
      timestamp,
      stale: Math.min(life.stale, NEVER),
      expire: Math.min(life.expire, NEVER),
      revalidate: Math.min(life.revalidate, NEVER),
    }
  }

  return {
    get: (key, softTags = []) => outside(() => get(key, softTags)),
    set: (key, pendingEntry) => outside(() => set(key, pendingEntry)),
    // An entry that is made without having been looked for needs a stamp as well.
    refreshTags: () => outside(noteStamp),
    // Soft tags are judged in `get`, by their epochs: no time of day could say it.
    getExpiration: async () => Infinity,
    updateTags: (tags, durations) => outside(() => update(tags, durations)),
    expireTags: (...tags) => outside(() => update(tags.flat())),
  }
}

/**
 * Stamps that were taken, and when. Next tells of an entry when making it began but not by which `get` it was asked
 * for, and requests overlap: a stamp that another request took since would hide what was invalidated in between.
 */
class Stamps {
  readonly #taken: { readonly at: Milliseconds; readonly stamp: Stamp }[] = []

  add(at: Milliseconds, stamp: Stamp): void {
    const last = this.#taken.at(-1)?.stamp
    // As good a one was taken earlier, and is good for more entries so.
    if (last?.generation === stamp.generation && last.epoch >= stamp.epoch) return
    this.#taken.push({ at, stamp })
    if (this.#taken.length > MAX_STAMPS) this.#taken.shift()
  }

  /** The newest stamp for what began at this time; undefined where none is old enough. */
  takenBefore(began: Milliseconds): Stamp | undefined {
    // Not one of the same instant: nobody could tell which of both was first.
    return this.#taken.findLast(({ at }) => at < began)?.stamp
  }
}

/** A new stream for each reader, as none can be read twice; and new bytes, which React hands on to whoever may write. */
const streamOf = (bytes: Uint8Array): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(bytes))
      controller.close()
    },
  })
