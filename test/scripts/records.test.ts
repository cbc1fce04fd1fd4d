import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { TargetScope } from "../../protocol/concern.ts"
import { type Epoch, epochToMs } from "../../protocol/epoch.ts"
import { idempotencyKey, lanesKey, lateKey, laterAfterKey, laterKey, sentKey } from "../../protocol/keys.ts"
import { type EntryPlan, passId, type PassPlan, publish, RELAY_PRINCIPAL } from "../../protocol/publish.ts"
import type { LaneStatus, LateState, RangeReceipt } from "../../protocol/receipt.ts"
import { findEntry, type InvalidationRecord, readRecords, type TargetState } from "../../protocol/record.ts"
import { getRecord, listRecords, type PageQuery } from "../../protocol/records-api.ts"
import { isoTime } from "../../protocol/time.ts"
import { acquire, commit, type Commit, epochOf, plan, readLog, record, TENANT, useRedis } from "./support.ts"

const host = useRedis()

const ALL: Readonly<Record<string, TargetScope>> = { cdn: { namespaces: ["*"], tenants: ["default"] } }

/** The clock of these tests: 1,000 s after 1970. */
const START = 1_000_000_000

async function recordOf(epoch: Epoch, targets = ALL): Promise<InvalidationRecord> {
  const entry = await findEntry(host.store, TENANT, epoch)
  if (!entry) throw new Error(`there is no entry ${epoch}`)
  const [found] = await readRecords(host.store, TENANT, [entry], targets)
  if (!found) throw new Error("an entry has no record")
  return found
}

const stateOf = async (epoch: Epoch) => {
  const { state, targets } = await recordOf(epoch)
  return { state, cdn: targets["cdn"]?.state }
}

/** A lane's work up to an epoch, wherever its cursor is. */
async function deliver(to: Epoch, more: Partial<Commit> = {}): Promise<void> {
  const target = more.target ?? "cdn"
  const held = (await acquire(host.store, target, "r1.a")) ?? ""
  const entry = await findEntry(host.store, TENANT, to)
  const position = `${entry?.generation ?? START} ${to} ${entry?.seq ?? 0}`
  expect(await commit(host.store, { target, held, to: position, ...more })).toBe("ok")
}

const tellLane = (status: Partial<LaneStatus>) =>
  host.command("HSET", lanesKey(TENANT), "cdn", JSON.stringify({ since: 0, attempts: 0, ...status }))

const clock = (seconds: number) => ({ clock: START + seconds * 1_000_000 })

describe("a record", () => {
  it("tells what was asked, in the API's words", async () => {
    const entry = plan({
      tags: ["a"],
      urls: ["https://www.example.com/"],
      mode: "purge",
      reason: "typo",
      entity: { type: "post", id: 5 },
    })
    await record(host.store, [entry], clock(0))
    expect(await recordOf(START)).toEqual({
      id: "1000000000",
      epoch: START,
      seq: 2,
      tenant: "default",
      namespace: "blog",
      tags: ["a"],
      urls: ["https://www.example.com/"],
      mode: "purge",
      entity: { type: "post", id: 5 },
      reason: "typo",
      by: { token: "deploy" },
      acceptedAt: "1970-01-01T00:16:40.000Z",
      state: "pending",
      passes: [],
      targets: {
        cdn: { state: "pending", at: null, ms: null, attempts: 0, as: null, calls: [], error: null },
      },
    })
  })

  it("of everything and of a resync has no namespace, and says which it is", async () => {
    await record(
      host.store,
      [plan({ namespace: null }), plan({ namespace: null, kind: "resync", cause: "identity" })],
      clock(0),
    )
    expect(await recordOf(START)).toMatchObject({ namespace: null, everything: true })
    const resync = await recordOf(START + 1)
    expect(resync).toMatchObject({ namespace: null, resync: true, cause: "identity" })
    expect(resync).not.toHaveProperty("everything")
  })

  it("that concerns no target is done at once", async () => {
    const epoch = await epochOf(host.store)
    const elsewhere = {
      cdn: { namespaces: ["shop"], tenants: ["default"] },
      other: { namespaces: ["*"], tenants: ["acme"] },
    }
    expect(await recordOf(epoch, elsewhere)).toMatchObject({ state: "done", targets: {} })
  })

  it("is pending until its lane has passed it, then done, with what it took", async () => {
    await record(host.store, [plan(), plan(), plan()], clock(0))
    expect(await stateOf(START + 1)).toEqual({ state: "pending", cdn: "pending" })
    const calls = [{ status: 200, vendorId: "abc" }]
    const at = epochToMs(START) + 250
    await deliver(START + 1, { receipt: { at, attempts: 2, calls, callCount: 1 } })
    const done = { state: "done", at: isoTime(at), ms: 250, attempts: 2, as: null, calls, error: null }
    expect(await recordOf(START + 1)).toMatchObject({ state: "done", targets: { cdn: done } })
    expect((await recordOf(START)).targets["cdn"]).toEqual(done)
    expect(await stateOf(START + 2)).toEqual({ state: "pending", cdn: "pending" })
  })

  it("is done when every target is, and failed when one is given up", async () => {
    await record(host.store, [plan()], clock(0))
    const targets = { ...ALL, other: { namespaces: ["blog"], tenants: ["*"] } }
    await deliver(START)
    expect((await recordOf(START, targets)).state).toBe("pending")
    await deliver(START, { target: "other", late: [{ epoch: START, state: "dead", error: "refused" }] })
    expect((await recordOf(START, targets)).state).toBe("failed")
    await host.command("DEL", lateKey(TENANT, "other"))
    // Nobody knows any more: it is not done, and not failed either.
    expect((await recordOf(START, targets)).state).toBe("pending")
  })

  it.each([
    ["retrying", { state: "retrying", attempts: 3, error: "503" }, { attempts: 3, error: "503" }],
    ["paused", { state: "paused", attempts: 1, error: "401" }, { attempts: 1, error: "401" }],
    ["pending", { state: "running", attempts: 0 }, { attempts: 0, error: null }],
    ["pending", { state: "idle", attempts: 0 }, { attempts: 0, error: null }],
  ] as const)("is %s as its lane is %j", async (state, lane, more) => {
    const epoch = await epochOf(host.store)
    await tellLane(lane)
    expect((await recordOf(epoch)).targets["cdn"]).toMatchObject({ state, ...more, at: null })
  })

  it("that was done before its lane was in trouble stays done", async () => {
    const epoch = await epochOf(host.store)
    await deliver(epoch)
    await tellLane({ state: "retrying", attempts: 3 })
    expect(await stateOf(epoch)).toEqual({ state: "done", cdn: "done" })
  })

  it.each<[LateState, InvalidationRecord["state"], boolean]>([
    ["dead", "failed", true],
    ["not_supported", "failed", true],
    ["done", "done", true],
    ["retrying", "pending", false],
    ["settling", "pending", false],
  ])("has its own receipt where the range left it out: %s", async (state, overall, isOver) => {
    await record(host.store, [plan(), plan()], clock(0))
    const at = epochToMs(START) + 40
    const late = {
      epoch: START,
      state,
      at,
      attempts: 4,
      calls: [{ status: 422 }],
      as: "namespace",
      error: "no such tag",
    }
    await deliver(START + 1, { late: [late] })
    expect(await recordOf(START)).toMatchObject({
      state: overall,
      targets: {
        cdn: {
          state,
          at: isOver ? isoTime(at) : null,
          ms: isOver ? 40 : null,
          attempts: 4,
          as: "namespace",
          calls: [{ status: 422 }],
          error: "no such tag",
        },
      },
    })
    expect(await stateOf(START + 1)).toEqual({ state: "done", cdn: "done" })
  })

  it.each<[string, Partial<RangeReceipt>, string | null]>([
    ["as it was asked", {}, null],
    ["as something wider", { as: "namespace" }, "namespace"],
    ["in a resync, as which it was not read", { resync: "gap" }, "resync"],
    ["harder, it alone", { asOf: { purge: [START] } }, "purge"],
    ["as it was asked, others wider", { asOf: { namespace: [START + 1] } }, null],
  ])("tells that it was sent %s", async (_, receipt, as) => {
    await record(host.store, [plan(), plan()], clock(0))
    await deliver(START + 1, { receipt })
    expect((await recordOf(START)).targets["cdn"]).toMatchObject({ state: "done", as })
  })
})

describe("what nobody knows", () => {
  it("is unknown where the receipt is trimmed, never done, and never that of the range that follows", async () => {
    await record(host.store, [plan(), plan(), plan()], clock(0))
    await deliver(START)
    await deliver(START + 1)
    await deliver(START + 2)
    await host.command("XDEL", sentKey(TENANT, "cdn"), `${START + 1}-0`)
    expect(await stateOf(START)).toEqual({ state: "done", cdn: "done" })
    expect(await stateOf(START + 1)).toEqual({ state: "pending", cdn: "unknown" })
    expect(await stateOf(START + 2)).toEqual({ state: "done", cdn: "done" })
  })

  it("is unknown where its own receipt is trimmed before the range's", async () => {
    await record(host.store, [plan()], clock(0))
    await deliver(START, { late: [{ epoch: START, state: "dead" }] })
    expect(await stateOf(START)).toEqual({ state: "failed", cdn: "dead" })
    await host.command("ZREMRANGEBYSCORE", lateKey(TENANT, "cdn"), "-inf", "+inf")
    expect(await stateOf(START)).toEqual({ state: "pending", cdn: "unknown" })
  })

  it("is unknown where the target was not concerned then, though it is now", async () => {
    await record(host.store, [plan(), plan({ namespace: "shop" }), plan({ namespace: null })], clock(0))
    await deliver(START + 2, { receipt: { namespaces: ["shop"] } })
    expect(await stateOf(START)).toEqual({ state: "pending", cdn: "unknown" })
    expect(await stateOf(START + 1)).toEqual({ state: "done", cdn: "done" })
    expect(await stateOf(START + 2)).toEqual({ state: "done", cdn: "done" })
  })

  it("is done by a resync, which reached all that the target has", async () => {
    await record(host.store, [plan()], clock(0))
    await deliver(START, { receipt: { namespaces: ["shop"], resync: "generation" } })
    expect(await stateOf(START)).toEqual({ state: "done", cdn: "done" })
  })

  it("is unknown where a receipt cannot be read", async () => {
    await record(host.store, [plan()], clock(0))
    await deliver(START)
    await host.command("DEL", sentKey(TENANT, "cdn"))
    await host.command("XADD", sentKey(TENANT, "cdn"), `${START}-0`, "from", "0", "r", "{")
    expect(await stateOf(START)).toEqual({ state: "pending", cdn: "unknown" })
  })

  it("is never told as done in any history of ranges, exceptions, and receipts that are gone", async () => {
    const COUNT = 10
    const lateState = fc.constantFrom<LateState>("dead", "done", "not_supported", "retrying")
    const ranges = fc.array(
      fc.record({
        length: fc.integer({ min: 1, max: 4 }),
        late: fc.array(fc.record({ offset: fc.nat(3), state: lateState, isKept: fc.boolean() }), {
          maxLength: 2,
        }),
        isKept: fc.boolean(),
        namespaces: fc.constantFrom<string[]>(["*"], ["blog"], ["shop"]),
        resync: fc.constantFrom(undefined, "gap"),
      }),
      { maxLength: 5 },
    )
    await fc.assert(
      fc.asyncProperty(ranges, async (list) => {
        await host.command("FLUSHALL")
        const entries = Array.from({ length: COUNT }, (_, index) =>
          plan({ namespace: index % 2 ? "shop" : "blog" }),
        )
        await record(host.store, entries, clock(0))
        const expected = new Map<Epoch, TargetState>()
        let from = START - 1
        for (const { length, late, isKept, namespaces, resync } of list) {
          const to = Math.min(from + length, START + COUNT - 1)
          if (to === from) break
          const within = late.filter(({ offset }) => offset < to - from)
          const own = new Map(within.map((one) => [from + 1 + one.offset, one]))
          const receipts = [...own].map(([epoch, { state }]) => ({ epoch, state }))
          await deliver(to, { late: receipts, receipt: { namespaces, ...(resync ? { resync } : {}) } })
          if (!isKept) await host.command("XDEL", sentKey(TENANT, "cdn"), `${to}-0`)
          for (let epoch = from + 1; epoch <= to; epoch += 1) {
            const one = own.get(epoch)
            if (one && !one.isKept)
              await host.command("ZREMRANGEBYSCORE", lateKey(TENANT, "cdn"), String(epoch), String(epoch))
            const namespace = (epoch - START) % 2 ? "shop" : "blog"
            const wasConcerned =
              resync !== undefined || namespaces.includes("*") || namespaces.includes(namespace)
            if (!isKept || (one && !one.isKept)) expected.set(epoch, "unknown")
            else expected.set(epoch, one?.state ?? (wasConcerned ? "done" : "unknown"))
          }
          from = to
        }
        const told = await readRecords(host.store, TENANT, await readLog(host.store), ALL)
        for (const { epoch, targets } of told) {
          expect([epoch, targets["cdn"]?.state]).toEqual([epoch, expected.get(epoch) ?? "pending"])
        }
        // One by one they are told as they are together.
        for (const one of told) expect(await recordOf(one.epoch)).toEqual(one)
      }),
      { numRuns: 40 },
    )
  })
})

describe("passes", () => {
  const body = plan({ tags: ["a"] }).body
  const settle: PassPlan = { kind: "settle", delay: 5_000, body }
  const second: PassPlan = { kind: "second", delay: 60_000, body }
  const stale: PassPlan = { kind: "stale", delay: 30_000, body: { ...body, mode: "purge" } }

  const asPass = (kind: "settle" | "second" | "stale"): EntryPlan =>
    plan({ tags: ["a"], pass: { kind, of: START } })

  /** Appends a pass as a relay does when it is due. */
  async function append(kind: "settle" | "second" | "stale", seconds: number): Promise<Epoch> {
    const id = passId(START, kind)
    const { entries } = await record(host.store, [asPass(kind)], {
      ...clock(seconds),
      pass: { id, origin: START },
      idempotency: { principal: RELAY_PRINCIPAL, key: id, fingerprint: "-" },
    })
    return entries[0]?.epoch ?? 0
  }

  it("a settling entry stays so until its settle pass is delivered, then is as that one is", async () => {
    await record(host.store, [plan({ tags: ["a"], settling: true }, {}, [settle])], clock(0))
    const due = { kind: "settle", epoch: null, at: isoTime(epochToMs(START) + 5_000) }
    expect(await recordOf(START)).toMatchObject({
      state: "pending",
      passes: [due],
      targets: { cdn: { state: "settling" } },
    })

    // The lane passes it by: it is not purged yet.
    await deliver(START, { late: [{ epoch: START, state: "settling" }] })
    expect(await stateOf(START)).toEqual({ state: "pending", cdn: "settling" })

    const epoch = await append("settle", 5)
    const appended = { kind: "settle", epoch, at: isoTime(epochToMs(epoch)) }
    expect(await recordOf(START)).toMatchObject({
      state: "pending",
      passes: [appended],
      targets: { cdn: { state: "pending" } },
    })

    await tellLane({ state: "retrying", attempts: 2, error: "503" })
    expect(await stateOf(START)).toEqual({ state: "pending", cdn: "retrying" })

    await deliver(epoch, { receipt: { at: epochToMs(START) + 5_200 } })
    expect(await recordOf(START)).toMatchObject({
      state: "done",
      passes: [appended],
      // Counted from when it was accepted, not from when its pass was.
      targets: { cdn: { state: "done", ms: 5_200, at: isoTime(epochToMs(START) + 5_200) } },
    })
    expect(await recordOf(epoch)).toMatchObject({
      state: "done",
      pass: { kind: "settle", of: START },
      passes: [],
    })
  })

  it("a settling entry fails with its settle pass, and is not known with its receipt", async () => {
    await record(host.store, [plan({ settling: true }, {}, [settle])], clock(0))
    await deliver(START, { late: [{ epoch: START, state: "settling" }] })
    const epoch = await append("settle", 5)
    await deliver(epoch, { late: [{ epoch, state: "dead", error: "no such tag" }] })
    expect(await recordOf(START)).toMatchObject({
      state: "failed",
      targets: { cdn: { state: "dead", error: "no such tag" } },
    })
    await host.command("ZREMRANGEBYSCORE", lateKey(TENANT, "cdn"), String(epoch), String(epoch))
    expect(await stateOf(START)).toEqual({ state: "pending", cdn: "unknown" })
  })

  it("a settling entry whose pass nobody remembers is told as its own receipt has it", async () => {
    await record(host.store, [plan({ settling: true }, {}, [settle])], clock(0))
    await deliver(START, { late: [{ epoch: START, state: "settling" }] })
    await host.command("DEL", laterKey(TENANT))
    expect(await recordOf(START)).toMatchObject({ passes: [], targets: { cdn: { state: "settling" } } })
  })

  it("a second pass is named from the start, has a time when it is due, and an epoch when it is appended", async () => {
    await record(host.store, [plan({ tags: ["a"] }, {}, [second, stale])], clock(0))
    const staleDue = { kind: "stale", epoch: null, at: isoTime(epochToMs(START) + 30_000) }
    // It counts from when the entry was handled everywhere, and nobody knows when that will be.
    expect((await recordOf(START)).passes).toEqual([{ kind: "second", epoch: null, at: null }, staleDue])

    await host.command("ZREM", laterAfterKey(TENANT), passId(START, "second"))
    await host.command("ZADD", laterKey(TENANT), String(START + 70_000_000), passId(START, "second"))
    const armed = { kind: "second", epoch: null, at: isoTime(epochToMs(START) + 70_000) }
    expect((await recordOf(START)).passes).toEqual([armed, staleDue])

    const epoch = await append("second", 70)
    const appended = { kind: "second", epoch, at: isoTime(epochToMs(epoch)) }
    expect((await recordOf(START)).passes).toEqual([appended, staleDue])
    // It is the entry's own purge that its state is of.
    await deliver(START)
    expect(await stateOf(START)).toEqual({ state: "done", cdn: "done" })
  })

  it("of several entries are told apart", async () => {
    await record(
      host.store,
      [plan({ settling: true }, {}, [settle]), plan(), plan({}, {}, [stale])],
      clock(0),
    )
    const told = await readRecords(host.store, TENANT, await readLog(host.store), ALL)
    expect(told).toMatchObject([
      { passes: [{ kind: "settle" }] },
      { passes: [] },
      { passes: [{ kind: "stale" }] },
    ])
  })

  it("are remembered under a key that no publisher's can be", async () => {
    await record(host.store, [plan({ settling: true }, {}, [settle])], clock(0))
    const taken = { principal: "token.relay", key: passId(START, "settle"), fingerprint: "f" }
    await publish(host.store, { tenant: TENANT, entries: [plan()], maxEntries: 100, idempotency: taken })
    await append("settle", 5)
    expect(
      await host.command("EXISTS", idempotencyKey(TENANT, RELAY_PRINCIPAL, passId(START, "settle"))),
    ).toBe(1)
    expect((await readLog(host.store)).filter(({ body: { pass } }) => pass)).toHaveLength(1)
  })
})

describe("the records of a tenant", () => {
  const contextOf = (...scopes: string[]) => ({
    store: host.store,
    principal: { name: "reader", tenant: TENANT, scopes },
    targets: ALL,
  })
  const NAMESPACES = ["blog", "shop", "shop/cart", null, "blog", "shop"]
  const fillLog = () =>
    record(
      host.store,
      NAMESPACES.map((namespace) => plan({ namespace })),
      clock(0),
    )
  /** Where in the log the items of a page stand, and what comes next. */
  async function page(scopes: string[], query: PageQuery): Promise<{ items: number[]; next: number | null }> {
    const { items, next } = await listRecords(contextOf(...scopes), query)
    return { items: items.map(({ epoch }) => epoch - START), next: next === null ? null : next - START }
  }
  const at = (index: number) => String(START + index)

  it.each<[string, PageQuery, number[], number | null]>([
    ["all, oldest first", {}, [0, 1, 2, 3, 4, 5], null],
    ["the first of them", { limit: "2" }, [0, 1], 1],
    ["those after one of them", { after: at(1), limit: "2" }, [2, 3], 3],
    ["the last of them", { after: at(3), limit: "2" }, [4, 5], 5],
    ["none after the last", { after: at(5), limit: "2" }, [], null],
    ["those before, newest first", { before: at(4), limit: "3" }, [3, 2, 1], 1],
    ["those before all there is", { before: at(100), limit: "1" }, [5], 5],
    ["none before the first", { before: at(0) }, [], null],
    ["none before anything", { before: "0" }, [], null],
    ["those of a namespace and below", { ns: "shop" }, [1, 2, 5], null],
    ["none of a namespace that is not there", { ns: "nowhere" }, [], null],
    ["a short page, while there is more", { ns: "shop/cart", limit: "2" }, [], 1],
    ["all by the wildcard, of no namespace too", { ns: "*" }, [0, 1, 2, 3, 4, 5], null],
  ])("are %s", async (_, query, items, next) => {
    await fillLog()
    expect(await page(["read:*"], query)).toEqual({ items, next })
  })

  it("are walked page by page without a gap, in both directions", async () => {
    await fillLog()
    for (const bound of ["after", "before"] as const) {
      const seen: number[] = []
      let query: PageQuery = bound === "after" ? { limit: "2" } : { before: at(100), limit: "2" }
      for (let pages = 0; pages < 10; pages += 1) {
        const { items, next } = await page(["read:*"], query)
        seen.push(...items)
        if (next === null) break
        query = { [bound]: at(next), limit: "2" }
      }
      expect(seen.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5])
    }
  })

  it("are those in scope, and of everything only for who reads all", async () => {
    await fillLog()
    expect((await page(["read:shop"], {})).items).toEqual([1, 2, 5])
    expect((await page(["read:shop/cart", "read:blog"], {})).items).toEqual([0, 2, 4])
    expect((await page(["read:shop"], { ns: "shop/cart" })).items).toEqual([2])
    expect((await page(["read:shop/cart"], { limit: "2" })).next).toBe(1)
  })

  it.each<[string, string[], PageQuery, string]>([
    ["by whom may read nothing", ["publish:*", "epochs:*", "operate"], {}, "insufficient_scope"],
    ["in a pattern above the scope", ["read:shop/cart"], { ns: "shop" }, "insufficient_scope"],
    ["in all, with a scope for some", ["read:shop"], { ns: "*" }, "insufficient_scope"],
    ["in what is no pattern", ["read:*"], { ns: "shop/*" }, "invalid_parameter"],
    ["from both sides", ["read:*"], { after: "1", before: "2" }, "invalid_parameter"],
    ["after what is no epoch", ["read:*"], { after: "yesterday" }, "invalid_parameter"],
    ["before what is no epoch", ["read:*"], { before: "-1" }, "invalid_parameter"],
    ["none at a time", ["read:*"], { limit: "0" }, "invalid_parameter"],
    ["too many at a time", ["read:*"], { limit: "1001" }, "invalid_parameter"],
    ["some number at a time", ["read:*"], { limit: "ten" }, "invalid_parameter"],
  ])("are not listed %s", async (_, scopes, query, code) => {
    await expect(listRecords(contextOf(...scopes), query)).rejects.toMatchObject({ code })
  })

  it("one is found by its id", async () => {
    await fillLog()
    expect(await getRecord(contextOf("read:shop"), at(2))).toMatchObject({
      id: at(2),
      namespace: "shop/cart",
    })
    expect(await getRecord(contextOf("read:*"), at(3))).toMatchObject({ namespace: null })
  })

  it("one that is unknown, out of scope or of no number is the same nothing", async () => {
    await fillLog()
    const told = await Promise.all(
      [at(0), at(3), at(90), "yesterday", "", "99999999999999999"].map((id) =>
        getRecord(contextOf("read:shop"), id).catch((error: unknown) => JSON.stringify(error)),
      ),
    )
    expect(new Set(told).size).toBe(1)
    expect(told[0]).toContain('"not_found"')
    await expect(getRecord(contextOf("publish:*"), at(0))).rejects.toMatchObject({
      code: "insufficient_scope",
    })
  })

  it("of another tenant are not there", async () => {
    await fillLog()
    const foreign = {
      ...contextOf("read:*"),
      principal: { name: "reader", tenant: "acme", scopes: ["read:*"] },
    }
    expect(await listRecords(foreign, {})).toEqual({ items: [], next: null })
    await expect(getRecord(foreign, at(0))).rejects.toMatchObject({ code: "not_found" })
  })
})
