import { describe, expect, it } from "vitest"
import { FakeFastly, type FakeFastlyOptions } from "../../test/fakes/fastly.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { fastly } from "./fastly.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const SERVICE = "SU1Z0isxPaozGVKXdv0eY"
const TOKEN = "fastly-token-Zq8vJw2mXr5tYh1kLp9sBn4d"
const API = "https://api.fastly.com"

const config = (more: Partial<TargetConfigOf<"fastly">> = {}): TargetConfigOf<"fastly"> => ({
  type: "fastly",
  service: SERVICE,
  token: TOKEN,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"fastly">>) =>
  fastly.create(config(more), { fetch, now: () => NOW })

const account = (more: Partial<FakeFastlyOptions> = {}) =>
  new FakeFastly({ services: [SERVICE], token: TOKEN, now: () => NOW, isUnlimited: true, ...more })

const json = (status: number, body: unknown, headers: HeadersInit = {}) =>
  Response.json(body, { status, headers })

describeTarget("fastly", () => ({
  create: driverOn,
  capabilities: fastly.capabilities({ type: "fastly" }),
  fake: account,
  unauthorised: () => json(401, { msg: "Provided credentials are missing or invalid" }),
  refused: () => json(400, { status: "fail", reason: "no such key" }),
  requests: 1,
  secrets: [TOKEN],
}))

const batchOf = (
  kind: Batch["values"][number]["kind"],
  mode: Batch["mode"],
  ...values: readonly string[]
): Batch => ({ ...FAST, mode, values: values.map((value) => valueOf(kind, value)) })

async function sent(batch: Batch, more?: Partial<TargetConfigOf<"fastly">>) {
  const vendor = account()
  const { fetch, received } = transportTo((request) => {
    const url = more?.endpoint === undefined ? request.url : request.url.replace(/^.*?9000/, API)
    return vendor.handle({ ...request, url })
  })
  expect(await driverOn(fetch, more).purge(batch, soon())).toMatchObject({ outcome: "accepted" })
  expect(vendor.complaints).toEqual([])
  expect(received).toHaveLength(1)
  const [request] = received
  return {
    line: `${request?.method} ${request?.url}`,
    headers: Object.fromEntries(request?.headers ?? []),
    body: request?.body,
  }
}

const HARD = { accept: "application/json", "fastly-key": TOKEN }
const SOFT = { ...HARD, "fastly-soft-purge": "1" }
const JSON_BODY = { "content-type": "application/json" }

describe("what Fastly is sent", () => {
  it("is keys as a list, each once; soft by a header that a hard purge does not have at all", async () => {
    const body = '{"surrogate_keys":["post-1","type-post"]}'
    const line = `POST ${API}/service/${SERVICE}/purge`
    const keys = ["post-1", "type-post", "post-1"]
    expect(await sent(batchOf("tag", "purge", ...keys))).toEqual({
      line,
      headers: { ...HARD, ...JSON_BODY },
      body,
    })
    expect(await sent(batchOf("tag", "invalidate", ...keys))).toEqual({
      line,
      headers: { ...SOFT, ...JSON_BODY },
      body,
    })
  })

  it.each([
    ["https://www.example.com/", "www.example.com/"],
    ["http://www.example.com/a/b?c=d&e=https://f", "www.example.com/a/b?c=d&e=https://f"],
    ["https://www.example.com:8443//a/", "www.example.com:8443//a/"],
    ["https://www.example.com/caf%C3%A9%2F?", "www.example.com/caf%C3%A9%2F"],
  ])("is the url %s by %s, without its scheme", async (url, path) => {
    const line = `POST ${API}/purge/${path}`
    expect(await sent(batchOf("url", "purge", url))).toEqual({ line, headers: HARD, body: "" })
    expect(await sent(batchOf("url", "invalidate", url))).toEqual({ line, headers: SOFT, body: "" })
  })

  it("is one address for everything", async () => {
    expect(await sent(batchOf("everything", "purge", "*"))).toEqual({
      line: `POST ${API}/service/${SERVICE}/purge_all`,
      headers: HARD,
      body: "",
    })
  })

  it("goes to another base address where one is configured", async () => {
    for (const endpoint of ["http://127.0.0.1:9000", "http://127.0.0.1:9000/"])
      expect((await sent(sample("tag", "purge"), { endpoint })).line).toBe(
        `POST http://127.0.0.1:9000/service/${SERVICE}/purge`,
      )
  })
})

const outcomeOf = (response: () => Response, batch: Batch = sample("tag", "purge")) =>
  driverOn(transportTo(response).fetch).purge(batch, soon())

describe("what Fastly answers", () => {
  it("keeps its ids of an accepted purge, the first few of many", async () => {
    expect(await outcomeOf(() => json(200, { "post-0": "79-1" }))).toEqual({
      outcome: "accepted",
      status: 200,
      vendorId: "79-1",
    })
    expect(await outcomeOf(() => json(200, { status: "ok", id: "79-2" }), sample("url", "purge"))).toEqual({
      outcome: "accepted",
      status: 200,
      vendorId: "79-2",
    })
    expect(await outcomeOf(() => json(200, { status: "ok" }), sample("everything", "purge"))).toEqual({
      outcome: "accepted",
      status: 200,
    })
    const many = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`post-${index}`, `79-${index}`]))
    expect(await outcomeOf(() => json(200, many), sample("tag", "purge", 9))).toMatchObject({
      vendorId: "79-0,79-1,79-2,79-3,79-4,79-5",
    })
  })

  it("has not purged a key that it names no purge of", async () => {
    const some = () => json(200, { "post-0": "79-1", "post-2": "79-3" })
    expect(await outcomeOf(some, sample("tag", "purge", 4))).toEqual({
      outcome: "refused",
      status: 200,
      at: [1, 3],
      detail: "api.fastly.com answered 200 and named no purge of it",
    })
    const inherited = batchOf("tag", "purge", "post-0", "toString")
    expect(await outcomeOf(some, inherited)).toMatchObject({ outcome: "refused", at: [1] })
  })

  it.each(["", "<html>", "null", "[]", '"ok"', "{}", '{"status":"o'])(
    "is not understood with a 200 and the body %j",
    async (text) => {
      for (const kind of ["tag", "url", "everything"] as const)
        expect(await outcomeOf(() => new Response(text), sample(kind, "purge")), kind).toMatchObject({
          outcome: "trouble",
          status: 200,
        })
    },
  )

  it("says no within a 200 too", async () => {
    for (const kind of ["tag", "url"] as const)
      expect(
        await outcomeOf(() => json(200, { status: "fail", reason: "no" }), sample(kind, "purge")),
      ).toEqual({
        outcome: "refused",
        status: 200,
        detail: "api.fastly.com answered 200 without success: no",
      })
  })

  it("says no in its own words, but for those of a page", async () => {
    expect(await outcomeOf(() => json(400, { status: "fail", reason: "up to 256" }))).toMatchObject({
      outcome: "refused",
      detail: "api.fastly.com answered 400: up to 256",
    })
    expect(await outcomeOf(() => json(400, { msg: "Bad request", detail: "why" }))).toMatchObject({
      detail: "api.fastly.com answered 400: Bad request: why",
    })
    expect(await outcomeOf(() => new Response("<h1>Unauthorized</h1>", { status: 401 }))).toEqual({
      outcome: "unauthorised",
      status: 401,
      detail: "api.fastly.com answered 401",
      mend: ["token"],
    })
  })

  it("gives a key up that it quotes, whatever that is called", async () => {
    for (const quoted of ["service", "credentials", "permission", "account"])
      expect(
        await outcomeOf(() => json(400, { msg: "Bad request", detail: `not a key: ${quoted}` })),
      ).toMatchObject({ outcome: "refused" })
  })

  it("has no secret repeated that its words hold", async () => {
    const echo = `no ${TOKEN} here`
    for (const body of [{ reason: echo }, { msg: echo }, { msg: "no", detail: echo }])
      for (const status of [200, 400, 401, 429]) {
        const said = JSON.stringify(await outcomeOf(() => json(status, { status: "fail", ...body })))
        expect(said).toContain("no [secret] here")
        expect(said).not.toContain(TOKEN)
      }
  })

  it("pauses where no service is found, also for a url whose host none of the token's has", async () => {
    const missing = () => json(404, { msg: "Record not found", detail: "Cannot load service" })
    for (const kind of ["tag", "url", "everything"] as const)
      expect(await outcomeOf(missing, sample(kind, "purge"))).toEqual({
        outcome: "unauthorised",
        status: 404,
        detail: "api.fastly.com answered 404: Record not found: Cannot load service",
        mend: ["service", "token"],
      })
  })

  it("pauses where the token may not purge everything, as by credentials that it does not know", async () => {
    const vendor = account({ scopes: ["purge_select"] })
    const { fetch } = transportTo((request) => vendor.handle(request))
    const on = (more?: Partial<TargetConfigOf<"fastly">>) => driverOn(fetch, more)
    expect(await on().purge(sample("everything", "purge"), soon())).toMatchObject({
      outcome: "unauthorised",
      status: 403,
    })
    for (const kind of ["tag", "url", "everything"] as const)
      expect(await on({ token: "another" }).purge(sample(kind, "purge"), soon())).toMatchObject({
        outcome: "unauthorised",
        status: 401,
      })
    expect(vendor.complaints).toEqual([])
  })

  it("tells what is left of its limit, and when there is more", async () => {
    const reset = String(NOW / 1_000 + 90)
    const headers = { "fastly-ratelimit-remaining": "0", "fastly-ratelimit-reset": reset }
    const left = [{ bucket: "api", tokens: 0 }]
    expect(await outcomeOf(() => json(429, { msg: "too many" }, headers))).toEqual({
      outcome: "trouble",
      status: 429,
      retryAfter: 90_000,
      left,
      detail: "api.fastly.com answered 429: too many",
    })
    expect(await outcomeOf(() => json(200, { "post-0": "1" }, headers))).toMatchObject({
      outcome: "accepted",
      left,
    })
    expect(await outcomeOf(() => json(429, {}, { ...headers, "retry-after": "3" }))).toMatchObject({
      retryAfter: 3_000,
    })
    expect(await outcomeOf(() => json(503, {}, headers))).not.toHaveProperty("retryAfter")
    const past = { "fastly-ratelimit-reset": "1000" }
    expect(await outcomeOf(() => json(429, {}, past))).toMatchObject({ retryAfter: 0 })
    const odd = { "fastly-ratelimit-remaining": "-1", "fastly-ratelimit-reset": "soon" }
    const said = await outcomeOf(() => json(429, {}, odd))
    expect(said).not.toHaveProperty("retryAfter")
    expect(said).not.toHaveProperty("left")
  })

  it("has a limit for everything, and says so when it is reached", async () => {
    const vendor = account({ isUnlimited: false })
    const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
    for (let calls = 0; calls < 1_000; calls++) await driver.purge(sample("everything", "purge"), soon())
    expect(vendor.taken).toHaveLength(1_000)
    expect(await driver.purge(sample("everything", "purge"), soon())).toMatchObject({
      outcome: "trouble",
      status: 429,
      left: [{ bucket: "api", tokens: 0 }],
    })
    expect(await driver.purge(sample("tag", "purge"), soon())).toMatchObject({ outcome: "accepted" })
  })
})

describe("the pace of Fastly", () => {
  it("is for purging everything alone, at most 1,000 in any hour", () => {
    expect(fastly.pace(config())).toEqual([
      { limit: "rate", bucket: "api", kinds: ["everything"], per: "call", perSecond: 0.25, burst: 100 },
    ])
  })
})

describe("its configuration", () => {
  it.each(["", "two words", "line\nbreak", "naïve"])("refuses the token %j without repeating it", (token) => {
    const create = () => driverOn(transportTo(() => new Response()).fetch, { token })
    expect(create).toThrow(/^token /)
    if (token !== "") expect(create).not.toThrow(token)
  })

  it("refuses an endpoint with credentials", () => {
    expect(() =>
      driverOn(transportTo(() => new Response()).fetch, { endpoint: "https://a:hunter2@proxy.example/" }),
    ).toThrow(/^endpoint (?!.*hunter2)/)
  })
})
