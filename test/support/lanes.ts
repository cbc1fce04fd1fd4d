import { createClient } from "redis"
import { afterAll, afterEach, beforeAll, expect, vi } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { Lane, type LaneEvents, type LaneOptions } from "../../dispatch/lane.ts"
import type { Capabilities } from "../../dispatch/targets/target.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { Config, ConfigInput } from "../../protocol/config/schema.ts"
import { type Epoch, parseHead, type Position } from "../../protocol/epoch.ts"
import type { InvalidationInput } from "../../protocol/invalidation.ts"
import {
  cursorKey,
  deadKey,
  dueKey,
  headKey,
  lanesKey,
  lateKey,
  leaseKey,
  logKey,
  sentKey,
} from "../../protocol/keys.ts"
import { type LaneStatus, parseJson } from "../../protocol/receipt.ts"
import type { TargetRecord } from "../../protocol/record.ts"
import { SECOND } from "../../protocol/time.ts"
import { type ManualClock, manualClock } from "./clock.ts"
import { FAKE_CAPABILITIES, type FakeDriver, fakeDriver, freePacer } from "./fake-driver.ts"
import { type OpenStore, openStore, publisher } from "./publish.ts"

// A slow machine may have to fetch a Redis first; nothing here is about how long anything takes.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 })

/** An administrator of the one Redis of a file's tests, and a store over it as a relay has one. */
export let admin: ReturnType<typeof createClient>
export let open: OpenStore

const running = new Set<{ close(): Promise<void>; readonly driver: FakeDriver }>()

/** Starts a Redis before the file's tests, closes every lane after each of them, and stops it at the end. */
export function useLanes(): void {
  let redis: Awaited<ReturnType<typeof startRedis>>
  beforeAll(async () => {
    redis = await startRedis()
    admin = createClient({ url: redis.url, RESP: 2 })
    admin.on("error", () => {})
    await admin.connect()
    open = await openStore(redis.url)
  })

  afterAll(async () => {
    open.close()
    admin.destroy()
    await redis.stop()
  })

  afterEach(async () => {
    for (const one of running) {
      await one.close()
      expect(one.driver.complaints).toEqual([])
      expect(one.driver.underWay).toBe(0)
    }
    running.clear()
  })
}

/** As long as a slow machine needs; what is waited for has usually happened. */
export const poll = <T>(read: () => T): ReturnType<typeof expect.poll<T>> =>
  expect.poll(read, { timeout: 20_000, interval: 5 })

export const NAME = "edge"
export const LEASE = 5 * SECOND

type HttpTarget = Extract<NonNullable<ConfigInput["targets"]>[string], { type: "http" }>

export interface Setting {
  readonly namespaces?: ConfigInput["namespaces"]
  readonly target?: Partial<HttpTarget>
  readonly others?: Record<string, Partial<HttpTarget>>
  readonly relay?: ConfigInput["relay"]
  readonly log?: ConfigInput["log"]
}

function configOf({
  namespaces = { blog: {}, shop: {} },
  target = {},
  others = {},
  relay,
  log,
}: Setting): Config {
  const http = (rest: Partial<HttpTarget>): HttpTarget => ({
    type: "http",
    url: "https://hook.example.net/",
    secret: { secret: "HOOK_SECRET" },
    namespaces: ["*"],
    tenants: ["*"],
    ...rest,
  })
  const targets = Object.fromEntries(
    Object.entries({ [NAME]: target, ...others }).map(([name, rest]) => [name, http(rest)]),
  )
  return parseConfig({
    namespaces,
    targets,
    ...(relay ? { relay } : {}),
    ...(log ? { log } : {}),
  })
}

let tenants = 0

/** A tenant of its own on the one Redis, or one that was there before, and what can be known of it from outside. */
export function world(setting: Setting = {}, tenant = `t-${(tenants += 1)}`) {
  const config = configOf(setting)
  const press = publisher(open.store, config, tenant)
  return {
    tenant,
    config,
    publish: (...inputs: readonly InvalidationInput[]) => press.publish(...inputs),
    tags: (...names: readonly string[]) =>
      press.publish(...names.map((tag) => ({ namespace: "blog", tags: [tag] }))),
    record: (epoch: Epoch) => press.record(epoch),
    async target(epoch: Epoch, name = NAME): Promise<TargetRecord | undefined> {
      return (await press.record(epoch)).targets[name]
    },
    state: async (epoch: Epoch) => (await press.record(epoch)).targets[NAME]?.state,
    head: async () => parseHead(await admin.get(headKey(tenant))),
    async cursor(name = NAME): Promise<Position & { readonly owner: string }> {
      const [owner = "-", generation, epoch, seq] = (
        (await admin.hGet(cursorKey(tenant), name)) ?? "- 0 0 0"
      ).split(" ")
      return { owner, generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
    },
    /** How far the target is behind the head; 0 for not at all. */
    async behind(name = NAME): Promise<number> {
      const [head, cursor] = [await this.head(), await this.cursor(name)]
      return head && (head.generation !== cursor.generation || head.epoch !== cursor.epoch)
        ? Math.max(1, head.seq - cursor.seq)
        : 0
    },
    told: async () => parseJson<LaneStatus>((await admin.hGet(lanesKey(tenant), NAME)) ?? undefined),
    /** As when its owner no longer renews it. */
    expireLease: (name = NAME) => admin.del(leaseKey(tenant, name)),
    key: {
      log: logKey(tenant),
      head: headKey(tenant),
      cursor: cursorKey(tenant),
      sent: sentKey(tenant, NAME),
      late: lateKey(tenant, NAME),
      dead: deadKey(tenant, NAME),
      due: dueKey(tenant, NAME),
    },
  }
}

export type World = ReturnType<typeof world>

export interface Hired {
  readonly lane: Lane
  readonly driver: FakeDriver
  readonly clock: ManualClock
  readonly events: readonly (keyof LaneEvents)[]
  /** Payloads of one event. */
  told<K extends keyof LaneEvents>(event: K): LaneEvents[K][]
  close(): Promise<void>
}

export interface Terms extends Partial<Pick<LaneOptions, "store" | "pacer" | "onCommit">> {
  readonly driver?: FakeDriver
  readonly clock?: ManualClock
  readonly relay?: string
  readonly name?: string
  readonly capabilities?: Capabilities
}

/** A relay's lane on a world. */
export function hire(at: World, terms: Terms = {}): Hired {
  const {
    relay = "relay-a",
    name = NAME,
    capabilities = FAKE_CAPABILITIES,
    clock = manualClock(),
    store = open.store,
  } = terms
  const driver = terms.driver ?? fakeDriver(capabilities)
  const seen: { event: keyof LaneEvents; payload: unknown }[] = []
  const target = at.config.targets[name]
  if (!target) throw new Error(`no target ${name}`)
  const lane = new Lane({
    tenant: at.tenant,
    name,
    config: at.config,
    target,
    capabilities,
    driver,
    pacer: terms.pacer ?? freePacer,
    store,
    clock,
    relay,
    emit: (event, payload) => seen.push({ event, payload }),
    ...(terms.onCommit ? { onCommit: terms.onCommit } : {}),
  })
  const hired: Hired = {
    lane,
    driver,
    clock,
    get events() {
      return seen.map(({ event }) => event)
    },
    told: <K extends keyof LaneEvents>(event: K) =>
      seen.flatMap((one) => (one.event === event ? [one.payload as LaneEvents[K]] : [])),
    close: () => lane.close(),
  }
  running.add(hired)
  return hired
}

/** Until the lane has read everything, and paid what is due, and rests. */
export async function level(at: World, { lane, clock }: Hired, name = NAME): Promise<void> {
  const due = () => admin.zCount(dueKey(at.tenant, name), "-inf", clock.now())
  const owed = async () => ((await admin.type(dueKey(at.tenant, name))) === "zset" ? due() : 0)
  await poll(async () => [await at.behind(name), await owed(), lane.status.state]).toEqual([0, 0, "idle"])
}

/** A lane that has proof of all before: what comes next is read whole. */
export async function levelled(setting: Setting = {}, terms: Terms = {}): Promise<[World, Hired]> {
  const at = world(setting)
  const one = hire(at, terms)
  await at.publish({ namespace: "blog", tags: ["before"] })
  one.lane.nudge()
  await level(at, one, terms.name)
  one.driver.forget()
  return [at, one]
}
