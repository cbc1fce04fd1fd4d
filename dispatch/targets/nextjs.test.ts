import { describe, expect, it } from "vitest"
import { FakeNextjs } from "../../test/fakes/nextjs.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { nextjs } from "./nextjs.ts"
import type { Batch, TargetConfigOf } from "./target.ts"

const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 5 + 1)
const SECRET = `whsec_${btoa(String.fromCharCode(...KEY))}`
const ROUTE = "https://www.example.com/api/tidemark?bypass=also-a-secret"

const config = (more: Partial<TargetConfigOf<"nextjs">> = {}): TargetConfigOf<"nextjs"> => ({
  type: "nextjs",
  url: ROUTE,
  secret: SECRET,
  prefixes: true,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"nextjs">>) =>
  nextjs.create(config(more), { fetch, now: () => NOW })

const app = () => new FakeNextjs({ url: ROUTE, key: KEY, now: () => NOW })

describeTarget("nextjs", () => ({
  create: driverOn,
  capabilities: nextjs.capabilities({ type: "nextjs", prefixes: true }),
  fake: app,
  unauthorised: () => new Response("the signature or its time is not right", { status: 401 }),
  refused: () => new Response("Next.js would ignore a path so long", { status: 422 }),
  requests: 1,
  secrets: [SECRET, SECRET.slice("whsec_".length), "also-a-secret"],
}))

describe("what Next.js can do", () => {
  it("is soft by tag alone, and goes by prefixes only where it is said that they mean something", () => {
    const both = ["invalidate", "purge"]
    const { kinds } = nextjs.capabilities({ type: "nextjs" })
    expect(Object.entries(kinds).map(([kind, { modes }]) => [kind, modes])).toEqual([
      ["tag", both],
      ["url", ["purge"]],
      ["everything", ["purge"]],
    ])
    expect(nextjs.capabilities({ type: "nextjs", prefixes: true }).kinds.prefix?.modes).toEqual(["purge"])
  })

  it("is not asked by a prefix otherwise", async () => {
    const { fetch, received } = transportTo((request) => app().handle(request))
    const outcome = await driverOn(fetch, { prefixes: false }).purge(sample("prefix", "purge"), soon())
    expect([outcome.outcome, received]).toEqual(["unsupported", []])
  })

  it("takes several kinds in one call", async () => {
    const vendor = app()
    const pages = ["https://www.example.com/a", "https://www.example.com/b", "https://www.example.com/c/d/e"]
    vendor.cache.label(pages[0] ?? "", "post-1")
    for (const page of [...pages, "https://www.example.com/f"]) vendor.cache.visit(page)
    const batch: Batch = {
      ...FAST,
      mode: "purge",
      values: [
        valueOf("tag", "post-1"),
        valueOf("url", "https://www.example.com/b"),
        valueOf("prefix", "https://www.example.com/c/"),
      ],
    }
    const { fetch, received } = transportTo((request) => vendor.handle(request))
    expect(await driverOn(fetch).purge(batch, soon())).toEqual({ outcome: "accepted", status: 200 })
    expect(pages.map((page) => vendor.cache.visit(page).how)).toEqual(["miss", "miss", "miss"])
    expect(vendor.cache.visit("https://www.example.com/f").how).toBe("hit")
    expect([received.length, vendor.complaints]).toEqual([1, []])
  })

  it("has no pace", () => expect(nextjs.pace(config())).toEqual([]))
})

describe("what the app answers", () => {
  const outcomeOf = (status: number) =>
    driverOn(transportTo(() => new Response("words", { status })).fetch).purge(sample("tag", "purge"), soon())

  it.each([404, 405])("is waited for at a %d: the route is not there, or not yet", async (status) => {
    expect(await outcomeOf(status)).toEqual({
      outcome: "trouble",
      status,
      detail: `www.example.com answered ${status}: it has no such route`,
    })
  })

  it("is what the route says, and not any 200 of the app", async () => {
    const answer = (text: string) =>
      driverOn(transportTo(() => new Response(text)).fetch).purge(sample("tag", "purge"), soon())
    expect(await answer("revalidated\n")).toEqual({ outcome: "accepted", status: 200 })
    for (const text of ["", "ok", "<p>revalidated</p>", "not revalidated"])
      expect(await answer(text)).toMatchObject({ outcome: "trouble", status: 200 })
  })

  it.each([400, 409, 415])("gives nothing up at a %d: the route could not read it", async (status) => {
    expect(await outcomeOf(status)).toMatchObject({ outcome: "trouble", status })
  })

  it("is told of as a host, without path and query", async () => {
    expect(await outcomeOf(422)).toEqual({
      outcome: "refused",
      status: 422,
      detail: "www.example.com answered 422",
    })
  })
})

describe("its configuration", () => {
  it.each(["", "whsec_", "whsec_no base64", "plain"])("refuses the secret %j", (secret) => {
    const { fetch } = transportTo(() => new Response(""))
    expect(() => driverOn(fetch, { secret })).toThrow(/^secret /)
  })

  it("is delivered elsewhere where an endpoint is configured", async () => {
    const { fetch, received } = transportTo(() => new Response(""))
    const driver = driverOn(fetch, { endpoint: "http://127.0.0.1:3000/api/tidemark" })
    await driver.purge(sample("tag", "purge"), soon())
    expect(received.map(({ url }) => url)).toEqual(["http://127.0.0.1:3000/api/tidemark"])
  })
})
