import { describe, expect, it, vi } from "vitest"
import type { EpochCacheWarning, PagesOptions, PageStore } from "../pages.ts"
import { createTidemark } from "../tidemark.ts"
import { MapCache } from "./map-cache.ts"
import { Clock, ModelStore } from "./model-store.ts"

/**
 * What every plug that answers requests promises about visitors, names, bodies and failures. Each case stands for a
 * complaint that users of some framework's cache have made in public.
 */

const TTL = 5_000
const MINUTE = 60_000
const SITE = "https://www.example.com"
const INTERLEAVINGS = typeof caches === "undefined" ? 10_000 : 2_500
const BREAKS = 1_000

export interface TestedSite {
  /** What the route answers. */
  page(request: Request): Response | Promise<Response>
  /** Headers of code around the plug, for a visitor: prepared before, where it can, else set when the plug has answered. */
  outside?(request: Request): Readonly<Record<string, string>>
}

/** A plug, and what its framework lets it do. */
export interface TestedPlug {
  readonly name: string
  /** The page is made from the request that the plug hands on. */
  readonly takesRequest: boolean
  /** The framework itself answers 304, whatever the plug does. Default false. */
  readonly answersConditions?: boolean
  requestOf(context: never): Request
  serve(
    site: TestedSite,
    options: PagesOptions<never>,
    waitUntil: (work: Promise<unknown>) => void,
  ): (request: Request) => Promise<Response>
}

interface SetUp extends Partial<Omit<PagesOptions<never>, "bypass">> {
  readonly page?: (request: Request, count: number) => Response | Promise<Response>
  readonly outside?: TestedSite["outside"]
  readonly bypass?: (request: Request) => boolean
  /** Nobody listens to warnings. */
  readonly isUnheard?: boolean
}

let opened = 0

/** A cache that no other test uses: the runtime's own, where it has one. */
const ownCache = async (): Promise<PageStore> =>
  typeof caches === "undefined" ? new MapCache() : caches.open(`pages-${(opened += 1)}`)

const isClaim = (key: string): boolean => key.endsWith("&claim")

const text = (body: string, headers: Record<string, string> = {}) =>
  new Response(body, { headers: { "content-type": "text/html", ...headers } })

export function pageSuite(plug: TestedPlug): void {
  async function setUp({ page, outside, bypass, isUnheard, ...options }: SetUp = {}) {
    const clock = new Clock()
    const store = new ModelStore(clock)
    const cache = options.cache ?? (await ownCache())
    const background: Promise<unknown>[] = []
    const warnings: EpochCacheWarning[] = []
    let made = 0
    const tidemark = createTidemark({ store, now: clock.now, random: () => 0, onError: () => undefined })
    const handler = plug.serve(
      {
        page(request) {
          made += 1
          return page ? page(request, made) : text(`v${made}`)
        },
        ...(outside && { outside }),
      },
      {
        tidemark,
        namespace: "blog",
        tags: () => ["post"],
        ...(isUnheard ? {} : { onWarning: (warning: EpochCacheWarning) => void warnings.push(warning) }),
        ...(bypass && { bypass: (context) => bypass(plug.requestOf(context)) }),
        ...options,
        cache,
      },
      (work) => void background.push(work),
    )
    const idle = async () => {
      while (background.length > 0) await background.shift()
    }
    const open = (path = "/a", init: RequestInit = {}) =>
      handler(new Request(path.startsWith("/") ? SITE + path : path, init))
    /** What a visitor is answered with, once all that it set off is over. */
    const visit = async (path?: string, init?: RequestInit) => {
      const response = await open(path, init)
      const body = await response.text().catch((error: unknown) => `broke off: ${String(error)}`)
      await idle()
      const how = (response.headers.get("cache-status") ?? "").replace(/^tidemark; /, "")
      return { response, body, how, status: response.status, headers: response.headers }
    }
    const invalidate = (isHard: boolean) => {
      clock.time += 1
      store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: isHard })
      clock.time += 2 * TTL
    }
    return { visit, open, idle, invalidate, clock, store, cache, warnings, made: () => made }
  }

  const codes = (warnings: readonly EpochCacheWarning[]) => warnings.map(({ code }) => code)

  describe(plug.name, () => {
    describe("one visitor's own", () => {
      // Sessions, refreshed tokens, request ids and rate limits of one caller were served to every later one.
      it("is not kept where code outside prepared it, and a hit carries what was prepared for its visitor", async () => {
        const { visit } = await setUp({
          outside: (request) => ({
            "set-cookie": `sid=of-${request.headers.get("x-who")}; Path=/`,
            "x-refreshed-token": `of-${request.headers.get("x-who")}`,
            "x-request-id": `of-${request.headers.get("x-who")}`,
            "ratelimit-remaining": request.headers.get("x-who") ?? "",
          }),
        })
        const seen = []
        for (const who of ["alice", "bob", "carol"]) {
          const { how, headers, body } = await visit("/a", { headers: { "x-who": who } })
          seen.push(how, body)
          expect(headers.get("x-refreshed-token")).toBe(`of-${who}`)
          expect(headers.get("x-request-id")).toBe(`of-${who}`)
          expect(headers.get("ratelimit-remaining")).toBe(who)
          expect(headers.getSetCookie()).toEqual([`sid=of-${who}; Path=/`])
        }
        expect(seen).toEqual(["fwd=uri-miss; stored", "v1", "hit", "v1", "hit", "v1"])
      })

      it("is nowhere in another's answer, in random interleavings", async () => {
        const { open, idle, store, clock } = await setUp({
          swr: 1_000,
          bypass: (request) => request.headers.has("x-preview"),
          outside(request) {
            const who = request.headers.get("x-who")
            if (who === null) return {}
            return {
              "x-refreshed-token": `of-${who}`,
              "x-request-id": `of-${who}`,
              ...(request.headers.has("x-rotate") && {
                "set-cookie": `sid=of-${who}; Path=/`,
                "content-security-policy": `script-src 'nonce-of-${who}'`,
              }),
            }
          },
          page(request) {
            const who = request.headers.get("x-who")
            const { pathname } = new URL(request.url)
            if (request.headers.has("x-preview")) return text(`a draft of-${who}`)
            if (pathname === "/nonce") return text(`<script nonce="of-${who}">1</script>`)
            if (pathname === "/account") return text(`of-${who}`, { "cache-control": "private" })
            if (pathname === "/policy")
              return text("page", { "content-security-policy": `script-src 'nonce-of-${who}'` })
            return text("page")
          },
        })
        const paths = ["/a", "/a", "/b?utm_source=of-", "/nonce", "/account", "/policy"]
        let hits = 0
        let seed = 1
        // Park and Miller's.
        const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
        for (let nth = 0; nth < INTERLEAVINGS; nth += 4) {
          const turns = Array.from({ length: 4 }, async () => {
            const who = ["alice", "bob", "nobody"][random(3)] ?? ""
            const path = (paths[random(paths.length)] ?? "").replace(/of-$/, `of-${who}`)
            const headers = {
              ...(who !== "nobody" && { "x-who": who, cookie: `sid=of-${who}` }),
              ...(random(8) === 0 && { "x-preview": "1" }),
              ...(random(2) === 0 && { "x-rotate": "1" }),
            }
            const response = await open(path, { headers })
            const told = JSON.stringify([await response.text(), [...response.headers]])
            if (["of-alice", "of-bob"].some((name) => name !== `of-${who}` && told.includes(name)))
              throw new Error(`${who} at ${path} was told ${told}`)
            if (/tidemark; hit/.test(told)) hits += 1
          })
          await Promise.all(turns)
          if (random(20) === 0) store.record({ kind: "namespace", namespace: "blog", hard: random(2) === 0 })
          clock.time += random(TTL)
          await idle()
        }
        expect(hits).toBeGreaterThan(INTERLEAVINGS / 10)
      })

      it("passes where `bypass` says so: a draft is shown to its editor alone, and a visitor's page not to the editor", async () => {
        const { visit } = await setUp({
          bypass: (request) => /preview=1/.test(request.headers.get("cookie") ?? ""),
          page: (request) =>
            text(/preview=1/.test(request.headers.get("cookie") ?? "") ? "draft" : "published"),
        })
        const editor = { headers: { cookie: "preview=1" } }
        expect(await visit("/a", editor)).toMatchObject({ body: "draft", how: "fwd=bypass" })
        expect(await visit()).toMatchObject({ body: "published", how: "fwd=uri-miss; stored" })
        expect(await visit("/a", editor)).toMatchObject({ body: "draft", how: "fwd=bypass" })
        expect(await visit()).toMatchObject({ body: "published", how: "hit" })
      })

      it.each([
        ["a nonce in the page", () => text(`<p>1</p><script nonce="r4nd0m">1</script>`)],
        [
          "a nonce in its policy",
          () => text("page", { "content-security-policy": "script-src 'nonce-r4nd0m'" }),
        ],
        ["a cookie of the route's", () => text("page", { "set-cookie": "sid=1" })],
        ["private", () => text("page", { "cache-control": "private" })],
        ["no-store", () => text("page", { "cache-control": "no-store" })],
        ["no-store behind a semicolon", () => text("page", { "cache-control": "public;no-store" })],
        ["private in quotes", () => text("page", { "cache-control": `max-age=60,"private"` })],
        ["s-maxage=0 behind a semicolon", () => text("page", { "cache-control": "public;s-maxage=0" })],
        ["Vary: Cookie", () => text("page", { vary: "Cookie" })],
        ["s-maxage=0", () => text("page", { "cache-control": "public, s-maxage=0" })],
        ["CDN-Cache-Control: max-age=0", () => text("page", { "cdn-cache-control": "max-age=0" })],
        ["Surrogate-Control: max-age=0", () => text("page", { "surrogate-control": "max-age=0" })],
        [
          "Vercel-CDN-Cache-Control: max-age=0",
          () => text("page", { "vercel-cdn-cache-control": "max-age=0" }),
        ],
        ["CDN-Cache-Control: s-maxage=0", () => text("page", { "cdn-cache-control": "s-maxage=0" })],
        ["Expires: 0", () => text("page", { expires: "0" })],
        ["Expires that is no date", () => text("page", { expires: "Thu, 1 Jan 2099 00:00:00 UTC" })],
        [
          "Expires in the past",
          () =>
            text("page", { expires: "Thu, 01 Jan 2026 00:00:00 GMT", date: "Fri, 02 Jan 2026 00:00:00 GMT" }),
        ],
        ["an error", () => new Response("no", { status: 500 })],
        ["a redirect", () => new Response(null, { status: 302, headers: { location: "/b" } })],
      ])("is never kept: %s", async (_, page) => {
        const { visit, made } = await setUp({ page })
        await visit()
        expect((await visit()).how).not.toMatch(/hit/)
        expect(made()).toBe(2)
      })

      it.each([
        ["max-age=0, for browsers", { "cache-control": "max-age=0, must-revalidate" }],
        [
          "s-maxage=0, which CDN-Cache-Control overrides",
          { "cache-control": "s-maxage=0", "cdn-cache-control": "max-age=60" },
        ],
        ["Expires to come", { expires: "Thu, 01 Jan 2099 00:00:00 GMT" }],
        ["Expires to come, in two digits", { expires: "Thursday, 18-Aug-50 00:00:00 GMT" }],
        ["Expires in the past, which max-age overrides", { expires: "0", "cache-control": "max-age=60" }],
      ])("is kept with %s", async (_, headers) => {
        const { visit } = await setUp({ page: () => text("page", headers) })
        await visit()
        expect((await visit()).how).toBe("hit")
      })
    })

    describe("what a page is kept under", () => {
      const names = ["www.example.com", "evil.example", "127.0.0.1:8080", "www.example.com:444"]
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

      // One request with `Host: evil.example` poisoned the page for everybody.
      it("holds every name that it was asked by, whatever it is published as", async () => {
        const { visit } = await setUp({
          url: () => `${SITE}/a`,
          page: (request) =>
            text(JSON.stringify([request.url, ...forwarding.map((name) => request.headers.get(name))])),
        })
        let seed = 7
        const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
        for (let nth = 0; nth < 250; nth += 1) {
          const url = `${["http", "https"][random(2)]}://${names[random(names.length)]}/${"ab"[random(2)]}`
          const headers: Record<string, string> = {}
          for (const name of forwarding)
            if (random(6) === 0)
              headers[name] = (name === "forwarded" ? "host=" : "") + (names[random(names.length)] ?? "")
          const { body } = await visit(url, { headers })
          const own = JSON.stringify([new URL(url).href, ...forwarding.map((name) => headers[name] ?? null)])
          expect(body).toBe(own)
        }
      })

      it("is the same for all visitors behind one proxy", async () => {
        const { visit, made } = await setUp()
        for (const client of ["192.0.2.1", "192.0.2.2"])
          await visit("/a", {
            headers: {
              "x-forwarded-for": client,
              forwarded: `for=${client};host=www.example.com;proto=https, for="[2001:db8::1]:47"`,
            },
          })
        expect(made()).toBe(1)
      })

      // What looks for `host=` anywhere finds it in what names a visitor, too.
      it.each([`for="x;host=evil.example"`, `for="\\";host=evil.example"`, "for=host=evil.example"])(
        "holds a name that is hidden in the visitor's: %s",
        async (forwarded) => {
          const { visit } = await setUp({
            page: ({ headers }) => text(/host=([^;,"]+)/.exec(headers.get("forwarded") ?? "")?.[1] ?? "own"),
          })
          expect((await visit("/a", { headers: { forwarded } })).body).toBe("evil.example")
          expect((await visit("/a", { headers: { forwarded: "for=192.0.2.1" } })).body).toBe("own")
        },
      )

      // Spelled anew, a page was not found by the url that was published.
      it.each(["filter[]=a%20b", "path=/a/b&flag", "q=~'x'&q=1", "%3Fa=1&&b", "?a=1&é=2"])(
        "leaves the parameters that are left spelled as they are: %s",
        async (query) => {
          const { visit, store, clock } = await setUp()
          // Where the page is made of the visitor's request, one that was made with such a parameter is not kept.
          await visit(`/q?${query}${plug.takesRequest ? "&utm_source=a" : ""}`)
          expect((await visit(`/q?utm_%6dedium=b&${query}`)).how).toBe("hit")
          clock.time += 1
          store.record({
            kind: "urls",
            namespace: "blog",
            values: [new URL(`${SITE}/q?${query}`).href],
            hard: true,
          })
          clock.time += 2 * TTL
          expect((await visit(`/q?${query}&utm_source=a`)).how).toContain("purged")
        },
      )

      it("lacks the parameters of campaigns, and so does what the page is made from", async () => {
        const { visit, made } = await setUp({ page: (request) => text(request.url) })
        for (const query of ["", "?utm_source=a", "?UTM_Medium=b&gclid=1", "?", "?fbclid=zz"])
          expect((await visit(`/q${query}`)).body).toBe(`${SITE}/q`)
        expect(made()).toBe(1)
        expect((await visit("/q?page=2&utm_source=x")).body).toBe(
          plug.takesRequest ? `${SITE}/q?page=2` : `${SITE}/q?page=2&utm_source=x`,
        )
        expect((await visit("/q?page=2")).body).toBe(`${SITE}/q?page=2`)
      })

      it("lacks what `query` says", async () => {
        const ignoring = await setUp({ query: { ignore: ["ref", "x-*"] } })
        for (const query of ["", "?ref=1", "?x-a=1&x-b=2"]) await ignoring.visit(`/q${query}`)
        expect(ignoring.made()).toBe(1)
        await ignoring.visit("/q?utm_source=a")
        expect(ignoring.made()).toBe(2)
        const allowing = await setUp({ query: { allow: ["page"] } })
        for (const query of ["?page=1", "?page=1&anything=2", "?page=2"]) await allowing.visit(`/q${query}`)
        expect(allowing.made()).toBe(2)
      })

      // A page that could not be kept the first time was made of the visitor's own request the next, and kept.
      it("lacks what the key does not hold also where the page could not be kept before", async () => {
        const { visit } = await setUp({
          vary: { cookie: (value) => /theme=\w+/.exec(value ?? "")?.[0] ?? "" },
          page: (request, count) =>
            count === 1
              ? new Response("broken", { status: 500 })
              : text(`${request.url} ${request.headers.get("cookie")}`),
        })
        const ask = async (who: string) =>
          visit(`/a?utm_source=${who}`, { headers: { cookie: `sid=${who}; theme=dark` } })
        await ask("alice")
        await ask("alice")
        if (plug.takesRequest) expect((await ask("bob")).body).toBe(`${SITE}/a theme=dark`)
        else expect((await ask("bob")).body).not.toContain("alice")
      })

      it("changes with the version", async () => {
        const cache = await ownCache()
        const old = await setUp({ cache, version: "1" })
        await old.visit()
        const next = await setUp({ cache, version: "2", page: () => text("new assets") })
        expect(await next.visit()).toMatchObject({ body: "new assets", how: "fwd=uri-miss; stored" })
      })

      it("holds what a normaliser makes of a header, and the page is made of that", async () => {
        const { visit, made } = await setUp({
          vary: {
            "accept-language": (value) => (value?.startsWith("de") ? "de" : "en"),
            cookie: (value) => /theme=\w+/.exec(value ?? "")?.[0] ?? "",
          },
          page: (request) =>
            text(`${request.headers.get("accept-language")} ${request.headers.get("cookie")}`, {
              vary: "Accept-Language, Cookie",
            }),
        })
        const ask = async (language: string, cookie: string) =>
          (await visit("/l", { headers: { "accept-language": language, cookie } })).body
        const bodies = []
        for (const language of ["de-DE,de;q=0.9", "de-AT", "fr"])
          for (const cookie of ["sid=alice; theme=dark", "theme=dark; sid=bob", "sid=carol"])
            bodies.push(await ask(language, cookie))
        expect(made()).toBe(4)
        if (plug.takesRequest)
          expect([...new Set(bodies)]).toEqual(["de theme=dark", "de null", "en theme=dark", "en null"])
      })

      // RFC 9111, 4.4: what was posted to may be another page now.
      it.each([
        ["POST", 200, false],
        ["DELETE", 204, false],
        ["PUT", 500, true],
        ["OPTIONS", 200, true],
      ])("is let go after a %s that is answered with %i, or not", async (method, status, isKept) => {
        const { visit } = await setUp({
          page: (request, count) =>
            request.method === "GET" ? text(`v${count}`) : new Response(null, { status }),
        })
        await visit()
        const headers = { origin: SITE, "content-type": "application/json" }
        expect((await visit("/a", { method, headers })).status).toBe(status)
        expect((await visit()).how).toBe(isKept ? "hit" : "fwd=uri-miss; stored")
      })

      it.each(["*", "accept language", ""])("differs by no header %j", async (name) => {
        await expect(setUp({ vary: [name] })).rejects.toThrow("vary must name headers")
      })

      it("is nothing for a request of which it would be too long", async () => {
        const { visit, made } = await setUp()
        for (let nth = 0; nth < 2; nth += 1)
          expect((await visit("/a", { headers: { "x-forwarded-host": "x".repeat(9_000) } })).how).toBe(
            "fwd=request",
          )
        expect(made()).toBe(2)
      })

      // Workers would encode it once more.
      const manual = { encodeBody: "manual" }
      const squeezed = Uint8Array.from(
        atob("H4sIAAAAAAAAA0tUKEhMT1UoyUgsUcgsViguLE1NrUpNAQAiSoMsFwAAAA=="),
        (letter) => letter.charCodeAt(0),
      )

      // Bytes of gzip went to clients that had not asked for any.
      it("lets nobody have an encoding that they cannot read", async () => {
        const { visit, made } = await setUp({
          page: (request) =>
            /gzip/.test(request.headers.get("accept-encoding") ?? "")
              ? new Response(squeezed, {
                  headers: { "content-encoding": "gzip", vary: "Accept-Encoding" },
                  ...manual,
                })
              : text("plain", { vary: "Accept-Encoding" }),
        })
        const ask = async (encoding?: string) =>
          visit("/z", encoding === undefined ? {} : { headers: { "accept-encoding": encoding } })
        await ask("gzip, br")
        for (const nobody of [undefined, "identity", "br", "gzip;q=0"])
          expect((await ask(nobody)).headers.get("content-encoding")).toBeNull()
        expect((await ask("gzip")).headers.get("content-encoding")).toBe("gzip")
        expect((await ask(undefined)).how).toBe("hit")
        expect(made()).toBe(2)
      })

      it("goes with its page where it is the page's data", async () => {
        for (const [data, page] of [
          ["/blog/a.data", "/blog/a"],
          ["/blog/a.data?_routes=routes%2Fpost", "/blog/a"],
          ["/blog/list.data?filter[]=a%20b&_routes=x", "/blog/list?filter[]=a%20b"],
          ["/_root.data", "/"],
          ["/blog/a?_rsc=1abc", "/blog/a"],
          ["/blog/a.rsc", "/blog/a"],
          ["/blog/_payload.json", "/blog"],
          ["/_next/data/build/blog/a.json", "/blog/a"],
        ] as const) {
          const { visit, store, clock } = await setUp()
          await visit(data)
          expect((await visit(data)).how).toBe("hit")
          clock.time += 1
          store.record({ kind: "urls", namespace: "blog", values: [SITE + page], hard: true })
          clock.time += 2 * TTL
          expect((await visit(data)).how, data).toContain("purged")
        }
      })
    })

    describe("a body", () => {
      const broken = (after: number) =>
        new ReadableStream<Uint8Array>({
          start(controller) {
            if (after > 0) controller.enqueue(new Uint8Array(after).fill(120))
          },
          pull: (controller) => controller.error(new Error("the origin died")),
        })

      it(`that breaks off is never a hit, ${BREAKS} times at a random byte`, async () => {
        let isBroken = true
        const { visit, warnings } = await setUp({
          page: (_, count) => (isBroken ? new Response(broken((count * 7_919) % 20_000)) : text("whole")),
        })
        for (let nth = 0; nth < BREAKS; nth += 1) {
          isBroken = true
          await visit(`/${nth}`)
          isBroken = false
          expect(await visit(`/${nth}`)).toMatchObject({ body: "whole", how: "fwd=uri-miss; stored" })
        }
        expect(codes(warnings)).toEqual(Array.from({ length: BREAKS }, () => "cut-short"))
      })

      it("that is shorter than it was said to be is not kept", async () => {
        const { visit, warnings, made } = await setUp({
          page: () =>
            new Response(
              new ReadableStream({
                start(controller) {
                  controller.enqueue(new TextEncoder().encode("half"))
                  controller.close()
                },
              }),
              { headers: { "content-length": "1000" } },
            ),
        })
        await visit()
        await visit()
        expect(made()).toBe(2)
        expect(codes(warnings)).toEqual(["cut-short", "cut-short"])
      })

      it("that is long is kept whole, and not at all where it breaks off", async () => {
        const MIB = 2 ** 20
        const long = (isBroken: boolean) => {
          let left = 12
          return new ReadableStream<Uint8Array>({
            pull(controller) {
              left -= 1
              if (left > 0) controller.enqueue(new Uint8Array(MIB).fill(120))
              else if (isBroken) controller.error(new Error("the origin died"))
              else controller.close()
            },
          })
        }
        const { visit, warnings } = await setUp({ page: (_, count) => new Response(long(count === 1)) })
        await visit()
        const second = await visit()
        expect(second.how).toBe("fwd=uri-miss; stored")
        const third = await visit()
        expect(third.how).toBe("hit")
        expect(third.body.length).toBe(11 * MIB)
        expect(codes(warnings)).toEqual(["cut-short"])
      })

      it("reaches its visitor, whatever is thrown by who is told of trouble", async () => {
        const cache = new MapCache()
        cache.match = async () => {
          throw new Error("down")
        }
        cache.put = async () => {
          throw new Error("full")
        }
        const { visit } = await setUp({
          cache,
          onWarning() {
            throw new Error("the log is full")
          },
        })
        for (let nth = 0; nth < 2; nth += 1) expect((await visit()).body).toMatch(/^v/)
      })

      it("whose put failed is deleted, and that is said", async () => {
        const cache = new MapCache()
        cache.put = async (key: RequestInfo | URL, response) => {
          const url = new Request(key).url
          if (!isClaim(url)) cache.kept.set(url, response)
          throw new Error("full")
        }
        const { visit, warnings } = await setUp({ cache })
        await visit()
        expect(cache.kept.size).toBe(0)
        expect(codes(warnings)).toContain("put-failed")
        expect((await visit()).how).toBe("fwd=uri-miss; stored")
      })
    })

    describe("a response of the framework's", () => {
      it.each([
        ["a redirect", () => Response.redirect(`${SITE}/b`, 302), 302],
        ["one without a body", () => new Response(null, { status: 204 }), 204],
      ])("is answered as it is: %s", async (_, page, status) => {
        const { visit } = await setUp({ page })
        for (const init of [{}, { method: "HEAD" }, { headers: { authorization: "Bearer x" } }])
          expect((await visit("/a", init)).status).toBe(status)
      })

      // One that an app answers with again and again had a header more each time.
      it("is not written into", async () => {
        const shared = new Response(null, { status: 404, headers: { "x-own": "1" } })
        const { visit } = await setUp({ page: () => shared })
        await visit()
        await visit("/b")
        expect([...shared.headers]).toEqual([["x-own", "1"]])
      })
    })

    describe("a cache of the user's", () => {
      const never = () => new Promise<never>(() => undefined)

      it("that hangs is waited for once, and then let alone", async () => {
        let asked = 0
        const hang = () => {
          asked += 1
          return never()
        }
        const cache: PageStore = { match: hang, put: hang, delete: hang }
        const { open, warnings } = await setUp({ cache, cacheTimeout: 20 })
        for (let nth = 0; nth < 5; nth += 1) expect(await (await open()).text()).toBe(`v${nth + 1}`)
        expect(asked).toBeLessThan(4)
        expect(codes(warnings)).toContain("cache-failed")
      })

      it("has all of its copies read or given back, whatever is in it", async () => {
        const kept = new MapCache()
        let unread = 0
        const cache: PageStore = {
          async match(key) {
            const copy = await kept.match(key)
            if (!copy) return undefined
            const bytes = new Uint8Array(await copy.arrayBuffer())
            unread += 1
            const end = () => void (unread -= 1)
            const body = new ReadableStream(
              {
                pull(controller) {
                  controller.enqueue(bytes)
                  controller.close()
                  end()
                },
                cancel: end,
              },
              { highWaterMark: 0 },
            )
            return new Response(body, { headers: copy.headers })
          },
          put: (key, response) => kept.put(key, response),
          delete: (key) => kept.delete(key),
        }
        const { visit, invalidate } = await setUp({ cache, swr: 0 })
        await visit()
        const [key = ""] = [...kept.kept.keys()].filter((name) => !isClaim(name))
        for (const method of ["GET", "HEAD"]) {
          await visit("/a", { method })
          for (const isHard of [false, true]) {
            invalidate(isHard)
            await visit("/a", { method })
          }
          for (const entry of ["", "x", "null", `{"stamp":"1.1","until":1e99,"headers":{"no name":"x"}}`]) {
            await kept.put(key, new Response("theirs", { headers: { "tidemark-entry": entry } }))
            expect((await visit("/a", { method })).body).not.toBe("theirs")
          }
        }
        expect(unread).toBe(0)
      })

      it("that is slow is not blamed for the time that another isolate takes", async () => {
        vi.useFakeTimers()
        try {
          const cache = new MapCache()
          const match = cache.match.bind(cache)
          cache.match = async (key) => {
            await new Promise((resolve) => setTimeout(resolve, 200))
            return match(key)
          }
          const one = await setUp({
            cache,
            page: async () => {
              await new Promise((resolve) => setTimeout(resolve, 20_000))
              return text("page")
            },
          })
          const other = await setUp({ cache })
          const first = one.open()
          await vi.advanceTimersByTimeAsync(1_000)
          const second = other.open()
          await vi.advanceTimersByTimeAsync(30_000)
          expect(await (await first).text()).toBe("page")
          await second
          expect([codes(other.warnings), other.made()]).toEqual([[], 0])
        } finally {
          vi.useRealTimers()
        }
      })

      it("that throws has nothing", async () => {
        const fail = () => {
          throw new Error("down")
        }
        const { visit, warnings } = await setUp({ cache: { match: fail, put: fail, delete: fail } })
        expect((await visit()).body).toBe("v1")
        expect((await visit()).body).toBe("v2")
        expect(codes(warnings)).toContain("cache-failed")
        expect(codes(warnings)).toContain("put-failed")
      })

      it.each([
        ["no entry", {}],
        ["an entry that is none", { "tidemark-entry": "%" }],
        [
          "an entry without a stamp",
          { "tidemark-entry": JSON.stringify({ depends: {}, until: 1e15, headers: {} }) },
        ],
        [
          "headers that are none",
          {
            "tidemark-entry": JSON.stringify({
              stamp: "1800000000000000.1900000000000000",
              depends: {},
              until: 1e15,
              headers: { "no name": "a" },
            }),
          },
        ],
      ])("in which somebody else wrote %s has nothing", async (_, headers) => {
        const cache = await ownCache()
        const put = cache.put.bind(cache)
        let isForged = false
        cache.put = async (key, response) =>
          put(
            key,
            isForged || isClaim(key)
              ? response
              : new Response("forged", { headers: { "cache-control": "max-age=60", ...headers } }),
          )
        const { visit } = await setUp({ cache })
        await visit()
        isForged = true
        expect(await visit()).toMatchObject({ body: "v2", how: "fwd=uri-miss; stored" })
      })

      it("in which somebody else wrote a stamp of tomorrow has nothing that is fresh", async () => {
        const cache = await ownCache()
        const put = cache.put.bind(cache)
        let isForging = true
        const { visit, clock, store } = await setUp({ cache })
        cache.put = async (key, response) => {
          const headers = new Headers(response.headers)
          const entry = JSON.parse(decodeURIComponent(headers.get("tidemark-entry") ?? "{}"))
          entry.stamp = `${store.generation}.${(clock.time + 24 * 60 * MINUTE) * 1_000}`
          if (isForging && headers.has("tidemark-entry")) headers.set("tidemark-entry", JSON.stringify(entry))
          return put(key, new Response(response.body, { headers }))
        }
        await visit()
        isForging = false
        expect((await visit()).body).toBe("v2")
      })
    })

    it("nobody who listens can make an error page, or is told a secret by default", async () => {
      const cache: PageStore = {
        match: () => Promise.reject(new Error("connect redis://user:pass@10.0.0.1:6379 refused")),
        put: () => Promise.reject(new Error("no")),
        delete: async () => false,
      }
      const shouting = await setUp({
        cache,
        onWarning: () => {
          throw new Error("the listener's")
        },
      })
      expect((await shouting.visit()).status).toBe(200)
      const said = vi.spyOn(console, "warn").mockImplementation(() => undefined)
      try {
        const quiet = await setUp({ cache, isUnheard: true })
        for (let nth = 0; nth < 3; nth += 1) expect((await quiet.visit()).status).toBe(200)
        const lines = said.mock.calls.map(([line]) => String(line))
        if (lines.length > 0) expect(lines.join()).not.toContain("pass")
        expect(lines.filter((line) => line.startsWith("tidemark: cache-failed")).length).toBeLessThan(2)
      } finally {
        said.mockRestore()
      }
    })

    describe("tags of any kind", () => {
      it.each([[undefined], [null], ["post"], [5], [[5, null]], [{ length: 1 }]])(
        "of %j make the page depend on anything",
        async (tags) => {
          const { visit, store, clock, warnings } = await setUp({ tags: (() => tags) as never })
          expect((await visit()).status).toBe(200)
          expect((await visit()).how).toBe("hit")
          clock.time += 1
          store.record({ kind: "tags", namespace: "blog", values: ["other"], hard: true })
          clock.time += 2 * TTL
          const isNone = tags === undefined || tags === null
          expect((await visit()).how).toContain(isNone ? "hit" : "purged")
          expect(codes(warnings)).toEqual(isNone ? [] : ["tags-failed", "tags-failed"])
        },
      )

      it("that throw make no error page", async () => {
        const { visit } = await setUp({
          tags: () => {
            throw new Error("no such post")
          },
        })
        expect((await visit()).status).toBe(200)
      })
    })

    describe("conditions", () => {
      const page = (request: Request, count: number) =>
        request.headers.get("if-none-match") === `"1"`
          ? new Response(null, { status: 304, headers: { etag: `"1"` } })
          : text(`v${count}`, { etag: `"1"`, "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT" })
      const known = { headers: { "if-none-match": `W/"1", "0"` } }

      // Returning visitors kept a page out of the cache.
      it.skipIf(!plug.takesRequest)(
        "do not reach the page that is filled, and are answered from it",
        async () => {
          const { visit, made } = await setUp({ page })
          const asked = { headers: { "if-none-match": `"1"` } }
          const first = await visit("/a", asked)
          if (!plug.answersConditions)
            expect(first).toMatchObject({ status: 200, how: "fwd=uri-miss; stored" })
          for (let nth = 0; nth < 4; nth += 1)
            expect(await visit("/a", asked)).toMatchObject({ status: 304, body: "", how: "hit" })
          expect(made()).toBe(1)
        },
      )

      it("are answered from a kept page", async () => {
        const { visit } = await setUp({ page })
        await visit()
        const { status, headers, body } = await visit("/a", known)
        expect([status, body, headers.get("etag"), headers.get("content-type")]).toEqual([
          304,
          "",
          `"1"`,
          null,
        ])
        for (const [name, value, expected] of [
          ["if-none-match", "*", 304],
          ["if-none-match", `"2"`, 200],
          ["if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT", 304],
          ["if-modified-since", "Wed, 31 Dec 2025 00:00:00 GMT", 200],
          ["if-modified-since", "yesterday", 200],
        ] as const)
          expect((await visit("/a", { headers: { [name]: value } })).status, value).toBe(expected)
      })

      it("of HEAD are those of its page, which is not made for it", async () => {
        const { visit, made } = await setUp({ page })
        await visit("/a")
        expect(await visit("/a", { method: "HEAD" })).toMatchObject({ status: 200, body: "", how: "hit" })
        expect(made()).toBe(1)
        await visit("/b", { method: "HEAD" })
        expect((await visit("/b")).body).toMatch(/^v/)
      })
    })

    describe("fills", () => {
      it("are one at a time, and after lost patience one more, whatever the number of visitors", async () => {
        // What makes pages is loaded with the first one, which takes real time.
        await (await setUp()).visit()
        vi.useFakeTimers()
        try {
          const { open, made } = await setUp({
            cache: new MapCache(),
            page: async (_, count) => {
              await new Promise((resolve) => setTimeout(resolve, count === 1 ? 10 * MINUTE : 1_000))
              return text(`v${count}`)
            },
          })
          const visitors = Array.from({ length: 30 }, () => open())
          await vi.advanceTimersByTimeAsync(4_000)
          expect(made()).toBe(1)
          await vi.advanceTimersByTimeAsync(90_000)
          // The first one hangs, and one more was made for all others.
          expect(made()).toBe(2)
          const answered = await Promise.all(visitors.slice(1).map(async (one) => (await one).text()))
          expect(new Set(answered)).toEqual(new Set(["v2"]))
        } finally {
          vi.useRealTimers()
        }
      })

      it("of what is purged meanwhile are one at a time, too", async () => {
        const gates = Array.from({ length: 3 }, () => Promise.withResolvers<void>())
        const { open, invalidate, made } = await setUp({
          page: async (_, count) => {
            await gates[count - 1]?.promise
            return text(`v${count}`)
          },
        })
        const visitors = Array.from({ length: 30 }, () => open())
        for (const [nth, gate] of gates.entries()) {
          await expect.poll(made).toBe(nth + 1)
          // The last one is not purged.
          if (nth < 2) invalidate(true)
          gate.resolve()
        }
        const pages = await Promise.all(visitors.map(async (one) => (await one).text()))
        expect(pages.filter((page) => page === "v3").length).toBe(28)
        expect(made()).toBe(3)
      })

      // With a proxy as its handler, the first of twenty who left sent the other nineteen to the origin.
      it("that their visitor gives up are taken over by one of those who wait", async () => {
        const began = Promise.withResolvers<void>()
        const gate = Promise.withResolvers<void>()
        const { open, idle, made } = await setUp({
          async page(request, count) {
            if (count === 1) {
              began.resolve()
              await new Promise((_, reject) =>
                request.signal.addEventListener("abort", () => reject(new Error("left"))),
              )
            }
            await gate.promise
            return text(`v${count}`)
          },
        })
        const leaving = new AbortController()
        const first = open("/a", { signal: leaving.signal }).catch(() => undefined)
        await began.promise
        const others = Array.from({ length: 20 }, () => open())
        leaving.abort()
        await expect.poll(made).toBeGreaterThan(1)
        gate.resolve()
        for (const other of others) expect(await (await other).text()).toBe("v2")
        await first
        await idle()
        expect(made()).toBe(2)
      })

      it("that fail are shared by nobody, and keep nobody waiting", async () => {
        const { open, made } = await setUp({
          page: async () => {
            await new Promise((resolve) => setTimeout(resolve, 20))
            return new Response("down", { status: 500 })
          },
        })
        const pages = await Promise.all(Array.from({ length: 10 }, async () => (await open()).status))
        expect(pages).toEqual(Array.from({ length: 10 }, () => 500))
        expect(made()).toBe(10)
      })
    })

    describe("a revalidation that fails", () => {
      it.each([[500], [503], [408], [425], [429], [403], ["throws"]])(
        "by %s is not tried at every visit, leaves the good copy, and is told",
        async (how) => {
          const now = vi.spyOn(Date, "now")
          let skew = 0
          now.mockImplementation(() => performance.timeOrigin + performance.now() + skew)
          try {
            let isBroken = false
            const { visit, invalidate, clock, warnings, made } = await setUp({
              page: (_, count) => {
                if (!isBroken) return text(`v${count}`)
                if (typeof how === "number") return new Response("broken", { status: how })
                throw new Error("unreachable")
              },
            })
            await visit()
            invalidate(false)
            isBroken = true
            for (let nth = 0; nth < 100; nth += 1)
              expect(await visit()).toMatchObject({ body: "v1", how: "hit; detail=stale-while-revalidate" })
            expect(made()).toBe(2)
            expect(codes(warnings)).toEqual(["revalidation-failed"])
            // Above `swr`, and below `staleIfError`.
            clock.time += 2 * MINUTE
            skew += 2 * MINUTE
            expect(await visit()).toMatchObject({ body: "v1", how: "hit; detail=stale-if-error" })
            expect(await visit()).toMatchObject({ body: "v1", how: "hit; detail=stale-if-error" })
            expect(made()).toBe(3)
            clock.time += 5 * MINUTE
            skew += 5 * MINUTE
            isBroken = false
            expect((await visit()).body).toBe("v4")
          } finally {
            now.mockRestore()
          }
        },
      )

      it("as it hangs for ever is told, and tried again", async () => {
        vi.useFakeTimers()
        try {
          const { open, invalidate, warnings, made } = await setUp({
            cache: new MapCache(),
            page: async (_, count) => {
              if (count === 2) await new Promise(() => undefined)
              return text(`v${count}`)
            },
          })
          const visit = async () => {
            const page = (await open()).text()
            await vi.advanceTimersByTimeAsync(100)
            return page
          }
          expect(await visit()).toBe("v1")
          invalidate(false)
          expect([await visit(), await visit()]).toEqual(["v1", "v1"])
          expect(made()).toBe(2)
          await vi.advanceTimersByTimeAsync(2 * MINUTE + 10_000)
          expect(codes(warnings)).toEqual(["revalidation-failed"])
          expect([await visit(), await visit()]).toEqual(["v1", "v3"])
          // And the next time, too.
          invalidate(false)
          expect([await visit(), await visit()]).toEqual(["v3", "v4"])
          expect(codes(warnings)).toEqual(["revalidation-failed"])
        } finally {
          vi.useRealTimers()
        }
      })

      // A parameter that the key does not hold made the revalidation that of another page, and there was never one more.
      it("is not one that was made from less than the visitor asked", async () => {
        const { visit, invalidate, warnings } = await setUp({
          key: (context: never) => plug.requestOf(context).url,
          vary: { "accept-language": (value) => (value?.startsWith("de") ? "german" : "english") },
        })
        const ask = async () => (await visit("/a", { headers: { "accept-language": "de" } })).how
        await ask()
        invalidate(false)
        expect(await ask()).toBe("hit; detail=stale-while-revalidate")
        expect(await ask()).toBe("hit")
        expect(codes(warnings)).toEqual([])
      })

      it("never brings back what was purged", async () => {
        let isBroken = false
        const { visit, invalidate } = await setUp({
          page: () => (isBroken ? new Response("broken", { status: 500 }) : text("page")),
        })
        await visit()
        invalidate(true)
        isBroken = true
        expect((await visit()).body).toBe("broken")
        expect((await visit()).body).toBe("broken")
      })

      it.each([404, 410])("by %i takes the copy away: the page is gone", async (status) => {
        let isGone = false
        const { visit, invalidate } = await setUp({
          page: () => (isGone ? new Response("gone", { status }) : text("page")),
        })
        await visit()
        invalidate(false)
        isGone = true
        await visit()
        expect((await visit()).status).toBe(status)
      })
    })
  })
}
