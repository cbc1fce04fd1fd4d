import { describe, expect, it } from "vitest"
import { FakeAkamai } from "../../test/fakes/akamai.ts"
import signed from "../../test/fixtures/edgegrid.json" with { type: "json" }
import { cut } from "../batches.ts"
import { akamai } from "./akamai.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { signEdgeGrid } from "./edgegrid.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const HOST = "akab-h05tnam3wl42son7-nktnlvnx3kbob3ck.purge.akamaiapis.net"
const CREDENTIALS = {
  host: HOST,
  clientToken: "akab-client-token-Zq8vJw2mXr5t",
  clientSecret: "kLp9sBn4dCg7fAe3uZq8vJw2mXr5tYh1kLp9sBn4dCg=",
  accessToken: "akab-access-token-Yh1kLp9sBn4d",
}
const SECRETS = [CREDENTIALS.clientToken, CREDENTIALS.clientSecret, CREDENTIALS.accessToken]
const CP_CODES = [12345, 67890]

const config = (more: Partial<TargetConfigOf<"akamai">> = {}): TargetConfigOf<"akamai"> => ({
  type: "akamai",
  ...CREDENTIALS,
  network: "production",
  cpCodes: CP_CODES,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"akamai">>) =>
  akamai.create(config(more), { fetch, now: () => NOW })

const account = (isUnlimited = true, now = () => NOW) =>
  new FakeAkamai({ ...CREDENTIALS, cpCodes: CP_CODES, now, isUnlimited })

const CAPABILITIES = akamai.capabilities({ type: "akamai", cpCodes: CP_CODES })

const problem = (status: number, title: string, detail?: string, headers: HeadersInit = {}) =>
  Response.json({ supportId: "17PY1", httpStatus: status, title, detail }, { status, headers })

describeTarget("akamai", () => ({
  create: driverOn,
  capabilities: CAPABILITIES,
  fake: account,
  unauthorised: () => problem(401, "Not authorized", "Inactive client token"),
  refused: () => problem(400, "bad URL"),
  requests: 1,
  secrets: SECRETS,
}))

describe("the signature of EdgeGrid", () => {
  it.each(signed.tests)("is as Akamai's own library makes it: $source, $path", async (request) => {
    const credentials = {
      host: signed.host,
      clientToken: signed.client_token,
      clientSecret: signed.client_secret,
      accessToken: signed.access_token,
    }
    const at = Date.UTC(2014, 2, 21, 19, 34, 21)
    expect(await signEdgeGrid(credentials, request.path, request.body, at, signed.nonce)).toBe(
      request.authorization,
    )
  })

  it("is there to be compared with six of them", () => expect(signed.tests).toHaveLength(6))
})

const batchOf = (
  kind: Batch["values"][number]["kind"],
  mode: Batch["mode"],
  ...values: readonly string[]
): Batch => ({ ...FAST, mode, values: values.map((value) => valueOf(kind, value)) })

async function sent(batch: Batch, more?: Partial<TargetConfigOf<"akamai">>) {
  const vendor = account()
  const { fetch, received } = transportTo((request) => {
    const url = request.url.replace(/^.*9000/, `https://${HOST}`)
    return vendor.handle({ ...request, url })
  })
  expect(await driverOn(fetch, more).purge(batch, soon())).toMatchObject({ outcome: "accepted" })
  expect(vendor.complaints).toEqual([])
  expect(received).toHaveLength(1)
  const [request] = received
  const { authorization, ...headers } = Object.fromEntries(request?.headers ?? [])
  return { line: `${request?.method} ${request?.url}`, headers, authorization, body: request?.body }
}

describe("what Akamai is sent", () => {
  it.each([
    ["tag", "purge", ["post-1", "ns%2Fblog", "post-1"], "delete/tag", '["post-1","ns%2Fblog"]'],
    ["tag", "invalidate", ["post-1"], "invalidate/tag", '["post-1"]'],
    [
      "url",
      "purge",
      ["https://www.example.com/a?b=c", "http://h.example/"],
      "delete/url",
      '["https://www.example.com/a?b=c","http://h.example/"]',
    ],
    ["url", "invalidate", ["https://h.example/"], "invalidate/url", '["https://h.example/"]'],
    ["everything", "purge", ["*"], "delete/cpcode", "[12345,67890]"],
    ["everything", "invalidate", ["*"], "invalidate/cpcode", "[12345,67890]"],
  ] as const)("is a %s to %s as it is documented: %j", async (kind, mode, values, action, objects) => {
    for (const network of ["production", "staging"] as const) {
      const { authorization, ...rest } = await sent(batchOf(kind, mode, ...values), { network })
      expect(rest).toEqual({
        line: `POST https://${HOST}/ccu/v3/${action}/${network}`,
        headers: { accept: "application/json", "content-type": "application/json" },
        body: `{"objects":${objects}}`,
      })
      expect(authorization).toMatch(
        /^EG1-HMAC-SHA256 client_token=akab-[\w-]+;access_token=akab-[\w-]+;timestamp=20261120T12:00:00\+0000;nonce=[0-9a-f-]{36};signature=[\w+/]{43}=$/,
      )
    }
  })

  it("is signed anew each time, also for the same call", async () => {
    const batch = sample("tag", "purge")
    expect((await sent(batch)).authorization).not.toBe((await sent(batch)).authorization)
  })

  it("goes to another base address where one is configured, signed for the real one", async () => {
    for (const endpoint of ["http://127.0.0.1:9000", "http://127.0.0.1:9000/"])
      expect((await sent(sample("tag", "purge"), { endpoint })).line).toBe(
        "POST http://127.0.0.1:9000/ccu/v3/delete/tag/production",
      )
  })

  it("has a body of 50,000 bytes at most, whatever there is to purge", async () => {
    for (const [kind, value] of [
      ["url", (index: number) => `https://www.example.com/${"a".repeat(600)}/${index}`],
      ["tag", (index: number) => `${index}-${"t".repeat(100)}`],
    ] as const) {
      const items = Array.from({ length: 2_000 }, (_, index) => ({
        ...valueOf(kind, value(index)),
        meant: value(index),
        mode: "purge" as const,
        epochs: [FAST.epochs.first],
      }))
      const bundles = cut(items, CAPABILITIES)
      const vendor = account()
      const { fetch, received } = transportTo((request) => vendor.handle(request))
      for (const bundle of bundles) {
        const batch = { ...FAST, mode: bundle.mode, values: bundle.items }
        expect(await driverOn(fetch).purge(batch, soon())).toMatchObject({ outcome: "accepted" })
      }
      expect(vendor.complaints).toEqual([])
      expect(vendor.taken.reduce((sum, count) => sum + count, 0)).toBe(2_000)
      // Full ones, but for the last.
      const sizes = received.slice(0, -1).map(({ body }) => body.length)
      expect(sizes.length).toBeGreaterThan(3)
      expect(Math.min(...sizes)).toBeGreaterThan(50_000 - 700)
    }
  })
})

const outcomeOf = (response: () => Response, batch: Batch = sample("tag", "purge")) =>
  driverOn(transportTo(response).fetch).purge(batch, soon())

const LIMITS = {
  "x-ratelimit-limit": "100",
  "x-ratelimit-limit-per-second": "50.00",
  "x-ratelimit-remaining": "99",
  "x-ratelimit-limit-objects": "5000",
  "x-ratelimit-limit-per-second-objects": "8.33",
  "x-ratelimit-remaining-objects": "40",
}

describe("what Akamai answers", () => {
  it("keeps its id of an accepted purge, and what is left", async () => {
    const accepted = () =>
      Response.json({ httpStatus: 201, detail: "Request accepted", purgeId: "e535071c" }, { status: 201 })
    expect(await outcomeOf(accepted)).toEqual({ outcome: "accepted", status: 201, vendorId: "e535071c" })
    const counted = () => Response.json({ purgeId: "e5" }, { status: 201, headers: LIMITS })
    const left = async (batch: Batch) => {
      const outcome = await outcomeOf(counted, batch)
      return outcome.outcome === "accepted" && outcome.left
    }
    const requests = { bucket: "requests", tokens: 99 }
    expect(await left(sample("tag", "purge"))).toEqual([requests, { bucket: "tags", tokens: 40 }])
    expect(await left(sample("url", "purge"))).toEqual([requests, { bucket: "urls", tokens: 40 }])
    expect(await left(sample("everything", "purge"))).toEqual([requests, { bucket: "cpcodes:2", tokens: 20 }])
  })

  it.each(["", "<html>", "null", "[]", '"ok"', "{}", '{"purgeId":7}', '{"purgeId":"e'])(
    "is not understood with a 201 and the body %j",
    async (text) => {
      const outcome = await outcomeOf(() => new Response(text, { status: 201 }))
      expect(outcome).toMatchObject({ outcome: "trouble", status: 201 })
    },
  )

  it("waits until there are tokens for all of a call, five seconds at least", async () => {
    const denied = (headers: HeadersInit) => () => problem(429, "TAG Rate Limit exceeded", undefined, headers)
    const batch = sample("tag", "purge", 1_000)
    expect(await outcomeOf(denied(LIMITS), batch)).toEqual({
      outcome: "trouble",
      status: 429,
      retryAfter: Math.ceil((960 * 1_000) / 8.33),
      left: [
        { bucket: "requests", tokens: 99 },
        { bucket: "tags", tokens: 40 },
      ],
      detail: `${HOST} answered 429: TAG Rate Limit exceeded`,
    })
    expect(await outcomeOf(denied({ ...LIMITS, "x-ratelimit-remaining": "0" }))).toMatchObject({
      retryAfter: 5_000,
    })
    expect(await outcomeOf(denied({ ...LIMITS, "retry-after": "7" }), batch)).toMatchObject({
      retryAfter: 7_000,
    })
    const slow = { "x-ratelimit-remaining-objects": "0", "x-ratelimit-limit-per-second-objects": "0.10" }
    expect(await outcomeOf(denied(slow), sample("everything", "purge"))).toMatchObject({ retryAfter: 20_000 })
    for (const odd of [
      { "x-ratelimit-remaining": "-1", "x-ratelimit-limit-per-second": "50" },
      { "x-ratelimit-remaining": "0", "x-ratelimit-limit-per-second": "0" },
    ])
      expect(await outcomeOf(denied(odd))).not.toHaveProperty("retryAfter")
  })

  it("is in trouble with a 507, and with a 400 of the firewall in front of it", async () => {
    expect(await outcomeOf(() => problem(507, "Insufficient Storage"))).toMatchObject({ outcome: "trouble" })
    const page = () => new Response("<html>Access Denied</html>", { status: 400 })
    expect(await outcomeOf(page)).toMatchObject({ outcome: "trouble", status: 400 })
  })

  it("tells a url that is not this account's from credentials that may not purge", async () => {
    const batch = batchOf("url", "purge", "https://a.example/", "https://b.example/x", "https://c.example/")
    expect(await outcomeOf(() => problem(403, "unauthorized arl", "https://b.example/x"), batch)).toEqual({
      outcome: "refused",
      status: 403,
      at: [1],
      detail: `${HOST} answered 403: unauthorized arl: https://b.example/x`,
    })
    const unnamed = await outcomeOf(() => problem(403, "unauthorized arl", "https://d.example/"), batch)
    expect(unnamed).toMatchObject({ outcome: "refused" })
    expect(unnamed).not.toHaveProperty("at")
    expect(await outcomeOf(() => problem(403, "Forbidden", "https://b.example/x"), batch)).toMatchObject({
      outcome: "unauthorised",
    })
  })

  it("pauses where it does not like the CP codes, which stand in the configuration", async () => {
    for (const status of [400, 403])
      expect(
        await outcomeOf(() => problem(status, "unauthorized cpcode", "12345"), sample("everything", "purge")),
      ).toMatchObject({ outcome: "unauthorised", status, mend: expect.arrayContaining(["cpCodes"]) })
  })

  it("names the url that it does not like, and no other", async () => {
    const batch = batchOf("url", "purge", "https://a.example/", "https://a.example/b", "https://c.example/")
    const quoted = "Invalid or malformed URL 'https://a.example/b': contains it"
    expect(await outcomeOf(() => problem(400, "bad URL", quoted), batch)).toMatchObject({
      outcome: "refused",
      at: [1],
    })
    const tags = batchOf("tag", "purge", "objects", "post-1")
    const missing = () => problem(400, "invalid attribute value", "'objects' attribute cannot be missing")
    expect(await outcomeOf(missing, tags)).not.toHaveProperty("at")
  })

  it("has nothing repeated of what it was signed with, whatever its words hold", async () => {
    const { fetch } = transportTo(({ headers }) => {
      const authorization = headers.get("authorization") ?? ""
      return problem(400, authorization.slice(0, 20), `${authorization} ${SECRETS.join(" ")}`)
    })
    const outcome = await driverOn(fetch).purge(sample("tag", "purge"), soon())
    expect(outcome).toMatchObject({
      outcome: "refused",
      detail: `${HOST} answered 400: EG1-HMAC-SHA256 clie: [secret] [secret] [secret] [secret]`,
    })
  })

  it("pauses where there is no such API at the host", async () => {
    expect(await outcomeOf(() => problem(404, "Not Found"))).toMatchObject({
      outcome: "unauthorised",
      status: 404,
    })
  })

  it("does not know other credentials, nor a clock that is off", async () => {
    const at = async (more: Partial<TargetConfigOf<"akamai">>, now = NOW) => {
      const { fetch } = transportTo((request) => account(true, () => now).handle(request))
      return driverOn(fetch, more).purge(sample("tag", "purge"), soon())
    }
    expect(await at({})).toMatchObject({ outcome: "accepted" })
    for (const more of [{ clientToken: "other" }, { accessToken: "other" }, { clientSecret: "other" }])
      expect(await at(more)).toMatchObject({ outcome: "unauthorised", status: 401 })
    expect(await at({}, NOW + 31_000)).toMatchObject({
      outcome: "unauthorised",
      status: 400,
      detail: `${HOST} answered 400: Bad request: Invalid timestamp (is the clock right?)`,
      mend: [],
    })
  })

  it("refuses a call for which there are not tokens enough, and takes none of them", async () => {
    let now = NOW
    const vendor = account(false, () => now)
    const { fetch } = transportTo((request) => vendor.handle(request))
    const driver = akamai.create(config(), { fetch, now: () => now })
    const call = () => driver.purge(sample("tag", "purge", 1_000), soon())
    for (let calls = 0; calls < 5; calls++) expect((await call()).outcome).toBe("accepted")
    const denied = await call()
    expect(denied).toMatchObject({ outcome: "trouble", status: 429, left: [{}, { tokens: 0 }] })
    now += (denied.outcome === "trouble" && denied.retryAfter) || 0
    expect((await call()).outcome).toBe("accepted")
    expect(vendor.limited).toBe(1)
  })
})

describe("the pace of Akamai", () => {
  it("is that of the account: requests, and objects of each kind", () => {
    const per = { limit: "rate", per: "call" }
    expect(akamai.pace(config())).toEqual([
      { ...per, bucket: "requests", kinds: ["tag", "url", "everything"], perSecond: 50, burst: 100 },
      { ...per, bucket: "urls", kinds: ["url"], per: "value", perSecond: 200, burst: 10_000 },
      { ...per, bucket: "tags", kinds: ["tag"], per: "value", perSecond: 500 / 60, burst: 5_000 },
      { ...per, bucket: "cpcodes:2", kinds: ["everything"], perSecond: 0.25, burst: 150 },
    ])
  })

  it("knows no CP codes where none are configured", () => {
    const { cpCodes: _, ...none } = config()
    expect(akamai.pace(none).flatMap(({ kinds }) => kinds)).not.toContain("everything")
    expect(akamai.capabilities(none).kinds).not.toHaveProperty("everything")
  })

  it("has room for a call, however many CP codes there are", () => {
    const paces = akamai.pace(config({ cpCodes: Array.from({ length: 100 }, (_, index) => index + 1) }))
    const last = paces.at(-1)
    expect(last?.limit === "rate" && last.burst).toBe(3)
  })

  it("has each bucket hold the largest call", () => {
    for (const pace of akamai.pace(config())) {
      if (pace.limit !== "rate") throw new Error("rates are what Akamai has")
      const largest = Math.max(...pace.kinds.map((kind) => CAPABILITIES.kinds[kind]?.batch ?? 0))
      expect(pace.burst).toBeGreaterThanOrEqual(pace.per === "value" ? largest : 1)
    }
  })
})

describe("its configuration", () => {
  const nowhere = transportTo(() => new Response()).fetch
  it.each(["clientToken", "clientSecret", "accessToken"] as const)("refuses a %s that is none", (option) => {
    for (const token of ["", "two words", "a;b=hunter2", "line\nbreak", "naïve"]) {
      const create = () => driverOn(nowhere, { [option]: token })
      expect(create).toThrow(new RegExp(`^${option} `))
      if (token !== "") expect(create).not.toThrow(token)
    }
  })

  it("refuses an endpoint with credentials", () => {
    expect(() => driverOn(nowhere, { endpoint: "https://a:hunter2@proxy.example/" })).toThrow(
      /^endpoint (?!.*hunter2)/,
    )
  })
})
