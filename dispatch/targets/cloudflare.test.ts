import { describe, expect, it } from "vitest"
import { cloudflare } from "./cloudflare.ts"
import { FakeCloudflare } from "../../test/fakes/cloudflare.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
const TOKEN = "cf-token-Zq8vJw2mXr5tYh1kLp9sBn4dCg7fAe3u"
const API = `https://api.cloudflare.com/client/v4/zones/${ZONE}`

const config = (more: Partial<TargetConfigOf<"cloudflare">> = {}): TargetConfigOf<"cloudflare"> => ({
  type: "cloudflare",
  zone: ZONE,
  token: TOKEN,
  plan: "pro",
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"cloudflare">>) =>
  cloudflare.create(config(more), { fetch, now: () => NOW })

const envelope = (
  status: number,
  success: boolean,
  errors: readonly unknown[] = [],
  result: unknown = null,
) => Response.json({ success, errors, messages: [], result }, { status })

const fault = (code: number, message: string, status = 400) => envelope(status, false, [{ code, message }])

const account = () =>
  new FakeCloudflare({ zones: [ZONE], token: TOKEN, plan: "pro", now: () => NOW, isUnlimited: true })

describeTarget("cloudflare", () => ({
  create: driverOn,
  capabilities: cloudflare.capabilities({ type: "cloudflare" }),
  fake: account,
  unauthorised: () => fault(10000, "Authentication error", 403),
  refused: () => fault(1100, "Cache tag is too long", 200),
  requests: 1,
  secrets: [TOKEN],
}))

async function sent(batch: Batch, more?: Partial<TargetConfigOf<"cloudflare">>) {
  const { fetch, received } = transportTo(
    more ? () => envelope(200, true) : (request) => account().handle(request),
  )
  expect((await driverOn(fetch, more).purge(batch, soon())).outcome).toBe("accepted")
  expect(received).toHaveLength(1)
  const [request] = received
  return {
    method: request?.method,
    url: request?.url,
    headers: Object.fromEntries(request?.headers ?? []),
    body: request?.body,
  }
}

const batchOf = (kind: Batch["values"][number]["kind"], ...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf(kind, value)),
})

describe("what Cloudflare is sent", () => {
  it("purges and invalidates at two addresses with one body", async () => {
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" }
    const body = '{"tags":["post-1","type-post"]}'
    const batch = batchOf("tag", "post-1", "type-post")
    expect(await sent(batch)).toEqual({ method: "POST", url: `${API}/purge_cache`, headers, body })
    expect(await sent({ ...batch, mode: "invalidate" })).toEqual({
      method: "POST",
      url: `${API}/invalidate_cache`,
      headers,
      body,
    })
  })

  it.each([
    ["url", ["https://www.example.com:8443/a?b=c"], '{"files":["https://www.example.com:8443/a?b=c"]}'],
    ["prefix", ["https://www.example.com/blog/"], '{"prefixes":["www.example.com/blog"]}'],
    ["prefix", ["https://www.example.com/"], '{"prefixes":["www.example.com"]}'],
    ["prefix", ["https://h.example:8443/a/", "http://h.example/a"], '{"prefixes":["h.example/a"]}'],
    ["host", ["www.example.com", "api.example.com:8443"], '{"hosts":["www.example.com","api.example.com"]}'],
    ["host", ["www.example.com", "www.example.com:8443"], '{"hosts":["www.example.com"]}'],
    ["everything", ["*"], '{"purge_everything":true}'],
  ] as const)("names a %s as it is documented: %j", async (kind, values, body) => {
    expect((await sent(batchOf(kind, ...values))).body).toBe(body)
  })

  it("goes to another base address where one is configured", async () => {
    for (const endpoint of ["http://127.0.0.1:9000/v4", "http://127.0.0.1:9000/v4/"]) {
      expect((await sent(sample("tag", "purge"), { endpoint })).url).toBe(
        `http://127.0.0.1:9000/v4/zones/${ZONE}/purge_cache`,
      )
    }
  })
})

const outcomeOf = (response: () => Response) =>
  driverOn(transportTo(response).fetch).purge(sample("tag", "purge"), soon())

const limited = (status: number) => () => {
  const response = fault(1102, "Unable to purge by tag, rate limit reached. Please wait", status)
  response.headers.set("retry-after", "4")
  return response
}

describe("what Cloudflare answers", () => {
  it("keeps its id of an accepted purge", async () => {
    expect(await outcomeOf(() => envelope(200, true, [], { id: "9a78" }))).toEqual({
      outcome: "accepted",
      status: 200,
      vendorId: "9a78",
    })
    expect(await outcomeOf(() => envelope(200, true, [], null))).toEqual({ outcome: "accepted", status: 200 })
  })

  it("says no within a 200 too, in its own words", async () => {
    const errors = [
      { code: 1100, message: "Cache tag exceeds maximum length" },
      { code: 1016, message: "One or more purge errors" },
    ]
    expect(await outcomeOf(() => envelope(200, false, errors))).toEqual({
      outcome: "refused",
      status: 200,
      detail:
        "api.cloudflare.com answered 200 without success: 1100 Cache tag exceeds maximum length; 1016 One or more purge errors",
    })
    expect(await outcomeOf(() => envelope(400, false, errors.slice(1)))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "api.cloudflare.com answered 400: 1016 One or more purge errors",
    })
  })

  it("gives a value up for the codes that are about values, and for those that nobody knows", async () => {
    for (const code of [1016, 1082, 1100, 1315, 4321])
      expect(await outcomeOf(() => fault(code, "no"))).toMatchObject({ outcome: "refused", status: 400 })
  })

  it("pauses by what it says of the zone or the account, whatever the code", async () => {
    for (const words of ["Invalid zone identifier", "Your zone is not active", "Your account is suspended"])
      expect(await outcomeOf(() => fault(4321, words))).toMatchObject({
        outcome: "unauthorised",
        mend: ["zone"],
      })
  })

  it.each(["", "<html>", "null", "[]", '"ok"', "{}", '{"success":"true"}', '{"success":tr'])(
    "is not understood with a 200 and the body %j",
    async (text) => {
      expect(await outcomeOf(() => new Response(text))).toMatchObject({ outcome: "trouble", status: 200 })
    },
  )

  it("bears errors of any form", async () => {
    for (const errors of [null, "no", [null, 7, {}, { code: {} }]]) {
      const body = JSON.stringify({ success: false, errors })
      expect((await outcomeOf(() => new Response(body, { status: 400 }))).outcome).toBe("refused")
    }
  })

  it("means the token where it finds fault with the headers, whatever the status", async () => {
    expect(await outcomeOf(() => fault(6003, "Invalid request headers"))).toEqual({
      outcome: "unauthorised",
      status: 400,
      detail: "api.cloudflare.com answered 400: 6003 Invalid request headers",
      mend: ["token"],
    })
  })

  it("means a limit where it says so, whatever the status", async () => {
    for (const status of [200, 400, 429]) {
      expect(await outcomeOf(limited(status))).toMatchObject({
        outcome: "trouble",
        status,
        retryAfter: 4_000,
      })
    }
  })
})

describe("the pace of Cloudflare", () => {
  it.each([
    ["free", 5 / 60, 25, 800],
    ["pro", 5, 25, 1_500],
    ["business", 10, 50, 1_500],
    ["enterprise", 50, 500, 3_000],
  ] as const)("of the plan %s", (plan, perSecond, burst, urls) => {
    expect(cloudflare.pace(config({ plan }))).toEqual([
      {
        limit: "rate",
        bucket: "purge",
        kinds: ["tag", "prefix", "host", "everything"],
        per: "call",
        perSecond,
        burst,
      },
      { limit: "rate", bucket: "urls", kinds: ["url"], per: "value", perSecond: urls, burst: urls },
    ])
  })

  it("has every kind draw from exactly one bucket, which can hold the largest call", () => {
    const paces = cloudflare.pace(config())
    for (const [kind, { batch }] of Object.entries(cloudflare.capabilities({ type: "cloudflare" }).kinds)) {
      const buckets = paces.filter(({ kinds }) => kinds?.some((each) => each === kind))
      expect(buckets).toHaveLength(1)
      const [bucket] = buckets
      if (bucket?.limit !== "rate") throw new Error("a rate is what Cloudflare has")
      expect(bucket.burst).toBeGreaterThanOrEqual(bucket.per === "value" ? batch : 1)
    }
  })
})

describe("its configuration", () => {
  it.each(["", "two words", "line\nbreak", "naïve"])("refuses the token %j without repeating it", (token) => {
    const create = () => driverOn(transportTo((request) => account().handle(request)).fetch, { token })
    expect(create).toThrow(TypeError)
    expect(create).toThrow(/^token /)
    if (token !== "") expect(create).not.toThrow(token)
  })

  it("refuses an endpoint with credentials", () => {
    expect(() =>
      driverOn(transportTo((request) => account().handle(request)).fetch, {
        endpoint: "https://a:hunter2@proxy.example/",
      }),
    ).toThrow(/^endpoint (?!.*hunter2)/)
  })
})
