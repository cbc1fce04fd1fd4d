import { LRUCache } from "lru-cache"
import { describe, expect, it, onTestFinished, vi } from "vitest"
import { createLocalCache, type FillOptions, type LocalCacheOptions } from "./local-cache.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark, type Judgement, type TidemarkOptions } from "./tidemark.ts"

const TTL = 5_000
const MAX_STALE = 60_000
const HOUR = 3_600_000

interface SetUp extends Partial<LocalCacheOptions<string>> {
  readonly reader?: Partial<TidemarkOptions>
}

/** A cache before an origin whose value is `v<version>`. */
function setUp({ reader, ...options }: SetUp = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const tidemark = createTidemark({
    store,
    now: clock.now,
    random: () => 0,
    ttl: TTL,
    maxStale: MAX_STALE,
    onError: () => undefined,
    ...reader,
  })
  const cache = createLocalCache<string>({
    tidemark,
    namespace: "shop",
    now: clock.now,
    random: () => 0,
    ...options,
  })
  const origin = { version: 1, reads: 0 }
  const read = () => {
    origin.reads += 1
    return `v${origin.version}`
  }
  const get = (key = "lamp", how: Partial<FillOptions<string>> = {}) =>
    cache.getOrFill(key, { fill: read, tags: [`product-${key}`], ...how })
  /** A change at the origin, and its invalidation, of which the reader knows when it next asks. */
  const change = (hard: boolean, key = "lamp") => {
    origin.version += 1
    return store.record({ kind: "tags", namespace: "shop", values: [`product-${key}`], hard })
  }
  /** Until the reader has asked again, if it has to. */
  const settle = () => new Promise((resolve) => setTimeout(resolve, 0))
  return { clock, store, tidemark, cache, origin, read, get, change, settle }
}

describe("a local cache", () => {
  it("begins another revalidation where one hangs for ever", async () => {
    vi.useFakeTimers({ toFake: ["performance"] })
    onTestFinished(() => void vi.useRealTimers())
    const { get, change, clock, origin, settle } = setUp({ swr: HOUR })
    await get()
    change(false)
    clock.time += 2 * TTL
    const hang = { fill: () => new Promise<string>(() => undefined) }
    expect([await get("lamp", hang), await get()]).toEqual(["v1", "v1"])
    await settle()
    expect(origin.reads).toBe(1)
    vi.advanceTimersByTime(31_000)
    expect(await get()).toBe("v1")
    await settle()
    expect(await get()).toBe("v2")
  })

  it("fills once, and then serves what it kept", async () => {
    const { get, origin, cache } = setUp()
    expect([await get(), await get(), await get("chair")]).toEqual(["v1", "v1", "v1"])
    expect(origin.reads).toBe(2)
    expect(cache.size).toBe(2)
  })

  it.each([
    ["a tag of it", { kind: "tags", values: ["product-lamp"] }, true],
    ["its url", { kind: "urls", values: ["https://shop.example/lamp"] }, true],
    ["its namespace", { kind: "namespace" }, true],
    ["everything", { kind: "everything" }, true],
    ["another tag", { kind: "tags", values: ["product-chair"] }, false],
    ["another namespace", { kind: "namespace", namespace: "blog" }, false],
  ] as const)("serves no value that was purged by %s", async (_, event, concerned) => {
    const { get, store, clock, origin } = setUp()
    const urls = ["https://shop.example/lamp"]
    await get("lamp", { urls })
    clock.time += 1
    origin.version = 2
    store.record({ namespace: "shop", ...event, hard: true })
    clock.time += 2 * TTL
    expect(await get("lamp", { urls })).toBe(concerned ? "v2" : "v1")
  })

  it("after a soft invalidation serves the old value while one fill runs, and then the new one", async () => {
    const { get, change, clock, origin, settle, read } = setUp()
    await get()
    change(false)
    clock.time += 2 * TTL
    const filled = Promise.withResolvers<void>()
    const slow = async () => {
      const value = read()
      await filled.promise
      return value
    }
    for (let caller = 0; caller < 10; caller += 1) expect(await get("lamp", { fill: slow })).toBe("v1")
    expect(origin.reads).toBe(2)
    filled.resolve()
    await settle()
    expect(await get()).toBe("v2")
    expect(origin.reads).toBe(2)
  })

  it("after a soft invalidation serves the old value no longer than `swr`", async () => {
    const { get, change, clock } = setUp({ swr: 20_000 })
    await get()
    change(false)
    clock.time += 20_001
    expect(await get()).toBe("v2")
    const never = setUp({ swr: 0 })
    await never.get()
    never.change(false)
    never.clock.time += 2 * TTL
    expect(await never.get()).toBe("v2")
  })

  it("keeps the old value where its revalidation fails, and tells of that", async () => {
    const failures: unknown[] = []
    const { get, change, clock, settle } = setUp({
      onRevalidationError: (error, key) => failures.push(key, error),
    })
    await get()
    change(false)
    clock.time += 2 * TTL
    const broken = new Error("the origin is away")
    expect(await get("lamp", { fill: () => Promise.reject(broken) })).toBe("v1")
    await settle()
    expect(failures).toEqual(["lamp", broken])
    clock.time += 1_000
    expect(await get()).toBe("v1")
    await settle()
    expect(await get()).toBe("v2")
  })

  it("tries again after a second, then after twice as long each time: 100 reads are no 100 fills", async () => {
    const failures: unknown[] = []
    const { get, change, clock, settle } = setUp({
      swr: HOUR,
      onRevalidationError: (error) => failures.push(error),
    })
    await get()
    change(false)
    clock.time += 2 * TTL
    let fills = 0
    const fill = async () => {
      fills += 1
      throw new Error("503")
    }
    const readFor = async (time: number) => {
      for (let read = 0; read < 100; read += 1) {
        expect(await get("lamp", { fill })).toBe("v1")
        await settle()
        clock.time += time / 100
      }
    }
    await readFor(900)
    expect(fills).toBe(1)
    // At 1, 3, 7, 15 and 31 s, and every 30 s from then on.
    await readFor(60_000)
    expect(fills).toBe(6)
    await readFor(300_000)
    expect(fills).toBe(16)
    expect(failures).toHaveLength(16)
    await get()
    await settle()
    clock.time += 30_000
    await get()
    await settle()
    expect(await get()).toBe("v2")
    // What succeeded is forgotten.
    change(false)
    clock.time += 2 * TTL
    await get("lamp", { fill })
    await settle()
    expect(fills).toBe(17)
  })

  it("serves the old value instead of a failure for `staleIfError` after the invalidation", async () => {
    const told: string[] = []
    const { get, change, clock, origin } = setUp({
      swr: 20_000,
      staleIfError: 100_000,
      onRevalidationError: (_, key) => told.push(key),
    })
    await get()
    change(false)
    clock.time += 20_001
    let fills = 0
    const fill = async () => {
      fills += 1
      throw new Error("503")
    }
    const reads = await Promise.all(Array.from({ length: 100 }, () => get("lamp", { fill })))
    expect(new Set(reads)).toEqual(new Set(["v1"]))
    // And nobody waits to see it fail again.
    expect(await get("lamp", { fill })).toBe("v1")
    expect([fills, told]).toEqual([1, ["lamp"]])
    clock.time += 79_000
    expect(await get("lamp", { fill })).toBe("v1")
    clock.time += 1_000
    await expect(get("lamp", { fill })).rejects.toThrow("503")
    expect(told).toEqual(["lamp", "lamp"])
    expect(await get()).toBe("v2")
    expect(origin.reads).toBe(2)
  })

  it.each([
    ["purged before", 300_000, true, false],
    ["purged while it was filled", 300_000, false, true],
    ["softly invalidated, with a `staleIfError` of 0", 0, false, false],
  ])("throws the failure, where the value was %s", async (_, staleIfError, hard, purgedMeanwhile) => {
    const told: string[] = []
    const { get, change, clock, tidemark } = setUp({
      swr: 0,
      staleIfError,
      onRevalidationError: (__, key) => told.push(key),
    })
    await get()
    change(hard)
    clock.time += 2 * TTL
    const fill = async () => {
      if (purgedMeanwhile) tidemark.hear(change(true))
      throw new Error("503")
    }
    for (let time = 0; time < 3; time += 1) await expect(get("lamp", { fill })).rejects.toThrow("503")
    expect(told).toEqual([])
  })

  it("serves old values by the default for five minutes, and warns once a minute", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined)
    onTestFinished(() => warn.mockRestore())
    const { get, change, clock } = setUp()
    await get()
    await get("chair")
    change(false)
    change(false, "chair")
    clock.time += 299_000
    const fill = () => Promise.reject(new Error("no route to redis://jo:sesame@h"))
    expect([await get("lamp", { fill }), await get("chair", { fill })]).toEqual(["v1", "v1"])
    await expect
      .poll(() => warn.mock.calls)
      .toEqual([["tidemark: old values of shop are served, as none can be read anew: no route to redis://h"]])
    clock.time += 2_000
    await expect(get("lamp", { fill })).rejects.toThrow("no route")
  })

  it("is none the worse where whoever is told of a failure throws", async () => {
    const { get, change, clock, settle } = setUp({
      onRevalidationError: () => {
        throw new Error("from a listener")
      },
    })
    await get()
    change(false)
    clock.time += 2 * TTL
    const fill = () => Promise.reject(new Error("503"))
    expect(await get("lamp", { fill })).toBe("v1")
    await settle()
    expect(await get("lamp", { fill })).toBe("v1")
  })

  it("after a hard one has all callers wait for the one new value", async () => {
    const { get, change, clock, origin } = setUp()
    await get()
    change(true)
    clock.time += 2 * TTL
    const values = await Promise.all(Array.from({ length: 100 }, () => get()))
    expect(new Set(values)).toEqual(new Set(["v2"]))
    expect(origin.reads).toBe(2)
  })

  it("shares a fill, and its failure, which is not kept", async () => {
    const { get, origin } = setUp()
    let fills = 0
    const fill = async () => {
      fills += 1
      throw new Error("the origin is away")
    }
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, () => get("lamp", { fill })))
    expect(outcomes.every(({ status }) => status === "rejected")).toBe(true)
    expect(fills).toBe(1)
    expect(await get()).toBe("v1")
    expect(origin.reads).toBe(1)
  })

  it("gives no caller what another read before the purge that this one came after", async () => {
    const { get, change, tidemark, read, origin } = setUp()
    const filled = Promise.withResolvers<void>()
    const first = get("lamp", {
      async fill() {
        const value = read()
        await filled.promise
        return value
      },
    })
    await expect.poll(() => origin.reads).toBe(1)
    tidemark.hear(change(true))
    const later = Promise.all([get(), get(), get()])
    filled.resolve()
    expect(await first).toBe("v1")
    expect(await later).toEqual(["v2", "v2", "v2"])
    expect(origin.reads).toBe(2)
  })

  it("counts what was filled at once after an invalidation as a hit, with no publish after it", async () => {
    const { get, change, clock, origin } = setUp()
    await get()
    change(true)
    clock.time += 2 * TTL
    expect([await get(), await get()]).toEqual(["v2", "v2"])
    expect(origin.reads).toBe(2)
  })

  it("sees an invalidation in the millisecond of the stamp", async () => {
    const { get, change, clock, store } = setUp()
    await get()
    const { epoch } = change(true)
    expect(epoch % 1_000).toBeGreaterThan(0)
    expect(Math.floor(epoch / 1_000)).toBe(clock.time)
    expect(store.events.at(-2)?.at).toBe(clock.time)
    clock.time += 2 * TTL
    expect(await get()).toBe("v2")
  })

  it.each([HOUR, -HOUR])("is right where the store's clock is off by %d ms", async (skew) => {
    for (const hard of [true, false]) {
      const { get, change, clock, store, origin, settle } = setUp()
      // A renewal, as epochs do not go back within a generation.
      store.renew(skew)
      await get()
      clock.time += 1
      expect(await get()).toBe("v1")
      expect(origin.reads).toBe(1)
      change(hard)
      clock.time += 2 * TTL
      await get()
      await settle()
      expect(await get()).toBe("v2")
      clock.time += 2 * TTL
      expect(await get()).toBe("v2")
      expect(origin.reads).toBe(2)
    }
  })

  it.each([
    ["no list", "product-lamp"],
    ["no texts", [1, undefined, null]],
    ["no tags", ["", " ", "ns/shop", "a\u0000b", "x".repeat(2_000)]],
    ["too many", Array.from({ length: 2_000 }, (_, index) => `tag-${index}`)],
  ])("takes tags that are %s, and throws nothing", async (_, tags) => {
    const { get, store, clock, origin } = setUp()
    const how = { tags: tags as string[], urls: ["no url"] }
    expect([await get("lamp", how), await get("lamp", how)]).toEqual(["v1", "v1"])
    clock.time += 1
    origin.version = 2
    store.record({ kind: "namespace", namespace: "shop", hard: true })
    clock.time += 2 * TTL
    expect(await get("lamp", how)).toBe("v2")
  })

  it("counts an entry whose tags nobody can read as depending on anything", async () => {
    const { get, change, clock } = setUp()
    await get("lamp", { tags: [{}] as unknown as string[] })
    change(true, "chair")
    clock.time += 2 * TTL
    expect(await get("lamp")).toBe("v2")
  })

  it("takes tags from the value, when it is known", async () => {
    const { get, change, clock } = setUp()
    await get("lamp", { tags: (value) => [`product-${value}`] })
    change(true, "v1")
    clock.time += 2 * TTL
    expect(await get()).toBe("v2")
  })

  it("goes on by what it knows while the store is away, and then keeps nothing", async () => {
    const { get, store, clock, origin, cache } = setUp()
    await get()
    store.away = true
    clock.time += MAX_STALE - 1
    expect(await get()).toBe("v1")
    expect(origin.reads).toBe(1)
    clock.time += 2
    expect([await get(), await get("chair")]).toEqual(["v1", "v1"])
    expect(origin.reads).toBe(3)
    expect(cache.size).toBe(1)
    // Nobody stampedes at the origin meanwhile.
    await Promise.all(Array.from({ length: 100 }, () => get()))
    expect(origin.reads).toBeLessThanOrEqual(5)
    store.away = false
    clock.time += 2_000
    await get()
    const { reads } = origin
    await get()
    expect(origin.reads).toBe(reads)
  })

  it("drops what is of a generation that ended", async () => {
    const { get, store, clock, origin } = setUp()
    await get()
    origin.version = 2
    store.renew(HOUR)
    clock.time += 2 * TTL
    expect(await get()).toBe("v2")
  })

  it("holds no more than it may", async () => {
    const few = setUp({ maxEntries: 2 })
    for (const key of ["a", "b", "c"]) await few.get(key)
    expect(few.cache.size).toBe(2)
    const small = setUp({ maxBytes: 10, sizeOf: (value) => 2 * value.length })
    for (const key of ["a", "b", "c", "d"]) await small.get(key)
    expect(small.cache.size).toBe(2)
    expect(await small.get("e", { fill: () => "larger than all of it" })).toBe("larger than all of it")
    expect(small.cache.size).toBe(2)
    small.cache.clear()
    expect(small.cache.size).toBe(0)
  })

  it("keeps a value no longer than it may, each for a little less", async () => {
    const parts = [0, 1]
    const { get, clock, origin } = setUp({
      maxAge: 10_000,
      jitter: 0.2,
      random: () => parts.shift() ?? 0,
      reader: { ttl: HOUR, maxStale: 2 * HOUR },
    })
    await get("full")
    await get("short")
    clock.time += 8_001
    await get("full")
    expect(origin.reads).toBe(2)
    await get("short")
    expect(origin.reads).toBe(3)
    clock.time += 2_000
    await get("full")
    expect(origin.reads).toBe(4)
    await get("never", { maxAge: 0 })
    await get("never", { maxAge: 0 })
    expect(origin.reads).toBe(6)
  })

  it("reads its own write", async () => {
    const { get, change } = setUp()
    await get()
    const { epoch } = change(true)
    expect(await get()).toBe("v1")
    expect(await get("lamp", { fresh: { atLeast: epoch } })).toBe("v2")
  })

  it("refuses options that make no sense", () => {
    const { tidemark } = setUp()
    for (const options of [
      { namespace: "" },
      { maxEntries: 0 },
      { maxBytes: 1_000 },
      { maxBytes: 0.5, sizeOf: () => 1 },
      { jitter: 2 },
      { swr: -1 },
      { staleIfError: -1 },
      { maxAge: Number.NaN },
    ])
      expect(() => createLocalCache({ tidemark, namespace: "shop", ...options })).toThrow(RangeError)
  })
})

describe("a sweep", () => {
  it.each([true, false])(
    "drops what may not be served any more, by one look-up (purged: %s)",
    async (hard) => {
      const { get, store, change, clock, cache, tidemark, origin } = setUp({ staleIfError: 0 })
      for (let index = 0; index < 1_000; index += 1) await get(String(index))
      for (let index = 0; index < 10; index += 1) change(hard, String(index))
      clock.time += 1
      tidemark.hear({ generation: store.generation, epoch: store.last })
      store.requests.length = 0
      await cache.sweep()
      // What is soft may still be served.
      expect(cache.size).toBe(hard ? 990 : 1_000)
      await get("15")
      expect(origin.reads).toBe(1_000)
      await cache.sweep()
      expect(store.requests).toHaveLength(1)
      clock.time += MAX_STALE + 1
      await cache.sweep()
      expect(cache.size).toBe(990)
    },
  )

  it("drops no entry that took another's place meanwhile", async () => {
    const stamp = { generation: 1, epoch: 1 }
    const judged = Promise.withResolvers<Judgement>()
    const answers = [judged.promise]
    const cache = createLocalCache<string>({
      tidemark: {
        begin: async (namespace) => ({ namespace, stamp }),
        judge: async () => answers.shift() ?? { verdict: "dead" },
      },
      namespace: "shop",
    })
    await cache.getOrFill("lamp", { fill: () => "v1" })
    const swept = cache.sweep()
    expect(await cache.getOrFill("lamp", { fill: () => "v2" })).toBe("v2")
    judged.resolve({ verdict: "dead" })
    await swept
    expect(cache.size).toBe(1)
  })

  it("leaves everything where nothing is known", async () => {
    const { get, clock, cache, store } = setUp()
    await get()
    store.away = true
    clock.time += MAX_STALE + 1
    await cache.sweep()
    expect(cache.size).toBe(1)
  })
})

/** Read begins, then the change is published, then what was read is kept, then it is read again. A thousand times. */
describe("a fill that began before the change", () => {
  const TIMES = 1_000

  it.each([true, false])("is never served as fresh after it (purged: %s)", async (hard) => {
    const { change, tidemark, cache, origin, read, settle, clock } = setUp()
    let stale = 0
    for (let time = 0; time < TIMES; time += 1) {
      const how = { tags: ["product-lamp"] }
      const key = `lamp-${time}`
      const [began, published] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const filling = cache.getOrFill(key, {
        ...how,
        async fill() {
          const value = read()
          began.resolve()
          await published.promise
          return value
        },
      })
      await began.promise
      tidemark.hear(change(hard))
      published.resolve()
      await filling
      const again = await cache.getOrFill(key, { ...how, fill: read })
      if (hard && again !== `v${origin.version}`) stale += 1
      await settle()
      if ((await cache.getOrFill(key, { ...how, fill: read })) !== `v${origin.version}`) stale += 1
      clock.time += 1
    }
    expect(stale).toBe(0)
  })

  it("is served by lru-cache alone, every time", async () => {
    const cache = new LRUCache<string, string>({ max: 10_000 })
    let stale = 0
    for (let time = 0; time < TIMES; time += 1) {
      const key = `lamp-${time}`
      const published = Promise.withResolvers<void>()
      let version = 1
      const filling = (async () => {
        const value = `v${version}`
        await published.promise
        cache.set(key, value)
      })()
      version = 2
      cache.delete(key)
      published.resolve()
      await filling
      if (cache.get(key) !== `v${version}`) stale += 1
    }
    expect(stale).toBe(TIMES)
  })
})
