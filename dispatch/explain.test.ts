import { describe, expect, it } from "vitest"
import { parseConfig } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { type EntryBody, type InvalidationInput, NO_SELECTORS } from "../protocol/invalidation.ts"
import { explain, saidByTag } from "./explain.ts"
import { findDriver } from "./targets/list.ts"
import type { Pace, TargetDriver } from "./targets/target.ts"

type Target<T extends string> = Extract<NonNullable<ConfigInput["targets"]>[string], { type: T }>

const cloudflare: Target<"cloudflare"> = {
  type: "cloudflare",
  zone: "023e105f4ecef8ad9ca31a8372d0c353",
  token: { secret: "TOKEN" },
  plan: "pro",
  namespaces: ["*"],
}
const varnish: Target<"varnish"> = {
  type: "varnish",
  endpoints: ["http://127.0.0.1:6081"],
  namespaces: ["*"],
}

const bodyOf = (input: InvalidationInput): EntryBody => ({
  kind: "invalidation",
  by: { token: "deploy" },
  mode: "invalidate",
  ...NO_SELECTORS,
  ...(input as Partial<EntryBody>),
  namespace: input.namespace ?? null,
})

function explained(
  targets: NonNullable<ConfigInput["targets"]>,
  inputs: readonly InvalidationInput[],
  find: (type: string) => TargetDriver | undefined = findDriver,
) {
  const config = parseConfig({
    namespaces: { "*": { overflowTag: false }, blog: { hosts: ["www.example.com"] }, shop: {} },
    targets,
  })
  return explain(inputs.map(bodyOf), "default", config, find)
}

/** A vendor's driver, with limits of a test's own. */
const paced =
  (...paces: readonly Pace[]) =>
  (type: string): TargetDriver | undefined => {
    const driver = findDriver(type)
    return driver && { ...driver, pace: () => paces }
  }
const tags = (count: number) => Array.from({ length: count }, (_, index) => `post-${index}`)

describe("what a publish would do", () => {
  it("counts calls as the vendor's sizes cut them, over all that is asked", () => {
    const inputs = [
      { namespace: "blog", tags: tags(250) },
      { namespace: "blog", urls: ["https://www.example.com/a"] },
    ]
    expect(explained({ cdn: cloudflare }, inputs)["cdn"]).toEqual({
      calls: 4,
      widened: [],
      cost: 0,
      notes: [],
      seconds: 0,
    })
  })

  it("says what the responses must carry where a whole namespace is said by its tag", () => {
    const notes = (namespace: string) => explained({ cdn: cloudflare }, [{ namespace }])["cdn"]?.notes
    expect([notes("shop"), notes("blog")]).toEqual([[expect.stringContaining("the tag ns/shop")], []])
  })

  it("tells of each target that it concerns, and of no other", () => {
    const targets = { cdn: cloudflare, shop: { ...varnish, namespaces: ["shop"] } }
    expect(Object.keys(explained(targets, [{ namespace: "blog", tags: ["a"] }]))).toEqual(["cdn"])
  })

  it("says of each selector what it becomes", () => {
    const inputs = [{ namespace: "blog", tags: ["a"], prefixes: ["https://www.example.com/blog/"] }]
    expect(explained({ node: varnish }, inputs)["node"]?.widened).toEqual([
      { namespace: "blog", selector: "https://www.example.com/blog/", as: "purge" },
    ])
    const whole = explained({ node: varnish }, [{ namespace: "blog" }])["node"]
    expect(whole?.widened).toEqual([{ namespace: "blog", as: "purge" }])
  })

  it("says what cannot be done", () => {
    const only = (type: string): TargetDriver | undefined => {
      const driver = findDriver(type)
      const { kinds: _, ...rest } = driver?.capabilities(varnish as never) ?? {}
      return (
        driver &&
        ({
          ...driver,
          capabilities: () => ({ ...rest, kinds: { url: { modes: ["purge"], batch: 1 } } }),
        } as TargetDriver)
      )
    }
    const targets = { node: { ...varnish, onUnsupported: "skip" as const } }
    expect(explained(targets, [{ namespace: "blog", tags: ["a"] }], only)["node"]).toEqual({
      calls: 0,
      widened: [{ namespace: "blog", selector: "a", as: "not_supported" }],
      cost: 0,
      notes: [],
      seconds: 0,
    })
  })

  it("tells of what escalates", () => {
    const targets = { cdn: { ...cloudflare, escalate: { selectors: 10, to: "namespace" as const } } }
    const { calls, widened } = explained(targets, [{ namespace: "blog", tags: tags(11) }])["cdn"] ?? {}
    expect([calls, widened?.length, widened?.[0]?.as]).toEqual([1, 11, "namespace"])
  })

  it("counts what settles as well: it is purged all the same", () => {
    const body: EntryBody = { ...bodyOf({ namespace: "blog", tags: ["a"] }), settling: true }
    const config = parseConfig({ namespaces: { blog: {} }, targets: { cdn: cloudflare } })
    expect(explain([body], "default", config, findDriver)["cdn"]?.calls).toBe(1)
  })
})

describe("how long it would take", () => {
  const kinds = ["tag"] as const
  const secondsOf = (count: number, ...paces: readonly Pace[]) =>
    explained({ cdn: cloudflare }, [{ namespace: "blog", tags: tags(count) }], paced(...paces))["cdn"]
      ?.seconds

  it("is what a bucket makes the last call wait, by calls or by values", () => {
    const rate = { limit: "rate", bucket: "b", kinds, perSecond: 2, burst: 3 } as const
    expect(secondsOf(300, { ...rate, per: "call" })).toBe(0)
    expect(secondsOf(1_000, { ...rate, per: "call" })).toBe(4)
    expect(secondsOf(103, { ...rate, per: "value" })).toBe(50)
  })

  it("is how often what is in progress must end, and the longest of all limits", () => {
    const running = {
      limit: "inProgress",
      bucket: "p",
      kinds,
      per: "value",
      most: 100,
      lasting: 60_000,
    } as const
    expect(secondsOf(250, running)).toBe(120)
    const rate = { limit: "rate", bucket: "b", kinds, per: "call", perSecond: 1, burst: 1 } as const
    expect(secondsOf(250, running, rate)).toBe(120)
  })

  it("is by the configured rate where there is one", () => {
    const targets = { cdn: { ...cloudflare, rate: { perSecond: 1, burst: 1 } } }
    expect(explained(targets, [{ namespace: "blog", tags: tags(500) }])["cdn"]?.seconds).toBe(4)
  })
})

it("costs what the vendor charges a value", () => {
  const charging = (type: string): TargetDriver | undefined => {
    const driver = findDriver(type)
    return (
      driver && { ...driver, capabilities: (of) => ({ ...driver.capabilities(of), dollarsPerValue: 0.005 }) }
    )
  }
  const inputs = [{ namespace: "blog", tags: tags(30) }]
  expect(explained({ cdn: cloudflare }, inputs, charging)["cdn"]?.cost).toBe(0.15)
  // An address that is spelled otherwise than in its normal form is said in both.
  const spelled = [{ namespace: "blog", urls: ["https://www.example.com/%d9", "https://www.example.com/a"] }]
  expect(explained({ cdn: cloudflare }, spelled, charging)["cdn"]?.cost).toBe(0.015)
  expect(explained({ node: varnish }, spelled)["node"]?.calls).toBe(3)
})

it("a namespace is said by its tag where nothing else can be said, or where it is configured so", () => {
  const by = (target: Target<"cloudflare"> | Target<"varnish"> | Target<"netlify">) => {
    const config = parseConfig({
      namespaces: {
        blog: { hosts: ["www.example.com"] },
        shop: {},
        own: { hosts: ["a.example"], wholeBy: "tag" },
      },
      targets: { edge: target },
    })
    const edge = config.targets["edge"]
    const driver = findDriver(target.type)
    if (!edge || !driver) throw new Error("the target is there")
    return saidByTag({
      config,
      tenant: "default",
      target: edge,
      capabilities: driver.capabilities(edge as never),
    })
  }
  const netlify: Target<"netlify"> = { type: "netlify", site: "s", token: { secret: "T" }, namespaces: ["*"] }
  expect(by(cloudflare)).toEqual(["shop", "own"])
  expect(by(netlify)).toEqual(["blog", "shop", "own"])
  expect(by({ ...netlify, allowEverything: true })).toEqual(["shop", "own"])
  expect(by({ ...netlify, namespaces: ["shop"] })).toEqual(["shop"])
})
