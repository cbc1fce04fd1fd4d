import { describe, expect, it } from "vitest"
import { FakeGcore } from "../../test/fakes/gcore.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { gcore } from "./gcore.ts"
import type { Batch, Kind, TargetConfigOf } from "./target.ts"

const TOKEN = "1234$4mXr5tYh1kLp9sBn"
const API = "https://api.gcore.com/cdn/resources/4711/purge"

const config = (more: Partial<TargetConfigOf<"gcore">> = {}): TargetConfigOf<"gcore"> => ({
  type: "gcore",
  resource: 4711,
  token: TOKEN,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"gcore">>) =>
  gcore.create(config(more), { fetch, now: () => NOW })

const account = (more: { now?: () => number; isUnlimited?: boolean } = { isUnlimited: true }) =>
  new FakeGcore({ resource: 4711, token: TOKEN, now: () => NOW, ...more })

describeTarget("gcore", () => ({
  create: driverOn,
  capabilities: gcore.capabilities({ type: "gcore" }),
  fake: account,
  unauthorised: () => Response.json({ message: "Invalid API token" }, { status: 401 }),
  refused: () => Response.json({ errors: { paths: ["This field is required."] } }, { status: 400 }),
  requests: 1,
  secrets: [TOKEN],
}))

const batchOf = (kind: Kind, ...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf(kind, value)),
})

async function sent(batch: Batch) {
  const vendor = account()
  const { fetch, received } = transportTo((request) => vendor.handle(request))
  const outcome = await driverOn(fetch).purge(batch, soon())
  expect([outcome, vendor.complaints]).toEqual([{ outcome: "accepted", status: 201 }, []])
  const [request] = received
  return {
    method: request?.method,
    url: request?.url,
    headers: Object.fromEntries(request?.headers ?? []),
    body: request?.body,
  }
}

describe("what Gcore is sent", () => {
  it("goes to the resource, with its own word before the token", async () => {
    expect(await sent(batchOf("url", "https://www.example.com/a?b=c"))).toEqual({
      method: "POST",
      url: API,
      headers: { authorization: `apikey ${TOKEN}`, "content-type": "application/json" },
      body: '{"urls":["/a?b=c"]}',
    })
  })

  it.each([
    ["url", ["https://a.example/x", "https://b.example:8443/x", "https://a.example/"], '{"urls":["/x","/"]}'],
    ["prefix", ["https://a.example/blog/"], '{"paths":["/blog*"]}'],
    ["prefix", ["https://a.example/blog", "https://b.example/blog/"], '{"paths":["/blog*"]}'],
    ["prefix", ["https://a.example/"], '{"paths":["/*"]}'],
    ["everything", ["*"], '{"paths":[]}'],
  ] as const)("names a %s as it is documented: %j", async (kind, values, body) => {
    expect((await sent(batchOf(kind, ...values))).body).toBe(body)
  })

  it("is never an empty list but for everything", async () => {
    for (const kind of ["url", "prefix"] as const) {
      for (const count of [1, 7]) {
        expect((await sent(sample(kind, "purge", count))).body).not.toContain("[]")
      }
    }
  })

  it("covers the page without the slash too", async () => {
    const vendor = account()
    const pages = ["https://a.example/blog", "https://a.example/blog/1", "https://a.example/about"]
    for (const page of pages) vendor.cache.visit(page)
    const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
    await driver.purge(batchOf("prefix", "https://a.example/blog/"), soon())
    expect(pages.map((page) => vendor.cache.visit(page).how)).toEqual(["miss", "miss", "hit"])
  })

  it("goes to another base address where one is configured", async () => {
    const { fetch, received } = transportTo(() => Response.json([], { status: 201 }))
    const driver = driverOn(fetch, { endpoint: "http://127.0.0.1:9000/g/" })
    await driver.purge(sample("url", "purge"), soon())
    expect(received.map(({ url }) => url)).toEqual(["http://127.0.0.1:9000/g/cdn/resources/4711/purge"])
  })
})

const outcomeOf = (status: number, body: unknown) =>
  driverOn(transportTo(() => Response.json(body, { status })).fetch).purge(sample("url", "purge"), soon())

describe("what Gcore answers", () => {
  it("says no in its own words", async () => {
    expect(await outcomeOf(400, { errors: { paths: ["This field is required.", `no ${TOKEN}`] } })).toEqual({
      outcome: "refused",
      status: 400,
      detail: "api.gcore.com answered 400: paths: This field is required. no [secret]",
    })
    expect((await outcomeOf(400, { errors: "no" })).outcome).toBe("refused")
    for (const body of [null, "no", { errors: [null, 7] }, { errors: { a: { b: 1 } } }]) {
      expect((await outcomeOf(400, body)).outcome).toBe("trouble")
    }
  })

  it("gives a path up that it quotes, whatever that path is", async () => {
    for (const name of ["urls", "paths"])
      expect(
        await outcomeOf(400, { errors: { [name]: ["'/account/token' is not a resource"] } }),
      ).toMatchObject({ outcome: "refused" })
  })

  it("is 201 for a purge, and nothing else", async () => {
    for (const status of [200, 202])
      expect(await outcomeOf(status, [])).toMatchObject({ outcome: "trouble", status })
  })

  it("means a limit where it says so, by a 400 as well", async () => {
    const words = { errors: { urls: ["The user has exceeded the URL quota"] } }
    expect(await outcomeOf(400, words)).toEqual({
      outcome: "trouble",
      status: 400,
      detail: "api.gcore.com answered 400: urls: The user has exceeded the URL quota",
    })
    expect((await outcomeOf(429, { message: "Too many requests" })).outcome).toBe("trouble")
  })

  it("pauses at a 404, which is about the resource", async () => {
    expect(await outcomeOf(404, { detail: "Not found." })).toEqual({
      outcome: "unauthorised",
      status: 404,
      detail: "api.gcore.com answered 404: Not found.",
      mend: ["resource", "token"],
    })
  })
})

/** How often the vendor said "too many" while it was asked again and again, so far apart. */
async function limitedAt(each: number, kind: Kind): Promise<number> {
  let now = NOW
  const vendor = account({ now: () => now })
  const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
  for (let count = 0; count < 20; count += 1) {
    await driver.purge(sample(kind, "purge"), soon())
    now += each
  }
  return vendor.limited
}

describe("the pace of Gcore", () => {
  const paces = gcore.pace(config())

  it("counts each kind by itself, for each resource", () => {
    const rate = { limit: "rate", per: "call", burst: 1 }
    expect(paces).toEqual([
      { ...rate, bucket: "url:4711", kinds: ["url"], perSecond: 2 / 60 },
      { ...rate, bucket: "pattern:4711", kinds: ["prefix"], perSecond: 1 / 60 },
      { ...rate, bucket: "all:4711", kinds: ["everything"], perSecond: 1 / 60 },
    ])
  })

  it("is what the vendor takes, and not twice as fast", async () => {
    for (const pace of paces) {
      if (pace.limit !== "rate") throw new Error("rates are what Gcore has")
      const kind = pace.kinds[0] ?? "url"
      expect(await limitedAt(1_000 / pace.perSecond, kind)).toBe(0)
      expect(await limitedAt(500 / pace.perSecond, kind)).toBeGreaterThan(0)
    }
  })
})

describe("its configuration", () => {
  it.each(["", "two words", "line\nbreak", "naïve"])("refuses the token %j without repeating it", (token) => {
    const create = () => driverOn(transportTo(() => new Response(null)).fetch, { token })
    expect(create).toThrow(/^token /)
    if (token !== "") expect(create).not.toThrow(token)
  })
})
