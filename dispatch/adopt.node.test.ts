import { createClient } from "redis"
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest"
import { startRedis } from "../cli/servers/redis.ts"
import { parseConfig } from "../protocol/config/config.ts"
import { parseHead } from "../protocol/epoch.ts"
import { headKey, logKey, namespaceKey, wakeChannel } from "../protocol/keys.ts"
import { ROOT } from "../protocol/namespace.ts"
import { readEntries } from "../protocol/record.ts"
import { type Store, StoreError } from "../protocol/store.ts"
import { type OpenStore, openStore, publisher } from "../test/support/publish.ts"
import { Memory } from "./adopt.ts"

// A slow machine may have to fetch a Redis first; nothing here is about how long anything takes.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 })

let redis: Awaited<ReturnType<typeof startRedis>>
let admin: ReturnType<typeof createClient>
let open: OpenStore

beforeAll(async () => {
  redis = await startRedis()
  admin = createClient({ url: redis.url, RESP: 2 })
  admin.on("error", () => {})
  await admin.connect()
  open = await openStore(redis.url)
})

afterAll(async () => {
  open.close()
  admin.destroy()
  await redis.stop()
})

const RESYNC = parseConfig({ namespaces: { blog: {} } })
const REPORT = parseConfig({ namespaces: { blog: {} }, relay: { resync: { onIdentity: "report" } } })

let tenants = 0

function world(config = RESYNC) {
  const tenant = `t-${(tenants += 1)}`
  const key = headKey(tenant)
  const press = publisher(open.store, config, tenant)
  return {
    tenant,
    key,
    tags: (...names: readonly string[]) =>
      press.publish(...names.map((tag) => ({ namespace: "blog", tags: [tag] }))),
    adopt: (memory: Memory, store: Store = open.store) => memory.adopt(store, tenant, "relay-a", config),
    head: async () => parseHead(await admin.get(key)),
    /** What is stored, as another Redis would have written it. */
    rewrite: async (change: (head: string[]) => string[]) =>
      admin.set(key, change(((await admin.get(key)) ?? "").split(" ")).join(" ")),
    entries: () => readEntries(open.store, tenant, { after: 0, limit: 1_000 }),
  }
}

const identity = async (): Promise<string> => {
  const [, id = ""] = /master_replid:([0-9a-f]+)/.exec(await admin.info("replication")) ?? []
  return id.slice(0, 16)
}

describe("adopting", () => {
  it("makes a generation where there is none, and calls the very first no alarm", async () => {
    const at = world()
    const memory = new Memory()
    const first = await at.adopt(memory)
    expect(first).toMatchObject({ reason: "missing", isFirst: true, head: { seq: 2 } })
    expect(await at.head()).toEqual({ ...first.head, identity: await identity() })
    expect(first.head.generation).toBe(first.head.epoch)
    const again = await at.adopt(memory)
    expect(again).toEqual({ reason: "same", isFirst: false, head: first.head })
    expect(memory.seen).toEqual(first.head)
  })

  it("puts its identity to a log that publishing began", async () => {
    const at = world()
    await at.tags("a")
    expect((await at.head())?.identity).toBe("-")
    const { reason, head } = await at.adopt(new Memory())
    expect([reason, (await at.head())?.identity]).toEqual(["adopted", await identity()])
    expect(await at.entries()).toHaveLength(1)
    expect((await at.adopt(new Memory())).head).toEqual(head)
  })

  it("keeps up with what is published", async () => {
    const at = world()
    const memory = new Memory()
    await at.adopt(memory)
    const [entry] = await at.tags("a")
    expect(await at.adopt(memory)).toMatchObject({ reason: "same", head: entry })
  })

  const losses: [string, string, (at: ReturnType<typeof world>) => Promise<unknown>][] = [
    ["the head is gone", "missing", (at) => admin.del(at.key)],
    ["the head is damaged", "missing", (at) => admin.set(at.key, "nonsense")],
    ["head and log are gone", "missing", (at) => admin.del([at.key, logKey(at.tenant)])],
    [
      "it is another Redis",
      "identity",
      (at) => at.rewrite(([g = "", e = "", s = ""]) => [g, e, s, "0123456789abcdef"]),
    ],
    [
      "the seq went back",
      "rolledBack",
      (at) => at.rewrite(([g = "", e = "", s = "", i = ""]) => [g, e, String(Number(s) - 1), i]),
    ],
    [
      "the epoch went back",
      "rolledBack",
      (at) => at.rewrite(([g = "", e = "", s = "", i = ""]) => [g, String(Number(e) - 1), s, i]),
    ],
    [
      "it is another Redis, and went back",
      "rolledBack",
      (at) => at.rewrite(([g = "", e = "", s = ""]) => [g, String(Number(e) - 1), s, "-"]),
    ],
  ]

  it.each(losses)("resyncs where %s: a new generation, one entry, everything stale", async (_, why, lose) => {
    const at = world()
    const memory = new Memory()
    await at.adopt(memory)
    const [, before] = await at.tags("a", "b")
    await at.adopt(memory)
    await lose(at)
    const { reason, head, isFirst } = await at.adopt(memory)
    expect([reason, isFirst]).toEqual([why, false])
    // Higher than anything that anybody was told (I1), and no cursor reads across it.
    expect(head.generation).toBe(head.epoch)
    expect(head.epoch).toBeGreaterThan(before?.epoch ?? 0)
    const last = (await at.entries()).at(-1)
    expect(last).toMatchObject({
      epoch: head.epoch,
      generation: head.generation,
      seq: head.seq,
      body: { kind: "resync", namespace: null, mode: "invalidate", by: { relay: "relay-a" } },
    })
    expect(last?.body.cause).toMatch(new RegExp(`^${why} after \\d+$`))
    const [epoch, watermark] = ((await admin.get(namespaceKey(at.tenant, ROOT))) ?? "").split(" ")
    expect([Number(epoch), Number(watermark)]).toEqual([head.epoch, head.epoch])
    expect((await at.head())?.identity).toBe(await identity())
    expect(await at.adopt(memory)).toMatchObject({ reason: "same", head })
  })

  it("skips a seq, so that what follows is never taken for what came before", async () => {
    const at = world()
    const memory = new Memory()
    const { head } = await at.adopt(memory)
    await at.rewrite(([g = "", e = "", s = ""]) => [g, e, s, "another"])
    expect((await at.adopt(memory)).head.seq).toBe(head.seq + 2)
  })

  it("stays above what this relay was told, though clock and store know nothing of it", async () => {
    const at = world()
    const memory = new Memory()
    await at.tags("a")
    const ahead = String(Date.now() * 1_000 + 86_400_000_000)
    await at.rewrite(([g = "", , s = ""]) => [g, ahead, s, "-"])
    await at.adopt(memory)
    await admin.del([at.key, logKey(at.tenant)])
    expect((await at.adopt(memory)).head.epoch).toBeGreaterThan(Number(ahead))
  })

  it("happens once, whoever comes first", async () => {
    const at = world()
    const memories = [new Memory(), new Memory(), new Memory()]
    await Promise.all(memories.map((memory) => at.adopt(memory)))
    await at.tags("a")
    await Promise.all(memories.map((memory) => at.adopt(memory)))
    await admin.del([at.key, logKey(at.tenant)])
    const told = await Promise.all(memories.map((memory) => at.adopt(memory)))
    expect(told.map(({ reason }) => reason).toSorted()).toEqual(["missing", "same", "same"])
    expect(await at.entries()).toHaveLength(1)
    expect(new Set(memories.map(({ seen }) => seen.epoch)).size).toBe(1)
  })

  it("wakes whoever listens", async () => {
    const at = world()
    const listener = admin.duplicate()
    listener.on("error", () => {})
    await listener.connect()
    const heard: string[] = []
    await listener.subscribe(wakeChannel(at.tenant, ROOT), (message) => heard.push(message))
    const { head } = await at.adopt(new Memory())
    await expect
      .poll(() => heard)
      .toEqual([JSON.stringify({ v: 1, g: head.generation, e: head.epoch, s: head.seq })])
    listener.destroy()
  })

  it("is as hard as the configuration says", async () => {
    const at = world(parseConfig({ namespaces: { blog: {} }, relay: { resync: { mode: "purge" } } }))
    await at.adopt(new Memory())
    expect((await at.entries()).at(-1)?.body.mode).toBe("purge")
  })

  it("takes another identity for a planned failover where it is told to, and a roll-back never", async () => {
    const at = world(REPORT)
    const memory = new Memory()
    await at.adopt(memory)
    await at.tags("a")
    const { head } = await at.adopt(memory)
    await at.rewrite(([g = "", e = "", s = ""]) => [g, e, s, "another"])
    expect(await at.adopt(memory)).toEqual({ reason: "reported", isFirst: false, head })
    expect((await at.adopt(memory)).reason).toBe("same")
    await at.rewrite(([g = "", e = "", s = ""]) => [g, e, String(Number(s) - 1), "third"])
    expect((await at.adopt(memory)).reason).toBe("rolledBack")
  })

  it("can be recorded in a Redis that is full", async () => {
    const at = world()
    await admin.configSet("maxmemory", "1")
    try {
      expect((await at.adopt(new Memory())).reason).toBe("missing")
    } finally {
      await admin.configSet("maxmemory", "0")
    }
    expect(await at.entries()).toHaveLength(1)
  })

  it("does not take just any answer", async () => {
    const at = world()
    const memory = new Memory()
    const strange: Store = { script: async () => ["odd", "1", "1", "1"], pipeline: async () => [] }
    await expect(at.adopt(memory, strange)).rejects.toThrow(StoreError)
    expect(memory.seen.epoch).toBe(0)
  })
})
