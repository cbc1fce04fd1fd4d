import type { RequestEvent } from "@sveltejs/kit"
import type { Handle } from "@sveltejs/kit/hooks"
import { beforeAll, describe, expect, it } from "vitest"
import { depend, epochHandle, type EpochHandleOptions } from "../../client/sveltekit.ts"
import { fastly, labelsFor } from "../../client/tags.ts"
import { MapCache } from "../../client/testing/map-cache.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark, type TidemarkOptions } from "../../client/tidemark.ts"
import { type Site, startSvelteKit, type SvelteKitServer } from "./sveltekit-server.ts"

const TTL = 5_000
const TRIES = 1_000
const SITE = "https://www.example.com"

let server: SvelteKitServer
beforeAll(async () => {
  server = await startSvelteKit()
})

/** What the platform calls the context that keeps a Worker alive. */
type WaitsAs = "ctx" | "context" | "nothing"

/** A site that SvelteKit's server runs. */
function svelteKit({
  waitsAs = "ctx",
  ...site
}: Pick<Site, "handle"> & Partial<Site> & { readonly waitsAs?: WaitsAs }) {
  const background: Promise<unknown>[] = []
  const waiting = { [waitsAs]: { waitUntil: (promise: Promise<unknown>) => void background.push(promise) } }
  const platform: Site = {
    load: () => ({ text: "page" }),
    get: () => new Response("endpoint"),
    ...waiting,
    ...site,
  }
  const open = (path = "/a", init?: RequestInit) =>
    server.respond(new Request(SITE + path, init), { platform, getClientAddress: () => "192.0.2.1" })
  const idle = async () => {
    while (background.length > 0) await background.shift()
  }
  /** What a visitor sees: the page's text, and what the cache says of itself. */
  const visit = async (path?: string, init?: RequestInit) => {
    const response = await open(path, init)
    const seen = textOf(await response.text())
    await idle()
    return `${seen} | ${response.headers.get("cache-status")}`
  }
  return { open, visit, idle, background }
}

const textOf = (html: string) => /<p>(.*)<\/p>/.exec(html)?.[1] ?? html

interface SetUp extends Partial<EpochHandleOptions<RequestEvent>>, Partial<Pick<Site, "load" | "get">> {
  readonly waitsAs?: WaitsAs
  readonly reader?: Partial<TidemarkOptions>
  readonly before?: Handle
}

function setUp({ reader, load, get, before, waitsAs = "ctx", ...options }: SetUp = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const tidemark = createTidemark({ store, now: clock.now, random: () => 0, ...reader })
  const cache = new MapCache()
  const own: Handle = epochHandle({ tidemark, namespace: "blog", cache, ...options })
  let count = 0
  const site = svelteKit({
    handle: before ? server.sequence(before, own) : own,
    load(event) {
      count += 1
      if (load) return load(event)
      depend(event, ["post-1"])
      return { text: `v${count}` }
    },
    ...(get ? { get } : {}),
    waitsAs,
  })
  return { clock, store, tidemark, cache, ...site, count: () => count }
}

describe("SvelteKit's pages under stamps", () => {
  it("are made once, and then served from the cache as they were made", async () => {
    const { open, visit, idle, count } = setUp()
    const first = await open()
    await idle()
    const second = await open()
    expect(second.headers.get("cache-status")).toBe("tidemark; hit")
    expect(await second.text()).toBe(await first.text())
    const headersOf = (response: Response) =>
      Object.fromEntries([...response.headers].filter(([name]) => name !== "cache-status"))
    expect(headersOf(second)).toEqual(headersOf(first))
    expect([...second.headers.keys()]).not.toContain("tidemark-entry")
    expect(await visit("/b")).toBe("v2 | tidemark; fwd=uri-miss; stored")
    expect(count()).toBe(2)
  })

  it.each([
    ["one text", "post-1", ["hit", "purged"]],
    ["nothing", undefined, ["purged", "purged"]],
    ["a number", 5, ["purged", "purged"]],
  ])("depend on what `depend` can make of %s", async (_, tags, expected) => {
    const seen = []
    for (const tag of ["p", "post-1"]) {
      const { visit, clock, store } = setUp({
        onWarning: () => undefined,
        load(event) {
          depend(event, tags as never)
          return { text: "page" }
        },
      })
      expect(await visit()).toBe("page | tidemark; fwd=uri-miss; stored")
      clock.time += 1
      store.record({ kind: "tags", namespace: "blog", values: [tag], hard: true })
      clock.time += 2 * TTL
      seen.push(await visit())
    }
    expect(seen).toEqual(expected.map((what) => expect.stringContaining(what) as string))
  })

  it("answer a browser that has the page with 304", async () => {
    const { open, idle } = setUp()
    const etag = (await open()).headers.get("etag") ?? ""
    await idle()
    expect((await open("/a", { headers: { "if-none-match": etag } })).status).toBe(304)
  })

  it.each([
    ["did not call depend", () => ({ text: "page" })],
    [
      "is private",
      (event) => {
        depend(event, [])
        event.setHeaders({ "cache-control": "private" })
        return { text: "page" }
      },
    ],
  ] satisfies [string, Site["load"]][])("are not kept where one %s", async (_, load) => {
    const { visit, count } = setUp({ load })
    await visit()
    await visit()
    expect(count()).toBe(2)
  })

  it("keep the data of a page out, which SvelteKit calls private", async () => {
    const { visit, count } = setUp()
    await visit("/a/__data.json")
    await visit("/a/__data.json")
    expect(count()).toBe(2)
  })

  it("may be endpoints, and are labelled for the cache in front", async () => {
    let count = 0
    const { open, idle } = setUp({
      labels: labelsFor(fastly),
      get(event) {
        depend(event, ["list"])
        depend(event, ["post-1"])
        return new Response(`v${(count += 1)}`)
      },
    })
    for (let visit = 0; visit < 2; visit += 1) {
      const response = await open("/api/posts")
      expect(await response.text()).toBe("v1")
      expect(response.headers.get("surrogate-key")).toBe("ns/blog list post-1")
      await idle()
    }
  })

  it("do not show what another page of the site shows, and is being revalidated itself", async () => {
    let text = "old"
    const { visit, tidemark } = setUp({
      get(event) {
        depend(event, ["post-1"])
        return new Response(text)
      },
      async load(event) {
        depend(event, ["post-1"])
        const { fetch: own } = event as unknown as { fetch: typeof fetch }
        return { text: await (await own("/api/post")).text() }
      },
    })
    expect(await visit("/api/post")).toBe("old | tidemark; fwd=uri-miss; stored")
    text = "new"
    await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
    expect(await visit("/a")).toBe("new | tidemark; fwd=uri-miss; stored")
  })

  it("let hooks before them see every visitor", async () => {
    const seen: string[] = []
    const { visit, count } = setUp({
      before: ({ event, resolve }) => {
        seen.push(event.url.pathname)
        return resolve(event)
      },
    })
    await visit()
    await visit()
    expect([seen, count()]).toEqual([["/a", "/a"], 1])
  })

  // A rotated session was lost on a hit, and one visitor's headers were sent to all.
  it("carry what hooks before them set for this visitor, on a hit too, and keep nothing of it", async () => {
    const { open, idle, count } = setUp({
      before: ({ event, resolve }) => {
        const who = event.request.headers.get("x-who") ?? "nobody"
        event.cookies.set("sid", `of-${who}`, { path: "/", httpOnly: true, maxAge: 60 })
        event.cookies.set("elsewhere", `of-${who}`, { path: "/elsewhere" })
        event.cookies.delete("old", { path: "/" })
        event.setHeaders({ "x-visitor": who, "x-request-id": who })
        return resolve(event)
      },
      load(event) {
        depend(event, ["post-1"])
        event.setHeaders({ "x-page": "1" })
        return { text: "page" }
      },
    })
    const seen = []
    for (const who of ["alice", "bob", "carol"]) {
      const { headers } = await open("/a", { headers: { "x-who": who, cookie: `sid=of-${who}-before` } })
      await idle()
      seen.push(headers.get("cache-status"))
      expect(headers.getSetCookie()).toEqual(
        [
          `sid=of-${who}; Max-Age=60; Path=/; HttpOnly; SameSite=Lax`,
          `elsewhere=of-${who}; Path=/elsewhere; HttpOnly; Secure; SameSite=Lax`,
          "old=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax",
        ].map((cookie) => cookie.replace("; HttpOnly; SameSite", "; HttpOnly; Secure; SameSite")),
      )
      expect([headers.get("x-visitor"), headers.get("x-request-id"), headers.get("x-page")]).toEqual([
        who,
        who,
        "1",
      ])
      expect(headers.get("content-type")).toBe("text/html")
      expect(headers.get("allow")).toBeNull()
    }
    expect(seen).toEqual(["tidemark; fwd=uri-miss; stored", "tidemark; hit", "tidemark; hit"])
    expect(count()).toBe(1)
  })

  it("are not kept where their own load set a cookie, which SvelteKit lets them do while one is revalidated", async () => {
    const { visit, count } = setUp({
      load(event) {
        depend(event, ["post-1"])
        const { cookies } = event as unknown as RequestEvent
        cookies.set("seen", "1", { path: "/" })
        return { text: "page" }
      },
    })
    await visit()
    await visit()
    expect(count()).toBe(2)
  })

  it("may be endpoints, of which a hit carries what hooks set for this visitor too", async () => {
    let count = 0
    const { open, idle } = setUp({
      before: ({ event, resolve }) => {
        const who = event.request.headers.get("x-who")
        event.setHeaders({ "x-frame-options": "DENY", "x-visitor": who ?? "nobody" })
        if (who) event.cookies.set("sid", who, { path: "/" })
        return resolve(event)
      },
      get(event) {
        depend(event, [])
        return Response.json([(count += 1)], { headers: { "x-own": "1" } })
      },
    })
    const ask = async (headers: Record<string, string> = {}) => {
      const response = await open("/api/posts", { headers })
      await idle()
      const names = ["x-frame-options", "x-visitor", "x-own", "content-type"]
      return [
        await response.text(),
        ...names.map((name) => response.headers.get(name)),
        response.headers.getSetCookie().length,
      ]
    }
    expect(await ask()).toEqual(["[1]", "DENY", "nobody", "1", "application/json", 0])
    expect(await ask({ "x-who": "alice" })).toEqual(["[1]", "DENY", "alice", "1", "application/json", 1])
    expect(await ask({ "x-who": "bob" })).toEqual(["[1]", "DENY", "bob", "1", "application/json", 1])
  })

  it("are not endpoints that answer any method: what hooks set could not be had without running them", async () => {
    const { respond } = await startSvelteKit(true, true)
    const clock = new Clock()
    const tidemark = createTidemark({ store: new ModelStore(clock), now: clock.now })
    const methods: string[] = []
    const platform: Site = {
      handle: epochHandle({ tidemark, namespace: "blog", cache: new MapCache() }),
      load: () => ({ text: "" }),
      get(event) {
        depend(event, [])
        methods.push(event.request.method)
        return new Response("page")
      },
    }
    const ask = async () =>
      (await respond(new Request(`${SITE}/a`), { platform, getClientAddress: () => "192.0.2.1" })).status
    for (let nth = 0; nth < 4; nth += 1) {
      expect(await ask()).toBe(200)
      await new Promise((resolve) => setTimeout(resolve, 0))
    }
    // Asked once by a method of ours, and then never again.
    expect(methods.filter((method) => method !== "GET")).toEqual(["NONE"])
    expect(methods.filter((method) => method === "GET")).toHaveLength(4)
  })

  it("leave alone what hooks behind the plug set on a hit", async () => {
    const clock = new Clock()
    const store = new ModelStore(clock)
    const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
    const own: Handle = epochHandle({ tidemark, namespace: "blog", cache: new MapCache() })
    let count = 0
    const { visit, open } = svelteKit({
      handle: server.sequence(own, ({ event, resolve }) => {
        event.setHeaders({ "x-after": "1" })
        event.cookies.set("after", event.request.method, { path: "/" })
        event.cookies.delete("after", { path: "/" })
        return resolve(event)
      }),
      load(event) {
        depend(event, ["post-1"])
        return { text: `v${(count += 1)}` }
      },
    })
    // A page of which cookies were set behind the plug is not kept.
    await visit()
    expect(await visit()).toContain("v2")
    expect((await open()).headers.get("x-after")).toBe("1")
  })

  it(`hold nothing of one visitor in another's answer, in random interleavings`, async () => {
    const { open, idle, store, clock, count } = setUp({
      swr: 1_000,
      before: ({ event, resolve }) => {
        const who = event.request.headers.get("x-who") ?? "nobody"
        event.cookies.set("sid", `of-${who}`, { path: "/" })
        event.setHeaders({ "x-refreshed-token": `of-${who}`, "x-request-id": `of-${who}` })
        return resolve(event)
      },
    })
    let seed = 3
    const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
    for (let nth = 0; nth < 10_000; nth += 4) {
      const turns = Array.from({ length: 4 }, async () => {
        const who = ["alice", "bob"][random(2)] ?? ""
        const response = await open(["/a", "/b"][random(2)], {
          headers: { "x-who": who, cookie: `sid=of-${who}` },
        })
        const told = JSON.stringify([await response.text(), [...response.headers]])
        if (told.includes(who === "alice" ? "of-bob" : "of-alice")) throw new Error(`${who} was told ${told}`)
        if (!told.includes(`sid=of-${who}`)) throw new Error(`${who} was not told of the session: ${told}`)
      })
      await Promise.all(turns)
      if (random(20) === 0) store.record({ kind: "namespace", namespace: "blog", hard: random(2) === 0 })
      clock.time += random(TTL)
      await idle()
    }
    expect(count()).toBeLessThan(5_000)
  })

  it.each([
    ["a tag", { tags: ["post-1"] }],
    ["their url", { urls: [`${SITE}/a`] }],
    ["their namespace", {}],
  ])("purged by %s are never served again", async (_, what) => {
    const { visit, tidemark } = setUp()
    await visit()
    await tidemark.purge({ namespace: "blog", tags: ["post-2"] })
    expect(await visit()).toBe("v1 | tidemark; hit")
    await tidemark.purge({ namespace: "blog", ...what })
    expect(await visit()).toBe("v2 | tidemark; fwd=stale; detail=purged; stored")
    expect(await visit()).toBe("v2 | tidemark; hit")
  })

  it.each(["ctx", "context", "nothing"] as const)(
    "invalidated softly are served old while one is made once more (platform: %s)",
    async (waitsAs) => {
      const gate = Promise.withResolvers<void>()
      let count = 0
      const { open, visit, tidemark, background, idle } = setUp({
        waitsAs,
        async load(event) {
          count += 1
          const text = `v${count}`
          if (count === 2) await gate.promise
          depend(event, ["post-1"])
          event.setHeaders({ "x-own": "1" })
          return { text }
        },
      })
      await visit()
      await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
      for (let visitor = 0; visitor < 3; visitor += 1) {
        const response = await open()
        expect(textOf(await response.text())).toBe("v1")
        expect(response.headers.get("cache-control")).toBe("no-store")
      }
      expect(background.length > 0).toBe(waitsAs !== "nothing")
      gate.resolve()
      await idle()
      await expect.poll(() => visit()).toBe("v2 | tidemark; hit")
      expect(count).toBe(2)
    },
  )

  it("never serve as fresh what was made before an invalidation and kept after it; a cache that is deleted from does", async () => {
    const stale = { tidemark: 0, deleted: 0 }
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      for (const kind of ["tidemark", "deleted"] as const) {
        const isHard = attempt % 2 === 0
        const began = Promise.withResolvers<void>()
        const gate = Promise.withResolvers<void>()
        let text = "old"
        const cache = new MapCache()
        const clock = new Clock()
        const store = new ModelStore(clock)
        store.record({ kind: "everything", namespace: "" })
        const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
        const naive: Handle = async ({ event, resolve }) => {
          const found = await cache.match(event.request)
          if (found) return found
          const response = await resolve(event)
          await cache.put(event.request, response.clone())
          return response
        }
        const { visit } = svelteKit({
          handle: kind === "tidemark" ? epochHandle({ tidemark, namespace: "blog", cache }) : naive,
          async load(event) {
            const read = text
            began.resolve()
            await gate.promise
            depend(event, ["post-1"])
            return { text: read }
          },
        })
        const first = visit()
        await began.promise
        text = "new"
        if (kind === "deleted") await cache.delete(`${SITE}/a`)
        else await tidemark[isHard ? "purge" : "invalidate"]({ namespace: "blog", tags: ["post-1"] })
        gate.resolve()
        await first
        // After a soft one it may be served while it is made once more, once.
        if (!isHard) await visit()
        if ((await visit()).startsWith("old")) stale[kind] += 1
      }
    }
    expect(stale).toEqual({ tidemark: 0, deleted: TRIES })
  })

  it("are kept when they are made at once after an invalidation, and see the next in the same millisecond", async () => {
    const { visit, tidemark, store } = setUp()
    await visit()
    for (let round = 1; round <= 3; round += 1) {
      await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
      expect(store.last % 1_000).toBe(round)
      expect(await visit()).toContain(`v${round + 1} | tidemark; fwd=stale`)
      expect(await visit()).toBe(`v${round + 1} | tidemark; hit`)
    }
  })

  it.each([3_600_000, -3_600_000])(
    "with a clock that is %d ms off are neither served old nor made for ever",
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

  it.each([null, "", "{", "{}", '{"stamp":"1.1"}', '{"stamp":"17.1800000000000000","depends":{"tags":5}}'])(
    "are made anew where the copy's entry is %j",
    async (entry) => {
      const { visit, cache } = setUp()
      await visit()
      for (const copy of cache.kept.values()) {
        if (entry === null) copy.headers.delete("tidemark-entry")
        else copy.headers.set("tidemark-entry", entry)
      }
      expect(await visit()).toContain("v2 | tidemark; fwd=")
      expect(await visit()).toBe("v2 | tidemark; hit")
    },
  )

  it("take tags that are none for what they are: nobody can invalidate by them", async () => {
    const { visit, tidemark } = setUp({ tags: () => ["", "x".repeat(5_000)] })
    await visit()
    expect(await visit()).toBe("v1 | tidemark; hit")
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    expect(await visit()).toContain("v2")
  })

  it("go by what is known while the store is away, and are then made for each visitor", async () => {
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

  it("are kept in memory where the runtime has no Cache API", async () => {
    const { tidemark } = setUp()
    const { visit } = svelteKit({
      handle: epochHandle({ tidemark, namespace: "blog" }),
      load(event) {
        depend(event, [])
        return { text: "page" }
      },
    })
    await visit()
    expect(await visit()).toBe("page | tidemark; hit")
  })
})
