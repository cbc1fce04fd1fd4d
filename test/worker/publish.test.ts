import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { contentfulPublish } from "../../cli/demo/webhook.ts"
import { headKey, logKey } from "../../protocol/keys.ts"
import { PROBLEMS, type ProblemCode } from "../../protocol/errors.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** The Worker as an outsider meets it: in workerd, over HTTP, on a real Redis. */

const CONTENTFUL_SECRET = "c".repeat(64)
const HOOK = "/v1/hooks/cms"
let edge: Edge

beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: {
        blog: { hosts: ["www.example.com"], prefixes: ["https://shop.example.com/blog/"] },
        catalog: {},
        alone: {},
      },
      sources: {
        cms: {
          type: "contentful",
          secret: { secret: "CONTENTFUL_SECRET" },
          namespace: "blog",
          rules: [{ when: { type: "post" }, tags: ["post-{id}"], mode: "purge" }],
        },
      },
      targets: {
        cdn: { type: "http", url: "http://127.0.0.1:9/", secret: { secret: "CDN" }, namespaces: ["blog"] },
        other: {
          type: "http",
          url: "http://127.0.0.1:9/",
          secret: { secret: "CDN" },
          namespaces: ["catalog"],
        },
      },
    },
    scopes: {
      all: ["publish:*", "read:*", "epochs:*", "everything"],
      blog: ["publish:blog", "read:blog", "epochs:blog"],
      reader: ["read:blog"],
    },
    secrets: { CONTENTFUL_SECRET },
  })
})
afterAll(() => edge.stop())
beforeEach(async () => {
  await edge.store.pipeline([["FLUSHALL"]])
  edge.requests.length = 0
})

const publish = (body: unknown, headers: Record<string, string> = {}, token = edge.tokens.all) =>
  edge.call("POST", "/v1/invalidations", { token: token ?? "", body, headers })

const isEmpty = async (): Promise<boolean> => {
  const [keys] = await edge.store.pipeline([["DBSIZE"]])
  return keys === 0
}

describe("a publish", () => {
  test("is recorded, raises its epoch, and says who is purged", async () => {
    const { status, json, headers } = await publish({ namespace: "blog", tags: ["post-1"] })
    expect(status).toBe(202)
    expect(json).toEqual({
      id: String(json.epoch),
      epoch: expect.any(Number),
      tenant: "default",
      namespace: "blog",
      duplicate: false,
      targets: ["cdn"],
      warnings: [],
    })
    expect(headers.get("location")).toBe(`/v1/invalidations/${json.id}`)
    const record = await edge.call("GET", `/v1/invalidations/${json.id}`, { token: edge.tokens.all ?? "" })
    expect(record.json).toMatchObject({
      id: json.id,
      tags: ["post-1"],
      state: "pending",
      by: { token: "all" },
    })
  })

  test("costs the Worker one subrequest, whatever it carries", async () => {
    // The first teaches the server the script.
    await publish({ namespace: "blog", tags: ["warm"] })
    const bodies = [
      { namespace: "blog", tags: Array.from({ length: 1_000 }, (_, index) => `tag-${index}`) },
      {
        namespace: "blog",
        urls: ["https://www.example.com/a?b=1"],
        prefixes: ["https://www.example.com/b/"],
        hosts: ["www.example.com"],
        mode: "purge",
        settle: "5s",
        secondPass: "5s",
      },
      { invalidations: [{ namespace: "blog" }, { namespace: "catalog", tags: ["x"] }] },
    ]
    for (const body of bodies) {
      edge.requests.length = 0
      expect((await publish(body)).status).toBe(202)
      expect(edge.requests.map(({ commands }) => commands)).toEqual([["EVALSHA"]])
    }
  })

  test("costs a second subrequest, once, where Redis forgot the script", async () => {
    await publish({ namespace: "blog" })
    await edge.store.pipeline([["SCRIPT", "FLUSH"]])
    edge.requests.length = 0
    await publish({ namespace: "blog" })
    await publish({ namespace: "blog" })
    expect(edge.requests.map(({ commands }) => commands[0])).toEqual(["EVALSHA", "EVAL", "EVALSHA"])
  })

  test("is read whatever its Content-Type says, or when it says none", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "nonsense"]) {
      expect((await publish({ namespace: "blog" }, { "content-type": type })).status).toBe(202)
    }
  })

  test("of a batch is one atomic publish, answered in order", async () => {
    const { status, json, headers } = await publish({
      invalidations: [
        { namespace: "catalog/products", tags: ["a"] },
        { namespace: "blog", mode: "purge" },
      ],
    })
    expect(status).toBe(202)
    expect(headers.get("location")).toBeNull()
    expect(
      json.invalidations.map(({ namespace, targets }: { namespace: string; targets: string[] }) => [
        namespace,
        targets,
      ]),
    ).toEqual([
      ["catalog/products", ["other"]],
      ["blog", ["cdn"]],
    ])
    expect(json.invalidations[1].epoch).toBeGreaterThan(json.invalidations[0].epoch)
  })

  test("under one key and body is recorded once, whatever the order of its members", async () => {
    const first = await publish({ namespace: "blog", tags: ["a"] }, { "idempotency-key": "k" })
    const again = await publish('{ "tags":["a"] , "namespace":"blog" }', { "idempotency-key": "k" })
    expect(again.json).toEqual({ ...first.json, duplicate: true })
    const [length] = await edge.store.pipeline([["XLEN", logKey("default")]])
    expect(length).toBe(1)
  })

  test("answers 200 with the record once every target is done, and 202 when the time is over", async () => {
    // No target is concerned, so it is done at once; nobody purges the other's.
    const done = await publish({ namespace: "alone", tags: ["a"] }, { prefer: "wait=1" })
    expect([done.status, done.headers.get("preference-applied")]).toEqual([200, "wait=1"])
    expect(done.json).toMatchObject({ namespace: "alone", state: "done", targets: {} })
    const late = await publish({ namespace: "blog", tags: ["a"] }, { prefer: "respond-async, wait=1" })
    expect([late.status, late.headers.get("preference-applied"), late.json.duplicate]).toEqual([
      202,
      null,
      false,
    ])
    const ignored = await publish({ namespace: "alone" }, { prefer: "wait=31" })
    expect(ignored.status).toBe(202)
  })
})

describe("what is wrong is told, and nothing is written", () => {
  const tags = (count: number) => Array.from({ length: count }, (_, index) => `t${index}`)
  interface Refused {
    readonly name: string
    readonly body: unknown
    readonly code: ProblemCode
    readonly pointer?: string
  }
  const refused = (name: string, body: unknown, code: ProblemCode, pointer?: string): Refused => ({
    name,
    body,
    code,
    ...(pointer === undefined ? {} : { pointer }),
  })
  const cases = [
    refused("malformed JSON", "{bad", "invalid_json"),
    refused("invalid UTF-8 is no JSON either", "\u0000", "invalid_json"),
    refused("an unknown member", { namespace: "blog", tag: ["a"] }, "invalid_request", "/tag"),
    refused("an empty list", { namespace: "blog", tags: [] }, "invalid_request", "/tags"),
    refused(
      "a tag with control characters",
      { namespace: "blog", tags: ["ok", "a\nb"] },
      "invalid_request",
      "/tags/1",
    ),
    refused("a tag that is ours", { namespace: "blog", tags: ["ns/blog"] }, "invalid_request", "/tags/0"),
    refused("no namespace", { tags: ["a"] }, "invalid_request", "/namespace"),
    refused("a body that is no object", [1], "invalid_request", ""),
    refused("a duration without a unit", { namespace: "blog", settle: "3" }, "invalid_request", "/settle"),
    refused(
      "a settle of more than a day",
      { namespace: "blog", settle: "25h" },
      "invalid_request",
      "/settle",
    ),
    refused(
      "staleFor with purge",
      { namespace: "blog", mode: "purge", staleFor: "5s" },
      "invalid_request",
      "/staleFor",
    ),
    refused("everything beside selectors", { everything: true, tags: ["a"] }, "invalid_request", "/tags"),
    refused("1,001 selectors", { namespace: "blog", tags: tags(1_001) }, "too_many_selectors"),
    refused(
      "1,001 selectors over a batch",
      {
        invalidations: [
          { namespace: "blog", tags: tags(501) },
          { namespace: "blog", tags: tags(500) },
        ],
      },
      "too_many_selectors",
    ),
    refused(
      "101 items in a batch",
      { invalidations: tags(101).map(() => ({ namespace: "blog" })) },
      "invalid_request",
      "/invalidations",
    ),
    refused(
      "a fault in a batch's second item",
      { invalidations: [{ namespace: "blog" }, { namespace: "blog", x: 1 }] },
      "invalid_request",
      "/invalidations/1/x",
    ),
    refused(
      "a url outside the namespace",
      {
        namespace: "blog",
        urls: ["https://www.example.com/a", "https://www.example.com/a", "https://evil.example/"],
      },
      "outside_namespace",
      // Where it stands in what was sent.
      "/urls/2",
    ),
    refused(
      "a prefix outside it",
      { namespace: "blog", prefixes: ["https://shop.example.com/"] },
      "outside_namespace",
      "/prefixes/0",
    ),
    refused(
      "a host outside it",
      { namespace: "blog", hosts: ["shop.example.com"] },
      "outside_namespace",
      "/hosts/0",
    ),
    refused(
      "a url in a namespace that has no place",
      { namespace: "catalog", urls: ["https://www.example.com/"] },
      "outside_namespace",
      "/urls/0",
    ),
    refused("an undeclared namespace", { namespace: "shop" }, "unknown_namespace", "/namespace"),
    refused("everything where no target may be purged so", { everything: true }, "everything_not_allowed"),
    refused(
      "a body of more than 256 KiB",
      JSON.stringify({ namespace: "blog", reason: "x".repeat(257 * 1024) }),
      "body_too_large",
    ),
  ]
  test.each(cases)("$name", async ({ body, code, pointer }) => {
    const { status, json, headers } = await publish(body)
    expect(json).toMatchObject({ code, type: `urn:tidemark:error:${code}`, status: PROBLEMS[code].status })
    expect(status).toBe(PROBLEMS[code].status)
    expect(headers.get("content-type")).toBe("application/problem+json")
    if (pointer !== undefined)
      expect(json.errors.map((fault: { pointer: string }) => fault.pointer)).toContain(pointer)
    expect(await isEmpty()).toBe(true)
    expect(edge.requests).toEqual([])
  })

  test("every fault of a request is told at once", async () => {
    const { json } = await publish({
      namespace: "blog",
      tags: ["a\u0001"],
      urls: ["nope"],
      x: 1,
      mode: "zap",
    })
    expect(json.errors.map((fault: { pointer: string }) => fault.pointer).toSorted()).toEqual([
      "/mode",
      "/tags/0",
      "/urls/0",
      "/x",
    ])
  })

  test("a namespace outside the token's scope, without telling whether it exists", async () => {
    const answers = await Promise.all(
      ["catalog", "nowhere"].map((namespace) => publish({ namespace }, {}, edge.tokens.blog)),
    )
    expect(answers.map(({ status, text }) => [status, text])).toEqual([
      [403, answers[0]?.text],
      [403, answers[0]?.text],
    ])
    expect(answers[0]?.json.code).toBe("insufficient_scope")
    expect((await publish({ everything: true }, {}, edge.tokens.blog)).json.code).toBe("insufficient_scope")
    expect((await publish({ namespace: "blog" }, {}, edge.tokens.reader)).json.code).toBe(
      "insufficient_scope",
    )
    expect(edge.requests).toEqual([])
  })

  test("no token, and a wrong one, which is not echoed", async () => {
    const none = await edge.call("POST", "/v1/invalidations", { body: { namespace: "blog" } })
    const wrong = await publish({ namespace: "blog" }, {}, `tm_${"x".repeat(43)}`)
    for (const answer of [none, wrong]) {
      expect(answer.status).toBe(401)
      expect(answer.headers.get("www-authenticate")).toBe("Bearer")
      expect(answer.text).not.toContain("xxx")
    }
  })

  test("an idempotency key with another body, or one that is none", async () => {
    await publish({ namespace: "blog", tags: ["a"] }, { "idempotency-key": "k" })
    const reused = await publish({ namespace: "blog", tags: ["b"] }, { "idempotency-key": "k" })
    expect([reused.status, reused.json.code]).toEqual([422, "idempotency_key_reused"])
    const bad = await publish({ namespace: "blog" }, { "idempotency-key": "k".repeat(256) })
    expect([bad.status, bad.json.code]).toEqual([400, "invalid_idempotency_key"])
    const other = await publish(
      { namespace: "blog", tags: ["b"] },
      { "idempotency-key": "k" },
      edge.tokens.blog,
    )
    expect([other.status, other.json.duplicate]).toEqual([202, false])
  })

  test("unknown routes and methods", async () => {
    expect((await edge.call("GET", "/nothing")).json.code).toBe("not_found")
    const wrong = await edge.call("DELETE", "/v1/invalidations")
    expect([wrong.status, wrong.headers.get("allow"), wrong.json.code]).toEqual([
      405,
      "GET, POST",
      "method_not_allowed",
    ])
  })
})

describe("a webhook", () => {
  const deliver = (webhook: { headers: Readonly<Record<string, string>>; body: string }, path = HOOK) =>
    edge.call("POST", path, { headers: webhook.headers, body: webhook.body })
  const signed = (revision: number, now = Date.now(), secret = CONTENTFUL_SECRET) =>
    contentfulPublish(secret, HOOK, "42", revision, now)

  test("is recorded by its rules, and known again when it is repeated", async () => {
    const webhook = signed(1)
    const first = await deliver(webhook)
    expect([first.status, first.json]).toEqual([
      200,
      { accepted: 1, duplicate: false, epochs: [expect.any(Number)], notes: [] },
    ])
    expect(first.headers.get("content-type")).toContain("application/json")
    const again = await deliver(webhook)
    expect([again.status, again.json]).toEqual([200, { ...first.json, duplicate: true }])
    const record = await edge.call("GET", `/v1/invalidations/${first.json.epochs[0]}`, {
      token: edge.tokens.all ?? "",
    })
    expect(record.json).toMatchObject({
      tags: ["post-42"],
      mode: "purge",
      by: { source: "cms" },
      namespace: "blog",
    })
    expect((await deliver(signed(2))).json.duplicate).toBe(false)
  })

  test("with a wrong, a stale or no signature, or of an unknown source, writes nothing", async () => {
    const answers = [
      await deliver(signed(1, Date.now(), "d".repeat(64))),
      await deliver(signed(1, Date.now() - 31_000)),
      await deliver(signed(1, Date.now() + 31_000)),
      await deliver({ headers: {}, body: "{}" }),
      await deliver(signed(1), "/v1/hooks/nobody"),
    ]
    expect(answers.map(({ status, json }) => [status, json.code])).toEqual([
      [401, "invalid_signature"],
      [401, "stale_signature"],
      [401, "stale_signature"],
      [401, "invalid_signature"],
      [404, "unknown_source"],
    ])
    expect(answers.some(({ text }) => text.includes(CONTENTFUL_SECRET))).toBe(false)
    expect(await isEmpty()).toBe(true)
  })

  test("by GET is not allowed", async () => {
    const answer = await edge.call("GET", HOOK)
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"])
  })
})

describe("a look-up", () => {
  test("is one subrequest, and tells what a publish raised", async () => {
    const { json: published } = await publish({
      namespace: "blog",
      tags: ["a"],
      urls: ["https://www.example.com/x"],
      mode: "purge",
    })
    edge.requests.length = 0
    const path = `/v1/epochs?ns=blog&tag=blog:a&tag=blog:b&url=${encodeURIComponent("blog:https://www.example.com/x")}&ns=catalog/products`
    const { json, headers } = await edge.call("GET", path, { token: edge.tokens.all ?? "" })
    expect(headers.get("cache-control")).toBe("no-store")
    expect(json).toMatchObject({
      tenant: "default",
      last: published.epoch,
      stamp: `${json.generation}.${published.epoch}`,
    })
    expect(json.namespaces.blog).toEqual({
      epoch: 0,
      watermark: published.epoch,
      hard: published.epoch,
      floor: 0,
      tags: { a: published.epoch },
      urls: { "https://www.example.com/x": published.epoch },
    })
    expect(json.namespaces["catalog/products"]).toEqual({
      epoch: 0,
      watermark: 0,
      hard: 0,
      floor: 0,
      tags: {},
      urls: {},
    })
    expect(edge.requests).toHaveLength(1)
    const posted = await edge.call("POST", "/v1/epochs", {
      token: edge.tokens.all ?? "",
      body: { namespaces: { blog: { tags: ["a"] } }, after: published.epoch - 1 },
    })
    expect(posted.json.changed).toEqual({ blog: null })
  })

  test("tells what changed since an epoch of this generation", async () => {
    const first = await publish({ namespace: "blog", tags: ["a"] })
    const second = await publish({ namespace: "blog", tags: ["b"] })
    const { json } = await edge.call("GET", `/v1/epochs?ns=blog&after=${first.json.epoch}`, {
      token: edge.tokens.all ?? "",
    })
    expect(json.changed).toEqual({ blog: { b: second.json.epoch } })
  })

  test("folds root and ancestors into epoch and hard", async () => {
    const { json: parent } = await publish({ namespace: "catalog", mode: "purge" })
    const { json } = await edge.call("GET", "/v1/epochs?ns=catalog/products", {
      token: edge.tokens.all ?? "",
    })
    expect(json.namespaces["catalog/products"]).toMatchObject({
      epoch: parent.epoch,
      hard: parent.epoch,
      watermark: parent.epoch,
    })
  })

  test.each([
    ["/v1/epochs", 400, "invalid_parameter"],
    ["/v1/epochs?ns=no%20name", 400, "invalid_parameter"],
    ["/v1/epochs?tag=a", 400, "invalid_parameter"],
    ["/v1/epochs?ns=blog&after=x", 400, "invalid_parameter"],
    [
      `/v1/epochs?${Array.from({ length: 17 }, (_, index) => `ns=n${index}`).join("&")}`,
      400,
      "invalid_parameter",
    ],
    ["/v1/epochs?ns=nowhere", 422, "unknown_namespace"],
  ])("refuses %s", async (path, status, code) => {
    const answer = await edge.call("GET", path, { token: edge.tokens.all ?? "" })
    expect([answer.status, answer.json.code]).toEqual([status, code])
  })

  test.each<[object, readonly string[]]>([
    [{}, ["/namespaces"]],
    [{ namespaces: [{}] }, ["/namespaces"]],
    [{ namespaces: {} }, ["/namespaces"]],
    [{ namespaces: { blog: [], "no name": {} } }, ["/namespaces/blog"]],
    [
      { namespaces: { "no name": {}, blog: { tags: [""] } } },
      ["/namespaces/no name", "/namespaces/blog/tags/0"],
    ],
    [{ namespaces: { blog: { tags: [1], url: [] } } }, ["/namespaces/blog/tags/0", "/namespaces/blog/url"]],
    [{ namespaces: { blog: {} }, more: 1 }, ["/more"]],
    ...[-1, 0.5, 2 ** 53, "1", null].map((after): [object, string[]] => [
      { namespaces: { blog: {} }, after },
      ["/after"],
    ]),
  ])("asked by %j is refused by pointers", async (body, pointers) => {
    const { status, json } = await edge.call("POST", "/v1/epochs", { token: edge.tokens.all ?? "", body })
    expect([status, json.code]).toEqual([422, "invalid_request"])
    expect(json.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual(pointers)
  })

  test("of a namespace out of scope is refused before Redis is asked", async () => {
    edge.requests.length = 0
    const answer = await edge.call("GET", "/v1/epochs?ns=catalog", { token: edge.tokens.blog ?? "" })
    expect([answer.status, answer.json.code, edge.requests.length]).toEqual([403, "insufficient_scope", 0])
  })
})

describe("the log", () => {
  test("is paged by exclusive epochs, in scope only", async () => {
    const epochs: number[] = []
    for (const namespace of ["blog", "catalog", "blog", "blog"])
      epochs.push((await publish({ namespace })).json.epoch)
    const page = async (query: string, token = edge.tokens.all) => {
      const { json } = await edge.call("GET", `/v1/invalidations${query}`, { token: token ?? "" })
      return [json.items?.map((item: { epoch: number }) => epochs.indexOf(item.epoch)), json.next]
    }
    expect(await page("")).toEqual([[0, 1, 2, 3], null])
    expect(await page("?limit=2")).toEqual([[0, 1], epochs[1]])
    expect(await page(`?limit=2&after=${epochs[1]}`)).toEqual([[2, 3], epochs[3]])
    expect(await page(`?before=${epochs[3]}`)).toEqual([[2, 1, 0], null])
    expect(await page("?ns=catalog")).toEqual([[1], null])
    expect(await page("", edge.tokens.blog)).toEqual([[0, 2, 3], null])
    const denied = await edge.call("GET", "/v1/invalidations?ns=catalog", { token: edge.tokens.blog ?? "" })
    expect(denied.json.code).toBe("insufficient_scope")
    const both = await edge.call("GET", "/v1/invalidations?after=1&before=2", {
      token: edge.tokens.all ?? "",
    })
    expect(both.json.code).toBe("invalid_parameter")
  })

  test("tells nobody of a record out of scope, or unknown", async () => {
    const { json } = await publish({ namespace: "catalog" })
    const hidden = await edge.call("GET", `/v1/invalidations/${json.id}`, { token: edge.tokens.blog ?? "" })
    const unknown = await edge.call("GET", "/v1/invalidations/1", { token: edge.tokens.blog ?? "" })
    expect([hidden.status, hidden.text]).toEqual([404, unknown.text])
    expect(hidden.headers.get("retry-after")).toBe("1")
  })
})

describe("when Redis is full or away", () => {
  test("publishing and webhooks answer 503 with Retry-After, and nothing is acknowledged", async () => {
    await publish({ namespace: "blog" })
    const [head] = await edge.store.pipeline([["GET", headKey("default")]])
    await edge.store.pipeline([["CONFIG", "SET", "maxmemory", "1"]])
    try {
      for (const answer of [
        await publish({ namespace: "blog", tags: ["full"] }),
        await edge.call("POST", HOOK, contentfulPublish(CONTENTFUL_SECRET, HOOK, "1", 1, Date.now())),
      ]) {
        expect([answer.status, answer.json.code]).toEqual([503, "store_unavailable"])
        expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0)
      }
      expect(await edge.store.pipeline([["GET", headKey("default")]])).toEqual([head])
    } finally {
      await edge.store.pipeline([["CONFIG", "SET", "maxmemory", "0"]])
    }
    expect((await publish({ namespace: "blog" })).status).toBe(202)
  })

  // Last: nothing brings this Redis back.
  test("an absent one likewise", async () => {
    await edge.redis.stop()
    for (const answer of [
      await publish({ namespace: "blog" }),
      await edge.call("POST", HOOK, contentfulPublish(CONTENTFUL_SECRET, HOOK, "1", 1, Date.now())),
      await edge.call("GET", "/v1/epochs?ns=blog", { token: edge.tokens.all ?? "" }),
    ]) {
      expect([answer.status, answer.json.code]).toEqual([503, "store_unavailable"])
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0)
    }
  })
})
