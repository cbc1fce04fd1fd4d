import { describe, expect, it } from "vitest"
import { FakeNetlify } from "../../test/fakes/netlify.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { netlify } from "./netlify.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const TOKEN = "nfp_4mXr5tYh1kLp9sBn4dCg7fAe3u"
const SITE = { id: "3970e0fe-8564-4903-9a55-c5f8de49fb8b", slug: "my-site" }
const PURGE = "https://api.netlify.com/api/v1/purge"

const config = (more: Partial<TargetConfigOf<"netlify">> = {}): TargetConfigOf<"netlify"> => ({
  type: "netlify",
  site: SITE.id,
  token: TOKEN,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"netlify">>) =>
  netlify.create(config(more), { fetch, now: () => NOW })

const account = (more: { now?: () => number; isUnlimited?: boolean } = { isUnlimited: true }) =>
  new FakeNetlify({ site: SITE, token: TOKEN, now: () => NOW, ...more })

const fault = (status: number, message: string, headers: Record<string, string> = {}) =>
  Response.json({ code: status, message }, { status, headers })

describeTarget("netlify", () => ({
  create: driverOn,
  capabilities: netlify.capabilities({ type: "netlify" }),
  fake: account,
  unauthorised: () => fault(401, "Access Denied"),
  refused: () => fault(400, "invalid cache tag"),
  requests: 1,
  secrets: [TOKEN],
}))

const tags = (...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf("tag", value)),
})

async function sent(batch: Batch, more: Partial<TargetConfigOf<"netlify">> = {}) {
  const vendor = account()
  const { fetch, received } = transportTo((request) => vendor.handle(request))
  const outcome = await driverOn(fetch, more).purge(batch, soon())
  expect([outcome, vendor.complaints]).toEqual([{ outcome: "accepted", status: 202 }, []])
  const [request] = received
  return {
    method: request?.method,
    url: request?.url,
    headers: Object.fromEntries(request?.headers ?? []),
    body: request?.body,
  }
}

describe("what Netlify is sent", () => {
  it("names the site and the tags", async () => {
    expect(await sent(tags("post-1", "type-post", "post-1"))).toEqual({
      method: "POST",
      url: PURGE,
      headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
      body: `{"site_id":"${SITE.id}","cache_tags":["post-1","type-post"]}`,
    })
  })

  it("leaves the tags out for the whole site, and never has none of them", async () => {
    expect((await sent(sample("everything", "purge"))).body).toBe(`{"site_id":"${SITE.id}"}`)
  })

  it("names a site by its name where it has no id", async () => {
    expect((await sent(tags("a"), { site: SITE.slug })).body).toBe(
      '{"site_slug":"my-site","cache_tags":["a"]}',
    )
  })

  it("goes to another base address where one is configured", async () => {
    const { fetch, received } = transportTo(() => new Response(null, { status: 202 }))
    await driverOn(fetch, { endpoint: "http://127.0.0.1:9000/api/" }).purge(tags("a"), soon())
    expect(received.map(({ url }) => url)).toEqual(["http://127.0.0.1:9000/api/purge"])
  })
})

const outcomeOf = (response: () => Response) =>
  driverOn(transportTo(response).fetch).purge(sample("tag", "purge"), soon())

describe("what Netlify answers", () => {
  it("says no in its own words", async () => {
    expect(await outcomeOf(() => fault(400, `no ${TOKEN}`))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "api.netlify.com answered 400: no [secret]",
    })
    expect(await outcomeOf(() => Response.json({ message: { no: 1 } }, { status: 422 }))).toMatchObject({
      outcome: "trouble",
      detail: "api.netlify.com answered 422 with no words of its own",
    })
  })

  it("gives a tag up that it quotes, whatever that tag is called", async () => {
    for (const tag of ["site_id", "site", "token", "account", "unauthorized"])
      expect(await outcomeOf(() => fault(400, `invalid cache tag: ${tag}`))).toMatchObject({
        outcome: "refused",
      })
  })

  it("is 202 for a purge, and nothing else", async () => {
    for (const status of [200, 201, 204])
      expect(await outcomeOf(() => new Response(null, { status }))).toMatchObject({
        outcome: "trouble",
        status,
      })
  })

  it("pauses at a 404, which is about the site", async () => {
    expect(await outcomeOf(() => fault(404, "site not found"))).toEqual({
      outcome: "unauthorised",
      status: 404,
      detail: "api.netlify.com answered 404: site not found",
      mend: ["site", "token"],
    })
  })

  const headers = (remaining: number) => ({
    "x-ratelimit-limit": "500",
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset": String(NOW / 1_000 + 42),
  })

  it("tells what is left of the API's limit", async () => {
    const left = [{ bucket: "api", tokens: 56 }]
    expect(await outcomeOf(() => new Response(null, { status: 202, headers: headers(56) }))).toEqual({
      outcome: "accepted",
      status: 202,
      left,
    })
    expect(await outcomeOf(() => fault(503, "", headers(56)))).toMatchObject({ outcome: "trouble", left })
  })

  it("waits until that limit is reset only where nothing is left of it", async () => {
    expect(await outcomeOf(() => fault(429, "", headers(0)))).toMatchObject({ retryAfter: 42_000 })
    expect(await outcomeOf(() => fault(429, "", headers(9)))).not.toHaveProperty("retryAfter")
    expect(await outcomeOf(() => fault(429, "", { ...headers(0), "retry-after": "3" }))).toMatchObject({
      retryAfter: 3_000,
    })
  })
})

/** How often the vendor said "too many" while one batch was sent again and again, so far apart. */
async function limitedAt(each: number, batch: Batch): Promise<number> {
  let now = NOW
  const vendor = account({ now: () => now })
  const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
  for (let count = 0; count < 20; count += 1) {
    await driver.purge(batch, soon())
    now += each
  }
  return vendor.limited
}

describe("the pace of Netlify", () => {
  const paces = netlify.pace(config())

  it("spaces each tag and the site, and counts requests for all sites of the account", () => {
    expect(paces).toEqual([
      { limit: "spacing", bucket: `tags:${SITE.id}`, kinds: ["tag"], each: 2_500 },
      { limit: "spacing", bucket: `site:${SITE.id}`, kinds: ["everything"], each: 2_500 },
      {
        limit: "rate",
        bucket: "api",
        kinds: ["tag", "everything"],
        per: "call",
        perSecond: 400 / 60,
        burst: 100,
      },
    ])
  })

  it("is what the vendor takes, and not twice as fast", async () => {
    const spacings = paces.flatMap((pace) => (pace.limit === "spacing" ? [pace] : []))
    for (const { each, kinds } of spacings) {
      const batch = sample(kinds[0] ?? "tag", "purge")
      expect(await limitedAt(each, batch)).toBe(0)
      expect(await limitedAt(each / 2, batch)).toBeGreaterThan(0)
    }
  })

  it("asks no more in any minute than the API takes", () => {
    const rate = paces.find((pace) => pace.limit === "rate")
    if (rate?.limit !== "rate") throw new Error("a rate is missing")
    expect(rate.burst + rate.perSecond * 60).toBeLessThanOrEqual(500)
  })
})

describe("its configuration", () => {
  const create = (more: Partial<TargetConfigOf<"netlify">>) => () =>
    driverOn(transportTo(() => new Response(null)).fetch, more)

  it.each(["", "two words", "line\nbreak", "naïve"])("refuses the token %j without repeating it", (token) => {
    expect(create({ token })).toThrow(/^token /)
    if (token !== "") expect(create({ token })).not.toThrow(token)
  })

  it("refuses a domain, by which less than the site would be purged", () => {
    expect(create({ site: "www.example.com" })).toThrow(/^site /)
  })
})
