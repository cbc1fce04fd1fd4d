import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { createOpenNextCaches, type IncrementalCacheLike, type OpenNextOptions } from "./opennext.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

/** OpenNext itself is in test/frameworks/opennext.test.ts. */

const TTL = 5_000
const ORIGIN = "https://www.example.com"

const globals = globalThis as unknown as Record<string, unknown>
let store: object | undefined
beforeEach(() => {
  globals["__openNextAls"] = { getStore: () => store }
  globals["nextVersion"] = "16.4.6"
})
afterEach(() => {
  delete globals["__openNextAls"]
  delete globals["nextVersion"]
})

/** Runs as one request of OpenNext. */
async function within<T>(work: () => Promise<T>, request: object = {}): Promise<T> {
  store = request
  try {
    return await work()
  } finally {
    store = undefined
  }
}

interface Entry {
  value?: any
  lastModified?: number
}

/** An incremental cache that keeps what it is given, as it is, as a cache in memory does. */
class MemoryCache implements IncrementalCacheLike {
  readonly name = "memory"
  readonly kept = new Map<string, Entry>()
  time = 1_000

  async get(key: string, cacheType = ""): Promise<Entry | null> {
    return this.kept.get(key + cacheType) ?? null
  }

  async set(key: string, value: unknown, cacheType = ""): Promise<void> {
    this.time += 1
    this.kept.set(key + cacheType, { value, lastModified: this.time })
  }

  async delete(key: string): Promise<void> {
    this.kept.delete(key)
  }
}

const page = (tags: string) => ({
  type: "app",
  html: "page",
  meta: { headers: { "x-next-cache-tags": tags } },
})

function setUp(options: Partial<OpenNextOptions> = {}) {
  const clock = new Clock()
  const epochs = new ModelStore(clock)
  epochs.record({ kind: "everything", namespace: "" })
  const inner = new MemoryCache()
  const tidemark = createTidemark({ store: epochs, ttl: TTL, now: clock.now, random: () => 0 })
  const caches = createOpenNextCaches({ tidemark, namespace: "site", origin: ORIGIN, ...options })
  const cache = caches.incrementalCache(inner)
  const { tagCache } = caches
  const fill = (key: string, value: object) =>
    within(async () => {
      await cache.get(key)
      await cache.set(key, value)
    })
  /** What OpenNext's interceptor makes of a page. Of one without tags, the tag cache is not asked. */
  const look = (key: string, tags: readonly string[]) =>
    within(async () => {
      const entry = await cache.get(key)
      if (!entry) return "miss"
      if (tags.length === 0) return "hit"
      if (await tagCache.hasBeenRevalidated(tags, entry.lastModified)) return "miss"
      return (await tagCache.isStale(tags, entry.lastModified)) ? "stale" : "hit"
    })
  const publish = (event: Parameters<ModelStore["record"]>[0]) => {
    clock.time += 1
    epochs.record(event)
    clock.time += 2 * TTL
  }
  return { clock, epochs, inner, tidemark, cache, ...caches, fill, look, publish }
}

describe("what is stored", () => {
  it("carries its stamp, and is handed on as it was set", async () => {
    const { inner, cache, fill, epochs } = setUp()
    await fill("/a", page("a"))
    const stamp = `${epochs.generation}.${epochs.last}`
    expect(inner.kept.get("/a")?.value).toEqual({ ...page("a"), tidemark: stamp })
    expect(await within(() => cache.get("/a"))).toEqual({ lastModified: 1_001, value: page("a") })
  })

  it("keeps its tags where OpenNext takes them off what a cache in memory handed out", async () => {
    const { cache, fill } = setUp()
    await fill("/a", page("a"))
    const entry = await within(() => cache.get("/a"))
    delete entry?.value.meta.headers["x-next-cache-tags"]
    expect(await within(() => cache.get("/a"))).toMatchObject({ value: page("a") })
  })

  it("is nothing where nothing was known before it was made, or nobody looked before", async () => {
    const { inner, cache, fill, epochs } = setUp()
    await within(() => cache.set("/a", page("a")))
    await cache.set("/a", page("a"))
    epochs.away = true
    await fill("/a", page("a"))
    expect(inner.kept.size).toBe(0)
  })

  it("is deleted as it is", async () => {
    const { inner, cache, fill } = setUp()
    await fill("/a", page("a"))
    await cache.delete("/a")
    expect(inner.kept.size).toBe(0)
  })
})

describe("what is found, and is not fit to be judged, is a miss", () => {
  it.each([
    ["no stamp", page("a")],
    ["no text for a stamp", { ...page("a"), tidemark: { generation: 1, epoch: 2 } }],
    ["no stamp in the text", { ...page("a"), tidemark: "1.2.3" }],
    ["a stamp of another generation", { ...page("a"), tidemark: "1700000000000000.1900000000000000" }],
    ["tags that are no text", { ...page("a"), meta: { headers: { "x-next-cache-tags": [1] } } }],
    ["tags that are no list", { ...page("a"), tags: "a" }],
    ["tags of data that are no list", { kind: "FETCH", data: { tags: { a: 1 } } }],
    ["no object", "page"],
    ["nothing", null],
    ["undefined", undefined],
  ])("%s", async (name, value) => {
    const { inner, look, epochs } = setUp()
    const isMarked = typeof value === "object" && value !== null && !name.includes("stamp")
    const stamp = `${epochs.generation}.${epochs.last}`
    inner.kept.set("/a", { value: isMarked ? { ...value, tidemark: stamp } : value, lastModified: 1 })
    expect(await look("/a", ["a"])).toBe("miss")
  })

  it("a page without tags is judged by its url and its namespace; nobody could be told that it is stale", async () => {
    const { fill, look, publish } = setUp()
    const untagged = { type: "page", html: "page", json: {} }
    await fill("/a", untagged)
    expect(await look("/a", [])).toBe("hit")
    publish({ kind: "urls", namespace: "site", values: [`${ORIGIN}/b`] })
    expect(await look("/a", [])).toBe("hit")
    publish({ kind: "urls", namespace: "site", values: [`${ORIGIN}/a`] })
    expect(await look("/a", [])).toBe("miss")
    await fill("/a", untagged)
    publish({ kind: "namespace", namespace: "site" })
    expect(await look("/a", [])).toBe("miss")
  })

  it("tags that are none are left out, and the namespace still reaches the page", async () => {
    const { fill, look, publish } = setUp()
    await fill("/a", page("u:1, a,,b"))
    publish({ kind: "tags", namespace: "site", values: ["other"] })
    expect(await look("/a", ["u:1", " a", "", "b"])).toBe("hit")
    publish({ kind: "tags", namespace: "site", values: ["b"] })
    expect(await look("/a", ["u:1", " a", "", "b"])).toBe("stale")
  })

  it("nothing is asked where there is no request, and an unknown time is no entry's", async () => {
    const { cache, fill, tagCache } = setUp()
    await fill("/a", page("a"))
    expect(await cache.get("/a")).toBeNull()
    expect(await tagCache.hasBeenRevalidated(["a"], 1_001)).toBe(true)
    expect(await within(() => tagCache.hasBeenRevalidated(["a"], 1_001))).toBe(true)
    expect(await within(() => tagCache.hasBeenRevalidated(["a"]))).toBe(true)
    expect(await tagCache.getLastRevalidated(["a"])).toBe(Number.MAX_SAFE_INTEGER)
  })
})

describe("entries that were written in the same millisecond", () => {
  it("are each judged by their own stamp", async () => {
    const { cache, tagCache, inner, fill, publish } = setUp()
    const isStale = (keys: readonly string[]) =>
      within(async () => {
        for (const key of keys) await cache.get(key)
        return tagCache.isStale(["b"], 7)
      })
    await fill("/old", page("a"))
    publish({ kind: "tags", namespace: "site", values: ["b"] })
    await fill("/new", page("b"))
    for (const entry of inner.kept.values()) entry.lastModified = 7
    expect(await isStale(["/new"])).toBe(false)
    expect(await isStale(["/old"])).toBe(true)
    // What is not told apart is judged by the older.
    expect(await isStale(["/new", "/old"])).toBe(true)
    expect(await isStale(["/old", "/new"])).toBe(true)
  })
})

describe("what `use cache` made", () => {
  it("is judged by the tags of its path too, whether it was read before these were told or after", async () => {
    const { cache, inner, tagCache, publish } = setUp()
    const made = (key: string) =>
      within(async () => {
        await cache.get(key, "composable")
        await cache.set(key, { value: "made", tags: [key] }, "composable")
      })
    await made("old")
    publish({ kind: "tags", namespace: "site", values: ["_N_T_/a"] })
    await made("new")
    /** As Next.js does: the first entry, then once the tags of the path, then others. */
    const read = (first: string, second: string) =>
      within(async () => {
        const found = await cache.get(first, "composable")
        const expiration = await tagCache.getLastRevalidated(["_N_T_/a"])
        const another = await cache.get(second, "composable")
        return [found !== null && expiration === 0, another !== null && expiration === 0]
      })
    expect(await read("new", "new")).toEqual([true, true])
    expect(await read("new", "old")).toEqual([true, false])
    expect(await read("old", "new")).toEqual([false, false])
    expect(inner.kept.size).toBe(2)
  })
})

describe("the reader", () => {
  it("is made once, at the first use", async () => {
    let made = 0
    const { tidemark } = setUp()
    const { fill, look } = setUp({
      tidemark: () => {
        made += 1
        return tidemark
      },
    })
    expect(made).toBe(0)
    await fill("/a", page("a"))
    expect(await look("/a", ["a"])).toBe("hit")
    expect(made).toBe(1)
  })

  it("that cannot be made leaves every page to be made anew; only publishing throws", async () => {
    const { fill, look, tagCache, inner } = setUp({
      tidemark: () => {
        throw new Error("no token")
      },
    })
    await fill("/a", page("a"))
    expect(inner.kept.size).toBe(0)
    inner.kept.set("/a", { value: { ...page("a"), tidemark: "1.2" }, lastModified: 1 })
    expect(await look("/a", ["a"])).toBe("miss")
    expect(await within(() => tagCache.getLastRevalidated(["a"]))).toBe(Number.MAX_SAFE_INTEGER)
    await expect(tagCache.writeTags(["a"])).rejects.toThrow("no token")
  })

  it("may use the request's `waitUntil`", async () => {
    const waited: Promise<unknown>[] = []
    const { cache, fill, clock } = setUp()
    await fill("/a", page("a"))
    clock.time += TTL + 1
    await within(() => cache.get("/a"), { waitUntil: (promise: Promise<unknown>) => waited.push(promise) })
    expect(waited.length).toBeGreaterThan(0)
    await Promise.all(waited)
  })

  it("refuses an origin that is none", () => {
    expect(() => setUp({ origin: "www.example.com" })).toThrow(TypeError)
  })
})

describe("namespaces by tag", () => {
  const namespace = (tag: string) => (tag.startsWith("product") ? "shop" : "site")

  it("are each asked, and each published to", async () => {
    const { fill, look, publish, tagCache, epochs } = setUp({ namespace })
    await fill("/a", page("_N_T_/a,product-1"))
    await fill("/b", page("_N_T_/b"))
    publish({ kind: "namespace", namespace: "shop" })
    expect(await look("/a", ["_N_T_/a", "product-1"])).toBe("stale")
    expect(await look("/b", ["_N_T_/b"])).toBe("hit")
    const before = epochs.version
    await tagCache.writeTags(["product-1", "product-2", "_N_T_/a"])
    expect(epochs.events.slice(before)).toMatchObject([
      { kind: "tags", namespace: "shop", values: ["product-1", "product-2"], hard: true },
      { kind: "tags", namespace: "site", values: ["_N_T_/a"], hard: true },
    ])
  })
})

describe("publishing tags", () => {
  it("that are none invalidates their namespace as a whole, and many are cut", async () => {
    const { tagCache, epochs } = setUp()
    const before = epochs.version
    await tagCache.writeTags([])
    await tagCache.writeTags(["a", "ns/b"])
    await tagCache.writeTags(Array.from({ length: 2_050 }, (_, nth) => `t${nth}`))
    const events = epochs.events.slice(before)
    expect(events.map(({ kind, values }) => `${kind} ${values.length}`)).toEqual([
      "namespace 0",
      "tags 1000",
      "tags 1000",
      "tags 50",
    ])
  })

  it.each([
    ["a", true],
    [{ tag: "a" }, true],
    [{ tag: "a", stale: 5_000 }, false],
    [{ tag: "a", stale: 5_000, expire: 5_000 }, true],
    [{ tag: "a", stale: 5_000, expire: 64_999 }, true],
    [{ tag: "a", stale: 5_000, expire: 65_000 }, false],
    [{ tag: "a", expire: 5_000 }, true],
    [{ tag: "a", expire: Infinity }, false],
  ] as const)("%j is hard: %s", async (write, hard) => {
    const { tagCache, epochs } = setUp()
    await tagCache.writeTags([write])
    expect(epochs.events.at(-1)).toMatchObject({ kind: "tags", values: ["a"], hard })
  })

  it("goes on with the others when one was not recorded, and then throws", async () => {
    const { tagCache, epochs } = setUp({ namespace: (tag) => tag })
    const publish = epochs.publish.bind(epochs)
    epochs.publish = async (what) => {
      if ("namespace" in what && what.namespace === "a") throw new Error("refused")
      return publish(what)
    }
    await expect(tagCache.writeTags(["a", "b"])).rejects.toThrow("refused")
    expect(epochs.events.at(-1)).toMatchObject({ namespace: "b" })
  })
})

describe("urls", () => {
  it.each([
    ["/a", "/a"],
    ["a/b", "/a/b"],
    ["/index", "/"],
    ["/", "/"],
    ["/naïve", "/na%C3%AFve"],
    [`/route-cache/APP_PAGE/${"0".repeat(64)}/$/a`, "/a"],
    [`/route-cache/PAGES/${"a".repeat(64)}/$/index`, "/"],
    [`/route-cache/PAGES/${"a".repeat(64)}/$/index/index/a`, "/index/a"],
  ])("of the key %s are those of %s", async (key, path) => {
    const { fill, look, publish } = setUp({ origin: ["https://other.example.com", `${ORIGIN}/base/`] })
    await fill(key, page("a"))
    publish({ kind: "urls", namespace: "site", values: [`https://other.example.com${path}`] })
    expect(await look(key, ["a"])).toBe("stale")
    await fill(key, page("a"))
    publish({ kind: "urls", namespace: "site", values: [`${ORIGIN}/base${path}`] })
    expect(await look(key, ["a"])).toBe("stale")
    await fill(key, page("a"))
    publish({ kind: "urls", namespace: "site", values: [`${ORIGIN}${path}`] })
    expect(await look(key, ["a"])).toBe("hit")
  })

  it("to be purged are of the site alone, whatever a path looks like", async () => {
    const { cdnInvalidation, epochs } = setUp({ origin: `${ORIGIN}/base` })
    await cdnInvalidation.invalidatePaths([
      { initialPath: "//evil.example.com/a", rawPath: "b", resolvedRoutes: [] },
    ])
    expect(epochs.events.at(-1)).toMatchObject({
      kind: "urls",
      hard: true,
      values: [`${ORIGIN}//evil.example.com/a`, `${ORIGIN}/b`],
    })
  })
})

describe("without stamps", () => {
  function setUpUnfenced() {
    const clock = new Clock()
    const epochs = new ModelStore(clock)
    epochs.record({ kind: "everything", namespace: "" })
    const tidemark = createTidemark({ store: epochs, ttl: 0, maxStale: 0, now: clock.now })
    const { tagCache } = createOpenNextCaches({ tidemark, namespace: "site", origin: ORIGIN })
    return { clock, epochs, tagCache }
  }

  it("entries are judged by the time of their writing, to the microsecond of an epoch", async () => {
    const { clock, epochs, tagCache } = setUpUnfenced()
    const written = clock.time + 1
    clock.time += 1
    expect(await tagCache.hasBeenRevalidated(["a"], written)).toBe(false)
    epochs.record({ kind: "tags", namespace: "site", values: ["a"], hard: true })
    // In the same millisecond nothing tells which was first; the first epoch of it is not above its beginning.
    expect(await tagCache.hasBeenRevalidated(["a"], written)).toBe(false)
    epochs.record({ kind: "tags", namespace: "site", values: ["a"], hard: true })
    expect(await tagCache.hasBeenRevalidated(["a"], written)).toBe(true)
    expect(await tagCache.hasBeenRevalidated(["a"], written + 1)).toBe(false)
  })

  it("a soft one makes them stale, where OpenNext asks", async () => {
    const { clock, epochs, tagCache } = setUpUnfenced()
    const written = clock.time
    clock.time += 1
    epochs.record({ kind: "tags", namespace: "site", values: ["a"] })
    expect(await tagCache.hasBeenRevalidated(["a"], written)).toBe(false)
    expect(await tagCache.isStale(["a"], written)).toBe(true)
    expect(await tagCache.isStale(["b"], written)).toBe(false)
    globals["nextVersion"] = "15.5.30"
    expect(await tagCache.hasBeenRevalidated(["a"], written)).toBe(true)
  })

  it("`use cache` is told when anything was last invalidated", async () => {
    const { clock, epochs, tagCache } = setUpUnfenced()
    clock.time += 1
    const { epoch } = epochs.record({ kind: "tags", namespace: "site", values: ["a"] })
    expect(await tagCache.getLastRevalidated(["b"])).toBe(epoch / 1_000)
    epochs.away = true
    clock.time += 1
    expect(await tagCache.getLastRevalidated(["b"])).toBe(Number.MAX_SAFE_INTEGER)
    expect(await tagCache.hasBeenRevalidated(["b"], clock.time)).toBe(true)
  })
})

describe("an incremental cache that does not answer", () => {
  const never = () => new Promise<never>(() => undefined)
  const setUpSlow = (slow: "get" | "set" | "delete") => {
    const errors: unknown[] = []
    const system = setUp({ storageTimeout: 20, onError: (error) => errors.push(error) })
    system.inner[slow] = never
    return { ...system, errors }
  }

  it("is a miss, and its outage is told once", async () => {
    const { cache, errors } = setUpSlow("get")
    for (let visit = 0; visit < 3; visit += 1) expect(await within(() => cache.get("/a"))).toBeNull()
    expect(String(errors)).toBe("Error: The storage did not answer within 20 ms")
  })

  it("as one that fails is", async () => {
    const { cache, errors, inner } = setUpSlow("get")
    inner.get = () => Promise.reject(new Error("down"))
    for (let visit = 0; visit < 3; visit += 1) expect(await within(() => cache.get("/a"))).toBeNull()
    expect(errors).toEqual([new Error("down")])
  })

  it("has no page wait for what is written, which goes on", async () => {
    for (const slow of ["set", "delete"] as const) {
      const { cache, inner } = setUpSlow(slow)
      const writing = never()
      inner[slow] = () => writing
      const kept: Promise<unknown>[] = []
      const request = { waitUntil: (promise: Promise<unknown>) => void kept.push(promise) }
      await within(async () => {
        await cache.get("/a")
        await (slow === "set" ? cache.set("/a", page("post")) : cache.delete("/a"))
      }, request)
      expect(kept).toContain(writing)
    }
  })

  it("still has what fails in time reject, as OpenNext logs it", async () => {
    const { cache, inner } = setUpSlow("set")
    inner.set = () => Promise.reject(new Error("full"))
    const storing = within(async () => {
      await cache.get("/a")
      await cache.set("/a", page("post"))
    })
    await expect(storing).rejects.toThrow("full")
  })

  it("is refused a timeout that is none", () => {
    expect(() => setUp({ storageTimeout: 0 })).toThrow(RangeError)
  })
})
