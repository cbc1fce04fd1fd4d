import { describe, expect, it } from "vitest"
import { NO_SELECTORS } from "../protocol/invalidation.ts"
import { cursorKey, deadKey, dueItemsKey, dueKey, leaseKey, logKey, sentKey } from "../protocol/keys.ts"
import { encodeOwed } from "../protocol/letter.ts"
import { DAY, HOUR } from "../protocol/time.ts"
import { admin, hire, level, open, useLanes, world } from "../test/support/lanes.ts"
import { listLetters } from "./letters.ts"
import { lookAfterRemoved } from "./removed.ts"

useLanes()

const OLD = "old"

/** Two targets that have both read the log; of one a relay says that it is no longer there. */
async function twoTargets() {
  const at = world({ others: { [OLD]: {} } })
  const [one, two] = [hire(at), hire(at, { name: OLD })]
  await at.tags("a")
  one.lane.nudge()
  two.lane.nudge()
  await level(at, one)
  await level(at, two, OLD)
  const now = Date.now()
  const look = (later = 0, live = ["edge"]) =>
    lookAfterRemoved(open.store, at.tenant, { live: new Set(live) }, now + later)
  return { at, one, look }
}

describe("a target that no relay has configured any more", () => {
  it("is told of once, and keeps its cursor for a day", async () => {
    const { at, look } = await twoTargets()
    expect(await look()).toEqual([{ target: OLD, letters: 0, dropped: false }])
    expect(await look(DAY - 1)).toEqual([])
    expect(await admin.hExists(cursorKey(at.tenant), OLD)).toBe(1)
    expect(await look(DAY)).toEqual([{ target: OLD, letters: 0, dropped: true }])
    expect(await admin.hExists(cursorKey(at.tenant), OLD)).toBe(0)
    const rest = [leaseKey, sentKey, dueKey].map((keyOf) => keyOf(at.tenant, OLD))
    expect(await admin.exists(rest)).toBe(0)
    expect(await look(2 * DAY)).toEqual([])
    expect(await admin.hExists(cursorKey(at.tenant), "edge")).toBe(1)
  })

  it("counts anew where it was back in between", async () => {
    const { look } = await twoTargets()
    await look()
    await look(HOUR, ["edge", OLD])
    expect(await look(DAY)).toEqual([{ target: OLD, letters: 0, dropped: false }])
    expect(await look(2 * DAY - HOUR)).toEqual([])
  })

  it("no longer keeps the log from being trimmed", async () => {
    const { at, one, look } = await twoTargets()
    await at.tags("b", "c")
    one.lane.nudge()
    await level(at, one)
    await look()
    await look(DAY)
    // Longer than the log is kept.
    await at.expireLease()
    one.clock.advance(8 * DAY)
    await at.tags("d")
    one.lane.nudge()
    await level(at, one)
    // The entry that the other cursor stands on.
    expect(await admin.xLen(logKey(at.tenant))).toBe(1)
  })

  it("leaves what it owes as dead letters, readable or not", async () => {
    const { at, look } = await twoTargets()
    const text = encodeOwed({
      why: "replay",
      ...NO_SELECTORS,
      namespace: "blog",
      tags: ["a"],
      mode: "purge",
      epochs: [7],
    })
    await admin.hSet(dueItemsKey(at.tenant, OLD), { x: text, y: "{" })
    await admin.zAdd(dueKey(at.tenant, OLD), [
      { score: 1, value: "x" },
      { score: 2, value: "y" },
    ])
    expect(await look()).toEqual([{ target: OLD, letters: 2, dropped: false }])
    const letters = await listLetters(
      open.store,
      { tenant: at.tenant, target: OLD },
      { after: undefined, limit: 10 },
    )
    expect(letters.map(({ letter }) => letter)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ namespace: "blog", tags: ["a"], mode: "purge", epochs: [7] }),
        expect.objectContaining({ namespace: null, raw: "{" }),
      ]),
    )
    expect(await admin.exists([dueKey(at.tenant, OLD), dueItemsKey(at.tenant, OLD)])).toBe(0)
    // What people are to look at stays, also after the cursor.
    await look(DAY)
    expect(await admin.xLen(deadKey(at.tenant, OLD))).toBe(2)
  })
})
