import { type Epoch, epochToMs, type Stamp } from "../protocol/epoch.ts"
import { askedTags, isFresh, isServable } from "../protocol/freshness.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { normalUrl } from "../protocol/selector.ts"
import { type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import { Epochs, type View, type WaitUntil } from "./epochs.ts"
import type { EpochCache } from "./l2.ts"
import type { EpochStore, Publication, Published } from "./epoch-store.ts"
import { teller, type TidemarkError } from "./trouble.ts"

/** An entry with more tags and urls than this is judged as if it depended on anything in its namespace. */
const MAX_ENTRY_TAGS = 1_000

export interface TidemarkOptions {
  /** Where epochs are looked up, such as `workerStore({ url, token })`. */
  readonly store: EpochStore
  /**
   * How long, in milliseconds, a look-up is used before it is refreshed; up to twice as long it is still used while
   * the refresh runs. What is served as fresh is therefore at most `2 * ttl` and the lag of a replica behind. Default
   * 5,000. 0: every request asks the store, and only those of the same instant share an answer.
   */
  readonly ttl?: Milliseconds
  /**
   * How old, in milliseconds, a look-up may get while the store does not answer; after that nothing is known, and the
   * cache is to be bypassed. Default 60,000; at least `2 * ttl`. 0, with a `ttl` of 0: an answer is used at once only.
   */
  readonly maxStale?: Milliseconds
  /**
   * What to do while the store does not answer: `serve-stale` judges by the last look-up up to `maxStale`, `bypass`
   * knows nothing from `2 * ttl` on. Default `serve-stale`.
   */
  readonly onStoreFailure?: "serve-stale" | "bypass"
  /**
   * A cache of look-ups below memory, such as `cacheApiL2(caches.default, …)`. It is waited for no longer than 500 ms,
   * and let alone for a while where it did not answer. Default: none.
   */
  readonly l2?: EpochCache
  /**
   * Keeps a Worker alive for refreshes in the background; `import { waitUntil } from "cloudflare:workers"` gives one.
   * Without it, and without one given with a call, a refresh may end with the request that began it, and a later
   * request then waits for its own. Default: none, which is right for Node.
   */
  readonly waitUntil?: WaitUntil
  /**
   * Called when nothing could be looked up, or not for a namespace: with the kind of trouble as `code`, and with words
   * for people. At once, then the same not again within a minute, and at most 16 texts in one. What it throws is
   * ignored. Default: a line on `console.warn`; `() => {}` says nothing.
   */
  readonly onError?: (error: TidemarkError) => unknown
  /** The clock, in milliseconds since 1970. Default `Date.now`. */
  readonly now?: () => Milliseconds
  /** From 0 to 1, spreads retries. Default `Math.random`. */
  readonly random?: () => number
}

/**
 * What an entry depends on: tags and urls of its namespace, and with neither only whole bumps; or `"anything"` where
 * that is not known, so that every invalidation in the namespace counts.
 */
export type Depends = { readonly tags?: readonly string[]; readonly urls?: readonly string[] } | "anything"

export interface ReadOptions {
  /**
   * Reads one's own write: nothing older than this epoch, as a publish answered it, is used to call an entry fresh.
   * The store is asked where what is held tells less.
   */
  readonly fresh?: { readonly atLeast: Epoch } | undefined
  /** As the option of the same name, for this call. */
  readonly waitUntil?: WaitUntil | undefined
}

export interface KeyOptions extends ReadOptions {
  /**
   * `"anything"` (default): the key changes with every invalidation in the namespace. `"namespace"`: only when the
   * whole namespace is invalidated, an ancestor, or everything; tags and urls are then *not* seen.
   */
  readonly on?: "anything" | "namespace"
}

/** What an origin is read under. */
export interface Fill {
  readonly namespace: Namespace
  /**
   * To be stored with the entry, as it is and never renewed. Undefined when nothing is known because the store did not
   * answer: then the entry must not be stored.
   */
  readonly stamp: Stamp | undefined
}

/**
 * What may be done with an entry. Exhaustive on purpose: a new verdict must break every `switch`.
 *
 * - `fresh`   serve it
 * - `stale`   it may be served while it is revalidated; `staleFor` counts from the invalidation that made it so
 * - `dead`    never serve it again: it was purged, or nothing is known of its generation
 * - `unknown` the store does not answer, and what is held is too old: bypass the cache
 */
export type Judgement =
  | { readonly verdict: "fresh" | "dead" | "unknown" }
  | { readonly verdict: "stale"; readonly staleFor: Milliseconds }

/** Epochs at request time. None of its methods reject because of the store. */
export interface Tidemark {
  /** To be called, and waited for, *before* the origin is read: the stamp for the entry that is filled from it. */
  begin(namespace: Namespace, options?: ReadOptions): Promise<Fill>
  /** What may be done with an entry of this stamp. No stamp at all is `dead`. */
  judge(
    stamp: Stamp | undefined,
    namespace: Namespace,
    depends?: Depends,
    options?: ReadOptions,
  ): Promise<Judgement>
  /** Whether an entry may be served as fresh. */
  isFresh(
    stamp: Stamp | undefined,
    namespace: Namespace,
    depends?: Depends,
    options?: ReadOptions,
  ): Promise<boolean>
  /** Whether an entry may be served while it is revalidated: it is fresh, or was invalidated but not purged. */
  isServable(stamp: Stamp | undefined, namespace: Namespace, options?: ReadOptions): Promise<boolean>
  /**
   * A text for the *key* of a cache entry, which changes with the namespace's epochs. To be asked before the origin is
   * read, and the entry stored under the same key. Undefined when nothing is known: then bypass the cache.
   */
  key(namespace: Namespace, options?: KeyOptions): Promise<string | undefined>
  /**
   * Publishes: what it names is stale from now on, may be served while it is revalidated, and is so at every target.
   * This reader knows of it at once, others within `2 * ttl`.
   *
   * @throws {StoreRefusal} when it was refused, telling why: nothing was recorded
   * @throws {TypeError} when the store cannot publish
   * @throws when the store did not answer: nobody knows whether it was recorded. Repeating it is no harm
   */
  invalidate(what: Publication): Promise<Published>
  /** As `invalidate`, but what it names is never served again. */
  purge(what: Publication): Promise<Published>
  /**
   * Takes in a wake, as Pub/Sub or an event stream brought it: the log has come as far as this. From now on nothing
   * that was told earlier is used to call an entry fresh. A wake that is older than what is known changes nothing.
   */
  hear(mark: Stamp): void
}

/**
 * Makes a reader of epochs. One serves all requests of an isolate or a process: it holds what it was told. It starts
 * nothing by itself and needs no closing.
 *
 * @throws {RangeError} when an option is out of range, naming it
 */
export function createTidemark(options: TidemarkOptions): Tidemark {
  const { store, l2, onStoreFailure = "serve-stale", now = Date.now, random = Math.random } = options
  const { ttl = 5 * SECOND, maxStale = MINUTE } = options
  if (!(ttl >= 0 && ttl < Infinity)) throw new RangeError(`ttl must be 0 or more, got ${ttl}`)
  if (!(maxStale >= 2 * ttl && maxStale < Infinity)) {
    throw new RangeError(`maxStale must be at least ${2 * ttl} ms, got ${maxStale}`)
  }
  const epochs = new Epochs({
    store,
    ttl,
    maxStale,
    onStoreFailure,
    // With a ttl of 0 no answer of a cache would ever do.
    l2: ttl > 0 ? l2 : undefined,
    tell: teller(options.onError, now),
    now,
    random,
  })

  /** What is known, with a promise only where it has to be asked or waited for. */
  const look = (
    namespace: Namespace,
    { fresh, waitUntil = options.waitUntil }: ReadOptions = {},
    stamp?: Stamp,
    depends?: Depends,
  ): View | undefined | Promise<View | undefined> => {
    const tags = () => tagsOf(depends) ?? []
    const question = { stamp, tags, atLeast: fresh?.atLeast ?? 0, waitUntil }
    return epochs.peek(namespace, question) ?? epochs.read(namespace, question)
  }

  async function judge(
    stamp: Stamp | undefined,
    namespace: Namespace,
    depends?: Depends,
    how?: ReadOptions,
  ): Promise<Judgement> {
    if (!stamp) return DEAD
    const view = await look(namespace, how, stamp, depends)
    return view ? verdictOf(stamp, view, depends, now) : UNKNOWN
  }

  async function publish(mode: "invalidate" | "purge", what: Publication): Promise<Published> {
    if (!store.publish) throw new TypeError("this store cannot publish")
    const published = await store.publish({ ...what, mode })
    epochs.wrote(published.epoch)
    return published
  }

  return {
    judge,
    invalidate: (what) => publish("invalidate", what),
    purge: (what) => publish("purge", what),
    hear: ({ generation, epoch }) => void epochs.hear({ generation, last: epoch }),
    async begin(namespace, how) {
      const view = await look(namespace, how)
      // The mark, and not the answer at hand: whatever this reader was told of was accepted before the origin is read.
      return { namespace, stamp: view && { generation: view.told.generation, epoch: view.told.last } }
    },
    async isFresh(...asked) {
      return (await judge(...asked)).verdict === "fresh"
    },
    async isServable(stamp, namespace, how) {
      const { verdict } = await judge(stamp, namespace, "anything", how)
      return verdict === "fresh" || verdict === "stale"
    },
    async key(namespace, { on = "anything", ...how } = {}) {
      const view = await look(namespace, how)
      return view && `${view.answer.generation}.${keyEpoch(view, on)}`
    },
  }
}

const FRESH: Judgement = { verdict: "fresh" }
const DEAD: Judgement = { verdict: "dead" }
const UNKNOWN: Judgement = { verdict: "unknown" }

/** As they are asked; undefined where the entry depends on more than can be asked. */
function tagsOf(depends: Depends = {}): readonly string[] | undefined {
  if (depends === "anything") return undefined
  // A url that cannot be published cannot be invalidated by itself either.
  const asked = askedTags({ ...depends, urls: depends.urls?.flatMap((url) => normalUrl(url) ?? []) })
  return asked.length > MAX_ENTRY_TAGS ? undefined : asked
}

function verdictOf(
  stamp: Stamp,
  { answer: told, high, isBlind }: View,
  depends: Depends | undefined,
  now: () => Milliseconds,
): Judgement {
  // Above the watermark nothing else counts, and most entries are.
  const isAbove = stamp.epoch >= told.watermark
  const known = isBlind ? undefined : isAbove ? [] : tagsOf(depends)
  // A tag that is not listed counts as the floor: with the watermark for one, any invalidation counts.
  const answer = known ? told : { ...told, floor: told.watermark, tags: new Map<string, Epoch>() }
  const tags = known ?? [""]
  if (isFresh(stamp, answer, tags, high)) return FRESH
  if (!isServable(stamp, answer, high)) return DEAD
  const causes = [answer.epoch, ...tags.map((tag) => answer.tags.get(tag) ?? answer.floor)]
  // Of one tag only the last invalidation is known; of several, the first of these made the entry stale.
  const since = Math.min(...causes.filter((epoch) => epoch > stamp.epoch))
  return { verdict: "stale", staleFor: Math.max(0, now() - epochToMs(since)) }
}

/**
 * A key must say no as well as a judgement does: where the answer tells less than the reader knew, the mark stands in
 * for what may have been invalidated since.
 */
const keyEpoch = ({ answer, high }: View, on: "anything" | "namespace"): Epoch => {
  if (answer.last < high.last) return high.last
  return on === "namespace" ? answer.epoch : answer.watermark
}
