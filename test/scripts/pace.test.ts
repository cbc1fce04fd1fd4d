import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { holdKey, paceKey, paceNeverKey } from "../../protocol/keys.ts"
import { holdScript, paceScript } from "../../protocol/scripts.gen.ts"
import { asList, asText } from "../../protocol/store.ts"
import { useRedis } from "./support.ts"

const host = useRedis()

const KEY = paceKey("account", "calls")
const SHARED = [holdKey("account"), paceNeverKey("account")]
const KEYS = [...SHARED, KEY]

/** Milliseconds to wait; 0: taken. */
const take = async (perSecond: number, burst: number, wanted = 1): Promise<number> =>
  Number(await host.store.script(paceScript, KEYS, ["rate", ...[perSecond, burst, wanted].map(String)]))

const serverTime = async (): Promise<number> => {
  const [seconds, micros] = asList(await host.command("TIME")).map(Number)
  return Number(seconds) * 1_000 + Number(micros) / 1_000
}

/** As if the bucket had so many tokens left, so long ago. */
const setBucket = async (tokens: number, msAgo: number) =>
  void (await host.command("HSET", KEY, "tokens", String(tokens), "at", String((await serverTime()) - msAgo)))

const tokens = async () => Number(asText(await host.command("HGET", KEY, "tokens")))

/** So slow that no test lasts as long as one token takes. */
const SLOW = 0.0001

describe("an account's bucket", () => {
  it("gives its burst at once, and no more", async () => {
    const waits = await Promise.all(Array.from({ length: 8 }, () => take(SLOW, 5)))
    expect(waits.filter((wait) => wait === 0)).toHaveLength(5)
    for (const wait of waits.slice(5)) expect(wait).toBeGreaterThan(0)
  })

  it("is shared by all who use it", async () => {
    const stores = await Promise.all([host.connect(), host.connect(), host.connect()])
    const args = ["rate", String(SLOW), "10", "1"]
    const asked = stores.flatMap((store) =>
      Array.from({ length: 10 }, () => store.script(paceScript, KEYS, args)),
    )
    expect((await Promise.all(asked)).filter((wait) => wait === 0)).toHaveLength(10)
  })

  it("says how long to wait for what is missing, and takes nothing meanwhile", async () => {
    await setBucket(0.5, 0)
    // Half a token of one in 10,000 s, less what has passed since.
    const wait = await take(SLOW, 5)
    expect(wait).toBeGreaterThan(4_000_000)
    expect(wait).toBeLessThanOrEqual(5_000_000)
    expect(await tokens()).toBe(0.5)
  })

  it("refills with time, and never above its burst", async () => {
    await setBucket(0, 3_600_000)
    expect(await take(1, 5, 5)).toBe(0)
    expect(await take(SLOW, 5)).toBeGreaterThan(0)
    await setBucket(0, 20_000_000)
    expect(await take(SLOW, 5, 2)).toBe(0)
    expect(await tokens()).toBeLessThan(1)
  })

  it("gives the whole of it for more than it holds, rather than nothing for ever", async () => {
    expect(await take(SLOW, 5, 500)).toBe(0)
    expect(await take(SLOW, 5, 1)).toBeGreaterThan(0)
  })

  it("takes several at once or none", async () => {
    expect(await take(SLOW, 5, 3)).toBe(0)
    expect(await take(SLOW, 5, 3)).toBeGreaterThan(0)
    expect(await take(SLOW, 5, 2)).toBe(0)
  })

  it("keeps what it has when its burst is lowered and raised", async () => {
    await take(SLOW, 10, 1)
    expect(await take(SLOW, 2, 2)).toBe(0)
    expect(await take(SLOW, 10, 1)).toBeGreaterThan(0)
  })

  it("never gives more than its burst and what has passed, whatever is asked in which order", async () => {
    const asks = fc.array(fc.record({ wanted: fc.integer({ min: 1, max: 8 }), passed: fc.nat(3_000) }), {
      minLength: 1,
      maxLength: 15,
    })
    await fc.assert(
      fc.asyncProperty(
        asks,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 6 }),
        async (list, perSecond, burst) => {
          await host.command("DEL", KEY)
          const began = await serverTime()
          let given = 0
          let skipped = 0
          for (const { wanted, passed } of list) {
            const at = await host.command("HGET", KEY, "at")
            if (at !== null) {
              // Time passes by moving the bucket into the past.
              await host.command("HSET", KEY, "at", String(Number(at) - passed))
              skipped += passed
            }
            if ((await take(perSecond, burst, wanted)) === 0) given += Math.min(wanted, burst)
            const elapsed = skipped + (await serverTime()) - began
            expect(given).toBeLessThanOrEqual(burst + (elapsed * perSecond) / 1_000 + 0.001)
          }
        },
      ),
      { numRuns: 30 },
    )
  })
})

describe("a clock that went back", () => {
  it("refills nothing", async () => {
    await setBucket(1, -3_600_000)
    expect(await take(1_000, 5)).toBe(0)
    expect(await take(SLOW, 5)).toBeGreaterThan(0)
  })

  // An empty bucket stood still until the clock had caught up: an hour's step was an hour without a call.
  it("does not stop what refills from now on", async () => {
    await setBucket(0, -3_600_000)
    expect(await take(1_000, 5)).toBeGreaterThan(0)
    await expect.poll(() => take(1_000, 5), { timeout: 10_000 }).toBe(0)
  })
})

const HOUR = 3_600_000
const hold = (length: number, ...left: readonly (readonly [string, number])[]) =>
  host.store.script(
    holdScript,
    [...SHARED, ...left.map(([key]) => key)],
    [String(length), ...left.map(([, count]) => String(count))],
  )

describe("a hold", () => {
  it("lets nobody of the account begin, in whatever bucket, until it is over", async () => {
    await hold(60_000)
    expect(await take(100, 5)).toBeGreaterThan(50_000)
    expect(await host.command("EXISTS", KEY)).toBe(0)
    await host.command("DEL", holdKey("account"))
    expect(await take(100, 5)).toBe(0)
  })

  it("is not shortened by a shorter one", async () => {
    await hold(60_000)
    await hold(10)
    expect(await take(100, 5)).toBeGreaterThan(50_000)
  })

  it("ends with its key, whatever the clock says", async () => {
    await hold(HOUR)
    expect(Number(await host.command("PTTL", holdKey("account")))).toBeLessThanOrEqual(HOUR)
  })
})

describe("what a vendor says is left", () => {
  it("lowers what a bucket holds, and never raises it", async () => {
    await hold(0, [KEY, 2])
    expect(await take(SLOW, 5, 3)).toBeGreaterThan(0)
    await hold(0, [KEY, 4])
    expect(await take(SLOW, 5, 3)).toBeGreaterThan(0)
    expect(await take(SLOW, 5, 2)).toBe(0)
    expect(await host.command("EXISTS", holdKey("account"))).toBe(0)
  })
})

describe("what is in progress", () => {
  const many = (lasting: number, most: number, wanted: number): Promise<number> =>
    host.store
      .script(paceScript, KEYS, ["inProgress", String(lasting), String(most), String(wanted)])
      .then(Number)
  /** As if all of it had been asked so long ago. */
  const age = async (ms: number) => {
    const members = asList(await host.command("ZRANGE", KEY, "0", "-1", "WITHSCORES")).map(
      (one) => asText(one) ?? "",
    )
    for (let i = 0; i < members.length; i += 2) {
      await host.command("ZADD", KEY, String(Number(members[i + 1]) - ms), members[i] ?? "")
    }
  }

  it("is never more than the most, and what waits is told for how long", async () => {
    expect(await many(HOUR, 15, 10)).toBe(0)
    expect(await many(HOUR, 15, 5)).toBe(0)
    const wait = await many(HOUR, 15, 1)
    expect(wait).toBeGreaterThan(HOUR - 60_000)
    expect(wait).toBeLessThanOrEqual(HOUR)
    await age(HOUR)
    expect(await many(HOUR, 15, 15)).toBe(0)
  })

  it("is counted over all who ask, also within one moment", async () => {
    const asked = await Promise.all(Array.from({ length: 40 }, () => many(HOUR, 15, 1)))
    expect(asked.filter((wait) => wait === 0)).toHaveLength(15)
  })

  it("waits only for as much as is wanted", async () => {
    expect(await many(HOUR, 10, 6)).toBe(0)
    await age(HOUR / 2)
    expect(await many(HOUR, 10, 4)).toBe(0)
    expect(await many(HOUR, 10, 6)).toBeLessThanOrEqual(HOUR / 2)
    expect(await many(HOUR, 10, 7)).toBeGreaterThan(HOUR / 2)
  })

  it("takes the whole of it for more than there may be", async () => {
    expect(await many(HOUR, 10, 500)).toBe(0)
    expect(await many(HOUR, 10, 1)).toBeGreaterThan(0)
  })

  it("lasts no longer from now than it would, where the clock went back", async () => {
    expect(await many(1_000, 10, 10)).toBe(0)
    await age(-HOUR)
    expect(await many(1_000, 10, 1)).toBeLessThanOrEqual(1_000)
    await expect.poll(() => many(1_000, 10, 1), { timeout: 10_000 }).toBe(0)
  })
})

describe("one value", () => {
  const [a, b] = [paceKey("account", "tags:a"), paceKey("account", "tags:b")]
  const space = (each: number, ...keys: readonly string[]): Promise<number> =>
    host.store
      .script(
        paceScript,
        [...SHARED, ...keys],
        keys.flatMap(() => ["spacing", String(each), "0", "0"]),
      )
      .then(Number)

  it("has its time between two, and others are not held up by it", async () => {
    expect(await space(HOUR, a)).toBe(0)
    expect(await space(HOUR, a)).toBeGreaterThan(HOUR - 60_000)
    expect(await space(HOUR, b)).toBe(0)
  })

  it("holds up all of a call, which then has taken nothing of the others", async () => {
    expect(await space(HOUR, a)).toBe(0)
    expect(await space(HOUR, a, b)).toBeGreaterThan(0)
    expect(await space(HOUR, b)).toBe(0)
  })
})

describe("a budget", () => {
  const spend = (most: number, wanted: number): Promise<number> =>
    host.store.script(paceScript, KEYS, ["budget", String(most), String(HOUR), String(wanted)]).then(Number)

  it("is spent to the last, and what is more is refused and not counted", async () => {
    expect([await spend(10, 7), await spend(10, 4), await spend(10, 3), await spend(10, 1)]).toEqual([
      0, -1, 0, -1,
    ])
  })

  it("that is raised is gone on with", async () => {
    expect([await spend(10, 10), await spend(10, 1), await spend(11, 1)]).toEqual([0, -1, 0])
  })
})

describe("several limits of one call", () => {
  const OTHER = paceKey("account", "other")
  const both = (...args: readonly (string | number)[]): Promise<number> =>
    host.store.script(paceScript, [...SHARED, KEY, OTHER], args.map(String)).then(Number)

  it("are taken together, or none of them", async () => {
    expect(await both("rate", SLOW, 5, 1, "rate", SLOW, 1, 1)).toBe(0)
    expect(await both("rate", SLOW, 5, 1, "rate", SLOW, 1, 1)).toBeGreaterThan(0)
    expect(await take(SLOW, 5, 4)).toBe(0)
  })

  it("are waited for by the longest", async () => {
    await both("rate", 1, 1, 1, "rate", 0.001, 1, 1)
    expect(await both("rate", 1, 1, 1, "rate", 0.001, 1, 1)).toBeGreaterThan(900_000)
  })

  it("that hold a used budget are not waited for", async () => {
    expect(await both("rate", SLOW, 1, 1, "budget", 1, HOUR, 1)).toBe(0)
    expect(await both("rate", SLOW, 1, 1, "budget", 1, HOUR, 1)).toBe(-1)
  })
})
