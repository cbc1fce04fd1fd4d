import { describe, expect, it } from "vitest"
import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  lateKey,
  leaseKey,
  logKey,
  sentKey,
} from "../../protocol/keys.ts"
import { readHash } from "../../protocol/record.ts"
import { asList, asText } from "../../protocol/store.ts"
import {
  acquire,
  commit,
  epochOf,
  plan,
  positionOf,
  readAfter,
  readLog,
  record,
  TENANT,
  useRedis,
} from "./support.ts"

const host = useRedis()

const cursors = async () => Object.fromEntries(readHash(await host.command("HGETALL", cursorKey(TENANT))))
const epochs = async () => (await readLog(host.store)).map(({ epoch }) => epoch)
const receipts = async (target: string) =>
  asList(await host.command("XRANGE", sentKey(TENANT, target), "-", "+")).map((item) => {
    const [id, fields] = asList(item)
    return [asText(id), readHash(fields).get("from")]
  })

/** So many entries, at 1000, 1001 … of a log of that generation. */
const fillLog = (count: number) =>
  record(
    host.store,
    Array.from({ length: count }, () => plan()),
    { clock: 1_000 },
  )

/** A cursor as a lane has it that has read up to an epoch of `fillLog`. */
const cursorAt = (owner: string, epoch: number) => `${owner} 1000 ${epoch} ${epoch - 998}`
const at = (epoch: number) => positionOf({ generation: 1_000, epoch, seq: epoch - 998 })

describe("a lease", () => {
  it("is taken, and the cursor of a lane that never ran stands before any log", async () => {
    expect(await acquire(host.store, "cdn", "r1.a")).toBe("r1.a 0 0 0")
    expect(await cursors()).toEqual({ cdn: "r1.a 0 0 0" })
    expect(await host.command("GET", leaseKey(TENANT, "cdn"))).toBe("r1.a")
  })

  it("held by another is not taken, and nothing is changed", async () => {
    await acquire(host.store, "cdn", "r1.a")
    expect(await acquire(host.store, "cdn", "r2.b")).toBeUndefined()
    expect(await cursors()).toEqual({ cdn: "r1.a 0 0 0" })
  })

  it("of another target is another lease", async () => {
    await acquire(host.store, "cdn", "r1.a")
    expect(await acquire(host.store, "other", "r2.b")).toBe("r2.b 0 0 0")
  })

  it("gives a relay at once what it let run out itself, under its new name", async () => {
    await acquire(host.store, "cdn", "r1.a")
    expect(await acquire(host.store, "cdn", "r1.b")).toBe("r1.b 0 0 0")
    // Whoever still has the cursor under the old one commits nothing.
    expect(await acquire(host.store, "cdn", "r11.c")).toBeUndefined()
  })

  it("is renewed by its owner", async () => {
    await acquire(host.store, "cdn", "r1.a", 1_000)
    expect(await acquire(host.store, "cdn", "r1.a", 60_000)).toBe("r1.a 0 0 0")
    const left = Number(await host.command("PTTL", leaseKey(TENANT, "cdn")))
    expect(left).toBeGreaterThan(1_000)
    expect(left).toBeLessThanOrEqual(60_000)
  })

  it("that ran out goes to whoever comes, with the cursor where it was", async () => {
    await fillLog(2)
    await host.command("HSET", cursorKey(TENANT), "cdn", cursorAt("r1.a", 1_001))
    expect(await acquire(host.store, "cdn", "r2.b")).toBe(cursorAt("r2.b", 1_001))
  })

  it("is put into the cursor as it is, whatever characters its owner has", async () => {
    expect(await acquire(host.store, "cdn", "r1.%1%%0")).toBe("r1.%1%%0 0 0 0")
  })
})

describe("reading", () => {
  it("answers head and entries of one moment, after an epoch and not with it", async () => {
    await fillLog(3)
    const { head, entries } = await readAfter(host.store, 1_000)
    expect(head).toEqual({ generation: 1_000, epoch: 1_002, seq: 4, identity: "-" })
    expect(entries.map(({ epoch, seq }) => [epoch, seq])).toEqual([
      [1_001, 3],
      [1_002, 4],
    ])
    expect((await readAfter(host.store, 1_002)).entries).toEqual([])
    expect(await readAfter(host.store, 0)).toMatchObject({ entries: { length: 3 } })
  })

  it("of a tenant without a log answers neither", async () => {
    expect(await readAfter(host.store, 0)).toEqual({ head: undefined, entries: [] })
  })

  it.each([1, 63, 64, 65, 130, 199, 200, 1_000])("stops at its limit of %i, without a gap", async (limit) => {
    await fillLog(100)
    await fillLog(100)
    const { entries } = await readAfter(host.store, 0, limit)
    expect(entries).toHaveLength(Math.min(limit, 200))
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 2))
  })

  it("stops by its bytes, without a gap, and never with nothing", async () => {
    const large = Array.from({ length: 100 }, () => plan({ tags: ["x".repeat(1_000)] }))
    await record(host.store, large, { clock: 1_000 })
    await record(host.store, large)
    for (const maxBytes of [1, 10_000, 100_000]) {
      const { entries } = await readAfter(host.store, 0, 1_000, maxBytes)
      expect(entries.length).toBeGreaterThan(0)
      // The log is read eight at a time.
      expect(entries.length).toBeLessThanOrEqual(Math.ceil(maxBytes / 1_000) + 8)
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 2))
    }
    expect((await readAfter(host.store, 0, 1_000, 10_000_000)).entries).toHaveLength(200)
  })

  it("shows by the numbers that entries are missing, whatever is gone", async () => {
    await fillLog(3)
    await host.command("DEL", logKey(TENANT))
    expect(await readAfter(host.store, 1_000)).toMatchObject({ head: { seq: 4 }, entries: [] })
    await fillLog(1)
    expect((await readAfter(host.store, 1_000)).entries.map(({ seq }) => seq)).toEqual([5])
  })
})

describe("a commit", () => {
  it("moves the cursor, and keeps a receipt of the range", async () => {
    await fillLog(3)
    await acquire(host.store, "cdn", "r1.a")
    expect(await commit(host.store, { target: "cdn", held: "r1.a 0 0 0", to: at(1_001) })).toBe("ok")
    expect(await commit(host.store, { target: "cdn", held: cursorAt("r1.a", 1_001), to: at(1_002) })).toBe(
      "ok",
    )
    expect(await cursors()).toEqual({ cdn: cursorAt("r1.a", 1_002) })
    expect(await receipts("cdn")).toEqual([
      ["1001-0", "0"],
      ["1002-0", "1001"],
    ])
  })

  it("made twice is lost the second time", async () => {
    await fillLog(1)
    const one = { target: "cdn", held: (await acquire(host.store, "cdn", "r1.a")) ?? "", to: at(1_000) }
    expect(await commit(host.store, one)).toBe("ok")
    expect(await commit(host.store, { ...one, dead: ["{}"] })).toBe("lost")
    expect(await receipts("cdn")).toHaveLength(1)
    expect(await host.command("EXISTS", deadKey(TENANT, "cdn"))).toBe(0)
  })

  it.each([
    ["owner", cursorAt("r1.b", 1_000)],
    ["generation", "r1.a 999 1000 2"],
    ["epoch", "r1.a 1000 999 2"],
    ["number", "r1.a 1000 1000 1"],
    ["form", `${cursorAt("r1.a", 1_000)} `],
  ])("with another %s than the cursor's is lost, and writes nothing", async (_, held) => {
    await fillLog(2)
    await host.command("HSET", cursorKey(TENANT), "cdn", cursorAt("r1.a", 1_000))
    const more = { late: [{ epoch: 1_001 }], dead: ["{}"], due: [[5, "a", "{}"]] as const, keep: 2_000 }
    expect(await commit(host.store, { target: "cdn", held, to: at(1_001), ...more })).toBe("lost")
    expect(await cursors()).toEqual({ cdn: cursorAt("r1.a", 1_000) })
    const written = [sentKey, lateKey, dueKey, dueItemsKey, deadKey].map((key) => key(TENANT, "cdn"))
    expect(await host.command("EXISTS", ...written)).toBe(0)
    expect(await epochs()).toEqual([1_000, 1_001])
  })

  // Two primaries gave the same lease to two relays in the window that a fail-over lost.
  it("of two owners is one", async () => {
    await fillLog(1)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    await host.command("DEL", leaseKey(TENANT, "cdn"))
    const other = (await acquire(host.store, "cdn", "r2.b")) ?? ""
    const said = await Promise.all(
      [held, other].map((own) => commit(host.store, { target: "cdn", held: own, to: at(1_000) })),
    )
    expect(said).toEqual(["lost", "ok"])
  })

  it("without its cursor is lost, and the lane goes on from the beginning", async () => {
    await fillLog(2)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    await host.command("DEL", cursorKey(TENANT))
    expect(await commit(host.store, { target: "cdn", held, to: at(1_001) })).toBe("lost")
    expect(await acquire(host.store, "cdn", "r1.a")).toBe("r1.a 0 0 0")
  })

  it("that moves nothing has no receipt", async () => {
    await fillLog(1)
    const held = cursorAt("r1.a", 1_000)
    await host.command("HSET", cursorKey(TENANT), "cdn", held)
    expect(await commit(host.store, { target: "cdn", held, to: at(1_000), done: ["a"] })).toBe("ok")
    expect(await receipts("cdn")).toEqual([])
  })

  it("goes on where receipts are ahead of the cursor: they never stop a lane", async () => {
    await fillLog(3)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    await host.command("XADD", sentKey(TENANT, "cdn"), "5000-0", "from", "0", "r", "{}")
    const one = { target: "cdn", held, to: at(1_002), late: [{ epoch: 1_001 }], dead: ['{"a":1}'] }
    expect(await commit(host.store, one)).toBe("ok")
    expect(await cursors()).toEqual({ cdn: cursorAt("r1.a", 1_002) })
    expect(await host.command("XLEN", deadKey(TENANT, "cdn"))).toBe(1)
  })

  it("replaces what was said of one epoch", async () => {
    await fillLog(2)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    const first = [
      { epoch: 1_000, state: "retrying" as const },
      { epoch: 1_001, state: "retrying" as const },
    ]
    await commit(host.store, { target: "cdn", held, to: at(1_001), late: first })
    const next = { target: "cdn", held: cursorAt("r1.a", 1_001), to: at(1_001) }
    await commit(host.store, { ...next, late: [{ epoch: 1_000, state: "done" }] })
    const late = asList(await host.command("ZRANGE", lateKey(TENANT, "cdn"), "0", "-1", "WITHSCORES"))
    expect([late[1], late[3], late.length]).toEqual(["1000", "1001", 4])
    expect(JSON.parse(asText(late[0]) ?? "")).toMatchObject({ epoch: 1_000, state: "done" })
  })

  it("keeps what is due, and takes out what is finished", async () => {
    await fillLog(1)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    const due = [
      [50, "a", '{"n":1}'],
      [60, "b", '{"n":2}'],
    ] as const
    await commit(host.store, { target: "cdn", held, to: at(1_000), due })
    const next = { target: "cdn", held: cursorAt("r1.a", 1_000), to: at(1_000) }
    await commit(host.store, { ...next, due: [[70, "b", '{"n":3}']], done: ["a", "never heard of"] })
    expect(await host.command("ZRANGE", dueKey(TENANT, "cdn"), "0", "-1", "WITHSCORES")).toEqual(["b", "70"])
    expect(await host.command("HGETALL", dueItemsKey(TENANT, "cdn"))).toEqual(["b", '{"n":3}'])
  })

  it("keeps every dead letter", async () => {
    await fillLog(1)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    await commit(host.store, { target: "cdn", held, to: at(1_000), dead: ['{"n":1}', '{"n":2}'] })
    const letters = asList(await host.command("XRANGE", deadKey(TENANT, "cdn"), "-", "+"))
    expect(letters.map((letter) => asList(letter)[1])).toEqual([
      ["d", '{"n":1}'],
      ["d", '{"n":2}'],
    ])
  })

  it("answers the head, so that the lane knows whether there is more", async () => {
    await fillLog(2)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    await commit(host.store, { target: "cdn", held, to: at(1_000) })
    expect(await readAfter(host.store, 1_000)).toMatchObject({
      head: { epoch: 1_001 },
      entries: { length: 1 },
    })
  })
})

describe("the log is trimmed", () => {
  const commitTo = async (target: string, epoch: number, keep: number) => {
    const held = (await acquire(host.store, target, `${target}.a`)) ?? ""
    expect(await commit(host.store, { target, held, to: at(epoch), keep })).toBe("ok")
  }

  it("by the lowest cursor that Redis holds, also of a target that nobody here knows", async () => {
    await fillLog(6)
    await host.command("HSET", cursorKey(TENANT), "unknown", cursorAt("old", 1_002))
    await commitTo("cdn", 1_005, 9_000)
    expect(await epochs()).toEqual([1_002, 1_003, 1_004, 1_005])
    await host.command("HDEL", cursorKey(TENANT), "unknown")
    await commitTo("other", 1_004, 9_000)
    expect(await epochs()).toEqual([1_004, 1_005])
  })

  it("not at all while a target has read nothing", async () => {
    await fillLog(4)
    await acquire(host.store, "other", "r1.b")
    await commitTo("cdn", 1_003, 9_000)
    expect(await epochs()).toHaveLength(4)
  })

  it("by age, and no further: what was read may still be asked for", async () => {
    await fillLog(6)
    await commitTo("cdn", 1_005, 1_003)
    expect(await epochs()).toEqual([1_003, 1_004, 1_005])
  })

  it("with its receipts, by age alone", async () => {
    await fillLog(6)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    const late = [1_000, 1_001, 1_002, 1_003].map((epoch) => ({ epoch }))
    await commit(host.store, { target: "cdn", held, to: at(1_003), late })
    await commit(host.store, { target: "cdn", held: cursorAt("r1.a", 1_003), to: at(1_005), keep: 1_002 })
    const kept = asList(await host.command("ZRANGE", lateKey(TENANT, "cdn"), "0", "-1", "WITHSCORES"))
    expect(kept.filter((_, index) => index % 2 === 1)).toEqual(["1002", "1003"])
    expect((await receipts("cdn")).length).toBeGreaterThan(0)
  })

  it("and so are a great many receipts, though Redis drops them by the hundred", async () => {
    await fillLog(250)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    for (let epoch = 1_000; epoch < 1_249; epoch += 1) {
      const own = epoch === 1_000 ? held : cursorAt("r1.a", epoch - 1)
      expect(await commit(host.store, { target: "cdn", held: own, to: at(epoch) })).toBe("ok")
    }
    await commit(host.store, { target: "cdn", held: cursorAt("r1.a", 1_248), to: at(1_249), keep: 1_249 })
    expect((await receipts("cdn")).length).toBeLessThanOrEqual(100)
    expect((await receipts("cdn")).at(-1)).toEqual(["1249-0", "1248"])
  })

  it("and receipts and rows that are young go too, where they are more than the log may have", async () => {
    await fillLog(600)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    for (let epoch = 1_000; epoch < 1_600; epoch += 1) {
      const own = epoch === 1_000 ? held : cursorAt("r1.a", epoch - 1)
      const one = { target: "cdn", held: own, to: at(epoch), most: 50, late: [{ epoch }] }
      expect(await commit(host.store, one)).toBe("ok")
    }
    // Receipts by whole nodes of a hundred.
    expect((await receipts("cdn")).length).toBeLessThanOrEqual(150)
    expect((await receipts("cdn")).at(-1)).toEqual(["1599-0", "1598"])
    expect(await host.command("ZCARD", lateKey(TENANT, "cdn"))).toBe(50)
    expect(await host.command("ZRANGE", lateKey(TENANT, "cdn"), "-1", "-1", "WITHSCORES")).toContain("1599")
  })

  it("in steps, so that no commit waits for a million entries to go", async () => {
    await fillLog(25_150)
    const rows = Array.from({ length: 3_000 }, (_, nth) => [String(nth), `row ${nth}`]).flat()
    await host.command("ZADD", lateKey(TENANT, "cdn"), ...rows)
    const log: number[] = [25_150]
    const late: number[] = [3_000]
    let held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    for (let nth = 0; nth < 4; nth += 1) {
      const to = at(26_100 + nth)
      expect(await commit(host.store, { target: "cdn", held, to, keep: 26_100 })).toBe("ok")
      held = cursorAt("r1.a", 26_100 + nth)
      log.push(Number(await host.command("XLEN", logKey(TENANT))))
      late.push(Number(await host.command("ZCARD", lateKey(TENANT, "cdn"))))
    }
    expect(late).toEqual([3_000, 2_000, 1_000, 0, 0])
    expect(log.at(-1)).toBe(50)
    const gone = log.slice(1).map((left, nth) => (log[nth] ?? 0) - left)
    expect(Math.max(...gone)).toBeLessThanOrEqual(10_000)
  })

  it("never below an entry that is unread, though it is old", async () => {
    await fillLog(4)
    await host.command("HSET", cursorKey(TENANT), "slow", cursorAt("r2.b", 1_001))
    await commitTo("cdn", 1_003, 9_000)
    expect((await readAfter(host.store, 1_001)).entries.map(({ epoch }) => epoch)).toEqual([1_002, 1_003])
  })
})

describe("a log without a head", () => {
  it("is committed all the same: the next look finds the loss", async () => {
    await fillLog(1)
    const held = (await acquire(host.store, "cdn", "r1.a")) ?? ""
    await host.command("DEL", headKey(TENANT))
    expect(await commit(host.store, { target: "cdn", held, to: at(1_000) })).toBe("ok")
    expect(await epochOf(host.store)).toBeGreaterThan(1_000)
  })
})
