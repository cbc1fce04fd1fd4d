import { sha256, toHex, utf8 } from "../protocol/bytes.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, SECOND } from "../protocol/time.ts"
import { BackOff } from "./back-off.ts"
import { BoundedCalls, type Unstorage } from "./bounded-storage.ts"
import type { WaitUntil } from "./epochs.ts"
import { FOREVER } from "./page.ts"
import type { EpochCacheWarning } from "./pages.ts"
import { settles } from "./patience.ts"
import { markOf, readOptions, type Stamped, staleFor } from "./stamped.ts"
import type { Tidemark } from "./tidemark.ts"
import { droppedTeller } from "./dropped.ts"
import { onceAMinute, warn } from "./trouble.ts"
import { wordsOf } from "./words.ts"

/** Values of functions that `tidemark/nuxt` keeps in a storage, under stamps; and the options of all that it keeps. */

/** How long a caller waits for another's fill of the same key before it begins its own. */
const FILL_PATIENCE: Milliseconds = 30 * SECOND

/** How long a storage is told to keep a value at most: as long as caches are by default (`maxCacheTtl`). */
const MAX_KEPT: Milliseconds = 30 * DAY

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
   * How long after `maxAge` or a soft invalidation, in seconds, the old value is served where it cannot be made once
   * more. Default 300. 0: never. After a hard invalidation it never is.
   */
  readonly staleIfError?: number
  /**
   * Goes into every key. Change it where entries of the last deployment must not be served, as pages that name its
   * scripts: `useRuntimeConfig().app.buildId`. Default: none.
   */
  readonly version?: string | (() => string)
  /**
   * Called when something is not as it should be; an outage of the storage under functions is told once. Default:
   * `console.warn`, once a minute for each code.
   */
  readonly onWarning?: (warning: EpochCacheWarning) => void
}

/** The shared options, in milliseconds and with their defaults. */
interface Times {
  readonly maxAge: Milliseconds
  /** How long what is stale is served while it is made once more. */
  readonly swr: Milliseconds
  /** How long where that fails. */
  readonly staleIfError: Milliseconds
}

/** @throws {RangeError} when one is out of range, naming it */
export function timesOf(options: SharedOptions): Times {
  const { maxAge, swr = true, staleMaxAge = 60, staleIfError = 300, storageTimeout = 1 } = options
  if (!(storageTimeout > 0 && storageTimeout < Infinity))
    throw new RangeError(`storageTimeout must be above 0 ms, got ${storageTimeout}`)
  if (!(maxAge === undefined || maxAge > 0)) throw new RangeError(`maxAge must be above 0 s, got ${maxAge}`)
  for (const [name, value] of Object.entries({ staleMaxAge, staleIfError }))
    if (!(value >= 0)) throw new RangeError(`${name} must be 0 s or more, got ${value}`)
  return {
    maxAge: maxAge === undefined ? FOREVER : maxAge * SECOND,
    swr: swr ? staleMaxAge * SECOND : 0,
    staleIfError: staleIfError * SECOND,
  }
}

export const versionOf = ({ version }: SharedOptions): string | undefined =>
  typeof version === "function" ? version() : version

/** Tells people of what is not as it should be, but not of each time. */
export function say(): (warning: EpochCacheWarning, context?: unknown, page?: string) => void {
  const isDue = onceAMinute(Date.now)
  const tellDropped = droppedTeller()
  return ({ code, cause, dropped }, _, page = "a page") => {
    if (dropped) tellDropped(page, dropped)
    else if (isDue(code)) warn({ message: `${code}: ${wordsOf(cause)}` })
  }
}

/** What was made for a key. */
export interface Filled<V> {
  readonly value: V
  readonly tags: readonly string[]
  readonly isKept: boolean
}

/** One call. */
export interface Call<V> {
  readonly namespace: Namespace
  /** Makes the value, perhaps with nobody waiting. */
  readonly fill: () => Promise<Filled<V>>
  /** False where what is made of this value is kept in turn: it would be stamped newer than what it shows. */
  readonly mayBeStale: boolean
  readonly waitUntil?: WaitUntil | undefined
}

interface Entry<V> {
  readonly value: V
  readonly mark: Stamped | undefined
  /** In milliseconds since 1970. */
  readonly until: Milliseconds
}

interface Flight<V> {
  readonly began: number
  readonly made: Promise<Entry<V>>
}

/**
 * Answers a call: with what is kept where its stamp allows it; else with what is made, which is then kept under a stamp
 * from before. Calls for one key share one fill, and its failure; one that came after an invalidation is not given what
 * was made before it.
 *
 * @throws whatever the fill does, where there is no old value to answer with
 */
export type Entries<V> = (key: string, call: Call<V>) => Promise<V>

/** @throws {RangeError} when an option is out of range, naming it */
export function createEntries<V>(options: SharedOptions): Entries<V> {
  const { tidemark, storage, onWarning = say() } = options
  const { maxAge, swr, staleIfError } = timesOf(options)
  const calls = new BoundedCalls(options.storageTimeout)
  const kept = { ttl: Math.ceil(Math.min(maxAge + Math.max(swr, staleIfError), MAX_KEPT) / SECOND) }
  const flights = new Map<string, Flight<V>>()
  const backOff = new BackOff()
  let order = 0

  /** Calls the storage; gives undefined where it fails. */
  async function ask<T>(kind: "get" | "set", call: (given: Unstorage) => T): Promise<Awaited<T> | undefined> {
    try {
      return await calls.run(kind, async () => call(typeof storage === "function" ? storage() : storage))
    } catch (cause) {
      onWarning({ code: kind === "get" ? "cache-failed" : "put-failed", cause })
      return undefined
    }
  }

  async function read(key: string): Promise<Entry<V> | undefined> {
    const stored = await ask("get", (given) => given.getItem(key))
    if (typeof stored !== "object" || stored === null || !("value" in stored)) return undefined
    const { value, tidemark: mark, until } = stored as { value: V; tidemark?: Stamped; until?: unknown }
    return { value, mark, until: typeof until === "number" ? until : 0 }
  }

  /** How long something has not been fresh any more; below 0 where it is. */
  async function ageOf({ mark, until }: Entry<V>, { namespace, waitUntil }: Call<V>): Promise<Milliseconds> {
    return Math.max(await staleFor(tidemark, namespace, mark, readOptions(waitUntil)), Date.now() - until)
  }

  async function make({ namespace, fill: run, waitUntil }: Call<V>): Promise<Entry<V>> {
    const { stamp } = await tidemark.begin(namespace, readOptions(waitUntil))
    const { value, tags, isKept } = await run()
    return { value, mark: isKept ? markOf(stamp, tags) : undefined, until: Date.now() + maxAge }
  }

  /** Makes a value, and keeps it. Others that want it meanwhile wait for it. */
  function fill(key: string, call: Call<V>): Promise<Entry<V>> {
    const made = make(call)
    const flight = { began: (order += 1), made }
    flights.set(key, flight)
    const land = async () => {
      try {
        const { value, mark, until } = await made
        backOff.succeeded(key)
        // Not where another was begun since, which is newer.
        if (mark && flights.get(key) === flight)
          await ask("set", (given) => given.setItem(key, { value, tidemark: mark, until }, kept))
      } catch {
        // Told to whoever waits for it.
      }
      if (flights.get(key) === flight) flights.delete(key)
    }
    const landed = land()
    call.waitUntil?.(landed)
    return made
  }

  /** The value could not be made once more: the old one stays, and it is tried again later. */
  function setBack(key: string, cause: unknown): void {
    if (!backOff.isResting(key)) onWarning({ code: "revalidation-failed", cause })
    backOff.failed(key)
  }

  function revalidate(key: string, call: Call<V>): void {
    if (flights.has(key) || backOff.isResting(key)) return
    fill(key, call).catch((cause: unknown) => setBack(key, cause))
  }

  /** What another makes, where this call may be given that. */
  async function joined(flight: Flight<V>, arrived: number, call: Call<V>): Promise<Entry<V> | undefined> {
    if (!(await settles(flight.made, FILL_PATIENCE))) return undefined
    const entry = await flight.made
    if (!entry.mark) return undefined
    // What another began to make before this call came may be of before an invalidation that this caller knows of.
    return flight.began > arrived || (await ageOf(entry, call)) < 0 ? entry : undefined
  }

  async function makeOrJoin(key: string, call: Call<V>, arrived: number, before: Flight<V> | undefined) {
    // Asked for before as well: it may end, and have stored the value, after the storage was read.
    const running = flights.get(key) ?? before
    const shared = running && (await joined(running, arrived, call))
    if (shared) return shared
    // Those that it was too old for share one more.
    const next = running && flights.get(key)
    const second = next && next !== running && (await joined(next, arrived, call))
    return second || fill(key, call)
  }

  return async (given, call) => {
    const name = [call.namespace, versionOf(options), given]
    const key = `tidemark:functions:${toHex(await sha256(utf8(JSON.stringify(name))))}`
    const arrived = (order += 1)
    const before = flights.get(key)
    const found = await read(key)
    const age = found ? await ageOf(found, call) : Infinity
    if (found && age < 0) return found.value
    const isSpare = call.mayBeStale && age < staleIfError
    if (found && ((call.mayBeStale && age < swr) || (isSpare && backOff.isResting(key)))) {
      revalidate(key, call)
      return found.value
    }
    try {
      return (await makeOrJoin(key, call, arrived, before)).value
    } catch (cause) {
      if (!found || !isSpare) throw cause
      setBack(key, cause)
      return found.value
    }
  }
}
