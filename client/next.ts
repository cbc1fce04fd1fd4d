import { formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import { isNamespace, type Namespace, NAMESPACE_RULE } from "../protocol/namespace.ts"
import { isTag } from "../protocol/selector.ts"
import { DAY, type Milliseconds, MINUTE, SECOND, type Seconds } from "../protocol/time.ts"
import { settles } from "./patience.ts"
import type { Judgement, Tidemark } from "./tidemark.ts"

/** `tidemark/next`: a handler for the `cacheHandlers` of Next.js, which keeps the entries of `use cache`. */

/** How long a `get` waits for the `set` of its key; a storage may have lost it. */
const SET_PATIENCE: Milliseconds = 5 * SECOND

/** Stamps that are remembered. A new one is only taken when the log has moved on. */
const MAX_STAMPS = 1_000

/** As much as Next.js keeps in memory by itself. */
const DEFAULT_MAX_BYTES = 50 * 2 ** 20

/** What Next.js means by never, in seconds. `Infinity` would be lost in JSON. */
const NEVER: Seconds = 0xff_ff_ff_fe

/** Before the paths of pages, which Next.js gives every entry that a page reads. */
const PATH_TAG = "_N_T_"

/** Before names that Next.js keeps in an entry's tags for itself. Nobody invalidates them. */
const ROOT_PARAM_TAG = "_N_RP_"

/** How the `nextjs` target says a namespace as a whole. */
const NAMESPACE_TAG = "ns/"

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

/** An entry as it is kept: plain data, and bytes. */
export interface StoredEntry extends Readonly<Omit<CacheEntry, "value" | "tags">> {
  readonly value: Uint8Array
  readonly tags: readonly string[]
  /** `<generation>.<epoch>` from before it was made. It must come back as it was given. */
  readonly stamp: string
}

/**
 * Where entries are kept. Several processes may share one: what is in it is judged by its stamp, whoever put it there.
 * A rejection counts as having nothing, or as not having been kept. Settle within a bounded time: pages wait for it.
 */
export interface EntryStorage {
  get(key: string): Promise<StoredEntry | undefined> | StoredEntry | undefined
  /** `keepFor` is how long the entry may be of use, in whole milliseconds and above 0. */
  set(key: string, entry: StoredEntry, keepFor: Milliseconds): Promise<unknown> | void
}

export interface CacheHandlerOptions {
  /** The reader of epochs; made once a process. */
  readonly tidemark: Tidemark
  /** The namespace of everything that this app keeps; of a tag, unless `namespaceOf` says otherwise. */
  readonly namespace: Namespace
  /**
   * The namespace that a tag belongs to, where it is another one. An entry with tags of several namespaces is fresh
   * while it is so in each. Default: none. Tags `ns/<name>` mean the namespace of that name by themselves.
   */
  readonly namespaceOf?: (tag: string) => Namespace | undefined
  /**
   * Where the app answers, such as `https://www.example.com`. With it a page's path is also its url: what is published
   * by url reaches the entries that the page at that url reads, and `revalidatePath` publishes the url as well, which
   * must then lie in the namespace's `hosts` or `prefixes`. Default: paths are tags only, `_N_T_/blog/hello`.
   */
  readonly site?: string
  /**
   * How long after a soft invalidation, in milliseconds, the old entry may still be served while it is made anew.
   * Default 60,000. 0: never. `Infinity`: until it has been, as Next.js by itself does. After a hard one it never is.
   */
  readonly swr?: Milliseconds
  /** Where entries are kept. Default: the process's memory. */
  readonly storage?: EntryStorage
  /** Most bytes of entries kept in memory; what was not used the longest goes first. Default 50 MiB. 0: none. */
  readonly maxBytes?: number
  /** How long a storage is told to keep an entry at most, in milliseconds. Default 30 days, as in the configuration. */
  readonly maxCacheTtl?: Milliseconds
  /**
   * Whether `revalidateTag`, `updateTag` and `revalidatePath` of the app publish. Default true. `false` where the app is
   * itself told by a `nextjs` target, which would otherwise be told again, for ever: they then make this process ask at
   * once what was published.
   */
  readonly publish?: boolean
  /** Called when the storage failed. Default: nobody is told. */
  readonly onWarning?: (warning: CacheHandlerWarning) => void
  /** The clock that Next.js takes `timestamp` from. Default `performance.timeOrigin + performance.now()`. */
  readonly now?: () => Milliseconds
}

export interface CacheHandlerWarning {
  readonly code: "storage-failed"
  readonly message: string
  readonly cause: unknown
}

/**
 * Makes a handler for `cacheHandlers` of Next.js: entries of `use cache` are kept under their stamps, and none is served
 * as fresh that was invalidated since making it began. While nothing is known of the epochs nothing is served or kept.
 *
 * `revalidateTag(tag)`, `updateTag(tag)`, `revalidatePath(path)` and `revalidateTag(tag, { expire: 0 })` purge;
 * `revalidateTag(tag, "max")` and other profiles invalidate, and how long the old entry is served after is for `swr` to
 * say. They reject when nothing was published: the invalidation would be lost otherwise. A tag that Tidemark has no name
 * for is published as its whole namespace.
 *
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     // cache-handler.mjs, to which cacheHandlers.default and cacheHandlers.remote of next.config point
 *     export default createCacheHandler({ tidemark, namespace: "blog" })
 */
export function createCacheHandler(options: CacheHandlerOptions): CacheHandler {
  const { tidemark, namespace, swr = MINUTE, maxCacheTtl = 30 * DAY, publish = true } = options
  const { maxBytes = DEFAULT_MAX_BYTES, storage = memoryStorage(maxBytes) } = options
  const { now = () => performance.timeOrigin + performance.now(), onWarning = () => undefined } = options
  if (!isNamespace(namespace))
    throw new RangeError(`namespace must be ${NAMESPACE_RULE}, got ${JSON.stringify(namespace)}`)
  if (!(swr >= 0)) throw new RangeError(`swr must be 0 ms or more, got ${swr}`)
  if (!(maxBytes >= 0)) throw new RangeError(`maxBytes must be 0 or more, got ${maxBytes}`)
  if (!(maxCacheTtl > 0)) throw new RangeError(`maxCacheTtl must be above 0 ms, got ${maxCacheTtl}`)
  const outside = outsideOfRequests()
  const stamps = new Stamps()
  const sets = new Map<string, Promise<unknown>>()

  /** Takes a stamp for whatever is made from now on. */
  async function takeStamp(): Promise<void> {
    const { stamp } = await tidemark.begin(namespace)
    if (stamp) stamps.add(now(), stamp)
  }

  const storageFailed = (what: string, cause: unknown) =>
    onWarning({ code: "storage-failed", message: `The storage could not ${what} an entry.`, cause })

  async function find(key: string): Promise<StoredEntry | undefined> {
    try {
      const entry = await storage.get(key)
      return isStoredEntry(entry) ? entry : undefined
    } catch (cause) {
      storageFailed("get", cause)
      return undefined
    }
  }

  async function judge(stamp: Stamp | undefined, tags: readonly string[]): Promise<Judgement> {
    const groups = groupByNamespace(tags, options)
    if (!groups.has(namespace)) groups.set(namespace, { tags: [], urls: [], isWhole: false })
    const judged = Array.from(groups, ([name, depends]) => tidemark.judge(stamp, name, depends))
    return (await Promise.all(judged)).reduce(worse)
  }

  /** An entry as it may be served; undefined where it may not. */
  async function toServe(
    { value, stamp, ...entry }: StoredEntry,
    softTags: readonly string[],
  ): Promise<CacheEntry | undefined> {
    const judgement = await judge(parseStamp(stamp), [...entry.tags, ...softTags])
    const isStale = judgement.verdict === "stale" && swr > 0 && judgement.staleFor <= swr
    if (judgement.verdict !== "fresh" && !isStale) return undefined
    return {
      ...entry,
      tags: [...entry.tags],
      value: streamOf(value),
      // Of a host whose clock is ahead: it would pass as just made for as long as that.
      timestamp: Math.min(entry.timestamp, now()),
      revalidate: isStale ? -1 : entry.revalidate,
    }
  }

  async function get(key: string, softTags: readonly string[]): Promise<CacheEntry | undefined> {
    const pending = sets.get(key)
    if (pending) await settles(pending, SET_PATIENCE)
    const [stored] = await Promise.all([find(key), takeStamp()])
    if (!stored) return undefined
    const entry = await toServe(stored, softTags)
    // Next makes an entry anew for reasons of its own, too. What was learned in judging counts for the one that it makes.
    await takeStamp()
    return entry
  }

  async function set(key: string, pendingEntry: Promise<CacheEntry>): Promise<void> {
    let resolve = () => {}
    const promise = new Promise<void>((settle) => (resolve = settle))
    const settled = Promise.all([sets.get(key), promise]).then(() => {
      if (sets.get(key) === settled) sets.delete(key)
    })
    sets.set(key, settled)
    try {
      await keep(key, await pendingEntry)
    } catch {
      // It was not made to its end, which Next tells.
    } finally {
      resolve()
    }
  }

  async function keep(key: string, { value, tags, timestamp, ...life }: CacheEntry): Promise<void> {
    const stamp = stamps.takenBefore(timestamp)
    const keepFor = Math.ceil(Math.min(life.expire * SECOND, maxCacheTtl))
    if (!stamp || !(keepFor > 0)) {
      // Not waited for: a branch of a stream only ends when the other one does.
      void value.cancel().catch(() => undefined)
      return
    }
    const entry: StoredEntry = {
      value: new Uint8Array(await new Response(value).arrayBuffer()),
      tags,
      stamp: formatStamp(stamp),
      timestamp,
      stale: Math.min(life.stale, NEVER),
      expire: Math.min(life.expire, NEVER),
      revalidate: Math.min(life.revalidate, NEVER),
    }
    try {
      await storage.set(key, entry, keepFor)
    } catch (cause) {
      storageFailed("set", cause)
    }
  }

  async function update(tags: readonly string[], isHard: boolean): Promise<void> {
    if (!publish) return askAnew()
    const how = isHard ? "purge" : "invalidate"
    const published = Array.from(groupByNamespace(tags, options), ([name, { isWhole, ...lists }]) => {
      // An empty list is refused.
      const named = isWhole ? [] : Object.entries(lists).filter(([, list]) => list.length > 0)
      return tidemark[how]({ namespace: name, ...Object.fromEntries(named), reason: "from Next.js" })
    })
    await Promise.all(published)
  }

  /** Asks what is known now for something later, so that the store is asked. */
  async function askAnew(): Promise<void> {
    const { stamp } = await tidemark.begin(namespace)
    if (stamp) await tidemark.begin(namespace, { fresh: { atLeast: stamp.epoch + 1 } })
  }

  return {
    get: (key, softTags = []) => outside(() => get(key, softTags)),
    set: (key, pendingEntry) => outside(() => set(key, pendingEntry)),
    // An entry that is made without having been looked for needs a stamp as well.
    refreshTags: () => outside(takeStamp),
    // Soft tags are judged in `get`, by their epochs: no time of day could say it.
    getExpiration: async () => Infinity,
    updateTags: (tags, durations) =>
      outside(() => update(tags, durations === undefined || durations.expire === 0)),
    expireTags: (...tags) => outside(() => update(tags.flat(), true)),
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

interface Group {
  readonly tags: string[]
  readonly urls: string[]
  /** One of the tags means the namespace as a whole, or cannot be said otherwise. */
  isWhole: boolean
}

/** Tags as Tidemark says them, by the namespaces that they belong to. */
function groupByNamespace(
  tags: readonly string[],
  { namespace, namespaceOf, site }: CacheHandlerOptions,
): Map<Namespace, Group> {
  const groups = new Map<Namespace, Group>()
  const groupOf = (name: Namespace): Group => {
    const group = groups.get(name) ?? { tags: [], urls: [], isWhole: false }
    groups.set(name, group)
    return group
  }
  for (const tag of new Set(tags)) {
    if (tag.startsWith(ROOT_PARAM_TAG)) continue
    const named = tag.startsWith(NAMESPACE_TAG) ? tag.slice(NAMESPACE_TAG.length) : ""
    const group = groupOf(isNamespace(named) ? named : (namespaceOf?.(tag) ?? namespace))
    const spellings = spellingsOf(tag).filter((spelling) => isTag(spelling))
    group.tags.push(...spellings)
    if (spellings.length === 0) group.isWhole = true
    if (site !== undefined && tag.startsWith(`${PATH_TAG}/`))
      group.urls.push(site.replace(/\/+$/, "") + tag.slice(PATH_TAG.length))
  }
  return groups
}

/** Next percent-encodes what is not ASCII in a tag, and a target what a label cannot hold; nobody else does. */
function spellingsOf(tag: string): string[] {
  try {
    const plain = decodeURIComponent(tag)
    return plain === tag ? [tag] : [tag, plain]
  } catch {
    return [tag]
  }
}

const VERDICTS = ["fresh", "stale", "unknown", "dead"] as const

function worse(one: Judgement, other: Judgement): Judgement {
  if (one.verdict === "stale" && other.verdict === "stale") return one.staleFor > other.staleFor ? one : other
  return VERDICTS.indexOf(one.verdict) > VERDICTS.indexOf(other.verdict) ? one : other
}

/** A storage may bring what another version put there, or anybody else. */
function isStoredEntry(entry: unknown): entry is StoredEntry {
  if (typeof entry !== "object" || entry === null) return false
  const { value, tags, stamp, stale, timestamp, expire, revalidate } = entry as Partial<StoredEntry>
  return (
    value instanceof Uint8Array &&
    Array.isArray(tags) &&
    tags.every((tag) => typeof tag === "string") &&
    typeof stamp === "string" &&
    [stale, timestamp, expire, revalidate].every((number) => Number.isFinite(number))
  )
}

/** A new stream for each reader, as none can be read twice; and new bytes, which React hands on to whoever may write. */
const streamOf = (bytes: Uint8Array): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(bytes))
      controller.close()
    },
  })

/** Entries in memory, those used last at the end. */
function memoryStorage(maxBytes: number): EntryStorage {
  const entries = new Map<string, StoredEntry>()
  const sizeOf = (key: string, { value, tags }: StoredEntry) =>
    value.byteLength + tags.reduce((length, tag) => length + tag.length, key.length)
  let bytes = 0
  const remove = (key: string) => {
    const entry = entries.get(key)
    if (entry) bytes -= sizeOf(key, entry)
    entries.delete(key)
  }
  return {
    get(key) {
      const entry = entries.get(key)
      if (entry) entries.delete(key)
      if (entry) entries.set(key, entry)
      return entry
    },
    set(key, entry) {
      remove(key)
      entries.set(key, entry)
      bytes += sizeOf(key, entry)
      for (const oldest of entries.keys()) {
        if (bytes <= maxBytes) break
        remove(oldest)
      }
    },
  }
}

/**
 * Runs work as if no request had asked for it. Within one, Next takes every `fetch` and look at the clock for a part of
 * the page: a page that is prerendered would wait for it for ever, or be refused.
 */
function outsideOfRequests(): <T>(work: () => T) => T {
  const { AsyncLocalStorage } = globalThis as {
    // Next puts it there, for React.
    readonly AsyncLocalStorage?: { snapshot?(): <T>(work: () => T) => T }
  }
  return AsyncLocalStorage?.snapshot?.() ?? ((work) => work())
}
