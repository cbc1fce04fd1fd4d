import type { Clock } from "../../dispatch/clock.ts"
import { parseConfig, resolveSecrets } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { createEmitter } from "../../relay-node/emitter.ts"
import { relayApp } from "../../relay-node/http.ts"
import type { Logger } from "../../relay-node/log.ts"
import { createMetrics } from "../../relay-node/metrics.ts"
import { startRelay } from "../../relay-node/relay.ts"
import { TOKENS } from "../support/relay-process.ts"

/** A relay whose clock is not the machine's. */
export interface InProcessRelay {
  readonly isRunning: boolean
  readonly isReady: boolean
  /** What was said so far, by event. */
  said(event: string): number
  get(path: string): Promise<Response>
  close(): Promise<void>
}

export interface InProcessRelayOptions {
  readonly redisUrl: string
  readonly config: ConfigInput
  readonly secrets: Readonly<Record<string, string>>
  readonly clock: Clock
}

export function startInProcessRelay({
  redisUrl,
  config: input,
  secrets,
  clock,
}: InProcessRelayOptions): InProcessRelay {
  const config = parseConfig(input)
  const { config: resolved } = resolveSecrets(config, secrets)
  const counts = new Map<string, number>()
  const say = (_: object, event: string) => void counts.set(event, (counts.get(event) ?? 0) + 1)
  const log: Logger = { debug: say, info: say, warn: say, error: say }
  const metrics = createMetrics()
  const events = createEmitter(log, metrics)
  const relay = startRelay({ config, resolved, off: {}, redisUrl, fetch, events, version: "0.0.0", clock })
  const app = relayApp({
    relay,
    metrics,
    tokens: resolved.tokens,
    host: "127.0.0.1",
    events,
    drain: () => {},
  })
  let isRunning = true
  return {
    get isRunning() {
      return isRunning
    },
    get isReady() {
      return Object.keys(relay.unready()).length === 0
    },
    said: (event) => counts.get(event) ?? 0,
    get: async (path) =>
      app.request(`http://127.0.0.1${path}`, {
        headers: { host: "127.0.0.1", authorization: `Bearer ${TOKENS.operator}` },
      }),
    async close() {
      isRunning = false
      await relay.close()
    },
  }
}
