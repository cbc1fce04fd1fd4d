import { createClient } from "redis"
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest"
import { startRedis } from "../cli/servers/redis.ts"
import { parseConfig } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { type Epoch, epochToMs } from "../protocol/epoch.ts"
import type { InvalidationInput } from "../protocol/invalidation.ts"
import { cursorKey, laterAfterKey, laterItemsKey, laterKey, logKey, namespaceKey } from "../protocol/keys.ts"
import type { LogEntry } from "../protocol/log.ts"
import { ROOT } from "../protocol/namespace.ts"
import { findEntry, type InvalidationRecord, readEntries, readRecords } from "../protocol/record.ts"
import { type Store, StoreError } from "../protocol/store.ts"
import { MINUTE, SECOND } from "../protocol/time.ts"
import { manualClock } from "../test/support/clock.ts"
import { type OpenStore, openStore, publisher } from "../test/support/publish.ts"
import { runPasses } from "./passes.ts"

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

type HttpTarget = Extract<NonNullable<ConfigInput["targets"]>[string], { type: "http" }>

const http = (namespaces: string[]): HttpTarget => ({
  type: "http",
  url: "https://hook.example.net/",
  secret: { secret: "HOOK_SECRET" },
  namespaces,
  tenants: ["*"],
})

let tenants = 0

/** A tenant of its own on the one Redis; its targets handle what a test says they did. */
function world(rest: ConfigInput = {}) {
  const tenant = `t-${(tenants += 1)}`
  const config = parseConfig({
    namespaces: { blog: {}, shop: {} },
    targets: { edge: http(["*"]), "shop-edge": http(["shop"]) },
    ...rest,
  })
  const clock = manualClock()
  const press = publisher(open.store, config, tenant)
  const context = (store: Store = open.store, relay = "relay-a") => ({ store, tenant, config, clock, relay })
  return {
    tenant,
    config,
    clock,
    context,
    run: () => runPasses(context()),
    async publish(input: InvalidationInput): Promise<Epoch> {
      const [entry] = await press.publish(input)
      // Redis stamps by its own clock; the relay's begins where that was.
      clock.jump(epochToMs(entry?.epoch ?? 0) - clock.now())
      return entry?.epoch ?? 0
    },
    entries: (): Promise<LogEntry[]> => readEntries(open.store, tenant, { after: 0, limit: 1_000 }),
    async record(epoch: Epoch): Promise<InvalidationRecord> {
      const entry = await findEntry(open.store, tenant, epoch)
      const [record] = entry ? await readRecords(open.store, tenant, [entry], config.targets) : []
      if (!record) throw new Error(`there is no entry ${epoch}`)
      return record
    },
    /** A target's cursor passes an epoch. */
    handle: (epoch: Epoch, ...targets: readonly string[]) =>
      Promise.all(targets.map((name) => admin.hSet(cursorKey(tenant), name, `relay-a.x 1 ${epoch} 1`))),
    left: async () => [
      await admin.zCard(laterKey(tenant)),
      await admin.zCard(laterAfterKey(tenant)),
      await admin.hLen(laterItemsKey(tenant)),
    ],
    epochOf: async (namespace: string) =>
      Number(((await admin.get(namespaceKey(tenant, namespace))) ?? "0").split(" ")[0]),
  }
}

const shown = ({ body }: LogEntry) => [body.pass?.kind ?? "-", body.mode, body.tags.join()]

describe("a settle pass", () => {
  it("is appended when it is due, not before, with an epoch of its own", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", settle: "5s" })
    expect(await at.run()).toBe(epochToMs(epoch) + 5_000)
    at.clock.jump(4_999)
    await at.run()
    expect(await at.entries()).toHaveLength(1)
    expect((await at.record(epoch)).targets).toMatchObject({ edge: { state: "settling" } })

    at.clock.jump(2)
    expect(await at.run()).toBeUndefined()
    const [first, second] = await at.entries()
    expect(first?.body.settling).toBe(true)
    expect(second).toMatchObject({
      body: { namespace: "blog", by: { relay: "relay-a" }, pass: { kind: "settle", of: epoch } },
    })
    expect(second?.body.settling).toBeUndefined()
    expect(second?.seq).toBe((first?.seq ?? 0) + 1)
    // What was refilled from a CMS that was not yet fresh goes stale once more.
    expect(await at.epochOf("blog")).toBe(second?.epoch)
    expect((await at.record(epoch)).passes).toEqual([
      { kind: "settle", epoch: second?.epoch, at: new Date(epochToMs(second?.epoch ?? 0)).toISOString() },
    ])
    expect(await at.left()).toEqual([0, 0, 0])
  })

  it("is followed by its second pass, which waits for it and not for the entry before", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", settle: "5s", secondPass: "30s" })
    await at.handle(epoch, "edge")
    at.clock.jump(5_001)
    await at.run()
    const settled = (await at.entries()).at(-1)?.epoch ?? 0
    at.clock.jump(60_000)
    await at.run()
    expect(await at.entries()).toHaveLength(2)
    await at.handle(settled, "edge")
    expect(await at.run()).toBe(at.clock.now() + 30_000)
    at.clock.jump(30_000)
    await at.run()
    const last = (await at.entries()).at(-1)
    expect(last?.body).toMatchObject({ pass: { kind: "second", of: epoch } })
    expect((await at.record(epoch)).passes).toMatchObject([{ kind: "settle" }, { kind: "second" }])
    at.clock.jump(3_600_000)
    await at.run()
    expect([(await at.entries()).length, await at.left()]).toEqual([3, [0, 0, 0]])
  })
})

describe("a second pass", () => {
  it("is counted from when every target that it concerns handled the first", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "shop", tags: ["a"], secondPass: "30s" })
    // Looked at again with the next poll: it waits.
    expect(await at.run()).toBe(at.clock.now() + 5_000)
    at.clock.jump(60_000)
    await at.handle(epoch, "edge")
    expect(await at.run()).toBe(at.clock.now() + 5_000)
    await at.handle(epoch - 1, "shop-edge")
    expect(await at.run()).toBe(at.clock.now() + 5_000)
    await at.handle(epoch, "shop-edge")
    expect(await at.run()).toBe(at.clock.now() + 30_000)
    at.clock.jump(29_999)
    await at.run()
    expect(await at.entries()).toHaveLength(1)
    at.clock.jump(1)
    await at.run()
    expect((await at.entries()).map(shown)).toEqual([
      ["-", "invalidate", "a"],
      ["second", "invalidate", "a"],
    ])
  })

  it("does not wait for targets that it does not concern", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", tags: ["a"], secondPass: "1s" })
    await at.handle(epoch, "edge")
    expect(await at.run()).toBe(at.clock.now() + 1_000)
  })

  it("does not wait where there is no target at all", async () => {
    const at = world({ targets: {} })
    await at.publish({ namespace: "blog", tags: ["a"], secondPass: "1s" })
    expect(await at.run()).toBe(at.clock.now() + 1_000)
  })

  it("waits ten minutes at most", async () => {
    const at = world()
    await at.publish({ namespace: "blog", tags: ["a"], secondPass: "30s" })
    at.clock.jump(10 * MINUTE - 1)
    expect(await at.run()).toBe(at.clock.now() + 5_000)
    at.clock.jump(1)
    expect(await at.run()).toBe(at.clock.now() + 30_000)
    at.clock.jump(30_000)
    await at.run()
    expect((await at.entries()).map(shown)).toEqual([
      ["-", "invalidate", "a"],
      ["second", "invalidate", "a"],
    ])
  })

  it("is armed once, whoever sees that it can be, and its time does not move", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", tags: ["a"], secondPass: "30s" })
    await at.handle(epoch, "edge")
    const due = at.clock.now() + 30_000
    await Promise.all([at.run(), at.run(), at.run()])
    at.clock.jump(10_000)
    expect(await at.run()).toBe(due)
    // A relay that was stopped between arming it and saying so.
    await admin.zAdd(laterAfterKey(at.tenant), { score: epoch, value: `${epoch}:second` })
    expect(await at.run()).toBe(due)
    expect(await at.left()).toEqual([1, 0, 1])
  })

  // A hundred were armed a round, and a round comes every few seconds.
  it("is armed in the same round as all that can be", async () => {
    const at = world()
    const press = publisher(open.store, at.config, at.tenant)
    const entries = await press.publish(
      ...Array.from({ length: 350 }, (_, index) => ({
        namespace: "blog",
        tags: [`t${index}`],
        secondPass: "1h",
      })),
    )
    await at.handle(entries.at(-1)?.epoch ?? 0, "edge")
    await at.run()
    expect(await at.left()).toEqual([350, 0, 350])
  })

  it("is not held up by those before it that wait for another target", async () => {
    const at = world()
    const press = publisher(open.store, at.config, at.tenant)
    const waiting = Array.from({ length: 60 }, (_, index) => ({
      namespace: "shop",
      tags: [`t${index}`],
      secondPass: "1h",
    }))
    const ready = waiting.map((one) => ({ ...one, namespace: "blog" }))
    const entries = await press.publish(...waiting, ...ready)
    await at.handle(entries.at(-1)?.epoch ?? 0, "edge")
    await at.run()
    expect(await at.left()).toEqual([60, 60, 120])
  })
})

describe("a stale pass", () => {
  it("makes hard what was soft", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", tags: ["a"], staleFor: "1m" })
    at.clock.jump(60_001)
    await at.run()
    expect((await at.entries()).map(shown)).toEqual([
      ["-", "invalidate", "a"],
      ["stale", "purge", "a"],
    ])
    const last = (await at.entries()).at(-1)
    const [, , hard] = ((await admin.get(namespaceKey(at.tenant, "blog"))) ?? "").split(" ")
    expect(Number(hard)).toBe(last?.epoch)
    expect((await at.record(epoch)).passes).toMatchObject([{ kind: "stale", epoch: last?.epoch }])
  })
})

describe("two relays", () => {
  it("append one entry, however they meet", async () => {
    const at = world()
    await at.publish({ namespace: "blog", tags: ["a"], settle: "5s" })
    at.clock.jump(5_001)
    await Promise.all(
      ["relay-a", "relay-b", "relay-c"].map((relay) => runPasses(at.context(open.store, relay))),
    )
    expect((await at.entries()).map(shown)).toEqual([
      ["-", "invalidate", "a"],
      ["settle", "invalidate", "a"],
    ])
    expect(await at.left()).toEqual([0, 0, 0])
  })

  it("append one entry where the one never heard that it was taken", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", tags: ["a"], settle: "5s" })
    at.clock.jump(5_001)
    const deaf: Store = {
      pipeline: (commands) => open.store.pipeline(commands),
      async script(...given) {
        await open.store.script(...given)
        throw new StoreError("unreachable", "Redis did not answer")
      },
    }
    const item = await admin.hGet(laterItemsKey(at.tenant), `${epoch}:settle`)
    await expect(runPasses(at.context(deaf))).rejects.toThrow(StoreError)
    // And were the pass still there, as after a failover that lost its removal.
    await admin.hSet(laterItemsKey(at.tenant), `${epoch}:settle`, item ?? "")
    await admin.zAdd(laterKey(at.tenant), { score: 1, value: `${epoch}:settle` })
    await at.run()
    expect([(await at.entries()).length, await at.left()]).toEqual([2, [0, 0, 0]])
  })
})

describe("a pass and the entry that it follows", () => {
  const PASSES = [
    ["settle", "settle", "invalidate"],
    ["secondPass", "second", "invalidate"],
    ["staleFor", "stale", "purge"],
  ] as const

  const selectors = {
    tags: ["a", "b"],
    urls: ["https://www.example.com/x"],
    prefixes: ["https://www.example.com/y"],
    hosts: ["www.example.com"],
  }

  it.each(PASSES)("%s has the entry's selectors, which are kept once", async (member, kind, mode) => {
    const at = world({ namespaces: { blog: { hosts: ["www.example.com"] } } })
    const epoch = await at.publish({ namespace: "blog", ...selectors, [member]: "5s", reason: "why" })
    expect((await admin.hGet(laterItemsKey(at.tenant), `${epoch}:${kind}`))?.includes("example")).toBe(false)
    await at.handle(epoch, "edge")
    await at.run()
    at.clock.jump(5_001)
    await at.run()
    const last = (await at.entries()).at(-1)
    expect(last?.body).toEqual({
      kind: "invalidation",
      namespace: "blog",
      mode,
      ...selectors,
      by: { relay: "relay-a" },
      reason: "why",
      pass: { kind, of: epoch },
    })
    expect(await at.left()).toEqual([0, 0, 0])
  })

  it.each(PASSES)(
    "%s is carried out for the namespace as a whole where the entry is gone",
    async (member, kind, mode) => {
      const at = world()
      const epoch = await at.publish({ namespace: "blog", tags: ["a"], [member]: "5s" })
      await at.handle(epoch, "edge")
      await at.run()
      await admin.xTrim(logKey(at.tenant), "MAXLEN", 0)
      at.clock.jump(5_001)
      await at.run()
      const last = (await at.entries()).at(-1)
      expect(last?.body).toMatchObject({ namespace: "blog", tags: [], mode, pass: { kind, of: epoch } })
      expect(await at.epochOf("blog")).toBe(last?.epoch)
    },
  )
})

describe("a pass whose body is gone", () => {
  it.each(["settle", "staleFor"] as const)(
    "is carried out as the wider thing where something was put off for its sake: %s",
    async (member) => {
      const at = world()
      const epoch = await at.publish({ namespace: "blog", tags: ["a"], [member]: "5s" })
      await admin.del(laterItemsKey(at.tenant))
      at.clock.jump(5_001)
      await at.run()
      const last = (await at.entries()).at(-1)
      expect(last?.body).toMatchObject({
        kind: "resync",
        namespace: null,
        cause: "unreadable",
        pass: { of: epoch },
      })
      expect(await at.epochOf(ROOT)).toBe(last?.epoch)
      await at.run()
      expect([(await at.entries()).length, await at.left()]).toEqual([2, [0, 0, 0]])
    },
  )

  it("is dropped where it would only have repeated one, wherever it waits", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", tags: ["a"], secondPass: "5s" })
    await admin.del(laterItemsKey(at.tenant))
    await at.run()
    expect(await at.left()).toEqual([0, 0, 0])
    await admin.zAdd(laterKey(at.tenant), { score: 1, value: `${epoch}:second` })
    await at.run()
    expect([(await at.entries()).length, await at.left()]).toEqual([1, [0, 0, 0]])
  })

  it("is not met for ever where nobody knows what it is, nor stands in the way of others", async () => {
    const at = world()
    const ids = ["", "nonsense", "12:other", "-1:settle", `${"9".repeat(20)}:settle`]
    for (const value of [...ids, ...Array.from({ length: 150 }, (_, index) => `x${index}`)]) {
      await admin.zAdd(laterKey(at.tenant), { score: 1, value })
      await admin.zAdd(laterAfterKey(at.tenant), { score: 1, value })
    }
    await at.publish({ namespace: "blog", tags: ["a"], settle: "5s" })
    at.clock.jump(5_001)
    await at.run()
    expect([(await at.entries()).map(shown).at(-1), await at.left()]).toEqual([
      ["settle", "invalidate", "a"],
      [0, 0, 0],
    ])
  })

  it("is taken for everything where its body is damaged", async () => {
    const at = world()
    const epoch = await at.publish({ namespace: "blog", tags: ["a"], settle: "5s" })
    await admin.hSet(laterItemsKey(at.tenant), `${epoch}:settle`, '{"delay":5000}\n{"namespace":')
    at.clock.jump(5_001)
    await at.run()
    expect((await at.entries()).at(-1)?.body).toMatchObject({ kind: "resync", namespace: null })
  })
})

describe("many that are due at once", () => {
  it("are all appended in one round, in the order in which they were due", async () => {
    const at = world()
    const press = publisher(open.store, at.config, at.tenant)
    const names = Array.from({ length: 250 }, (_, index) => `t${index}`)
    await press.publish(...names.map((tag) => ({ namespace: "blog", tags: [tag], settle: "5s" })))
    at.clock.jump(3_600_000)
    expect(await at.run()).toBeUndefined()
    const passes = (await at.entries()).filter(({ body }) => body.pass)
    expect(passes.map(({ body }) => body.tags.join()).toSorted()).toEqual(names.toSorted())
    expect(await at.left()).toEqual([0, 0, 0])
  })

  it("wait for no longer than the nearest of them", async () => {
    const at = world()
    const far = await at.publish({ namespace: "blog", tags: ["a"], settle: "1h" })
    await at.publish({ namespace: "blog", tags: ["b"], settle: "2h" })
    expect(await at.run()).toBe(epochToMs(far) + 3_600 * SECOND)
  })
})
