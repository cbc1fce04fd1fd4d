import { createClient } from "redis"
import { onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { parseConfig, resolveSecrets, tenantsOf } from "../../protocol/config/config.ts"
import type { Config, ConfigInput } from "../../protocol/config/schema.ts"
import { type Head, parseHead } from "../../protocol/epoch.ts"
import { headKey } from "../../protocol/keys.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { createEmitter } from "../../relay-node/emitter.ts"
import type { Logger } from "../../relay-node/log.ts"
import { createMetrics } from "../../relay-node/metrics.ts"
import { type Relay, startRelay } from "../../relay-node/relay.ts"
import { type ManualClock, manualClock } from "./clock.ts"
import { poll } from "./lanes.ts"
import { type Proxy, startProxy } from "./proxy.ts"
import { openStore, type Publisher, publisher } from "./publish.ts"

/** A relay whose time goes on as it is told to, on a Redis of its own, and what is asked of that Redis. */
export interface RestingRelay {
  /** Of its Redis. */
  readonly url: string
  readonly relay: Relay
  readonly config: Config
  readonly clock: ManualClock
  /** Between the relay and its Redis. */
  readonly link: Proxy
  readonly admin: ReturnType<typeof adminOf>
  /** What it logged, by event. */
  said(event: string): object[]
  /** Tags that its target was asked to purge, and `ns/<name>` for namespaces as a whole. */
  readonly purged: readonly string[]
  /** Addresses that the Worker was asked for. */
  readonly askedOfWorker: string[]
  press(tenant?: string): Publisher
  /** What its epochs of a tenant's log are now: generation, last epoch, seq and identity. */
  head(tenant?: string): Promise<Head | undefined>
  /** Until all that was asked is answered, and the relay only waits. */
  rest(): Promise<void>
  /** Lets so much time go on, a second at a time, and rests after each. */
  pass(length: Milliseconds): Promise<void>
  /** The names of what was asked of Redis since the last time, by the relay; what scripts ask themselves left out. */
  asked(): Promise<string[]>
}

export interface RestingOptions {
  readonly tenants?: number
  readonly relay?: ConfigInput["relay"]
  /** Of a Redis that there is; by default one is started. */
  readonly redisUrl?: string
  /** Whether it is told of a Worker, which does not answer. Default: no. */
  readonly hasWorker?: boolean
  /** What the relay is given instead of that Redis. */
  readonly behind?: string
}

export const tenantName = (nth: number): string => `t-${nth}`

const WORKER = "https://worker.example.net"

const adminOf = (url: string) => createClient({ url, RESP: 2 })

/** Starts one, and returns when it is ready. It ends with its test. */
export async function restingRelay({
  tenants = 1,
  relay: settings,
  redisUrl,
  behind,
  hasWorker = false,
}: RestingOptions = {}): Promise<RestingRelay> {
  const redis = redisUrl === undefined ? await startRedis() : undefined
  if (redis) onTestFinished(() => redis.stop())
  const url = redis?.url ?? redisUrl ?? ""
  const admin = adminOf(url)
  admin.on("error", () => {})
  await admin.connect()
  const monitor = admin.duplicate()
  monitor.on("error", () => {})
  await monitor.connect()
  const heard: string[] = []
  // What the test itself asks is not the relay's.
  const own = new Set<string>()
  await monitor.monitor((line) => {
    const [, from, command] = /\[\d+ (\S+)\] "([^"]+)"/.exec(line) ?? []
    if (from !== "lua" && !own.has(from ?? "")) heard.push((command ?? "").toUpperCase())
  })
  const open = await openStore(url)
  for (const info of [
    await admin.sendCommand(["CLIENT", "INFO"]),
    ...(await open.store.pipeline([["CLIENT", "INFO"]])),
  ])
    own.add(/\baddr=(\S+)/.exec(typeof info === "string" ? info : "")?.[1] ?? "")
  const link = await startProxy(behind ?? url)
  const clock = manualClock()
  const names = Array.from({ length: tenants }, (_, nth) => tenantName(nth))
  const config = parseConfig({
    tenants: Object.fromEntries(names.map((name) => [name, { namespaces: { blog: {} } }])),
    targets: {
      hook: {
        type: "http",
        url: "https://hook.example.net/",
        secret: { secret: "HOOK_SECRET" },
        namespaces: ["*"],
        tenants: names,
      },
    },
    ...(settings ? { relay: settings } : {}),
  })
  const purged: string[] = []
  const askedOfWorker: string[] = []
  const lines: { readonly event: string; readonly payload: object }[] = []
  const say = (payload: object, event: string) => void lines.push({ event, payload })
  const log: Logger = { debug: say, info: say, warn: say, error: say }
  const relay = startRelay({
    config,
    resolved: resolveSecrets(config, { HOOK_SECRET: `whsec_${"A".repeat(32)}` }).config,
    off: {},
    redisUrl: link.url,
    async fetch(address, init) {
      if (address.startsWith(WORKER)) {
        askedOfWorker.push(address)
        return new Response("", { status: 503 })
      }
      const body = JSON.parse(await new Response(init?.body ?? null).text()) as {
        data?: { tags?: string[]; namespaces?: string[] }
      }
      purged.push(...(body.data?.namespaces ?? []).map((name) => `ns/${name}`), ...(body.data?.tags ?? ["*"]))
      return new Response("{}")
    },
    events: createEmitter(log, createMetrics()),
    version: "0.0.0",
    clock,
    ...(hasWorker
      ? {
          worker: {
            url: WORKER,
            token: "tm_none",
            principal: { name: "ops", scopes: ["epochs:*"], tenant: names[0] ?? "" },
          },
        }
      : {}),
  })
  onTestFinished(async () => {
    await relay.close()
    await link[Symbol.asyncDispose]()
    open.close()
    monitor.destroy()
    admin.destroy()
  })
  const rest = () =>
    poll(async () => {
      const state = () => [heard.length, ...clock.sleepers].join()
      const before = state()
      for (let trips = 0; trips < 3; trips += 1) await admin.sendCommand(["ECHO", "mark"])
      // At least two sleep where nothing is under way: who polls, and who watches the subscription.
      return clock.sleepers.length >= 2 && before === state()
    }).toBe(true)
  const pass = async (length: Milliseconds) => {
    for (let left = length; left > 0; left -= SECOND) {
      clock.advance(Math.min(left, SECOND))
      await rest()
    }
  }
  await poll(() => relay.unready()).toEqual({})
  await rest()
  return {
    url,
    relay,
    config,
    clock,
    link,
    admin,
    said: (event) => lines.flatMap((line) => (line.event === event ? [line.payload] : [])),
    purged,
    askedOfWorker,
    press: (tenant = tenantsOf(config)[0]) => publisher(open.store, config, tenant),
    head: async (tenant = names[0] ?? "") => parseHead(await admin.get(headKey(tenant))),
    rest,
    pass,
    async asked() {
      await rest()
      return heard.splice(0)
    },
  }
}
