import type { Clock } from "../dispatch/clock.ts"
import { parseWakeChannel, probeChannel, WAKE_PATTERN } from "../protocol/keys.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { createConnection, discard, reconnectDelay, type RedisConnection } from "./redis/connection.ts"
import type { RedisTls } from "./redis/environment.ts"

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
  /** Publishes through the connection for commands. Rejects when Redis did not take it. */
  readonly publish: (channel: string, message: string) => Promise<void>
  /** There may be something new of a tenant. The message itself says nothing that is believed. */
  readonly onWake: (tenant: string, namespace: Namespace) => void
  /** Whatever was published while nobody listened is gone from Pub/Sub for good: read the log. */
  readonly onSubscribed: () => void
  readonly emit?: <K extends keyof SubscriptionEvents>(event: K, payload: SubscriptionEvents[K]) => void
}

const CONNECT_WITHIN: Milliseconds = 3 * SECOND
/**
 * Of PINGs and probes alike: what is sent now must be back when the next is due, so that a link that went dead is
 * noticed within two of these.
 */
const EVERY: Milliseconds = 2 * SECOND

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
  #leave = (): void => {}
  #awaited: { readonly message: string; readonly sentAt: Milliseconds } | undefined
  #probes = 0

  constructor(options: SubscriptionOptions) {
    this.#options = options
    this.#running = this.#run()
  }

  /** Whether messages were seen to arrive, lately enough that the next probe is not overdue. */
  get isProven(): boolean {
    const { clock } = this.#options
    return this.#provenAt !== undefined && clock.now() - this.#provenAt < 2 * EVERY + SECOND
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
      const connection = createConnection(this.#options.redisUrl, "subscriber", this.#options.tls)
      const lost = Promise.withResolvers<"closed" | "left">()
      this.#leave = () => lost.resolve("left")
      const over = new AbortController()
      const until = AbortSignal.any([over.signal, signal])
      connection.on("error", () => lost.resolve("closed"))
      connection.on("end", () => lost.resolve("closed"))
      let wasLeft = false
      try {
        await this.#within(CONNECT_WITHIN, connection.connect())
        await this.#within(
          CONNECT_WITHIN,
          connection.pSubscribe(WAKE_PATTERN, (message, channel) => this.#heard(channel, message)),
        )
        emit?.("subscription:subscribed", { attempt: failures + 1 })
        this.#options.onSubscribed()
        failures = 0
        const reason = await Promise.race([lost.promise, this.#watch(connection, until), aborted(until)])
        if (reason !== "aborted") emit?.("subscription:lost", { reason })
        wasLeft = reason === "left"
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
    const { relay, clock, emit, onWake } = this.#options
    if (channel === probeChannel(relay)) {
      if (message !== this.#awaited?.message) return
      const took = clock.now() - this.#awaited.sentAt
      if (this.#provenAt === undefined) emit?.("subscription:proven", { took })
      this.#provenAt = clock.now()
      this.#awaited = undefined
      return
    }
    const wake = parseWakeChannel(channel)
    if (wake) onWake(wake.tenant, wake.namespace)
  }

  /** Resolves when the connection answers no PING, or hands over no message that Redis took; else never. */
  async #watch(connection: RedisConnection, over: AbortSignal): Promise<"ping" | "probe"> {
    return Promise.race([this.#pings(connection, over), this.#sendProbes(over)])
  }

  async #pings(connection: RedisConnection, over: AbortSignal): Promise<"ping"> {
    while (!over.aborted) {
      await this.#options.clock.sleep(EVERY, over)
      if (!over.aborted && !(await this.#within(EVERY, connection.ping()).then(yes, no))) return "ping"
    }
    return never()
  }

  async #sendProbes(over: AbortSignal): Promise<"probe"> {
    const { clock, relay, publish } = this.#options
    while (!over.aborted) {
      this.#probes += 1
      const probe = { message: String(this.#probes), sentAt: clock.now() }
      this.#awaited = probe
      // One that could not be published proves nothing.
      const sent = await publish(probeChannel(relay), probe.message).then(yes, no)
      await clock.sleep(sent ? EVERY : SECOND, over)
      if (sent && this.#awaited === probe && !over.aborted) return "probe"
    }
    return never()
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
