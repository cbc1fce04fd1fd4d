import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type EntryBody, NO_SELECTORS, type SelectorList } from "../../protocol/invalidation.ts"
import {
  headKey,
  idempotencyKey,
  laterAfterKey,
  laterItemsKey,
  laterKey,
  logKey,
  namespaceKey,
  namespacesKey,
  taggedKey,
  tagsKey,
} from "../../protocol/keys.ts"
import { parseNamespaceRow } from "../../protocol/lookup.ts"
import { parsePass, planEntry, publish, REMEMBER } from "../../protocol/publish.ts"
import { readHash } from "../../protocol/record.ts"
import { asList, asText, StoreError } from "../../protocol/store.ts"
import { DAY, SECOND } from "../../protocol/time.ts"
import {
  epochOf,
  hearWakes,
  plan,
  readHead,
  readLog,
  record,
  selectors,
  snapshot,
  TENANT,
  useRedis,
} from "./support.ts"

const host = useRedis()

const URL = "https://www.example.com/a"
const text = async (...command: string[]) => asText(await host.command(...command))
const members = async (key: string) =>
  Object.fromEntries(readHash(await host.command("ZRANGE", key, "0", "-1", "WITHSCORES")))
const row = (namespace: string) => text("GET", namespaceKey(TENANT, namespace))

const idempotency = (key: string, fingerprint = "f", principal = "token.deploy") => ({
  principal,
  key,
  fingerprint,
})

describe("epochs", () => {
  it("rise and are numbered without a gap under any clock, also one that jumps back", async () => {
    const publishes = fc.array(
      fc.record({
        clock: fc.oneof(fc.nat(50), fc.integer({ min: 1, max: 2 ** 50 })),
        batch: fc.integer({ min: 1, max: 4 }),
      }),
      { minLength: 1, maxLength: 12 },
    )
    await fc.assert(
      fc.asyncProperty(publishes, async (list) => {
        await host.command("FLUSHALL")
        const told: { epoch: number; seq: number }[] = []
        const generations = new Set<number>()
        for (const { clock, batch } of list) {
          const last = told.at(-1)?.epoch ?? 0
          const { generation, entries } = await record(
            host.store,
            Array.from({ length: batch }, () => plan()),
            { clock },
          )
          expect(entries[0]?.epoch).toBe(Math.max(last + 1, clock))
          generations.add(generation)
          told.push(...entries)
        }
        expect(told.map(({ seq }) => seq)).toEqual(told.map((_, index) => index + 2))
        for (const [index, { epoch }] of told.entries())
          expect(epoch).toBeGreaterThan(told[index - 1]?.epoch ?? 0)
        expect([...generations]).toEqual([told[0]?.epoch])
        expect((await readLog(host.store)).map(({ epoch, seq }) => ({ epoch, seq }))).toEqual(told)
        expect(await readHead(host.store)).toEqual({
          generation: told[0]?.epoch,
          ...told.at(-1),
          identity: "-",
        })
      }),
      { numRuns: 60 },
    )
  })

  it("rise and are numbered without a gap when 64 publish at once", async () => {
    const stores = await Promise.all(Array.from({ length: 16 }, () => host.connect()))
    const publishers = stores.flatMap((store) => [store, store, store, store])
    const told = await Promise.all(
      publishers.map(async (store, who) => {
        const own: { epoch: number; seq: number }[] = []
        for (let round = 0; round < 10; round += 1) {
          const { entries } = await record(store, [plan({ tags: [`t${who}`] })])
          own.push(...entries)
        }
        // Whoever publishes twice sees its own epochs rise.
        expect(own).toEqual(own.toSorted((a, b) => a.epoch - b.epoch))
        return own
      }),
    )
    const all = told.flat().toSorted((a, b) => a.epoch - b.epoch)
    expect(all.map(({ seq }) => seq)).toEqual(Array.from({ length: 640 }, (_, index) => index + 2))
    expect(new Set(all.map(({ epoch }) => epoch)).size).toBe(640)
    expect((await readLog(host.store)).map(({ epoch, seq }) => ({ epoch, seq }))).toEqual(all)
  })

  it("come from the server's clock, in microseconds", async () => {
    const [seconds, micros] = asList(await host.command("TIME")).map(Number)
    const before = Number(seconds) * 1_000_000 + Number(micros)
    const epoch = await epochOf(host.store)
    expect(epoch).toBeGreaterThanOrEqual(before)
    expect(epoch).toBeLessThan(before + 60_000_000)
  })

  it("of two tenants are nothing to each other", async () => {
    await epochOf(host.store, {}, { clock: 500 })
    const other = await record(host.store, [plan()], { clock: 5, tenant: "acme" })
    expect(other).toMatchObject({ generation: 5, entries: [{ epoch: 5, seq: 2 }] })
  })

  it("end before a number could not hold them, and a batch that would reach the end writes nothing", async () => {
    const end = 9_007_199_254_740_000
    await epochOf(host.store, { tags: ["a"] }, { clock: end - 10 })
    const before = await snapshot(host.store)
    const entries = Array.from({ length: 100 }, () => plan({ tags: ["b"] }))
    const refused = publish(host.store, { tenant: TENANT, entries, maxEntries: 10 })
    await expect(refused).rejects.toThrow(StoreError)
    expect(await snapshot(host.store)).toEqual(before)
  })
})

describe("a log that begins", () => {
  it("leaves out its first number, so that no cursor reads across its birth", async () => {
    const { generation, entries } = await record(host.store, [plan(), plan()], { clock: 700 })
    expect({ generation, entries }).toEqual({
      generation: 700,
      entries: [
        { epoch: 700, seq: 2 },
        { epoch: 701, seq: 3 },
      ],
    })
    expect((await readLog(host.store)).map((entry) => entry.generation)).toEqual([700, 700])
  })

  it("again, where the head alone is gone, never gives out an epoch that the log holds", async () => {
    await record(host.store, [plan(), plan()], { clock: 2_000 })
    await host.command("DEL", headKey(TENANT))
    const { generation, entries } = await record(host.store, [plan({ tags: ["a"] })], { clock: 1_000 })
    expect({ generation, entries }).toEqual({ generation: 2_002, entries: [{ epoch: 2_002, seq: 2 }] })
    expect((await readLog(host.store)).map(({ epoch }) => epoch)).toEqual([2_000, 2_001, 2_002])
    expect(await row("blog")).toBe("2001 2002 0 0")
  })

  it("is not begun anew where the log alone is gone: the numbers tell", async () => {
    await record(host.store, [plan(), plan()], { clock: 2_000 })
    await host.command("DEL", logKey(TENANT))
    const { generation, entries } = await record(host.store, [plan()], { clock: 1_000 })
    expect({ generation, entries }).toEqual({ generation: 2_000, entries: [{ epoch: 2_002, seq: 4 }] })
  })

  it("goes on above its newest entry where the head is older than that", async () => {
    await record(host.store, [plan(), plan(), plan()], { clock: 2_000 })
    await host.command("SET", headKey(TENANT), "2000 2000 2 abc")
    const { generation, entries } = await record(host.store, [plan({ tags: ["a"] }), plan()], {
      clock: 1_000,
    })
    // Number 3 comes a second time: whoever reads the log sees that it is not whole.
    expect({ generation, entries }).toEqual({
      generation: 2_000,
      entries: [
        { epoch: 2_003, seq: 3 },
        { epoch: 2_004, seq: 4 },
      ],
    })
    expect(await readHead(host.store)).toMatchObject({ generation: 2_000, epoch: 2_004, identity: "abc" })
  })

  it.each([
    headKey(TENANT),
    logKey(TENANT),
    namespaceKey(TENANT, ""),
    namespaceKey(TENANT, "blog"),
    tagsKey(TENANT, "blog"),
    idempotencyKey(TENANT, "token.deploy", "1"),
  ])("without %s and with a clock behind is whole after the next publish", async (key) => {
    await record(host.store, [plan({ namespace: null }), plan({ tags: ["a"], mode: "purge" })], {
      clock: 2_000,
      idempotency: idempotency("1"),
    })
    await host.command("DEL", key)
    const { generation, entries } = await record(host.store, [plan({ tags: ["b"] })], { clock: 1_000 })
    expect(entries[0]?.epoch).toBe(2_002)
    expect(await readHead(host.store)).toMatchObject({ generation, epoch: 2_002, seq: entries[0]?.seq })
    expect((await readLog(host.store)).at(-1)).toMatchObject({ generation, ...entries[0] })
    expect(await row("blog")).toBe(key === namespaceKey(TENANT, "blog") ? "0 2002 0 0" : "0 2002 2001 0")
    expect(await members(tagsKey(TENANT, "blog"))).toMatchObject({ b: "2002" })
  })

  it("is bounded", async () => {
    const entries = Array.from({ length: 100 }, () => plan())
    for (let round = 0; round < 10; round += 1) await record(host.store, entries, { maxEntries: 50 })
    const length = Number(await host.command("XLEN", logKey(TENANT)))
    expect(length).toBeGreaterThanOrEqual(50)
    // Redis trims whole nodes, of 100 entries by default.
    expect(length).toBeLessThanOrEqual(200)
  })
})

describe("an idempotency key", () => {
  it("raced by 64 callers is one entry, and one answer", async () => {
    const stores = await Promise.all(Array.from({ length: 16 }, () => host.connect()))
    const outcomes = await Promise.all(
      Array.from({ length: 64 }, (_, index) =>
        record(stores[index % 16] ?? host.store, [plan({ tags: ["a"] }), plan()], {
          idempotency: idempotency("1"),
        }),
      ),
    )
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual([
      "accepted",
      ...Array(63).fill("duplicate"),
    ])
    const answers = new Set(
      outcomes.map(({ generation, entries }) => JSON.stringify({ generation, entries })),
    )
    expect(answers.size).toBe(1)
    expect(await readLog(host.store)).toHaveLength(2)
  })

  it("with another body is refused, and nothing is written", async () => {
    await record(host.store, [plan()], { idempotency: idempotency("1", "one") })
    const before = await snapshot(host.store)
    const request = { tenant: TENANT, entries: [plan({ namespace: "shop" })], maxEntries: 10 }
    expect(await publish(host.store, { ...request, idempotency: idempotency("1", "other") })).toEqual({
      status: "reused",
    })
    expect(await snapshot(host.store)).toEqual(before)
  })

  it("of another publisher is another key", async () => {
    const one = await record(host.store, [plan()], { idempotency: idempotency("1", "f", "token.a") })
    const other = await record(host.store, [plan({ namespace: "shop" })], {
      idempotency: idempotency("1", "g", "token.b"),
    })
    expect([one.status, other.status]).toEqual(["accepted", "accepted"])
    expect((await readLog(host.store)).map(({ body }) => body.namespace)).toEqual(["blog", "shop"])
  })

  it("of another tenant is another key", async () => {
    await record(host.store, [plan()], { idempotency: idempotency("1") })
    expect(
      await record(host.store, [plan()], { idempotency: idempotency("1"), tenant: "acme" }),
    ).toMatchObject({
      status: "accepted",
    })
  })

  it("is remembered for a day, or as long as it is told", async () => {
    await record(host.store, [plan()], { idempotency: idempotency("1") })
    await record(host.store, [plan()], { idempotency: { ...idempotency("2"), remember: 600 } })
    const left = async (key: string) =>
      Number(await host.command("TTL", idempotencyKey(TENANT, "token.deploy", key)))
    expect(REMEMBER).toBe(86_400)
    expect(await left("1")).toBeGreaterThan(86_300)
    expect(await left("1")).toBeLessThanOrEqual(86_400)
    expect(await left("2")).toBeLessThanOrEqual(600)
  })

  it("where there is none, nothing is remembered", async () => {
    await record(host.store, [plan()])
    await record(host.store, [plan()])
    expect(await host.command("KEYS", "*idem*")).toEqual([])
    expect(await readLog(host.store)).toHaveLength(2)
  })

  it("is all that expires", async () => {
    const passes = planEntry(
      { namespace: "blog", mode: "invalidate", ...selectors({}), settle: 1, staleFor: 1 },
      {
        maxCacheTtl: DAY,
        maxTags: 5,
        settle: undefined,
        secondPass: undefined,
      },
      { token: "deploy" },
      { settle: 0, secondPass: 5 },
    ).passes
    await record(host.store, [plan({ tags: ["a"] }, {}, passes)], { idempotency: idempotency("1") })
    for (const key of Object.keys(await snapshot(host.store))) {
      expect([key, Number(await host.command("TTL", key)) > 0]).toEqual([key, key.includes(":idem:")])
    }
  })
})

describe("a batch", () => {
  it("is one entry each, in its order, each in its namespace", async () => {
    const { entries } = await record(
      host.store,
      [plan({ tags: ["a"] }), plan({ namespace: "shop" }), plan({ tags: ["b"], mode: "purge" })],
      { clock: 100 },
    )
    expect(entries.map(({ epoch }) => epoch)).toEqual([100, 101, 102])
    expect((await readLog(host.store)).map(({ body }) => [body.namespace, body.tags])).toEqual([
      ["blog", ["a"]],
      ["shop", []],
      ["blog", ["b"]],
    ])
    expect(await row("blog")).toBe("0 102 102 0")
    expect(await row("shop")).toBe("101 101 0 0")
    expect(await members(tagsKey(TENANT, "blog"))).toEqual({ a: "100", b: "102" })
  })

  it("that Redis refuses writes nothing", async () => {
    await host.command("SET", logKey(TENANT), "no stream")
    const before = await snapshot(host.store)
    const entries = [plan({ tags: ["a"] }), plan()]
    const refused = publish(host.store, {
      tenant: TENANT,
      entries,
      maxEntries: 10,
      idempotency: idempotency("1"),
    })
    await expect(refused).rejects.toMatchObject({ failure: "refused" })
    expect(await snapshot(host.store)).toEqual(before)
  })

  it("may hold a thousand tags, as long as they may be", async () => {
    const tags = Array.from({ length: 1_000 }, (_, index) => `${index}`.padEnd(200, "é"))
    await record(host.store, [plan({ tags })], { clock: 100 })
    expect(await host.command("ZCARD", tagsKey(TENANT, "blog"))).toBe(1_000)
    expect((await readLog(host.store))[0]?.body.tags).toEqual(tags)
  })
})

describe("rows", () => {
  const TAGS = { a: "1000" }
  const of: Record<SelectorList, readonly string[]> = {
    tags: ["a"],
    urls: [URL],
    prefixes: ["https://www.example.com/"],
    hosts: ["www.example.com"],
  }

  it.each<
    [string, Partial<EntryBody>, { readonly blog?: string; readonly root?: string; readonly tags?: object }]
  >([
    ["a tag raises itself", { tags: of.tags }, { blog: "0 1000 S 0", tags: TAGS }],
    ["a url raises itself", { urls: of.urls }, { blog: "0 1000 S 0", tags: { [`u:${URL}`]: "1000" } }],
    ["a prefix raises its namespace", { prefixes: of.prefixes }, { blog: "1000 1000 S 0" }],
    ["a host raises its namespace", { hosts: of.hosts }, { blog: "1000 1000 S 0" }],
    [
      "a host beside a tag raises both",
      { hosts: of.hosts, tags: of.tags },
      { blog: "1000 1000 S 0", tags: TAGS },
    ],
    ["no selector raises the namespace", {}, { blog: "1000 1000 S 0" }],
    ["everything raises the root", { namespace: null }, { root: "1000 1000 S 0" }],
  ])("%s, and as hard as it is", async (_, body, { blog, root, tags = {} }) => {
    for (const [mode, hard] of [
      ["invalidate", "0"],
      ["purge", "1000"],
    ] as const) {
      await host.command("FLUSHALL")
      await record(host.store, [plan({ ...body, mode })], { clock: 1_000 })
      expect(await row("blog")).toBe(blog?.replace("S", hard))
      expect(await row("")).toBe(root?.replace("S", hard))
      expect(await members(tagsKey(TENANT, "blog"))).toEqual(tags)
    }
  })

  it.each([
    ["a namespace", "blog", {}],
    ["a tag", "blog", { tags: ["a"] }],
    ["everything", "", { namespace: null }],
  ] as const)("a soft one after a hard one of %s keeps hard", async (_, name, body) => {
    await record(host.store, [plan({ ...body, mode: "purge" }), plan(body)], { clock: 1_000 })
    expect(parseNamespaceRow(await row(name))).toMatchObject({ watermark: 1_001, hard: 1_000 })
  })

  it("a tag keeps the epoch of its whole namespace", async () => {
    await record(host.store, [plan(), plan({ tags: ["a"] })], { clock: 1_000 })
    expect(await row("blog")).toBe("1000 1001 0 0")
  })

  it("of ancestors are not written: a look-up folds them", async () => {
    await record(host.store, [plan({ namespace: "shop/cart" })], { clock: 1_000 })
    expect(await row("shop")).toBeUndefined()
    expect(await row("")).toBeUndefined()
  })
})

describe("tags", () => {
  it("older than entries may be are dropped, and raise the floor to what was dropped", async () => {
    const settings = { maxCacheTtl: 10 * SECOND }
    const at = (seconds: number) => ({ clock: seconds * 1_000_000 })
    await record(host.store, [plan({ tags: ["old"] }, settings)], at(100))
    await record(host.store, [plan({ tags: ["young"] }, settings)], at(105))
    expect(await row("blog")).toBe("0 105000000 0 0")
    await record(host.store, [plan({ tags: ["new"] }, settings)], at(112))
    expect(await members(tagsKey(TENANT, "blog"))).toEqual({ young: "105000000", new: "112000000" })
    expect(parseNamespaceRow(await row("blog")).floor).toBe(100_000_000)
    // Nothing more to drop: the floor need not rise.
    await record(host.store, [plan({ tags: ["new"] }, settings)], at(113))
    expect(parseNamespaceRow(await row("blog")).floor).toBe(100_000_000)
  })

  it("above their number go, the oldest first: of five, three stay known", async () => {
    for (const [index, tag] of ["a", "b", "c", "d", "e"].entries()) {
      await record(host.store, [plan({ tags: [tag] }, { maxTags: 3 })], { clock: 1_000 + index })
    }
    expect(await members(tagsKey(TENANT, "blog"))).toEqual({ c: "1002", d: "1003", e: "1004" })
    expect(await row("blog")).toBe("0 1004 0 1001")
  })

  it("of one publish above their number go too, as its epoch says the same of them", async () => {
    await record(host.store, [plan({ tags: ["a", "b", "c", "d"] }, { maxTags: 3 })], { clock: 1_000 })
    expect(await members(tagsKey(TENANT, "blog"))).toEqual({ b: "1000", c: "1000", d: "1000" })
    expect(await row("blog")).toBe("0 1000 0 1000")
  })

  it.each([
    ["of their namespace", { namespace: "blog" }],
    ["of everything, at the next publish there", { namespace: null }],
  ])("beside an invalidation %s say nothing, and go", async (_, whole) => {
    await record(host.store, [plan({ tags: ["a", "b"] })], { clock: 1_000 })
    await record(host.store, [plan(whole)], { clock: 2_000 })
    await record(host.store, [plan({ tags: ["c"] })], { clock: 3_000 })
    expect(await members(tagsKey(TENANT, "blog"))).toEqual({ c: "3000" })
    const [own, above] = [parseNamespaceRow(await row("blog")), parseNamespaceRow(await row(""))]
    expect(Math.max(own.epoch, above.epoch)).toBe(2_000)
    expect(own.floor).toBe(1_000)
  })

  it("are known to have been there by the list of those that have any", async () => {
    await record(host.store, [plan({ tags: ["a"] }), plan({ namespace: "shop" }), plan({ namespace: null })])
    expect(await host.command("HKEYS", taggedKey(TENANT))).toEqual([tagsKey(TENANT, "blog")])
  })

  it("that are too old or too many go in steps, so that no publish waits for all of them", async () => {
    const many = Array.from({ length: 1_000 }, (_, nth) => `t${nth}`)
    for (const letter of "abcde")
      await record(host.store, [plan({ tags: many.map((tag) => letter + tag) })], { clock: 1_000 })
    const count = async () => Number(await host.command("ZCARD", tagsKey(TENANT, "blog")))
    const left: number[] = []
    for (let nth = 0; nth < 6; nth += 1) {
      const one = plan({ tags: ["new"] }, { maxTags: nth < 3 ? 1 : 1_000, maxCacheTtl: 10 * SECOND })
      await record(host.store, [one], { clock: nth < 3 ? 2_000 : 20_000_000 })
      left.push(await count())
    }
    // A thousand each time, and as many as it brings.
    expect(left).toEqual([4_000, 2_999, 1_998, 997, 1, 1])
  })

  it("are never known as older than they are, and the floor never falls", async () => {
    const publishes = fc.array(
      fc.record({
        clock: fc.integer({ min: 1, max: 60 }),
        tags: fc.subarray(["a", "b", "c", "d", "e"], { minLength: 1 }),
        maxTags: fc.integer({ min: 1, max: 4 }),
        maxCacheTtl: fc.constantFrom(1, 10, 1_000),
      }),
      { minLength: 1, maxLength: 10 },
    )
    await fc.assert(
      fc.asyncProperty(publishes, async (list) => {
        await host.command("FLUSHALL")
        const truth = new Map<string, number>()
        let floor = 0
        for (const { clock, tags, maxTags, maxCacheTtl } of list) {
          // Milliseconds of settings against microseconds of clocks: a second of time is a thousandth here.
          const settings = { maxTags, maxCacheTtl: maxCacheTtl / 1_000 }
          const { entries } = await record(host.store, [plan({ tags }, settings)], { clock })
          for (const tag of tags) truth.set(tag, entries[0]?.epoch ?? 0)
          const { floor: now } = parseNamespaceRow(await row("blog"))
          const held = await members(tagsKey(TENANT, "blog"))
          expect(now).toBeGreaterThanOrEqual(floor)
          expect(Object.keys(held).length).toBeLessThanOrEqual(maxTags)
          floor = now
          for (const [tag, epoch] of truth) {
            if (held[tag] === undefined) expect(now).toBeGreaterThanOrEqual(epoch)
            else expect(Number(held[tag])).toBe(epoch)
          }
        }
      }),
      { numRuns: 60 },
    )
  })
})

describe("passes", () => {
  const body = plan({ tags: ["a"] }).body

  it("are kept under the epoch that brought them about, by when they are due", async () => {
    const passes = [
      { kind: "settle", delay: 5_000, body, secondPass: 60_000 },
      { kind: "second", delay: 60_000, body },
      { kind: "stale", delay: 30_000, body: { ...body, mode: "purge" } },
    ] as const
    await record(host.store, [plan({ settling: true }, {}, passes), plan({}, {}, [passes[0]])], {
      clock: 1_000_000,
    })
    expect(await members(laterKey(TENANT))).toEqual({
      "1000000:settle": "6000000",
      "1000000:stale": "31000000",
      "1000001:settle": "6000000",
    })
    // It waits for its epoch to be handled, and is only then given a time.
    expect(await members(laterAfterKey(TENANT))).toEqual({ "1000000:second": "1000000" })
    const items = readHash(await host.command("HGETALL", laterItemsKey(TENANT)))
    expect([...items.keys()].toSorted()).toEqual([
      "1000000:second",
      "1000000:settle",
      "1000000:stale",
      "1000001:settle",
    ])
    // Their selectors are the entry's, and are not kept again.
    const { kind, namespace, mode, by } = body
    const standIn = { kind, namespace, mode, by, ...NO_SELECTORS }
    expect(parsePass(items.get("1000000:settle") ?? "")).toEqual({
      delay: 5_000,
      secondPass: 60_000,
      body: standIn,
      isStandIn: true,
    })
    expect(parsePass(items.get("1000000:stale") ?? "")).toEqual({
      delay: 30_000,
      body: { ...standIn, mode: "purge" },
      isStandIn: true,
    })
  })

  it("are removed by the publish that carries them out, which names further ones after the first entry", async () => {
    const second = { kind: "second", delay: 60_000, body } as const
    await record(host.store, [plan({ settling: true }, {}, [{ kind: "settle", delay: 5_000, body }])], {
      clock: 1_000,
    })
    await record(host.store, [plan({ pass: { kind: "settle", of: 1_000 } }, {}, [second])], {
      clock: 9_000,
      pass: { id: "1000:settle", origin: 1_000 },
    })
    expect(await members(laterKey(TENANT))).toEqual({})
    expect(await members(laterAfterKey(TENANT))).toEqual({ "1000:second": "9000" })
    expect(asList(await host.command("HKEYS", laterItemsKey(TENANT)))).toEqual(["1000:second"])
    // Named after the first entry too, and so found there.
    await record(host.store, [plan({ pass: { kind: "second", of: 1_000 } })], {
      pass: { id: "1000:second", origin: 1_000 },
    })
    expect(await host.command("EXISTS", laterKey(TENANT), laterAfterKey(TENANT), laterItemsKey(TENANT))).toBe(
      0,
    )
  })

  it("are removed where they were carried out before, too, and appended once", async () => {
    const request = {
      pass: { id: "1000:settle", origin: 1_000 },
      idempotency: idempotency("1000:settle", "-", "relay"),
    }
    await record(host.store, [plan()], request)
    // A relay that had read them before comes late, or a replica that was promoted has them still.
    await host.command("ZADD", laterKey(TENANT), "5", "1000:settle", "6", "2000:settle")
    await host.command("ZADD", laterAfterKey(TENANT), "5", "1000:settle")
    await host.command("HSET", laterItemsKey(TENANT), "1000:settle", "x", "2000:settle", "y")
    expect((await record(host.store, [plan()], request)).status).toBe("duplicate")
    expect(await members(laterKey(TENANT))).toEqual({ "2000:settle": "6" })
    expect(await members(laterAfterKey(TENANT))).toEqual({})
    expect(await host.command("HKEYS", laterItemsKey(TENANT))).toEqual(["2000:settle"])
    expect(await readLog(host.store)).toHaveLength(1)
  })

  it("that are refused stay", async () => {
    await host.command("ZADD", laterKey(TENANT), "5", "1000:settle")
    await host.command("SET", logKey(TENANT), "no stream")
    const pass = { id: "1000:settle", origin: 1_000 }
    await expect(
      publish(host.store, { tenant: TENANT, entries: [plan()], maxEntries: 9, pass }),
    ).rejects.toThrow(StoreError)
    expect(await members(laterKey(TENANT))).toEqual({ "1000:settle": "5" })
  })
})

describe("wakes", () => {
  it("are one for each channel, and tell the last of it", async () => {
    const heard = await hearWakes(host)
    const batch = [
      plan({ tags: ["a"] }),
      plan({ namespace: "shop/cart" }),
      plan({ tags: ["b"] }),
      plan({ namespace: null }),
    ]
    await record(host.store, batch, { clock: 1_000, idempotency: idempotency("1") })
    // A repeated publish appends nothing, so there is nothing to read.
    await record(host.store, batch, { idempotency: idempotency("1") })
    await record(host.store, [plan({ namespace: "end" })], { clock: 2_000 })
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBe(4)
    expect(heard).toEqual([
      ["tm:v1:{default}:blog", { v: 1, g: 1_000, e: 1_002, s: 4 }],
      ["tm:v1:{default}:shop/cart", { v: 1, g: 1_000, e: 1_001, s: 3 }],
      ["tm:v1:{default}:", { v: 1, g: 1_000, e: 1_003, s: 5 }],
      ["tm:v1:{default}:end", { v: 1, g: 1_000, e: 2_000, s: 6 }],
    ])
  })

  // A refused PUBLISH once left the entry written and the answer forgotten: each retry appended it again.
  it("that the publisher may not send cost nothing but their time: recorded once, and known on a retry", async () => {
    await host.command("ACL", "SETUSER", "quiet", "on", ">secret", "~*", "+@all", "resetchannels")
    const quiet = await host.connect({ name: "quiet", password: "secret" })
    await expect(quiet.pipeline([["PUBLISH", "tm:v1:{default}:blog", "x"]])).rejects.toMatchObject({
      failure: "refused",
    })
    const request = { idempotency: idempotency("1") }
    const first = await record(quiet, [plan({ tags: ["a"] }), plan()], request)
    expect(first.status).toBe("accepted")
    expect(await record(quiet, [plan({ tags: ["a"] }), plan()], request)).toEqual({
      ...first,
      status: "duplicate",
    })
    expect(await readLog(host.store)).toHaveLength(2)
    expect(await readHead(host.store)).toMatchObject(first.entries[1] ?? {})
  })
})

describe("the number of namespaces", () => {
  const into = (namespaces: readonly string[], maxNamespaces: number) =>
    publish(host.store, {
      tenant: TENANT,
      entries: namespaces.map((namespace) => plan({ namespace })),
      maxEntries: 1_000,
      maxNamespaces,
    })

  it("is bounded: one too many is refused, and nothing written", async () => {
    await into(["a", "b"], 3)
    // One of them is there already, and the new one is the same twice.
    expect((await into(["a", "c", "c"], 3)).status).toBe("accepted")
    const before = await snapshot(host.store)
    expect(await into(["a", "d"], 3)).toEqual({ status: "tooManyNamespaces" })
    expect(await snapshot(host.store)).toEqual(before)
    expect((await into(["a", "b", "c"], 3)).status).toBe("accepted")
  })

  it("is not where nobody bounds it, as for what the configuration names", async () => {
    await into(["a", "b"], 1).catch(() => {})
    await into(["a", "b", "c"], 0)
    expect(await host.command("GET", namespacesKey(TENANT))).toBe("3")
  })

  it("does not count everything", async () => {
    await publish(host.store, {
      tenant: TENANT,
      entries: [plan({ namespace: null })],
      maxEntries: 1_000,
      maxNamespaces: 1,
    })
    expect((await into(["a"], 1)).status).toBe("accepted")
  })
})
