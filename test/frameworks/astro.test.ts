import type { CacheProvider, CacheProviderFactory } from "astro"
import memoryProvider from "astro/cache/memory"
import { describe, expect, it, vi } from "vitest"
import provideEpochCache, { epochCacheProvider, type EpochProviderOptions } from "../../client/astro.ts"
import { MapCache } from "../../client/testing/map-cache.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark, type TidemarkOptions } from "../../client/tidemark.ts"
// Astro's own, which its apps run requests through; it is not exported.
import { handleCache } from "./node_modules/astro/dist/core/cache/handler.js"
import { AstroCache } from "./node_modules/astro/dist/core/cache/runtime/cache.js"
import { AstroCookies } from "./node_modules/astro/dist/core/cookies/cookies.js"
import { attachCookiesToResponse } from "./node_modules/astro/dist/core/cookies/response.js"

const TTL = 5_000
const TRIES = 1_000
const SITE = "https://www.example.com"

type Cache = InstanceType<typeof AstroCache>
type Page = (cache: Cache, request: Request) => Response | Promise<Response>

/** A site behind a provider, run through Astro's own handler of caches. */
function astro(
  factory: CacheProviderFactory | (() => CacheProvider),
  page: Page,
  config?: Record<string, unknown>,
) {
  const background: Promise<unknown>[] = []
  const warnings: string[] = []
  const provider = factory(config)
  const manifest = { cacheProvider: async () => ({ default: () => provider }), cacheConfig: {} }
  const open = (path = "/a", init?: RequestInit): Promise<Response> => {
    const request = new Request(SITE + path, init)
    const cache = new AstroCache(provider)
    const state = {
      manifest,
      request,
      resolve: () => cache,
      renderOptions: { waitUntil: (promise: Promise<unknown>) => void background.push(promise) },
      logger: {
        info: () => undefined,
        warn: (_: string, text: string) => void warnings.push(text),
        error: () => undefined,
      },
    }
    return handleCache(state as never, async () => page(cache, request))
  }
  const idle = async () => {
    await new Promise((resolve) => setTimeout(resolve, 0))
    while (background.length > 0) await background.shift()
  }
  /** What a visitor sees: the body, and what the cache says of itself. */
  const visit = async (path?: string, init?: RequestInit) => {
    const response = await open(path, init)
    const text = await response.text()
    const status = response.headers.get("cache-status") ?? response.headers.get("x-astro-cache")
    await idle()
    return `${text} | ${status}`
  }
  return { provider, open, visit, idle, warnings }
}

interface SetUp extends Partial<EpochProviderOptions> {
  readonly reader?: Partial<TidemarkOptions>
  readonly page?: (cache: Cache, count: number) => Response | Promise<Response>
}

function setUp({ reader, page, ...options }: SetUp = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const tidemark = createTidemark({ store, now: clock.now, random: () => 0, ...reader })
  const cache = new MapCache()
  let count = 0
  const site = astro(epochCacheProvider({ tidemark, namespace: "blog", cache, ...options }), (own) => {
    count += 1
    if (page) return page(own, count)
    own.set({ tags: ["post-1"] })
    return new Response(`v${count}`)
  })
  return { clock, store, tidemark, cache, ...site, count: () => count }
}

describe("Astro's cache on tidemark", () => {
  it("is a provider that Astro takes", () => {
    const { tidemark } = setUp()
    const factories: CacheProviderFactory[] = [
      epochCacheProvider({ tidemark, namespace: "blog" }),
      provideEpochCache as CacheProviderFactory,
    ]
    expect(factories).toHaveLength(2)
  })

  it("keeps a page that said so, and shows nobody how it knows", async () => {
    const { visit, open, count } = setUp()
    expect(await visit()).toBe("v1 | tidemark; fwd=uri-miss; stored")
    expect(await visit()).toBe("v1 | tidemark; hit")
    expect(await visit("/b")).toBe("v2 | tidemark; fwd=uri-miss; stored")
    expect(count()).toBe(2)
    const names = [...(await open()).headers.keys()]
    expect(names).toEqual(["cache-status", "content-type"])
  })

  it.each([
    ["said nothing", () => new Response("page")],
    ["said no", (cache: Cache) => (cache.set({ maxAge: 60 }), cache.set(false), new Response("page"))],
    [
      "is private",
      (cache: Cache) => (
        cache.set({ maxAge: 60 }),
        new Response("page", { headers: { "cache-control": "private" } })
      ),
    ],
    [
      "sets a cookie",
      (cache: Cache) => (
        cache.set({ maxAge: 60 }),
        new Response("page", { headers: { "set-cookie": "a=1" } })
      ),
    ],
    [
      "sets a cookie through Astro",
      (cache: Cache) => {
        cache.set({ maxAge: 60 })
        const response = new Response("page")
        const cookies = new AstroCookies(new Request(SITE), { warn: () => undefined })
        cookies.set("session", "1")
        attachCookiesToResponse(response, cookies)
        return response
      },
    ],
  ])("keeps no page that %s", async (_, page) => {
    const { visit, count } = setUp({ page })
    await visit()
    await visit()
    expect(count()).toBe(2)
  })

  it("keeps a page that browsers are to ask for each time, and tells them so", async () => {
    const { open, idle, count } = setUp({
      page: (cache) => {
        cache.set({ tags: ["post-1"], etag: '"1"' })
        return new Response("page")
      },
    })
    for (let visit = 0; visit < 2; visit += 1) {
      const { headers } = await open()
      expect([headers.get("etag"), headers.get("cache-control")]).toEqual([
        '"1"',
        "max-age=0, must-revalidate",
      ])
      await idle()
    }
    expect(count()).toBe(1)
  })

  it("keeps a page for maxAge, and for swr longer while it is made once more", async () => {
    const now = vi.spyOn(Date, "now").mockReturnValue(0)
    const { visit, cache } = setUp({
      page: (own, count) => {
        own.set({ maxAge: 60, swr: 30 })
        return new Response(`v${count}`)
      },
    })
    await visit()
    expect([...cache.kept.values()][0]?.headers.get("cache-control")).toBe("max-age=360")
    now.mockReturnValue(59_999)
    expect(await visit()).toBe("v1 | tidemark; hit")
    now.mockReturnValue(60_000)
    expect(await visit()).toBe("v1 | tidemark; hit; detail=stale-while-revalidate")
    expect(await visit()).toBe("v2 | tidemark; hit")
    now.mockRestore()
  })

  it.each([0, -60, Number.NaN, Infinity, "soon", null])(
    "with a maxAge of %j never counts a page as fresh",
    async (maxAge) => {
      const { visit } = setUp({
        page: (cache, count) => {
          cache.set({ maxAge, tags: ["post-1"] } as never)
          return new Response(`v${count}`)
        },
      })
      await visit()
      expect(await visit()).toMatch(/^v2 \| tidemark; fwd=/)
    },
  )

  it.each([
    ["a tag", { tags: "post-1" }],
    ["tags", { tags: ["other", "post-1"] }],
    ["its path", { path: "/a" }],
  ])("invalidated by %s is made anew, never served again", async (_, what) => {
    const { provider, visit } = setUp()
    await visit()
    await provider.invalidate({ tags: ["post-2"], path: "/b" })
    await provider.invalidate({})
    await provider.invalidate({ tags: [] })
    expect(await visit()).toBe("v1 | tidemark; hit")
    await provider.invalidate(what)
    expect(await visit()).toBe("v2 | tidemark; fwd=stale; detail=purged; stored")
    expect(await visit()).toBe("v2 | tidemark; hit")
  })

  it("invalidated softly is served old while it is made once more, and then new", async () => {
    const gate = Promise.withResolvers<void>()
    const { provider, open, visit, count, idle } = setUp({
      mode: "invalidate",
      page: async (cache, visits) => {
        cache.set({ tags: ["post-1"] })
        if (visits === 2) await gate.promise
        return new Response(`v${visits}`)
      },
    })
    await visit()
    await provider.invalidate({ tags: "post-1" })
    for (let visitor = 0; visitor < 3; visitor += 1) {
      const response = await open()
      expect(await response.text()).toBe("v1")
      expect(response.headers.get("cache-control")).toBe("no-store")
    }
    gate.resolve()
    await idle()
    expect(count()).toBe(2)
    expect(await visit()).toBe("v2 | tidemark; hit")
  })

  it("publishes the url of a path where it knows the site, and asks pages by it", async () => {
    const { provider, store, visit, clock } = setUp({ site: "https://blog.example.com" })
    await visit("/a?page=2")
    await provider.invalidate({ path: "/a" })
    const published = store.events.filter(({ kind }) => kind === "tags" || kind === "urls")
    expect(published.map(({ kind, values }) => [kind, values])).toEqual([
      ["tags", ["astro-path:/a"]],
      ["urls", ["https://blog.example.com/a"]],
    ])
    expect(await visit("/a?page=2")).toContain("fwd=stale")
    store.record({
      kind: "urls",
      namespace: "blog",
      values: ["https://blog.example.com/a?page=2"],
      hard: true,
    })
    clock.time += 2 * TTL
    expect(await visit("/a?page=2")).toContain("fwd=stale")
  })

  /** A page that is being made while it is invalidated; what the next visitor sees, once it is there. */
  async function race(factory: () => CacheProvider, isHard: boolean) {
    const began = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    let text = "old"
    const site = astro(factory, async (cache) => {
      const read = text
      began.resolve()
      await gate.promise
      cache.set({ maxAge: 3_600, swr: 60, tags: ["post-1"] })
      return new Response(read)
    })
    const first = site.visit()
    await began.promise
    text = "new"
    await site.provider.invalidate({ tags: ["post-1"] })
    gate.resolve()
    await first
    if (!isHard) await site.visit()
    return (await site.visit()).split(" | ")[0]
  }

  it("never serves as fresh what was made before an invalidation and kept after it; Astro's own does", async () => {
    const stale = { tidemark: 0, memory: 0 }
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const isHard = attempt % 2 === 0
      const clock = new Clock()
      const store = new ModelStore(clock)
      store.record({ kind: "everything", namespace: "" })
      const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
      const mode = isHard ? "purge" : "invalidate"
      const own = epochCacheProvider({ tidemark, namespace: "blog", mode, cache: new MapCache() })
      if ((await race(own, isHard)) === "old") stale.tidemark += 1
      const stock = await race(() => (memoryProvider as CacheProviderFactory)({}), true)
      if (stock === "old") stale.memory += 1
    }
    expect(stale).toEqual({ tidemark: 0, memory: TRIES })
  })

  it("keeps what is made at once after an invalidation, and sees the next in the same millisecond", async () => {
    const { provider, visit, store } = setUp()
    await visit()
    for (let round = 1; round <= 3; round += 1) {
      await provider.invalidate({ tags: "post-1" })
      expect(store.last % 1_000).toBe(round)
      expect(await visit()).toContain(`v${round + 1} | tidemark; fwd=stale`)
      expect(await visit()).toBe(`v${round + 1} | tidemark; hit`)
    }
  })

  it.each([3_600_000, -3_600_000])(
    "with a clock that is %d ms off neither serves old nor misses for ever",
    async (skew) => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      store.skew = -skew
      store.record({ kind: "everything", namespace: "" })
      const { visit } = setUp({ tidemark: createTidemark({ store, now: clock.now, random: () => 0 }) })
      for (let round = 1; round <= 3; round += 1) {
        expect(await visit()).toContain(`v${round} | tidemark; fwd=`)
        expect(await visit()).toBe(`v${round} | tidemark; hit`)
        store.record({ kind: "tags", namespace: "blog", values: ["post-1"], hard: true })
        clock.time += 2 * TTL
      }
    },
  )

  it.each([
    null,
    "",
    "{",
    "5",
    "{}",
    '{"stamp":"1.1"}',
    '{"stamp":"1.1","depends":{"tags":5}}',
    '{"stamp":"17.1800000000000000","depends":{}}',
  ])("takes a copy for a miss whose entry is %j", async (entry) => {
    const { visit, cache } = setUp()
    await visit()
    for (const copy of cache.kept.values()) {
      if (entry === null) copy.headers.delete("tidemark-entry")
      else copy.headers.set("tidemark-entry", entry)
    }
    expect(await visit()).toContain("v2 | tidemark; fwd=")
    expect(await visit()).toBe("v2 | tidemark; hit")
  })

  it("takes tags that are none for what they are: nobody can invalidate by them", async () => {
    const { visit, provider } = setUp({
      page: (cache, count) => {
        cache.set({ tags: ["", "x".repeat(5_000), "post-1"] })
        return new Response(`v${count}`)
      },
    })
    await visit()
    expect(await visit()).toBe("v1 | tidemark; hit")
    await provider.invalidate({ tags: "post-1" })
    expect(await visit()).toContain("v2")
  })

  it("goes by what is known while the store is away, then past the cache", async () => {
    const { visit, store, clock } = setUp()
    await visit()
    store.away = true
    clock.time += 50_000
    expect(await visit()).toBe("v1 | tidemark; hit")
    clock.time += 20_000
    expect(await visit()).toBe("v2 | tidemark; fwd=bypass; detail=epochs-unknown")
    store.away = false
    clock.time += 5_000
    expect(await visit()).toBe("v1 | tidemark; hit")
  })

  it("keeps one page whatever the order of its parameters, and sees the one that is published", async () => {
    const { visit, store, clock } = setUp()
    expect(await visit("/?b=2&a=1")).toContain("stored")
    expect(await visit("/?a=1&b=2")).toContain("tidemark; hit")
    store.record({ kind: "urls", namespace: "blog", values: [`${SITE}/?a=1&b=2`], hard: true })
    clock.time += 10_000
    expect(await visit("/?b=2&a=1")).toContain("purged")
  })

  it("keeps pages in memory where the runtime has no Cache API, and tells of trouble through Astro", async () => {
    const clock = new Clock()
    const store = new ModelStore(clock)
    store.record({ kind: "everything", namespace: "" })
    const tidemark = createTidemark({ store, now: clock.now })
    const { visit } = astro(epochCacheProvider({ tidemark, namespace: "blog" }), (cache) => {
      cache.set({ maxAge: 60 })
      return new Response("page")
    })
    await visit()
    expect(await visit()).toBe("page | tidemark; hit")
    const failing = setUp({
      cache: Object.assign(new MapCache(), { put: async () => Promise.reject(new Error("full")) }),
    })
    expect(await failing.visit()).toBe("v1 | tidemark; fwd=uri-miss; stored")
    expect(failing.warnings).toEqual(["tidemark: put-failed: Error: full"])
  })
})

describe("the provider from astro.config", () => {
  const config = { url: "https://tidemark.example.com", namespace: "blog" }

  it("reads its token by name, and looks epochs up at the Worker", async () => {
    vi.stubEnv("SITE_TOKEN", "secret")
    const asked = vi.spyOn(globalThis, "fetch").mockImplementation(async () => {
      const namespaces = { blog: { epoch: 1, watermark: 1, hard: 0, floor: 0, tags: {}, urls: {} } }
      return Response.json({ tenant: "default", generation: 1, last: 1, asOf: Date.now(), namespaces })
    })
    const { visit } = astro(
      provideEpochCache as CacheProviderFactory,
      (cache) => (cache.set({ maxAge: 60 }), new Response("page")),
      { ...config, token: "SITE_TOKEN", ttl: 1_000 },
    )
    expect(await visit()).toContain("tidemark; fwd=uri-miss; stored")
    expect(await visit()).toBe("page | tidemark; hit")
    const [url, init] = asked.mock.calls[0] ?? []
    expect(url).toContain("https://tidemark.example.com/v1/epochs?ns=blog")
    expect(new Headers(init?.headers).get("authorization")).toBe("Bearer secret")
    vi.unstubAllEnvs()
    asked.mockRestore()
  })

  it.each([
    [undefined, "url is missing"],
    [{ namespace: "blog" }, "url is missing"],
    [{ url: "https://tidemark.example.com" }, "namespace is missing"],
    [{ ...config, token: "NO_SUCH_TOKEN" }, "the environment variable NO_SUCH_TOKEN is missing"],
  ])("says what is missing in %j", (wrong, message) => {
    expect(() => provideEpochCache(wrong as never)).toThrow(message)
  })
})
