import { once } from "node:events"
import { Agent, createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { text as textOf } from "node:stream/consumers"
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest"
import {
  defineEpochCachedEventHandler,
  defineEpochCachedFunction,
  type EpochHandlerOptions,
  epochPages,
} from "../../client/nuxt.ts"
import type { EpochCacheWarning } from "../../client/pages.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark } from "../../client/tidemark.ts"
import { cookie, language } from "../../client/vary.ts"
import { importNitro2, type Nitro2 } from "./nitro2-app.ts"

/** What `tidemark/nuxt` promises about visitors, names, bodies and failures, in an app that nitropack built. */

const INTERLEAVINGS = 10_000
const BREAKS = 300
const MINUTE = 60_000

type H3Event = import("h3").H3Event
type Options = Partial<EpochHandlerOptions<H3Event>>

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

let app: Awaited<ReturnType<typeof importNitro2>>
let nitro: Nitro2
let server: Server
let base: string
const agent = new Agent({ keepAlive: true })
const hooks: (() => void)[] = []

beforeAll(async () => {
  app = await importNitro2()
  nitro = app.nitro
  server = createServer(nitro.h3.toNodeListener(nitro.nitroApp.h3App as never))
  await once(server.listen(0, "127.0.0.1"), "listening")
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterAll(() => {
  agent.destroy()
  server.closeAllConnections()
  server.close()
  app.remove()
})

afterEach(() => {
  nitro.before = () => undefined
  for (const unhook of hooks.splice(0)) unhook()
  vi.restoreAllMocks()
})

interface Answered {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
  /** As in `Cache-Status`. */
  readonly how: string
}

/** Unlike `fetch`, it sends what it is told to, and adds nothing. */
async function ask(path: string, headers: Record<string, string> = {}): Promise<Answered> {
  const sent = httpRequest(base + path, { headers: { host: "www.example.com", ...headers }, agent }).end()
  const [response] = (await once(sent, "response")) as [IncomingMessage]
  const text = await textOf(response).catch((error: unknown) => `broke off: ${String(error)}`)
  const how = String(response.headers["cache-status"] ?? "").replace(/^tidemark; /, "")
  return { status: response.statusCode ?? 0, headers: response.headers, text, how }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

/** Park and Miller's. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => (state = (state * 48_271) % 2_147_483_647) % below
}

let routes = 0

/** Serves what makes a page, as a handler and as Nuxt would render it. */
function serve(kind: "handler" | "page", make: (event: H3Event) => unknown, options: Options = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
  const storage = memoryStorage()
  const warnings: EpochCacheWarning[] = []
  let made = 0
  const counted = (event: H3Event) => {
    made += 1
    return make(event)
  }
  const shared = {
    tidemark,
    namespace: "blog",
    storage: () => storage,
    onWarning: (warning: EpochCacheWarning) => void warnings.push(warning),
    ...options,
  }
  let path: string
  if (kind === "handler") {
    path = `/visitors-${(routes += 1)}`
    nitro.nitroApp.router.use(`${path}/**`, defineEpochCachedEventHandler<H3Event, unknown>(counted, shared))
  } else {
    path = "/rendered"
    nitro.render = async (event) => {
      const body = await counted(event)
      return typeof body === "string" ? { body, headers: { "content-type": "text/html" } } : body
    }
    const { hooks: own } = nitro.nitroApp
    const hook = (name: string, run: (...args: unknown[]) => unknown) => hooks.push(own.hook(name, run))
    const { tags: _, ...rest } = shared
    epochPages<H3Event>({ ...rest, pages: () => true })({ h3App: {}, hooks: { hook } } as never)
  }
  const invalidate = (hard: boolean) => {
    clock.time += 1
    store.record({ kind: "namespace", namespace: "blog", hard })
    clock.time += 10_000
  }
  return { path, clock, store, storage, tidemark, warnings, invalidate, made: () => made }
}

const KINDS = ["handler", "page"] as const

describe.each(KINDS)("one visitor's own, in a %s", (kind) => {
  it("is nowhere in another's answer, in random interleavings", async () => {
    const { h3 } = nitro
    nitro.before = (event) => {
      const who = h3.getHeader(event, "x-who")
      if (who === undefined) return
      Object.assign(event.context, { user: `of-${who}`, nonce: `of-${who}` })
      h3.setHeader(event, "x-refreshed-token", `of-${who}`)
      h3.setHeader(event, "x-request-id", `of-${who}`)
      if (h3.getHeader(event, "x-rotate") === undefined) return
      h3.setCookie(event, "sid", `of-${who}`)
      h3.setHeader(event, "content-security-policy", `script-src 'nonce-of-${who}'`)
    }
    const { path, store, clock } = serve(
      kind,
      async (event) => {
        const { user, nonce } = event.context as { user?: string; nonce?: string }
        if (event.path.endsWith("/slow")) await settled()
        if (h3.getHeader(event, "x-preview") !== undefined) return `a draft ${user}`
        if (event.path.endsWith("/nonce")) return `<script nonce="${nonce}">1</script>`
        if (event.path.endsWith("/account")) {
          h3.setHeader(event, "cache-control", "private")
          return `of ${user}`
        }
        if (event.path.endsWith("/policy"))
          h3.setHeader(event, "content-security-policy", `script-src 'nonce-${nonce}'`)
        if (event.path.endsWith("/cookie")) h3.setCookie(event, "seen", String(user))
        h3.setHeader(event, "x-correlation-id", String(user))
        return `page ${h3.getHeader(event, "cookie")} ${h3.getHeader(event, "x-who")} ${event.path}`
      },
      { bypass: (event) => h3.getHeader(event, "x-preview") !== undefined },
    )
    const paths = ["/a", "/a", "/slow", "/b?utm_source=of-", "/nonce", "/account", "/policy", "/cookie"]
    const random = randomFrom(1)
    let hits = 0
    for (let nth = 0; nth < INTERLEAVINGS; nth += 4) {
      const turns = Array.from({ length: 4 }, async () => {
        const who = ["alice", "bob", "nobody"][random(3)] ?? ""
        const asked = (paths[random(paths.length)] ?? "").replace(/of-$/, `of-${who}`)
        const { text, headers } = await ask(path + asked, {
          ...(who !== "nobody" && { "x-who": who, cookie: `sid=of-${who}` }),
          ...(random(8) === 0 && { "x-preview": "1" }),
          ...(random(2) === 0 && { "x-rotate": "1" }),
        })
        const told = JSON.stringify([text, headers])
        if (["of-alice", "of-bob"].some((name) => name !== `of-${who}` && told.includes(name)))
          throw new Error(`${who} at ${asked} was told ${told}`)
        if (who !== "nobody" && headers["x-refreshed-token"] !== `of-${who}`)
          throw new Error(`${who} at ${asked} lacks what was prepared for them`)
        if (/tidemark; hit/.test(told)) hits += 1
      })
      await Promise.all(turns)
      if (random(20) === 0) store.record({ kind: "namespace", namespace: "blog", hard: random(2) === 0 })
      clock.time += random(5_000)
    }
    expect(hits).toBeGreaterThan(INTERLEAVINGS / 10)
  })

  it("passes where what was prepared for them says that it is private", async () => {
    nitro.before = (event) => {
      if (nitro.h3.getHeader(event, "x-who") === "alice")
        nitro.h3.setHeader(event, "cache-control", "private, no-store")
    }
    const { path, made } = serve(kind, (event) => `page ${nitro.h3.getHeader(event, "x-who")}`)
    for (let visit = 0; visit < 2; visit += 1)
      expect(await ask(`${path}/a`, { "x-who": "alice" })).toMatchObject({
        text: "page alice",
        how: "fwd=bypass",
        headers: { "cache-control": "private, no-store" },
      })
    expect(await ask(`${path}/a`)).toMatchObject({ text: "page undefined", how: "fwd=uri-miss; stored" })
    expect(made()).toBe(3)
  })
})

describe.each(KINDS)("what a %s is kept under", (kind) => {
  const forwarding = [
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
    "x-original-host",
    "x-host",
    "x-original-url",
    "x-rewrite-url",
  ]

  it.each<[string, Options]>([
    ["the host", {}],
    ["a key of the user's", { getKey: () => "one", url: () => "https://www.example.com/a" }],
  ])("holds every name that it was asked by, beside %s", async (_, options) => {
    const { h3 } = nitro
    const name = (event: H3Event) =>
      JSON.stringify([
        h3.getRequestHost(event, { xForwardedHost: true }),
        h3.getRequestProtocol(event, { xForwardedProto: true }),
        ...forwarding.map((header) => h3.getHeader(event, header) ?? null),
      ])
    const bare = `/bare-${(routes += 1)}`
    nitro.nitroApp.router.use(`${bare}/**`, nitro.h3.defineEventHandler(name))
    const { path } = serve(kind, name, options)
    const names = ["www.example.com", "evil.example", "127.0.0.1:8080", "www.example.com:444"]
    const random = randomFrom(7)
    let hits = 0
    for (let nth = 0; nth < 500; nth += 1) {
      const headers: Record<string, string> = { host: names[random(names.length)] ?? "" }
      for (const header of forwarding) {
        const value = header === "x-forwarded-proto" ? "https" : (names[random(names.length)] ?? "")
        if (random(8) === 0) headers[header] = (header === "forwarded" ? "host=" : "") + value
      }
      const { text, how } = await ask(`${path}/a`, headers)
      expect(text).toBe((await ask(`${bare}/a`, headers)).text)
      if (how === "hit") hits += 1
    }
    expect(hits).toBeGreaterThan(50)
  })

  it("holds what a normaliser makes of a header, and is made of that", async () => {
    const { path, made } = serve(
      kind,
      (event) => {
        nitro.h3.setHeader(event, "vary", "Accept-Language, Cookie")
        const { cookie: cookies, "accept-language": wanted } = event.node.req.headers
        return `${wanted} ${cookies}`
      },
      { vary: { "accept-language": language(["en", "de"]), cookie: cookie("theme", ["dark"]) } },
    )
    const texts = []
    for (const wanted of ["de-DE,de;q=0.9", "de-AT", "fr"])
      for (const cookies of ["sid=alice; theme=dark", "theme=dark; sid=bob", "sid=carol"])
        texts.push((await ask(`${path}/a`, { "accept-language": wanted, cookie: cookies })).text)
    expect(made()).toBe(4)
    expect([...new Set(texts)]).toEqual(["de theme=dark", "de undefined", "en theme=dark", "en undefined"])
  })

  it("holds that also where it could not be kept before", async () => {
    let status = 500
    const { path } = serve(
      kind,
      (event) => {
        nitro.h3.setResponseStatus(event, status)
        return `page ${nitro.h3.getHeader(event, "cookie")} ${event.path}`
      },
      { vary: { cookie: cookie("theme") } },
    )
    await ask(`${path}/a`, { cookie: "sid=alice; theme=dark" })
    status = 200
    const alice = await ask(`${path}/a?utm_source=alice`, { cookie: "sid=alice; theme=dark" })
    expect(alice.text).toBe(`page theme=dark ${path}/a`)
    expect(await ask(`${path}/a`, { cookie: "theme=dark" })).toMatchObject({ text: alice.text, how: "hit" })
  })

  it("lacks what `query` says, and so does what it is made from", async () => {
    const page = (event: H3Event) => event.path.replace(/^.*\/q/, "")
    const ignoring = serve(kind, page, { query: { ignore: ["ref", "x-*"] } })
    for (const query of ["", "?ref=1", "?x-a=1&x-b=2"])
      expect((await ask(`${ignoring.path}/q${query}`)).text).toBe("")
    expect(ignoring.made()).toBe(1)
    expect((await ask(`${ignoring.path}/q?utm_source=a&ref=1`)).text).toBe("?utm_source=a")
    for (const unhook of hooks.splice(0)) unhook()
    const allowing = serve(kind, page, { query: { allow: ["page"] } })
    for (const query of ["?page=1", "?page=1&anything=2", "?anything=3&page=1"])
      expect((await ask(`${allowing.path}/q${query}`)).text).toBe("?page=1")
    expect(allowing.made()).toBe(1)
  })
})

describe.each(KINDS)("what of a %s is never kept", (kind) => {
  it.each<[string, (event: H3Event) => unknown]>([
    ["a nonce in it", () => '<p>1</p><script nonce="r4nd0m">1</script>'],
    [
      "a nonce in its policy",
      (event) => (nitro.h3.setHeader(event, "content-security-policy", "script-src 'nonce-r4nd0m'"), "page"),
    ],
    ["s-maxage=0", (event) => (nitro.h3.setHeader(event, "cache-control", "s-maxage=0"), "page")],
    ["Expires: 0", (event) => (nitro.h3.setHeader(event, "expires", "0"), "page")],
  ])("is one with %s", async (_, make) => {
    const { path, made } = serve(kind, (event) => {
      nitro.h3.setHeader(event, "content-type", "text/html")
      return make(event)
    })
    for (let visit = 0; visit < 3; visit += 1) {
      expect((await ask(`${path}/a`)).how).not.toMatch(/^hit/)
      await settled()
    }
    expect(made()).toBe(3)
  })

  it("is what is about one request", async () => {
    const { path } = serve(kind, (event) => {
      for (const name of ["x-request-id", "traceparent", "server-timing", "ratelimit-remaining", "x-page"])
        nitro.h3.setHeader(event, name, "1")
      return "page"
    })
    expect((await ask(`${path}/a`)).headers).toMatchObject({ "x-request-id": "1", "x-page": "1" })
    const { headers, how } = await ask(`${path}/a`)
    expect(how).toBe("hit")
    expect(Object.keys(headers).filter((name) => /^x-|trace|timing|rate/.test(name))).toEqual(["x-page"])
  })
})

describe("a body that breaks off", () => {
  const half = new TextEncoder().encode("half a page")

  it.each<[string, (event: H3Event) => unknown]>([
    [
      "by its stream",
      () => {
        let isBegun = false
        return new ReadableStream({
          pull(controller) {
            if (isBegun) throw new Error("broke off")
            isBegun = true
            controller.enqueue(half)
          },
        })
      },
    ],
    [
      "by what is thrown when half of it is written",
      (event) => {
        event.node.res.write(half)
        throw nitro.h3.createError({ statusCode: 500, message: "broke off" })
      },
    ],
    [
      "before the length that it is said to have",
      () => new Response(half, { headers: { "content-length": "1000", connection: "close" } }),
    ],
  ])("is never a hit: %s", async (_, make) => {
    vi.spyOn(console, "error").mockReturnValue(undefined)
    const { path, storage, made } = serve("handler", make)
    let hits = 0
    for (let nth = 0; nth < BREAKS; nth += 1) {
      for (let visit = 0; visit < 2; visit += 1) {
        const outcome = await ask(`${path}/${nth}`).catch(() => undefined)
        if (outcome?.how.startsWith("hit")) hits += 1
        await settled()
      }
    }
    expect(hits).toBe(0)
    expect(made()).toBe(2 * BREAKS)
    expect([...storage.kept.values()].filter((page) => page.includes("half"))).toEqual([])
  })
})

describe.each(KINDS)("a storage, for a %s", (kind) => {
  const VISITS = 50

  it("that hangs is let alone while it rests, and told of once; every visit is answered", async () => {
    for (const what of ["getItem", "setItem"] as const) {
      let calls = 0
      const hanging = {
        ...memoryStorage(),
        [what]: () => {
          calls += 1
          return new Promise<never>(() => undefined)
        },
      }
      const { path, warnings } = serve(kind, () => "page", { storage: hanging, storageTimeout: 20 })
      // It rests for some seconds, which do not pass here.
      const now = vi.spyOn(Date, "now").mockReturnValue(Date.now())
      expect((await ask(`${path}/a`)).text).toBe("page")
      await expect.poll(() => warnings).toHaveLength(1)
      const before = calls
      for (let visit = 0; visit < VISITS; visit += 1)
        expect(await ask(`${path}/${visit}`)).toMatchObject({ status: 200, text: "page" })
      expect([calls, warnings.length]).toEqual([before, 1])
      now.mockRestore()
      for (const unhook of hooks.splice(0)) unhook()
    }
  })

  it("that fails is gone without, and people are told once", async () => {
    const said = vi.spyOn(console, "warn").mockReturnValue(undefined)
    const fail = async (): Promise<never> => {
      throw new Error("connect ECONNREFUSED redis://user:secret@redis")
    }
    const { path, made } = serve(kind, () => "page", {
      storage: { getItem: fail, setItem: fail },
      onWarning: undefined as never,
    })
    for (let visit = 0; visit < VISITS; visit += 1) expect((await ask(`${path}/a`)).text).toBe("page")
    expect(made()).toBe(VISITS)
    const lines = said.mock.calls.flat().map(String)
    expect(lines.filter((line) => line.includes("cache-failed"))).toHaveLength(1)
    expect(lines.filter((line) => line.includes("put-failed"))).toHaveLength(1)
    expect(lines.join()).not.toContain("secret")
  })

  it("that is slow is waited for, and hits", async () => {
    const { getItem, setItem } = memoryStorage()
    const slow = {
      getItem: (key: string) => settled().then(() => getItem(key)),
      setItem: (key: string, value: unknown) => settled().then(() => setItem(key, value)),
    }
    const { path, made } = serve(kind, () => "page", { storage: slow })
    await ask(`${path}/a`)
    await expect.poll(async () => (await ask(`${path}/a`)).how).toBe("hit")
    for (let visit = 0; visit < VISITS; visit += 1) expect((await ask(`${path}/a`)).how).toBe("hit")
    expect(made()).toBeLessThanOrEqual(3)
  })
})

describe.each(KINDS)("a %s that cannot be made once more", (kind) => {
  const VISITS = 100

  it.each<[string, number | "throws"]>([
    ["status 500", 500],
    ["status 429", 429],
    ["status 403", 403],
    ["what it throws", "throws"],
  ])("stays, is not tried at each visit, and is told of once: %s", async (_, failure) => {
    const { h3 } = nitro
    let isFailing = false
    const { path, warnings, invalidate, clock, made } = serve(kind, (event) => {
      if (isFailing && failure === "throws") throw h3.createError({ statusCode: 503, message: "no such" })
      if (isFailing) h3.setResponseStatus(event, Number(failure))
      return isFailing ? "broken" : "good"
    })
    await ask(`${path}/a`)
    isFailing = true
    invalidate(false)
    for (let visit = 0; visit < VISITS; visit += 1)
      expect(await ask(`${path}/a`)).toMatchObject({ text: "good", headers: { "cache-control": "no-store" } })
    expect(made()).toBe(2)
    expect(warnings.map(({ code }) => code)).toEqual(["revalidation-failed"])
    // Longer than it may be served while it is revalidated.
    clock.time += 2 * MINUTE
    expect(await ask(`${path}/a`)).toMatchObject({ text: "good", how: "hit; detail=stale-if-error" })
    expect(made()).toBe(2)
    clock.time += 3 * MINUTE
    const { how, text } = await ask(`${path}/a`)
    expect([how.startsWith("hit"), text]).not.toContain("good")
  })

  it.each([404, 410, 451])("goes where it throws that it is gone: %d", async (statusCode) => {
    let isGone = false
    const { path, invalidate, warnings } = serve(kind, () => {
      if (isGone) throw nitro.h3.createError({ statusCode, message: "gone" })
      return "good"
    })
    await ask(`${path}/a`)
    isGone = true
    invalidate(false)
    expect((await ask(`${path}/a`)).text).toBe("good")
    await expect.poll(async () => (await ask(`${path}/a`)).status).toBe(statusCode)
    expect(warnings).toEqual([])
  })
})

describe("a function", () => {
  const setUp = (fn: () => unknown) => {
    const clock = new Clock()
    const store = new ModelStore(clock)
    store.record({ kind: "everything", namespace: "" })
    const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
    const warnings: EpochCacheWarning[] = []
    const get = defineEpochCachedFunction(fn, {
      name: "any",
      tidemark,
      namespace: "blog",
      storage: memoryStorage(),
      onWarning: (warning) => void warnings.push(warning),
    })
    return { clock, tidemark, warnings, get }
  }

  it("that fails is not tried at each call, and its old value is given for as long as it may be", async () => {
    let calls = 0
    const { get, clock, tidemark, warnings } = setUp(() => {
      calls += 1
      if (calls > 1) throw new Error("no such")
      return "good"
    })
    await get()
    await settled()
    clock.time += 1
    await tidemark.invalidate({ namespace: "blog" })
    for (let call = 0; call < 100; call += 1) {
      expect(await get()).toBe("good")
      await settled()
    }
    expect([calls, warnings.length]).toEqual([2, 1])
    clock.time += 2 * MINUTE
    expect(await get()).toBe("good")
    expect(calls).toBe(2)
    clock.time += 4 * MINUTE
    await expect(get()).rejects.toThrow("no such")
  })

  it("is not given up for one failure that comes late", async () => {
    let calls = 0
    const { get, clock, tidemark, warnings } = setUp(() => {
      calls += 1
      if (calls === 2) throw new Error("no such")
      return calls
    })
    await get()
    await settled()
    clock.time += 1
    await tidemark.invalidate({ namespace: "blog" })
    clock.time += 2 * MINUTE
    expect(await get()).toBe(1)
    expect(warnings).toEqual([{ code: "revalidation-failed", cause: new Error("no such") }])
    await tidemark.purge({ namespace: "blog" })
    expect(await get()).toBe(3)
  })
})
