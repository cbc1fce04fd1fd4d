import { describe, expect, it } from "vitest"
import { cacheApiLookups } from "./l2.ts"
import { MapCache } from "./testing/map-cache.ts"
import { answerAt } from "./testing/model-store.ts"

const BASE = "https://epochs.tidemark.invalid/shop"
const lookupAt = (asOf: number) => answerAt([], new Map([["blog", { tags: [], urls: [] }]]), asOf)

describe("cacheApiLookups", () => {
  it("keeps the newer answer when an older one is put late", async () => {
    const l2 = cacheApiLookups(new MapCache(), BASE)
    await l2.put("blog", lookupAt(2_000), 60_000)
    await l2.put("blog", lookupAt(1_999), 60_000)
    expect((await l2.get("blog"))?.asOf).toBe(2_000)
    await l2.put("blog", lookupAt(2_001), 60_000)
    expect((await l2.get("blog"))?.asOf).toBe(2_001)
  })

  it("keeps it for as long as was said, under the base that was given", async () => {
    const cache = new MapCache()
    await cacheApiLookups(cache, BASE).put("shop/books", lookupAt(1), 60_000)
    const [[url, response] = []] = cache.kept
    expect(url).toBe(`${BASE}/v1/shop%2Fbooks`)
    expect(response?.headers.get("cache-control")).toBe("max-age=60")
  })

  it("has nothing where somebody else wrote", async () => {
    const cache = new MapCache()
    await cache.put(`${BASE}/v1/blog`, Response.json({ something: "else" }))
    expect(await cacheApiLookups(cache, BASE).get("blog")).toBeUndefined()
  })
})
