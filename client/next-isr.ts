import { formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import { type Milliseconds, SECOND, type Seconds } from "../protocol/time.ts"
import { pack, unpack } from "./next-bytes.ts"
import { createNextCache, NEVER, type NextCache, type NextCacheOptions } from "./next-cache.ts"
import type { StoredEntry } from "./next-storage.ts"
import { older, PATH_TAG, splitTags } from "./next-tags.ts"

/** `tidemark/next-isr`: a handler for the `cacheHandler` of Next.js, which keeps pages, `fetch` and `unstable_cache`. */
export type { CacheHandlerWarning } from "./next-cache.ts"
export type { EntryStorage, StoredEntry } from "./next-storage.ts"

/** Where Next.js puts the tags of a page. */
const PAGE_TAGS = "x-next-cache-tags"

/** With which the key of a page begins, since late versions of Next.js 15 and 16: the route that made it. */
const ROUTE_KEY = /^\/route-cache\/[A-Z_]+\/[0-9a-f]{64}\/\$(?=\/)/

/** Longer ago than any entry may be made anew after: what Next.js is to take for stale was made then. */
const LONG_AGO: Milliseconds = -NEVER * SECOND

/** Keys of one request whose stamps are remembered apart; the request's first stands for all others. */
const MAX_KEYS = 1_000

/** What Next.js keeps: of a page `APP_PAGE`, `PAGES` or `REDIRECT`, of a route `APP_ROUTE`, of data `FETCH`. */
export interface IsrValue {
  readonly kind: string
  readonly headers?: Readonly<Record<string, unknown>> | undefined
  readonly tags?: readonly string[]
  readonly revalidate?: Seconds
}

/** For how long a page is fresh, and until when of use. */
export interface IsrCacheControl {
  readonly revalidate: Seconds | false
  readonly expire?: Seconds | undefined
}

/** What Next.js gets back. Null: a page that is not found. */
export interface IsrEntry {
  readonly lastModified: Milliseconds
  readonly value: IsrValue | null
  /** Where it is missing, Next.js goes by what this process knows of the route. */
  readonly cacheControl?: IsrCacheControl
}

/** As much as is needed of what Next.js says with a look. */
export interface IsrGetContext {
  readonly kind: string
  readonly revalidate?: Seconds | false
  readonly tags?: readonly string[]
  readonly softTags?: readonly string[]
}

/** As much as is needed of what Next.js says with an entry. */
export interface IsrSetContext {
  readonly fetchCache?: boolean
  readonly tags?: readonly string[]
  readonly cacheControl?: IsrCacheControl | undefined
  /** Before Next.js 15.3. */
  readonly revalidate?: Seconds | false
  readonly expire?: Seconds
}

/** As much as is needed of what Next.js makes a handler with, once for each request. */
export interface IsrContext {
  readonly serverDistDir?: string
  readonly fs?: { readFileSync(path: string, encoding: "utf8"): unknown }
}

/** What Next.js calls: 15 and 16. */
export interface IsrHandler {
  get(cacheKey: string, context: IsrGetContext): Promise<IsrEntry | null>
  set(cacheKey: string, data: IsrValue | null, context: IsrSetContext): Promise<void>
  revalidateTag(tags: string | readonly string[], durations?: { readonly expire?: Seconds }): Promise<void>
  resetRequestCache(): void
}

export interface IsrHandlerOptions extends NextCacheOptions {
  /**
   * Whose pages these are, as those of another build refer to files that are gone. Default: what `next build` wrote to
   * `BUILD_ID`. While that is not known, as during the build itself, pages are not kept.
   */
  readonly buildId?: string
}

/**
 * Makes what the `cacheHandler` of Next.js is to export, for pages with `revalidate` (ISR), `fetch` with `next: { tags }`
 * and `unstable_cache`: they are kept under their stamps, and none is served as fresh that was invalidated since making
 * it began. While nothing is known of the epochs nothing is served or kept. Set `cacheMaxMemorySize: 0` beside it.
 *
 * `revalidateTag` and `revalidatePath` publish as in `tidemark/next`. Give both handlers the same reader: what Next.js
 * tells both is then published once.
 *
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     // isr-handler.mjs, to which cacheHandler of next.config points
 *     export default createIsrHandler({ tidemark, namespace: "blog" })
 */
export function createIsrHandler(options: IsrHandlerOptions): new (context?: IsrContext) => IsrHandler {
  const cache = createNextCache(options)
  const shared: Shared = { handedOut: new WeakMap(), isControlRead: false }

  let { buildId } = options

  function buildOf({ fs, serverDistDir }: IsrContext): string | undefined {
    // What is not there yet may be so the next time.
    if (fs && serverDistDir !== undefined) buildId ??= readBuildId(fs, serverDistDir)
    return buildId
  }

  return class implements IsrHandler {
    readonly get: IsrHandler["get"]
    readonly set: IsrHandler["set"]

    constructor(context: IsrContext = {}) {
      const { get, set } = requestOf(cache, shared, buildOf(context))
      this.get = (...asked) => cache.outside(() => get(...asked))
      this.set = (...made) => cache.outside(() => set(...made))
    }

    revalidateTag(
      tags: string | readonly string[],
      durations?: { readonly expire?: Seconds },
    ): Promise<void> {
      return cache.outside(() => cache.update([tags].flat(), durations))
    }

    resetRequestCache(): void {
      // Nothing is remembered of a request that outlives it.
    }
  }
}

/** What the requests of a process have in common. */
interface Shared {
  /** What was handed out, and as what it was stored: by this it is known where Next.js puts it back. */
  readonly handedOut: WeakMap<IsrValue, Pick<StoredEntry, "stamp" | "tags">>
  /** Whether this Next.js goes by the `cacheControl` that it gets: some of 15 and 16 do not. */
  isControlRead: boolean
}

/** For one request, or one background job of Next.js: it looks, makes, and hands over, by the same handler. */
function requestOf(
  { now, find, put, judge, takeStamp, attempts, warn }: NextCache,
  shared: Shared,
  buildId: string | undefined,
): Pick<IsrHandler, "get" | "set"> {
  /** The first that was taken: whatever is made within this request was begun after it. */
  let first: { readonly stamp: Stamp | undefined } | undefined
  /** Of each key that was looked for and not set since, the oldest. */
  const stamps = new Map<string, Stamp | undefined>()
  /** The oldest of the data that was handed out stale: Next.js 15 makes pages from it. */
  let stalest: Stamp | undefined

  /** Under what an entry is stored; undefined for a page of an unknown build. */
  function idOf(key: string, isData: boolean): string | undefined {
    if (isData) return `data:${key}`
    return buildId === undefined ? undefined : `page:${buildId}:${key}`
  }

  /** To be waited for, before what was looked for is made. */
  async function noteStamp(id: string): Promise<void> {
    const stamp = await takeStamp()
    if (stamps.size >= MAX_KEYS) stamps.clear()
    if (!stamps.has(id)) stamps.set(id, stamp)
  }

  /** The stamp of what is handed over now; undefined where none was taken, or nothing was known. */
  function stampOf(id: string): Stamp | undefined {
    const stamp = stamps.has(id) ? stamps.get(id) : first?.stamp
    stamps.delete(id)
    return stamp
  }

  async function toServe(
    id: string,
    { value: bytes, tags, stamp, timestamp, expire, revalidate }: StoredEntry,
    { kind, tags: own = [], softTags = [] }: IsrGetContext,
  ): Promise<IsrEntry | null> {
    const isData = kind === "FETCH"
    const value = decode(bytes)
    const made = parseStamp(stamp)
    if (!made || value === undefined || isData !== (value?.kind === "FETCH")) return null
    const verdict = await judge(made, [...tags, ...own, ...softTags])
    if (verdict !== "fresh" && verdict !== "stale") return null
    const time = now()
    if (value) shared.handedOut.set(value, { stamp, tags })
    const served = (lastModified: Milliseconds, after = revalidate, until = expire): IsrEntry =>
      isData
        ? { lastModified, value }
        : {
            lastModified,
            value,
            get cacheControl(): IsrCacheControl {
              shared.isControlRead = true
              return { revalidate: limited(after) ?? false, expire: limited(until) }
            },
          }
    // Of a host whose clock is ahead: it would pass as just made for as long as that.
    if (verdict === "fresh") return served(Math.min(timestamp, time))
    if (time > timestamp + expire * SECOND) return null
    if (isData) {
      stalest = older(made, stalest ?? made)
      return served(LONG_AGO)
    }
    const pause = attempts.pauseOf(id, stamp)
    // A page that could not be made just now: nothing is made from pages, and so it may pass for fresh for a moment.
    if (pause > 0) return served(time, Math.ceil(pause / SECOND))
    attempts.begin(id, stamp)
    // By its own times alone, a Next.js can be told that a page is stale by this: some then have the visitor wait.
    if (!shared.isControlRead) return served(-1)
    // Stale, and not expired: past its `revalidate` by a moment. One that has none gets the shortest.
    const after = Math.max(limited(revalidate) ?? 1, 1)
    return served(time - after * SECOND - 1, after, Math.max(expire, after + 1))
  }

  return {
    async get(key, context) {
      const id = idOf(key, context.kind === "FETCH")
      if (id === undefined) return null
      const [stored, stamp] = await Promise.all([find(id), takeStamp()])
      first ??= { stamp }
      const entry = stored ? await toServe(id, stored, context) : null
      // Only now: what was learned in judging counts for what is made next, which also Next.js decides, by time.
      await noteStamp(id)
      return entry
    },
    async set(key, data, context) {
      const isData = data?.kind === "FETCH"
      const id = idOf(key, isData)
      if (id === undefined) return
      const before = data ? shared.handedOut.get(data) : undefined
      // Next.js puts back a page that it could not make anew, until the next attempt. It is as old as it was.
      if (!before) attempts.succeed(id)
      else if (attempts.fail(id)) warn("revalidation-failed", NOT_MADE_ANEW)
      const stamp = before ? parseStamp(before.stamp) : stampOf(id)
      const header = data?.headers?.[PAGE_TAGS]
      const { tags, stamps: inherited } = splitTags([
        ...(before?.tags ?? (isData ? [] : [pathTagOf(key)])),
        ...(context.tags ?? []),
        ...(data?.tags ?? []),
        ...(typeof header === "string" ? header.split(",") : []),
      ])
      const { revalidate = data?.revalidate, expire = NEVER } = context.cacheControl ?? context
      if (!stamp || !(expire > 0)) return
      if (stalest && !isData) inherited.push(stalest)
      void put(id, {
        value: encode(data),
        tags: [...new Set(tags)],
        stamp: formatStamp(inherited.reduce(older, stamp)),
        timestamp: now(),
        stale: 0,
        expire: Math.min(expire, NEVER),
        revalidate: Math.min(revalidate || NEVER, NEVER),
      })
    },
  }
}

/** As Next.js says it: what never comes is not said. */
const limited = (time: Seconds): Seconds | undefined => (time < NEVER ? time : undefined)

const NOT_MADE_ANEW = "A page could not be made anew, and the old one is still served."

/** What `next build` wrote beside the server's files; undefined where it has not yet. */
function readBuildId(fs: NonNullable<IsrContext["fs"]>, serverDistDir: string): string | undefined {
  try {
    return String(fs.readFileSync(`${serverDistDir}/../BUILD_ID`, "utf8")).trim()
  } catch {
    return undefined
  }
}

/** The tag of a page's path, which Next.js puts on pages of the App Router alone. The start page is kept as `/index`. */
const pathTagOf = (key: string): string =>
  PATH_TAG + (key.replace(ROUTE_KEY, "").replace(/^\/index(?=\/|$)/, "") || "/")

/** Bytes among the members of a value, in maps too, which no JSON can say. */
type Shape = readonly (readonly [name: string, keys: readonly string[] | null])[]

interface EncodedValue {
  readonly plain: object | null
  readonly shape: Shape
}

function encode(value: IsrValue | null): Uint8Array {
  const plain: Record<string, unknown> = {}
  const shape: [string, string[] | null][] = []
  const parts: Uint8Array[] = []
  for (const [name, member] of Object.entries(value ?? {}) as [string, unknown][]) {
    if (member instanceof Map) {
      shape.push([name, [...member.keys()]])
      parts.push(...member.values())
    } else if (member instanceof Uint8Array) {
      shape.push([name, null])
      parts.push(member)
    } else plain[name] = member
  }
  return pack({ data: { plain: value && plain, shape } satisfies EncodedValue, parts })
}

/** As it was set, with bytes of its own; undefined for what `encode` did not write. */
function decode(bytes: Uint8Array): IsrValue | null | undefined {
  const { data, parts = [] } = unpack(bytes) ?? {}
  const { plain, shape = [] } = (data ?? {}) as Partial<EncodedValue>
  if (!plain) return plain
  const left = parts.map(bufferOf)
  const members = shape.map(([name, keys]) => [
    name,
    keys ? new Map(keys.map((key) => [key, left.shift()])) : left.shift(),
  ])
  return { ...plain, ...Object.fromEntries(members) } as IsrValue
}

/** A copy, of the kind that Next.js works with. */
function bufferOf(bytes: Uint8Array): Uint8Array {
  const { Buffer } = globalThis as { readonly Buffer?: { from(bytes: Uint8Array): Uint8Array } }
  return Buffer ? Buffer.from(bytes) : bytes.slice()
}
