import { setTimeout as delay } from "node:timers/promises"
import { parseConfig, resolveSecrets } from "../../protocol/config/config.ts"
import type { Payload } from "../../dispatch/targets/webhook.ts"
import { createEmitter } from "../../relay-node/emitter.ts"
import { createLogger } from "../../relay-node/log.ts"
import { createMetrics } from "../../relay-node/metrics.ts"
import { startRelay } from "../../relay-node/relay.ts"
import type { RelayEmitter } from "../../relay-node/events.ts"
import { wallClock } from "./clock.ts"
import { serveControl } from "./control.ts"
import { CONFIG, type Expected, type Handled, numberOf } from "./load.ts"

/**
 * The relay as `tidemark relay` puts it together, with logs and metrics, but for its vendor: that answers in this
 * process, at once, so that what is measured ends where a call begins.
 */

const [redisUrl = ""] = process.argv.slice(2)
const config = parseConfig(CONFIG)
const { config: resolved } = resolveSecrets(config, {
  CDN_SECRET: `whsec_${Buffer.alloc(24, 1).toString("base64")}`,
})
const emitter = createEmitter(createLogger("tidemark-relay", "error"), createMetrics())

let now = wallClock()
let wakes: number[] = []
let calls: { readonly at: number; readonly body: string }[] = []

const events: RelayEmitter = {
  ...emitter,
  emit(event, payload) {
    if (event === "wake:heard") wakes.push(now())
    emitter.emit(event, payload)
  },
}

const vendor = (async (_: string, { body }: { readonly body: string }) => {
  // Read once all is over: a vendor's work is none of the relay's.
  calls.push({ at: now(), body })
  return new Response("{}")
}) as unknown as typeof fetch

const relay = startRelay({ config, resolved, off: {}, redisUrl, fetch: vendor, events, version: "bench" })

let read = 0
let at = new Map<number, number>()

async function settle({ first, count, within }: Expected): Promise<void> {
  for (const over = performance.now() + within; performance.now() < over; await delay(20)) {
    for (; read < calls.length; read += 1) {
      const call = calls[read]
      const { data } = JSON.parse(call?.body ?? "") as Payload
      for (const number of data.tags.map(numberOf))
        if (call && number >= first && number < first + count && !at.has(number)) at.set(number, call.at)
    }
    if (at.size === count && wakes.length >= count) break
  }
}

const handled = ({ first, count }: Expected): Handled => ({
  at: Array.from({ length: count }, (_, index) => at.get(first + index) ?? null),
  wakes,
  batches: calls.length,
})

while (Object.keys(relay.unready()).length > 0) await delay(20)
await serveControl({
  begin() {
    now = wallClock()
    wakes = []
    calls = []
    read = 0
    at = new Map()
  },
  settle,
  handled,
})
