import { once } from "node:events"
import { createServer, request as httpRequest, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { Readable } from "node:stream"
import { text as textOf } from "node:stream/consumers"
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest"
import {
  defineEpochCachedEventHandler,
  defineEpochCachedFunction,
  depend,
  type EpochFunctionOptions,
  type EpochHandlerOptions,
  epochPages,
  type EpochPagesOptions,
} from "../../client/nuxt.ts"
import type { EpochCacheWarning } from "../../client/pages.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { cloudflare, labelsFor } from "../../client/tags.ts"
import { createTidemark, type Tidemark } from "../../client/tidemark.ts"
import { importNitro2, type Nitro2 } from "./nitro2-app.ts"

/** The plug in an app of Nitro 2, which nitropack built: `nuxt-app.test.ts` has it in Nuxt. */

const TTL = 5_000
const TRIES = 1_000

type H3Event = import("h3").H3Event

/** As unstorage: what it keeps is JSON. */
function memoryStorage() {
  const kept = new Map<string, string>()
  return {
    kept,
    getItem: async (key: string): Promise<unknown> => JSON.parse(kept.get(key) ?? "null"),
    setItem: async (key: string, value: unknown): Promise<void> =>
      void (value === undefined ? kept.delete(key) : kept.set(key, JSON.stringify(value))),
  }
}

function setUp() {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const createReader = () => createTidemark({ store, now: clock.now, random: () => 0 })
  return { clock, store, createReader, tidemark: createReader(), storage: memoryStorage() }
}

/** What is read in the origin, and how often. */
class Origin {
  text = "old"
  reads = 0
  gate: Promise<void> = Promise.resolve()
  readonly began = Promise.withResolvers<void>()

  readonly read = async (): Promise<string> => {
    this.reads += 1
    const { text } = this
    this.began.resolve()
    await this.gate
    return text
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

let app: Awaited<ReturnType<typeof importNitro2>>
let nitro: Nitro2
let server: Server
let base: string

beforeAll(async () => {
  app = await importNitro2()
  nitro = app.nitro
  server = createServer(nitro.h3.toNodeListener(nitro.nitroApp.h3App as never))
  await once(server.listen(0, "127.0.0.1"), "listening")
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterAll(() => {
  server.closeAllConnections()
  server.close()
  app.remove()
})

afterEach(() => {
  nitro.before = () => undefined
  vi.restoreAllMocks()
})

let routes = 0

/** Serves a handler under a path of its own. */
function mount(handler: unknown): string {
  const path = `/route-${(routes += 1)}`
  nitro.nitroApp.router.use(path, handler)
  return path
}

interface Answered {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
}

/** Unlike `fetch`, it sends what it is told to, and adds nothing. */
async function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answered> {
  const sent = httpRequest(base + path, { headers, method, agent: false }).end()
  const [response] = (await once(sent, "response")) as [import("node:http").IncomingMessage]
  return { status: response.statusCode ?? 0, headers: response.headers, text: await textOf(response) }
}

describe("a cached function", () => {
  const setUpFunction = (options: Partial<EpochFunctionOptions<string, [id: string]>> = {}) => {
    const system = setUp()
    const origin = new Origin()
    const create = (tidemark: Tidemark = system.tidemark) =>
      defineEpochCachedFunction(origin.read as (id: string) => Promise<string>, {
        tidemark,
        namespace: "blog",
        name: "post",
        tags: (_, id) => [`post-${id}`],
        storage: () => system.storage,
        ...options,
      })
    return { ...system, origin, create, get: create() }
  }

  it("runs once, and is then answered from the storage, in another process too", async () => {
    const { get, origin, create, createReader } = setUpFunction()
    expect(await Promise.all([get("1"), get("1"), get("2")])).toEqual(["old", "old", "old"])
    await settled()
    expect([await get("1"), await create(createReader())("2")]).toEqual(["old", "old"])
    expect(origin.reads).toBe(2)
  })

  it("never answers what was read before an invalidation and stored after it; Nitro's own does", async () => {
    const stale = { stamped: 0, nitro: 0 }
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const isHard = attempt % 2 === 0
      const { clock, tidemark, createReader, create, origin } = setUpFunction()
      const gate = Promise.withResolvers<void>()
      origin.gate = gate.promise
      const [one, other] = [create(), create(createReader())]
      const filling = one("1")
      await origin.began.promise
      origin.text = "new"
      await tidemark[isHard ? "purge" : "invalidate"]({ namespace: "blog", tags: ["post-1"] })
      gate.resolve()
      await filling
      await settled()
      clock.time += 2 * TTL
      // After a soft one it may be served while it is revalidated, once.
      if (!isHard) await other("1").then(settled)
      if ((await other("1")) !== "new") stale.stamped += 1

      const stock = new Origin()
      const stockGate = Promise.withResolvers<void>()
      stock.gate = stockGate.promise
      const name = `stock-${attempt}`
      const cached = nitro.runtime.defineCachedFunction(stock.read, { name, getKey: () => "1", maxAge: 60 })
      const stockFilling = cached()
      await stock.began.promise
      stock.text = "new"
      // How Nitro's documents have it invalidated: the entry is removed.
      await nitro.runtime.useStorage("cache").removeItem(`nitro:functions:${name}:1.json`)
      stockGate.resolve()
      await stockFilling
      await settled()
      if ((await cached()) === "old") stale.nitro += 1
    }
    expect(stale).toEqual({ stamped: 0, nitro: TRIES })
  })

  it("gives callers who joined a fill from before an invalidation one value from after it", async () => {
    const { get, origin, tidemark, storage } = setUpFunction()
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    const looks = vi.spyOn(storage, "getItem")
    const first = get("1")
    await origin.began.promise
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    origin.text = "new"
    const joined = [get("1"), get("1"), get("1")]
    await expect.poll(() => looks.mock.calls.length).toBe(4)
    await settled()
    expect(origin.reads).toBe(1)
    gate.resolve()
    expect(await first).toBe("old")
    expect(await Promise.all(joined)).toEqual(["new", "new", "new"])
    expect(origin.reads).toBe(2)
  })

  it("serves the old value after a soft invalidation while it runs once, and never after a hard one", async () => {
    const { get, origin, tidemark } = setUpFunction()
    await get("1")
    await settled()
    await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
    origin.text = "new"
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    expect([await get("1"), await get("1"), await get("1")]).toEqual(["old", "old", "old"])
    expect(origin.reads).toBe(2)
    gate.resolve()
    await settled()
    expect(await get("1")).toBe("new")
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    origin.text = "newer"
    expect([await get("1"), await get("1")]).toEqual(["newer", "newer"])
  })

  it.each([
    [{ swr: false }, 0, "new"],
    [{}, 59_000, "old"],
    [{}, 60_000, "new"],
    [{ staleMaxAge: 120 }, 119_000, "old"],
    [{ staleMaxAge: 0 }, 0, "new"],
  ] as const)("serves it for as long as it may: %j after %d ms", async (options, waited, expected) => {
    const { get, origin, tidemark, clock } = setUpFunction(options)
    await get("1")
    await settled()
    clock.time += 1
    await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
    clock.time += waited
    origin.text = "new"
    expect(await get("1")).toBe(expected)
  })

  it("is made anew after maxAge, and served old meanwhile", async () => {
    const { get, origin } = setUpFunction({ maxAge: 60 })
    await get("1")
    await settled()
    origin.text = "new"
    const start = Date.now()
    const now = vi.spyOn(Date, "now")
    now.mockReturnValue(start + 59_000)
    expect(await get("1")).toBe("old")
    now.mockReturnValue(start + 62_000)
    expect(await get("1")).toBe("old")
    await settled()
    expect(await get("1")).toBe("new")
    origin.text = "newer"
    now.mockReturnValue(start + 200_000)
    expect(await get("1")).toBe("newer")
  })

  it("has a failed revalidation wait before the next, and tells of it", async () => {
    const warnings: EpochCacheWarning[] = []
    const { get, origin, tidemark } = setUpFunction({ onWarning: (warning) => warnings.push(warning) })
    await get("1")
    await settled()
    await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
    origin.gate = Promise.reject(new Error("no such"))
    origin.gate.catch(() => undefined)
    for (let call = 0; call < 100; call += 1) {
      expect(await get("1")).toBe("old")
      await settled()
    }
    expect(origin.reads).toBe(2)
    expect(warnings).toEqual([{ code: "revalidation-failed", cause: new Error("no such") }])
  })

  it("shares a failure with those who wait for it, and keeps none", async () => {
    const { get, origin, storage } = setUpFunction()
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    const looks = vi.spyOn(storage, "getItem")
    const all = Promise.allSettled([get("1"), get("1"), get("1")])
    await origin.began.promise
    // Each makes its key by itself: all three have to be there.
    await expect.poll(() => looks.mock.calls.length).toBe(3)
    await settled()
    gate.reject(new Error("no such"))
    const outcomes = await all
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"])
    expect(origin.reads).toBe(1)
    origin.gate = Promise.resolve()
    expect(await get("1")).toBe("old")
  })

  it("goes by what is known while the store is away, then past the storage, which keeps what it has", async () => {
    const { get, origin, store, clock } = setUpFunction()
    await get("1")
    await settled()
    store.away = true
    clock.time += 50_000
    await get("1")
    expect(origin.reads).toBe(1)
    clock.time += 20_000
    for (let call = 0; call < 3; call += 1) await get("1")
    expect(origin.reads).toBe(4)
    store.away = false
    clock.time += TTL
    await get("1")
    expect(origin.reads).toBe(4)
  })

  it("passes by where `bypass` says so, and keeps `undefined` for nobody", async () => {
    const { get, origin } = setUpFunction({ bypass: (id) => id === "draft" })
    for (let call = 0; call < 3; call += 1) await get("draft")
    expect(origin.reads).toBe(3)
    const { tidemark, storage } = setUp()
    let calls = 0
    const nothing = defineEpochCachedFunction(() => void (calls += 1), {
      name: "nothing",
      tidemark,
      namespace: "blog",
      storage,
    })
    expect([await nothing(), await nothing()]).toEqual([undefined, undefined])
    expect(calls).toBe(2)
  })

  it("tells arguments apart that JSON does not, or refuses to", async () => {
    const { tidemark, storage } = setUp()
    const get = defineEpochCachedFunction(async (...args: unknown[]) => JSON.stringify(args), {
      name: "any",
      tidemark,
      namespace: "blog",
      storage,
    })
    const lists = [[undefined], [null], [], ["a", "b"], ["a,b"], [{ a: 1 }]]
    for (const list of [...lists, ...lists]) expect(await get(...list)).toBe(JSON.stringify(list))
    for (const odd of [new Map(), Number.NaN, () => 1, 1n, new Set()])
      await expect(get(odd)).rejects.toThrow("getKey")
  })

  it.each([
    ["name", { name: "" }],
    ["maxAge", { maxAge: 0 }],
    ["staleMaxAge", { staleMaxAge: -1 }],
    ["staleIfError", { staleIfError: -1 }],
    ["storageTimeout", { storageTimeout: 0 }],
  ])("is refused when it is defined, where %s is out of range", (name, options) => {
    expect(() => setUpFunction(options)).toThrow(name)
  })

  it.each(["reads", "writes"])(
    "waits for a storage that does not answer to %s no longer than it is told",
    async (what) => {
      const warnings: EpochCacheWarning[] = []
      const { get, origin, storage } = setUpFunction({
        storageTimeout: 20,
        onWarning: (warning) => warnings.push(warning),
      })
      const { getItem } = storage
      const never = () => new Promise<never>(() => undefined)
      if (what === "reads") storage.getItem = never
      else storage.setItem = never
      for (let call = 1; call <= 3; call += 1) {
        expect(await get("1")).toBe("old")
        await vi.waitFor(() => expect(warnings).toHaveLength(1))
      }
      // One outage is told once.
      expect(String(warnings[0]?.cause)).toBe("Error: The storage did not answer within 20 ms")
      expect(origin.reads).toBeGreaterThan(0)
      storage.getItem = getItem
    },
  )
})

describe("a cached handler", () => {
  const setUpHandler = (
    options: Partial<EpochHandlerOptions<H3Event>> = {},
    handler?: (event: H3Event, text: string) => unknown,
  ) => {
    const system = setUp()
    const origin = new Origin()
    const create = (more: Partial<EpochHandlerOptions<H3Event>> = {}) =>
      defineEpochCachedEventHandler(
        async (event: H3Event) => {
          const text = await origin.read()
          return handler ? handler(event, text) : text
        },
        {
          tidemark: system.tidemark,
          namespace: "blog",
          tags: () => ["post-1"],
          storage: () => system.storage,
          ...options,
          ...more,
        },
      )
    const path = mount(create())
    const get = (headers?: Record<string, string>, query = "") => ask(path + query, headers)
    const text = async (headers?: Record<string, string>, query?: string) => (await get(headers, query)).text
    return { ...system, origin, create, path, get, text }
  }

  it("is made once, and told by Cache-Status", async () => {
    const { get, origin } = setUpHandler()
    const first = await get()
    await settled()
    const second = await get()
    expect([first.text, second.text]).toEqual(["old", "old"])
    expect([first.headers["cache-status"], second.headers["cache-status"]]).toEqual([
      "tidemark; fwd=uri-miss; stored",
      "tidemark; hit",
    ])
    expect(origin.reads).toBe(1)
  })

  it.each<[string, (event: H3Event, text: string) => unknown, string, string]>([
    ["text", () => "<p>", "<p>", "text/html"],
    ["an object", () => ({ a: 1 }), '{"a":1}', "application/json"],
    ["a number", () => 5, "5", "application/json"],
    ["false", () => false, "false", "application/json"],
    ["a response", () => new Response("é", { headers: { "content-type": "text/x" } }), "é", "text/x"],
    ["a stream", () => new Blob(["a", "b"]).stream(), "ab", ""],
    ["a blob", () => new Blob(["a"], { type: "text/y" }), "a", "text/y"],
    ["what it wrote", (event) => void event.node.res.end("written"), "written", ""],
    ["what it sent", (event) => nitro.h3.send(event, "sent", "text/z"), "sent", "text/z"],
  ])("may answer with %s", async (_, handler, expected, type) => {
    const { get, origin } = setUpHandler({}, handler)
    for (let visit = 0; visit < 2; visit += 1) {
      const { text, headers, status } = await get()
      expect({ text, type: headers["content-type"] ?? "", status }).toEqual({
        text: expected,
        type,
        status: 200,
      })
      await settled()
    }
    expect(origin.reads).toBe(1)
  })

  it("keeps bytes as bytes", async () => {
    const bytes = new Uint8Array([0, 255, 128, 10])
    const { path, origin } = setUpHandler({}, () => Buffer.from(bytes))
    for (let visit = 0; visit < 2; visit += 1) {
      expect(new Uint8Array(await (await fetch(base + path)).arrayBuffer())).toEqual(bytes)
      await settled()
    }
    expect(origin.reads).toBe(1)
  })

  it.each<[string, (event: H3Event, text: string) => unknown]>([
    ["nothing", (event) => nitro.h3.sendNoContent(event)],
    ["a redirect", (event) => nitro.h3.sendRedirect(event, "/elsewhere")],
    ["status 404", (event) => (nitro.h3.setResponseStatus(event, 404), "none")],
    ["status 500", (event) => (nitro.h3.setResponseStatus(event, 500), { error: true })],
    [
      "an error",
      () => {
        throw nitro.h3.createError({ statusCode: 418, message: "teapot" })
      },
    ],
    [
      "a cookie",
      (event, text) => (
        nitro.h3.setCookie(event, "sid", "1"),
        nitro.h3.appendHeader(event, "set-cookie", "b=2"),
        text
      ),
    ],
    [
      "a response with cookies",
      () =>
        new Response("x", {
          headers: [
            ["set-cookie", "a=1"],
            ["set-cookie", "b=2"],
          ],
        }),
    ],
    ["private", (event, text) => (nitro.h3.setHeader(event, "cache-control", "private, max-age=5"), text)],
    ["no-store", (event, text) => (nitro.h3.setHeader(event, "cache-control", "no-store"), text)],
    ["Vary by another header", (event, text) => (nitro.h3.setHeader(event, "vary", "cookie"), text)],
    ["events", (event, text) => (nitro.h3.setHeader(event, "content-type", "text/event-stream"), text)],
    ["gzip", (event, text) => (nitro.h3.setHeader(event, "content-encoding", "x-none"), text)],
    ["a stream of Node", () => Readable.from(["a", "b"])],
  ])("is not kept, and answered as without a cache, where it answers with %s", async (_, handler) => {
    const { get, origin } = setUpHandler({}, handler)
    const bare = await ask(mount(nitro.h3.defineEventHandler(async (event) => handler(event, "old"))))
    for (let visit = 0; visit < 2; visit += 1) {
      const { headers, ...rest } = await get()
      const { "cache-status": _status, date: _date, ...own } = headers
      const { date: _bareDate, ...expected } = bare.headers
      expect({ ...rest, text: rest.text.replaceAll(/route-\d+/g, "") }).toEqual({
        status: bare.status,
        text: bare.text.replaceAll(/route-\d+/g, ""),
      })
      expect(own).toEqual(expected)
      await settled()
    }
    expect(origin.reads).toBe(2)
  })

  it("keeps nothing of a body that breaks off", async () => {
    let pulls = 0
    const { get, origin } = setUpHandler({}, () => {
      return new Response(
        new ReadableStream({
          pull(controller) {
            if ((pulls += 1) % 2 === 1) controller.enqueue(new TextEncoder().encode("half"))
            else controller.error(new Error("broke off"))
          },
        }),
      )
    })
    for (let visit = 0; visit < 2; visit += 1) expect((await get()).status).toBe(500)
    expect(origin.reads).toBe(2)
  })

  it("is not asked for, and answered by the handler with all that the visitor sent, where that is not for all", async () => {
    const { path, origin } = setUpHandler(
      { bypass: (event) => nitro.h3.getCookie(event, "draft") !== undefined },
      (event) =>
        `${event.method} ${nitro.h3.getHeader(event, "cookie") ?? ""} ${nitro.h3.getHeader(event, "authorization") ?? ""}`,
    )
    await ask(path)
    await settled()
    for (const [headers, method, why] of [
      [{ authorization: "Bearer x" }, "GET", "request"],
      [{ range: "bytes=0-1" }, "GET", "request"],
      [{ "cache-control": "no-store" }, "GET", "request"],
      [{ cookie: "draft=1" }, "GET", "bypass"],
      [{}, "POST", "method"],
    ] as const) {
      const { text, headers: answered } = await ask(path, headers, method)
      expect(text).toBe(
        `${method} ${"cookie" in headers ? headers.cookie : ""} ${"authorization" in headers ? headers.authorization : ""}`,
      )
      expect(answered["cache-status"]).toBe(`tidemark; fwd=${why}`)
    }
    expect(origin.reads).toBe(6)
    // What was posted to may be another one now.
    expect((await ask(path)).headers["cache-status"]).toBe("tidemark; fwd=uri-miss; stored")
  })

  it("is made without what is the visitor's own", async () => {
    const seen: unknown[] = []
    const { path } = setUpHandler({ vary: ["Accept-Language"] }, (event) => {
      seen.push({ ...event.node.req.headers }, [...event.headers.keys()].toSorted(), nitro.h3.getQuery(event))
      return nitro.h3.getRequestURL(event).href
    })
    const { text } = await ask(`${path}?utm_source=x&a=1&gclid=2`, {
      host: "www.example.com",
      cookie: "sid=secret",
      "user-agent": "me",
      "if-none-match": '"x"',
      "if-modified-since": new Date(0).toUTCString(),
      "accept-language": "de",
      "accept-encoding": "gzip",
      "x-forwarded-for": "1.2.3.4",
      "x-forwarded-proto": "https",
    })
    expect(text).toBe(`https://www.example.com${path}?a=1`)
    const headers = { host: "www.example.com", "accept-language": "de", "x-forwarded-proto": "https" }
    expect(seen).toEqual([headers, Object.keys(headers).toSorted(), { a: "1" }])
  })

  it("has pages apart by host, by scheme, by query and by `vary`, and not by parameters of tracking", async () => {
    const { text, origin } = setUpHandler({ vary: ["accept-language"] }, (event) =>
      JSON.stringify([nitro.h3.getRequestURL(event), Object.entries(event.node.req.headers)]),
    )
    const www = { host: "www.example.com" }
    const visits: [Record<string, string>, string][] = [
      [www, ""],
      [{ host: "evil.example" }, ""],
      [{ ...www, "x-forwarded-host": "evil.example" }, ""],
      [{ ...www, "x-forwarded-proto": "https" }, ""],
      [www, "?a=1"],
      [{ ...www, "accept-language": "de" }, ""],
    ]
    const texts = []
    for (const [headers, query] of visits) texts.push(await text(headers, query))
    await settled()
    expect(new Set(texts).size).toBe(visits.length)
    for (const [at, [headers, query]] of visits.entries()) expect(await text(headers, query)).toBe(texts[at])
    expect(await text(www, "?fbclid=x&utm_campaign=y")).toBe(texts[0])
    expect(origin.reads).toBe(visits.length)
  })

  it("never keeps what others prepared for a visitor, which goes along with what is kept", async () => {
    nitro.before = (event) => {
      const who = nitro.h3.getHeader(event, "x-who")
      nitro.h3.setHeader(event, "x-refreshed-token", `token-of-${who}`)
      nitro.h3.setHeader(event, "x-both", `${who}`)
      nitro.h3.appendHeader(event, "vary", "origin")
      if (who === "new") nitro.h3.setCookie(event, "sid", "rotated")
    }
    const { get, origin } = setUpHandler({ labels: labelsFor(cloudflare) }, (event, text) => {
      nitro.h3.setHeader(event, "x-page", "1")
      nitro.h3.setHeader(event, "x-both", "page")
      nitro.h3.setHeader(event, "vary", "accept-encoding")
      return text
    })
    for (const who of ["alice", "bob", "new", "carol"]) {
      const { headers } = await get({ "x-who": who })
      const isNew = who === "new"
      expect(headers).toMatchObject({
        "x-refreshed-token": `token-of-${who}`,
        "x-page": "1",
        "x-both": who,
        vary: "origin, accept-encoding",
        // Another's cookie is nothing for a cache in front.
        "cache-control": isNew ? "private, no-cache" : "public, max-age=0, must-revalidate, s-maxage=2592000",
      })
      expect(headers["set-cookie"]).toEqual(isNew ? ["sid=rotated; Path=/"] : undefined)
      await settled()
    }
    expect(origin.reads).toBe(1)
  })

  it("has browsers ask each time, and answers 304", async () => {
    const { get, origin, tidemark } = setUpHandler()
    const { headers } = await get()
    await settled()
    expect(headers["cache-control"]).toBe("public, max-age=0, must-revalidate")
    const known = { "if-none-match": `"other", ${String(headers.etag)}` }
    expect(await get(known)).toMatchObject({ status: 304, text: "", headers: { etag: headers.etag } })
    await tidemark.purge({ namespace: "blog" })
    // The same once more: it is made, and need not be sent.
    expect((await get(known)).status).toBe(304)
    expect(origin.reads).toBe(2)
    await tidemark.purge({ namespace: "blog" })
    origin.text = "new"
    expect(await get(known)).toMatchObject({ status: 200, text: "new" })
  })

  it("leaves what the handler says itself, and labels what is to be purged in front", async () => {
    const { get } = setUpHandler({ labels: labelsFor(cloudflare), maxAge: 60 }, (event, text) => {
      depend(event, ["told"])
      nitro.h3.setHeader(event, "cache-control", "public, max-age=7")
      nitro.h3.setHeader(event, "etag", '"own"')
      return text
    })
    for (let visit = 0; visit < 2; visit += 1) {
      expect((await get()).headers).toMatchObject({
        "cache-control": "public, max-age=7",
        etag: '"own"',
        "cache-tag": "ns/blog,post-1,told",
      })
      await settled()
    }
  })

  it("never answers what was made before an invalidation and stored after it; Nitro's own does", async () => {
    const stale = { stamped: 0, nitro: 0 }
    const { localFetch } = nitro.nitroApp
    const textAt = async (path: string) => (await localFetch(path)).text()
    /** What is served, once it is not said to be stale any more. */
    const freshAt = async (path: string): Promise<string> => {
      const response = await localFetch(path)
      const isStale = response.headers.get("cache-status")?.includes("stale-while-revalidate")
      return isStale ? settled().then(() => freshAt(path)) : response.text()
    }
    // Routes are for good: these handlers stand for those of each try.
    let one: (event: H3Event) => unknown = () => undefined
    let other = one
    let stock = one
    const onePath = mount(nitro.h3.defineEventHandler((event) => one(event)))
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const isHard = attempt % 2 === 0
      const system = setUp()
      const origin = new Origin()
      const gate = Promise.withResolvers<void>()
      origin.gate = gate.promise
      const create = (tidemark: Tidemark) =>
        defineEpochCachedEventHandler(origin.read, { tidemark, namespace: "blog", storage: system.storage })
      one = create(system.tidemark)
      other = create(system.createReader())
      const filling = textAt(onePath)
      await origin.began.promise
      origin.text = "new"
      const urls = [`http://localhost${onePath}`]
      await system.tidemark[isHard ? "purge" : "invalidate"]({ namespace: "blog", urls })
      gate.resolve()
      await filling
      await settled()
      system.clock.time += 2 * TTL
      one = other
      if ((await freshAt(onePath)) !== "new") stale.stamped += 1

      const stockOrigin = new Origin()
      const stockGate = Promise.withResolvers<void>()
      stockOrigin.gate = stockGate.promise
      const options = { name: "stock", getKey: () => `page${attempt}`, maxAge: 60 }
      stock = nitro.runtime.defineCachedEventHandler(stockOrigin.read, options)
      one = stock
      const stockFilling = textAt(onePath)
      await stockOrigin.began.promise
      stockOrigin.text = "new"
      await nitro.runtime.useStorage("cache").removeItem(`nitro:handlers:stock:page${attempt}.json`)
      stockGate.resolve()
      await stockFilling
      await settled()
      if ((await textAt(onePath)) === "old") stale.nitro += 1
    }
    expect(stale).toEqual({ stamped: 0, nitro: TRIES })
  })

  it("serves the old after a soft invalidation, as no-store, while one revalidation runs; never after a hard one", async () => {
    const { get, text, origin, tidemark, path } = setUpHandler()
    await get()
    await settled()
    await tidemark.invalidate({ namespace: "blog", urls: [`${base}${path}`] })
    origin.text = "new"
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    for (let visit = 0; visit < 3; visit += 1) {
      expect(await get()).toMatchObject({
        text: "old",
        headers: {
          "cache-control": "no-store",
          "cache-status": "tidemark; hit; detail=stale-while-revalidate",
        },
      })
    }
    expect(origin.reads).toBe(2)
    gate.resolve()
    await vi.waitFor(async () => expect(await text()).toBe("new"))
    await tidemark.purge({ namespace: "blog", urls: [`${base}${path}`] })
    origin.text = "newer"
    expect([await text(), await text()]).toEqual(["newer", "newer"])
    expect(origin.reads).toBe(3)
  })

  it.each([
    [500, "old"],
    [429, "old"],
    [403, "old"],
    [404, "none"],
    [410, "none"],
    [302, "none"],
  ])("keeps the old one where a revalidation has status %d: %s", async (status, expected) => {
    let code = 200
    const errors: unknown[] = []
    const { text, origin, tidemark } = setUpHandler(
      { onWarning: (warning) => errors.push(warning) },
      (event) => {
        nitro.h3.setResponseStatus(event, code)
        return code === 200 ? "old" : "none"
      },
    )
    await text()
    await settled()
    await tidemark.invalidate({ namespace: "blog" })
    code = status
    await text()
    await vi.waitFor(() => expect(origin.reads).toBe(2))
    if (expected === "old") await vi.waitFor(() => expect(errors).toHaveLength(1))
    await vi.waitFor(async () => expect(await text()).toBe(expected))
    if (expected === "old") {
      for (let visit = 0; visit < 5; visit += 1) expect(await text()).toBe("old")
      expect([origin.reads, errors.length]).toEqual([2, 1])
    }
  })

  it("revalidates with nobody waiting, though the visitor's response is long gone", async () => {
    const { get, tidemark, origin } = setUpHandler({}, async (event, text) => {
      await settled()
      nitro.h3.setHeader(event, "x-made", text)
      await new Promise<void>((resolve) => event.node.res.writeEarlyHints?.({}, resolve) ?? resolve())
      return text
    })
    await get()
    await settled()
    await tidemark.invalidate({ namespace: "blog" })
    origin.text = "new"
    expect((await get()).text).toBe("old")
    await vi.waitFor(async () => expect((await get()).headers["x-made"]).toBe("new"))
  })

  it("is made by one of many who ask at once, and waits for nobody's where it is not to be kept", async () => {
    const { text, origin } = setUpHandler()
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    const all = Promise.all(Array.from({ length: 10 }, () => text()))
    await origin.began.promise
    gate.resolve()
    expect(new Set(await all)).toEqual(new Set(["old"]))
    expect(origin.reads).toBe(1)
  })

  it("is told apart where the storage holds something else, or what is broken", async () => {
    const { text, origin, storage } = setUpHandler()
    for (const wrong of [
      5,
      "x",
      {},
      { value: 5 },
      { value: {}, tidemark: {} },
      { value: null, tidemark: { stamp: 5 } },
    ]) {
      await text()
      await settled()
      for (const key of storage.kept.keys()) storage.kept.set(key, JSON.stringify(wrong))
      expect(await text()).toBe("old")
    }
    expect(origin.reads).toBe(7)
  })

  it("is kept apart by `version`, where the last deployment's is not to be served", async () => {
    const { text, origin, create } = setUpHandler({ version: "1", getKey: () => "page" })
    await text()
    await settled()
    origin.text = "new"
    const next = mount(create({ version: () => "2" }))
    expect([(await ask(next)).text, await text()]).toEqual(["new", "old"])
  })

  it("is never stale where a page that is being kept is made of it", async () => {
    const inner = setUpHandler()
    const outer = setUpHandler({ tidemark: inner.tidemark, tags: () => ["page"] }, async (event) =>
      event.$fetch(inner.path, { responseType: "text" }),
    )
    expect(await outer.text()).toBe("old")
    await settled()
    await inner.tidemark.invalidate({ namespace: "blog", tags: ["post-1", "page"] })
    inner.origin.text = "new"
    // By itself it would be, and the page would be stamped newer than what it shows.
    await outer.text()
    await vi.waitFor(async () => expect(await outer.text()).toBe("new"))
    expect(inner.origin.reads).toBe(2)
  })

  it("is refused where it is no function, and by its first request where h3 is another", async () => {
    expect(() => defineEpochCachedEventHandler({} as never, setUp() as never)).toThrow("no function")
    const serve = setUpHandler().create()
    await expect(serve({ req: new Request(base), url: new URL(base) } as never)).rejects.toThrow(
      "tidemark/nitro",
    )
  })
})

it("a handler of h3's own has its types, which `tags` is called with", () => {
  const { h3 } = nitro
  const typed = defineEpochCachedEventHandler(
    h3.defineEventHandler((event) => ({ id: h3.getRouterParam(event, "id") ?? "none" })),
    { ...setUp(), namespace: "blog", tags: ({ id }) => [`post-${id}`] },
  )
  const answer: (event: H3Event) => Promise<{ id: string }> = typed
  expect(h3.isEventHandler(answer)).toBe(true)
})

describe("pages that are rendered", () => {
  let hooks: (() => void)[] = []
  afterEach(() => {
    for (const unhook of hooks) unhook()
    hooks = []
  })

  const setUpPages = (
    options: Partial<EpochPagesOptions<H3Event>> = {},
    render?: (event: H3Event, text: string) => unknown,
  ) => {
    const system = setUp()
    const origin = new Origin()
    const plugin = epochPages<H3Event>({
      tidemark: system.tidemark,
      namespace: "blog",
      storage: () => system.storage,
      pages: (event) => !event.path.includes("account"),
      ...options,
    })
    const { hooks: own } = nitro.nitroApp
    const hook = (name: string, run: (...args: unknown[]) => unknown) => hooks.push(own.hook(name, run))
    plugin({ h3App: {}, hooks: { hook } } as never)
    nitro.render = async (event) => {
      const text = await origin.read()
      return render
        ? render(event, text)
        : { body: `<p>${text}`, headers: { "content-type": "text/html;charset=utf-8" } }
    }
    const get = (path = "/rendered/a", headers?: Record<string, string>) => ask(path, headers)
    return { ...system, origin, get, hook }
  }

  it("are kept, and invalidated by their urls, with their payloads", async () => {
    const { get, origin, tidemark } = setUpPages()
    const payload = "/rendered/a/_payload.json?_b=1"
    for (const path of ["/rendered/a", payload, "/rendered/b"]) await get(path)
    await settled()
    for (const path of ["/rendered/a", payload, "/rendered/b"])
      expect(await get(path)).toMatchObject({
        text: "<p>old",
        headers: { "cache-status": "tidemark; hit", "content-type": "text/html;charset=utf-8" },
      })
    expect(origin.reads).toBe(3)
    origin.text = "new"
    await tidemark.purge({ namespace: "blog", urls: [`${base}/rendered/a`] })
    for (const path of ["/rendered/a", payload]) expect((await get(path)).text).toBe("<p>new")
    expect((await get("/rendered/b")).text).toBe("<p>old")
  })

  it("are left to Nuxt where they are not meant, with all that the visitor sent", async () => {
    const { get, origin } = setUpPages({}, (event) => ({
      body: nitro.h3.getHeader(event, "cookie") ?? "none",
    }))
    for (const path of ["/rendered/account", "/rendered/a"]) await get(path, { cookie: "sid=alice" })
    const [own, shared] = [
      await get("/rendered/account", { cookie: "sid=bob" }),
      await get("/rendered/a", { cookie: "sid=bob" }),
    ]
    expect([own.text, shared.text]).toEqual(["sid=bob", "none"])
    expect(own.headers["cache-status"]).toBeUndefined()
    expect(origin.reads).toBe(3)
  })

  it("run the hooks and middleware of others for every visitor, and are 304 where those change nothing", async () => {
    const { get, hook } = setUpPages()
    const { headers } = await get()
    const known = { "if-none-match": String(headers.etag) }
    expect(await get("/rendered/a", known)).toMatchObject({ status: 304, text: "" })
    let visits = 0
    hook("render:response", (response) => void ((response as { body: string }).body += ` ${(visits += 1)}`))
    expect(await get("/rendered/a", known)).toMatchObject({ status: 200, text: "<p>old 1" })
    expect((await get("/rendered/a", known)).text).toBe("<p>old 2")
  })

  it("are not kept where they set a cookie, redirect or have another status", async () => {
    for (const render of [
      (event: H3Event) => (nitro.h3.setCookie(event, "a", "1"), { body: "x" }),
      () => ({ statusCode: 302, headers: { location: "/" }, body: "x" }),
      (event: H3Event) => (nitro.h3.setResponseStatus(event, 404), { body: "x" }),
      (event: H3Event) => nitro.h3.send(event, "x"),
    ]) {
      const { get, origin } = setUpPages({}, render)
      const first = await get()
      await settled()
      const second = await get()
      expect({ ...second, headers: { ...second.headers, date: "" } }).toEqual({
        ...first,
        headers: { ...first.headers, date: "", "cache-status": second.headers["cache-status"] },
      })
      if (first.status !== 200 || first.headers["set-cookie"]) expect(origin.reads).toBe(2)
      for (const unhook of hooks) unhook()
      hooks = []
    }
  })

  it("are named by `depend` in what renders them", async () => {
    const { get, origin, tidemark } = setUpPages({ tags: () => ["page"] }, (event, text) => {
      depend(event, ["post-1"])
      return { body: text }
    })
    for (const tag of ["post-1", "page"]) {
      await get()
      await settled()
      await tidemark.purge({ namespace: "blog", tags: [tag] })
    }
    expect((await get()).headers["cache-status"]).toBe("tidemark; fwd=stale; detail=purged; stored")
    expect(origin.reads).toBe(3)
    expect(depend(undefined, ["in a browser"])).toBeUndefined()
  })

  it("are refused by the app of another Nitro", () => {
    const plugin: (app: import("nitropack/types").NitroApp) => void = epochPages<H3Event>({
      ...setUp(),
      namespace: "blog",
      pages: () => true,
    })
    expect(() => plugin({ h3: {}, hooks: { hook: () => undefined } } as never)).toThrow("tidemark/nitro")
  })
})
