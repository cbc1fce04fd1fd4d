import { sha256, toHex, utf8 } from "../protocol/bytes.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, SECOND } from "../protocol/time.ts"
import { BoundedCalls, type Unstorage } from "./bounded-storage.ts"
import type { WaitUntil } from "./epochs.ts"
import { settles } from "./patience.ts"
import { judgeMark, markOf, readOptions, type Stamped, type Usable } from "./stamped.ts"
import type { Tidemark } from "./tidemark.ts"

/** What `tidemark/nuxt` keeps in a storage, under stamps: values of functions, and responses. */

/** How long a caller waits for another's fill of the same key before it begins its own. */
const FILL_PATIENCE: Milliseconds = 30 * SECOND

/** After a revalidation that failed, the next one waits for so long. */
const BACK_OFF: Milliseconds = 5 * SECOND

/** Keys remembered as not to be shared, or as having failed; of more, all are forgotten. */
const MAX_REMEMBERED = 1_000

/** How long a storage is told to keep an entry at most: as long as caches are by default (`maxCacheTtl`). */
export const MAX_KEPT: Milliseconds = 30 * DAY

/** Options that functions, handlers and pages share. Times are in seconds, as Nitro's are. */
export interface SharedOptions {
  /** The reader of epochs; made once a process, not once a call. */
  readonly tidemark: Tidemark
  /** Where entries are kept: `() => useStorage("cache")`. */
  readonly storage: Unstorage | (() => Unstorage)
  /**
   * How long the storage is waited for, in milliseconds, before it goes on without. Default 2,000; 0 is refused.
   */
  readonly storageTimeout?: Milliseconds
  /** How long an entry is fresh at most, in seconds. Default: until it is invalidated. */
  readonly maxAge?: number
  /** Serves the old value while one revalidation runs, after `maxAge` or a soft invalidation. Default true. */
  readonly swr?: boolean
  /** How long it is served so, in seconds. Default 60. 0: never. After a hard invalidation it never is. */
  readonly staleMaxAge?: number
  /**
   * Goes into every key. Change it where entries of the last deployment must not be served, as pages that name its
   * scripts: `useRuntimeConfig().app.buildId`. Default `""`.
   */
  readonly version?: string | (() => string)
  /**
   * Called when the storage or a revalidation fails; an outage of the storage is told once. Default: nobody is told.
   */
  readonly onError?: (error: unknown) => void
}

/** What was made for a key. */
export interface Filled<V> {
  readonly value: V
  readonly tags: readonly string[]
  readonly urls?: readonly string[]
  /** `no`: it is not shown to others. `gone`: nor is what is kept under the key. Default `yes`. */
  readonly isKept?: "yes" | "no" | "gone"
}

/** One call. */
export interface Turn<V> {
  readonly namespace: Namespace
  /** Makes the value, perhaps with nobody waiting. */
  readonly fill: (isBackground: boolean) => Promise<Filled<V>>
  /** False where what is made of this value is kept in turn: it would be stamped newer than what it shows. */
  readonly mayBeStale: boolean
  readonly waitUntil?: WaitUntil | undefined
}

/** How a call was answered. */
export interface Found<V> {
  readonly value: V
  /** As in `Cache-Status`. */
  readonly how: string
  readonly isStale: boolean
}

interface Entry<V> {
  readonly value: V
  readonly mark: Stamped | undefined
  /** In milliseconds since 1970. Undefined: until it is invalidated. */
  readonly until: Milliseconds | undefined
}

interface Flight<V> {
  readonly began: number
  readonly made: Promise<Entry<V>>
}

export interface Entries<V> {
  /**
   * Answers a call: with what is kept where its stamp allows it; else with what is made, which is then kept under a
   * stamp from before. Calls for one key share one fill, and its failure; one that came after an invalidation is not
   * given what was made before it.
   *
   * @throws whatever the fill does
   */
  get(key: string, turn: Turn<V>): Promise<Found<V>>
}

/**
 * @param kind tells those apart that share a storage
 * @throws {RangeError} when an option is out of range, naming it
 */
export function createEntries<V>(options: SharedOptions, kind: string): Entries<V> {
  const { tidemark, storage, maxAge, swr = true, staleMaxAge = 60, version = "", onError } = options
  if (!(maxAge === undefined || maxAge > 0)) throw new RangeError(`maxAge must be above 0 s, got ${maxAge}`)
  if (!(staleMaxAge >= 0)) throw new RangeError(`staleMaxAge must be 0 s or more, got ${staleMaxAge}`)
  const calls = new BoundedCalls(options.storageTimeout)
  const window = swr ? staleMaxAge * SECOND : 0
  const kept = { ttl: Math.ceil(Math.min((maxAge ?? Infinity) * SECOND + window, MAX_KEPT) / SECOND) }
  const flights = new Map<string, Flight<V>>()
  const unshared = new Set<string>()
  const restsUntil = new Map<string, Milliseconds>()
  let order = 0

  async function quietly<T>(
    what: "get" | "set",
    call: (given: Unstorage) => T,
  ): Promise<Awaited<T> | undefined> {
    try {
      return await calls.run(what, async () => call(typeof storage === "function" ? storage() : storage))
    } catch (error) {
      onError?.(error)
      return undefined
    }
  }

  async function read(key: string): Promise<Entry<V> | undefined> {
    const stored = await quietly("get", async (given) => given.getItem(key))
    if (typeof stored !== "object" || stored === null || !("value" in stored)) return undefined
    const { value, tidemark: mark, until } = stored as { value: V; tidemark?: Stamped; until?: unknown }
    return { value, mark, until: typeof until === "number" ? until : undefined }
  }

  async function write(key: string, { value, mark, until }: Entry<V>): Promise<void> {
    await quietly("set", async (given) => given.setItem(key, { value, tidemark: mark, until }, kept))
  }

  async function usableNow({ mark, until = Infinity }: Entry<V>, turn: Turn<V>): Promise<Usable | undefined> {
    const { namespace, waitUntil, mayBeStale } = turn
    const grace = mayBeStale ? window : 0
    const usable = await judgeMark(tidemark, namespace, mark, grace, readOptions(waitUntil))
    const age = Date.now() - until
    if (usable !== "fresh" || age < 0) return usable
    return age < grace ? "stale" : undefined
  }

  /** Makes a value, and keeps it. Others that want it meanwhile wait for it. */
  function fill(key: string, turn: Turn<V>, isBackground: boolean): Promise<Entry<V>> {
    const made = make(key, turn, isBackground)
    const flight = { began: (order += 1), made }
    flights.set(key, flight)
    const land = async () => {
      try {
        const entry = await made
        // Not where another was begun since, which is newer.
        if (entry.mark && flights.get(key) === flight) await write(key, entry)
      } catch {
        // Told to whoever waits for it.
      }
      if (flights.get(key) === flight) flights.delete(key)
    }
    const landed = land()
    turn.waitUntil?.(landed)
    return made
  }

  async function make(key: string, turn: Turn<V>, isBackground: boolean): Promise<Entry<V>> {
    const { stamp } = await tidemark.begin(turn.namespace, readOptions(turn.waitUntil))
    const { value, tags, urls, isKept = "yes" } = await turn.fill(isBackground)
    if (isKept === "yes") unshared.delete(key)
    else if (unshared.add(key).size > MAX_REMEMBERED) unshared.clear()
    if (isKept === "gone") await quietly("set", async (given) => given.setItem(key, undefined))
    const mark = isKept === "yes" ? markOf(stamp, tags, urls) : undefined
    return { value, mark, until: maxAge === undefined ? undefined : Date.now() + maxAge * SECOND }
  }

  function revalidate(key: string, turn: Turn<V>): void {
    const rest = (restsUntil.get(key) ?? 0) - Date.now()
    // One that is further off than any was set before the clock went back.
    if (flights.has(key) || (rest > 0 && rest <= BACK_OFF)) return
    fill(key, turn, true).then(
      () => restsUntil.delete(key),
      (error: unknown) => {
        if (restsUntil.set(key, Date.now() + BACK_OFF).size > MAX_REMEMBERED) restsUntil.clear()
        onError?.(error)
      },
    )
  }

  /** What another makes, where this call may be given that. */
  async function joined(flight: Flight<V>, arrived: number, turn: Turn<V>): Promise<Entry<V> | undefined> {
    if (!(await settles(flight.made, FILL_PATIENCE))) return undefined
    const entry = await flight.made
    if (!entry.mark) return undefined
    // What another began to make before this call came may be of before an invalidation that this caller knows of.
    return flight.began > arrived || (await usableNow(entry, turn)) === "fresh" ? entry : undefined
  }

  return {
    async get(given, turn) {
      const name = [turn.namespace, typeof version === "function" ? version() : version, given]
      const key = `tidemark:${kind}:${toHex(await sha256(utf8(JSON.stringify(name))))}`
      const arrived = (order += 1)
      const before = flights.get(key)
      const found = await read(key)
      const usable = found && (await usableNow(found, turn))
      if (usable === "stale") revalidate(key, turn)
      if (usable) {
        const isStale = usable === "stale"
        return { value: found.value, how: isStale ? "hit; detail=stale-while-revalidate" : "hit", isStale }
      }
      const why = found ? "fwd=stale" : "fwd=uri-miss"
      const answer = ({ value }: Entry<V>, how: string) => ({ value, how: `${why}; ${how}`, isStale: false })
      // Asked for before as well: it may end, and have stored the value, after the storage was read.
      const running = flights.get(key) ?? before
      if (running && !unshared.has(key)) {
        const shared = await joined(running, arrived, turn)
        if (shared) return answer(shared, "collapsed")
        // Those that it was too old for share one more.
        const next = flights.get(key)
        const second = next && next !== running && (await joined(next, arrived, turn))
        if (second) return answer(second, "collapsed")
      }
      const entry = await fill(key, turn, false)
      if (entry.mark) return answer(entry, "stored")
      const how = unshared.has(key) ? why : "fwd=bypass; detail=epochs-unknown"
      return { value: entry.value, how, isStale: false }
    },
  }
}
