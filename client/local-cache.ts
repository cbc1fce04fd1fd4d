import { LRUCache } from "lru-cache"
import type { Epoch, Stamp } from "../protocol/epoch.ts"
import { isNamespace, type Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import { BackOff } from "./back-off.ts"
import { quietly, settles } from "./patience.ts"
import type { Depends, Judgement, Tidemark } from "./tidemark.ts"
import { onceAMinute, warn } from "./trouble.ts"
import { wordsOf } from "./words.ts"

/** How long one caller waits for another's fill of the same key before it begins its own. */
const FILL_PATIENCE: Milliseconds = 30 * SECOND

/** Entries that are judged at once in a sweep; in between, requests get their turn. */
const SWEEP_STRIDE = 250

export interface LocalCacheOptions<V> {
  /** The reader of epochs; one a process. */
  readonly tidemark: Pick<Tidemark, "begin" | "judge">
  /** The namespace of the entries. */
  readonly namespace: Namespace
  /** Most entries; of more, those used longest ago go. Default 10,000. */
  readonly maxEntries?: number
  /** Most bytes in all, as `sizeOf` counts them. A value that is larger than that by itself is not kept. Default: any. */
  readonly maxBytes?: number
  /** Roughly how many bytes a value takes. Needed with `maxBytes`. */
  readonly sizeOf?: (value: V) => number
  /**
   * How long an entry may be served at most, in milliseconds, whatever its stamp says. 0: it is not kept. Default
   * `Infinity`: the stamp alone tells.
   */
  readonly maxAge?: Milliseconds
  /**
   * From 0 to 1: the part of `maxAge` by which it is shortened at random, so that entries of one moment do not all end
   * in one. Default 0.1.
   */
  readonly jitter?: number
  /**
   * How long after a soft invalidation, in milliseconds, the old value may still be served while it is revalidated.
   * Default 60,000. 0: never. After a hard one it never is.
   */
  readonly swr?: Milliseconds
  /**
   * How long after a soft invalidation, in milliseconds, the old value is still served where `fill` fails, instead of
   * the failure. Default 300,000. 0: never. After a hard one it never is.
   */
  readonly staleIfError?: Milliseconds
  /**
   * Called when a revalidation failed, of which no caller learns. The old value stays, and is not read anew for a second,
   * then for twice as long each time, up to 30 s. What it throws is ignored. Default: a line on `console.warn`, at most
   * once a minute.
   */
  readonly onRevalidationError?: (error: unknown, key: string) => unknown
  /** Milliseconds from any moment, by which `maxAge` is counted. Default `performance.now`. */
  readonly now?: () => Milliseconds
  /** From 0 to 1, for `jitter`. Default `Math.random`. */
  readonly random?: () => number
}

export interface FillOptions<V> {
  /** Reads the value from where it is true. What it is read from must not be a cache that is invalidated later. */
  readonly fill: () => V | Promise<V>
  /** The tags of the value, where need be once it is known. Default: none, so that only whole bumps concern it. */
  readonly tags?: readonly string[] | ((value: V) => readonly string[])
  /** The urls that the value is published under. Default: none. */
  readonly urls?: readonly string[]
  /** Instead of the cache's own, for the entry that is filled. */
  readonly maxAge?: Milliseconds
  /** Reads one's own write: see `ReadOptions`. */
  readonly fresh?: { readonly atLeast: Epoch }
}

/** What `followWakes` does with a cache. */
export interface Sweepable {
  readonly namespace: Namespace
  /** Judges every entry anew, and drops what may not be served any more. Never rejects. */
  sweep(): Promise<void>
  /** Drops everything. */
  clear(): void
}

export interface LocalCache<V> extends Sweepable {
  /** How many entries it holds. */
  readonly size: number
  /**
   * The value of a key: the one that is kept, where its stamp allows it; else what `fill` reads, which is then kept
   * under a stamp from before.
   *
   * - Callers that ask for the same key share one `fill`, and its failure; but one that came after an invalidation is
   *   not given what was read before it.
   * - A value that was softly invalidated is served while one `fill` runs in the background; and longer, where that
   *   fails.
   * - While nothing is known of the epochs, `fill` answers and nothing is kept.
   *
   * The value is handed out as it is: whoever changes it changes it for all.
   *
   * @throws whatever `fill` does, where no old value stands in
   */
  getOrFill(key: string, options: FillOptions<V>): Promise<V>
}

interface Entry<V> {
  readonly value: V
  /** Undefined where nothing was known: then the entry is not kept. */
  readonly stamp: Stamp | undefined
  readonly depends: Depends
}

interface Flight<V> {
  readonly began: number
  readonly since: Milliseconds
  readonly filled: Promise<Entry<V>>
}

/**
 * A cache in the memory of one process, of whose entries none is served as fresh that was invalidated since: each is
 * held under its stamp, and judged when it is read. It starts nothing by itself and needs no closing.
 *
 * @throws {RangeError} when an option is out of range, naming it
 */
export function createLocalCache<V>(options: LocalCacheOptions<V>): LocalCache<V> {
  const { tidemark, namespace, maxEntries = 10_000, maxBytes, sizeOf, now, random = Math.random } = options
  const { maxAge: ownMaxAge = Infinity, jitter = 0.1, swr = MINUTE, staleIfError = 5 * MINUTE } = options
  const { onRevalidationError = warnerOf(namespace) } = options
  check("namespace", namespace, isNamespace(namespace))
  check("maxEntries", maxEntries, Number.isInteger(maxEntries) && maxEntries > 0)
  check("jitter", jitter, jitter >= 0 && jitter <= 1)
  check("swr", swr, swr >= 0)
  check("staleIfError", staleIfError, staleIfError >= 0)
  check("maxAge", ownMaxAge, ownMaxAge >= 0)
  if (maxBytes !== undefined) {
    check("maxBytes", maxBytes, Number.isInteger(maxBytes) && maxBytes > 0)
    check("sizeOf, which maxBytes needs,", sizeOf, sizeOf !== undefined)
  }

  const backOff = new BackOff(now ?? (() => performance.now()), random)
  const entries = new LRUCache<string, Entry<V>>({
    max: maxEntries,
    // What is replaced or gone has nothing to be revalidated.
    dispose: (_, key) => backOff.succeeded(key),
    // A resolution would take a timer.
    ttlResolution: 0,
    ...(now ? { perf: { now } } : {}),
    ...(maxBytes !== undefined && sizeOf
      ? { maxSize: maxBytes, sizeCalculation: ({ value }) => Math.max(1, Math.ceil(sizeOf(value))) }
      : {}),
  })
  const flights = new Map<string, Flight<V>>()
  /** Counts calls and fills in the order in which they began. */
  let turn = 0

  const judge = ({ stamp, depends }: Entry<V>, how: Pick<FillOptions<V>, "fresh"> = {}) =>
    tidemark.judge(stamp, namespace, depends, readOptions(how))

  /** Whether an entry may be served; where it is stale, its revalidation is seen to. */
  async function mayServe(key: string, entry: Entry<V>, how: FillOptions<V>): Promise<boolean> {
    const judgement = await judge(entry, how)
    switch (judgement.verdict) {
      case "fresh":
        return true
      case "stale": {
        // Tried a short while ago, and nobody need wait to see it fail again.
        const isResting = backOff.isResting(key)
        if (!lasts(judgement, swr)) return isResting && lasts(judgement, staleIfError)
        if (!isResting && !isRunning(key)) void quietly(() => fill(key, how))
        return true
      }
      case "dead":
        drop(key, entry)
        return false
      case "unknown":
        return false
    }
  }

  /** Whether an entry is served where it could not be filled anew. */
  async function mayStandIn(entry: Entry<V>, how: FillOptions<V>): Promise<boolean> {
    const judgement = await judge(entry, how)
    return judgement.verdict === "fresh" || lasts(judgement, swr) || lasts(judgement, staleIfError)
  }

  /** Whether a fill is under way. One that takes for ever keeps nobody from beginning another. */
  function isRunning(key: string): boolean {
    const flight = flights.get(key)
    return flight !== undefined && performance.now() - flight.since < FILL_PATIENCE
  }

  function fill(key: string, how: FillOptions<V>): Promise<Entry<V>> {
    const flight = { began: (turn += 1), since: performance.now(), filled: readAndKeep(key, how) }
    flights.set(key, flight)
    const end = () => {
      if (flights.get(key) === flight) flights.delete(key)
    }
    flight.filled.then(
      () => {
        backOff.succeeded(key)
        end()
      },
      (error: unknown) => {
        if (entries.has(key)) backOff.failed(key)
        end()
        void quietly(() => tell(error, key, how))
      },
    )
    return flight.filled
  }

  /** Tells of a failure where the old value hides it from whoever asks. */
  async function tell(error: unknown, key: string, how: FillOptions<V>): Promise<void> {
    const kept = entries.peek(key)
    if (kept && (await mayStandIn(kept, how))) await onRevalidationError(error, key)
  }

  /** @param arrived when whoever asks came */
  async function fillOrJoin(key: string, how: FillOptions<V>, arrived: number): Promise<Entry<V>> {
    const running = flights.get(key)
    if (running && (await settles(running.filled, FILL_PATIENCE))) {
      const filled = await running.filled
      // What another read before this call came may be of before an invalidation that this caller knows of.
      if (running.began > arrived || (await mayServe(key, filled, how))) return filled
    }
    const next = flights.get(key)
    return next && next !== running ? next.filled : fill(key, how)
  }

  async function readAndKeep(key: string, how: FillOptions<V>): Promise<Entry<V>> {
    const { stamp } = await tidemark.begin(namespace, readOptions(how))
    const value = await how.fill()
    const tags = typeof how.tags === "function" ? how.tags(value) : how.tags
    const entry = { value, stamp, depends: dependsOf(tags, how.urls) }
    keep(key, entry, how.maxAge ?? ownMaxAge)
    return entry
  }

  function keep(key: string, entry: Entry<V>, maxAge: Milliseconds): void {
    const { stamp } = entry
    const present = entries.peek(key)?.stamp
    // A fill that took so long that another was begun meanwhile.
    const isOlder = stamp && present && stamp.generation === present.generation && stamp.epoch < present.epoch
    if (!stamp || isOlder) return
    if (!(maxAge > 0)) entries.delete(key)
    // lru-cache wants whole milliseconds, and takes 0 for ever.
    else if (maxAge === Infinity) entries.set(key, entry, { ttl: 0 })
    else entries.set(key, entry, { ttl: Math.max(1, Math.round(maxAge * (1 - jitter * random()))) })
  }

  /** Unless another has taken its place. */
  function drop(key: string, entry: Entry<V>): void {
    if (entries.peek(key) === entry) entries.delete(key)
  }

  return {
    namespace,
    get size() {
      return entries.size
    },
    clear: () => entries.clear(),

    async getOrFill(key, how) {
      const arrived = (turn += 1)
      const kept = entries.get(key)
      if (kept && (await mayServe(key, kept, how))) return kept.value
      try {
        return (await fillOrJoin(key, how, arrived)).value
      } catch (error) {
        // Judged once more: it may have been purged meanwhile.
        if (kept && (await mayStandIn(kept, how))) return kept.value
        throw error
      }
    },

    async sweep() {
      const held = [...entries.entries()]
      for (let from = 0; from < held.length; from += SWEEP_STRIDE) {
        if (from > 0) await new Promise((resolve) => setTimeout(resolve, 0))
        await Promise.all(
          held.slice(from, from + SWEEP_STRIDE).map(async ([key, entry]) => {
            const judgement = await judge(entry)
            const isOver =
              judgement.verdict === "stale" && !lasts(judgement, swr) && !lasts(judgement, staleIfError)
            if (judgement.verdict === "dead" || isOver) drop(key, entry)
          }),
        )
      }
    },
  }
}

/** Whether a stale entry was invalidated no longer ago than this; by 0 none is. */
const lasts = (judgement: Judgement, length: Milliseconds): boolean =>
  judgement.verdict === "stale" && length > 0 && judgement.staleFor <= length

/** Says on the console that old values are served, once a minute. */
function warnerOf(namespace: Namespace): (error: unknown) => void {
  const isDue = onceAMinute(() => performance.now())
  return (error) => {
    if (!isDue("")) return
    warn({ message: `old values of ${namespace} are served, as none can be read anew: ${wordsOf(error)}` })
  }
}

const readOptions = ({ fresh }: { readonly fresh?: { readonly atLeast: Epoch } }) => (fresh ? { fresh } : {})

/** Of what is no list of texts nobody can say what it depends on. */
function dependsOf(tags: unknown = [], urls: unknown = []): Depends {
  return isTexts(tags) && isTexts(urls) ? { tags, urls } : "anything"
}

const isTexts = (list: unknown): list is readonly string[] =>
  Array.isArray(list) && list.every((text) => typeof text === "string")

function check(name: string, value: unknown, isRight: boolean): void {
  if (!isRight) throw new RangeError(`${name} is out of range: ${String(value)}`)
}
