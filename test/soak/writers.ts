import { createHmac, randomUUID } from "node:crypto"
import { Agent, request } from "undici"
import type { Milliseconds } from "../../protocol/time.ts"
import { pause } from "./faults.ts"
import type { Origin } from "./origin.ts"
import type { Random } from "./random.ts"
import type { Change, Judge, Mode, Violation } from "./rules.ts"
import { lags, pathOf, type Settings, SITE_ORIGIN, tagOf } from "./settings.ts"

/** How long one attempt to publish may take. The Worker answers within 4.4 s while Redis is silent. */
const PATIENCE: Milliseconds = 10_000

export interface WritersOptions {
  readonly worker: string
  readonly token: string
  readonly hookSecret: string
  readonly settings: Settings
  readonly origin: Origin
  readonly judge: Judge
  /** How many purges of a page Varnish has answered. */
  readonly purgesOf: (page: number) => number
  readonly onViolation: (violation: Violation) => void
}

/** What one attempt came to. */
type Attempt = "acknowledged" | "again" | { readonly refused: string }

/** Editors: each has pages of its own, changes them one after the other, and publishes as a CMS or a script does. */
export class Writers {
  changes = 0
  acknowledged = 0
  attempts = 0
  /** Changes made while reads from before were held. */
  races = 0
  readonly #options: WritersOptions
  readonly #agent = new Agent({ connections: 32 })
  #unheard = 0

  constructor(options: WritersOptions) {
    this.#options = options
  }

  /** Publishes that wait for their acknowledgement. */
  get unheard(): number {
    return this.#unheard
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  /**
   * Changes pages until `ending` aborts, and resolves when all of it is acknowledged; where `signal` aborts, at once.
   */
  async write(
    pages: readonly number[],
    random: Random,
    every: Milliseconds,
    ending: AbortSignal,
    signal: AbortSignal,
  ): Promise<void> {
    while (!ending.aborted) {
      const page = pages[random.below(pages.length)] ?? 0
      if (!lags(page) && random.chance(0.25)) await this.#race(page, random, signal)
      else await this.#change(page, random, signal)
      // Until its own origin reads it, a page has no older version that a next change could be held against.
      await pause(random.between(0.5, 1.5) * every + (lags(page) ? this.#options.settings.lag : 0), ending)
    }
  }

  /**
   * The race that no purge can win: a read that began before a change is answered with the old content when the purge
   * is over. A first change empties the caches; what they then read is held, and the page changes once more.
   */
  async #race(page: number, random: Random, signal: AbortSignal): Promise<void> {
    const { origin, settings } = this.#options
    const hold = origin.hold(page)
    try {
      await this.#change(page, random, signal)
      const isCaught = hold.caught.then(() => true)
      const caught = await Promise.race([isCaught, pause(settings.hold / 2, signal).then(() => false)])
      hold.close()
      if (caught) this.races += 1
      const purges = this.#options.purgesOf(page)
      await this.#change(page, random, signal)
      const isPurged = () => this.#options.purgesOf(page) > purges
      // Its purge and the bound of the epoch cache, where nothing is wrong; else the origin lets go by itself.
      const over = Date.now() + settings.hold
      while (!isPurged() && Date.now() < over && !signal.aborted) await pause(10, signal)
      await pause(2 * settings.ttl, signal)
    } finally {
      hold.release()
    }
  }

  async #change(page: number, random: Random, signal: AbortSignal): Promise<Change> {
    const { origin, judge, settings, onViolation } = this.#options
    const mode: Mode = random.chance(0.3) ? "purge" : "invalidate"
    const send = random.chance(0.5) ? this.#webhook(page, mode) : this.#request(page, mode, random)
    const isLagging = lags(page)
    const { version, visibleAt } = origin.change(page, isLagging ? settings.lag : 0)
    const change = judge.changed({ page, version, mode, visibleAt, lags: isLagging })
    this.changes += 1
    this.#unheard += 1
    for (;;) {
      this.attempts += 1
      const outcome = await send(signal)
      if (outcome === "acknowledged") {
        judge.acknowledged(change, Date.now())
        this.acknowledged += 1
        this.#unheard -= 1
        return change
      }
      if (typeof outcome === "object") {
        onViolation({ at: Date.now(), rule: "refused", cache: "Worker", page, detail: outcome.refused })
        this.#unheard -= 1
        return change
      }
      if (signal.aborted) return change
      await pause(random.between(200, 600), signal)
    }
  }

  /** A script's publish, by any selector that covers the page. An attempt is the same request as the one before. */
  #request(page: number, mode: Mode, random: Random): (signal: AbortSignal) => Promise<Attempt> {
    const { worker, token, settings } = this.#options
    const url = SITE_ORIGIN + pathOf(page)
    const drawn = random.next()
    const selectors =
      drawn < 0.6
        ? { tags: [tagOf(page)] }
        : drawn < 0.85
          ? { urls: [url] }
          : drawn < 0.92
            ? { tags: ["type-page"] }
            : drawn < 0.96
              ? { prefixes: [url] }
              : {}
    const body = JSON.stringify({
      namespace: "blog",
      ...selectors,
      mode,
      secondPass: `${settings.secondPass}ms`,
      ...(lags(page) ? { settle: `${settings.settle}ms` } : {}),
    })
    const headers = { authorization: `Bearer ${token}`, "idempotency-key": randomUUID() }
    return (signal) => this.#send(`${worker}/v1/invalidations`, headers, body, 202, signal)
  }

  /** A CMS's webhook, signed by Standard Webhooks; one that is delivered again keeps its id. */
  #webhook(page: number, mode: Mode): (signal: AbortSignal) => Promise<Attempt> {
    const { worker, hookSecret } = this.#options
    const id = randomUUID()
    const body = JSON.stringify({
      type: mode === "purge" ? "page.deleted" : "page.updated",
      data: { id: String(page) },
    })
    const key = Buffer.from(hookSecret.slice("whsec_".length), "base64")
    return (signal) => {
      const timestamp = String(Math.floor(Date.now() / 1_000))
      const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")
      const headers = {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": `v1,${signature}`,
      }
      const source = lags(page) ? "lagging-cms" : "cms"
      return this.#send(`${worker}/v1/hooks/${source}`, headers, body, 200, signal)
    }
  }

  async #send(
    url: string,
    headers: Readonly<Record<string, string>>,
    body: string,
    success: number,
    signal: AbortSignal,
  ): Promise<Attempt> {
    try {
      const answer = await request(url, {
        method: "POST",
        dispatcher: this.#agent,
        headers: { ...headers, "content-type": "application/json" },
        body,
        signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
      })
      const text = await answer.body.text()
      if (answer.statusCode === success) return "acknowledged"
      if (answer.statusCode === 503) return "again"
      return { refused: `a publish was answered ${answer.statusCode}: ${text.slice(0, 200)}` }
    } catch {
      return "again"
    }
  }
}
