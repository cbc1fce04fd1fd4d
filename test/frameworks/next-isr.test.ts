import { createRequire } from "node:module"
import type { CacheHandler as NextHandler } from "next/dist/server/lib/incremental-cache/index.js"
import { beforeEach, describe, expect, expectTypeOf, it, onTestFinished, vi } from "vitest"
import type { CacheHandlerWarning } from "../../client/next.ts"
import {
  createIsrHandler,
  type EntryStorage,
  type IsrEntry,
  type IsrHandler,
  type IsrHandlerOptions,
  type IsrValue,
  type StoredEntry,
} from "../../client/next-isr.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark } from "../../client/tidemark.ts"
import { parseInvalidation } from "../../protocol/invalidation.ts"

const TTL = 5_000
const HOUR = 3_600_000
const RACES = 1_000

/** As much of Next.js's own cache, which the handler is put into, as is called here. */
interface IncrementalCache {
  get(key: string, context: object): Promise<(IsrEntry & { readonly isStale?: boolean | -1 }) | null>
  set(key: string, data: object | null, context: object): Promise<void>
  revalidateTag(tags: string | string[], durations?: { expire?: number }): Promise<void>
  resetRequestCache(): void
}

const require = createRequire(import.meta.url)
const { IncrementalCache: Cache } = require("next/dist/server/lib/incremental-cache/index.js") as {
  readonly IncrementalCache: new (options: object) => IncrementalCache
}
const { SharedCacheControls } =
  require("next/dist/server/lib/incremental-cache/shared-cache-controls.external.js") as {
    readonly SharedCacheControls: { readonly cacheControls: Map<string, unknown> }
  }

/** What Next.js knows of the lives of routes in this process: another process would know nothing. */
beforeEach(() => SharedCacheControls.cacheControls.clear())

const PAGE = { kind: "APP_PAGE", isFallback: false, isRoutePPREnabled: false }
const ROUTE = { ...PAGE, route: { kind: "APP_PAGE", sourceRoute: "/blog/[slug]/page" } }
const DATA = {
  kind: "FETCH",
  revalidate: 3_600,
  tags: ["post"],
  softTags: ["_N_T_/layout", "_N_T_/blog/hello"],
}
const LIFE = { revalidate: 3_600, expire: 86_400 }

const pageOf = (html: string, tags = "_N_T_/layout,_N_T_/blog/hello,post") => ({
  kind: "APP_PAGE",
  html,
  rscData: Buffer.from([0, 255, 10]),
  segmentData: new Map([["/_tree", Buffer.from([1, 2])]]),
  headers: { "x-next-cache-tags": tags, "content-type": "text/html" },
  status: 200,
  postponed: undefined,
})
const dataOf = (body: string) => ({
  kind: "FETCH",
  data: { headers: {}, body, status: 200, url: "" },
  revalidate: 3_600,
})

interface SetUp extends Partial<IsrHandlerOptions> {
  readonly fs?: { readFileSync(path: string, encoding: "utf8"): unknown }
}

function setUp({ fs, ...options }: SetUp = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const record = store.publish.bind(store)
  store.publish = (what) => {
    expect(parseInvalidation(what)).not.toHaveProperty("errors")
    return record(what)
  }
  const warnings: CacheHandlerWarning[] = []
  const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
  const Handler = createIsrHandler({
    tidemark,
    namespace: "blog",
    buildId: "one",
    onWarning: (warning) => warnings.push(warning),
    ...options,
  })
  /** As Next.js makes one for each request. */
  const request = () =>
    new Cache({
      dev: false,
      fs,
      serverDistDir: "/app/.next/server",
      requestHeaders: {},
      prerenderManifest: { routes: {}, dynamicRoutes: {}, notFoundRoutes: [] },
      previewProps: { previewModeId: "" },
      CurCacheHandler: Handler,
    })
  const publish = (event: Partial<Parameters<ModelStore["record"]>[0]> = {}) => {
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["post"], ...event })
    clock.time += 2 * TTL
  }
  /** A page is looked for, made, and handed over, within one request. */
  const fillPage = async (html = "old", life: object = LIFE, key = "/blog/hello", tags?: string) => {
    const cache = request()
    await cache.get(key, ROUTE)
    await cache.set(key, pageOf(html, tags), { ...ROUTE, cacheControl: life })
  }
  const fillData = async (body = "old", key = "0123") => {
    const cache = request()
    await cache.get(key, DATA)
    await cache.set(key, dataOf(body), { fetchCache: true, tags: ["post"] })
  }
  const said = (text: string | undefined, isStale: boolean | -1 | undefined) =>
    `${text}${isStale === -1 ? ", blocking" : isStale ? ", stale" : ""}`
  const readPage = async (key = "/blog/hello") => {
    const entry = await request().get(key, ROUTE)
    if (!entry) return "miss"
    return said((entry.value as { html?: string } | null)?.html ?? "not found", entry.isStale)
  }
  const readData = async (key = "0123", context: object = DATA) => {
    const entry = await request().get(key, context)
    if (!entry) return "miss"
    return said((entry.value as unknown as { data: { body: string } }).data.body, entry.isStale)
  }
  return {
    clock,
    store,
    tidemark,
    Handler,
    request,
    publish,
    fillPage,
    fillData,
    readPage,
    readData,
    warnings,
  }
}

describe("the handler", () => {
  it("is one of Next.js", () => {
    expectTypeOf<Parameters<NextHandler["revalidateTag"]>>().toExtend<
      Parameters<IsrHandler["revalidateTag"]>
    >()
    expectTypeOf<Parameters<NextHandler["get"]>>().toExtend<Parameters<IsrHandler["get"]>>()
    expectTypeOf<Parameters<NextHandler["set"]>>().toExtend<Parameters<IsrHandler["set"]>>()
  })

  it("keeps pages and data as they were made, and hands out each anew", async () => {
    const { fillPage, fillData, readData, request } = setUp()
    await fillPage()
    await fillData()
    const first = await request().get("/blog/hello", ROUTE)
    const { postponed: _, ...page } = pageOf("old")
    expect(first?.value).toEqual(page)
    expect(first?.cacheControl).toEqual(LIFE)
    const value = first?.value as unknown as ReturnType<typeof pageOf>
    expect(Buffer.isBuffer(value.rscData) && Buffer.isBuffer(value.segmentData.get("/_tree"))).toBe(true)
    Object.assign(value, { headers: {} })
    value.rscData.fill(0)
    expect((await request().get("/blog/hello", ROUTE))?.value).toEqual(page)
    expect(await readData()).toBe("old")
  })

  it.each([
    ["a route", { kind: "APP_ROUTE", body: Buffer.from([0, 200]), status: 200, headers: { etag: "1" } }],
    [
      "a page of the Pages Router",
      { kind: "PAGES", html: "<p>", pageData: { pageProps: { map: [] } }, status: 200 },
    ],
    ["a redirect", { kind: "REDIRECT", props: { pageProps: { __N_REDIRECT: "/" } } }],
    ["a page that is not found", null],
  ])("keeps %s", async (_, data) => {
    const { request } = setUp()
    const cache = request()
    await cache.get("/blog/hello", ROUTE)
    await cache.set("/blog/hello", data, { ...ROUTE, cacheControl: { revalidate: false } })
    const found = await request().get("/blog/hello", ROUTE)
    expect(found?.value).toEqual(data)
    expect(found).toMatchObject({ isStale: undefined, cacheControl: { revalidate: false } })
  })

  it("tells a process that did not make the page how long it lives", async () => {
    const { fillPage, request } = setUp()
    await fillPage("old", { revalidate: 60, expire: 600 })
    SharedCacheControls.cacheControls.clear()
    const found = await request().get("/blog/hello", ROUTE)
    expect(found).toMatchObject({ isStale: undefined, cacheControl: { revalidate: 60, expire: 600 } })
  })

  it("leaves it to Next.js to make anew what is old by time", async () => {
    let ahead = 0
    const { fillPage, fillData, readPage, readData } = setUp({
      now: () => performance.timeOrigin + performance.now() - ahead,
    })
    ahead = 2 * HOUR
    await fillPage()
    await fillData()
    ahead = 0
    expect([await readPage(), await readData()]).toEqual(["old, stale", "old, stale"])
    ahead = 25 * HOUR
    await fillPage()
    ahead = 0
    expect(await readPage()).toBe("old, blocking")
  })

  it("keeps pages of builds apart, none of an unknown build, and data for all", async () => {
    const entries = new Map<string, StoredEntry>()
    const storage: EntryStorage = {
      get: (key) => entries.get(key),
      set: (key, entry) => void entries.set(key, entry),
    }
    let id: string | undefined
    const fs = {
      readFileSync(path: string) {
        expect(path).toBe("/app/.next/server/../BUILD_ID")
        if (id === undefined) throw new Error("ENOENT")
        return `${id}\n`
      },
    }
    const { tidemark, ...world } = setUp({ storage, fs, buildId: undefined } as unknown as SetUp)
    await world.fillPage()
    await world.fillData()
    expect([...entries.keys()]).toEqual(["data:0123"])
    id = "one"
    await world.fillPage()
    expect(await world.readPage()).toBe("old")
    expect([...entries.keys()].at(-1)).toMatch(
      /^page:one:\/route-cache\/APP_PAGE\/[0-9a-f]{64}\/\$\/blog\/hello$/,
    )
    const next = setUp({ storage, buildId: "two", tidemark })
    expect([await next.readPage(), await next.readData()]).toEqual(["miss", "old"])
  })

  it.each([
    ["another's bytes", new TextEncoder().encode("{}")],
    ["nothing", new Uint8Array()],
  ])("takes %s for nothing", async (_, value) => {
    const entries = new Map<string, StoredEntry>()
    const { fillPage, fillData, readPage, readData } = setUp({
      storage: {
        get(key) {
          const entry = entries.get(key)
          return entry && { ...entry, value }
        },
        set: (key, entry) => void entries.set(key, entry),
      },
    })
    await fillPage()
    await fillData()
    expect([await readPage(), await readData()]).toEqual(["miss", "miss"])
  })

  it("takes data for no page, and a page for no data", async () => {
    const entries: StoredEntry[] = []
    const { fillPage, fillData, readPage, readData } = setUp({
      storage: { get: () => entries[0], set: (_, entry) => void entries.unshift(entry) },
    })
    await fillData()
    expect(await readPage()).toBe("miss")
    await fillPage()
    expect(await readData()).toBe("miss")
  })

  it("waits for a storage no longer than it may", async () => {
    const { readPage, fillPage, warnings } = setUp({
      storage: { get: () => new Promise(() => undefined), set: () => new Promise(() => undefined) },
      storageTimeout: 20,
    })
    await fillPage()
    for (let visit = 0; visit < 20; visit += 1) expect(await readPage()).toBe("miss")
    expect(warnings).toMatchObject([{ code: "storage-failed" }])
  })
})

describe("the in-flight race", () => {
  it.each(["page", "data"] as const)("never leaves an old %s fresh", async (what) => {
    const { request, publish } = setUp()
    const context = what === "page" ? ROUTE : DATA
    let fresh = 0
    for (let count = 0; count < RACES; count += 1) {
      const key = what === "page" ? `/blog/${count}` : `key-${count}`
      const cache = request()
      expect(await cache.get(key, context)).toBeNull()
      publish({ hard: count % 2 === 0 })
      // Another request looks for it, and knows of it already.
      await request().get(key, context)
      if (what === "page") await cache.set(key, pageOf("old"), { ...ROUTE, cacheControl: LIFE })
      else await cache.set(key, dataOf("old"), { fetchCache: true, tags: ["post"] })
      const found = await request().get(key, context)
      if (found && !found.isStale) fresh += 1
    }
    expect(fresh).toBe(0)
  })

  it("counts from the first of two that make the same with one handler, as jobs do", async () => {
    const { request, publish, readData } = setUp()
    const cache = request()
    await cache.get("0123", DATA)
    publish()
    await cache.get("0123", DATA)
    await cache.set("0123", dataOf("old"), { fetchCache: true, tags: ["post"] })
    expect(await readData()).toBe("old, stale")
  })

  it("counts from the request's first look for what is made without one", async () => {
    const { request, publish, readData } = setUp()
    const cache = request()
    await cache.get("/blog/hello", ROUTE)
    publish()
    await cache.set("0123", dataOf("old"), { fetchCache: true, tags: ["post"] })
    expect(await readData()).toBe("old, stale")
    await request().set("4567", dataOf("old"), { fetchCache: true, tags: ["post"] })
    expect(await readData("4567")).toBe("miss")
  })

  it("keeps nothing that was begun while nothing was known", async () => {
    const { request, store, readData, clock } = setUp()
    store.away = true
    const cache = request()
    await cache.get("0123", DATA)
    store.away = false
    clock.time += TTL
    await cache.set("0123", dataOf("old"), { fetchCache: true, tags: ["post"] })
    expect(await readData()).toBe("miss")
  })
})

describe("an invalidation", () => {
  it.each([
    ["its tag", { values: ["post"] }, true],
    ["its path", { values: ["_N_T_/blog/hello"] }, true],
    ["the layout above it", { values: ["_N_T_/layout"] }, true],
    ["its url", { kind: "urls", values: ["https://www.example.com/blog/hello"] }, true],
    ["its namespace", { kind: "namespace", values: [] }, true],
    ["another tag", { values: ["other"] }, false],
    ["another url", { kind: "urls", values: ["https://www.example.com/blog"] }, false],
  ] as const)("by %s", async (_, event, concerned) => {
    const world = setUp({ site: "https://www.example.com" })
    await world.fillPage()
    await world.fillData()
    world.publish({ hard: true, ...event })
    const expected = concerned ? "miss" : "old"
    expect([await world.readPage(), await world.readData()]).toEqual([expected, expected])
    await world.fillPage("new")
    await world.fillData("new")
    expect([await world.readPage(), await world.readData()]).toEqual(["new", "new"])
  })

  it.each([
    ["an hour", LIFE],
    ["as long as it expires", { revalidate: 60, expire: 60 }],
    ["a second", { revalidate: 1, expire: 300 }],
    ["ever", { revalidate: false }],
  ])(
    "that is soft has Next.js serve the old while it makes it anew, though it was fresh for %s",
    async (_, life) => {
      const world = setUp()
      await world.fillPage("old", life)
      await world.fillData()
      expect(await world.readPage()).toBe("old")
      world.publish()
      for (let visit = 0; visit < 3; visit += 1)
        expect([await world.readPage(), await world.readData()]).toEqual(["old, stale", "old, stale"])
      await world.fillPage("new", life)
      await world.fillData("new")
      expect([await world.readPage(), await world.readData()]).toEqual(["new", "new"])
    },
  )

  it("that is soft has one visitor wait where it is not known how this Next.js takes a page for stale", async () => {
    const world = setUp()
    await world.fillPage()
    world.publish()
    expect([await world.readPage(), await world.readPage()]).toEqual(["old, blocking", "old, stale"])
    await world.fillPage("new")
    expect(await world.readPage()).toBe("new")
    world.publish()
    expect(await world.readPage()).toBe("new, stale")
  })

  it("that is soft is a miss once swr has passed", async () => {
    const world = setUp({ swr: 20_000 })
    await world.fillPage()
    await world.fillData()
    await world.readPage()
    world.publish()
    expect([await world.readPage(), await world.readData()]).toEqual(["old, stale", "old, stale"])
    world.clock.time += 10_001
    expect([await world.readPage(), await world.readData()]).toEqual(["miss", "miss"])
  })

  it("is found by the path alone where a page has no tags, as in the Pages Router", async () => {
    const { request, publish, readPage } = setUp({ site: "https://www.example.com" })
    const page = { kind: "PAGES", html: "old", pageData: {}, status: 200 }
    for (const [key, event] of [
      ["/blog/hello", { values: ["_N_T_/blog/hello"] }],
      ["/blog/ä", { values: ["_N_T_/blog/%C3%A4", "_N_T_/blog/ä"] }],
      ["/", { kind: "urls", values: ["https://www.example.com/"] }],
    ] as const) {
      const cache = request()
      await cache.get(key, ROUTE)
      await cache.set(key, page, { ...ROUTE, cacheControl: LIFE })
      publish({ values: ["_N_T_/elsewhere"], hard: true })
      expect(await readPage(key)).toBe("old")
      publish({ ...event, hard: true })
      expect(await readPage(key)).toBe("miss")
    }
  })

  it.each([
    ["revalidateTag(tag)", undefined, true],
    ["revalidateTag(tag, { expire: 0 })", { expire: 0 }, true],
    ["revalidateTag(tag, 'max')", { expire: 31_536_000 }, false],
  ])("by the app is published: %s", async (_, durations, hard) => {
    const world = setUp()
    await world.fillData()
    await world.request().revalidateTag(["post", "list"], durations)
    await world.request().revalidateTag("other", durations)
    expect(world.store.events.slice(2)).toMatchObject([
      { kind: "tags", namespace: "blog", values: ["post", "list"], hard },
      { kind: "tags", namespace: "blog", values: ["other"], hard },
    ])
    expect(await world.readData()).toBe(hard ? "miss" : "old, stale")
  })
})

describe("a page that cannot be made anew", () => {
  /** As Next.js does when making one throws: it puts the old one back, for 3 to 30 seconds. */
  async function fail({ request }: ReturnType<typeof setUp>) {
    const cache = request()
    const previous = await cache.get("/blog/hello", ROUTE)
    await cache.set("/blog/hello", previous?.value ?? null, {
      ...ROUTE,
      cacheControl: { revalidate: 3, expire: 86_400 },
    })
    return previous?.isStale
  }

  it("stays as old as it was, is asked for ever more rarely, and that is said", async () => {
    let time = 1_000_000
    const clock = vi.spyOn(performance, "now").mockImplementation(() => time)
    onTestFinished(() => clock.mockRestore())
    const world = setUp({ swr: Infinity })
    await world.fillPage()
    await world.readPage()
    world.publish()
    const asked: number[] = []
    for (let nth = 0; nth <= 1_000; nth += 1) {
      if ((await world.readPage()) === "old, stale") {
        asked.push(nth / 10)
        expect(await fail(world)).toBe(true)
      }
      time += 100
    }
    expect(asked).toEqual([0, 1, 3, 7, 15, 31, 61, 91])
    expect(world.warnings.map(({ code }) => code)).toEqual(Array(8).fill("revalidation-failed"))
    world.publish({ hard: true })
    expect(await world.readPage()).toBe("miss")
  })

  it("is purged by tags that Next.js has taken off it meanwhile", async () => {
    const world = setUp()
    await world.fillPage()
    world.publish({ values: ["_N_T_/layout"] })
    const cache = world.request()
    const previous = await cache.get("/blog/hello", ROUTE)
    const { value } = previous ?? {}
    Object.assign(value ?? {}, { headers: {} })
    await cache.set("/blog/hello", value ?? null, { ...ROUTE, cacheControl: LIFE })
    world.publish({ hard: true })
    expect(await world.readPage()).toBe("miss")
  })
})

describe("an entry that is made from an old one", () => {
  it("is as old as that, by the tag that `use cache` hands on", async () => {
    const world = setUp()
    const { stamp } = await world.tidemark.begin("blog")
    world.publish()
    await world.fillPage("old", LIFE, "/blog/hello", `post,_tidemark_${stamp?.generation}.${stamp?.epoch}`)
    expect(await world.readPage()).toBe("old, blocking")
  })

  it("is as old as the data that Next.js 15 makes it from, until that is new", async () => {
    const world = setUp()
    await world.fillPage()
    await world.fillData()
    world.publish()
    for (const [data, page] of [
      ["old, stale", "old, stale"],
      ["new", "new"],
    ]) {
      const cache = world.request()
      await cache.get("/blog/hello", ROUTE)
      expect(await world.readData()).toBe(data)
      const found = await cache.get("0123", DATA)
      // Made anew behind its back, which comes too late for the page.
      if (found?.isStale) await cache.set("0123", dataOf("new"), { fetchCache: true, tags: ["post"] })
      const html = (found?.value as unknown as ReturnType<typeof dataOf> | undefined)?.data.body
      await cache.set("/blog/hello", pageOf(html ?? ""), { ...ROUTE, cacheControl: LIFE })
      expect(await world.readPage()).toBe(page)
    }
  })
})

describe("Next.js 15", () => {
  /** Its keys are paths, and so are the handler's. */
  const world = () => {
    const { Handler, ...rest } = setUp()
    const handler = () => new Handler({})
    const fill = async (value: IsrValue, context: object, key = "/blog/hello") => {
      const cache = handler()
      await cache.get(key, value.kind === "FETCH" ? DATA : PAGE)
      await cache.set(key, value, context)
    }
    return { ...rest, handler, fill }
  }

  it.each([{ cacheControl: { revalidate: 60, expire: undefined } }, { revalidate: 60 }])(
    "keeps a page with %j, and takes it for stale by -1, as it does not look at what it is told of its life",
    async (life) => {
      const { handler, fill, publish } = world()
      await fill(pageOf("old"), { ...PAGE, ...life })
      const look = async () => {
        const entry = await handler().get("/blog/hello", PAGE)
        return entry && `${(entry.value as { html?: string } | null)?.html} ${entry.lastModified > 0}`
      }
      expect(await look()).toBe("old true")
      publish()
      expect(await look()).toBe("old false")
      expect((await handler().get("/blog/hello", PAGE))?.lastModified).toBe(-1)
      publish({ hard: true })
      expect(await look()).toBeNull()
    },
  )

  it("takes data for stale that was made before any time", async () => {
    const { handler, fill, publish } = world()
    await fill(dataOf("old"), { fetchCache: true, tags: ["post"], revalidate: 3_600 }, "0123")
    publish()
    const found = await handler().get("0123", DATA)
    // As both versions do it, for all that never is to be made anew, too.
    const age = (Date.now() - (found?.lastModified ?? 0)) / 1_000
    expect(age).toBeGreaterThan(0xff_ff_ff_fe)
  })

  it("calls revalidateTag without durations, and resetRequestCache", async () => {
    const { handler, store } = world()
    handler().resetRequestCache()
    await handler().revalidateTag("post")
    expect(store.events.at(-1)).toMatchObject({ kind: "tags", values: ["post"], hard: true })
  })
})
