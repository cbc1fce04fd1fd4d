import { describe, expect, it } from "vitest"
import { FakeBunny, type FakeBunnyOptions } from "../../test/fakes/bunny.ts"
import { drawsFrom } from "../limits.ts"
import { bunny } from "./bunny.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const ZONE = 123456
const TOKEN = "bunny-key-Zq8vJw2mXr5tYh1kLp9sBn4d"
const API = "https://api.bunny.net"

const config = (more: Partial<TargetConfigOf<"bunny">> = {}): TargetConfigOf<"bunny"> => ({
  type: "bunny",
  pullZone: ZONE,
  token: TOKEN,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"bunny">>) =>
  bunny.create(config(more), { fetch, now: () => NOW })

const account = (more: Partial<FakeBunnyOptions> = {}) =>
  new FakeBunny({ pullZone: ZONE, token: TOKEN, now: () => NOW, isUnlimited: true, ...more })

const fault = (status: number, message: string) => Response.json({ Message: message }, { status })

describeTarget("bunny", () => ({
  create: driverOn,
  capabilities: bunny.capabilities({ type: "bunny" }),
  fake: account,
  unauthorised: () => fault(401, "Authorization has been denied for this request."),
  refused: () => fault(400, "not a url"),
  requests: 1,
  secrets: [TOKEN],
}))

const batchOf = (kind: Batch["values"][number]["kind"], value: string): Batch => ({
  ...FAST,
  mode: "purge",
  values: [valueOf(kind, value)],
})

async function sent(batch: Batch, more?: Partial<TargetConfigOf<"bunny">>) {
  const vendor = account()
  const { fetch, received } = transportTo((request) => {
    const url = request.url.replace(/^.*?9000/, API)
    return vendor.handle({ ...request, url })
  })
  expect(await driverOn(fetch, more).purge(batch, soon())).toEqual({ outcome: "accepted", status: 200 })
  expect(vendor.complaints).toEqual([])
  expect(received).toHaveLength(1)
  const [request] = received
  return {
    line: `${request?.method} ${request?.url}`,
    headers: Object.fromEntries(request?.headers ?? []),
    body: request?.body,
  }
}

const HEADERS = { accept: "application/json", accesskey: TOKEN }

describe("what Bunny is sent", () => {
  it.each([
    ["url", "https://www.example.com/a?b=c&d", "https%3A%2F%2Fwww.example.com%2Fa%3Fb%3Dc%26d", true],
    ["url", "http://www.example.com/", "http%3A%2F%2Fwww.example.com%2F", true],
    ["prefix", "https://h.example/blog/", "https%3A%2F%2Fh.example%2Fblog*", false],
    ["prefix", "https://h.example/blog", "https%3A%2F%2Fh.example%2Fblog*", false],
    ["prefix", "https://h.example/", "https%3A%2F%2Fh.example%2F*", false],
    ["prefix", "https://h.example/blog//", "https%3A%2F%2Fh.example%2Fblog%2F*", false],
  ] as const)("is a %s by itself: %s", async (kind, value, encoded, isExact) => {
    expect(await sent(batchOf(kind, value))).toEqual({
      line: `POST ${API}/purge?url=${encoded}&async=false&exactPath=${isExact}`,
      headers: HEADERS,
      body: "",
    })
  })

  it("is a zone and a tag, or the zone alone", async () => {
    const line = `POST ${API}/pullzone/${ZONE}/purgeCache`
    expect(await sent(batchOf("tag", "post-1"))).toEqual({
      line,
      headers: { ...HEADERS, "content-type": "application/json" },
      body: '{"CacheTag":"post-1"}',
    })
    expect(await sent(batchOf("everything", "*"))).toEqual({ line, headers: HEADERS, body: "" })
  })

  it("goes to another base address where one is configured", async () => {
    for (const endpoint of ["http://127.0.0.1:9000", "http://127.0.0.1:9000/"])
      expect((await sent(sample("tag", "purge"), { endpoint })).line).toBe(
        `POST http://127.0.0.1:9000/pullzone/${ZONE}/purgeCache`,
      )
  })

  it("is no URL with a *, which would mean any", async () => {
    const { fetch, received } = transportTo(() => new Response())
    for (const kind of ["url", "prefix"] as const)
      expect(await driverOn(fetch).purge(batchOf(kind, "https://h.example/a*b/"), soon())).toEqual({
        outcome: "unsupported",
        detail: `it cannot purge by a ${kind} that holds a *`,
      })
    expect(received).toEqual([])
  })
})

describe("the cache of bunny, by addresses", () => {
  const PAGES = ["/blog", "/blog/", "/blog/a", "/blog?page=2", "/blogger", "/"].map(
    (path) => `https://www.example.com${path}`,
  )

  async function purgedBy(batch: Batch, more?: Partial<FakeBunnyOptions>) {
    const vendor = account(more)
    for (const page of PAGES) vendor.cache.visit(page)
    const { fetch } = transportTo((request) => vendor.handle(request))
    expect((await driverOn(fetch).purge(batch, soon())).outcome).toBe("accepted")
    return PAGES.filter((page) => vendor.cache.visit(page).how === "miss").map((page) => new URL(page))
  }
  const paths = (urls: readonly URL[]) => urls.map(({ pathname, search }) => pathname + search)

  it("has only the page itself purged by a URL that ends in a slash", async () => {
    expect(paths(await purgedBy(batchOf("url", "https://www.example.com/blog/")))).toEqual(["/blog/"])
  })

  it("has all below it purged where the zone ignores query strings, as documented", async () => {
    const purged = await purgedBy(batchOf("url", "https://www.example.com/blog/"), { ignoresQuery: true })
    expect(paths(purged)).toEqual(["/blog/", "/blog/a"])
  })

  it("has the page without the slash purged by a prefix too", async () => {
    const purged = paths(await purgedBy(batchOf("prefix", "https://www.example.com/blog/")))
    expect(purged).toEqual(["/blog", "/blog/", "/blog/a", "/blog?page=2", "/blogger"])
  })
})

const outcomeOf = (response: () => Response, batch: Batch = sample("tag", "purge")) =>
  driverOn(transportTo(response).fetch).purge(batch, soon())

describe("what Bunny answers", () => {
  it("says yes by 200 or 204, with any body but a page", async () => {
    expect(await outcomeOf(() => new Response(null, { status: 204 }))).toEqual({
      outcome: "accepted",
      status: 204,
    })
    expect(await outcomeOf(() => new Response("done"))).toEqual({ outcome: "accepted", status: 200 })
    expect(await outcomeOf(() => new Response(null, { status: 202 }))).toMatchObject({ outcome: "trouble" })
  })

  it("says no in its own words, where it has any", async () => {
    expect(await outcomeOf(() => fault(400, "not a url"))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "api.bunny.net answered 400: not a url",
    })
    for (const text of ["", "<html>", "null", '{"Message":7}', '{"Mess'])
      expect(await outcomeOf(() => new Response(text, { status: 400 }))).toMatchObject({
        outcome: "trouble",
        status: 400,
      })
  })

  it("has no secret repeated that its words hold", async () => {
    for (const status of [400, 401, 429]) {
      const said = JSON.stringify(await outcomeOf(() => fault(status, `no ${TOKEN} here`)))
      expect(said).toContain("no [secret] here")
      expect(said).not.toContain(TOKEN)
    }
  })

  it("pauses where something is not found: it is documented of zones, and of nothing else", async () => {
    for (const kind of ["tag", "url", "prefix", "everything"] as const)
      expect(await outcomeOf(() => fault(404, "not found"), sample(kind, "purge"))).toEqual({
        outcome: "unauthorised",
        status: 404,
        detail: "api.bunny.net answered 404: not found",
        mend: ["pullZone", "token"],
      })
  })

  it("does not know another key, nor another zone", async () => {
    const vendor = account()
    const { fetch } = transportTo((request) => vendor.handle(request))
    for (const kind of ["tag", "url", "prefix", "everything"] as const)
      expect(await driverOn(fetch, { token: "other" }).purge(sample(kind, "purge"), soon())).toMatchObject({
        outcome: "unauthorised",
        status: 401,
      })
    expect(await driverOn(fetch, { pullZone: 7 }).purge(sample("tag", "purge"), soon())).toMatchObject({
      outcome: "unauthorised",
      status: 404,
    })
    expect(vendor.complaints).toEqual([])
  })

  it.each([
    ["url", 120],
    ["prefix", 20],
    ["tag", 20],
    ["everything", 20],
  ] as const)("has enough of %s after %d, and says for how long", async (kind, most) => {
    const vendor = account({ isUnlimited: false })
    const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
    for (let calls = 0; calls < most; calls++)
      expect((await driver.purge(sample(kind, "purge"), soon())).outcome).toBe("accepted")
    expect(await driver.purge(sample(kind, "purge"), soon())).toMatchObject({
      outcome: "trouble",
      status: 429,
      retryAfter: 2_000,
    })
  })
})

describe("the pace of Bunny", () => {
  it("is one for exact purges, and a slower one for all that may not be", () => {
    const rate = { limit: "rate", per: "call" }
    const only: unknown = expect.any(Function)
    expect(bunny.pace(config())).toEqual([
      { ...rate, bucket: "exact", kinds: ["url"], only, perSecond: 5, burst: 120 },
      {
        ...rate,
        bucket: "prefix",
        kinds: ["url", "prefix", "tag", "everything"],
        only,
        perSecond: 0.5,
        burst: 20,
      },
    ])
  })

  it.each([
    ["url", "https://www.example.com/blog", "exact"],
    ["url", "https://www.example.com/blog?from=/", "exact"],
    ["url", "https://www.example.com/blog/", "prefix"],
    ["url", "https://www.example.com/", "prefix"],
    ["url", "https://www.example.com/blog/?page=2", "prefix"],
    ["prefix", "https://www.example.com/blog/", "prefix"],
    ["tag", "post-1", "prefix"],
    ["everything", "*", "prefix"],
  ] as const)("counts a %s %s where Bunny does, by the %s ones", (kind, value, bucket) => {
    const drawn = bunny.pace(config()).filter((pace) => drawsFrom(pace, valueOf(kind, value)))
    expect(drawn.map((pace) => pace.bucket)).toEqual([bucket])
  })

  it("lets no url be one too many, whatever it ends in", async () => {
    for (const path of ["/a", "/a/"]) {
      const vendor = account({ isUnlimited: false })
      const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
      const batch = batchOf("url", `https://www.example.com${path}`)
      const [pace] = bunny.pace(config()).filter((each) => batch.values.some((one) => drawsFrom(each, one)))
      if (pace?.limit !== "rate") throw new Error("rates are what Bunny has")
      for (let calls = 0; calls < pace.burst; calls += 1)
        expect((await driver.purge(batch, soon())).outcome).toBe("accepted")
      expect((await driver.purge(batch, soon())).outcome).toBe("trouble")
    }
  })
})

describe("its configuration", () => {
  const nowhere = transportTo(() => new Response()).fetch

  it.each(["", "two words", "line\nbreak", "naïve"])("refuses the token %j without repeating it", (token) => {
    const create = () => driverOn(nowhere, { token })
    expect(create).toThrow(/^token /)
    if (token !== "") expect(create).not.toThrow(token)
  })

  it("refuses an endpoint with credentials", () => {
    expect(() => driverOn(nowhere, { endpoint: "https://a:hunter2@proxy.example/" })).toThrow(
      /^endpoint (?!.*hunter2)/,
    )
  })
})
