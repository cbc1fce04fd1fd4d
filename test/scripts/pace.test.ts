import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { holdKey, paceKey, paceNeverKey } from "../../protocol/keys.ts"
import { paceScript } from "../../protocol/scripts.gen.ts"
import { asList, asText } from "../../protocol/store.ts"
import { useRedis } from "./support.ts"

const host = useRedis()

const KEY = paceKey("account", "calls")
const KEYS = [KEY, holdKey("account"), paceNeverKey("account")]

/** Milliseconds to wait; 0: taken. */
const take = async (perSecond: number, burst: number, wanted = 1): Promise<number> =>
  Number(await host.store.script(paceScript, KEYS, [perSecond, burst, wanted].map(String)))

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
    const args = [String(SLOW), "10", "1"]
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

describe("a hold", () => {
  it("lets nobody of the account begin, in whatever bucket, until it is over", async () => {
    await host.command("SET", holdKey("account"), "1", "PX", "60000")
    expect(await take(100, 5)).toBeGreaterThan(50_000)
    expect(await host.command("EXISTS", KEY)).toBe(0)
    await host.command("DEL", holdKey("account"))
    expect(await take(100, 5)).toBe(0)
  })
})
