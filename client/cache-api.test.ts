import { type ExecutionContext, Hono } from "hono"
import { describe, expect, it } from "vitest"
import { epochCache } from "./hono.ts"
import { cacheApiL2, cacheApiLookups } from "./l2.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

const TTL = 5_000

let opened = 0
/** A real cache that no other test uses. */
const ownCache = () => caches.open(`test-${(opened += 1)}`)

/** An answer of the store, as old as told. */
const lookupAt = async (asOf: number, generation = 1) => {
  const store = new ModelStore(new Clock())
  const lookup = await store.lookup(new Map([["shop/books", { tags: [], urls: [] }]]))
  return { ...lookup, generation, asOf }
}

/** An app behind the middleware, over a real cache. */
async function setUp() {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const tidemark = createTidemark({ store, now: clock.now })
  const background: Promise<unknown>[] = []
  const executionCtx: ExecutionContext = {
    waitUntil: (promise) => void background.push(promise),
    passThroughOnException: () => undefined,
    props: {},
  }
  const app = new Hono()
  let visits = 0
  const many = Array.from({ length: 150 }, (_, index) => `post-number-${index}`)
  app.use(epochCache({ tidemark, namespace: "blog", app, tags: () => many, cache: await ownCache() }))
  app.get("*", (c) => {
    visits += 1
    return c.html(`<p>v${visits}</p>`.repeat(10_000), 200, {
      "cache-control": "public, max-age=1",
      vary: "Accept-Encoding",
    })
  })
  const visit = async () => {
    const response = await app.fetch(new Request("https://www.example.com/ä?b=c"), {}, executionCtx)
    const body = await response.text()
    while (background.length > 0) await background.shift()
    return {
      response,
      version: /v\d+/.exec(body)?.[0],
      length: body.length,
      how: response.headers.get("cache-status"),
    }
  }
  return { clock, store, visit }
}

const names = (response: Response) =>
  [...response.headers.keys()].filter((name) => name !== "content-length").toSorted()

if (!("caches" in globalThis))
  console.info("Skipped: this runtime has no Cache API; in workerd these tests run.")

describe.runIf("caches" in globalThis)("with the real Cache API (workerd; Node has none)", () => {
  describe("a cache of look-ups", () => {
    it("gives back what was put", async () => {
      const l2 = cacheApiLookups(await ownCache(), "https://epochs.tidemark.invalid/t1")
      expect(await l2.get("shop/books")).toBeUndefined()
      const lookup = await lookupAt(1_000)
      await l2.put("shop/books", lookup, 60_000)
      expect(await l2.get("shop/books")).toEqual(lookup)
      expect(await l2.get("shop")).toBeUndefined()
    })

    it("skips a late put of an older answer, and not one of another generation", async () => {
      const l2 = cacheApiLookups(await ownCache(), "https://epochs.tidemark.invalid/")
      await l2.put("shop/books", await lookupAt(2_000), 60_000)
      await l2.put("shop/books", await lookupAt(1_000), 60_000)
      expect((await l2.get("shop/books"))?.asOf).toBe(2_000)
      await l2.put("shop/books", await lookupAt(1_500, 2), 60_000)
      expect((await l2.get("shop/books"))?.generation).toBe(2)
    })

    it("parts tenants by their base", async () => {
      const cache = await ownCache()
      await cacheApiLookups(cache, "https://epochs.tidemark.invalid/t1").put(
        "shop",
        await lookupAt(1_000),
        60_000,
      )
      expect(await cacheApiLookups(cache, "https://epochs.tidemark.invalid/t2").get("shop")).toBeUndefined()
    })

    it("lets a cold isolate answer while the store is away", async () => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      store.record({ kind: "everything", namespace: "" })
      const l2 = cacheApiL2(await ownCache(), "https://epochs.tidemark.invalid/")
      const reader = () => createTidemark({ store, l2, now: clock.now })
      const kept: Promise<unknown>[] = []
      const { stamp } = await reader().begin("blog", { waitUntil: (promise) => void kept.push(promise) })
      await Promise.all(kept)
      store.away = true
      clock.time += 60_000
      expect((await reader().judge(stamp, "blog")).verdict).toBe("fresh")
      clock.time += 1
      expect((await reader().judge(stamp, "blog")).verdict).toBe("unknown")
    })
  })

  describe("pages", () => {
    it("are kept whole, with their headers", async () => {
      const { visit } = await setUp()
      const first = await visit()
      const second = await visit()
      expect(second).toMatchObject({ version: "v1", length: first.length, how: "tidemark; hit" })
      expect(names(second.response)).toEqual(names(first.response))
      expect(second.response.headers.get("cache-control")).toBe("public, max-age=1")
      expect(second.response.headers.get("cache-tag")).toBe(first.response.headers.get("cache-tag"))
    })

    it("outlive their own max-age, for their stamp decides", async () => {
      const { visit } = await setUp()
      await visit()
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      expect((await visit()).how).toBe("tidemark; hit")
    })

    it("after a purge are made anew; after a soft invalidation served once more, and then new", async () => {
      const { visit, store, clock } = await setUp()
      await visit()
      clock.time += 1
      store.record({ kind: "tags", namespace: "blog", values: ["post-number-7"], hard: true })
      clock.time += 2 * TTL
      expect(await visit()).toMatchObject({
        version: "v2",
        how: "tidemark; fwd=stale; detail=purged; stored",
      })
      expect(await visit()).toMatchObject({ version: "v2", how: "tidemark; hit" })
      clock.time += 1
      store.record({ kind: "urls", namespace: "blog", values: ["https://www.example.com/%C3%A4?b=c"] })
      clock.time += 2 * TTL
      expect(await visit()).toMatchObject({
        version: "v2",
        how: "tidemark; hit; detail=stale-while-revalidate",
      })
      expect(await visit()).toMatchObject({ version: "v3", how: "tidemark; hit" })
    })
  })

  it("is found without being given: the default one", async () => {
    const store = new ModelStore(new Clock())
    const app = new Hono()
    const tidemark = createTidemark({ store })
    app.use(epochCache({ tidemark, namespace: "default-cache" }))
    app.get("*", (c) => c.text("page"))
    const background: Promise<unknown>[] = []
    const executionCtx: ExecutionContext = {
      waitUntil: (promise) => void background.push(promise),
      passThroughOnException: () => undefined,
      props: {},
    }
    const seen: (string | null)[] = []
    for (let visit = 0; visit < 2; visit += 1) {
      const response = await app.fetch(new Request("https://www.example.com/default"), {}, executionCtx)
      await response.text()
      await Promise.all(background)
      seen.push(response.headers.get("cache-status"))
    }
    expect(seen).toEqual(["tidemark; fwd=uri-miss; stored", "tidemark; hit"])
  })
})
