import { defineCachedFunction } from "ocache"
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest"
import {
  defineEpochCachedFunction,
  defineEpochCachedHandler,
  type EpochHandlerOptions,
  type HTTPEvent,
} from "../../client/nitro.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark } from "../../client/tidemark.ts"
import { cookie, language } from "../../client/vary.ts"
import { loadNitro3, type Nitro3 } from "./nitro3-runtime.ts"

/** What `tidemark/nitro` promises about visitors, names, bodies and failures, in Nitro 3 itself under h3 2. */

const INTERLEAVINGS = 10_000
const BREAKS = 300
const MINUTE = 60_000
const SITE = "https://www.example.com"
const LONG = { maxAge: 3_600, swr: true, staleMaxAge: 3_600 }

type Options = Partial<EpochHandlerOptions<HTTPEvent>>

/** A storage as Redis is one: what it keeps is JSON. */
function jsonStorage() {
  const kept = new Map<string, string>()
  return {
    kept,
    getItem: async (key: string): Promise<unknown> => JSON.parse(kept.get(key) ?? "null"),
    setItem: async (key: string, value: unknown): Promise<void> =>
      void (value === null || value === undefined ? kept.delete(key) : kept.set(key, JSON.stringify(value))),
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

/** Park and Miller's. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => (state = (state * 48_271) % 2_147_483_647) % below
}

let nitro: Nitro3
beforeAll(async () => {
  nitro = await loadNitro3("nitro")
})
afterEach(() => vi.restoreAllMocks())

function setUpReader() {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
  const invalidate = (hard: boolean) => {
    clock.time += 1
    store.record({ kind: "namespace", namespace: "blog", hard })
    clock.time += 10_000
  }
  return { clock, store, tidemark, invalidate }
}

/** An app of h3 whose pages are made by one handler behind one middleware. */
function serve(make: (event: any) => unknown, options: Options = {}, before?: (event: any) => unknown) {
  const system = setUpReader()
  const storage = jsonStorage()
  const errors: unknown[] = []
  const app = new nitro.H3()
  let made = 0
  if (before) app.use((event) => void before(event))
  const handler = defineEpochCachedHandler(
    nitro.defineCachedHandler,
    async (event: HTTPEvent) => {
      made += 1
      return make(event)
    },
    {
      tidemark: system.tidemark,
      namespace: "blog",
      storage,
      onError: (error) => void errors.push(error),
      ...LONG,
      ...options,
    },
  )
  app.get("/**", handler)
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const response = await app.request(path.startsWith("/") ? SITE + path : path, { headers })
    const text = await response.text().catch((error: unknown) => `broke off: ${String(error)}`)
    return { status: response.status, headers: response.headers, text, how: response.headers.get("x-cache") }
  }
  return { ...system, storage, errors, ask, made: () => made }
}

const pathOf = (event: any): string => event.url.pathname

describe("one visitor's own", () => {
  it.each<[string, (text: string, event: any) => unknown]>([
    [
      "as a response",
      (text, event) => {
        const headers = new Headers(event.res.headers)
        headers.set("content-type", "text/html")
        return new Response(text, { headers })
      },
    ],
    [
      "as what h3 makes a response of",
      (text, event) => (event.res.headers.set("content-type", "text/html"), text),
    ],
  ])("is nowhere in another's answer, in random interleavings: %s", async (_, answer) => {
    const { ask, store, clock } = serve(
      async (event) => {
        const { headers } = event.res
        const { user, nonce } = event.context
        const path = pathOf(event)
        if (path === "/slow") await settled()
        if (event.req.headers.has("x-preview")) return `a draft ${user}`
        if (path === "/nonce") return answer(`<script nonce="${nonce}">1</script>`, event)
        if (path === "/policy") headers.set("content-security-policy", `script-src 'nonce-${nonce}'`)
        if (path === "/account") headers.set("cache-control", "private")
        if (path === "/cookie") headers.append("set-cookie", `seen=${user}`)
        if (path === "/moved") return Response.redirect(`${SITE}/${user}`)
        if (path === "/fails") throw new Error(`no page ${user}`)
        headers.set("x-correlation-id", String(user))
        const asked = [...event.req.headers].map(([name, value]) => `${name}=${value}`)
        return answer(path === "/account" ? `of ${user}` : `page ${asked.join()} ${event.url.search}`, event)
      },
      { bypass: (event) => event.req.headers.has("x-preview"), allowQuery: true },
      (event) => {
        const who = event.req.headers.get("x-who")
        if (who === null) return
        Object.assign(event.context, { user: `of-${who}`, nonce: `of-${who}` })
        event.res.headers.set("x-refreshed-token", `of-${who}`)
        event.res.headers.set("x-request-id", `of-${who}`)
        if (!event.req.headers.has("x-rotate")) return
        event.res.headers.append("set-cookie", `sid=of-${who}`)
        event.res.headers.set("content-security-policy", `script-src 'nonce-of-${who}'`)
      },
    )
    vi.spyOn(console, "error").mockReturnValue(undefined)
    const paths = [
      "/a",
      "/a",
      "/slow",
      "/b?utm_source=of-",
      "/nonce",
      "/account",
      "/policy",
      "/cookie",
      "/moved",
    ]
    const random = randomFrom(1)
    let hits = 0
    for (let nth = 0; nth < INTERLEAVINGS; nth += 4) {
      const turns = Array.from({ length: 4 }, async () => {
        const who = ["alice", "bob", "nobody"][random(3)] ?? ""
        const asked = (paths[random(paths.length)] ?? "").replace(/of-$/, `of-${who}`)
        const { text, headers, how } = await ask(asked, {
          ...(who !== "nobody" && { "x-who": who, cookie: `sid=of-${who}` }),
          ...(random(8) === 0 && { "x-preview": "1" }),
          ...(random(2) === 0 && { "x-rotate": "1" }),
        })
        const told = JSON.stringify([text, [...headers]])
        if (["of-alice", "of-bob"].some((name) => name !== `of-${who}` && told.includes(name)))
          throw new Error(`${who} at ${asked} was told ${told}`)
        if (who !== "nobody" && headers.get("x-refreshed-token") !== `of-${who}` && asked !== "/moved")
          throw new Error(`${who} at ${asked} lacks what was prepared for them: ${told}`)
        if (how === "HIT") hits += 1
      })
      await Promise.all(turns)
      if (random(20) === 0) store.record({ kind: "namespace", namespace: "blog", hard: random(2) === 0 })
      clock.time += random(5_000)
    }
    expect(hits).toBeGreaterThan(INTERLEAVINGS / 10)
  })

  it("passes where what was prepared for them says that it is private", async () => {
    const { ask, made } = serve(
      (event) => `page ${event.req.headers.get("x-who")}`,
      {},
      (event) => {
        if (event.req.headers.has("x-who")) event.res.headers.set("cache-control", "private, no-store")
      },
    )
    for (let visit = 0; visit < 2; visit += 1) {
      const { text, headers } = await ask("/a", { "x-who": "alice" })
      expect([text, headers.get("cache-control")]).toEqual(["page alice", "private, no-store"])
    }
    expect((await ask("/a")).text).toBe("page null")
    expect(made()).toBe(3)
  })

  it("is not for those who wait for the same page", async () => {
    let count = 0
    const gate = Promise.withResolvers<void>()
    const { ask } = serve(async (event) => {
      const mine = (count += 1)
      await gate.promise
      event.res.headers.append("set-cookie", `sid=${mine}`)
      return `page ${mine}`
    })
    const all = Promise.all([ask("/a"), ask("/a"), ask("/a")])
    await vi.waitFor(() => expect(count).toBe(1))
    gate.resolve()
    const answers = await all
    expect(new Set(answers.map(({ text }) => text)).size).toBe(3)
    for (const { text, headers } of answers) expect(headers.getSetCookie()).toEqual([`sid=${text.slice(5)}`])
  })

  it("a revalidation adds nothing to what a visitor is answered with meanwhile", async () => {
    const { ask, invalidate } = serve((event) => {
      event.res.headers.set("cache-control", "public, s-maxage=3600")
      event.res.headers.set("x-page", "1")
      return "page"
    })
    await ask("/a")
    invalidate(false)
    const { headers, how } = await ask("/a")
    expect([how, headers.get("cache-control")]).toEqual(["STALE", "no-store"])
    expect(headers.has("tidemark-entry")).toBe(false)
  })
})

describe("what a page is kept under", () => {
  const forwarding = [
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "forwarded",
    "x-original-url",
  ]

  it.each<[string, Options]>([
    ["the host", {}],
    ["a key of the user's", { getKey: () => "one" }],
    ["a forwarded host", { varies: ["x-forwarded-host"], vary: ["x-forwarded-proto"] }],
  ])("holds every name that it was made from, beside %s", async (_, options) => {
    const seen = [...(options.varies ?? []), ...((options.vary as string[] | undefined) ?? [])]
    const { ask } = serve(
      (event) =>
        JSON.stringify([
          event.url.origin,
          event.req.headers.get("host"),
          ...forwarding.map((name) => event.req.headers.get(name)),
        ]),
      options,
    )
    const names = ["www.example.com", "evil.example", "127.0.0.1:8080", "www.example.com:444"]
    const random = randomFrom(7)
    let hits = 0
    for (let nth = 0; nth < 500; nth += 1) {
      const url = new URL(`${["http", "https"][random(2)]}://${names[random(names.length)]}/a`)
      const headers: Record<string, string> = {}
      for (const name of forwarding) if (random(6) === 0) headers[name] = names[random(names.length)] ?? ""
      const { text, how } = await ask(url.href, headers)
      // ocache shows a handler no others.
      const shown = forwarding.map((name) => (seen.includes(name) ? (headers[name] ?? null) : null))
      expect(text).toBe(JSON.stringify([url.origin, url.host, ...shown]))
      if (how === "HIT") hits += 1
    }
    expect(hits).toBeGreaterThan(50)
  })

  it("holds what a normaliser makes of a header, and is made of that", async () => {
    const { ask, made } = serve(
      ({ req }) => `${req.headers.get("accept-language")} ${req.headers.get("cookie")}`,
      { vary: { "accept-language": language(["en", "de"]), cookie: cookie("theme", ["dark"]) } },
    )
    const texts = []
    for (const wanted of ["de-DE,de;q=0.9", "de-AT", "fr"])
      for (const cookies of ["sid=alice; theme=dark", "theme=dark; sid=bob", "sid=carol"])
        texts.push((await ask("/a", { "accept-language": wanted, cookie: cookies })).text)
    expect(made()).toBe(4)
    expect([...new Set(texts)]).toEqual(["de theme=dark", "de null", "en theme=dark", "en null"])
  })

  it("lacks what `query` says, and so does what it is made from", async () => {
    const page = (event: any) => `?${event.url.search}${new URL(event.req.url).search}`
    const ignoring = serve(page, { query: { ignore: ["ref", "x-*"] } })
    for (const query of ["", "?ref=1", "?x-a=1&x-b=2"])
      expect((await ignoring.ask(`/q${query}`)).text).toBe("?")
    expect(ignoring.made()).toBe(1)
    expect((await ignoring.ask("/q?a=1&ref=1")).text).toBe("??a=1?a=1")
    const allowing = serve(page, { query: { allow: ["page"] } })
    for (const query of ["?page=1", "?page=1&anything=2", "?anything=3&page=1"])
      expect((await allowing.ask(`/q${query}`)).text).toBe("??page=1?page=1")
    expect(allowing.made()).toBe(1)
  })

  it("changes with the version", async () => {
    const storage = jsonStorage()
    const { tidemark } = setUpReader()
    for (const [version, expected] of [
      ["1", 1],
      ["2", 1],
      ["2", 0],
    ] as const) {
      const { ask, made } = serve(() => "page", {
        storage,
        tidemark,
        version,
        name: "page",
        integrity: "same",
      })
      await ask("/a")
      await settled()
      expect(made()).toBe(expected)
    }
  })
})

describe("what is never kept", () => {
  const page = (headers: Record<string, string>, text = "page", status = 200) =>
    new Response(text, { status, headers: { "content-type": "text/html", ...headers } })

  it.each<[string, () => Response]>([
    ["a nonce in the page", () => page({}, '<p>1</p><script nonce="r4nd0m">1</script>')],
    ["a nonce in its policy", () => page({ "content-security-policy": "script-src 'nonce-r4nd0m'" })],
    ["a cookie", () => page({ "set-cookie": "a=1" })],
    ["private", () => page({ "cache-control": "private" })],
    ["s-maxage=0", () => page({ "cache-control": "public, s-maxage=0" })],
    ["Expires: 0", () => page({ expires: "0" })],
    ["an encoding that nobody asked for", () => page({ "content-encoding": "x-none" })],
    ["Vary by another header", () => page({ vary: "cookie" })],
    ["a redirect", () => page({ location: "/b" }, "", 301)],
    ["status 404", () => page({}, "none", 404)],
    ["status 500", () => page({}, "broken", 500)],
  ])("is %s, which each visitor is answered with", async (_, make) => {
    const { ask, made } = serve(make)
    const expected = make()
    const text = await expected.text()
    for (let visit = 0; visit < 3; visit += 1) {
      const answer = await ask("/a")
      expect([answer.status, answer.text]).toEqual([expected.status, text])
      expect(Object.fromEntries(answer.headers)).toEqual(Object.fromEntries(expected.headers))
      await settled()
    }
    expect(made()).toBe(3)
  })

  it("is what is about one request", async () => {
    const { ask } = serve(() =>
      page({ "x-request-id": "1", traceparent: "1", "ratelimit-remaining": "1", "x-page": "1" }),
    )
    expect(Object.fromEntries((await ask("/a")).headers)).toMatchObject({
      "x-request-id": "1",
      "x-page": "1",
    })
    const { headers, how } = await ask("/a")
    expect(how).toBe("HIT")
    expect([...headers.keys()].filter((name) => /^x-(?!cache)|trace|rate/.test(name))).toEqual(["x-page"])
  })
})

describe("a body that breaks off", () => {
  const half = new TextEncoder().encode("half a page")
  const broken = () => {
    let isBegun = false
    return new ReadableStream({
      pull(controller) {
        if (isBegun) throw new Error("broke off")
        isBegun = true
        controller.enqueue(half)
      },
    })
  }

  it.each<[string, (event: any) => unknown, Options]>([
    ["by its stream", () => new Response(broken()), {}],
    ["by its stream, which is streamed", () => new Response(broken()), { stream: true }],
    ["by a stream that h3 makes a response of", () => broken(), {}],
    [
      "before the length that it is said to have",
      () => new Response(half, { headers: { "content-length": "1000" } }),
      {},
    ],
  ])("is never a hit: %s", async (_, make, options) => {
    vi.spyOn(console, "error").mockReturnValue(undefined)
    const { ask, storage, made } = serve(make, options)
    for (let nth = 0; nth < BREAKS; nth += 1)
      for (let visit = 0; visit < 2; visit += 1) {
        expect((await ask(`/${nth}`)).how).not.toBe("HIT")
        await settled()
      }
    expect(made()).toBe(2 * BREAKS)
    expect([...storage.kept.values()].filter((kept) => kept.includes("half"))).toEqual([])
  })
})

describe("a storage", () => {
  const VISITS = 50

  it("that hangs is let alone while it rests, and told of once; every visit is answered", async () => {
    for (const what of ["getItem", "setItem"] as const) {
      let calls = 0
      const hanging = {
        ...jsonStorage(),
        [what]: () => {
          calls += 1
          return new Promise<never>(() => undefined)
        },
      }
      const { ask, errors } = serve(() => "page", { storage: hanging, storageTimeout: 20 })
      // It rests for some seconds, which do not pass here.
      const now = vi.spyOn(Date, "now").mockReturnValue(Date.now())
      expect((await ask("/a")).text).toBe("page")
      await expect.poll(() => errors).toHaveLength(1)
      const before = calls
      for (let visit = 0; visit < VISITS; visit += 1)
        expect(await ask(`/${visit}`)).toMatchObject({ status: 200, text: "page" })
      expect([calls, errors.length]).toEqual([before, 1])
      now.mockRestore()
    }
  })

  it("that fails is gone without, and told of once", async () => {
    const fail = async (): Promise<never> => {
      throw new Error("down")
    }
    const { ask, made, errors } = serve(() => "page", { storage: { getItem: fail, setItem: fail } })
    for (let visit = 0; visit < VISITS; visit += 1) expect((await ask(`/${visit}`)).text).toBe("page")
    expect(made()).toBe(VISITS)
    // Of reading, and of writing.
    expect(errors).toEqual([new Error("down"), new Error("down")])
  })

  it("that is slow is waited for, and hits", async () => {
    const { getItem, setItem } = jsonStorage()
    const slow = {
      getItem: (key: string) => settled().then(() => getItem(key)),
      setItem: (key: string, value: unknown) => settled().then(() => setItem(key, value)),
    }
    const { ask, made } = serve(() => "page", { storage: slow })
    await ask("/a")
    await expect.poll(async () => (await ask("/a")).how).toBe("HIT")
    for (let visit = 0; visit < VISITS; visit += 1) expect((await ask("/a")).how).toBe("HIT")
    expect(made()).toBeLessThanOrEqual(3)
  })
})

describe("what cannot be made once more", () => {
  const VISITS = 100
  const failureOf = (status: number) => Object.assign(new Error("no such"), { status })

  it.each<[string, () => unknown]>([
    ["status 500", () => new Response("broken", { status: 500 })],
    ["status 429", () => new Response("broken", { status: 429 })],
    ["status 403, which h3 makes a response of", () => "broken"],
    [
      "an error",
      () => {
        throw new Error("no such")
      },
    ],
    [
      "an error with status 403",
      () => {
        throw failureOf(403)
      },
    ],
  ])("stays, is not tried at each visit, and is told of once: %s", async (name, fail) => {
    let isFailing = false
    const { ask, made, errors, invalidate } = serve((event) => {
      if (!isFailing) return "good"
      if (name.includes("h3")) event.res.status = 403
      return fail()
    })
    await ask("/a")
    isFailing = true
    invalidate(false)
    for (let visit = 0; visit < VISITS; visit += 1) {
      const { text, headers } = await ask("/a")
      expect([text, headers.get("cache-control")]).toEqual(["good", "no-store"])
      await settled()
    }
    expect(made()).toBe(2)
    expect(errors).toHaveLength(1)
  })

  it("stays after its maxAge too", async () => {
    let isFailing = false
    const { ask, made } = serve(
      () => {
        if (isFailing) throw new Error("no such")
        return "good"
      },
      { maxAge: 60 },
    )
    await ask("/a")
    await settled()
    isFailing = true
    const start = Date.now()
    const now = vi.spyOn(Date, "now")
    now.mockReturnValue(start + 2 * MINUTE)
    for (let visit = 0; visit < VISITS; visit += 1) {
      expect((await ask("/a")).text).toBe("good")
      await settled()
    }
    expect(made()).toBe(2)
  })

  it.each<[string, () => unknown]>([
    ["status 404", () => new Response("none", { status: 404 })],
    [
      "an error with status 410",
      () => {
        throw failureOf(410)
      },
    ],
    ["a cookie", () => new Response("none", { headers: { "set-cookie": "a=1" } })],
  ])("goes where it is not that page any more: %s", async (_, make) => {
    vi.spyOn(console, "error").mockReturnValue(undefined)
    let isGone = false
    const { ask, invalidate } = serve(() => (isGone ? make() : "good"))
    await ask("/a")
    isGone = true
    invalidate(false)
    expect((await ask("/a")).text).toBe("good")
    await expect.poll(async () => (await ask("/a")).text).not.toBe("good")
  })

  it("is not tried at each call of a function either", async () => {
    const { tidemark, invalidate } = setUpReader()
    const errors: unknown[] = []
    let calls = 0
    const get = defineEpochCachedFunction(
      defineCachedFunction,
      async (id: string) => {
        calls += 1
        if (calls > 1) throw new Error("no such")
        return id
      },
      { tidemark, namespace: "blog", name: "failing", onError: (error) => errors.push(error), ...LONG },
    )
    await get("a")
    invalidate(false)
    for (let call = 0; call < VISITS; call += 1) {
      expect(await get("a")).toBe("a")
      await settled()
    }
    expect([calls, errors.length]).toEqual([2, 1])
  })

  it("functions of another version are not found", async () => {
    const { tidemark } = setUpReader()
    const storage = jsonStorage()
    let calls = 0
    for (const version of ["1", "2", "2"]) {
      const get = defineEpochCachedFunction(defineCachedFunction, async () => (calls += 1), {
        tidemark,
        namespace: "blog",
        name: "versioned",
        integrity: "same",
        version,
        storage: {
          get: async <T>(key: string) => (await storage.getItem(key)) as T | null,
          set: (key, value) => storage.setItem(key, value),
        },
        ...LONG,
      })
      await get()
      await settled()
    }
    expect(calls).toBe(2)
  })
})
