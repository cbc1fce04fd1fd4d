import { describe, expect, it } from "vitest"
import rfc from "../../test/fixtures/rfc7515-rs256.json" with { type: "json" }
import { FakeGoogleCloudCdn } from "../../test/fakes/google-cloud-cdn.ts"
import {
  describeTarget,
  FAST,
  NOW,
  type Received,
  sample,
  SHARED,
  soon,
  transportTo,
  valueOf,
  type Vendor,
} from "./conformance.ts"
import { googleCloudCdn } from "./google-cloud-cdn.ts"
import type { Batch, Kind, TargetConfigOf } from "./target.ts"

const TOKEN = "ya29.c.b0Aaekm1K-"
const TOKEN_URL = "https://oauth2.googleapis.com/token"
const EMAIL = "purge@project-1.iam.gserviceaccount.com"
const ADDRESS =
  "https://compute.googleapis.com/compute/v1/projects/project-1/global/urlMaps/www/invalidateCache"
const HOUR = 3_600_000

/** As Google hands it out. */
const key = (more: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({
    type: "service_account",
    project_id: "project-1",
    private_key_id: "0f1e2d",
    private_key: `-----BEGIN PRIVATE KEY-----\n${rfc.pkcs8}\n-----END PRIVATE KEY-----\n`,
    client_email: EMAIL,
    token_uri: TOKEN_URL,
    ...more,
  })

type Config = TargetConfigOf<"google-cloud-cdn">

const config = (more: Partial<Config> = {}): Config => ({
  type: "google-cloud-cdn",
  project: "project-1",
  urlMap: "www",
  key: key(),
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<Config>, now = () => NOW) =>
  googleCloudCdn.create(config(more), { fetch, now })

const project = (more: Partial<ConstructorParameters<typeof FakeGoogleCloudCdn>[0]> = {}) =>
  new FakeGoogleCloudCdn({
    project: "project-1",
    urlMap: "www",
    email: EMAIL,
    publicKey: rfc,
    token: TOKEN,
    now: () => NOW,
    isUnlimited: true,
    ...more,
  })

const isToken = ({ url }: Received) => url === TOKEN_URL

const fault = (status: number, reason: string, message = "In its own words.") =>
  Response.json(
    { error: { code: status, message, errors: [{ message, domain: "global", reason }] } },
    { status },
  )

const operation = (more: object = {}) =>
  Response.json({ kind: "compute#operation", name: "operation-7", status: "RUNNING", ...more })

describeTarget("google-cloud-cdn", () => ({
  create: driverOn,
  capabilities: googleCloudCdn.capabilities({ type: "google-cloud-cdn" }),
  fake: project,
  unauthorised: () => fault(401, "authError"),
  refused: () => fault(400, "invalid"),
  requests: 1,
  requestsOf: { prefix: 2 },
  isAside: isToken,
  secrets: [TOKEN, rfc.pkcs8],
}))

const batchOf = (kind: Kind, ...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf(kind, value)),
})

/** A vendor that gives tokens, and answers purges by `answer`. */
function stage(answer?: Vendor) {
  const vendor = project()
  const transport = transportTo((request) =>
    answer && !isToken(request) ? answer(request) : vendor.handle(request),
  )
  const purges = () => transport.received.filter((request) => !isToken(request))
  return { vendor, transport, purges, fetch: transport.fetch }
}

const outcomeOf = (answer: Vendor, of: Batch = sample("tag", "purge")) =>
  driverOn(stage(answer).fetch).purge(of, soon())

describe("what Google is sent", () => {
  it("is a rule, by a request that it knows again", async () => {
    const { fetch, purges } = stage()
    const driver = driverOn(fetch)
    const batch = batchOf("tag", "post-1", "type-post", "post-1")
    await driver.purge(batch, soon())
    await driver.purge(batch, soon())
    await driver.purge({ ...batch, id: "b-2" }, soon())
    const [first, again, other] = purges()
    expect(first?.method).toBe("POST")
    expect(first?.url.split("?")).toEqual([
      ADDRESS,
      expect.stringMatching(/^requestId=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/),
    ])
    expect(Object.fromEntries(first?.headers ?? [])).toEqual({
      authorization: `Bearer ${TOKEN}1`,
      "content-type": "application/json",
    })
    expect(first?.body).toBe('{"cacheTags":["post-1","type-post"]}')
    expect(again?.url).toBe(first?.url)
    expect(other?.url).not.toBe(first?.url)
  })

  it.each([
    ["url", "https://www.example.com:8443/a%20b?c=d", ['{"host":"www.example.com","path":"/a%20b"}']],
    ["url", "https://www.example.com/", ['{"host":"www.example.com","path":"/"}']],
    [
      "prefix",
      "https://www.example.com/blog/",
      ['{"host":"www.example.com","path":"/blog/*"}', '{"host":"www.example.com","path":"/blog"}'],
    ],
    [
      "prefix",
      "https://www.example.com/a/b",
      ['{"host":"www.example.com","path":"/a/b/*"}', '{"host":"www.example.com","path":"/a/b"}'],
    ],
    ["prefix", "https://www.example.com/", ['{"host":"www.example.com","path":"/*"}']],
    ["host", "www.example.com:8443", ['{"host":"www.example.com","path":"/*"}']],
    ["everything", "*", ['{"path":"/*"}']],
  ] as const)("names a %s as it is documented: %s", async (kind, value, bodies) => {
    const { fetch, purges, vendor } = stage()
    const outcome = await driverOn(fetch).purge(batchOf(kind, value), soon())
    expect(outcome.outcome).toBe("accepted")
    expect(purges().map(({ body }) => body)).toEqual(bodies)
    expect(new Set(purges().map(({ url }) => url)).size).toBe(bodies.length)
    expect(vendor.complaints).toEqual([])
  })

  it("covers with a prefix the page without the slash", async () => {
    const { fetch, vendor } = stage()
    const pages = ["/blog", "/blog?page=2", "/blog/", "/blog/a/b"].map((path) => `https://h.example${path}`)
    const others = ["https://h.example/blogger", "https://other.example/blog/a"]
    for (const page of [...pages, ...others]) vendor.cache.visit(page)
    await driverOn(fetch).purge(batchOf("prefix", "https://h.example/blog/"), soon())
    expect(pages.map((page) => vendor.cache.visit(page).version)).toEqual([2, 2, 2, 2])
    expect(others.map((page) => vendor.cache.visit(page).how)).toEqual(["hit", "hit"])
  })

  it("stops at the first request of two that is not taken", async () => {
    let nth = 0
    const { fetch, purges } = stage(() => ((nth += 1) === 1 ? fault(503, "backendError") : operation()))
    const driver = driverOn(fetch)
    const prefix = sample("prefix", "purge")
    expect((await driver.purge(prefix, soon())).outcome).toBe("trouble")
    expect(purges()).toHaveLength(1)
    expect(await driver.purge(prefix, soon())).toMatchObject({ vendorId: "operation-7 operation-7" })
  })

  it("goes to another base address where one is configured", async () => {
    const { fetch, purges } = stage(() => operation())
    await driverOn(fetch, { endpoint: "http://127.0.0.1:9000/g/" }).purge(sample("tag", "purge"), soon())
    expect(purges()[0]?.url).toMatch(
      /^http:\/\/127\.0\.0\.1:9000\/g\/compute\/v1\/projects\/project-1\/global\/urlMaps\/www\/invalidateCache\?/,
    )
  })
})

describe("the access token", () => {
  const tokensAsked = ({ received }: ReturnType<typeof stage>["transport"]) => received.filter(isToken)

  it("is asked for by the key, as Google documents it", async () => {
    const { fetch, transport } = stage()
    await driverOn(fetch).purge(sample("tag", "purge"), soon())
    const [asked] = tokensAsked(transport)
    const form = new URLSearchParams(asked?.body)
    expect([asked?.method, ...form.keys()]).toEqual(["POST", "grant_type", "assertion"])
    const [header = "", claims = ""] = (form.get("assertion") ?? "").split(".")
    expect([header, claims].map((part) => JSON.parse(atob(part)) as unknown)).toEqual([
      { alg: "RS256", typ: "JWT", kid: "0f1e2d" },
      {
        iss: EMAIL,
        scope: "https://www.googleapis.com/auth/compute",
        aud: TOKEN_URL,
        iat: NOW / 1_000,
        exp: NOW / 1_000 + 3_600,
      },
    ])
  })

  it("is asked for once by calls at the same time, and kept until shortly before it ends", async () => {
    let now = NOW
    const vendor = project({ now: () => now })
    const { fetch, received } = transportTo((request) => vendor.handle(request))
    const driver = driverOn(fetch, {}, () => now)
    const purge = (count: number) =>
      Promise.all(Array.from({ length: count }, () => driver.purge(sample("tag", "purge"), soon())))
    await purge(20)
    expect([vendor.tokens, received.length]).toEqual([1, 21])
    now += HOUR - 62_000
    await purge(2)
    expect(vendor.tokens).toBe(1)
    now += 2_000
    const outcomes = await purge(2)
    expect(vendor.tokens).toBe(2)
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["accepted", "accepted"])
  })

  it("is not shown again once it was not taken", async () => {
    let isTaken = false
    const { fetch, vendor } = stage(() => (isTaken ? operation() : fault(401, "authError")))
    const driver = driverOn(fetch)
    expect((await driver.purge(sample("tag", "purge"), soon())).outcome).toBe("unauthorised")
    isTaken = true
    expect((await driver.purge(sample("tag", "purge"), soon())).outcome).toBe("accepted")
    expect(vendor.tokens).toBe(2)
  })

  const refusedBy = async (answer: () => Response | Promise<Response>, more?: Partial<Config>) => {
    const { fetch, received } = transportTo(answer)
    const driver = driverOn(fetch, more)
    const outcome = await driver.purge(sample("tag", "purge"), soon())
    expect(received).toHaveLength(1)
    await driver.purge(sample("tag", "purge"), soon())
    expect(received).toHaveLength(2)
    return outcome
  }

  it.each([
    [400, "invalid_grant"],
    [400, "invalid_scope"],
    [401, "invalid_client"],
    [403, "access_denied"],
    [404, "not_found"],
  ])("refused by %d %s pauses the lane", async (status, error) => {
    const words = { error, error_description: `Invalid JWT ${rfc.pkcs8}` }
    expect(await refusedBy(() => Response.json(words, { status }))).toEqual({
      outcome: "unauthorised",
      status,
      detail: `oauth2.googleapis.com, asked for a token, answered ${status}: ${error}: Invalid JWT [secret]`,
      mend: ["key"],
    })
  })

  it.each([
    ["a 503", () => new Response("", { status: 503 })],
    ["a 429", () => new Response("", { status: 429 })],
    [
      "a redirect",
      () => new Response("", { status: 302, headers: { location: "https://elsewhere.example/" } }),
    ],
    ["a passing error", () => Response.json({ error: "temporarily_unavailable" }, { status: 400 })],
    ["no token", () => Response.json({ expires_in: 3_599 })],
    ["a token that is none", () => Response.json({ access_token: "two words", expires_in: 3_599 })],
    ["no JSON", () => new Response("<html>")],
    ["no answer", () => Promise.reject(new TypeError("fetch failed"))],
  ])("that is answered by %s is trouble", async (_, answer) => {
    expect((await refusedBy(answer)).outcome).toBe("trouble")
  })

  it("that nobody says the length of is not kept", async () => {
    const { fetch, received } = transportTo((request) =>
      isToken(request) ? Response.json({ access_token: "t" }) : operation(),
    )
    const driver = driverOn(fetch)
    for (let nth = 0; nth < 2; nth += 1) await driver.purge(sample("tag", "purge"), soon())
    expect(received.filter(isToken)).toHaveLength(2)
  })

  it("is waited for no longer than the attempt's own signal lasts, whoever asked for it", async () => {
    const { fetch, received } = transportTo(() => new Promise(() => {}))
    const driver = driverOn(fetch)
    const [long, short] = [new AbortController(), new AbortController()]
    const first = driver.purge(sample("tag", "purge"), long.signal)
    const second = driver.purge(sample("tag", "purge"), short.signal)
    await expect.poll(() => received.length).toBe(1)
    short.abort()
    expect((await second).outcome).toBe("trouble")
    expect(received).toHaveLength(1)
    long.abort()
    expect((await first).outcome).toBe("trouble")
  })

  it("of another account is not given", async () => {
    const { fetch } = stage()
    const more = { key: key({ client_email: "other@project-1.iam.gserviceaccount.com" }) }
    expect(await driverOn(fetch, more).purge(sample("tag", "purge"), soon())).toMatchObject({
      outcome: "unauthorised",
      status: 400,
    })
  })

  it("is asked for where the key says", async () => {
    const { fetch, received } = transportTo(() => new Response("", { status: 503 }))
    const more = { key: key({ token_uri: "http://127.0.0.1:9000/token" }) }
    await driverOn(fetch, more).purge(sample("tag", "purge"), soon())
    expect(received.map(({ url }) => url)).toEqual(["http://127.0.0.1:9000/token"])
  })
})

describe("what Google answers", () => {
  it("keeps the operation's name", async () => {
    expect(await outcomeOf(() => operation())).toEqual({
      outcome: "accepted",
      status: 200,
      vendorId: "operation-7",
    })
  })

  it.each(["", "<html>", "null", "[]", "{}", '{"name":7}'])(
    "is not understood with a 200 and the body %j",
    async (text) => {
      expect(await outcomeOf(() => new Response(text))).toMatchObject({ outcome: "trouble", status: 200 })
    },
  )

  it.each([
    [403, "rateLimitExceeded"],
    [403, "userRateLimitExceeded"],
    [403, "quotaExceeded"],
    [429, "RATE_LIMIT_EXCEEDED"],
    [400, "resourceNotReady"],
    [503, "backendError"],
  ])("means a passing matter by %d %s", async (status, reason) => {
    expect(await outcomeOf(() => fault(status, reason))).toEqual({
      outcome: "trouble",
      status,
      detail: `compute.googleapis.com answered ${status}: ${reason} In its own words.`,
    })
  })

  it.each([
    [401, "authError"],
    [403, "forbidden"],
    [404, "notFound"],
  ])("gives nothing up after %d %s", async (status, reason) => {
    expect(await outcomeOf(() => fault(status, reason))).toMatchObject({ outcome: "unauthorised", status })
  })

  it.each([
    ["project", "another"],
    ["urlMap", "another"],
  ])("pauses where the %s is another", async (name, value) => {
    const { fetch } = stage()
    const outcome = await driverOn(fetch, { [name]: value }).purge(sample("tag", "purge"), soon())
    expect(outcome.outcome).toBe("unauthorised")
  })

  it.each([
    [{ errors: [{ code: "INVALID_USAGE", message: "no" }] }, undefined, "refused", 400],
    [{ errors: [{ code: "INVALID_USAGE", message: "no" }] }, 400, "refused", 400],
    [{ errors: [{ code: "RATE_LIMIT_EXCEEDED", message: "no" }] }, 403, "trouble", 403],
    [{ errors: [{ code: "INTERNAL_ERROR", message: "no" }] }, 500, "trouble", 500],
    [{ errors: [{ code: "PERMISSION", message: "no" }] }, 403, "unauthorised", 403],
  ])("reads an operation that failed at once: %j %s", async (error, failed, outcome, status) => {
    const answer = () => operation({ status: "DONE", error, httpErrorStatusCode: failed })
    expect(await outcomeOf(answer)).toMatchObject({ outcome, status, detail: expect.stringContaining("no") })
  })

  it("bears errors of any form, and gives nothing up for one that is not its own", async () => {
    for (const error of [null, "no", { errors: "no" }, { errors: [null, 7, { reason: {} }] }]) {
      expect((await outcomeOf(() => Response.json({ error }, { status: 400 }))).outcome).toBe("trouble")
    }
  })
})

describe("the pace of Google", () => {
  it("is 500 requests in any minute, of which a prefix takes two", () => {
    let most = 0
    for (const pace of googleCloudCdn.pace(config())) {
      if (pace.limit !== "rate") throw new Error("a rate is what Google has")
      most += (pace.burst + 60 * pace.perSecond) * (pace.kinds.includes("prefix") ? 2 : 1)
    }
    expect(most).toBe(500)
  })

  it("has every kind draw from exactly one bucket", () => {
    const paces = googleCloudCdn.pace(config())
    for (const kind of Object.keys(googleCloudCdn.capabilities({ type: "google-cloud-cdn" }).kinds)) {
      expect(paces.filter(({ kinds }) => kinds.some((each) => each === kind))).toHaveLength(1)
    }
  })
})

describe("its configuration", () => {
  it.each([
    ["no JSON", "not-json hunter2"],
    ["no account", key({ client_email: undefined })],
    ["no private key", key({ private_key: undefined })],
    ["no PEM", key({ private_key: "hunter2" })],
    ["a token_uri that is none", key({ token_uri: "hunter2" })],
  ])("refuses a key with %s without repeating it", (_, text) => {
    const create = () => driverOn(stage().fetch, { key: text })
    expect(create).toThrow(TypeError)
    expect(create).toThrow(/^(?!.*hunter2).*\bkey\b/)
  })

  it("waits where the key is none to sign with: who mends it restarts", async () => {
    const { fetch, transport } = stage()
    const bad = key({ private_key: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" })
    expect(await driverOn(fetch, { key: bad }).purge(sample("tag", "purge"), soon())).toEqual({
      outcome: "trouble",
      detail: "oauth2.googleapis.com could not be asked: the key is not one to sign with",
    })
    expect(transport.received).toEqual([])
  })
})
