import type { Clock } from "../dispatch/clock.ts"
import { parseWakeChannel, probeChannel, WAKE_PATTERN } from "../protocol/keys.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { RedisTls } from "./redis/environment.ts"
import { createConnection, discard, reconnectDelay, type RedisConnection } from "./redis/connection.ts"

/** Everything worth knowing about the subscription. */
export interface SubscriptionEvents {
  "subscription:subscribed": { attempt: number }
  "subscription:proven": { took: Milliseconds }
  "subscription:lost": { reason: "closed" | "ping" | "probe" | "refused" | "left" }
}

export interface SubscriptionOptions {
  readonly redisUrl: string
  /** For a `rediss://` address. Default: Node's own authorities, and no certificate of ours. */
  readonly tls?: RedisTls
  /** Names this relay's probes. */
  readonly relay: string
  readonly clock: Clock
  /** How often the log is read anyway: while all is well, the subscription is not tried much more often. */
  readonly poll: Milliseconds
  /** Publishes through the connection for commands. Rejects when Redis did not take it. */
  readonly publish: (channel: string, message: string) => Promise<void>
  /** There may be something new of a tenant. The message itself says nothing that is believed. */
  readonly onWake: (tenant: string, namespace: Namespace) => void
  /** A publish says that it was refused for a key of this namespace, or of what every publish needs. As little believed. */
  readonly onBroken?: (tenant: string, namespace: Namespace) => void
  /** Whatever was published while nobody listened is gone from Pub/Sub for good: read the log. */
  readonly onSubscribed: () => void
  readonly emit?: <K extends keyof SubscriptionEvents>(event: K, payload: SubscriptionEvents[K]) => void
}

const CONNECT_WITHIN: Milliseconds = 3 * SECOND
/** A probe, or the answer to a PING, must be back within this. Also how often it is tried until one came back. */
const WITHIN: Milliseconds = 2 * SECOND
/** Ours: the longest that a subscription which is proven goes untried. */
const QUIET: Milliseconds = 10 * SECOND

const yes = (): boolean => true
const no = (): boolean => false
const never = (): Promise<never> => new Promise(() => {})

/**
 * The one subscription of a relay, which distrusts itself: a link that is open at our end only says nothing for ever,
 * and no client of Redis notices by itself. Never gives up.
 */
export class Subscription {
  readonly #options: SubscriptionOptions
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  #provenAt: Milliseconds | undefined
  #awaited: { readonly message: string } | undefined
  #subscribedAt: Milliseconds = 0
  #probes = 0
  #leave = (): void => {}
  /** How long it goes untried after something was heard: what is lost meanwhile, the poll finds. */
  readonly #quiet: Milliseconds

  constructor(options: SubscriptionOptions) {
    this.#options = options
    this.#quiet = Math.min(QUIET, Math.max(WITHIN, 2 * options.poll))
    this.#running = this.#run()
  }

  /** Whether messages were seen to arrive, lately enough that the next probe is not overdue. */
  get isProven(): boolean {
    const { clock } = this.#options
    return this.#provenAt !== undefined && clock.now() - this.#provenAt < this.#quiet + WITHIN + SECOND
  }

  /** Subscribes anew at once, over another connection: the node that this one leads to is not the one to be at. */
  renew(): void {
    this.#leave()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, emit } = this.#options
    const { signal } = this.#closing
    let failures = 0
    while (!signal.aborted) {
      // Not as the gateway's subscribers are made, which PING by themselves: this one is watched.
      const connection = createConnection(this.#options.redisUrl, "other", this.#options.tls)
      const lost = Promise.withResolvers<"closed" | "left">()
      const over = new AbortController()
      const until = AbortSignal.any([over.signal, signal])
      let wasLeft = false
      this.#leave = () => lost.resolve("left")
      connection.on("error", () => lost.resolve("closed"))
      connection.on("end", () => lost.resolve("closed"))
      try {
        await this.#within(CONNECT_WITHIN, connection.connect())
        await this.#within(
          CONNECT_WITHIN,
          connection.pSubscribe(WAKE_PATTERN, (message, channel) => this.#heard(channel, message)),
        )
        this.#subscribedAt = clock.now()
        emit?.("subscription:subscribed", { attempt: failures + 1 })
        this.#options.onSubscribed()
        failures = 0
        const reason = await Promise.race([lost.promise, this.#watch(connection, until), aborted(until)])
        wasLeft = reason === "left"
        if (reason !== "aborted") emit?.("subscription:lost", { reason })
      } catch {
        if (!signal.aborted) emit?.("subscription:lost", { reason: "refused" })
      } finally {
        over.abort()
        this.#provenAt = undefined
        this.#awaited = undefined
        discard(connection)
      }
      failures = wasLeft ? 0 : failures + 1
      await clock.sleep(
        reconnectDelay(failures, () => clock.random()),
        signal,
      )
    }
  }

  #heard(channel: string, message: string): void {
    const { relay, onWake, onBroken } = this.#options
    if (channel === probeChannel(relay)) {
      if (message === this.#awaited?.message) this.#prove()
      return
    }
    const wake = parseWakeChannel(channel)
    if (!wake) return
    // It came by the same pattern.
    this.#prove()
    if (message.includes('"broken":true')) onBroken?.(wake.tenant, wake.namespace)
    else onWake(wake.tenant, wake.namespace)
  }

  #prove(): void {
    const { clock, emit } = this.#options
    if (this.#provenAt === undefined)
      emit?.("subscription:proven", { took: clock.now() - this.#subscribedAt })
    this.#provenAt = clock.now()
    this.#awaited = undefined
  }

  /**
   * Resolves when the connection hands over no message that Redis took, or, where none can be published, answers no
   * PING; else never.
   */
  async #watch(connection: RedisConnection, over: AbortSignal): Promise<"ping" | "probe"> {
    const { clock, relay, publish } = this.#options
    while (!over.aborted) {
      this.#probes += 1
      const probe = { message: String(this.#probes) }
      this.#awaited = probe
      // One that could not be published proves nothing.
      const sent = this.#within(WITHIN, publish(probeChannel(relay), probe.message))
      if (await sent.then(yes, no)) {
        await clock.sleep(WITHIN, over)
        if (this.#awaited === probe && !over.aborted) return "probe"
        await this.#beQuiet(over)
      } else {
        if (!(await this.#within(WITHIN, connection.ping()).then(yes, no)) && !over.aborted) return "ping"
        await clock.sleep(SECOND, over)
      }
    }
    return never()
  }
  /** Until nothing was heard for a while. */
  async #beQuiet(over: AbortSignal): Promise<void> {
    const { clock } = this.#options
    for (;;) {
      const left = (this.#provenAt ?? 0) + this.#quiet - clock.now()
      // More than there can be: the clock was set back.
      if (left <= 0 || left > this.#quiet || over.aborted) return
      await clock.sleep(left, over)
    }
  }

  async #within<T>(length: Milliseconds, work: Promise<T>): Promise<T> {
    const over = new AbortController()
    const late = this.#options.clock
      .sleep(length, AbortSignal.any([over.signal, this.#closing.signal]))
      .then(() => {
        throw new Error("no answer in time")
      })
    late.catch(() => {})
    try {
      return await Promise.race([work, late])
    } finally {
      over.abort()
      work.catch(() => {})
    }
  }
}

function aborted(signal: AbortSignal): Promise<"aborted"> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("aborted")
    else signal.addEventListener("abort", () => resolve("aborted"), { once: true })
  })
}
