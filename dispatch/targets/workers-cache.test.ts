import { describe, expect, it } from "vitest"
import { FakeWorkersCache } from "../../test/fakes/workers-cache.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import type { Kind, TargetConfigOf } from "./target.ts"
import { payloadOf } from "./webhook.ts"
import { workersCache } from "./workers-cache.ts"

const SECRET = `whsec_${btoa("a secret of twenty-four b")}`
const URL_OF_AGENT = "https://www.example.com/tidemark/purge-at-a-path-that-is-a-secret"

const config = (more: Partial<TargetConfigOf<"workers-cache">> = {}): TargetConfigOf<"workers-cache"> => ({
  type: "workers-cache",
  url: URL_OF_AGENT,
  secret: SECRET,
  plan: "free",
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"workers-cache">>) =>
  workersCache.create(config(more), { fetch, now: () => NOW })

const worker = (isUnlimited = true) =>
  new FakeWorkersCache({ url: URL_OF_AGENT, secret: SECRET, now: () => NOW, isUnlimited })

const agentSays = (status: number, ...codes: readonly number[]) =>
  Response.json({ success: status === 200, errors: codes.map((code) => ({ code })) }, { status })

describeTarget("workers-cache", () => ({
  create: driverOn,
  capabilities: workersCache.capabilities({ type: "workers-cache" }),
  fake: worker,
  unauthorised: () => agentSays(401),
  refused: () => agentSays(400, 1016),
  requests: 1,
  secrets: [SECRET, SECRET.slice("whsec_".length), "path-that-is-a-secret"],
}))

describe("a Worker with the agent", () => {
  const page = (path: string) => `https://www.example.com${path}`

  /** Pages of a Worker, and a driver that reaches its agent. */
  function stage(isUnlimited = true) {
    const vendor = worker(isUnlimited)
    const { fetch } = transportTo((request) => vendor.handle(request))
    const driver = driverOn(fetch)
    const purge = (...values: readonly (readonly [Kind, string])[]) =>
      driver.purge(
        { ...FAST, mode: "purge", values: values.map(([kind, value]) => valueOf(kind, value)) },
        soon(),
      )
    return { vendor, purge }
  }

  it("is told of tags and paths in one call", async () => {
    const { vendor, purge } = stage()
    vendor.cache.label(page("/tagged"), "post-1")
    const urls = ["/tagged", "/blog/a", "/one?page=2", "/other"].map(page)
    for (const url of urls) vendor.cache.visit(url)
    expect(await purge(["tag", "post-1"], ["prefix", page("/blog/")], ["url", page("/one?page=2")])).toEqual({
      outcome: "accepted",
      status: 200,
    })
    expect(vendor.taken).toEqual([3])
    expect(urls.map((url) => vendor.cache.visit(url).version)).toEqual([2, 2, 2, 1])
  })

  it("has everything stand for all that is beside it", async () => {
    const { vendor, purge } = stage()
    expect((await purge(["tag", "post-1"], ["everything", "*"])).outcome).toBe("accepted")
    expect([vendor.taken, vendor.complaints]).toEqual([[1], []])
  })

  it("is in trouble where Cloudflare limits it, and is not cut up for that", async () => {
    const { vendor, purge } = stage(false)
    const outcomes = []
    for (let call = 0; call < 26; call += 1) outcomes.push((await purge(["tag", `post-${call}`])).outcome)
    expect(outcomes).toEqual([...Array<string>(25).fill("accepted"), "trouble"])
    expect(vendor.limited).toBe(1)
  })
})

it("is sent the webhook of the http target", async () => {
  const vendor = worker()
  const { fetch, received } = transportTo((request) => vendor.handle(request))
  const batch = sample("tag", "invalidate", 2)
  expect(await driverOn(fetch).purge(batch, soon())).toEqual({ outcome: "accepted", status: 200 })
  expect(received.map(({ method, url, body }) => [method, url, body])).toEqual([
    ["POST", URL_OF_AGENT, JSON.stringify(payloadOf(batch))],
  ])
  expect([...(received[0]?.headers.keys() ?? [])].join()).toBe(
    "content-type,webhook-id,webhook-signature,webhook-timestamp",
  )
})

const outcomeOf = (response: () => Response) =>
  driverOn(transportTo(response).fetch).purge(sample("tag", "purge"), soon())

describe("what the agent answers", () => {
  it("names the codes of a refusal", async () => {
    expect(await outcomeOf(() => agentSays(400, 1016, 1100))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "www.example.com answered 400: 1016, 1100",
    })
  })

  it.each(["", "<html>", "{}", '{"success":"true"}', "null"])(
    "is not the 200 of a site: %j",
    async (text) => {
      expect(await outcomeOf(() => new Response(text))).toMatchObject({ outcome: "trouble", status: 200 })
    },
  )

  it("pauses by Cloudflare's codes about who asks, as by its own 401", async () => {
    const coded = () => Response.json({ success: false, errors: [{ code: 10000 }] }, { status: 400 })
    expect(await outcomeOf(coded)).toMatchObject({ outcome: "unauthorised", mend: ["url", "secret"] })
    expect(
      await outcomeOf(() => Response.json({ success: false, errors: [] }, { status: 400 })),
    ).toMatchObject({
      outcome: "trouble",
    })
  })

  it.each([404, 405])("is not there, or not yet, with a %d", async (status) => {
    expect(await outcomeOf(() => new Response("no", { status }))).toEqual({
      outcome: "trouble",
      status,
      detail: `www.example.com answered ${status}: no agent is there`,
    })
  })
})

describe("its pace and configuration", () => {
  it.each([
    ["free", 5 / 60, 25],
    ["enterprise", 50, 500],
  ] as const)("keeps the limits of the plan %s", (plan, perSecond, burst) => {
    expect(workersCache.pace(config({ plan }))).toEqual([
      {
        limit: "rate",
        bucket: "purge",
        kinds: ["tag", "url", "prefix", "everything"],
        per: "call",
        perSecond,
        burst,
      },
    ])
  })

  it("refuses what is no secret, and credentials in the url, without repeating them", () => {
    const { fetch } = transportTo(() => agentSays(200))
    expect(() => driverOn(fetch, { secret: "hunter2" })).toThrow(/^secret (?!.*hunter2)/)
    expect(() => driverOn(fetch, { url: "https://a:hunter2@www.example.com/" })).toThrow(/^url (?!.*hunter2)/)
  })
})
