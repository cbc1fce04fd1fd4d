import * as fc from "fast-check"
import { afterEach, describe, expect, it, vi } from "vitest"
import { type Lookup, MAX_CHANGED } from "../protocol/lookup.ts"
import { epochCacheOf, type LookupCache } from "./l2.ts"
import { MAX_HELD_NAMESPACES, MAX_HELD_TAGS } from "./memory.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark, type TidemarkOptions } from "./tidemark.ts"

const TTL = 5_000
const MAX_STALE = 60_000

class MapCache implements LookupCache {
  readonly kept = new Map<string, Lookup>()
  gets = 0

  async get(namespace: string): Promise<Lookup | undefined> {
    this.gets += 1
    return this.kept.get(namespace)
  }

  async put(namespace: string, lookup: Lookup): Promise<void> {
    this.kept.set(namespace, lookup)
  }
}

function setUp(options: Partial<TidemarkOptions> = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  const reader = (more: Partial<TidemarkOptions> = {}) =>
    createTidemark({ store, now: clock.now, random: () => 0, onError, ...options, ...more })
  return { clock, store, reader, tidemark: reader() }
}

/** What is said of trouble is another test's matter. */
const onError = () => undefined

/** Lets everything that waits for nothing but promises run. */
const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 0))

/** The same, cheaper than by a timer, for what runs thousands of times. */
async function turnOver(turns = 100): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await Promise.resolve()
}

/** What comes of a promise that waits for nothing but promises. */
const atOnce = <T>(promise: Promise<T>): Promise<T | "it had to wait"> =>
  Promise.race([promise, settled().then(() => "it had to wait" as const)])

describe("how old a look-up may be (H6)", () => {
  it("is not judged by a clock that has gone back since: the store is asked again, and believed", async () => {
    const { clock, store, tidemark } = setUp()
    const { stamp } = await tidemark.begin("blog")
    clock.time -= 3_600_000
    store.record({ kind: "namespace", namespace: "blog" })
    expect(await tidemark.isFresh(stamp, "blog")).toBe(false)
    const { stamp: later } = await tidemark.begin("blog")
    expect(await tidemark.isFresh(later, "blog")).toBe(true)
  })

  it("does not keep a store let alone that failed before the clock went back", async () => {
    const { clock, store, tidemark } = setUp()
    store.away = true
    expect((await tidemark.begin("blog")).stamp).toBeUndefined()
    clock.time -= 3_600_000
    store.away = false
    expect((await tidemark.begin("blog")).stamp).toBeDefined()
  })

  // What a request is judged by is never older than 2 * ttl: found by asking whether it saw an invalidation of that age.
  it("is at most 2 * ttl, however sparse the requests", async () => {
    const gaps = fc.array(
      fc.oneof(fc.integer({ min: 1, max: 15_000 }), fc.constantFrom(TTL, 2 * TTL, 2_553_000)),
      { maxLength: 30 },
    )
    await fc.assert(
      fc.asyncProperty(gaps, fc.boolean(), async (waits, withL2) => {
        const { clock, store, tidemark } = setUp(withL2 ? { l2: epochCacheOf(new MapCache()) } : {})
        const fills = [{ at: clock.time, ...(await tidemark.begin("blog")) }]
        let oldest = 0
        for (const wait of waits) {
          store.record({ kind: "namespace", namespace: "blog" })
          const published = clock.time
          clock.time += wait
          const fill = fills.at(-1)
          const isFresh = await tidemark.isFresh(fill?.stamp, "blog")
          if (isFresh) oldest = Math.max(oldest, clock.time - published)
          await turnOver()
          fills.push({ at: clock.time, ...(await tidemark.begin("blog")) })
        }
        expect(oldest).toBeLessThan(2 * TTL)
      }),
      { numRuns: 100 },
    )
  })

  const table = [
    { age: 0, asks: 0, verdict: "fresh" },
    { age: TTL - 1, asks: 0, verdict: "fresh" },
    { age: TTL, asks: 1, verdict: "fresh" },
    { age: 2 * TTL - 1, asks: 1, verdict: "fresh" },
    { age: 2 * TTL, asks: 1, verdict: "stale" },
    { age: 10 * TTL, asks: 1, verdict: "stale" },
  ]
  it.each(table)(
    "at $age ms: asks $asks times, and an entry that was invalidated is $verdict",
    async ({ age, asks, verdict }) => {
      const { clock, store, tidemark } = setUp()
      const { stamp } = await tidemark.begin("blog")
      store.record({ kind: "everything", namespace: "" })
      const fill = await tidemark.begin("blog", { fresh: { atLeast: store.last } })
      store.record({ kind: "namespace", namespace: "blog" })
      const before = store.requests.length
      clock.time += age
      expect((await tidemark.judge(fill.stamp, "blog")).verdict).toBe(verdict)
      await settled()
      expect(store.requests.length - before).toBe(asks)
      expect((await tidemark.judge(stamp, "blog")).verdict).not.toBe("fresh")
    },
  )

  it("counts from when the store was asked, though its clock be ahead or an answer come late", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    store.onLookup = () => {
      clock.time += 1_500
    }
    const ahead = {
      lookup: async (...asked: Parameters<typeof store.lookup>) => ({
        ...(await store.lookup(...asked)),
        asOf: clock.time + 60_000,
      }),
    }
    for (const reader of [tidemark, createTidemark({ store: ahead, now: clock.now })]) {
      const { stamp } = await reader.begin("blog")
      store.record({ kind: "namespace", namespace: "blog" })
      clock.time += 2 * TTL - 1_500
      expect(await reader.isFresh(stamp, "blog")).toBe(false)
    }
  })

  it("counts from when it was asked where the store's own answers are old, and uses those up to maxStale", async () => {
    const { clock, store } = setUp()
    let age = 30_000
    const mirror = {
      isMirror: true,
      lookup: async (...asked: Parameters<typeof store.lookup>) => ({
        ...(await store.lookup(...asked)),
        asOf: clock.time - age,
      }),
    }
    for (const onStoreFailure of ["serve-stale", "bypass"] as const) {
      age = 30_000
      const reader = createTidemark({
        store: mirror,
        now: clock.now,
        onStoreFailure,
        random: () => 0,
        onError,
      })
      const { stamp } = await reader.begin("blog")
      const before = store.requests.length
      for (let visit = 0; visit < 10; visit += 1) expect(await reader.isFresh(stamp, "blog")).toBe(true)
      expect(store.requests.length).toBe(before)
      clock.time += TTL
      for (let visit = 0; visit < 10; visit += 1) expect(await reader.isFresh(stamp, "blog")).toBe(true)
      await settled()
      expect(store.requests.length).toBe(before + 1)
      // A mirror that nobody writes any more: `asOf` tells.
      age = MAX_STALE + 1
      clock.time += MAX_STALE + 1
      expect((await reader.judge(stamp, "blog")).verdict).toBe("unknown")
    }
  })
})

describe("with a replica that lags", () => {
  it("keeps what it knew for as long as it may be used, rather than say no", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    store.record({ kind: "everything", namespace: "" })
    const old = await tidemark.begin("blog")
    store.record({ kind: "namespace", namespace: "other" })
    await tidemark.begin("blog", { fresh: { atLeast: store.last } })
    store.lag = 1
    clock.time += TTL
    expect(await tidemark.isFresh(old.stamp, "blog")).toBe(true)
    await settled()
    clock.time += TTL - 1
    expect(await tidemark.isFresh(old.stamp, "blog")).toBe(true)
    await settled()
    clock.time += 2_000
    expect(await tidemark.isFresh(old.stamp, "blog")).toBe(false)
  })

  it("lets it alone for no longer than an answer may be used, however short that is", async () => {
    const { clock, store, tidemark } = setUp({ ttl: 100 })
    store.record({ kind: "everything", namespace: "" })
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    store.lag = 1
    clock.time += 150
    expect(await tidemark.isFresh(stamp, "blog")).toBe(true)
    await settled()
    store.lag = 0
    store.record({ kind: "namespace", namespace: "blog" })
    clock.time += 200
    expect(await tidemark.isFresh(stamp, "blog")).toBe(false)
  })

  it("does not take for one what was only asked before", async () => {
    const { store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("other")
    const answered = Promise.withResolvers<void>()
    store.onLookup = () => answered.promise
    const first = tidemark.isFresh(stamp, "blog")
    await settled()
    // Before that is answered, another look-up is told of more.
    store.onLookup = () => undefined
    store.record({ kind: "namespace", namespace: "shop" })
    await tidemark.begin("shop")
    answered.resolve()
    expect(await first).toBe(true)
  })

  it("is asked for tags all the same, where what is held of the namespace is no older than it may be", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    await tidemark.begin("blog", { fresh: { atLeast: store.last } })
    store.lag = 1
    clock.time += TTL
    await tidemark.begin("blog")
    await settled()
    store.lag = 0
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(true)
  })

  it("is not asked by every request for what it does not know yet", async () => {
    const { store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    const fresh = { atLeast: store.record({ kind: "namespace", namespace: "shop" }).epoch }
    store.lag = 1
    const before = store.requests.length
    for (let visit = 0; visit < 10; visit += 1) {
      expect(await tidemark.isFresh(stamp, "blog", {}, { fresh })).toBe(false)
    }
    expect(store.requests.length - before).toBe(1)
  })
})

describe("another generation", () => {
  it("counts at once, though its epochs be lower than those that are held", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    clock.time += 20_000
    store.record({ kind: "everything", namespace: "" })
    await tidemark.begin("blog")
    const held = store.last
    const { generation, epoch } = store.renew(-10_000)
    expect(epoch).toBeLessThan(held)
    clock.time += TTL
    await tidemark.begin("blog")
    await settled()
    const { stamp } = await tidemark.begin("blog")
    expect(stamp).toEqual({ generation, epoch })
    expect(await tidemark.isFresh(stamp, "blog")).toBe(true)
  })
})

describe("without the store", () => {
  it("serves by what it knew until maxStale, then knows nothing and says so", async () => {
    const { clock, store, tidemark } = setUp()
    const { stamp } = await tidemark.begin("blog")
    const asked = clock.time
    store.away = true
    for (const age of [TTL, 2 * TTL, 30_000, MAX_STALE]) {
      clock.time = asked + age
      expect((await tidemark.judge(stamp, "blog")).verdict, `${age} ms`).toBe("fresh")
      await settled()
    }
    clock.time = asked + MAX_STALE + 1
    expect((await tidemark.judge(stamp, "blog")).verdict).toBe("unknown")
    expect((await tidemark.begin("blog")).stamp).toBeUndefined()
    expect(await tidemark.key("blog")).toBeUndefined()
    expect(await tidemark.isFresh(stamp, "blog")).toBe(false)
    expect(await tidemark.isServable(stamp, "blog")).toBe(false)
  })

  it("knows nothing from 2 * ttl on, where that was asked for", async () => {
    const { clock, store, tidemark } = setUp({ onStoreFailure: "bypass" })
    const { stamp } = await tidemark.begin("blog")
    store.away = true
    clock.time += 2 * TTL - 1
    expect((await tidemark.judge(stamp, "blog")).verdict).toBe("fresh")
    await settled()
    clock.time += 1
    expect((await tidemark.judge(stamp, "blog")).verdict).toBe("unknown")
  })

  it.each([{}, { l2: epochCacheOf(new MapCache()) }])("asks at most once a second: %o", async (options) => {
    const { clock, store, tidemark } = setUp(options)
    await tidemark.begin("blog")
    store.away = true
    clock.time += 2 * TTL
    const before = store.requests.length
    for (let ms = 0; ms < 10_000; ms += 50) {
      await Promise.all([tidemark.begin("blog"), tidemark.begin("shop"), tidemark.judge(undefined, "blog")])
      await turnOver()
      clock.time += 50
    }
    expect(store.requests.length - before).toBeLessThanOrEqual(10)
    expect(store.requests.length - before).toBeGreaterThanOrEqual(9)
  })

  it("lets nobody wait for a store that is known to be away, and finds it when it is back", async () => {
    const { clock, store, tidemark } = setUp()
    const { stamp } = await tidemark.begin("blog")
    store.away = true
    clock.time += 2 * TTL
    await tidemark.judge(stamp, "blog")
    clock.time += 2_000
    store.away = false
    store.onLookup = () => new Promise(() => undefined)
    expect(await atOnce(tidemark.isFresh(stamp, "blog"))).toBe(true)

    const other = setUp()
    const fill = await other.tidemark.begin("blog")
    other.store.away = true
    other.clock.time += 2 * TTL
    await other.tidemark.judge(fill.stamp, "blog")
    other.store.away = false
    other.store.record({ kind: "everything", namespace: "" })
    other.clock.time += 2_000
    await other.tidemark.judge(fill.stamp, "blog")
    await settled()
    expect((await other.tidemark.judge(fill.stamp, "blog")).verdict).not.toBe("fresh")
  })

  it("calls no entry fresh whose tags it could not ask", async () => {
    const { clock, store, reader } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await reader().begin("blog")
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    // Only the namespace is known: that something changed in it, and not what.
    const cold = reader()
    const now = await cold.begin("blog")
    store.away = true
    expect((await cold.judge(stamp, "blog", { tags: ["b"] })).verdict).toBe("stale")
    expect((await cold.judge(now.stamp, "blog", { tags: ["b"] })).verdict).toBe("fresh")
  })
})

describe("with a cache of the data centre below", () => {
  it("a cold isolate asks the store only where the cache is older than ttl", async () => {
    const l2 = new MapCache()
    const { clock, store, reader } = setUp({ l2: epochCacheOf(l2) })
    await reader().begin("blog")
    await settled()
    clock.time += TTL - 1
    expect((await reader().begin("blog")).stamp).toBeDefined()
    expect(store.requests).toHaveLength(1)
    clock.time += 1
    await reader().begin("blog")
    expect(store.requests).toHaveLength(2)
  })

  it("a cold isolate serves from it until maxStale while the store is away, then bypasses", async () => {
    const l2 = new MapCache()
    const { clock, store, reader } = setUp({ l2: epochCacheOf(l2) })
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await reader().begin("blog")
    await settled()
    store.away = true
    for (const [wait, verdict] of [
      [TTL, "fresh"],
      [2 * TTL, "fresh"],
      [MAX_STALE - 3 * TTL, "fresh"],
      [1, "unknown"],
    ] as const) {
      clock.time += wait
      const cold = reader()
      expect((await cold.judge(stamp, "blog")).verdict).toBe(verdict)
      expect((await cold.judge(stamp, "blog")).verdict).toBe(verdict)
    }
  })

  it("does not add its age to that of the memory above it", async () => {
    const l2 = new MapCache()
    const { clock, store, reader } = setUp({ l2: epochCacheOf(l2) })
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await reader().begin("blog")
    await settled()
    store.record({ kind: "namespace", namespace: "blog" })
    const cold = reader()
    clock.time += TTL - 1
    expect(await cold.isFresh(stamp, "blog")).toBe(true)
    clock.time += TTL + 1
    expect(await cold.isFresh(stamp, "blog")).toBe(false)
  })

  it("is told which tags were asked and never invalidated, so that they are not asked again", async () => {
    const l2 = new MapCache()
    const { clock, store, reader } = setUp({ l2: epochCacheOf(l2) })
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await reader().begin("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    clock.time += TTL
    expect(await reader().isFresh(stamp, "blog", { tags: ["b"] })).toBe(true)
    await settled()
    const before = store.requests.length
    expect(await reader().isFresh(stamp, "blog", { tags: ["b"] })).toBe(true)
    expect(store.requests).toHaveLength(before)
  })

  it("may fail, and then has nothing", async () => {
    const broken: LookupCache = {
      get: () => Promise.reject(new Error("no")),
      put: () => Promise.reject(new Error("no")),
    }
    const { tidemark } = setUp({ l2: epochCacheOf(broken) })
    expect((await tidemark.begin("blog")).stamp).toBeDefined()
  })

  it("of another tenant is not believed", async () => {
    const l2 = new MapCache()
    const { clock, store, reader } = setUp({ l2: epochCacheOf(l2) })
    const tidemark = reader()
    await tidemark.begin("blog")
    await settled()
    const foreign = l2.kept.get("blog")
    clock.time += TTL
    if (foreign) l2.kept.set("blog", { ...foreign, tenant: "other", asOf: clock.time })
    await tidemark.begin("blog")
    await settled()
    expect(store.requests).toHaveLength(2)
  })

  it("two isolates over it never call fresh what they were told is stale, however the replica lags", async () => {
    const step = fc.oneof(
      fc.record({ publish: fc.constantFrom("a", "b", "whole") }),
      fc.record({ wait: fc.constantFrom(1, 1_000, TTL, 2 * TTL) }),
      fc.record({ lag: fc.nat({ max: 3 }) }),
      fc.record({ begin: fc.nat({ max: 1 }) }),
      fc.record({ judge: fc.nat({ max: 20 }), by: fc.nat({ max: 1 }), cold: fc.boolean() }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
        const { clock, store, reader } = setUp({ l2: epochCacheOf(new MapCache()) })
        store.record({ kind: "everything", namespace: "" })
        const readers = [reader(), reader()]
        const entries: {
          stamp: Awaited<ReturnType<ReturnType<typeof reader>["begin"]>>["stamp"]
          read: number
        }[] = []
        let told = [0, 0]
        let asking = 0
        let everLagged = false
        store.onLookup = (version) => {
          everLagged ||= store.lag > 0
          told[asking] = Math.max(told[asking] ?? 0, version)
        }
        for (const one of steps) {
          if ("publish" in one)
            store.record(
              one.publish === "whole"
                ? { kind: "namespace", namespace: "blog" }
                : { kind: "tags", namespace: "blog", values: [one.publish] },
            )
          else if ("wait" in one) clock.time += one.wait
          else if ("lag" in one) store.lag = Math.min(one.lag, store.version - 1)
          else if ("begin" in one) {
            asking = one.begin
            const fill = await readers[asking]?.begin("blog")
            entries.push({ stamp: fill?.stamp, read: store.version })
          } else {
            asking = one.by
            if (one.cold) {
              readers[asking] = reader()
              told = told.with(asking, 0)
            }
            const knew = told[asking] ?? 0
            const entry = entries[one.judge % Math.max(1, entries.length)]
            if (!entry || !(await readers[asking]?.isFresh(entry.stamp, "blog", { tags: ["a"] }))) continue
            const missed = store.events
              .slice(entry.read, knew)
              .filter(({ kind, values }) => kind !== "tags" || values.includes("a"))
            expect(missed).toEqual([])
            const late = store.events
              .slice(entry.read)
              .filter(
                ({ kind, values, at }) =>
                  (kind !== "tags" || values.includes("a")) && clock.time - at >= 2 * TTL,
              )
            if (!everLagged) expect(late).toEqual([])
          }
          await turnOver()
        }
      }),
      { numRuns: 100 },
    )
  })
})

describe("what is asked of the store", () => {
  it("first the namespace alone, then tags, and these only where the stamp needs them", async () => {
    const { store, reader } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await reader().begin("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    const cold = reader()
    const { stamp: later } = await cold.begin("blog")
    store.requests.length = 0
    const urls = ["https://www.example.com/a?b=ä#part"]
    expect(await cold.isFresh(later, "blog", { tags: ["a"], urls })).toBe(true)
    expect(store.requests).toEqual([])
    // Older than all that this reader knows of.
    expect(await cold.isFresh(stamp, "blog", { tags: ["a"], urls })).toBe(true)
    expect(store.requests).toEqual([
      new Map([["blog", { tags: ["a"], urls: ["https://www.example.com/a?b=%C3%A4"] }]]),
    ])
  })

  it("no tags of what was filled since it was first asked: what changed is told along, in one request", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    const tags = Array.from({ length: 300 }, (_, index) => `tag-${index}`)
    for (let round = 0; round < 20; round += 1) {
      store.record({ kind: "tags", namespace: "blog", values: [`other-${round}`] })
      store.record({ kind: "urls", namespace: "blog", values: ["https://www.example.com/other"] })
      clock.time += 2 * TTL
      const before = store.requests.length
      for (const [index, tag] of tags.entries())
        expect(await tidemark.isFresh(stamp, "blog", { tags: [tag, ...tags.slice(index)] })).toBe(true)
      expect(store.requests.slice(before)).toEqual([new Map([["blog", { tags: [], urls: [] }]])])
    }
    store.record({ kind: "tags", namespace: "blog", values: ["tag-299"] })
    clock.time += 2 * TTL
    const before = store.requests.length
    expect(await tidemark.isFresh(stamp, "blog", { tags: tags.slice(0, 299) })).toBe(true)
    expect(await tidemark.isFresh(stamp, "blog", { tags })).toBe(false)
    expect(store.requests).toHaveLength(before + 1)
  })

  it("tags again, where more changed than is told along", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    const values = Array.from({ length: MAX_CHANGED + 1 }, (_, index) => `tag-${index}`)
    store.record({ kind: "tags", namespace: "blog", values })
    clock.time += 2 * TTL
    const before = store.requests.length
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["tag-7"] })).toBe(false)
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["another"] })).toBe(true)
    expect(store.requests.slice(before).map((request) => request.get("blog")?.tags)).toEqual([
      [],
      ["tag-7"],
      ["another"],
    ])
  })

  it("tags of an entry that is older than what can be held", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["early"] })
    for (let index = 0; index < MAX_HELD_TAGS; index += 1) {
      if (index % 500 === 0) {
        clock.time += 2 * TTL
        await tidemark.begin("blog")
      }
      store.record({ kind: "tags", namespace: "blog", values: [`tag-${index}`] })
    }
    clock.time += 2 * TTL
    await tidemark.begin("blog")
    const before = store.requests.length
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["early"] })).toBe(false)
    expect(store.requests.slice(before).map((request) => request.get("blog")?.tags)).toEqual([["early"]])
  })

  it("tags not again, however old they are: what changes is told along", async () => {
    const { clock, store, reader } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await reader().begin("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    const tidemark = reader()
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(true)
    for (const values of [["z"], ["y"], []]) {
      store.record({ kind: "tags", namespace: values.length > 0 ? "blog" : "other", values })
      clock.time += 3_600_000
      const before = store.requests.length
      expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(true)
      expect(store.requests.slice(before)).toEqual([new Map([["blog", { tags: [], urls: [] }]])])
    }
    store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    clock.time += 2 * TTL
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(false)
  })

  it("once for what is wanted in the same tick, and once for what is wanted while it is under way", async () => {
    const { store, tidemark } = setUp()
    const answered = Promise.withResolvers<void>()
    store.onLookup = () => answered.promise
    const first = ["blog", "shop", "blog"].map((namespace) => tidemark.begin(namespace))
    await settled()
    const second = ["shop", "blog"].map((namespace) => tidemark.key(namespace))
    await settled()
    answered.resolve()
    await Promise.all([...first, ...second])
    expect(store.requests.map((request) => [...request.keys()])).toEqual([["blog", "shop"]])
  })

  it("with a ttl of 0, by every tick for itself", async () => {
    const { store, tidemark } = setUp({ ttl: 0 })
    const answered = Promise.withResolvers<void>()
    store.onLookup = () => answered.promise
    const first = [tidemark.begin("blog"), tidemark.begin("blog")]
    await settled()
    const second = tidemark.begin("blog")
    await settled()
    answered.resolve()
    await Promise.all([...first, second])
    expect(store.requests).toHaveLength(2)
  })

  it("at most 16 namespaces and 256 tags and urls in one request", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const names = Array.from({ length: 40 }, (_, index) => `n-${index}`)
    const fills = await Promise.all(names.map((name) => tidemark.begin(name)))
    expect(fills.every(({ stamp }) => stamp)).toBe(true)
    expect(store.requests).toHaveLength(3)
    for (const name of names) store.record({ kind: "tags", namespace: name, values: ["z"] })
    clock.time += 2 * TTL
    const tags = Array.from({ length: 1_000 }, (_, index) => `tag-${index}`)
    expect(await tidemark.isFresh(fills[0]?.stamp, "n-0", { tags })).toBe(true)
    expect(await tidemark.isFresh(fills[0]?.stamp, "n-0", { tags: [...tags.slice(1), "z"] })).toBe(false)
    for (const request of store.requests) {
      expect(request.size).toBeLessThanOrEqual(16)
      const asked = [...request.values()].flatMap(({ tags: some, urls }) => [...some, ...urls])
      expect(asked.length).toBeLessThanOrEqual(256)
    }
  })

  it("the namespaces in use along with it, so that one does not age another", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const blog = await tidemark.begin("blog")
    clock.time += 1_000
    store.record({ kind: "namespace", namespace: "other" })
    await tidemark.begin("shop")
    expect(store.requests.map((request) => [...request.keys()])).toEqual([["blog"], ["shop", "blog"]])
    expect(await tidemark.isFresh(blog.stamp, "blog")).toBe(true)
    expect(store.requests).toHaveLength(2)
    // What nobody used for a while is not asked along.
    for (let round = 0; round < 5; round += 1) {
      clock.time += 2 * TTL
      await tidemark.begin("shop")
    }
    expect(store.requests.at(-1)?.has("blog")).toBe(false)
  })

  it("again, where a later answer about another namespace showed that what is held is old", async () => {
    const { store, reader, clock } = setUp()
    const names = Array.from({ length: 17 }, (_, index) => `n-${index}`)
    const tidemark = reader()
    store.record({ kind: "everything", namespace: "" })
    const first = await tidemark.begin("n-0")
    for (const name of names.slice(1)) await tidemark.begin(name)
    store.record({ kind: "namespace", namespace: "n-0" })
    clock.time += 1
    await tidemark.begin("n-99")
    // 16 others were in use later than n-0, which was therefore not asked along.
    expect(store.requests.at(-1)?.has("n-0")).toBe(false)
    expect(await tidemark.isFresh(first.stamp, "n-0")).toBe(false)
    const again = await tidemark.begin("n-0")
    expect(await tidemark.isFresh(again.stamp, "n-0")).toBe(true)
  })

  it("nothing that is no namespace, and no tag that nobody can publish", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    expect((await tidemark.begin("no such/../namespace")).stamp).toBeUndefined()
    expect((await tidemark.judge({ generation: 1, epoch: 1 }, "")).verdict).toBe("unknown")
    expect(store.requests).toEqual([])
    const { stamp } = await tidemark.begin("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    clock.time += 2 * TTL
    const depends = {
      tags: ["", " a", "a\n", "ns/blog", "x".repeat(1_025)],
      urls: ["/relative", "ftp://example.com/"],
    }
    expect(await tidemark.isFresh(stamp, "blog", depends)).toBe(true)
    expect(store.requests.flatMap((request) => [...request.values()])).toEqual([
      { tags: [], urls: [] },
      { tags: [], urls: [] },
    ])
  })

  it("a namespace that is refused does not keep others from being answered", async () => {
    const { clock, store, tidemark } = setUp()
    store.refused.add("secret")
    const [blog, secret, shop] = await Promise.all(
      ["blog", "secret", "shop"].map((name) => tidemark.begin(name)),
    )
    expect([blog?.stamp, secret?.stamp, shop?.stamp].map(Boolean)).toEqual([true, false, true])
    expect((await tidemark.begin("secret")).stamp).toBeUndefined()
    expect(store.requests).toHaveLength(4)
    // One that was declared when it was last asked, and is not any more.
    store.refused.add("shop")
    clock.time += 2 * TTL
    expect((await tidemark.begin("blog")).stamp).toBeDefined()
    expect((await tidemark.judge(shop?.stamp, "shop")).verdict).toBe("fresh")
    const before = store.requests.length
    clock.time += 2 * TTL
    await tidemark.begin("blog")
    expect(store.requests.slice(before).map((request) => [...request.keys()])).toEqual([["blog"]])
  })

  it("holds a bounded number of namespaces", async () => {
    const { clock, store, tidemark } = setUp()
    for (let index = 0; index <= MAX_HELD_NAMESPACES; index += 1) {
      await tidemark.begin(`n-${index}`)
      clock.time += 1
    }
    const before = store.requests.length
    await tidemark.begin("n-1")
    expect(store.requests).toHaveLength(before)
    await tidemark.begin("n-0")
    expect(store.requests.slice(before).some((request) => request.has("n-0"))).toBe(true)
  })
})

describe("a look-up that was lost with the request that began it", () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it("does not hold up those that wait for it for long, nor the next refresh", async () => {
    vi.useFakeTimers()
    const { store, tidemark } = setUp()
    store.onLookup = () => new Promise(() => undefined)
    const lost = tidemark.begin("blog")
    await vi.advanceTimersByTimeAsync(1)
    const joined = tidemark.begin("blog")
    await vi.advanceTimersByTimeAsync(1)
    store.onLookup = () => undefined
    await vi.advanceTimersByTimeAsync(2_000)
    expect((await lost).stamp).toBeUndefined()
    await vi.advanceTimersByTimeAsync(2_000)
    await joined
    expect(vi.getTimerCount()).toBe(0)
  })

  it("is not joined when nobody kept it alive", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    store.onLookup = () => new Promise(() => undefined)
    clock.time += 2 * TTL - 1_000
    expect(await atOnce(tidemark.isFresh(stamp, "blog"))).toBe(true)
    await settled()
    store.onLookup = () => undefined
    clock.time += 1_000
    expect(await atOnce(tidemark.isFresh(stamp, "blog"))).toBe(true)
  })

  it("is handed to waitUntil, with the put into the cache below", async () => {
    const l2 = new MapCache()
    const { clock, tidemark } = setUp({ l2: epochCacheOf(l2) })
    const kept: Promise<unknown>[] = []
    const waitUntil = (promise: Promise<unknown>) => void kept.push(promise)
    await tidemark.begin("blog", { waitUntil })
    expect(kept).toHaveLength(1)
    await Promise.all(kept)
    expect(l2.kept.has("blog")).toBe(true)
    clock.time += TTL
    await tidemark.begin("blog", { waitUntil })
    expect(kept).toHaveLength(2)
  })
})
