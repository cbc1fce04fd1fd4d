import { describe, expect, it } from "vitest"
import { Memory } from "../../dispatch/adopt.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { headKey, holdKey, logKey, paceKey, paceNeverKey } from "../../protocol/keys.ts"
import { publish } from "../../protocol/publish.ts"
import { paceScript } from "../../protocol/scripts.gen.ts"
import { asText, StoreError } from "../../protocol/store.ts"
import {
  acquire,
  commit,
  plan,
  positionOf,
  readAfter,
  readHead,
  readLog,
  record,
  snapshot,
  TENANT,
  useRedis,
} from "./support.ts"

const host = useRedis()

/** Large, so that a few fill what is left and the log is most of what there is. */
const large = (tag: string) => plan({ tags: [tag], reason: "x".repeat(50_000) })

async function usedMemory(): Promise<number> {
  const info = asText(await host.command("INFO", "memory")) ?? ""
  return Number(/used_memory:(\d+)/.exec(info)?.[1])
}

/** Lets Redis have 2 MB more than it uses, publishes batches of three until it refuses, and keeps it so. */
async function fillUp(): Promise<void> {
  await host.command("CONFIG", "SET", "maxmemory", String((await usedMemory()) + 2_000_000))
  for (let round = 0; round < 100; round += 1) {
    try {
      await record(host.store, [large("a"), large("b"), large("c")])
    } catch (error) {
      expect(error).toBeInstanceOf(StoreError)
      expect(error).toMatchObject({ failure: "full" })
      // What was refused was held in memory as well, and that is free again, or soon will be.
      await host.command("CONFIG", "SET", "maxmemory", String((await usedMemory()) - 700_000))
      return
    }
  }
  throw new Error("Redis never refused")
}

/** Redis itself says that it is full. */
const expectFull = () =>
  expect(host.command("SET", "anything", "1")).rejects.toMatchObject({ failure: "full" })

const request = { tenant: TENANT, entries: [large("d")], maxEntries: 1_000_000 }

describe("a full Redis", () => {
  it("refuses a publish, and nothing of it is written, whatever it is of", async () => {
    await fillUp()
    await expectFull()
    const before = await snapshot(host.store)
    const passes = [{ kind: "settle", delay: 5, body: plan().body }] as const
    for (const entries of [
      [large("d")],
      [plan()],
      [plan({ namespace: null, mode: "purge" })],
      [plan({ tags: ["a"] }, { maxTags: 1 }), plan({ hosts: ["www.example.com"] }, {}, passes)],
    ]) {
      const idempotency = { principal: "token.deploy", key: "1", fingerprint: "f" }
      await expect(publish(host.store, { ...request, entries, idempotency })).rejects.toMatchObject({
        failure: "full",
      })
    }
    expect(await snapshot(host.store)).toEqual(before)
  })

  it("has taken every batch whole, also the one that filled it", async () => {
    await fillUp()
    const log = await readLog(host.store)
    expect(log.length % 3).toBe(0)
    expect(log.length).toBeGreaterThan(0)
    expect(await readHead(host.store)).toMatchObject({ epoch: log.at(-1)?.epoch, seq: log.at(-1)?.seq })
    expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 2))
  })

  it("still answers what was published before", async () => {
    const idempotency = { principal: "token.deploy", key: "1", fingerprint: "f" }
    const first = await record(host.store, [plan()], { idempotency })
    await fillUp()
    expect(await record(host.store, [plan()], { idempotency })).toEqual({ ...first, status: "duplicate" })
    const other = { ...idempotency, fingerprint: "other" }
    expect(await publish(host.store, { ...request, idempotency: other })).toEqual({ status: "reused" })
  })

  // A lease that could not be written once stopped every lane: nothing was ever trimmed, and nothing came back.
  it("is emptied by its lanes, and then takes publishes again", async () => {
    await fillUp()
    // Also where it has to be sent the scripts anew.
    await host.command("SCRIPT", "FLUSH")
    await expectFull()
    const held = await acquire(host.store, "cdn", "r1.a")
    expect(held).toBe("r1.a 0 0 0")
    expect(await acquire(host.store, "cdn", "r1.a")).toBe(held)
    await expectFull()
    const { entries } = await readAfter(host.store, 0, 1_000, 100_000_000)
    const last = entries.at(-1)
    if (!last) throw new Error("nothing was read")
    const committed = await commit(host.store, {
      target: "cdn",
      held: held ?? "",
      to: positionOf(last),
      keep: last.epoch,
      late: [{ epoch: last.epoch }],
      due: [[5, "a", "{}"]],
      dead: ["{}"],
    })
    expect(committed).toBe("ok")
    expect(await readLog(host.store)).toHaveLength(1)
    expect((await record(host.store, [large("d")])).entries[0]).toMatchObject({ seq: last.seq + 1 })
  })

  it("is adopted, and records a resync though it is full", async () => {
    await fillUp()
    const log = await readLog(host.store)
    const memory = new Memory()
    const config = parseConfig({})
    expect(await memory.adopt(host.store, TENANT, "relay-1", config)).toMatchObject({ reason: "adopted" })
    await host.command("DEL", headKey(TENANT))
    await host.command("SCRIPT", "FLUSH")
    await expectFull()
    expect(await memory.adopt(host.store, TENANT, "relay-1", config)).toMatchObject({ reason: "missing" })
    expect(await host.command("XLEN", logKey(TENANT))).toBe(log.length + 1)
    expect((await readLog(host.store)).at(-1)?.body.kind).toBe("resync")
  })

  it("still paces the calls that empty it", async () => {
    await fillUp()
    const keys = [holdKey("account"), paceNeverKey("account"), paceKey("account", "calls")]
    const take = () => host.store.script(paceScript, keys, ["rate", "0.001", "1", "1"])
    expect(await take()).toBe(0)
    expect(Number(await take())).toBeGreaterThan(0)
    await expectFull()
  })
})
