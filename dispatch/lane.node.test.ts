import { describe, expect, it } from "vitest"
import type { Position } from "../protocol/epoch.ts"
import type { InvalidationInput } from "../protocol/invalidation.ts"
import { laterItemsKey, laterKey, leaseKey } from "../protocol/keys.ts"
import { type Store, StoreError } from "../protocol/store.ts"
import { SECOND } from "../protocol/time.ts"
import { manualClock } from "../test/support/clock.ts"
import { FAKE_CAPABILITIES, gate, refusing, trouble, unauthorised } from "../test/support/fake-driver.ts"
import {
  admin,
  type Hired,
  hire,
  LEASE,
  level,
  levelled,
  NAME,
  open,
  poll,
  useLanes,
  type World,
  world,
} from "../test/support/lanes.ts"
import { Memory } from "./adopt.ts"
import type { Capabilities, Outcome } from "./targets/target.ts"

useLanes()

const last = <T>(all: readonly T[]): T => {
  const one = all.at(-1)
  if (one === undefined) throw new Error("there is none")
  return one
}

const upTo = (batch: number): Capabilities => ({
  ...FAKE_CAPABILITIES,
  kinds: Object.fromEntries(
    Object.entries(FAKE_CAPABILITIES.kinds).map(([kind, one]) => [kind, { ...one, batch }]),
  ),
})

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `tag-${index}`)

/** Some six megabytes: more than is read at once. */
const moreThanOneRead = (): InvalidationInput[] =>
  names(80).map((name) => ({
    namespace: "blog",
    tags: names(400).map((tag) => `${name}-${tag}`.padEnd(200, "x")),
  }))

describe("a lane that reads whole", () => {
  it("does nothing where there is nothing", async () => {
    const at = world()
    const one = hire(at)
    expect(one.lane.hasRead).toBe(false)
    one.lane.nudge()
    await poll(() => one.lane.hasRead).toBe(true)
    expect([one.driver.attempts, one.events, one.lane.status.state]).toEqual([[], [], "idle"])
  })

  it("purges what was published, in as few calls as it takes, and moves its cursor to the head", async () => {
    const [at, one] = await levelled()
    const entries = await at.tags(...names(250), ...names(250))
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged.toSorted()).toEqual(
      names(250)
        .map((name) => `invalidate tag ${name}`)
        .toSorted(),
    )
    // Several are under way at once, in whichever order.
    const sizes = one.driver.attempts.map(({ values }) => values.length)
    expect(sizes.toSorted((a, b) => b - a)).toEqual([100, 100, 50])
    expect(await at.cursor()).toMatchObject(last(entries))
    expect(one.told("lane:committed").at(-1)).toMatchObject({
      entries: 500,
      calls: 3,
      epoch: last(entries).epoch,
    })
  })

  it("says in the record what became of each", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => ({ outcome: "accepted", status: 200, vendorId: "ray-7" })
    const [first, second] = await at.tags("a", "b")
    if (!first || !second) throw new Error("two were published")
    expect(await at.state(first.epoch)).toBe("pending")
    one.lane.nudge()
    await level(at, one)
    for (const { epoch } of [first, second]) {
      expect(await at.target(epoch)).toEqual({
        state: "done",
        at: new Date(one.clock.now()).toISOString(),
        ms: expect.any(Number),
        attempts: 1,
        as: null,
        calls: [{ status: 200, vendorId: "ray-7" }],
        error: null,
      })
    }
    expect((await at.record(first.epoch)).state).toBe("done")
  })

  it("says what was sent instead, for those that it is true of", async () => {
    const kinds = {
      ...FAKE_CAPABILITIES.kinds,
      url: undefined,
      host: { modes: ["purge" as const], batch: 100 },
    }
    const { url: _, ...rest } = kinds
    const capabilities: Capabilities = { ...FAKE_CAPABILITIES, kinds: rest }
    const [at, one] = await levelled(
      { namespaces: { blog: { hosts: ["www.example.com"] } } },
      { capabilities },
    )
    const entries = await at.publish(
      { namespace: "blog", tags: ["a"] },
      { namespace: "blog", hosts: ["www.example.com"] },
      { namespace: "blog", urls: ["https://www.example.com/1"] },
      { everything: true },
    )
    one.lane.nudge()
    await level(at, one)
    const as = await Promise.all(entries.map(async ({ epoch }) => (await at.target(epoch))?.as))
    expect(as).toEqual([null, "purge", "namespace, purge", "namespaces, purge"])
    const [alone] = await at.publish({ everything: true })
    one.lane.nudge()
    await level(at, one)
    expect((await at.target(alone?.epoch ?? 0))?.as).toBe("namespaces, purge")
  })

  it("lists some of very many calls", async () => {
    const [at, one] = await levelled({}, { capabilities: upTo(1) })
    const [entry] = await at.publish({ namespace: "blog", tags: names(30) })
    one.lane.nudge()
    await level(at, one)
    expect((await at.target(entry?.epoch ?? 0))?.calls).toHaveLength(20)
    expect(one.told("lane:committed").at(-1)).toMatchObject({ calls: 30 })
  })

  it("passes over what does not concern it, without a call", async () => {
    const [at, one] = await levelled({ target: { namespaces: ["blog"] } })
    const [entry] = await at.publish({ namespace: "shop", tags: ["a"] })
    one.lane.nudge()
    await level(at, one)
    expect([one.driver.attempts, await at.record(entry?.epoch ?? 0)]).toMatchObject([
      [],
      { state: "done", targets: {} },
    ])
  })

  it("skips what settles, and says so", async () => {
    const [at, one] = await levelled()
    const [entry] = await at.publish({ namespace: "blog", tags: ["a"], settle: "5s" })
    one.lane.nudge()
    await level(at, one)
    expect([one.driver.attempts, await at.state(entry?.epoch ?? 0)]).toEqual([[], "settling"])
  })

  // What was left out of a range is never done for want of a receipt.
  it("does not call done what settles and will never be carried out", async () => {
    const [at, one] = await levelled()
    const [entry] = await at.publish({ namespace: "blog", tags: ["a"], settle: "5s" })
    one.lane.nudge()
    await level(at, one)
    await admin.del([laterKey(at.tenant), laterItemsKey(at.tenant)])
    expect(await at.state(entry?.epoch ?? 0)).toBe("unknown")
  })

  it("reads once more when nudged while it reads", async () => {
    const turn = gate()
    const [at, one] = await levelled()
    one.driver.answer = turn.answer
    await at.tags("a")
    one.lane.nudge()
    await poll(() => turn.waiting).toBe(1)
    await at.tags("b")
    for (let nudges = 0; nudges < 3; nudges += 1) one.lane.nudge()
    turn.open()
    await poll(() => turn.waiting).toBe(1)
    turn.open()
    await level(at, one)
    expect(one.driver.purged).toEqual(["invalidate tag a", "invalidate tag b"])
  })

  it("merges over its window", async () => {
    const at = world({ target: { window: "2s" } })
    const one = hire(at)
    await at.tags("before")
    one.lane.nudge()
    await poll(() => one.clock.sleepers).toEqual([2_000])
    one.clock.advance(2_000)
    await level(at, one)
    one.driver.forget()

    await at.tags("a")
    one.lane.nudge()
    await poll(() => one.clock.sleepers).toEqual([2_000])
    await at.tags("b", "a")
    one.lane.nudge()
    one.clock.advance(1_999)
    expect(one.driver.attempts).toEqual([])
    one.clock.advance(1)
    await poll(() => one.driver.purged).toEqual(["invalidate tag a", "invalidate tag b"])
    expect(one.driver.attempts).toHaveLength(1)
  })

  it("merges a backlog as a whole, however many reads it takes", async () => {
    const [at, one] = await levelled()
    const entries = await at.publish(...moreThanOneRead(), ...moreThanOneRead())
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toHaveLength(32_000)
    expect(one.told("lane:committed").slice(1)).toMatchObject([{ entries: 160, calls: 320 }])
    for (const { epoch } of entries) expect(await at.state(epoch)).toBe("done")
  })

  it("commits what it could prove of a backlog before it resyncs for what it could not", async () => {
    const [at, one] = await levelled()
    const entries = await at.tags(...names(3_000))
    await admin.xDel(at.key.log, `${entries[2_000]?.epoch}-0`)
    one.lane.nudge()
    await level(at, one)
    const [, ...commits] = one.told("lane:committed")
    expect(commits.length).toBeGreaterThan(1)
    expect(commits[0]?.epoch).toBeLessThan(entries[2_000]?.epoch ?? 0)
    expect(one.told("lane:resynced").slice(1)).toMatchObject([{ reason: "gap" }])
    expect(await at.state(entries[0]?.epoch ?? 0)).toBe("done")
    expect(await at.state(entries[2_500]?.epoch ?? 0)).toBe("done")
  })

  it("keeps an entry from the midst of a backlog that it cannot read", async () => {
    const [at, one] = await levelled()
    const entries = await at.tags(...names(1_500))
    const { generation, epoch, seq } = last(entries)
    const fields = { v: "9", g: String(generation), s: String(seq + 1), d: "from a version to come" }
    await admin.xAdd(at.key.log, `${epoch + 1}-0`, fields)
    await admin.set(at.key.head, `${generation} ${epoch + 1} ${seq + 1} -`)
    await at.tags(...names(500).map((name) => `later-${name}`))
    one.lane.nudge()
    await level(at, one)
    expect(one.told("lane:unreadable")).toEqual([expect.objectContaining({ epochs: [epoch + 1] })])
    expect(one.told("lane:deadLettered")).toMatchObject([{ epochs: [epoch + 1] }])
  })

  it("asks a vendor that is in trouble for one part of a backlog, and for the rest once that was taken", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => trouble()
    await at.tags(...names(2_500))
    one.lane.nudge()
    const wait = await asleep(one)
    one.driver.answer = () => undefined
    await pass(at, one, wait)
    await level(at, one)
    expect(one.told("lane:committed").slice(1)).toMatchObject([{ entries: 500 }, { entries: 2_000 }])
  })

  it("trims the log by age, but not past a target that has not read it", async () => {
    const setting = { others: { slow: {} }, log: { keep: "1h" } }
    const [at, one] = await levelled(setting)
    const slow = hire(at, { name: "slow", clock: manualClock() })
    slow.lane.nudge()
    await level(at, slow, "slow")
    await at.tags("a", "b", "c")
    one.clock.jump(3_600_000 * 2)
    await at.expireLease()
    one.lane.nudge()
    await level(at, one)
    expect(await admin.xLen(at.key.log)).toBeGreaterThanOrEqual(3)
    slow.clock.jump(3_600_000 * 2)
    await at.expireLease("slow")
    slow.lane.nudge()
    await level(at, slow, "slow")
    expect(slow.driver.purged).toContain("invalidate tag c")
    // What the slower one has read now, the next commit of either lets go.
    await at.tags("d")
    one.lane.nudge()
    await level(at, one)
    expect(await admin.xLen(at.key.log)).toBeLessThanOrEqual(2)
  })
})

describe("an entry", () => {
  it("that was refused and not taken back is no gap", async () => {
    const [at, one] = await levelled()
    const head = await at.head()
    const { epoch, generation, seq } = head ?? { epoch: 0, generation: 0, seq: 0 }
    const [known] = (await admin.xRange(at.key.log, `${epoch}-0`, `${epoch}-0`)) ?? []
    const d = (known?.message["d"] ?? "").replace("before", "refused")
    for (let nth = 1; nth <= 5; nth += 1)
      await admin.xAdd(at.key.log, `${epoch + nth}-0`, { v: "1", g: `${generation}`, s: `${seq + 1}`, d })
    one.lane.nudge()
    await level(at, one)
    expect(await at.cursor()).toMatchObject({ epoch, seq })
    await at.tags("x")
    one.lane.nudge()
    await level(at, one)
    expect(one.told("lane:resynced").slice(1)).toEqual([])
    // It is purged with the next, which does no harm.
    expect(one.driver.purged.toSorted()).toEqual(["invalidate tag refused", "invalidate tag x"])
    expect(await at.cursor()).toMatchObject({ generation, seq: seq + 1 })
  })
})

describe("a lane that cannot prove that it saw everything", () => {
  const resyncs = (one: Hired) => one.told("lane:resynced").map(({ reason, isFirst }) => [reason, isFirst])

  it("finds at its commit that its cursor is gone, where it had no need to ask for it", async () => {
    const [at, one] = await levelled()
    await at.tags("x")
    await admin.hDel(at.key.cursor, NAME)
    one.lane.nudge()
    await level(at, one)
    expect(one.told("lane:lost")).toHaveLength(1)
    expect(resyncs(one).slice(1)).toEqual([["gap", false]])
    expect(one.driver.purged).toEqual([
      "invalidate tag x",
      "invalidate tag ns/blog",
      "invalidate tag ns/shop",
    ])
  })

  it("of a new target purges all that it stands for, which is no alarm", async () => {
    const at = world({
      namespaces: { blog: {}, shop: {}, news: {} },
      target: { namespaces: ["blog", "shop"] },
    })
    const one = hire(at)
    await at.tags("a")
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual(["invalidate tag ns/blog", "invalidate tag ns/shop"])
    expect(resyncs(one)).toEqual([["gap", true]])
  })

  const losses: [string, string, (at: World, entries: readonly Position[]) => Promise<unknown>][] = [
    [
      "an entry in between is missing",
      "gap",
      (at, [, second]) => admin.xDel(at.key.log, `${second?.epoch}-0`),
    ],
    ["the oldest is missing", "gap", (at, [first]) => admin.xDel(at.key.log, `${first?.epoch}-0`)],
    ["the log was trimmed past it", "gap", (at) => admin.xTrim(at.key.log, "MAXLEN", 1)],
    ["the log is gone", "missingEntries", (at) => admin.del(at.key.log)],
    ["its cursor is gone", "gap", (at) => admin.hDel(at.key.cursor, NAME)],
    ["all cursors are gone", "gap", (at) => admin.del(at.key.cursor)],
    [
      "the log began anew",
      "generation",
      async (at) => {
        await admin.set(at.key.head, ((await admin.get(at.key.head)) ?? "").replace(/\S+$/, "another"))
        const { reason } = await new Memory().adopt(open.store, at.tenant, "relay-a", at.config)
        expect(reason).toBe("identity")
      },
    ],
    [
      "the head is gone, and something was published since",
      "generation",
      async (at) => {
        await admin.del(at.key.head)
        await at.tags("since")
      },
    ],
  ]

  it.each(losses)("resyncs at once, loudly and once where %s", async (_, reason, lose) => {
    const [at, one] = await levelled()
    const entries = await at.tags("x", "y", "z")
    await lose(at, entries)
    grown(one)
    one.lane.nudge()
    await level(at, one)
    expect(resyncs(one).slice(1)).toEqual([[reason, false]])
    expect(one.driver.purged.slice(0, 2)).toEqual(["invalidate tag ns/blog", "invalidate tag ns/shop"])
    // What it says of the entries that are still there is how they were covered.
    for (const { epoch } of entries) {
      const entry = await at.target(epoch).catch(() => undefined)
      if (entry) expect(entry).toMatchObject({ state: "done", as: "resync" })
    }
    one.driver.forget()
    for (let nudges = 0; nudges < 3; nudges += 1) {
      one.lane.nudge()
      await level(at, one)
    }
    await at.tags("after")
    one.lane.nudge()
    await level(at, one)
    expect([one.driver.purged, resyncs(one).length]).toEqual([["invalidate tag after"], 2])
  })

  it("finds the newest entry missing though those before it are whole", async () => {
    const [at, one] = await levelled()
    const entries = await at.tags("x", "y")
    await admin.xDel(at.key.log, `${last(entries).epoch}-0`)
    one.lane.nudge()
    await level(at, one)
    expect(resyncs(one).slice(1)).toEqual([["missingEntries", false]])
    expect(one.driver.purged).toEqual([
      "invalidate tag x",
      "invalidate tag ns/blog",
      "invalidate tag ns/shop",
    ])
  })

  it.each([
    ["invalidate", ["invalidate tag ns/blog", "invalidate tag ns/shop", "purge tag hard"]],
    ["purge", ["purge tag ns/blog", "purge tag ns/shop"]],
  ] as const)(
    "goes by the mode of the configuration, %s, but no softer than what it could read",
    async (mode, said) => {
      const [at, one] = await levelled({ relay: { resync: { mode } } })
      const [first] = await at.publish(
        { namespace: "blog", tags: ["lost"] },
        { namespace: "shop", mode: "purge", tags: ["hard"] },
      )
      await admin.xDel(at.key.log, `${first?.epoch}-0`)
      one.lane.nudge()
      await level(at, one)
      // Several calls are under way at once.
      expect(one.driver.purged.toSorted()).toEqual(said.toSorted())
    },
  )

  // The cursor went to the head, past what was too much for one read.
  it("goes on from where the read was cut off, so that what is hard there stays hard", async () => {
    const [at, one] = await levelled()
    const [first] = await at.publish(...moreThanOneRead(), {
      namespace: "shop",
      mode: "purge",
      tags: ["hard"],
    })
    await admin.xDel(at.key.log, `${first?.epoch}-0`)
    one.lane.nudge()
    await level(at, one)
    expect(resyncs(one)).toHaveLength(2)
    expect(one.driver.purged).toContain("purge tag hard")
  })

  it("keeps at it while its vendor is in trouble, and tells of it when it is done", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => trouble()
    await at.tags("x")
    await admin.del(at.key.log)
    one.lane.nudge()
    const wait = await asleep(one)
    expect(resyncs(one)).toHaveLength(1)
    one.driver.answer = () => undefined
    await pass(at, one, wait)
    await level(at, one)
    expect(resyncs(one)).toHaveLength(2)
  })
})

/** Lets its lease get so old that it is renewed before the next read. */
const grown = (one: Hired): void => one.clock.advance(LEASE / 2)

/** Lets time go on for the lane's own clock, and for its lease in Redis. */
async function pass(at: World, one: Hired, length: number): Promise<void> {
  if (length >= LEASE) await at.expireLease()
  one.clock.advance(length)
}

/** Waits until the lane has stopped so often and sleeps; how long it means to. */
async function asleep(one: Hired, times = 1): Promise<number> {
  await poll(() => one.told("lane:stopped").length).toBe(times)
  const { wait } = last(one.told("lane:stopped"))
  await poll(() => one.clock.sleepers).toEqual([wait])
  return wait
}

/** The same, and lets that time pass. */
async function waited(at: World, one: Hired, times = 1): Promise<number> {
  const wait = await asleep(one, times)
  await pass(at, one, wait)
  return wait
}

/** Waits until the lane has failed so often and sleeps, and lets enough time pass. */
async function failed(at: World, one: Hired, times = 1): Promise<void> {
  await poll(() => one.told("lane:failed").length).toBe(times)
  await poll(() => one.clock.sleepers.length).toBe(1)
  await pass(at, one, 30 * SECOND)
}

describe("a vendor in trouble", () => {
  it("stops the lane: the cursor stays, the backlog waits, and records tell", async () => {
    const [at, one] = await levelled()
    const before = await at.cursor()
    one.driver.answer = () => trouble("api.example.com answered 503")
    const [entry] = await at.tags("a")
    one.lane.nudge()
    await asleep(one)
    expect(await at.target(entry?.epoch ?? 0)).toMatchObject({
      state: "retrying",
      attempts: 1,
      error: "api.example.com answered 503",
    })
    expect(one.lane.status).toMatchObject({ state: "retrying", attempts: 1, nextAt: one.clock.now() + 250 })
    await at.tags("b", "c")
    // Nobody gets it asked any sooner.
    for (let nudges = 0; nudges < 5; nudges += 1) one.lane.nudge()
    one.clock.advance(249)
    expect(await at.cursor()).toEqual(before)
    expect(one.driver.attempts).toHaveLength(1)

    one.driver.answer = () => undefined
    one.clock.advance(1)
    await level(at, one)
    expect(one.driver.purged).toEqual(["invalidate tag a", "invalidate tag b", "invalidate tag c"])
    expect(one.told("lane:recovered")).toEqual([{ attempts: 1 }])
    expect(await at.target(entry?.epoch ?? 0)).toMatchObject({ state: "done", attempts: 2, error: null })
    await poll(at.told).toBeUndefined()
    expect(one.lane.status).toMatchObject({ state: "idle", attempts: 0 })
  })

  it("is asked again after ever longer waits, and from the first again when it was well", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => trouble()
    await at.tags("a")
    one.lane.nudge()
    const waits: number[] = []
    for (let times = 1; times <= 8; times += 1) waits.push(await waited(at, one, times))
    waits.push(await asleep(one, 9))
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000])
    one.driver.answer = () => undefined
    await pass(at, one, 15_000)
    await level(at, one)
    one.driver.answer = () => trouble()
    await at.tags("b")
    one.lane.nudge()
    expect(await asleep(one, 10)).toBe(250)
  })

  it.each([
    [7_000, 7_000],
    [60_000, 60_000],
    [300_000, 300_000],
    [3_600_000, 300_000],
    // Asking for no pause at all is no leave to be asked all the time.
    [0, 250],
  ])("that asks for %i ms is left alone for %i", async (asked, wait) => {
    const [at, one] = await levelled()
    one.driver.answer = (_, nth) => (nth === 1 ? trouble("429", asked) : undefined)
    await at.tags("a")
    one.lane.nudge()
    expect(await waited(at, one)).toBe(wait)
    await level(at, one)
    expect(one.driver.attempts).toHaveLength(2)
  })

  it("that no longer takes the credentials is asked every half minute, and records say paused", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => unauthorised
    const [entry] = await at.tags("a")
    one.lane.nudge()
    await poll(() => at.state(entry?.epoch ?? 0)).toBe("paused")
    expect(await waited(at, one, 1)).toBe(30_000)
    expect(await asleep(one, 2)).toBe(30_000)
    one.driver.answer = () => undefined
    await pass(at, one, 30_000)
    await level(at, one)
    expect(await at.target(entry?.epoch ?? 0)).toMatchObject({ state: "done", attempts: 3 })
  })

  it("gets nothing twice that it took before", async () => {
    const [at, one] = await levelled({}, { capabilities: upTo(10) })
    await at.publish({ namespace: "blog", tags: names(40) })
    one.driver.answer = (_, nth) => (nth === 3 ? trouble() : undefined)
    one.lane.nudge()
    await waited(at, one)
    await level(at, one)
    expect(one.driver.attempts).toHaveLength(5)
    expect(one.driver.purged).toHaveLength(40)
    expect(new Set(one.driver.purged).size).toBe(40)
    expect(one.told("lane:committed").at(-1)).toMatchObject({ calls: 4 })
  })

  it("leaves nothing for people to clear up", async () => {
    const [at, one] = await levelled()
    one.driver.answer = (_, nth) => (nth <= 3 ? trouble() : undefined)
    await at.tags("a")
    one.lane.nudge()
    for (let times = 1; times <= 3; times += 1) await waited(at, one, times)
    await level(at, one)
    expect([await admin.exists(at.key.dead), await admin.exists(at.key.late)]).toEqual([0, 0])
  })
})

describe("a value that the vendor refuses", () => {
  it("is found and widened to its namespace; all else is purged as it was asked", async () => {
    const [at, one] = await levelled()
    one.driver.answer = refusing("bad")
    const [good, bad] = await at.publish(
      { namespace: "shop", tags: names(20) },
      { namespace: "blog", mode: "purge", tags: ["bad"] },
    )
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged.filter((said) => said.endsWith("bad"))).toEqual([])
    expect(one.driver.purged).toHaveLength(21)
    expect(one.driver.purged).toContain("purge tag ns/blog")
    expect(await at.target(bad?.epoch ?? 0)).toMatchObject({ state: "done", as: "namespace" })
    expect(await at.target(good?.epoch ?? 0)).toMatchObject({ state: "done", as: null })
  })

  it("says both that it went wider and that it went hard", async () => {
    const modes = { modes: ["purge" as const], batch: 100 }
    const capabilities = {
      ...FAKE_CAPABILITIES,
      kinds: { tag: FAKE_CAPABILITIES.kinds.tag ?? modes, host: modes },
    }
    const [at, one] = await levelled(
      { namespaces: { blog: { hosts: ["www.example.com"] } } },
      { capabilities },
    )
    one.driver.answer = refusing("bad")
    const [bad] = await at.tags("bad")
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual(["purge host www.example.com"])
    expect((await at.target(bad?.epoch ?? 0))?.as).toBe("namespace, purge")
  })

  it("is a dead letter where its namespace is refused too: loud, kept, and never done", async () => {
    const [at, one] = await levelled()
    one.driver.answer = refusing("bad", "ns/blog")
    const [good, bad] = await at.tags("good", "bad")
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual(["invalidate tag good"])
    expect(one.told("lane:deadLettered")).toEqual([
      { epochs: [bad?.epoch], detail: "bad value; and wider: bad value" },
    ])
    expect(await at.target(bad?.epoch ?? 0)).toMatchObject({
      state: "dead",
      error: "bad value; and wider: bad value",
      at: expect.any(String),
    })
    expect((await at.record(bad?.epoch ?? 0)).state).toBe("failed")
    expect(await at.state(good?.epoch ?? 0)).toBe("done")
    const [letter] = (await admin.xRange(at.key.dead, "-", "+")) ?? []
    expect(JSON.parse(letter?.message["d"] ?? "")).toMatchObject({
      epochs: [bad?.epoch],
      namespace: "blog",
      tags: ["bad"],
      mode: "invalidate",
      error: "bad value; and wider: bad value",
    })
    one.lane.nudge()
    await level(at, one)
    expect(await admin.xLen(at.key.dead)).toBe(1)
  })

  it("is a dead letter at once where it must not be widened", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    one.driver.answer = refusing("bad")
    const [bad] = await at.tags("bad")
    one.lane.nudge()
    await level(at, one)
    expect([one.driver.attempts.length, await at.state(bad?.epoch ?? 0)]).toEqual([1, "dead"])
  })

  it("is not_supported where the vendor cannot do it at all", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    const cannot: Outcome = { outcome: "unsupported", detail: "not on this plan" }
    one.driver.answer = () => cannot
    const [entry] = await at.tags("a")
    one.lane.nudge()
    await level(at, one)
    expect(await at.target(entry?.epoch ?? 0)).toMatchObject({
      state: "not_supported",
      error: "not on this plan",
    })
  })

  // Half of it was widened, and the other half fell away without a word.
  it("is a dead letter where only one of its namespaces can be said", async () => {
    const hundred = { modes: ["invalidate", "purge"] as const, batch: 100 }
    const capabilities: Capabilities = { ...FAKE_CAPABILITIES, kinds: { url: hundred, host: hundred } }
    const namespaces = {
      blog: { hosts: ["www.example.com"] },
      shop: { prefixes: ["https://www.example.com/shop/", "https://shop.example.com/"] },
    }
    const [at, one] = await levelled({ namespaces }, { capabilities })
    const urls = ["https://www.example.com/shop/bad"]
    one.driver.answer = refusing(...urls)
    // It lies in both, and only one of them can be said as a whole.
    const entries = await at.publish({ namespace: "blog", urls }, { namespace: "shop", urls })
    one.lane.nudge()
    await level(at, one)
    expect(await Promise.all(entries.map(({ epoch }) => at.state(epoch)))).toEqual(["dead", "dead"])
    expect(one.told("lane:deadLettered").at(-1)?.epochs).toEqual(entries.map(({ epoch }) => epoch))
  })

  it("beside trouble leaves the whole for another time", async () => {
    const [at, one] = await levelled({}, { capabilities: upTo(4) })
    one.driver.answer = (batch, nth) => (nth === 2 ? trouble() : refusing("tag-1")(batch, nth))
    await at.publish({ namespace: "blog", tags: names(8) })
    one.lane.nudge()
    await waited(at, one)
    expect(await admin.exists(at.key.dead)).toBe(0)
    await level(at, one)
    expect(one.driver.purged).toContain("invalidate tag ns/blog")
  })
})

describe("two relays", () => {
  it("have one of them call", async () => {
    const at = world()
    const [a, b] = [hire(at, { relay: "relay-a" }), hire(at, { relay: "relay-b" })]
    await at.tags(...names(50))
    for (const one of [a, b]) one.lane.nudge()
    await poll(() => at.behind()).toBe(0)
    const entries = await at.tags(...names(20).map((name) => `more-${name}`))
    for (const one of [a, b]) one.lane.nudge()
    await poll(() => at.behind()).toBe(0)
    const callers = [a, b].filter(({ driver }) => driver.attempts.length > 0)
    expect(callers).toHaveLength(1)
    expect(await at.cursor()).toMatchObject(last(entries))
    // The other one waits for as long as the lease lasts, and finds nothing to do.
    const idle = a === callers[0] ? b : a
    await poll(() => idle.clock.sleepers.some((wait) => wait > 0 && wait <= LEASE)).toBe(true)
    expect(idle.lane.holds).toBe(false)
    await at.expireLease()
    idle.clock.advance(LEASE)
    await poll(() => [idle.lane.status.state, idle.clock.sleepers]).toEqual(["idle", []])
    expect(idle.driver.attempts).toEqual([])
  })

  it("have the one keep its lease for as long as it calls", async () => {
    const turn = gate()
    const [at, a] = await levelled()
    a.driver.answer = turn.answer
    await at.tags("a")
    a.lane.nudge()
    await poll(() => turn.waiting).toBe(1)
    const { owner } = await at.cursor()
    for (let thirds = 0; thirds < 9; thirds += 1) {
      await admin.pExpire(leaseKey(at.tenant, NAME), 60)
      await poll(() => a.clock.sleepers.length).toBe(1)
      a.clock.advance(LEASE / 3)
      // Renewed: it has more than what was left of it.
      await poll(() => admin.pTTL(leaseKey(at.tenant, NAME))).toBeGreaterThan(1_000)
    }
    expect([a.lane.holds, (await at.cursor()).owner]).toEqual([true, owner])
    turn.open()
    await level(at, a)
    expect(a.events).not.toContain("lane:lost")
  })

  it("are told apart from each other, and each from itself before it slept", async () => {
    const [at, a] = await levelled({}, { relay: "relay-a" })
    const { owner } = await at.cursor()
    expect(owner).toMatch(/^relay-a\.\w+$/)
    await at.tags("a")
    a.lane.nudge()
    await level(at, a)
    expect((await at.cursor()).owner).toBe(owner)
    await pass(at, a, LEASE)
    await at.tags("b")
    a.lane.nudge()
    await level(at, a)
    expect((await at.cursor()).owner).toMatch(/^relay-a\.\w+$/)
    expect((await at.cursor()).owner).not.toBe(owner)
  })

  it("have an owner that slept through its lease begin anew, though nobody took it", async () => {
    const turn = gate()
    const [at, a] = await levelled({}, { capabilities: upTo(1) })
    a.driver.answer = turn.answer
    await at.publish({ namespace: "blog", tags: names(8) })
    a.lane.nudge()
    await poll(() => turn.waiting).toBe(4)
    a.clock.jump(2 * LEASE)
    await at.expireLease()
    a.driver.answer = () => undefined
    turn.open()
    await level(at, a)
    expect(a.events).toContain("lane:lost")
    expect([a.driver.attempts.length, new Set(a.driver.purged).size]).toEqual([8, 8])
  })

  /** A has four calls under way of eight when it is stopped, and B has done everything when A is let go on. */
  async function frozen(): Promise<{ at: World; a: Hired; b: Hired; turn: ReturnType<typeof gate> }> {
    const turn = gate()
    const [at, a] = await levelled({}, { capabilities: upTo(1), relay: "relay-a" })
    a.driver.answer = turn.answer
    await at.publish({ namespace: "blog", tags: names(8) })
    a.lane.nudge()
    await poll(() => turn.waiting).toBe(4)
    a.clock.jump(2 * LEASE)
    await at.expireLease()
    const b = hire(at, { capabilities: upTo(1), relay: "relay-b", clock: manualClock() })
    b.lane.nudge()
    await level(at, b)
    expect(b.driver.purged).toHaveLength(8)
    return { at, a, b, turn }
  }

  it("have an owner that slept through its lease begin no further call and commit nothing", async () => {
    const { at, a, b, turn } = await frozen()
    const cursor = await at.cursor()
    const receipts = await admin.xLen(at.key.sent)
    turn.open()
    await poll(() => a.events).toContain("lane:lost")
    await poll(() => a.lane.status.state).toBe("idle")
    expect([a.driver.attempts.length, a.driver.underWay]).toEqual([4, 0])
    expect([await at.cursor(), await admin.xLen(at.key.sent)]).toEqual([cursor, receipts])
    expect(cursor.owner).toMatch(/^relay-b\./)
    expect(a.told("lane:committed")).toHaveLength(1)
    // Nor when its renewal comes, which the other's lease refuses.
    a.clock.advance(LEASE)
    await at.tags("after")
    b.lane.nudge()
    await level(at, b)
    expect([a.driver.attempts.length, b.driver.purged.at(-1)]).toEqual([4, "invalidate tag after"])
  })

  it("have what was lost between reading and committing committed by the other", async () => {
    const turn = gate()
    const [at, a] = await levelled({}, { relay: "relay-a" })
    a.driver.answer = turn.answer
    const [entry] = await at.tags("a")
    a.lane.nudge()
    await poll(() => turn.waiting).toBe(1)
    await at.expireLease()
    const b = hire(at, { relay: "relay-b" })
    b.lane.nudge()
    await level(at, b)
    const cursor = await at.cursor()
    // All its calls were accepted, and it does not know yet: only the cursor tells.
    turn.open()
    await poll(() => a.events).toContain("lane:lost")
    expect([await at.cursor(), a.told("lane:committed").length]).toEqual([cursor, 1])
    expect(await at.target(entry?.epoch ?? 0)).toMatchObject({ state: "done", attempts: 1 })
    expect(a.driver.attempts).toHaveLength(1)
  })

  it("have the one go on by itself where the cursor vanished under it", async () => {
    const turn = gate()
    const [at, a] = await levelled()
    a.driver.answer = turn.answer
    await at.tags("a")
    a.lane.nudge()
    await poll(() => turn.waiting).toBe(1)
    await admin.hDel(at.key.cursor, NAME)
    a.driver.answer = () => undefined
    turn.open()
    await level(at, a)
    expect(a.events.slice(-4)).toEqual(["lane:lost", "lane:called", "lane:committed", "lane:resynced"])
    expect(a.told("lane:resynced").at(-1)).toMatchObject({ isFirst: false })
  })

  it("have the one heed the pause that the vendor asked the other for", async () => {
    const [at, a] = await levelled({}, { relay: "relay-a" })
    a.driver.answer = () => trouble("429", 60_000)
    const [entry] = await at.tags("a")
    a.lane.nudge()
    await asleep(a)
    expect(await at.state(entry?.epoch ?? 0)).toBe("retrying")
    await at.expireLease()
    const b = hire(at, { relay: "relay-b", clock: manualClock(a.clock.now()) })
    b.lane.nudge()
    await poll(() => b.clock.sleepers).toEqual([60_000])
    expect([b.driver.attempts, b.lane.status]).toMatchObject([[], { state: "retrying", error: "429" }])
    await at.expireLease()
    b.clock.advance(60_000)
    await level(at, b)
    expect([b.driver.purged, await at.target(entry?.epoch ?? 0)]).toMatchObject([
      ["invalidate tag a"],
      { state: "done", attempts: 2 },
    ])
  })

  // The record of everything published since said `retrying`, whatever became of it.
  it("have the one take back what the other told, whoever of them finishes", async () => {
    const [at, a] = await levelled({}, { relay: "relay-a" })
    a.driver.answer = () => unauthorised
    await at.tags("a")
    a.lane.nudge()
    await asleep(a)
    expect(await at.told()).toMatchObject({ state: "paused" })
    await at.expireLease()
    // With other credentials it need not wait.
    const b = hire(at, { relay: "relay-b" })
    b.lane.nudge()
    await level(at, b)
    await poll(at.told).toBeUndefined()
    // And the first, whose pause ends with nothing left to do, says no more of it.
    await at.expireLease()
    a.clock.advance(30_000)
    await poll(() => [a.lane.status.state, a.lane.status.attempts]).toEqual(["idle", 0])
    const [entry] = await at.tags("b")
    expect(await at.state(entry?.epoch ?? 0)).toBe("pending")
    expect(a.driver.attempts).toHaveLength(1)
  })
})

describe("closing", () => {
  it("begins no further call, lets those under way finish, and leaves the rest where it is", async () => {
    const turn = gate()
    const [at, one] = await levelled({}, { capabilities: upTo(1) })
    one.driver.answer = turn.answer
    const before = await at.cursor()
    const [entry] = await at.publish({ namespace: "blog", tags: names(8) })
    one.lane.nudge()
    await poll(() => turn.waiting).toBe(4)
    let isClosed = false
    const closing = one.lane.close().then(() => (isClosed = true))
    one.lane.nudge()
    expect([isClosed, one.driver.underWay]).toEqual([false, 4])
    turn.open()
    await closing
    expect([one.driver.attempts.length, one.driver.underWay, one.clock.sleepers]).toEqual([4, 0, []])
    expect(await at.cursor()).toEqual(before)
    expect(await at.state(entry?.epoch ?? 0)).toBe("pending")
    expect(one.events).not.toContain("lane:lost")
    one.lane.nudge()
    await one.lane.close()
    expect(one.driver.attempts).toHaveLength(4)
  })

  it("commits what was all called", async () => {
    const turn = gate()
    const [at, one] = await levelled()
    one.driver.answer = turn.answer
    const [entry] = await at.tags("a")
    one.lane.nudge()
    await poll(() => turn.waiting).toBe(1)
    const closing = one.lane.close()
    turn.open()
    await closing
    expect([await at.state(entry?.epoch ?? 0), await at.behind()]).toEqual(["done", 0])
  })

  it("ends every wait at once", async () => {
    const [at, one] = await levelled({}, { relay: "relay-a" })
    one.driver.answer = () => trouble("429", 300_000)
    await at.tags("a")
    one.lane.nudge()
    await poll(() => one.clock.sleepers).toEqual([300_000])
    const other = hire(at, { relay: "relay-b" })
    other.lane.nudge()
    await poll(() => other.clock.sleepers.length).toBe(1)
    await Promise.all([one.lane.close(), other.lane.close()])
    expect([one.clock.sleepers, other.clock.sleepers]).toEqual([[], []])
  })

  it("gives the lease back, but never another's", async () => {
    const [at, a] = await levelled({}, { relay: "relay-a" })
    expect(a.lane.holds).toBe(true)
    await a.lane.close()
    expect([a.lane.holds, await admin.exists(leaseKey(at.tenant, NAME))]).toEqual([false, 0])
    // So that whoever is there need not wait for it to end.
    const b = hire(at, { relay: "relay-b" })
    await at.tags("a")
    b.lane.nudge()
    await level(at, b)
    expect(b.driver.purged).toEqual(["invalidate tag a"])

    // One that still believes to hold what is another's by now.
    await at.expireLease()
    const c = hire(at, { relay: "relay-c" })
    await at.tags("b")
    c.lane.nudge()
    await level(at, c)
    expect(b.lane.holds).toBe(true)
    await b.lane.close()
    expect(await admin.get(leaseKey(at.tenant, NAME))).toMatch(/^relay-c\./)
  })

  it("of one that never began is nothing", async () => {
    const one = hire(world())
    await one.lane.close()
    one.lane.nudge()
    expect(one.lane.status.state).toBe("idle")
  })
})

describe("a store in trouble", () => {
  /** The store, but for what a test has fail: before it is sent, or after it ran. */
  function flaky(): { store: Store; fail: (name: string) => "before" | "after" | undefined } {
    const control: { store: Store; fail: (name: string) => "before" | "after" | undefined } = {
      fail: () => undefined,
      store: {
        async script(script, keys, args) {
          const when = control.fail(script.name)
          if (when === "before") throw new StoreError("unreachable", "Redis did not answer")
          const reply = await open.store.script(script, keys, args)
          if (when === "after") throw new StoreError("unreachable", "Redis did not answer")
          return reply
        },
        pipeline: (commands) => open.store.pipeline(commands),
      },
    }
    return control
  }

  it.each(["acquire", "read", "commit"])(
    "that does not answer to %s is asked again, and nothing is lost",
    async (name) => {
      const control = flaky()
      const [at, one] = await levelled({}, { store: control.store })
      let failures = 0
      control.fail = (script) => (script === name && (failures += 1) <= 3 ? "before" : undefined)
      const [entry] = await at.tags("a")
      grown(one)
      one.lane.nudge()
      for (let times = 1; times <= 3; times += 1) {
        await failed(at, one, times)
      }
      await level(at, one)
      expect([one.driver.purged, await at.state(entry?.epoch ?? 0)]).toEqual([["invalidate tag a"], "done"])
    },
  )

  it("is asked no later than a poll from now, however long it was away", async () => {
    const control = flaky()
    const [at, one] = await levelled({}, { store: control.store })
    control.fail = (script) => (script === "acquire" ? "before" : undefined)
    grown(one)
    one.lane.nudge()
    for (let times = 1; times <= 10; times += 1) {
      await poll(() => one.told("lane:failed").length).toBe(times)
      await poll(() => one.clock.sleepers.length).toBe(1)
      expect(one.clock.sleepers[0]).toBeLessThanOrEqual(at.config.relay.poll)
      one.clock.advance(at.config.relay.poll)
    }
  })

  it("that took a commit without saying so does not have it made twice", async () => {
    const control = flaky()
    const [at, one] = await levelled({}, { store: control.store })
    let failures = 0
    control.fail = (script) => (script === "commit" && (failures += 1) === 1 ? "after" : undefined)
    await at.tags("a")
    one.lane.nudge()
    await failed(at, one)
    await level(at, one)
    expect([one.driver.attempts.length, await admin.xLen(at.key.sent)]).toEqual([1, 2])
  })

  it("while calls run is no reason to stop before the lease is over", async () => {
    const control = flaky()
    const turn = gate()
    const [at, one] = await levelled({}, { store: control.store, capabilities: upTo(1) })
    one.driver.answer = turn.answer
    await at.publish({ namespace: "blog", tags: names(12) })
    one.lane.nudge()
    await poll(() => turn.waiting).toBe(4)
    control.fail = (script) => (script === "acquire" ? "before" : undefined)
    one.clock.advance(LEASE / 3)
    turn.open()
    await poll(() => turn.waiting).toBe(4)
    // Over: the four that were begun are the last.
    one.clock.advance(LEASE)
    turn.open()
    await poll(() => one.events).toContain("lane:lost")
    expect(one.driver.attempts).toHaveLength(8)
    one.driver.answer = () => undefined
    await poll(() => one.clock.sleepers.length).toBe(1)
    control.fail = () => undefined
    await failed(at, one)
    await level(at, one)
    // What it was told was accepted it need not say again.
    expect([one.driver.attempts.length, new Set(one.driver.purged).size]).toEqual([12, 12])
  })

  it("that is full lets a lane finish, and empties itself", async () => {
    const [at, one] = await levelled({ log: { keep: "0" } })
    const entries = await at.tags(...names(200))
    one.clock.jump(3_600_000)
    await at.expireLease()
    await admin.configSet("maxmemory", "1")
    try {
      await expect(at.tags("refused")).rejects.toMatchObject({ failure: "full" })
      one.lane.nudge()
      await level(at, one)
      expect(one.driver.purged).toHaveLength(200)
      expect(await admin.xLen(at.key.log)).toBe(1)
    } finally {
      await admin.configSet("maxmemory", "0")
    }
    expect(await at.cursor()).toMatchObject(last(entries))
  })
})
