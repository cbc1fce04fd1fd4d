import { createClient } from "redis"
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest"
import { startRedis } from "../cli/servers/redis.ts"
import { parseConfig, resolveSecrets } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { lanesKey, leaseKey, RELAY_ITEMS_KEY, RELAYS_KEY } from "../protocol/keys.ts"
import { DAY } from "../protocol/time.ts"
import { type FakeVendor, fakeVendor } from "../test/support/fake-vendor.ts"
import { startProxy } from "../test/support/proxy.ts"
import { openStore, publisher } from "../test/support/publish.ts"
import { createEmitter } from "./emitter.ts"
import type { Logger } from "./log.ts"
import { createMetrics } from "./metrics.ts"
import { targetFaults } from "./lanes.ts"
import { type Relay, startRelay } from "./relay.ts"

// A slow machine may have to fetch a Redis first; nothing here is about how long anything takes.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 })

let redis: Awaited<ReturnType<typeof startRedis>>
let admin: ReturnType<typeof createClient>
let vendor: FakeVendor

beforeAll(async () => {
  redis = await startRedis()
  admin = createClient({ url: redis.url, RESP: 2 })
  admin.on("error", () => {})
  await admin.connect()
  vendor = await fakeVendor()
})

afterAll(async () => {
  await vendor[Symbol.asyncDispose]()
  admin.destroy()
  await redis.stop()
})

beforeEach(async () => {
  await admin.flushAll()
  vendor.forget()
})

const poll = <T>(read: () => T) => expect.poll(read, { timeout: 30_000, interval: 10 })

interface Line {
  readonly level: "debug" | "info" | "warn" | "error"
  readonly event: string
  readonly [member: string]: unknown
}

const cloudflare = () => ({
  type: "cloudflare" as const,
  zone: vendor.zone,
  token: { secret: "TOKEN" },
  plan: "enterprise" as const,
  endpoint: vendor.endpoint,
  namespaces: ["*"],
})

/** A relay in this process, on the one Redis unless told, and what it logs. */
function start(rest: ConfigInput = {}, redisUrl = redis.url) {
  const input: ConfigInput = {
    namespaces: { blog: { overflowTag: false }, shop: {} },
    targets: {
      edge: cloudflare(),
    },
    relay: { lease: "1s", poll: "200ms" },
    ...rest,
  }
  const config = parseConfig(input)
  const { config: resolved } = resolveSecrets(config, { TOKEN: vendor.token })
  const lines: Line[] = []
  const say = (level: Line["level"]) => (payload: object, event: string) =>
    lines.push({ ...payload, level, event })
  const log: Logger = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") }
  const metrics = createMetrics()
  const relay = startRelay({
    config,
    resolved,
    off: {},
    redisUrl,
    fetch,
    events: createEmitter(log, metrics),
    version: "0.0.0",
  })
  onTestFinished(() => relay.close())
  return {
    relay,
    config,
    lines,
    metrics,
    said: (event: string) => lines.filter((line) => line.event === event),
  }
}

const ready = ({ relay }: { readonly relay: Relay }) => poll(() => relay.unready()).toEqual({})

async function press(config: ReturnType<typeof start>["config"]) {
  const open = await openStore(redis.url)
  onTestFinished(() => open.close())
  return publisher(open.store, config)
}

describe("a relay", () => {
  it("carries out settle and second pass by itself, each purged at the targets", async () => {
    const one = start()
    await ready(one)
    const at = await press(one.config)
    vendor.forget()
    const [entry] = await at.publish({ namespace: "blog", tags: ["a"], settle: "300ms", secondPass: "300ms" })
    await poll(async () => (await at.record(entry?.epoch ?? 0)).passes).toMatchObject([
      { kind: "settle", epoch: expect.any(Number) },
      { kind: "second", epoch: expect.any(Number) },
    ])
    await poll(() => vendor.taken("tag").length).toBe(2)
    expect(vendor.taken("tag").map(({ values }) => values)).toEqual([["a"], ["a"]])
    await poll(async () => (await at.record(entry?.epoch ?? 0)).state).toBe("done")
  })

  it("makes hard what it was told to after a while", async () => {
    const one = start()
    await ready(one)
    const at = await press(one.config)
    vendor.forget()
    await at.publish({ namespace: "blog", tags: ["a"], staleFor: "200ms" })
    await poll(() => vendor.taken("tag").map(({ mode }) => mode)).toEqual(["invalidate", "purge"])
  })

  it("calls a first start no alarm", async () => {
    const one = start()
    await ready(one)
    await poll(() => one.said("lane:resynced").length).toBe(1)
    expect(one.lines.filter(({ level }) => level === "warn" || level === "error")).toEqual([])
    expect(one.said("tenant:adopted")).toMatchObject([{ level: "info", isFirst: true }])
  })

  it("is loud where its log was lost, though a publish came before it", async () => {
    const one = start()
    await ready(one)
    const at = await press(one.config)
    await at.publish({ namespace: "blog", tags: ["a"] })
    await poll(() => vendor.purged("tag")).toContain("a")
    await admin.flushAll()
    await poll(
      () => one.said("lane:resynced").filter(({ level }) => level === "warn").length,
    ).toBeGreaterThan(0)
    const text = await one.metrics.registry.metrics()
    expect(text).toMatch(/^tidemark_lane_resyncs_total\{.*\} [2-9]/m)
  })

  it("does not take a failover that it was told of for a resync", async () => {
    const one = start({ relay: { poll: "200ms", lease: "1s", resync: { onIdentity: "report" } } })
    await ready(one)
    const key = "tm:{default}:head"
    await admin.set(key, ((await admin.get(key)) ?? "").replace(/\S+$/, "another"))
    await poll(() => one.said("tenant:adopted").map(({ reason }) => reason)).toContain("reported")
    expect(await one.metrics.registry.metrics()).toMatch(/^tidemark_tenant_resyncs_total\{.*\} 1$/m)
  })

  // They stayed for ever: one for each relay that was ever killed.
  it("forgets relays that have been silent for a day, and no others", async () => {
    const now = Date.now()
    for (const [id, at] of [
      ["relay-old", now - DAY - 1_000],
      ["relay-new", now - DAY + 60_000],
    ] as const) {
      await admin.zAdd(RELAYS_KEY, { score: at, value: id })
      await admin.hSet(RELAY_ITEMS_KEY, id, "{}")
    }
    const one = start()
    await poll(() => admin.hKeys(RELAY_ITEMS_KEY).then((ids) => ids.toSorted())).toEqual(
      ["relay-new", one.relay.id].toSorted(),
    )
    expect((await admin.zRange(RELAYS_KEY, 0, -1)).toSorted()).toEqual(["relay-new", one.relay.id].toSorted())
  })

  it("tells in its heartbeat which lanes are its own", async () => {
    const one = start()
    await ready(one)
    const at = await press(one.config)
    await poll(async () => {
      // A lane is held while there is something to read, and for a lease after.
      await at.publish({ namespace: "blog", tags: ["a"] })
      return JSON.parse((await admin.hGet(RELAY_ITEMS_KEY, one.relay.id)) ?? "{}") as unknown
    }).toMatchObject({ id: one.relay.id, version: "0.0.0", lanes: ["default/edge"] })
  })

  it("leaves nothing behind when it is closed: no link, no timer, no lease, no entry", async () => {
    const clients = async () =>
      (await admin.sendCommand<string>(["CLIENT", "LIST"])).trim().split("\n").length
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
    const before = { clients: await clients(), timers: timers() }
    const one = start({ relay: { lease: "1s", poll: "200ms", drain: "10m" } })
    await ready(one)
    const at = await press(one.config)
    await at.publish({ namespace: "blog", tags: ["a"], settle: "1h" }, { namespace: "blog", tags: ["b"] })
    await poll(() => vendor.purged("tag")).toContain("b")
    await one.relay.close()
    await poll(clients).toBe(before.clients + 1)
    await poll(timers).toBeLessThanOrEqual(before.timers)
    expect(
      await admin.exists([RELAYS_KEY, RELAY_ITEMS_KEY, leaseKey("default", "edge"), lanesKey("default")]),
    ).toBe(0)
    expect(one.said("poll:failed")).toEqual([])
    expect(one.said("subscription:lost")).toEqual([])
    expect(one.relay.unready()).toMatchObject({ closing: expect.any(String) })
  })

  it("reads the log on every subscription: what was said meanwhile is gone from Pub/Sub", async () => {
    const link = await startProxy(redis.url)
    onTestFinished(() => link[Symbol.asyncDispose]())
    // The poll would find it as well, but not in this test's time.
    const one = start({ relay: { poll: "10m", lease: "1s" } }, link.url)
    await ready(one)
    const at = await press(one.config)
    for (const tag of ["a", "b", "c"]) {
      link.cut(true)
      await poll(() => one.relay.unready()).toHaveProperty("subscription")
      await at.publish({ namespace: "blog", tags: [tag] })
      link.cut(false)
      await poll(() => vendor.purged("tag")).toContain(tag)
    }
  })

  it("looks after a target that none of the fleet has any more, and after no other's", async () => {
    const both = start({ targets: { edge: cloudflare(), old: cloudflare() } })
    await ready(both)
    const one = start()
    await ready(one)
    expect(one.said("target:removed")).toEqual([])
    await both.relay.close()
    const two = start()
    await ready(two)
    await poll(() => two.said("target:removed")).toMatchObject([
      { level: "warn", tenant: "default", target: "old", letters: 0, dropped: false },
    ])
  })

  it("is closed at any time: at once, and while Redis is away or says nothing", async () => {
    await start().relay.close()
    await start({}, "redis://127.0.0.1:1").relay.close()
    await using proxy = await startProxy(redis.url)
    const one = start({}, proxy.url)
    await ready(one)
    proxy.freeze()
    await one.relay.close()
  })

  it("asks for several tenants, each by its own log", async () => {
    const targets = Object.fromEntries(
      ["one", "two"].map((tenant) => [
        `edge-${tenant}`,
        {
          type: "cloudflare" as const,
          zone: vendor.zone,
          token: { secret: "TOKEN" },
          plan: "enterprise" as const,
          endpoint: vendor.endpoint,
          namespaces: ["*"],
          tenants: [tenant],
        },
      ]),
    )
    const one = start({ targets })
    await ready(one)
    expect(one.relay.lanes.all.map((lane) => `${lane.tenant}/${lane.name}`)).toEqual([
      "one/edge-one",
      "two/edge-two",
    ])
    const open = await openStore(redis.url)
    onTestFinished(() => open.close())
    await publisher(open.store, one.config, "two").publish({ namespace: "blog", tags: ["theirs"] })
    await poll(() => vendor.purged("tag")).toContain("theirs")
  })
})

describe("what a driver would not take", () => {
  it("is told for all targets at once, without its value", () => {
    const config = parseConfig({
      targets: {
        good: {
          type: "http",
          url: "https://hook.example.net/",
          secret: { secret: "GOOD" },
          namespaces: ["*"],
        },
        bad: { type: "http", url: "https://hook.example.net/", secret: { secret: "BAD" }, namespaces: ["*"] },
        dev: { type: "varnish", endpoints: "dev", namespaces: ["*"] },
      },
    })
    const { config: resolved } = resolveSecrets(config, { GOOD: "whsec_c2VjcmV0", BAD: "hunter2" })
    const faults = targetFaults(resolved)
    expect(faults.map((fault) => fault.split(":")[0])).toEqual(["targets.bad", "targets.dev"])
    expect(faults.join()).not.toContain("hunter2")
  })
})
