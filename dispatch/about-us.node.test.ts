import { describe, expect, it } from "vitest"
import type { Pacer } from "./pace.ts"
import { SECOND } from "../protocol/time.ts"
import {
  type Answer,
  FAKE_CAPABILITIES,
  freePacer,
  refused,
  refusing,
  unauthorised,
} from "../test/support/fake-driver.ts"
import { admin, type Hired, hire, level, levelled, poll, useLanes, world } from "../test/support/lanes.ts"

useLanes()

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `tag-${index}`)

/** As Akamai answers by 400 while a clock is off: whatever is asked, in words that name what was. */
const refusingAll: Answer = ({ values }) =>
  refused(`400 Bad request: Invalid timestamp (${values[0]?.value})`)

/** Until it sleeps: told of before. */
async function paused({ lane, clock }: Hired): Promise<void> {
  await poll(() => [lane.status.state, clock.sleepers.includes(30 * SECOND)]).toEqual(["paused", true])
}

describe("a vendor that refuses whatever it is asked", () => {
  it("pauses the lane: nothing is given up, and all is purged once that is mended", async () => {
    const [at, one] = await levelled()
    one.driver.answer = refusingAll
    const entries = await at.tags(...names(8))
    one.lane.nudge()
    await paused(one)
    expect(one.lane.status.error).toMatch(
      /all of 8 values was refused, and what is wider too.*Invalid timestamp/,
    )
    expect(one.lane.status.error).toContain("secret (the secret HOOK_SECRET) of targets.edge")
    expect([one.told("lane:deadLettered"), await admin.xLen(at.key.dead)]).toEqual([[], 0])
    expect(await at.target(entries[0]?.epoch ?? 0)).toMatchObject({ state: "paused" })

    // Each further try costs a call, and not all of that again.
    for (const _ of [1, 2, 3]) {
      one.driver.forget()
      one.clock.advance(30 * SECOND)
      await poll(() => one.driver.attempts.length).toBe(1)
      await paused(one)
    }
    one.driver.forget()
    one.driver.answer = () => undefined
    one.clock.advance(30 * SECOND)
    await level(at, one)
    const purged = new Set(one.driver.purged)
    expect([...purged].toSorted()).toEqual(names(8).map((name) => `invalidate tag ${name}`))
    for (const entry of entries) expect(await at.state(entry.epoch)).toBe("done")
    expect(await admin.xLen(at.key.dead)).toBe(0)
  })

  it("is believed to mean us at the first start too, where there is nothing wider", async () => {
    const at = world()
    const one = hire(at)
    one.driver.answer = refusingAll
    const [entry] = await at.tags("a")
    one.lane.nudge()
    await paused(one)
    one.driver.answer = () => undefined
    one.clock.advance(30 * SECOND)
    await level(at, one)
    expect([await at.state(entry?.epoch ?? 0), await admin.xLen(at.key.dead)]).toEqual(["done", 0])
  })

  it("is believed to mean us where one value is refused in the same words as all of its namespace", async () => {
    const [at, one] = await levelled()
    one.driver.answer = refusingAll
    await at.tags("a")
    one.lane.nudge()
    await poll(() => one.lane.status.state).toBe("paused")
    expect(one.driver.attempts).toHaveLength(2)
  })

  it("means the value where what is wider is refused in other words", async () => {
    const [at, one] = await levelled()
    one.driver.answer = ({ values }) => refused(values[0]?.value === "bad" ? "too odd" : "not in this plan")
    const [bad] = await at.tags("bad")
    one.lane.nudge()
    await level(at, one)
    expect(await at.target(bad?.epoch ?? 0)).toMatchObject({
      state: "dead",
      error: "too odd; and wider: not in this plan",
    })
  })

  it("means the values once anything else is taken, if only later", async () => {
    const [at, one] = await levelled()
    one.driver.answer = refusing("bad-1", "bad-2", "ns/blog")
    const [first] = await at.tags("bad-1", "bad-2")
    one.lane.nudge()
    await paused(one)
    const [good] = await at.tags("good")
    one.lane.nudge()
    one.clock.advance(30 * SECOND)
    await level(at, one)
    expect(one.driver.purged).toContain("invalidate tag good")
    expect([await at.state(first?.epoch ?? 0), await at.state(good?.epoch ?? 0)]).toEqual(["dead", "done"])
  })

  it("names the options that a driver points at", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => ({ ...unauthorised, mend: ["url"] }) as typeof unauthorised
    await at.tags("a")
    one.lane.nudge()
    await poll(() => one.lane.status.error).toBe("no such token; look at url of targets.edge")
  })

  it("names none where none can be mended, as of a clock", async () => {
    const [at, one] = await levelled()
    one.driver.answer = () => ({ ...unauthorised, mend: [] }) as typeof unauthorised
    await at.tags("a")
    one.lane.nudge()
    await poll(() => one.lane.status.error).toBe("no such token")
  })
})

/** Of a vendor whose limit for tags is used up, whatever else it takes. */
const noTags = (): { readonly pacer: Pacer; refill(): void; readonly waiting: number } => {
  const refilled = Promise.withResolvers<void>()
  let waiting = 0
  return {
    get waiting() {
      return waiting
    },
    refill: () => refilled.resolve(),
    pacer: {
      ...freePacer,
      async take({ values }, signal) {
        if (values[0]?.kind !== "tag") return "taken"
        waiting += 1
        const over = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))
        await Promise.race([refilled.promise, over])
        waiting -= 1
        return signal.aborted ? "ended" : "taken"
      },
    },
  }
}

describe("a takedown", () => {
  const capabilities = {
    ...FAKE_CAPABILITIES,
    kinds: { ...FAKE_CAPABILITIES.kinds, tag: { modes: ["invalidate", "purge"] as const, batch: 1 } },
  }

  it("goes before a bulk that was read already and waits for its limit", async () => {
    const limit = noTags()
    const [at, one] = await levelled(
      { namespaces: { blog: { hosts: ["www.example.com"] } } },
      { pacer: limit.pacer, capabilities },
    )
    const bulk = await at.tags(...names(60))
    one.lane.nudge()
    await poll(() => limit.waiting).toBe(4)
    const url = "https://www.example.com/taken-down"
    const [down] = await at.publish({ namespace: "blog", mode: "purge", urls: [url] })
    one.lane.nudge()
    await poll(() => one.clock.sleepers).toContain(SECOND)
    one.clock.advance(SECOND)
    await poll(() => one.driver.purged).toEqual([`purge url ${url}`])
    expect(one.events).not.toContain("lane:lost")
    limit.refill()
    await level(at, one)
    expect(one.driver.purged).toHaveLength(61)
    for (const entry of [...bulk, down]) expect(await at.state(entry?.epoch ?? 0)).toBe("done")
  })

  it("does not have what was taken before it asked again", async () => {
    let [free, asked] = [10, 0]
    const limit = noTags()
    const pacer: Pacer = {
      ...limit.pacer,
      async take(batch, signal) {
        asked += 1
        return (free -= 1) >= 0 ? "taken" : limit.pacer.take(batch, signal)
      },
    }
    const [at, one] = await levelled({}, { pacer, capabilities })
    ;[free, asked] = [10, 0]
    await at.tags(...names(20))
    one.lane.nudge()
    await poll(() => one.driver.purged.length).toBe(10)
    await poll(() => limit.waiting).toBe(4)
    await at.publish({ namespace: "blog", mode: "purge", tags: ["tag-19"] })
    one.lane.nudge()
    await poll(() => one.clock.sleepers).toContain(SECOND)
    one.clock.advance(SECOND)
    await poll(() => [asked > 14, limit.waiting]).toEqual([true, 4])
    limit.refill()
    await level(at, one)
    expect(one.driver.purged.toSorted()).toEqual(
      [...names(19).map((name) => `invalidate tag ${name}`), "purge tag tag-19"].toSorted(),
    )
  })

  it("is what is asked first of what was read together", async () => {
    const [at, one] = await levelled({}, { capabilities })
    await at.tags(...names(10))
    await at.publish({ namespace: "blog", mode: "purge", tags: ["down"] })
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged[0]).toBe("purge tag down")
  })

  it("is not looked for where nothing was published since", async () => {
    const limit = noTags()
    const [at, one] = await levelled(
      { namespaces: { blog: { hosts: ["www.example.com"] } } },
      { pacer: limit.pacer, capabilities },
    )
    await at.tags("a")
    one.lane.nudge()
    await poll(() => limit.waiting).toBe(1)
    expect(one.clock.sleepers).not.toContain(SECOND)
    limit.refill()
    await level(at, one)
  })
})
