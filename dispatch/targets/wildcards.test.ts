import { describe, expect, it } from "vitest"
import { FAST, NOW, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { cloudfront } from "./cloudfront.ts"
import { gcore } from "./gcore.ts"
import { keycdn } from "./keycdn.ts"
import { nextjs } from "./nextjs.ts"
import type { Driver, Kind, Surroundings } from "./target.ts"
import { workersCache } from "./workers-cache.ts"

/** What a url of one namespace would purge beside itself is never sent, and holds nothing else up. */

const SECRET = `whsec_${btoa("a secret of twenty-four b")}`
const HOOK = { url: "https://www.example.com/hook", secret: SECRET, ...SHARED }

const DRIVERS: Readonly<Record<string, (surroundings: Surroundings) => Driver>> = {
  cloudfront: (surroundings) =>
    cloudfront.create(
      {
        type: "cloudfront",
        distribution: "EDFDVBD6EXAMPLE",
        accessKeyId: "AKIDEXAMPLE",
        secretAccessKey: "key",
        sessionToken: undefined,
        tags: true,
        maxPathsPerMonth: undefined,
        completesIn: 60_000,
        ...SHARED,
      },
      surroundings,
    ),
  gcore: (surroundings) =>
    gcore.create({ type: "gcore", resource: 1, token: "token", ...SHARED }, surroundings),
  keycdn: (surroundings) =>
    keycdn.create(
      { type: "keycdn", zone: 1, token: "token", tags: true, perMinute: 20, ...SHARED },
      surroundings,
    ),
  nextjs: (surroundings) => nextjs.create({ type: "nextjs", prefixes: true, ...HOOK }, surroundings),
  "workers-cache": (surroundings) =>
    workersCache.create({ type: "workers-cache", plan: "free", ...HOOK }, surroundings),
  "workers-cache that may": (surroundings) =>
    workersCache.create(
      { type: "workers-cache", plan: "free", ...HOOK, allowEverything: true },
      surroundings,
    ),
}

async function purge(name: string, kind: Kind, ...values: readonly string[]) {
  const { fetch, received } = transportTo(() => new Response("?", { status: 503 }))
  const driver = DRIVERS[name]?.({ fetch, now: () => NOW })
  const batch = { ...FAST, mode: "purge" as const, values: values.map((value) => valueOf(kind, value)) }
  return { outcome: await driver?.purge(batch, soon()), count: received.length }
}

const page = (path: string): string => `https://www.example.com${path}`
const STAR = "it cannot purge by a url that holds a *"
const ROUTE = "it cannot purge by a url that ends in /layout or /page"
const LABEL = "it cannot purge by a tag that is a layout's or a route's"

describe.each([
  ["cloudfront", "url", page("/*"), STAR],
  ["cloudfront", "url", page("/a?b=*"), STAR],
  ["gcore", "url", page("/a*"), STAR],
  ["gcore", "prefix", page("/*/b"), STAR.replace("url", "prefix")],
  ["keycdn", "url", page("/*"), STAR],
  ["nextjs", "url", page("/layout"), ROUTE],
  ["nextjs", "url", page("/blog/%5Bslug%5D/p%61ge/"), ROUTE],
  ["nextjs", "tag", "_N_T_/layout", LABEL],
  ["nextjs", "tag", "_N_T_/blog/[slug]/page", LABEL],
  ["workers-cache", "url", page("/?a=b"), "it cannot purge by the url of a home page"],
] as const)("%s, by the %s %s", (name, kind, value, detail) => {
  it("purges nothing", async () => {
    expect(await purge(name, kind, value)).toEqual({ outcome: { outcome: "unsupported", detail }, count: 0 })
  })

  it("says which it is among others", async () => {
    const other = kind === "tag" ? "post-1" : page("/plain")
    const { outcome, count } = await purge(name, kind, other, value, other)
    expect([outcome, count]).toEqual([{ outcome: "unsupported", detail, at: [1] }, 0])
    expect((await purge(name, kind, other)).count).toBe(1)
  })
})

it.each([
  ["nextjs", "url", page("/layouts")],
  ["nextjs", "tag", "_N_T_/blog/hello"],
  ["nextjs", "tag", "a/layout"],
  ["workers-cache that may", "url", page("/")],
  ["cloudfront", "tag", "a*"],
] as const)("%s is asked by the %s %s", async (name, kind, value) => {
  expect((await purge(name, kind, value)).count).toBe(1)
})
