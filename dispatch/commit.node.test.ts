import { expect, it } from "vitest"
import { NO_SELECTORS } from "../protocol/invalidation.ts"
import { cursorKey, deadKey, dueKey, lateKey } from "../protocol/keys.ts"
import { type Store, StoreError } from "../protocol/store.ts"
import { MINUTE } from "../protocol/time.ts"
import { admin, open, useLanes, world } from "../test/support/lanes.ts"
import { systemClock } from "./clock.ts"
import { commit, type Commit } from "./commit.ts"
import { Lease } from "./lease.ts"

useLanes()

/** A lane that has its lease, and a great deal to write of what it read. */
async function busy() {
  const at = world({})
  await at.tags(...Array.from({ length: 3 }, (_, nth) => `tag-${nth}`))
  const target = "edge"
  const { tenant } = at
  const options = { store: open.store, clock: systemClock, tenant, target, relay: "r1", length: MINUTE }
  const held = await new Lease(options).take()
  if (!held) throw new Error("another has the lane")
  const owed = { namespace: "blog", mode: "invalidate", epochs: [], ...NO_SELECTORS } as const
  const numbers = Array.from({ length: 1_000 }, (_, nth) => nth + 1)
  const what: Commit = {
    held,
    to: { generation: 1, epoch: 1_000, seq: 4 },
    late: numbers.map((epoch) => ({ receipt: { epoch, state: "dead", at: 0, attempts: 1, calls: [] } })),
    letters: numbers.map((nth) => ({ ...owed, at: nth, error: "refused" })),
    due: numbers
      .slice(0, 500)
      .map((nth) => ({ at: nth, id: `item-${nth}`, item: { ...owed, why: "again" } })),
    keepFrom: 0,
    maxEntries: 100_000,
  }
  /** Rows, letters, due items and where the cursor is. */
  const written = async () => [
    await admin.zCard(lateKey(tenant, target)),
    await admin.xLen(deadKey(tenant, target)),
    await admin.zCard(dueKey(tenant, target)),
    await admin.hGet(cursorKey(tenant), target),
  ]
  return { lane: { tenant, target }, held, what, written }
}

/** The store, with how many items each commit that it was asked for has; the one of that number is not answered. */
function counting(lost?: number): { readonly store: Store; readonly sizes: number[] } {
  const sizes: number[] = []
  const store: Store = {
    ...open.store,
    async script(script, keys, args) {
      sizes.push(args.length)
      if (sizes.length === lost) throw new StoreError("unreachable", "the connection was lost")
      return open.store.script(script, keys, args)
    },
  }
  return { store, sizes }
}

it("is written in parts where it has many items, so that none holds Redis up, and moves the cursor by the last", async () => {
  const { lane, held, what, written } = await busy()
  const { store, sizes } = counting()
  expect(await commit(store, lane, what)).toMatchObject({ status: "ok" })
  expect(sizes).toHaveLength(9)
  // Three arguments each at most, and a dozen beside them.
  expect(Math.max(...sizes)).toBeLessThanOrEqual(3 * 300 + 12)
  expect(await written()).toEqual([1_000, 1_000, 500, `${held.text.split(" ")[0]} 1 1000 4`])
})

it("that ends half-way leaves the cursor, and is written whole when it is made again", async () => {
  const { lane, held, what, written } = await busy()
  await expect(commit(counting(5).store, lane, what)).rejects.toThrow(StoreError)
  expect(await written()).toEqual([1_000, 0, 200, held.text])
  expect(await commit(open.store, lane, what)).toMatchObject({ status: "ok" })
  expect(await written()).toEqual([1_000, 1_000, 500, `${held.text.split(" ")[0]} 1 1000 4`])
})

it("of few is one", async () => {
  const { lane, what } = await busy()
  const { store, sizes } = counting()
  const few = {
    ...what,
    late: what.late?.slice(0, 100) ?? [],
    letters: what.letters?.slice(0, 100) ?? [],
    due: [],
  }
  await commit(store, lane, few)
  expect(sizes).toHaveLength(1)
})
