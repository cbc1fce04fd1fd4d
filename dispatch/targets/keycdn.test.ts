import { describe, expect, it } from "vitest"
import { FakeKeycdn, type FakeKeycdnOptions } from "../../test/fakes/keycdn.ts"
import { cut } from "../batches.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { keycdn } from "./keycdn.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const ZONE = 209797
const ZONE_HOST = "example-1a2b.kxcdn.com"
const TOKEN = "sk_prod_Zq8vJw2mXr5tYh1kLp9sBn4d"
const BASIC = btoa(`${TOKEN}:`)
const API = "https://api.keycdn.com"

const config = (more: Partial<TargetConfigOf<"keycdn">> = {}): TargetConfigOf<"keycdn"> => ({
  type: "keycdn",
  zone: ZONE,
  token: TOKEN,
  tags: true,
  perMinute: 20,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"keycdn">>) =>
  keycdn.create(config(more), { fetch, now: () => NOW })

const account = (more: Partial<FakeKeycdnOptions> = {}) =>
  new FakeKeycdn({ zone: ZONE, token: TOKEN, now: () => NOW, isUnlimited: true, ...more })

const reply = (status: number, word: string, description: string) =>
  Response.json({ status: word, description, data: {} }, { status })

describeTarget("keycdn", () => ({
  create: driverOn,
  capabilities: keycdn.capabilities({ type: "keycdn", tags: true }),
  fake: account,
  unauthorised: () => reply(401, "error", "API key is invalid"),
  refused: () => reply(400, "error", "Missing parameter"),
  requests: 1,
  secrets: [TOKEN, BASIC],
}))

describe("the cache of keycdn, by the zone's own host", () => {
  it("has pages of an alias purged where it knows no other", async () => {
    const page = "https://www.example.com/a?b=c"
    for (const [zoneHost, how] of [
      [ZONE_HOST, "miss"],
      [undefined, "hit"],
    ] as const) {
      const vendor = account({ zoneHost: ZONE_HOST })
      vendor.cache.visit(page)
      const { fetch } = transportTo((request) => vendor.handle(request))
      const driver = driverOn(fetch, zoneHost === undefined ? {} : { zoneHost })
      expect(await driver.purge(batchOf("url", page), soon())).toMatchObject({ outcome: "accepted" })
      expect(vendor.cache.visit(page).how).toBe(how)
    }
  })
})

const batchOf = (kind: Batch["values"][number]["kind"], ...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf(kind, value)),
})

async function sent(batch: Batch, more?: Partial<TargetConfigOf<"keycdn">>) {
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

const HEADERS = { accept: "application/json", authorization: `Basic ${BASIC}` }
const WITH_BODY = { ...HEADERS, "content-type": "application/json" }

describe("what KeyCDN is sent", () => {
  it("is everything by reading an address", async () => {
    expect(await sent(batchOf("everything", "*"))).toEqual({
      line: `GET ${API}/zones/purge/${ZONE}.json`,
      headers: HEADERS,
      body: "",
    })
  })

  it("is urls without their scheme, each once", async () => {
    const urls = ["https://www.example.com/a?b=c", "http://www.example.com/a?b=c", "https://h.example:8443/"]
    expect(await sent(batchOf("url", ...urls))).toEqual({
      line: `DELETE ${API}/zones/purgeurl/${ZONE}.json`,
      headers: WITH_BODY,
      body: '{"urls":["www.example.com/a?b=c","h.example:8443/"]}',
    })
    expect((await sent(batchOf("url", ...urls), { zoneHost: ZONE_HOST })).body).toBe(
      `{"urls":["${ZONE_HOST}/a?b=c","${ZONE_HOST}/"]}`,
    )
  })

  it("is a tag", async () => {
    expect(await sent(batchOf("tag", "post-1"))).toEqual({
      line: `DELETE ${API}/zones/purgetag/${ZONE}.json`,
      headers: WITH_BODY,
      body: '{"tags":["post-1"]}',
    })
  })

  it("is no tag where the configuration does not say so", async () => {
    expect(keycdn.capabilities({ type: "keycdn" }).kinds).not.toHaveProperty("tag")
    const { fetch, received } = transportTo(() => reply(200, "success", ""))
    const driver = driverOn(fetch, { tags: false })
    expect((await driver.purge(batchOf("tag", "post-1"), soon())).outcome).toBe("unsupported")
    expect(received).toEqual([])
  })

  it("goes to another base address where one is configured", async () => {
    for (const endpoint of ["http://127.0.0.1:9000", "http://127.0.0.1:9000/"])
      expect((await sent(sample("tag", "purge"), { endpoint })).line).toBe(
        `DELETE http://127.0.0.1:9000/zones/purgetag/${ZONE}.json`,
      )
  })

  it("has a body of 64 KB at most, and the longest tag in it", async () => {
    const vendor = account()
    const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
    const capabilities = keycdn.capabilities(config())
    const long = (index: number) => `https://www.example.com/${"a".repeat(1_900)}/${index}`
    const items = Array.from({ length: 120 }, (_, index) => ({
      ...valueOf("url", long(index)),
      meant: long(index),
      mode: "purge" as const,
      epochs: [FAST.epochs.first],
    }))
    const tag = valueOf("tag", capabilities.tags.encode("t".repeat(120)))
    for (const values of [...cut(items, capabilities).map((bundle) => bundle.items), [tag]])
      expect((await driver.purge({ ...FAST, mode: "purge", values }, soon())).outcome).toBe("accepted")
    expect(vendor.complaints).toEqual([])
    expect(vendor.taken.reduce((sum, count) => sum + count, 0)).toBe(121)
  })
})

describe("tags in one call", () => {
  const capabilities = keycdn.capabilities(config())
  const items = (tags: readonly string[]) =>
    tags.map((tag) => ({
      ...valueOf("tag", capabilities.tags.encode(tag)),
      meant: tag,
      mode: "purge" as const,
      epochs: [FAST.epochs.first],
    }))

  it("are as many as 128 characters hold, their list's quotes, commas and brackets with them", async () => {
    const tags = Array.from({ length: 500 }, (_, index) => "t".repeat(1 + (index % 120)) + index)
    const vendor = account()
    const { fetch, received } = transportTo((request) => vendor.handle(request))
    for (const bundle of cut(items(tags), capabilities))
      expect(
        (await driverOn(fetch).purge({ ...FAST, mode: "purge", values: bundle.items }, soon())).outcome,
      ).toBe("accepted")
    expect([vendor.complaints, vendor.taken.reduce((sum, count) => sum + count, 0)]).toEqual([[], 500])
    const lengths = received.map(({ body }) => body.length - '{"tags":}'.length)
    expect(Math.max(...lengths)).toBe(128)
  })

  it("are 21 short ones, as were seen to be taken", () => {
    const short = Array.from({ length: 21 }, (_, index) => `n${String(index).padStart(2, "0")}`)
    expect(cut(items(short), capabilities).map((bundle) => bundle.items.length)).toEqual([21])
  })

  it("leaves urls as many as their body holds", () => {
    expect(capabilities.kinds.url).toEqual({ modes: ["purge"], batch: 100 })
  })
})

const outcomeOf = (response: () => Response, batch: Batch = sample("url", "purge")) =>
  driverOn(transportTo(response).fetch).purge(batch, soon())

describe("what KeyCDN answers", () => {
  it("says no within a 200 too, in its own words", async () => {
    expect(await outcomeOf(() => reply(200, "error", "Invalid urls"))).toEqual({
      outcome: "refused",
      status: 200,
      detail: "api.keycdn.com answered 200 without success: Invalid urls",
    })
    expect(await outcomeOf(() => reply(400, "error", "Invalid urls"))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "api.keycdn.com answered 400: Invalid urls",
    })
  })

  it.each(["", "<html>", "null", "[]", '"success"', "{}", '{"status":200}', '{"status":"succ'])(
    "is not understood with a 200 and the body %j",
    async (text) => {
      expect(await outcomeOf(() => new Response(text))).toMatchObject({ outcome: "trouble", status: 200 })
    },
  )

  it("gives a value up that it quotes, whatever that is called", async () => {
    for (const quoted of ["www.example.com/zone/not", "api-key", "unauthorized", "account"])
      expect(await outcomeOf(() => reply(400, "error", `Invalid urls: ${quoted}`))).toMatchObject({
        outcome: "refused",
      })
  })

  it("means a limit where it says so, whatever the status", async () => {
    for (const status of [200, 400, 403, 429])
      for (const text of ["Rate limit reached", "API rate limits exceeded", "Too many requests"])
        expect(await outcomeOf(() => reply(status, "error", text))).toMatchObject({
          outcome: "trouble",
          status,
        })
  })

  it("has no secret repeated that its words hold", async () => {
    for (const status of [200, 400, 401, 429]) {
      const outcome = await outcomeOf(() => reply(status, "error", `no ${TOKEN} or ${BASIC} here`))
      const said = JSON.stringify(outcome)
      expect(said).toContain("no [secret] or [secret] here")
      for (const secret of [TOKEN, BASIC]) expect(said).not.toContain(secret)
    }
  })

  it("pauses where the zone is not found, and does not know another key", async () => {
    const vendor = account()
    const { fetch } = transportTo((request) => vendor.handle(request))
    for (const kind of ["tag", "url", "everything"] as const) {
      expect(await driverOn(fetch, { zone: 7 }).purge(sample(kind, "purge"), soon())).toEqual({
        outcome: "unauthorised",
        status: 404,
        detail: "api.keycdn.com answered 404: Zone not found",
        mend: ["zone", "tags"],
      })
      expect(await driverOn(fetch, { token: "other" }).purge(sample(kind, "purge"), soon())).toMatchObject({
        outcome: "unauthorised",
        status: 401,
      })
    }
    expect(vendor.complaints).toEqual([])
  })

  it("has enough after 20 in a minute", async () => {
    const vendor = account({ isUnlimited: false })
    const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
    for (let calls = 0; calls < 20; calls++)
      expect((await driver.purge(sample("url", "purge"), soon())).outcome).toBe("accepted")
    expect(await driver.purge(sample("url", "purge"), soon())).toMatchObject({
      outcome: "trouble",
      status: 429,
    })
  })
})

describe("the pace of KeyCDN", () => {
  it.each([
    [20, 5, 15],
    [1, 1, 1],
    [2, 1, 1],
    [600, 150, 450],
  ])("of %d a minute is %d at once and %d a minute", (perMinute, burst, refilled) => {
    const rate = { limit: "rate", bucket: "api", per: "call", perSecond: refilled / 60, burst }
    expect(keycdn.pace(config({ perMinute }))).toEqual([{ ...rate, kinds: ["tag", "url", "everything"] }])
    expect(keycdn.pace(config({ perMinute, tags: false }))).toEqual([
      { ...rate, kinds: ["url", "everything"] },
    ])
  })
})

describe("its configuration", () => {
  const nowhere = transportTo(() => new Response()).fetch

  it.each(["", "two words", "line\nbreak", "naïve", "a:b"])(
    "refuses the token %j without repeating it",
    (token) => {
      const create = () => driverOn(nowhere, { token })
      expect(create).toThrow(/^token /)
      if (token !== "") expect(create).not.toThrow(token)
    },
  )

  it("refuses an endpoint with credentials", () => {
    expect(() => driverOn(nowhere, { endpoint: "https://a:hunter2@proxy.example/" })).toThrow(
      /^endpoint (?!.*hunter2)/,
    )
  })
})
