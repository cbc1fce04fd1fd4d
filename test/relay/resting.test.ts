import { describe, expect, it, onTestFinished } from "vitest"
import { look } from "../../dispatch/look.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { cursorKey, dueItemsKey, dueKey, headKey, RELAY_ITEMS_KEY, RELAYS_KEY } from "../../protocol/keys.ts"
import { NO_SELECTORS } from "../../protocol/invalidation.ts"
import { encodeOwed } from "../../protocol/letter.ts"
import { DAY, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { createEmitter } from "../../relay-node/emitter.ts"
import { relayApp } from "../../relay-node/http.ts"
import { createMetrics } from "../../relay-node/metrics.ts"
import { type RestingRelay, restingRelay, tenantName } from "../support/resting-relay.ts"
import { startUntold } from "../support/untold.ts"
import { poll } from "./stage.ts"

const POLL = 5 * SECOND
const IDLE = 30 * SECOND

/** A relay that has been at rest for a while: what it began with is over. */
async function rested(options: Parameters<typeof restingRelay>[0] = {}): Promise<RestingRelay> {
  const one = await restingRelay(options)
  await one.pass(2 * IDLE)
  return one
}

async function untoldRelay(options: Parameters<typeof restingRelay>[0] = {}) {
  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  const untold = await startUntold(redis.url)
  onTestFinished(() => untold[Symbol.asyncDispose]())
  return { ...(await rested({ ...options, redisUrl: redis.url, behind: untold.url })), untold }
}

describe("a relay at rest", () => {
  it("repairs lost wakes by the next poll, for every tenant", async () => {
    const one = await rested({ tenants: 3 })
    one.link.muffle(true)
    const tags = [0, 1, 2].map((nth) => `tag-${nth}`)
    for (const [nth, tag] of tags.entries())
      await one.press(tenantName(nth)).publish({ namespace: "blog", tags: [tag] })
    expect(one.purged).not.toContain("tag-0")
    one.clock.advance(POLL)
    await poll(() => one.purged.filter((tag) => tags.includes(tag)).toSorted()).toEqual(tags)
  })

  it("looks a poll later where what it had to ask after a lost wake failed", async () => {
    const one = await rested()
    one.link.muffle(true)
    await one.press().publish({ namespace: "blog", tags: ["a"] })
    // The look itself passes, and what follows it does not.
    let scripts = 0
    one.link.refuse("LOADING Redis is loading the dataset in memory", (command) => {
      scripts += command === "EVALSHA" ? 1 : 0
      return command === "EVALSHA" && scripts > 1
    })
    one.clock.advance(POLL)
    await poll(() => one.said("poll:failed").length).toBeGreaterThan(0)
    one.link.refuse(undefined)
    one.clock.advance(POLL)
    await poll(() => one.purged).toContain("a")
  })

  it("takes up what a relay that is gone owed, though nobody wakes it", async () => {
    const one = await rested()
    const tenant = tenantName(0)
    const item = {
      why: "again",
      namespace: "blog",
      mode: "invalidate",
      epochs: [1],
      ...NO_SELECTORS,
      tags: ["owed"],
    } as const
    await one.admin.hSet(dueItemsKey(tenant, "hook"), "again:1", encodeOwed(item))
    await one.admin.zAdd(dueKey(tenant, "hook"), { score: one.clock.now() - 1, value: "again:1" })
    await one.pass(IDLE)
    await poll(() => one.purged).toContain("owed")
  })

  it("reads the log where the cursor is gone", async () => {
    const one = await rested()
    await one.admin.del(cursorKey(tenantName(0)))
    await one.pass(IDLE)
    await poll(() => one.said("lane:resynced").length).toBe(2)
  })

  it("keeps its lanes in /v1/relays, though no lease stands", async () => {
    const one = await rested()
    const item = JSON.parse((await one.admin.hGet(RELAY_ITEMS_KEY, one.relay.id)) ?? "{}") as object
    expect(item).toMatchObject({ lanes: [`${tenantName(0)}/hook`] })
    // Another one takes it.
    await one.admin.hSet(
      cursorKey(tenantName(0)),
      "hook",
      ((await one.admin.hGet(cursorKey(tenantName(0)), "hook")) ?? "").replace(/^\S+/, "relay-b.1"),
    )
    await one.pass(IDLE + POLL)
    expect(JSON.parse((await one.admin.hGet(RELAY_ITEMS_KEY, one.relay.id)) ?? "{}")).toMatchObject({
      lanes: [],
    })
  })

  it("says that it lives with every poll, on a full Redis too", async () => {
    const one = await rested()
    const before = (await one.admin.zScore(RELAYS_KEY, one.relay.id)) ?? 0
    await one.admin.configSet("maxmemory", "1")
    one.clock.advance(POLL)
    await poll(async () => (await one.admin.zScore(RELAYS_KEY, one.relay.id)) ?? 0).toBeGreaterThan(before)
    expect(one.said("poll:failed")).toEqual([])
    await one.admin.configSet("maxmemory", "0")
  })

  it("is not ready by the next poll where its Redis is made a replica, and says so", async () => {
    const one = await rested()
    const other = await startRedis()
    onTestFinished(() => other.stop())
    await one.admin.replicaOf("127.0.0.1", Number(new URL(other.url).port))
    one.clock.advance(POLL)
    await poll(() => one.relay.unready()).toMatchObject({
      store: "Redis is a read-only replica: REDIS_URL has to name the primary",
    })
    expect(one.said("store:demoted")).toHaveLength(1)
    await one.admin.sendCommand(["REPLICAOF", "NO", "ONE"])
    await poll(() => {
      one.clock.advance(SECOND)
      return one.relay.unready()
    }).toEqual({})
  })
})

describe("a store that went back", () => {
  const resyncs = (one: RestingRelay) =>
    one
      .said("tenant:adopted")
      .map((told) => told as { tenant: string; reason: string })
      .filter(({ reason }) => reason === "rolledBack")
      .map(({ tenant }) => tenant)

  it("is noticed by the beat that it lost, where no head tells, and each tenant resynced once", async () => {
    const one = await untoldRelay({ tenants: 2 })
    const beat = (await one.admin.zScore(RELAYS_KEY, one.relay.id)) ?? 0
    await one.admin.zAdd(RELAYS_KEY, { score: beat - 1, value: one.relay.id })
    await one.pass(POLL)
    expect(resyncs(one).toSorted()).toEqual([tenantName(0), tenantName(1)])
    expect(one.said("store:wentBack")).toHaveLength(1)
    await one.pass(2 * IDLE)
    expect(resyncs(one)).toHaveLength(2)
  })

  it("is noticed where the beat is missing, and is resynced by one relay of two", async () => {
    const one = await untoldRelay()
    const two = await restingRelay({ redisUrl: one.admin.options?.url ?? "", behind: one.untold.url })
    await two.pass(IDLE)
    const { generation = 0 } = (await one.head()) ?? {}
    await one.admin.del(RELAYS_KEY)
    one.clock.advance(POLL)
    two.clock.advance(POLL)
    await poll(() => [one, two].map((each) => each.said("store:wentBack").length)).toEqual([1, 1])
    await one.rest()
    await two.rest()
    expect([...resyncs(one), ...resyncs(two)]).toEqual([tenantName(0)])
    expect((await one.head())?.generation).toBeGreaterThan(generation)
  })

  it("is not what a relay is told that slept, and was forgotten meanwhile", async () => {
    const one = await untoldRelay()
    const asSleeper = async (last: Milliseconds) => {
      await one.admin.zRem(RELAYS_KEY, one.relay.id)
      return look(one.relay.store, [], { relay: one.relay.id, last, item: undefined })
    }
    // By the clock of Redis, as whoever forgot it went by.
    expect(await asSleeper(Date.now() - DAY)).toMatchObject({ isLost: false })
    expect(await asSleeper(Date.now() - DAY + 60 * SECOND)).toMatchObject({ isLost: true })
  })

  it("is asked again until the resync was made", async () => {
    const one = await untoldRelay()
    await one.admin.del(RELAYS_KEY)
    let scripts = 0
    one.link.refuse("LOADING Redis is loading the dataset in memory", (command) => {
      scripts += command === "EVALSHA" ? 1 : 0
      return command === "EVALSHA" && scripts > 1
    })
    one.clock.advance(POLL)
    await poll(() => one.said("poll:failed").length).toBeGreaterThan(0)
    expect(resyncs(one)).toEqual([])
    one.link.refuse(undefined)
    one.clock.advance(POLL)
    await poll(() => resyncs(one)).toEqual([tenantName(0)])
  })

  it.each([
    ["the seq", ([g = "", e = "", s = "", i = ""]: string[]) => [g, e, String(Number(s) - 1), i]],
    ["the epoch", ([g = "", e = "", s = "", i = ""]: string[]) => [g, String(Number(e) - 1), s, i]],
  ])("is noticed by %s that this relay saw, by the next poll", async (_, change) => {
    const one = await untoldRelay()
    const key = headKey(tenantName(0))
    await one.admin.set(key, change(((await one.admin.get(key)) ?? "").split(" ")).join(" "))
    one.clock.advance(POLL)
    await poll(() => resyncs(one)).toEqual([tenantName(0)])
  })
})

describe("a Redis that does not say who it is", () => {
  it("is not adopted again and again, and nothing is written to a log that rests", async () => {
    const one = await untoldRelay()
    await one.press().publish({ namespace: "blog", tags: ["a"] })
    await poll(() => one.purged).toContain("a")
    // As a log that was moved here from a Redis that did say.
    const key = headKey(tenantName(0))
    await one.admin.set(key, ((await one.admin.get(key)) ?? "").replace(/\S+$/, "0123456789abcdef"))
    await one.pass(2 * IDLE)
    const before = [await one.head(), one.said("tenant:adopted").length]
    await one.asked()
    await one.pass(2 * IDLE)
    expect([await one.head(), one.said("tenant:adopted").length]).toEqual(before)
    expect(await one.asked()).toHaveLength(20)
  })

  it("is said: once in the log, and as a note of a relay that is ready", async () => {
    const one = await untoldRelay()
    expect(one.relay.unready()).toEqual({})
    expect(one.relay.notes()).toEqual({
      policy: expect.stringContaining("eviction"),
      identity: expect.stringContaining("failover"),
    })
    expect(one.said("store:untold")).toMatchObject([{ about: "policy" }, { about: "identity" }])
    const app = relayApp({
      relay: one.relay,
      metrics: createMetrics(),
      tokens: [],
      host: "127.0.0.1",
      events: createEmitter({ debug() {}, info() {}, warn() {}, error() {} }, createMetrics()),
      drain: () => {},
    })
    const answer = await app.request("/readyz", { headers: { host: "127.0.0.1" } })
    expect([answer.status, await answer.json()]).toEqual([200, { ready: true, notes: one.relay.notes() }])
  })

  it("has no notes where it does say", async () => {
    const one = await rested()
    expect([one.relay.notes(), one.said("store:untold")]).toEqual([{}, []])
  })
})
