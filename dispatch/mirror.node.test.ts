import { expect, it } from "vitest"
import { isFresh } from "../protocol/freshness.ts"
import { parseLookupJson } from "../protocol/lookup.ts"
import { PORTABLE_CODEC } from "../protocol/tag-rules.ts"
import { manualClock } from "../test/support/clock.ts"
import { fakeDriver } from "../test/support/fake-driver.ts"
import { hire, LEASE, level, open, poll, useLanes, world } from "../test/support/lanes.ts"
import { readMirror } from "./mirror.ts"
import { mirror } from "./targets/mirror.ts"

/** Mirrors of epochs, written by lanes over a real Redis. */
useLanes()

const HEARTBEAT = 120_000

async function stage() {
  const at = world({ namespaces: { blog: {}, "blog/news": {}, shop: {} }, target: { namespaces: ["blog"] } })
  const clock = manualClock()
  const capabilities = mirror(HEARTBEAT, PORTABLE_CODEC)
  const driver = fakeDriver(capabilities)
  const written: string[] = []
  driver.answer = async () => {
    written.push(
      await readMirror(open.store, { tenant: at.tenant, config: at.config, patterns: ["blog"] }, clock.now()),
    )
    return undefined
  }
  const one = hire(at, { clock, capabilities, driver })
  const last = () => parseLookupJson(JSON.parse(written.at(-1) ?? "null"))
  return { at, one, clock, written, last, driver }
}

it("hold the namespaces of their target, and count every tag as the watermark", async () => {
  const { at, one, last, written } = await stage()
  await at.publish({ namespace: "shop" })
  const [entry] = await at.publish({ namespace: "blog", tags: ["a", "b"] })
  one.lane.nudge()
  await level(at, one)
  expect([...(last()?.namespaces.keys() ?? [])]).toEqual(["blog", "blog/news"])
  expect(last()?.namespaces.get("blog")).toMatchObject({
    watermark: entry?.epoch,
    floor: entry?.epoch,
    epoch: 0,
  })
  expect(last()?.last).toBe(entry?.epoch)
  // However much was invalidated, it is one write.
  expect(written).toHaveLength(1)
  expect(one.driver.purged).toEqual(["invalidate everything *"])
})

it("are written at once though the targets of pages wait for the CMS to settle", async () => {
  const { at, one, last } = await stage()
  const [entry] = await at.publish({ namespace: "blog", tags: ["a"], settle: "1h" })
  one.lane.nudge()
  await level(at, one)
  expect(last()?.last).toBe(entry?.epoch)
})

it("are written once more a lease later, and by heartbeat for ever after, with a new asOf", async () => {
  const { at, one, clock, written, last } = await stage()
  await at.publish({ namespace: "blog" })
  one.lane.nudge()
  await level(at, one)
  expect(written).toHaveLength(1)
  const first = last()?.asOf ?? 0
  const pass = async (length: number) => {
    clock.advance(length)
    // Redis keeps a lease by its own clock.
    await at.expireLease()
    one.lane.nudge()
  }
  await pass(LEASE)
  await poll(() => written.length).toBe(2)
  expect(last()?.asOf).toBe(first + LEASE)
  for (let beat = 1; beat <= 3; beat += 1) {
    await level(at, one)
    await pass(HEARTBEAT)
    await poll(() => written.length).toBe(2 + beat)
  }
  await level(at, one)
  expect(one.told("lane:deadLettered")).toEqual([])
})

it("make an entry stale whose tag was invalidated, though they know no tags", async () => {
  const { at, one, last } = await stage()
  const [before] = await at.publish({ namespace: "blog", tags: ["a"] })
  const [after] = await at.publish({ namespace: "blog", tags: ["b"] })
  one.lane.nudge()
  await level(at, one)
  const row = last()?.namespaces.get("blog")
  const generation = last()?.generation ?? 0
  if (!row) throw new Error("the mirror holds blog")
  const answer = { ...row, generation, last: last()?.last ?? 0 }
  const judged = (epoch: number) => isFresh({ generation, epoch }, answer, ["b"])
  expect([judged(before?.epoch ?? 0), judged(after?.epoch ?? 0)]).toEqual([false, true])
})
