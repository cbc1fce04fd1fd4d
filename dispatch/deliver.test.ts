import * as fc from "fast-check"
import { describe, expect, it, vi } from "vitest"
import type { Mode } from "../protocol/invalidation.ts"
import { MAX_LISTED_CALLS } from "../protocol/receipt.ts"
import {
  accepted,
  FAKE_CAPABILITIES,
  type FakeDriver,
  fakeDriver,
  freePacer,
  refused,
  refusing,
  trouble,
  unauthorised,
} from "../test/support/fake-driver.ts"
import { deliver, type Delivered, type DeliverContext } from "./deliver.ts"
import type { Item } from "./plan.ts"
import type { Batch, Capabilities, Driver, Kind, Outcome } from "./targets/target.ts"

// Nothing here is about how long anything takes, and machines differ.
vi.setConfig({ testTimeout: 60_000 })

const item = (kind: Kind, value: string, mode: Mode = "invalidate"): Item => ({
  kind,
  value,
  meant: value,
  mode,
  namespaces: ["blog"],
  epochs: [1_800_000_000_000_000],
})

const tags = (count: number, mode: Mode = "invalidate"): Item[] =>
  Array.from({ length: count }, (_, index) => item("tag", `tag-${index}`, mode))

const upTo = (batch: number): Capabilities => ({
  ...FAKE_CAPABILITIES,
  kinds: Object.fromEntries(
    Object.entries(FAKE_CAPABILITIES.kinds).map(([kind, one]) => [kind, { ...one, batch }]),
  ),
})

const contextOf = (driver: Driver, rest: Partial<DeliverContext> = {}): DeliverContext => ({
  tenant: "default",
  target: "edge",
  capabilities: FAKE_CAPABILITIES,
  driver,
  pacer: freePacer,
  timeout: 60_000,
  signal: new AbortController().signal,
  urgent: new AbortController().signal,
  mayBegin: () => true,
  accepted: new Map(),
  turn: () => Promise.resolve(),
  suspects: new Set(),
  isProbing: false,
  now: () => 0,
  ...rest,
})

const run = (
  items: readonly Item[],
  driver: FakeDriver,
  rest?: Partial<DeliverContext>,
): Promise<Delivered> => deliver(items, contextOf(driver, rest))

const sizes = (batches: readonly Batch[]) => batches.map(({ values }) => values.length)

/** A driver whose calls wait until they are let go, in any order. */
function held() {
  const waiting: ((outcome: Outcome) => void)[] = []
  const driver = fakeDriver(FAKE_CAPABILITIES, () => new Promise<Outcome>((resolve) => waiting.push(resolve)))
  return { driver, waiting, begun: () => expect.poll(() => waiting.length) }
}

describe("delivering", () => {
  it("makes as few calls as the vendor's sizes allow", async () => {
    const driver = fakeDriver()
    const urls = Array.from({ length: 101 }, (_, index) => item("url", `https://www.example.com/${index}`))
    const { calls, callCount, ...rest } = await run(
      [...tags(250), ...urls, item("tag", "hard", "purge")],
      driver,
    )
    expect(sizes(driver.attempts).toSorted((a, b) => a - b)).toEqual([1, 1, 50, 100, 100, 100])
    expect([calls.length, callCount, rest]).toEqual([6, 6, { taken: 6, refused: [] }])
    expect(driver.complaints).toEqual([])
  })

  it("has nothing to do with nothing", async () => {
    expect(await run([], fakeDriver())).toEqual({ calls: [], callCount: 0, taken: 0, refused: [] })
  })

  it("lists some of many calls, and counts them all", async () => {
    const { calls, callCount } = await run(tags(50), fakeDriver(upTo(1)), { capabilities: upTo(1) })
    expect([calls.length, callCount]).toEqual([MAX_LISTED_CALLS, 50])
  })

  it("keeps what the vendor said of a call", async () => {
    const driver = fakeDriver(FAKE_CAPABILITIES, () => ({
      outcome: "accepted",
      status: 202,
      vendorId: "ray-1",
    }))
    expect((await run(tags(1), driver)).calls).toEqual([{ status: 202, vendorId: "ray-1" }])
  })

  it("has no more than four calls under way", async () => {
    let most = 0
    const turns: (() => void)[] = []
    const driver: FakeDriver = fakeDriver(upTo(1), async () => {
      most = Math.max(most, driver.underWay)
      await new Promise<void>((resolve) => turns.push(resolve))
      return undefined
    })
    const done = run(tags(30), driver, { capabilities: upTo(1) })
    for (let answered = 0; answered < 30; answered += 1) {
      await expect.poll(() => turns.length).toBe(Math.min(30, answered + 4))
      turns[answered]?.()
    }
    await done
    expect([most, driver.attempts.length]).toEqual([4, 30])
  })

  it("tells of every attempt, whatever became of it", async () => {
    let now = 0
    const told: [number, string, number][] = []
    const driver = fakeDriver(FAKE_CAPABILITIES, (batch) => {
      now += 7
      return refusing("tag-1")(batch, 0)
    })
    const onCall: DeliverContext["onCall"] = ({ values }, { outcome }, took) =>
      told.push([values.length, outcome, took])
    await run(tags(2), driver, { onCall, now: () => now })
    expect(told).toEqual([
      [2, "refused", 7],
      [1, "accepted", 7],
      [1, "refused", 7],
    ])
  })

  it("gives each call its own time, and does not cut it short with the lane's signal", async () => {
    const closing = new AbortController()
    const seen: AbortSignal[] = []
    const driver: Driver = {
      async purge(_, signal) {
        seen.push(signal)
        closing.abort()
        expect(signal.aborted).toBe(false)
        await new Promise((resolve) => signal.addEventListener("abort", resolve))
        return trouble("no answer in time")
      },
    }
    const { stop } = await deliver(tags(1), contextOf(driver, { timeout: 1, signal: closing.signal }))
    expect([seen.length, stop?.detail]).toEqual([1, "no answer in time"])
  })
})

describe("a refused batch", () => {
  it("is cut in two until the value at fault stands alone", async () => {
    const driver = fakeDriver(FAKE_CAPABILITIES, refusing("tag-37"))
    const result = await run(tags(64), driver)
    expect(result.refused.map(({ item: one, state, detail }) => [one.value, state, detail])).toEqual([
      ["tag-37", "dead", "bad value"],
    ])
    expect(result.stop).toBeUndefined()
    // One for all of it, and two for each of the six cuts.
    expect(driver.attempts).toHaveLength(13)
    expect(driver.purged).toHaveLength(63)
  })

  it("leaves every other value purged, in few calls", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 20 }),
        fc.uniqueArray(fc.nat({ max: 59 }), { maxLength: 4 }),
        async (count, batch, poisoned) => {
          const values = poisoned.filter((index) => index < count).map((index) => `tag-${index}`)
          const capabilities = upTo(batch)
          const driver = fakeDriver(capabilities, refusing(...values))
          const result = await run(tags(count), driver, { capabilities })
          expect(result.refused.map(({ item: one }) => one.value).toSorted()).toEqual(values.toSorted())
          expect(driver.purged.length + values.length).toBe(count)
          expect(new Set(driver.purged).size).toBe(driver.purged.length)
          expect(driver.attempts.length).toBeLessThanOrEqual(
            Math.ceil(count / batch) + 2 * values.length * Math.ceil(Math.log2(Math.max(2, batch))),
          )
          expect([result.callCount, driver.complaints]).toEqual([driver.accepted.length, []])
        },
      ),
      { numRuns: 60 },
    )
  })

  it("is not cut where the vendor cannot do it at all", async () => {
    const driver = fakeDriver(FAKE_CAPABILITIES, () => ({
      outcome: "unsupported",
      detail: "not on this plan",
    }))
    const { refused: left } = await run(tags(3), driver)
    expect(left.map(({ item: one, state }) => `${state} ${one.value}`)).toEqual([
      "not_supported tag-0",
      "not_supported tag-1",
      "not_supported tag-2",
    ])
    expect(driver.attempts).toHaveLength(1)
  })

  it("is asked again without the values that the vendor cannot be told", async () => {
    const driver = fakeDriver(FAKE_CAPABILITIES, ({ values }) => {
      const at = values.flatMap(({ value }, place) => (value === "tag-1" ? [place] : []))
      return at.length > 0
        ? { outcome: "unsupported", detail: "a wildcard", ...(values.length > 1 ? { at } : {}) }
        : { outcome: "accepted", status: 200 }
    })
    const { refused: left, taken } = await run(tags(3), driver)
    expect(left.map(({ item: one, state }) => `${state} ${one.value}`)).toEqual(["not_supported tag-1"])
    expect([taken, driver.attempts.length]).toEqual([1, 2])
  })
})

describe("trouble", () => {
  it("begins no further call, and lets those under way finish", async () => {
    const { driver, waiting, begun } = held()
    const done = run(tags(1_000), driver)
    await begun().toBe(4)
    waiting[0]?.(trouble("503", 9_000))
    await expect.poll(() => driver.underWay).toBe(3)
    for (const answer of waiting.slice(1)) answer(accepted)
    const { stop, callCount, refused: left } = await done
    expect(stop).toEqual({ state: "retrying", detail: "503", retryAfter: 9_000 })
    expect([callCount, left, driver.attempts.length]).toEqual([3, [], 4])
  })

  it("does not repeat what was accepted, once it is over", async () => {
    const known: DeliverContext["accepted"] = new Map()
    const driver = fakeDriver(FAKE_CAPABILITIES, ({ values }) =>
      values.length < 100 ? trouble() : undefined,
    )
    const first = await run(tags(250), driver, { accepted: known })
    expect([first.stop?.state, sizes(driver.accepted)]).toEqual(["retrying", [100, 100]])
    driver.answer = () => undefined
    const second = await run(tags(250), driver, { accepted: known })
    expect([second.stop, second.callCount, sizes(driver.accepted)]).toEqual([undefined, 3, [100, 100, 50]])
    expect(driver.attempts).toHaveLength(4)
  })

  it("is not known again when it was published again", async () => {
    const known: DeliverContext["accepted"] = new Map()
    const driver = fakeDriver()
    await run([item("tag", "a")], driver, { accepted: known })
    await run([{ ...item("tag", "a"), epochs: [1_800_000_000_000_000, 1_800_000_000_000_001] }], driver, {
      accepted: known,
    })
    expect(driver.attempts).toHaveLength(2)
  })

  // The last to answer won: a 429 that asked for a minute was forgotten over a 503 beside it.
  it.each([
    [
      "the longest pause",
      [trouble("429", 60_000), trouble("503")],
      { state: "retrying", retryAfter: 60_000 },
    ],
    [
      "the longest pause of several",
      [trouble("429", 1_000), trouble("429", 60_000), trouble("429", 2_000)],
      { state: "retrying", retryAfter: 60_000 },
    ],
    [
      "credentials before trouble",
      [unauthorised, trouble("503")],
      { state: "paused", detail: "no such token" },
    ],
    ["credentials with the pause", [trouble("429", 5), unauthorised], { state: "paused", retryAfter: 5 }],
  ])("of several at once counts by %s", async (_, outcomes, expected) => {
    const { driver, waiting, begun } = held()
    const done = run(tags(400), driver)
    await begun().toBe(4)
    for (const [index, answer] of waiting.entries()) {
      answer(outcomes[index] ?? accepted)
      await expect.poll(() => driver.underWay).toBe(3 - index)
    }
    expect((await done).stop).toMatchObject(expected)
  })

  it("pauses where the credentials are not taken", async () => {
    const { stop } = await run(
      tags(1),
      fakeDriver(FAKE_CAPABILITIES, () => unauthorised),
    )
    expect(stop).toEqual({ state: "paused", detail: "no such token", mend: "secrets" })
  })

  it("is what a store is that does not answer for the pace", async () => {
    const driver = fakeDriver()
    const pacer = { ...freePacer, take: () => Promise.reject(new Error("gone")) }
    const { stop } = await run(tags(1), driver, { pacer })
    expect([stop?.state, driver.attempts]).toEqual(["retrying", []])
  })

  // One rejection used to leave the other calls running with nobody waiting for them, also after a close.
  it("is what a driver is that breaks its word and rejects, and no secret of its message is told", async () => {
    const ways: (() => Promise<Outcome>)[] = [
      () => Promise.reject(new TypeError("Bearer s3cret")),
      () => {
        throw new TypeError("Bearer s3cret")
      },
    ]
    for (const purge of ways) {
      const { stop } = await deliver(tags(1), contextOf({ purge }))
      expect(stop).toEqual({ state: "retrying", detail: "the driver failed (TypeError)" })
    }
  })

  it("of a driver that rejects waits for the calls beside it", async () => {
    const others: (() => void)[] = []
    let ended = 0
    const driver: Driver = {
      async purge({ values }) {
        if (values.length < 100) throw new Error("broken")
        await new Promise<void>((resolve) => others.push(resolve))
        ended += 1
        return accepted
      },
    }
    let isOver = false
    const done = deliver(tags(201), contextOf(driver)).finally(() => (isOver = true))
    await expect.poll(() => others.length).toBe(2)
    others[0]?.()
    await expect.poll(() => ended).toBe(1)
    expect(isOver).toBe(false)
    others[1]?.()
    expect((await done).stop?.state).toBe("retrying")
  })
})

describe("an end", () => {
  it("by its signal begins no further call, and lets those under way finish", async () => {
    const { driver, waiting, begun } = held()
    const closing = new AbortController()
    const done = run(tags(1_000), driver, { signal: closing.signal })
    await begun().toBe(4)
    closing.abort()
    for (const answer of waiting) answer(accepted)
    const { stop, callCount } = await done
    expect([stop?.state, callCount, driver.attempts.length]).toEqual(["ended", 4, 4])
  })

  it("while waiting for its turn is no trouble of the vendor's", async () => {
    const driver = fakeDriver()
    const { stop } = await run(tags(1), driver, {
      pacer: { ...freePacer, take: async () => "ended" },
    })
    expect([stop?.state, driver.attempts]).toEqual(["ended", []])
  })

  // An owner that slept through its lease hears of it a moment later only; until then it went on calling.
  it("is asked for as each call begins, not only heard of", async () => {
    let mayBegin = true
    const driver = fakeDriver(upTo(10), () => {
      mayBegin = false
      return undefined
    })
    const { stop, callCount } = await run(tags(1_000), driver, {
      capabilities: upTo(10),
      mayBegin: () => mayBegin,
    })
    expect([stop?.state, callCount, driver.attempts.length]).toEqual(["ended", 1, 1])
  })

  it("counts before trouble: whoever lost the lane has nothing to say of its vendor", async () => {
    const { driver, waiting, begun } = held()
    const closing = new AbortController()
    const done = run(tags(1_000), driver, { signal: closing.signal })
    await begun().toBe(4)
    closing.abort()
    waiting[0]?.(accepted)
    await expect.poll(() => driver.underWay).toBe(3)
    for (const answer of waiting.slice(1)) answer(trouble("429", 60_000))
    expect((await done).stop?.state).toBe("ended")
  })

  it("leaves nothing refused behind that was not asked alone", async () => {
    const closing = new AbortController()
    const driver = fakeDriver(FAKE_CAPABILITIES, () => {
      closing.abort()
      return refused()
    })
    const { stop, refused: left } = await run(tags(8), driver, { signal: closing.signal })
    expect([stop?.state, left]).toEqual(["ended", []])
  })
})
