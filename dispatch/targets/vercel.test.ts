import { describe, expect, it } from "vitest"
import { FakeVercel } from "../../test/fakes/vercel.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import type { Batch, TargetConfigOf } from "./target.ts"
import { vercel } from "./vercel.ts"

const TOKEN = "vercel-token-4mXr5tYh1kLp9sBn"
const TEAM = { id: "team_1a2b3c4d5e6f7g8h9i0j1k2l", slug: "my-team-url-slug" }
const API = "https://api.vercel.com/v1/edge-cache"

const config = (more: Partial<TargetConfigOf<"vercel">> = {}): TargetConfigOf<"vercel"> => ({
  type: "vercel",
  project: "my-site",
  token: TOKEN,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"vercel">>) =>
  vercel.create(config(more), { fetch, now: () => NOW })

const account = (team?: typeof TEAM) =>
  new FakeVercel({ project: "my-site", token: TOKEN, now: () => NOW, ...(team ? { team } : {}) })

const fault = (status: number, code: string, message: string, headers: Record<string, string> = {}) =>
  Response.json({ error: { code, message } }, { status, headers })

describeTarget("vercel", () => ({
  create: driverOn,
  capabilities: vercel.capabilities({ type: "vercel" }),
  fake: account,
  unauthorised: () => fault(403, "forbidden", "Not authorized"),
  refused: () => fault(400, "bad_request", "Invalid request"),
  requests: 1,
  secrets: [TOKEN],
}))

const tags = (...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf("tag", value)),
})

async function sent(batch: Batch, more: Partial<TargetConfigOf<"vercel">> = {}, vendor = account()) {
  const { fetch, received } = transportTo((request) => vendor.handle(request))
  const outcome = await driverOn(fetch, more).purge(batch, soon())
  const [request] = received
  return {
    outcome,
    method: request?.method,
    url: request?.url,
    headers: Object.fromEntries(request?.headers ?? []),
    body: request?.body,
    complaints: vendor.complaints,
  }
}

describe("what Vercel is sent", () => {
  it("invalidates and deletes at two addresses with one body", async () => {
    const expected = {
      outcome: { outcome: "accepted", status: 200 },
      method: "POST",
      url: `${API}/dangerously-delete-by-tags?projectIdOrName=my-site`,
      headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
      body: '{"tags":["post-1","Type-Post"]}',
      complaints: [],
    }
    const batch = tags("post-1", "Type-Post", "post-1")
    expect(await sent(batch)).toEqual(expected)
    expect(await sent({ ...batch, mode: "invalidate" })).toEqual({
      ...expected,
      url: `${API}/invalidate-by-tags?projectIdOrName=my-site`,
    })
  })

  it.each([
    [TEAM.id, `teamId=${TEAM.id}`],
    [TEAM.slug, `slug=${TEAM.slug}`],
  ])("names the team %s by what it is", async (team, query) => {
    const { url, outcome, complaints } = await sent(tags("a"), { team }, account(TEAM))
    expect(url).toBe(`${API}/dangerously-delete-by-tags?projectIdOrName=my-site&${query}`)
    expect([outcome.outcome, complaints]).toEqual(["accepted", []])
  })

  it("keeps to one environment where one is configured", async () => {
    const vendor = account()
    const page = "https://www.example.com/"
    vendor.cache.label(page, "a")
    vendor.cache.visit(page)
    const preview = await sent(tags("a"), { environment: "preview" }, vendor)
    expect([preview.body, vendor.cache.visit(page).how]).toEqual(['{"tags":["a"],"target":"preview"}', "hit"])
    const production = await sent(tags("a"), { environment: "production" }, vendor)
    expect(production.body).toBe('{"tags":["a"],"target":"production"}')
    expect(vendor.cache.visit(page).how).toBe("miss")
  })

  it("tells upper case from lower case, as Vercel does", async () => {
    const vendor = account()
    const page = "https://www.example.com/"
    vendor.cache.label(page, "Post-1")
    vendor.cache.visit(page)
    await sent(tags("post-1"), {}, vendor)
    expect(vendor.cache.visit(page).how).toBe("hit")
    await sent(tags("Post-1"), {}, vendor)
    expect(vendor.cache.visit(page).how).toBe("miss")
  })

  it("goes to another base address where one is configured", async () => {
    const { fetch, received } = transportTo(() => new Response(null))
    await driverOn(fetch, { endpoint: "http://127.0.0.1:9000/proxy/" }).purge(tags("a"), soon())
    expect(received.map(({ url }) => url)).toEqual([
      "http://127.0.0.1:9000/proxy/v1/edge-cache/dangerously-delete-by-tags?projectIdOrName=my-site",
    ])
  })
})

const outcomeOf = (response: () => Response) =>
  driverOn(transportTo(response).fetch).purge(sample("tag", "purge"), soon())

describe("what Vercel answers", () => {
  it("says no in its own words", async () => {
    expect(await outcomeOf(() => fault(400, "bad_request", `no ${TOKEN}`))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "api.vercel.com answered 400: bad_request no [secret]",
    })
    expect(await outcomeOf(() => new Response("<html>", { status: 400 }))).toMatchObject({
      outcome: "trouble",
      detail: "api.vercel.com answered 400 with a page: does a proxy or a log-in stand before it?",
    })
  })

  it.each([402, 404, 410])("pauses at a %d, which is about the account or the project", async (status) => {
    expect(await outcomeOf(() => fault(status, "not_found", "Project not found"))).toEqual({
      outcome: "unauthorised",
      status,
      detail: `api.vercel.com answered ${status}: not_found Project not found`,
      mend: ["project", "team", "token"],
    })
  })

  it("waits until the limit is reset where nothing else says how long", async () => {
    const limited = (headers: Record<string, string>) =>
      outcomeOf(() => fault(429, "too_many_requests", "Rate limited", headers))
    const reset = { "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(NOW / 1_000 + 42) }
    expect(await limited(reset)).toMatchObject({ outcome: "trouble", status: 429, retryAfter: 42_000 })
    expect(await limited({ ...reset, "retry-after": "7" })).toMatchObject({ retryAfter: 7_000 })
    expect(await limited({ "x-ratelimit-reset": String(NOW / 1_000 - 1) })).toMatchObject({ retryAfter: 0 })
    expect(await limited({ "x-ratelimit-reset": "soon" })).not.toHaveProperty("retryAfter")
    expect(await outcomeOf(() => fault(503, "unavailable", "", reset))).not.toHaveProperty("retryAfter")
  })
})

describe("the pace of Vercel", () => {
  it("is nobody's guess", () => expect(vercel.pace(config())).toEqual([]))
})

describe("its configuration", () => {
  it.each(["", "two words", "line\nbreak", "naïve"])("refuses the token %j without repeating it", (token) => {
    const create = () => driverOn(transportTo(() => new Response(null)).fetch, { token })
    expect(create).toThrow(/^token /)
    if (token !== "") expect(create).not.toThrow(token)
  })
})
