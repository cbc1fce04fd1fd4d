import { parseEpoch, type Position, type Stamp } from "../protocol/epoch.ts"
import { parseWakeChannel, tenantWakePattern } from "../protocol/keys.ts"
import { isWithin, type Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { Sweepable } from "./local-cache.ts"
import { checkTenant, kindOf, NoAnswer, readHead, type RedisConnection } from "./redis-store.ts"
import { quietly } from "./patience.ts"
import type { Tidemark } from "./tidemark.ts"

/** Between two rounds: at least this, and so long that sweeps take a fifth of the time, however many wakes there are. */
const PAUSE: Milliseconds = 50
const REST = 4

/** The head's answer is waited for so long. */
const HEAD_TIMEOUT: Milliseconds = 2 * SECOND

/** As much of a client of node-redis as is needed. */
export interface RedisSubscriber extends RedisConnection {
  readonly isOpen: boolean
  connect(): Promise<unknown>
  destroy(): void
  pSubscribe(pattern: string, listener: (message: string, channel: string) => unknown): Promise<unknown>
  on(event: "ready" | "error", listener: (error?: unknown) => void): unknown
  off(event: "ready" | "error", listener: (error?: unknown) => void): unknown
}

/**
 * - `following`  the subscription stands, and whatever was missed before has been made good
 * - `lost`       it does not, or no message can come by it. The client comes back by itself, as it is set up to
 * - `resync`     something was missed, or may have been, and all caches were `judged` anew, or `dropped` because the log
 *                could not be asked
 * - `unreadable` a message that is no wake, and was ignored. How many there were
 */
export type WakeEvent =
  | { readonly type: "following" }
  | { readonly type: "lost"; readonly error: unknown }
  | {
      readonly type: "resync"
      readonly reason: "start" | "gap" | "behind" | "unknown"
      readonly entries: "judged" | "dropped"
    }
  | { readonly type: "unreadable"; readonly count: number }

export interface FollowWakesOptions {
  /** The reader that the caches judge by. */
  readonly tidemark: Pick<Tidemark, "hear">
  /**
   * A connection that nobody else uses, such as `client.duplicate()`; opened here if it is not, and ended by `close`.
   * By RESP3, which is node-redis 6's default, the log's head can be read over it too. By RESP2 it cannot, and whenever
   * the connection was lost, caches are dropped.
   */
  readonly subscriber: RedisSubscriber
  /** Whose wakes. Default `default`. */
  readonly tenant?: string
  /** Caches that are swept when something of their namespace changed. Default: none; the reader alone is told. */
  readonly caches?: readonly Sweepable[]
  /**
   * How often the log's head is looked at, in milliseconds, in case the subscription is deaf or its connection dead at
   * the other end. Default 5,000. 0: never.
   */
  readonly checkEvery?: Milliseconds
  /** For logs and metrics. What it throws is ignored. Default: nobody is told. */
  readonly onEvent?: (event: WakeEvent) => void
}

export interface Wakes {
  /** Ends the subscription and its connection, for good. Settles when nothing of it is running any more. */
  close(): Promise<void>
}

/**
 * Follows what is published, by Pub/Sub: the reader is told of every change, and caches are rid of what it concerns.
 *
 * That is for speed, and to free memory. What is *served* is judged when it is read, and so is right within
 * `2 * ttl` also where no message arrives. A wake is only a hint: it makes the reader ask the store anew, and entries
 * are dropped by what that answers. So an old wake drops no new entry, and one that was lost, repeated or came late does
 * no harm. Wakes do not queue up: however many there are while a sweep runs, one more sweep follows it.
 *
 * A connection that is dead at the other end is noticed by `checkEvery`, and opened anew. Where that is 0, it is left to
 * the client, whose `pingInterval` and `socketTimeout` are for that.
 *
 * Where wakes may have been missed (the connection was lost, or their numbers have a gap), the log's head is compared:
 * if it moved, all entries are judged anew; where it cannot be read, all are dropped.
 *
 * @throws {RangeError} when an option is out of range, naming it
 * @throws {TypeError} when the subscriber is no client of node-redis
 */
export function followWakes(options: FollowWakesOptions): Wakes {
  return new Follower(options)
}

class Follower implements Wakes {
  readonly #options: Required<FollowWakesOptions>
  readonly #closing = new AbortController()
  readonly #checking: Promise<void>
  /** The newest position that was heard of. */
  #seen: Position | undefined
  #following: Promise<void> | undefined
  /** What the next round is to tell the reader, and to sweep. */
  #mark: Stamp | undefined
  readonly #dirty = new Set<Sweepable>()
  #rounds: Promise<void> | undefined
  #unreadable = 0
  #isLost = false

  constructor(options: FollowWakesOptions) {
    const { tenant = "default", caches = [], checkEvery = 5 * SECOND, onEvent = () => undefined } = options
    checkTenant(tenant)
    if (!(checkEvery >= 0 && checkEvery < Infinity))
      throw new RangeError(`checkEvery must be 0 ms or more, got ${checkEvery}`)
    this.#options = { ...options, tenant, caches, checkEvery, onEvent }
    const { subscriber } = options
    if (kindOf(subscriber) !== "connection")
      throw new TypeError(
        "followWakes: subscriber must be one client of node-redis (createClient), and neither a pool, a cluster, a sentinel nor ioredis",
      )
    subscriber.on("ready", this.#onReady)
    subscriber.on("error", this.#onError)
    if (subscriber.isReady) this.#onReady()
    else if (!subscriber.isOpen) this.#connect()
    this.#checking = checkEvery > 0 ? this.#check(checkEvery) : Promise.resolve()
  }

  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort()
      const { subscriber } = this.#options
      subscriber.off("ready", this.#onReady)
      // Destroying does not stop an attempt to connect that is under way; and an error that nobody listens for would
      // end the process. So `#onError` stays.
      subscriber.on("ready", () => subscriber.destroy())
      subscriber.destroy()
    }
    await Promise.all([this.#checking, this.#following, this.#rounds])
  }

  #connect(): void {
    // What it rejects by was an `error` event too.
    this.#options.subscriber.connect().catch(this.#onError)
  }

  readonly #onError = (error?: unknown): void => {
    // Every attempt to come back fails alike: said once.
    if (!this.#isLost) this.#tell({ type: "lost", error })
    this.#isLost = true
  }

  readonly #onReady = (): void => {
    const before = this.#following
    this.#following = this.#follow().then(() => before)
  }

  /** After a connection: the subscription first, so that nothing falls between it and the head. */
  async #follow(): Promise<void> {
    const { subscriber, tenant } = this.#options
    try {
      // Where the client has renewed it already, this sends nothing.
      await subscriber.pSubscribe(tenantWakePattern(tenant), this.#onMessage)
    } catch (error) {
      this.#onError(error)
      return
    }
    await this.#compare(true)
    if (this.#closing.signal.aborted || !subscriber.isReady) return
    this.#isLost = false
    this.#tell({ type: "following" })
  }

  readonly #onMessage = (message: string, channel: string): void => {
    if (this.#closing.signal.aborted) return
    const wake = parseWake(message)
    const namespace = parseWakeChannel(channel)?.namespace
    if (!wake || namespace === undefined) {
      this.#unreadable += 1
      this.#tell({ type: "unreadable", count: this.#unreadable })
      return
    }
    const seen = this.#seen
    // Where several entries were published at once, a namespace's last one is told, and there seem to be gaps. They
    // are no loss: what is judged is kept where it is still right.
    const isGap = seen !== undefined && (wake.generation !== seen.generation || wake.seq > seen.seq + 1)
    if (!seen || seen.generation !== wake.generation || seen.seq < wake.seq) this.#seen = wake
    if (isGap) this.#resync("gap", wake)
    else this.#spread(wake, namespace)
  }

  /** Every so often, in case nothing is heard because nothing can be. */
  async #check(every: Milliseconds): Promise<void> {
    const { subscriber } = this.#options
    for (;;) {
      await pause(every, this.#closing.signal)
      if (this.#closing.signal.aborted) return
      if (subscriber.isReady) await this.#compare(false)
    }
  }

  /** Looks whether the log has come further than what was heard. */
  async #compare(isAnew: boolean): Promise<void> {
    const { subscriber, tenant } = this.#options
    const { signal } = this.#closing
    const before = this.#seen
    let head: Position | undefined
    try {
      head = await readHead(subscriber, tenant, HEAD_TIMEOUT)
    } catch (error) {
      // Lost once more: it is compared when the connection is back.
      if (signal.aborted || !subscriber.isReady) return
      if (isAnew) this.#dropAll()
      if (error instanceof NoAnswer) this.#reconnect(error)
      return
    }
    if (signal.aborted) return
    // What was heard while it was read counts too.
    const seen = this.#seen
    if (seen ? seen.generation === head?.generation && seen.seq >= head.seq : !head) return
    this.#seen = head
    this.#resync(before ? "behind" : "start", head)
  }

  /** The connection is dead at the other end, which nobody else notices for many minutes. */
  #reconnect(error: NoAnswer): void {
    this.#onError(error)
    this.#options.subscriber.destroy()
    this.#connect()
  }

  #dropAll(): void {
    this.#seen = undefined
    for (const cache of this.#options.caches) cache.clear()
    this.#tell({ type: "resync", reason: "unknown", entries: "dropped" })
  }

  #resync(reason: "start" | "gap" | "behind", mark: Stamp | undefined): void {
    this.#spread(mark, "")
    this.#tell({ type: "resync", reason, entries: "judged" })
  }

  /** Sees to it that the reader is told, and then the caches of a namespace, and of those below it, are swept. */
  #spread(mark: Stamp | undefined, namespace: Namespace): void {
    const held = this.#mark
    const isNewer =
      mark &&
      (!held ||
        mark.generation > held.generation ||
        (mark.generation === held.generation && mark.epoch > held.epoch))
    if (isNewer) this.#mark = { generation: mark.generation, epoch: mark.epoch }
    for (const cache of this.#options.caches) if (isWithin(cache.namespace, namespace)) this.#dirty.add(cache)
    this.#rounds ??= this.#runRounds()
  }

  /**
   * The first wake begins a round at once; what comes meanwhile is for the next one. The reader is told between rounds
   * only: told of each wake while it asks because of the one before, it would never know enough to call anything fresh.
   */
  async #runRounds(): Promise<void> {
    const { tidemark } = this.#options
    const { signal } = this.#closing
    while ((this.#mark || this.#dirty.size > 0) && !signal.aborted) {
      const began = performance.now()
      if (this.#mark) tidemark.hear(this.#mark)
      this.#mark = undefined
      const caches = [...this.#dirty]
      this.#dirty.clear()
      await Promise.allSettled(caches.map(async (cache) => cache.sweep()))
      await pause(Math.max(PAUSE, REST * (performance.now() - began)), signal)
    }
    this.#rounds = undefined
  }

  #tell(event: WakeEvent): void {
    // Not from here: what a listener throws must not reach the client's parser.
    if (!this.#closing.signal.aborted) queueMicrotask(() => void quietly(() => this.#options.onEvent(event)))
  }
}

/** `{"v":1,"g":<generation>,"e":<epoch>,"s":<seq>}`; undefined for what is anything else. */
function parseWake(message: string): Position | undefined {
  try {
    const { v, g, e, s } = JSON.parse(message)
    const [generation, epoch, seq] = [g, e, s].map(numberOf)
    return v === 1 && generation && epoch && seq && generation <= epoch
      ? { generation, epoch, seq }
      : undefined
  } catch {
    return undefined
  }
}

const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" ? parseEpoch(String(value)) : undefined

/** Waits, but no longer than until the signal. */
async function pause(length: Milliseconds, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", end)
      resolve()
    }
    const timer = setTimeout(end, length)
    signal.addEventListener("abort", end)
  })
}
