import type { Stamp } from "../protocol/epoch.ts"
import { isNamespace, NAMESPACE_RULE } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, MINUTE, SECOND, type Seconds } from "../protocol/time.ts"
import { DEFAULT_TIMEOUT, Guard, TimedOut } from "./guard.ts"
import { type EntryStorage, isStoredEntry, memoryStorage, type StoredEntry } from "./next-storage.ts"
import type { Mode } from "./next-publish.ts"
import { groupByNamespace, groupOf, type TagOptions } from "./next-tags.ts"
import type { Judgement, Tidemark } from "./tidemark.ts"

/** What the handlers of both caches of Next.js have in common: storing, judging and publishing. */

/** As much as Next.js keeps in memory by itself. */
const DEFAULT_MAX_BYTES = 50 * 2 ** 20

/** What Next.js means by never, in seconds. `Infinity` would be lost in JSON. */
export const NEVER: Seconds = 0xff_ff_ff_fe

/** Entries whose attempts are remembered. */
const MAX_ATTEMPTS = 1_000

/** After the first attempt to make an entry anew that failed, and at most: twice as long each time. */
const FIRST_PAUSE: Milliseconds = SECOND
const LONGEST_PAUSE: Milliseconds = 30 * SECOND

export interface NextCacheOptions extends TagOptions {
  /** The reader of epochs; made once a process. */
  readonly tidemark: Tidemark
  /**
   * How long after a soft invalidation, in milliseconds, the old entry may still be served while it is made anew.
   * Default 60,000. 0: never. `Infinity`: until it has been, as Next.js by itself does. After a hard one it never is.
   */
  readonly swr?: Milliseconds
  /** Where entries are kept, such as `redisStorage(client)` of `tidemark/next-redis`. Default: the process's memory. */
  readonly storage?: EntryStorage
  /**
   * How long a page waits for `storage`, in milliseconds. One that did not answer is left alone for 5 s after that, or
   * until it has answered; meanwhile nothing is in it. Default 2,000.
   */
  readonly storageTimeout?: Milliseconds
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
  /** Called when something went wrong that no visitor sees. Default: `console.warn`, once a minute for each code. */
  readonly onWarning?: (warning: CacheHandlerWarning) => void
  /** The clock that Next.js goes by. Default `performance.timeOrigin + performance.now()`. */
  readonly now?: () => Milliseconds
}

export interface CacheHandlerWarning {
  /**
   * - `storage-failed`       the storage rejected, or did not answer in time; not said again while it is left alone
   * - `publish-failed`       what the app revalidated was not recorded, or nobody knows whether it was
   * - `publish-refused`      a url was refused, as one outside the namespace's `hosts` is; its tags were recorded
   * - `revalidation-failed`  an entry that was invalidated softly could not be made anew, and is still served
   */
  readonly code: "storage-failed" | "publish-failed" | "publish-refused" | "revalidation-failed"
  readonly message: string
  /** What was thrown; undefined where nothing was. */
  readonly cause: unknown
}

export type NextCache = ReturnType<typeof createNextCache>

/** @throws {RangeError} when an option is out of range, naming it */
export function createNextCache(options: NextCacheOptions) {
  const { tidemark, namespace, swr = MINUTE, maxCacheTtl = 30 * DAY, publish = true } = options
  const { maxBytes = DEFAULT_MAX_BYTES, storageTimeout = DEFAULT_TIMEOUT, onWarning = warnings() } = options
  const { now = () => performance.timeOrigin + performance.now(), storage = memoryStorage(maxBytes) } =
    options
  if (!isNamespace(namespace))
    throw new RangeError(`namespace must be ${NAMESPACE_RULE}, got ${JSON.stringify(namespace)}`)
  if (!(swr >= 0)) throw new RangeError(`swr must be 0 ms or more, got ${swr}`)
  if (!(maxBytes >= 0)) throw new RangeError(`maxBytes must be 0 or more, got ${maxBytes}`)
  if (!(maxCacheTtl > 0)) throw new RangeError(`maxCacheTtl must be above 0 ms, got ${maxCacheTtl}`)
  if (!(storageTimeout > 0 && storageTimeout < Infinity))
    throw new RangeError(`storageTimeout must be above 0 ms, got ${storageTimeout}`)
  const guard = new Guard(storageTimeout)
  const run: Guard["run"] = options.storage ? (call) => guard.run(call) : async (call) => call()
  /** What was handed to the storage, until that has it. */
  const underWay = new Map<string, StoredEntry>()

  function warn(code: CacheHandlerWarning["code"], message: string, cause?: unknown): void {
    try {
      onWarning({ code, message, cause })
    } catch {
      // Of the user's; there is nobody left to tell, and nothing here may end the process.
    }
  }

  function storageFailed(what: string, cause: unknown): void {
    if (cause instanceof TimedOut && cause.isRepeated) return
    warn("storage-failed", `The storage could not ${what} an entry.`, cause)
  }

  /** What the storage has, within a bounded time; undefined where that is no entry. */
  async function find(key: string): Promise<StoredEntry | undefined> {
    const kept = underWay.get(key)
    if (kept) return kept
    try {
      const entry = await run(() => storage.get(key))
      return isStoredEntry(entry) ? entry : undefined
    } catch (cause) {
      storageFailed("get", cause)
      return undefined
    }
  }

  /** Has an entry stored. Not to be waited for; never rejects. `expire` is when it is of no use any more. */
  async function put(key: string, entry: StoredEntry): Promise<void> {
    const keepFor = Math.ceil(Math.min(entry.expire * SECOND, maxCacheTtl))
    underWay.set(key, entry)
    try {
      await run(() => storage.set(key, entry, keepFor))
    } catch (cause) {
      storageFailed("set", cause)
    } finally {
      if (underWay.get(key) === entry) underWay.delete(key)
    }
  }

  /** What may be done with an entry of these tags: `stale` only where it may still be served. */
  async function judge(stamp: Stamp | undefined, tags: readonly string[]): Promise<Judgement["verdict"]> {
    const groups = groupByNamespace(tags, options)
    groupOf(groups, namespace)
    const judged = Array.from(groups, ([name, depends]) => tidemark.judge(stamp, name, depends))
    const worst = (await Promise.all(judged)).reduce(worse)
    if (worst.verdict !== "stale") return worst.verdict
    return swr > 0 && worst.staleFor <= swr ? "stale" : "dead"
  }

  /** Asks what is known now for something later, so that the store is asked. */
  async function askAnew(): Promise<void> {
    const { stamp } = await tidemark.begin(namespace)
    if (stamp) await tidemark.begin(namespace, { fresh: { atLeast: stamp.epoch + 1 } })
  }

  const publishNow: PublishNow = (tags, mode) =>
    loadPublisher().then(({ publishTogether }) =>
      publishTogether(tidemark, mode, groupByNamespace(tags, options), warn),
    )

  registry[LAST_HANDLER] = publishNow
  return {
    now,
    warn,
    find,
    put,
    judge,
    attempts: new Attempts(now),
    outside: outsideOfRequests(),
    /** For whatever is made from now on; undefined where nothing is known. */
    takeStamp: async () => (await tidemark.begin(namespace)).stamp,
    /** What the app revalidates, by how long Next.js still serves the old; by nothing, it does not. */
    update: (tags: readonly string[], durations?: { readonly expire?: Seconds | undefined }) =>
      publish
        ? publishNow(tags, durations === undefined || durations.expire === 0 ? "purge" : "invalidate")
        : askAnew(),
  }
}

export interface PublishTagsOptions {
  /** `purge`, as `updateTag` does: what has the tags is never served again. `invalidate`: it may be, for `swr`. Default `purge`. */
  readonly mode?: "invalidate" | "purge"
}

/**
 * Publishes what has these tags, as `revalidateTag` does, and waits until it was recorded. For route handlers, which
 * `revalidateTag` tells nothing: Next.js answers first, and publishes then. Paths are tags `_N_T_/blog/hello`.
 *
 * It goes through the handler that was made last in this process, which knows of it at once. What Next.js keeps by itself
 * is not reached: it needs its `revalidateTag` besides.
 *
 * @throws {StoreRefusal} when it was refused, telling why: nothing was recorded of it
 * @throws {Error} when this process has no handler, or the store did not answer
 */
export async function publishTags(
  tags: string | readonly string[],
  { mode = "purge" }: PublishTagsOptions = {},
): Promise<void> {
  const publishNow = registry[LAST_HANDLER]
  if (!publishNow) throw new Error("publishTags: no cache handler of tidemark/next was made in this process")
  await publishNow([tags].flat(), mode)
}

let publisher: Promise<typeof import("./next-publish.ts")> | undefined

/** Loaded when something is first published: most processes only read. One promise, so that all of a turn go on together. */
const loadPublisher = () => (publisher ??= import("./next-publish.ts"))

type PublishNow = (tags: readonly string[], mode: Mode) => Promise<void>

/** Next.js loads handlers by themselves, and bundles a copy of this module with the app: both find it here. */
const LAST_HANDLER = Symbol.for("tidemark/next")
const registry = globalThis as { [LAST_HANDLER]?: PublishNow }

/** Entries that are to be made anew: one that this fails for is asked for ever more rarely. */
class Attempts {
  readonly #byKey = new Map<
    string,
    { readonly stamp: string; readonly pause: Milliseconds; readonly until: Milliseconds }
  >()
  readonly #now: () => Milliseconds

  constructor(now: () => Milliseconds) {
    this.#now = now
  }

  /** How long the entry of this stamp is not to be made anew, as that has just failed; 0 where it is to be. */
  pauseOf(key: string, stamp: string): Milliseconds {
    const last = this.#byKey.get(key)
    return last?.stamp === stamp ? Math.min(Math.max(last.until - this.#now(), 0), last.pause) : 0
  }

  /** The entry of this stamp is to be made anew. */
  begin(key: string, stamp: string): void {
    const last = this.#byKey.get(key)
    this.#byKey.delete(key)
    this.#byKey.set(key, last?.stamp === stamp ? last : { stamp, pause: 0, until: 0 })
    for (const oldest of this.#byKey.keys()) {
      if (this.#byKey.size <= MAX_ATTEMPTS) break
      this.#byKey.delete(oldest)
    }
  }

  /** It was made. */
  succeed(key: string): void {
    this.#byKey.delete(key)
  }

  /** It could not be made. Answers whether there is an old one, which is served meanwhile. */
  fail(key: string): boolean {
    const last = this.#byKey.get(key)
    if (!last) return false
    const pause = last.pause > 0 ? Math.min(2 * last.pause, LONGEST_PAUSE) : FIRST_PAUSE
    this.#byKey.set(key, { ...last, pause, until: this.#now() + pause })
    return true
  }
}

/** Tells people, of each code at most once a minute. Of what was thrown the words alone: the rest may hold anything. */
function warnings(): (warning: CacheHandlerWarning) => void {
  const said = new Map<string, Milliseconds>()
  return ({ code, message, cause }) => {
    const now = performance.now()
    if (now - (said.get(code) ?? -Infinity) < MINUTE) return
    said.set(code, now)
    const words = cause instanceof Error ? ` (${cause.message})` : ""
    // oxlint-disable-next-line no-console -- where Next.js says its own; `onWarning` says it elsewhere
    console.warn(`tidemark: ${code}: ${message}${words}`)
  }
}

const VERDICTS = ["fresh", "stale", "unknown", "dead"] as const

function worse(one: Judgement, other: Judgement): Judgement {
  if (one.verdict === "stale" && other.verdict === "stale") return one.staleFor > other.staleFor ? one : other
  return VERDICTS.indexOf(one.verdict) > VERDICTS.indexOf(other.verdict) ? one : other
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
