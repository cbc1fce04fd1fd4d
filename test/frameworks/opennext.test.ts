import { AsyncLocalStorage } from "node:async_hooks"
import type {
  CDNInvalidationHandler,
  IncrementalCache,
  NextModeTagCache,
} from "@opennextjs/aws/types/overrides.js"
import { defineCloudflareConfig } from "@opennextjs/cloudflare"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { createOpenNextCaches, type OpenNextOptions } from "../../client/opennext.ts"
import { MapCache } from "../../client/testing/map-cache.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark } from "../../client/tidemark.ts"
import { type DrivenCaches, startDrivenCaches } from "./opennext/serve.ts"
import { kvCache, type Make, openNext, openSite } from "./opennext/site.ts"
import type { Kind } from "./opennext/worker.ts"

const TTL = 5_000
const HOUR = 3_600_000
const TRIES = 1_000
const ORIGIN = "https://www.example.com"

/** Several isolates share what the incremental cache holds; each test uses slugs of its own. */
let tests = 0

interface SetUp extends Partial<OpenNextOptions> {
  readonly ttl?: number
  /** How far the reader's clock is off. */
  readonly skew?: number
  readonly make?: Make
  readonly inner?: IncrementalCache
  readonly interception?: boolean
}

function setUp({ ttl = TTL, skew = 0, make, inner = kvCache, interception = true, ...options }: SetUp = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  tests += 1
  const slug = `page-${tests}`
  const page = { says: "first", made: 0, during: async () => {} }
  const ordinary: Make = async () => {
    page.made += 1
    const body = page.says
    await page.during()
    return { body, tags: ["post"] }
  }
  const isolate = () => {
    const caches = createOpenNextCaches({
      tidemark: createTidemark({ store, ttl, now: () => clock.time + skew, random: () => 0 }),
      namespace: "site",
      origin: ORIGIN,
      ...options,
    })
    const incrementalCache = caches.incrementalCache(inner)
    return {
      ...caches,
      ...openSite({ incrementalCache, tagCache: caches.tagCache }, make ?? ordinary, { interception }),
    }
  }
  const site = isolate()
  /** Published by somebody else: readers hear of it within `2 * ttl`. */
  const publish = (tag: string, hard: boolean) => {
    clock.time += 1
    store.record({ kind: "tags", namespace: "site", values: [tag], hard })
    clock.time += 2 * ttl
  }
  return { clock, store, slug, page, site, isolate, publish, visit: () => site.visit(slug) }
}

/** OpenNext's own caches behind the same server. */
function setUpStock() {
  tests += 1
  const page = { says: "first", during: async () => {} }
  const site = openSite({ incrementalCache: kvCache, tagCache: openNext.devTagCache }, async () => {
    const body = page.says
    await page.during()
    return { body, tags: [`stock-${tests}`] }
  })
  const revalidate = () => site.within(() => site.fetchCache.revalidateTag(`stock-${tests}`))
  return { page, site, slug: `stock-${tests}`, revalidate }
}

/** OpenNext's own caches go by the host's clock: what follows is not in the same millisecond. */
const pass = () => new Promise((resolve) => setTimeout(resolve, 2))

describe("the types of OpenNext", () => {
  it("take the caches", () => {
    const caches = createOpenNextCaches({
      tidemark: () => createTidemark({ store: new ModelStore(new Clock()) }),
      namespace: "site",
      origin: ORIGIN,
    })
    const tagCache: NextModeTagCache = caches.tagCache
    const cdnInvalidation: CDNInvalidationHandler = caches.cdnInvalidation
    const incrementalCache: IncrementalCache = caches.incrementalCache(kvCache)
    const config = defineCloudflareConfig({ incrementalCache, tagCache, cachePurge: cdnInvalidation })
    expect(config.default.override?.tagCache).toBeTypeOf("function")
  })
})

describe("a page that was read before an invalidation and stored after it", () => {
  it("is never served afterwards: as Next.js fills it on a miss", async () => {
    const { site, store, clock, page, slug } = setUp({ ttl: 0 })
    let old = 0
    for (let nth = 0; nth < TRIES; nth += 1) {
      page.says = "old"
      // By turns from this isolate, by `revalidateTag`, and from elsewhere; the clock stands still meanwhile.
      page.during = async () => {
        if (nth % 2 === 0) await site.within(() => site.fetchCache.revalidateTag("post"))
        else store.record({ kind: "tags", namespace: "site", values: ["post"], hard: nth % 4 === 1 })
      }
      await site.visit(`${slug}-${nth}`)
      page.says = "new"
      page.during = async () => {}
      const seen = await site.visit(`${slug}-${nth}`)
      // Softly invalidated, it may be served until it is made anew.
      if (seen === "old STALE") await site.revalidate()
      else if (seen.startsWith("old")) old += 1
      if (!(await site.visit(`${slug}-${nth}`)).startsWith("new HIT")) old += 1
    }
    expect(old).toBe(0)
    expect(clock.time).toBe(new Clock().time)
  })

  it("is never served afterwards: as the queue has it made anew, in another isolate", async () => {
    const { site, isolate, store, page, slug } = setUp({ ttl: 0 })
    const other = isolate()
    let old = 0
    for (let nth = 0; nth < TRIES; nth += 1) {
      await site.visit(`${slug}-${nth}`)
      store.record({ kind: "tags", namespace: "site", values: ["post"] })
      expect(await site.visit(`${slug}-${nth}`)).toMatch(/STALE$/)
      page.says = "old"
      page.during = async () => {
        store.record({ kind: "tags", namespace: "site", values: ["post"], hard: true })
      }
      expect(await other.revalidate()).toBe(1)
      page.says = "new"
      page.during = async () => {}
      if ((await site.visit(`${slug}-${nth}`)) !== "new served") old += 1
    }
    expect(old).toBe(0)
  })

  it("is served by OpenNext's own caches, every time", async () => {
    const { page, site, slug, revalidate } = setUpStock()
    let old = 0
    for (let nth = 0; nth < TRIES; nth += 1) {
      page.says = "old"
      page.during = async () => {
        await revalidate()
        await pass()
      }
      await site.visit(`${slug}-${nth}`)
      page.says = "new"
      page.during = async () => {}
      if ((await site.visit(`${slug}-${nth}`)) === "old HIT") old += 1
    }
    expect(old).toBe(TRIES)
  })
})

describe("in workerd, over KV, D1 and Durable Objects", () => {
  let driven: DrivenCaches
  beforeAll(async () => {
    driven = await startDrivenCaches()
  })
  afterAll(() => driven.stop())

  it.each([
    ["d1", TRIES],
    ["do", TRIES],
    ["unfenced", TRIES],
    ["tidemark", 0],
  ] as const)("the race leaves the old page with %s in %i of 1,000 tries", async (kind, old) => {
    expect((await driven.carry({ do: "race", kind, tries: TRIES })).served).toBe(old)
  })

  it.each<[Kind, Record<number, number>]>([
    // Above 100 tags their queries fail, and they answer that nothing was revalidated.
    ["d1", { 1: 0, 100: 0, 101: 1, 128: 1 }],
    ["kv", { 1: 0, 100: 0, 101: 1, 128: 1 }],
    ["do", { 1: 0, 100: 0, 101: 0, 128: 0 }],
    ["unfenced", { 1: 0, 100: 0, 101: 0, 128: 0, 1_000: 0, 1_001: 0 }],
    ["tidemark", { 1: 0, 100: 0, 101: 0, 128: 0, 1_000: 0, 1_001: 0 }],
  ])(
    "%s: whether a page of so many tags is served after one of them was revalidated",
    async (kind, served) => {
      const seen: Record<number, number> = {}
      for (const tags of Object.keys(served).map(Number)) {
        seen[tags] = (await driven.carry({ do: "tags", kind, tags })).served
      }
      expect(seen).toEqual(served)
    },
  )
})

describe("a page", () => {
  it("is a hit once it is made, also for another isolate, and behind OpenNext's server", async () => {
    const { visit, isolate, slug, page } = setUp()
    expect(await visit()).toBe("first served")
    expect(await visit()).toBe("first HIT")
    expect(await isolate().visit(slug)).toBe("first HIT")
    expect(page.made).toBe(1)
    const { visit: visitServer, page: behind } = setUp({ interception: false })
    await visitServer()
    expect(await visitServer()).toBe("first served")
    expect(behind.made).toBe(1)
  })

  it("after a soft invalidation is served old until it is made anew, once", async () => {
    const { visit, publish, site, page } = setUp()
    await visit()
    publish("post", false)
    page.says = "new"
    for (let visits = 0; visits < 3; visits += 1) expect(await visit()).toBe("first STALE")
    expect(await site.revalidate()).toBe(3)
    expect(await visit()).toBe("new HIT")
  })

  it("after a soft invalidation is made at once where nobody can be told that it is stale", async () => {
    const server = setUp({ interception: false })
    await server.visit()
    server.publish("post", false)
    server.page.says = "new"
    expect(await server.visit()).toBe("new served")
    const { nextVersion } = globalThis as { nextVersion?: string }
    Object.assign(globalThis, { nextVersion: "15.5.30" })
    const older = setUp()
    await older.visit()
    older.publish("post", false)
    older.page.says = "new"
    expect(await older.visit()).toBe("new served")
    Object.assign(globalThis, { nextVersion })
  })

  it("is not served longer than `swr` after a soft invalidation, and after a hard one never", async () => {
    const { visit, publish, clock, page } = setUp({ swr: 30_000 })
    await visit()
    publish("post", false)
    expect(await visit()).toBe("first STALE")
    clock.time += 21_000
    page.says = "second"
    expect(await visit()).toBe("second served")
    publish("post", true)
    page.says = "third"
    expect(await visit()).toBe("third served")
    expect(await visit()).toBe("third HIT")
  })

  it.each([
    ["a tag of it", { kind: "tags", namespace: "site", values: ["post"] }, true],
    ["the tag of its path", { kind: "tags", namespace: "site", values: ["_N_T_/SLUG"] }, true],
    ["its url", { kind: "urls", namespace: "site", values: [`${ORIGIN}/SLUG`] }, true],
    ["its url with a slash", { kind: "urls", namespace: "site", values: [`${ORIGIN}/SLUG/`] }, true],
    ["its namespace", { kind: "namespace", namespace: "site" }, true],
    ["everything", { kind: "everything", namespace: "" }, true],
    ["another tag", { kind: "tags", namespace: "site", values: ["other"] }, false],
    ["another url", { kind: "urls", namespace: "site", values: [`${ORIGIN}/other`] }, false],
    ["another namespace", { kind: "namespace", namespace: "shop" }, false],
  ] as const)("invalidated by %s", async (_, event, concerned) => {
    const { visit, store, clock, slug } = setUp()
    await visit()
    clock.time += 1
    const values = "values" in event ? event.values.map((value) => value.replace("SLUG", slug)) : []
    store.record({ ...event, values })
    clock.time += 2 * TTL
    expect(await visit()).toBe(concerned ? "first STALE" : "first HIT")
    store.record({ ...event, values, hard: true })
    clock.time += 2 * TTL
    expect(await visit()).toBe(concerned ? "first served" : "first HIT")
  })

  it("sees a bump in the same millisecond as its stamp", async () => {
    const { visit, store, clock, page } = setUp({ ttl: 0 })
    for (const says of ["second", "third", "fourth"]) {
      page.says = says
      const { epoch } = store.record({ kind: "tags", namespace: "site", values: ["post"], hard: true })
      expect(Math.floor(epoch / 1_000)).toBe(clock.time)
      expect(await visit()).toBe(`${says} served`)
      expect(await visit()).toBe(`${says} HIT`)
    }
  })

  it.each([-HOUR, HOUR])(
    "by a clock that is off by %i ms is neither stale nor missed for ever",
    async (skew) => {
      const { visit, publish, page, site } = setUp({ skew })
      await visit()
      expect(await visit()).toBe("first HIT")
      for (const [hard, says] of [
        [true, "second"],
        [false, "third"],
      ] as const) {
        publish("post", hard)
        page.says = says
        const seen = await visit()
        if (seen.endsWith("STALE")) await site.revalidate()
        else expect(seen).toBe(`${says} served`)
        expect(hard && seen.endsWith("STALE")).toBe(false)
        expect(await visit()).toBe(`${says} HIT`)
      }
    },
  )

  it("is made for every visit while nothing is known of the epochs, and kept again afterwards", async () => {
    const { visit, store, clock, page } = setUp()
    await visit()
    store.away = true
    clock.time += 60_000
    expect(await visit()).toBe("first HIT")
    clock.time += 1
    page.says = "second"
    expect(await visit()).toBe("second served")
    page.says = "third"
    expect(await visit()).toBe("third served")
    store.away = false
    clock.time += 2 * TTL
    expect(await visit()).toBe("first HIT")
  })

  it("that could not be made anew keeps its stamp and its tags", async () => {
    const { visit, publish, site, page, slug } = setUp()
    await visit()
    publish("post", false)
    page.during = async () => {
      throw new Error("the origin is away")
    }
    expect(await visit()).toBe("first STALE")
    await site.revalidate()
    expect(await visit()).toBe("first STALE")
    // On demand, as by `res.revalidate()`: Next.js is handed the page while it is fresh.
    page.during = async () => {}
    await site.revalidate()
    expect(await visit()).toBe("first HIT")
    page.during = async () => {
      throw new Error("the origin is away")
    }
    await site.revalidateOnDemand(slug).catch(() => undefined)
    page.during = async () => {}
    page.says = "second"
    publish("post", true)
    expect(await visit()).toBe("second served")
  })

  it("is judged behind a regional cache too, whatever that one says of the tag cache", async () => {
    const regional = new MapCache()
    Object.assign(globalThis, { caches: { open: async () => regional } })
    const inner = openNext.withRegionalCache(kvCache, { mode: "long-lived", bypassTagCacheOnCacheHit: true })
    const { visit, publish, site, page, isolate, slug } = setUp({ inner })
    const other = isolate()
    await visit()
    expect(regional.kept.size).toBe(1)
    expect(await visit()).toBe("first HIT")
    publish("post", false)
    page.says = "second"
    expect(await visit()).toBe("first STALE")
    await other.revalidate()
    expect(await site.visit(slug)).toBe("second HIT")
    publish("post", true)
    page.says = "third"
    expect(await visit()).toBe("third served")
  })

  it("that a regional cache around ours keeps is made anew: its stamp cannot be found", async () => {
    const { slug, store, clock, page } = setUp()
    const caches = createOpenNextCaches({
      tidemark: createTidemark({ store, now: clock.now }),
      namespace: "site",
      origin: ORIGIN,
    })
    const regional = new MapCache()
    Object.assign(globalThis, { caches: { open: async () => regional } })
    const incrementalCache = openNext.withRegionalCache(caches.incrementalCache(kvCache), {
      mode: "short-lived",
      shouldLazilyUpdateOnCacheHit: false,
    })
    const site = openSite({ incrementalCache, tagCache: caches.tagCache }, async () => {
      page.made += 1
      return { body: "page" }
    })
    for (let visits = 1; visits <= 3; visits += 1) {
      expect(await site.visit(slug)).toBe("page served")
      expect(page.made).toBe(visits)
    }
  })
})

describe("what pages are made of", () => {
  const fetched = (body: string, tags: readonly string[]) => ({
    kind: "FETCH",
    data: { headers: {}, body, url: ORIGIN, status: 200, tags },
    revalidate: 3_600,
  })

  it.each([true, false])("of fetched data, what was invalidated (hard: %s) is not used", async (hard) => {
    const { site, slug, publish } = setUp()
    const ask = { kind: "FETCH", tags: ["post"], softTags: [`_N_T_/${slug}`] }
    const get = () => site.within(() => site.fetchCache.get(slug, ask))
    const fill = () =>
      site.within(async () => {
        await site.fetchCache.get(slug, ask)
        await site.fetchCache.set(slug, fetched("data", ["post"]), { fetchCache: true, tags: ["post"] })
      })
    await fill()
    expect(await get()).toMatchObject({ value: { data: { body: "data" } } })
    publish("post", hard)
    expect(await get()).toBeNull()
    await fill()
    expect(await get()).not.toBeNull()
    publish(`_N_T_/${slug}`, hard)
    expect(await get()).toBeNull()
  })

  it("is stored under the stamp of its request: where it was read without a look at the cache", async () => {
    const { site, slug, store, clock } = setUp()
    const ask = { kind: "FETCH", tags: ["post"], softTags: [] }
    const own = () => site.fetchCache.get(slug, ask)
    const put = () =>
      site.fetchCache.set(slug, fetched("old", ["post"]), { fetchCache: true, tags: ["post"] })
    // As on a revalidation on demand: the page is looked for, what it fetches is not.
    await site.within(async () => {
      await site.fetchCache.get(`/${slug}`, {})
      store.record({ kind: "tags", namespace: "site", values: ["post"] })
      await put()
    })
    clock.time += 2 * TTL
    expect(await site.within(own)).toBeNull()
    // Without any look there is no stamp, and nothing is stored.
    await site.within(put)
    expect(await site.within(own)).toBeNull()
    await site.within(async () => {
      await own()
      await put()
    })
    expect(await site.within(own)).not.toBeNull()
  })

  it.each([true, false])("of `use cache`, what was invalidated (hard: %s) is not used", async (hard) => {
    const { site, slug, publish } = setUp()
    const entry = () => ({
      value: new Blob(["made"]).stream(),
      tags: ["post"],
      stale: 300,
      timestamp: Date.now(),
      expire: 86_400,
      revalidate: 3_600,
    })
    /** As Next.js does: the entry, then once when the tags of its path were last invalidated. */
    const read = async () => {
      const found = await site.composable.get(slug)
      const expiration = await site.composable.getExpiration([`_N_T_/${slug}`])
      return found && found.timestamp > expiration ? "used" : "not used"
    }
    const fill = () =>
      site.within(async () => {
        const seen = await read()
        await site.composable.set(slug, Promise.resolve(entry()))
        return seen
      })
    await fill()
    expect(await site.within(read)).toBe("used")
    publish("post", hard)
    expect(await fill()).toBe("not used")
    expect(await site.within(read)).toBe("used")
    publish(`_N_T_/${slug}`, hard)
    expect(await fill()).toBe("not used")
    expect(await site.within(read)).toBe("used")
  })
})

describe("publishing", () => {
  it("`revalidateTag` as OpenNext hands it over: hard, or soft with a time to be stale that is long enough", async () => {
    const { site, store } = setUp()
    const published: [string, boolean][] = []
    for (const durations of [undefined, { expire: 0 }, { expire: 59 }, { expire: 60 }, {}]) {
      const before = store.events.length
      await site.within(() => site.fetchCache.revalidateTag("post", durations))
      for (const { values, hard } of store.events.slice(before)) published.push([values.join(), hard])
    }
    expect(published).toEqual([
      ["post", true],
      ["post", true],
      ["post", true],
      ["post", false],
      ["post", false],
    ])
  })

  it("a page that was made on demand is published by its urls, in both routers, and one of the queue is not", async () => {
    const { site, store } = setUp()
    Object.assign(globalThis, { cdnInvalidationHandler: site.cdnInvalidation })
    const event = (headers: Record<string, string>, type: string) => ({
      internalEvent: { headers, rawPath: "/blog/a" },
      initialURL: `${ORIGIN}/b/a`,
      resolvedRoutes: [{ route: "/blog/[slug]", type }],
    })
    const before = store.events.length
    const made = { "x-nextjs-cache": "REVALIDATED" }
    await openNext.invalidateCDNOnRequest(event({ "x-isr": "1" }, "app"), made)
    await openNext.invalidateCDNOnRequest(event({}, "app"), { "x-nextjs-cache": "HIT" })
    expect(store.events.length).toBe(before)
    process.env["OPEN_NEXT_BUILD_ID"] = "b1"
    await openNext.invalidateCDNOnRequest(event({}, "app"), made)
    await openNext.invalidateCDNOnRequest(event({}, "page"), made)
    delete process.env["OPEN_NEXT_BUILD_ID"]
    const pages = [`${ORIGIN}/b/a`, `${ORIGIN}/blog/a`]
    expect(store.events.slice(before)).toMatchObject([
      { kind: "urls", hard: true, values: pages },
      {
        kind: "urls",
        hard: true,
        values: [...pages, `${ORIGIN}/_next/data/b1/b/a.json`, `${ORIGIN}/_next/data/b1/blog/a.json`],
      },
    ])
  })
})

it("is driven within a request context that is OpenNext's own", () => {
  // oxlint-disable-next-line no-underscore-dangle -- OpenNext's name
  expect((globalThis as { __openNextAls?: unknown }).__openNextAls).toBeInstanceOf(AsyncLocalStorage)
})
