import { type ExecutionContext, Hono } from "hono"
import { cache as honoCache } from "hono/cache"
import { describe, expect, it } from "vitest"
import { withEpochCache } from "./fetch.ts"
import { epochCache } from "./hono.ts"
import type { PagesOptions } from "./pages.ts"
import { MapCache } from "./testing/map-cache.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

/** What the plugs that answer requests promise, each by the same tests; in workerd over its real Cache API. */

const TTL = 5_000
const HOUR = 3_600_000
const RACES = 1_000

type Handler = (request: Request) => Promise<Response>
type Plug = (
  site: (request: Request) => Promise<Response>,
  options: PagesOptions<any>,
  ctx: ExecutionContext,
) => Handler

const PLUGS: Readonly<Record<string, Plug>> = {
  "tidemark/hono": (site, options, ctx) => {
    const app = new Hono()
    app.use(epochCache({ ...options, app }))
    app.get("*", (c) => site(c.req.raw))
    return async (request) => app.fetch(request, {}, ctx)
  },
  "tidemark/fetch": (site, options, ctx) => {
    const handler = withEpochCache(site, options)
    return async (request) => handler(request, {}, ctx)
  },
}

let opened = 0

/** A cache that no other test uses: the runtime's own, where it has one. */
const ownCache = async () =>
  typeof caches === "undefined" ? new MapCache() : caches.open(`race-${(opened += 1)}`)

/** What stands behind a plug; several may stand before the same. */
function aSite() {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  return { clock, store, site: { says: "old", made: 0, reads: async () => {} } }
}

/** A site of which every page says the same, a plug before it, and background work that is waited for. */
async function setUp(
  plug: Plug,
  {
    skew = 0,
    ttl = TTL,
    shared = aSite(),
    ...options
  }: { skew?: number; ttl?: number; shared?: ReturnType<typeof aSite> } & Partial<PagesOptions<unknown>> = {},
) {
  const { clock, store, site } = shared
  const background: Promise<unknown>[] = []
  const ctx: ExecutionContext = {
    waitUntil: (promise) => void background.push(promise),
    passThroughOnException: () => undefined,
    props: {},
  }
  const handler = plug(
    async () => {
      site.made += 1
      const { says } = site
      await site.reads()
      return new Response(says, { headers: { "cache-control": "public, max-age=3600" } })
    },
    {
      tidemark: createTidemark({ store, ttl, now: () => clock.time + skew, random: () => 0 }),
      namespace: "blog",
      tags: () => ["post"],
      cache: await ownCache(),
      ...options,
    },
    ctx,
  )
  const idle = async () => {
    while (background.length > 0) await background.shift()
  }
  const open = (path = "/") => handler(new Request(`https://www.example.com${path}`))
  const visit = async (path?: string) => {
    const response = await open(path)
    const seen = await response.text()
    await idle()
    return { seen, how: response.headers.get("cache-status") ?? "" }
  }
  return { clock, store, site, open, visit, idle }
}

describe.each(Object.entries(PLUGS))("%s", (_, plug) => {
  it(`serves no page that was read before a bump and kept after it, in ${RACES} races`, async () => {
    const { clock, store, site, visit } = await setUp(plug)
    let stale = 0
    for (let nth = 0; nth < RACES; nth += 1) {
      const path = `/${nth}`
      site.says = "old"
      site.reads = async () => {
        // The page has been read. Now it changes, is invalidated, and only then kept.
        site.says = "new"
        store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
      }
      await visit(path)
      site.reads = async () => {}
      clock.time += 2 * TTL
      const { seen } = await visit(path)
      if (seen !== "new") stale += 1
    }
    expect(stale).toBe(0)
  })

  it("after a soft bump serves the old page until one revalidation, and then the new one", async () => {
    const { clock, store, site, visit } = await setUp(plug)
    await visit()
    site.says = "new"
    store.record({ kind: "tags", namespace: "blog", values: ["post"] })
    clock.time += 2 * TTL
    expect(await visit()).toEqual({ seen: "old", how: "tidemark; hit; detail=stale-while-revalidate" })
    expect(await visit()).toEqual({ seen: "new", how: "tidemark; hit" })
    expect(site.made).toBe(2)
  })

  it("after a hard bump never serves the old page", async () => {
    const { clock, store, site, visit } = await setUp(plug)
    await visit()
    site.says = "new"
    store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
    clock.time += 2 * TTL
    expect((await visit()).seen).toBe("new")
  })

  it("hits what was filled again after a bump, though nothing is published since", async () => {
    const { clock, store, visit } = await setUp(plug)
    await visit()
    store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
    clock.time += 2 * TTL
    await visit()
    expect((await visit()).how).toBe("tidemark; hit")
  })

  it("sees a bump in the same millisecond as a stamp", async () => {
    const { clock, store, site, visit } = await setUp(plug, { ttl: 0 })
    for (const says of ["first", "second", "third"]) {
      site.says = says
      const { epoch } = store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
      expect(Math.floor(epoch / 1_000)).toBe(clock.time)
      expect((await visit()).seen).toBe(says)
      expect((await visit()).how).toBe("tidemark; hit")
    }
  })

  it.each([-HOUR, HOUR])(
    "with a clock that is off by %i ms neither serves what is stale nor misses for ever",
    async (skew) => {
      const { clock, store, site, visit } = await setUp(plug, { skew })
      await visit()
      expect((await visit()).how).toBe("tidemark; hit")
      site.says = "new"
      store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
      clock.time += 2 * TTL
      expect((await visit()).seen).toBe("new")
      expect((await visit()).how).toBe("tidemark; hit")
    },
  )

  it("makes every page anew where nothing is known of the epochs, and throws nothing", async () => {
    const { clock, store, site, visit } = await setUp(plug)
    await visit()
    store.away = true
    clock.time += HOUR
    site.says = "new"
    expect(await visit()).toEqual({ seen: "new", how: "tidemark; fwd=bypass; detail=epochs-unknown" })
    store.away = false
    clock.time += 2 * TTL
    expect((await visit()).how).toBe("tidemark; hit")
  })

  it("makes a page once for visitors that come together, after a purge too", async () => {
    const { clock, store, site, open, idle } = await setUp(plug)
    site.reads = () => new Promise((resolve) => setTimeout(resolve, 10))
    for (const round of [1, 2]) {
      const pages = await Promise.all(Array.from({ length: 20 }, () => open()))
      await Promise.all(pages.map((page) => page.text()))
      await idle()
      expect(site.made).toBe(round)
      store.record({ kind: "namespace", namespace: "blog", hard: true })
      clock.time += 2 * TTL
    }
  })

  it.each(["soft", "hard"])(
    "makes a page once for visitors of three isolates over one cache, after a %s bump too",
    async (mode) => {
      const cache = await ownCache()
      const shared = aSite()
      const { site, store, clock } = shared
      const isolates = await Promise.all([1, 2, 3].map(() => setUp(plug, { cache, shared })))
      site.reads = () => new Promise((resolve) => setTimeout(resolve, 200))
      for (const round of [1, 2]) {
        const early = isolates[0]?.open()
        await new Promise((resolve) => setTimeout(resolve, 50))
        const late = isolates.flatMap(({ open }) => Array.from({ length: 5 }, () => open()))
        const pages = await Promise.all([early, ...late])
        for (const page of pages) await page?.text()
        for (const { idle } of isolates) await idle()
        expect(site.made).toBe(round)
        store.record({ kind: "namespace", namespace: "blog", hard: mode === "hard" })
        clock.time += 2 * TTL
      }
    },
  )
})

describe.skipIf(typeof caches === "undefined")(
  "Hono's own cache(), with the page deleted when it is invalidated",
  () => {
    it(`serves the page that was read before it, in ${RACES} races of ${RACES}`, async () => {
      const cacheName = `race-${(opened += 1)}`
      const cache = await caches.open(cacheName)
      const app = new Hono()
      const site: { says: string; reads?: (request: Request) => Promise<void> } = { says: "old" }
      app.use(
        honoCache({ cacheName, wait: true, cacheControl: "max-age=3600", keyGenerator: (c) => c.req.url }),
      )
      app.get("*", async (c) => {
        const { says } = site
        await site.reads?.(c.req.raw)
        return c.text(says)
      })
      const visit = async (path: string) => (await app.request(`https://www.example.com${path}`)).text()
      let stale = 0
      for (let nth = 0; nth < RACES; nth += 1) {
        site.says = "old"
        site.reads = async (request) => {
          site.says = "new"
          await cache.delete(request.url)
        }
        await visit(`/${nth}`)
        if ((await visit(`/${nth}`)) === "old") stale += 1
      }
      expect(stale).toBe(RACES)
    })
  },
)
