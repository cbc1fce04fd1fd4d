import { describe, expect, it } from "vitest"
import { lookupJson, type LookupRequest } from "../protocol/lookup.ts"
import { StoreRefusal } from "./epoch-store.ts"
import { workerStore } from "./store.ts"
import { answerAt } from "./testing/model-store.ts"

const TOKEN = "tm_0123456789012345678901234567890123456789012"

interface Sent {
  readonly url: URL
  readonly init: RequestInit
}

/** A store whose Worker answers as told, and what was sent to it. */
function setUp(
  answer: (sent: Sent) => Response | Promise<Response> = () =>
    Response.json(lookupJson(answerAt([], new Map(), 0))),
) {
  const sent: Sent[] = []
  const fetch = async (url: string, init: RequestInit) => {
    sent.push({ url: new URL(url), init })
    return answer({ url: new URL(url), init })
  }
  return { sent, fetch, store: workerStore({ url: "https://tidemark.example.com/", token: TOKEN, fetch }) }
}

const bodyOf = (sent: Sent | undefined): unknown =>
  typeof sent?.init.body === "string" ? JSON.parse(sent.init.body) : undefined

/** Answers never, and notices when nobody waits any more. */
const untilAborted = ({ init }: Sent) =>
  new Promise<never>((_, reject) => {
    init.signal?.addEventListener("abort", () => reject(new Error("aborted")))
  })

const blog = (tags: string[], urls: string[] = []): LookupRequest => new Map([["blog", { tags, urls }]])

describe("workerStore", () => {
  it.each([
    ["url is missing", undefined, TOKEN],
    ["url is missing", "", TOKEN],
    ["token is missing", "https://tidemark.example.com", undefined],
    ["url must begin with https:// or http://", "127.0.0.1:8787", TOKEN],
    ["url must begin with https:// or http://", "https://", TOKEN],
  ])("is made without an environment, and then says: %s", async (message, url, token) => {
    const store = workerStore({ url, token, fetch: () => Promise.reject(new Error("asked")) })
    await expect(store.lookup(blog([]))).rejects.toThrow(`workerStore: ${message}`)
    await expect(store.publish?.({ namespace: "blog", mode: "purge" })).rejects.toThrow(message)
  })

  it("asks by GET, and reads the answer", async () => {
    const request = new Map([
      ["blog", { tags: ["a:b", "ä&c"], urls: ["https://www.example.com/?x=1&y=2"] }],
      ["shop/books", { tags: [], urls: [] }],
    ])
    const lookup = answerAt(
      [{ kind: "tags", namespace: "blog", values: ["ä&c"], hard: true, generation: 7, epoch: 9, at: 0 }],
      request,
      1_800_000_000_000,
    )
    const { store, sent } = setUp(() => Response.json(lookupJson(lookup)))
    expect(await store.lookup(request)).toEqual(lookup)
    const [{ url, init } = { url: new URL("x:"), init: {} }] = sent
    expect(init.method ?? "GET").toBe("GET")
    expect(url.origin + url.pathname).toBe("https://tidemark.example.com/v1/epochs")
    expect([...url.searchParams]).toEqual([
      ["ns", "blog"],
      ["tag", "blog:a:b"],
      ["tag", "blog:ä&c"],
      ["url", "blog:https://www.example.com/?x=1&y=2"],
      ["ns", "shop/books"],
    ])
    expect(new Headers(init.headers).get("authorization")).toBe(`Bearer ${TOKEN}`)
  })

  it("asks caches in between to keep nothing", async () => {
    const { store, sent } = setUp()
    await store.lookup(blog([]))
    expect(new Headers(sent[0]?.init.headers).get("cache-control")).toBe("no-store")
  })

  it.each([
    ["an Age", { age: "7" }],
    ["Cloudflare's word", { "cf-cache-status": "HIT" }],
    ["Cloudflare's word for an old one", { "cf-cache-status": "UPDATING" }],
  ])("believes no answer with %s, and asks by POST from then on", async (_, headers) => {
    const answer = lookupJson(answerAt([], new Map(), 0))
    const { store, sent } = setUp(({ init }) =>
      Response.json(answer, { headers: init.method === undefined ? headers : {} }),
    )
    await expect(store.lookup(blog([]))).rejects.toMatchObject({
      name: "TidemarkError",
      code: "not-believed",
      message: expect.stringContaining("answered by a cache in between"),
    })
    expect(await store.lookup(blog([]))).toBeDefined()
    expect(sent.map(({ init }) => init.method)).toEqual([undefined, "POST"])
  })

  it.each([{ age: "0" }, { "cf-cache-status": "DYNAMIC" }, { "cf-cache-status": "MISS" }])(
    "believes an answer with %j",
    async (headers) => {
      const { store } = setUp(() => Response.json(lookupJson(answerAt([], new Map(), 0)), { headers }))
      expect(await store.lookup(blog([]))).toBeDefined()
    },
  )

  it("asks what changed since an epoch", async () => {
    const { store, sent } = setUp()
    await store.lookup(blog([]), 123)
    await store.lookup(blog(["x", "y", "z"].map((tag) => tag.repeat(1_000))), 123)
    expect(sent[0]?.url.searchParams.get("after")).toBe("123")
    expect(bodyOf(sent[1])).toMatchObject({ after: 123 })
  })

  it.each([["a long query", blog(["x".repeat(1_000), "y".repeat(1_000)])]])(
    "asks by POST for %s",
    async (_, request) => {
      const { store, sent } = setUp()
      await store.lookup(request)
      expect(sent[0]?.init.method).toBe("POST")
      expect(sent[0]?.url.search).toBe("")
      expect(new Headers(sent[0]?.init.headers).get("content-type")).toBe("application/json")
      expect(bodyOf(sent[0])).toEqual({ namespaces: Object.fromEntries(request) })
    },
  )

  it("asks in parts what the Worker takes no more of at once, and answers as one", async () => {
    const { store, sent } = setUp(({ url, init }) => {
      const names = url.searchParams.getAll("ns")
      const asked: Record<string, object> =
        names.length > 0
          ? Object.fromEntries(names.map((name) => [name, {}]))
          : (bodyOf({ url, init }) as { namespaces: Record<string, object> }).namespaces
      const request = new Map(Object.keys(asked).map((name) => [name, { tags: [], urls: [] }]))
      return Response.json(lookupJson(answerAt([], request, 0)))
    })
    const tags = Array.from({ length: 300 }, (_, index) => `tag-${index}`)
    const names = Array.from({ length: 40 }, (_, index) => `n${index}`)
    const request = new Map(names.map((name) => [name, { tags: name === "n7" ? tags : [], urls: [] }]))
    const answer = await store.lookup(request)
    expect([...answer.namespaces.keys()].toSorted()).toEqual(names.toSorted())
    expect(sent).toHaveLength(4)
    const parts = sent.map(({ url, init }) => {
      const body = bodyOf({ url, init }) as { namespaces: Record<string, { tags: string[] }> } | undefined
      const inBody = Object.values(body?.namespaces ?? {}).flatMap((asked) => asked.tags)
      const lists = [...inBody, ...url.searchParams.getAll("tag")]
      return [
        url.searchParams.getAll("ns").length || Object.keys(body?.namespaces ?? {}).length,
        lists.length,
      ]
    })
    for (const [namespaces = 0, selectors = 0] of parts) {
      expect(namespaces).toBeLessThanOrEqual(16)
      expect(selectors).toBeLessThanOrEqual(256)
    }
    expect(parts.reduce((sum, [, selectors = 0]) => sum + selectors, 0)).toBe(300)
  })

  it("goes through a service binding", async () => {
    const { sent, fetch } = setUp()
    const binding = {
      calls: 0,
      async fetch(url: string, init: RequestInit) {
        // Taken off the binding, the method would have lost it.
        this.calls += 1
        return fetch(url, init)
      },
    }
    await workerStore({ url: "https://tidemark", token: TOKEN, fetch: binding }).lookup(blog([]))
    expect(binding.calls).toBe(1)
    expect(sent).toHaveLength(1)
  })

  it.each([400, 403, 404, 422])("tells a refusal (%i) from a store that is away", async (status) => {
    const { store } = setUp(() => Response.json({ code: "unknown_namespace" }, { status }))
    await expect(store.lookup(blog([]))).rejects.toThrow(StoreRefusal)
  })

  it("says what to do about a token that is not known, and publishes by it once only", async () => {
    const detail = "The token is not known, or no longer valid."
    const { store, sent } = setUp(() => Response.json({ code: "unauthorized", detail }, { status: 401 }))
    await expect(store.lookup(blog([]))).rejects.toMatchObject({
      code: "unauthorized",
      message: `the look-up was answered with status 401: ${detail} (is its hash in the Worker's configuration?)`,
    })
    await expect(store.publish?.({ namespace: "blog", mode: "purge" })).rejects.toMatchObject({
      code: "unauthorized",
    })
    expect(sent).toHaveLength(2)
  })

  it.each([
    ["a page of somebody else's", () => new Response("<h1>Not found</h1>", { status: 404 })],
    ["another API", () => Response.json({ error: "no such route" }, { status: 404 })],
    ["a login", () => new Response(null, { status: 302, headers: { location: "https://elsewhere" } })],
    ["a home page", () => new Response("<h1>Welcome</h1>")],
    ["other JSON", () => Response.json({ ok: true })],
  ])("asks whether its url is a Tidemark's where %s answers", async (_, answer) => {
    const { store } = setUp(answer)
    await expect(store.lookup(blog([]))).rejects.toMatchObject({
      name: "TidemarkError",
      code: "unreachable",
      message: expect.stringContaining("(is url that of a Tidemark Worker?)"),
    })
  })

  it.each([
    ["a user", "https://jo:sesame@tidemark.example.com", TOKEN, "url must have no user"],
    ["a query", "https://tidemark.example.com/?key=sesame", TOKEN, "url must have no user, no query"],
    [
      "a token in its path",
      `https://tidemark.example.com/${TOKEN}sesame-sesame-sesame`,
      TOKEN,
      "no token in it",
    ],
    ["its token in place of its url", `${TOKEN}sesame`, TOKEN, "url must begin with"],
    ["a token of two lines", "https://tidemark.example.com", `${TOKEN}\nsesame`, "token has characters"],
  ])("is asked nothing with %s, which is not shown", async (_, url, token, message) => {
    const store = workerStore({ url, token, fetch: () => Promise.reject(new Error("asked")) })
    const error = await store.lookup(blog([])).then(
      () => undefined,
      (caught: Error) => caught,
    )
    expect(error).toMatchObject({ code: "misconfigured", message: expect.stringContaining(message) })
    expect(error?.message).not.toMatch(/sesame|tm_/)
  })

  it("shows no secret of what cannot be reached, and what its cause was", async () => {
    const cause = Object.assign(new Error(""), { code: "ECONNREFUSED" })
    const message = `fetch of https://jo:sesame@h.example/v1?key=sesame with ${TOKEN} failed`
    const { store } = setUp(() => Promise.reject(new TypeError(message, { cause })))
    await expect(store.lookup(blog([]))).rejects.toMatchObject({
      code: "unreachable",
      message:
        "https://tidemark.example.com cannot be reached: fetch of https://h.example/v1 with tm_… failed: ECONNREFUSED",
    })
  })

  it.each([401, 429, 500, 503])("counts status %i as a store that is away", async (status) => {
    const { store } = setUp(() => new Response("no", { status }))
    const error = await store.lookup(blog([])).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(Error)
    expect(error).not.toBeInstanceOf(StoreRefusal)
  })

  it("follows no redirect: the token would go along", async () => {
    const { store, sent } = setUp(
      () => new Response(null, { status: 302, headers: { location: "https://elsewhere.example" } }),
    )
    await expect(store.lookup(blog([]))).rejects.toThrow("status 302")
    expect(sent[0]?.init.redirect).toBe("manual")
  })

  it.each(["not json", "null", "{}", `{"tenant":"t","generation":1,"last":1,"asOf":1}`])(
    "refuses the answer %s",
    async (body) => {
      const { store } = setUp(() => new Response(body))
      await expect(store.lookup(blog([]))).rejects.toThrow()
    },
  )

  it("gives up after its timeout, also while the answer is being read", async () => {
    const { fetch } = setUp(untilAborted)
    const store = workerStore({ url: "https://tidemark", token: TOKEN, fetch, timeout: 20 })
    await expect(store.lookup(blog([]))).rejects.toThrow("aborted")
    expect(() => workerStore({ url: "https://tidemark", token: TOKEN, timeout: 0 })).toThrow(RangeError)
  })

  describe("publishes", () => {
    const accepted = () => Response.json({ id: "7", epoch: 7, namespace: "blog" }, { status: 202 })

    it("by POST, under a key of its own", async () => {
      const { store, sent } = setUp(accepted)
      const what = { namespace: "blog", tags: ["a"], mode: "purge" } as const
      expect(await store.publish?.(what)).toMatchObject({ id: "7", epoch: 7 })
      await store.publish?.(what)
      expect(sent.map(({ url, init }) => [url.pathname, init.method])).toEqual([
        ["/v1/invalidations", "POST"],
        ["/v1/invalidations", "POST"],
      ])
      expect(bodyOf(sent[0])).toEqual(what)
      const keys = sent.map(({ init }) => new Headers(init.headers).get("idempotency-key"))
      expect(new Set(keys).size).toBe(2)
    })

    it("once more under the same key where no answer came, three times in all", async () => {
      const answers = [
        () => Response.json({}, { status: 503 }),
        () => Promise.reject(new Error("reset")),
        accepted,
      ]
      const { store, sent } = setUp(() => answers.shift()?.() ?? Response.json({}, { status: 503 }))
      expect(await store.publish?.({ everything: true, mode: "invalidate" })).toMatchObject({ epoch: 7 })
      const keys = sent.map(({ init }) => new Headers(init.headers).get("idempotency-key"))
      expect([keys.length, new Set(keys).size]).toEqual([3, 1])
      await expect(store.publish?.({ everything: true, mode: "invalidate" })).rejects.toThrow("status 503")
      expect(sent).toHaveLength(6)
    })

    it.each(["{}", "null", `{"id":"7"}`, `{"id":"7","epoch":"7"}`, `{"id":"7","epoch":1e400}`, "<html>", ""])(
      "nothing where something else answers: %j",
      async (body) => {
        const { store } = setUp(() => new Response(body))
        await expect(store.publish?.({ everything: true, mode: "purge" })).rejects.toThrow(
          "the publish was answered with something else (is url that of a Tidemark Worker?)",
        )
      },
    )

    it("not again what was refused, and tells why", async () => {
      const problem = { code: "unknown_namespace", detail: "The namespace is not declared." }
      const { store, sent } = setUp(() => Response.json(problem, { status: 422 }))
      const publishing = store.publish?.({ namespace: "blog", mode: "invalidate" })
      await expect(publishing).rejects.toThrow(StoreRefusal)
      await expect(publishing).rejects.toThrow("status 422: The namespace is not declared.")
      expect(sent).toHaveLength(1)
    })
  })
})
