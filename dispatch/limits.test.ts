import { describe, expect, it } from "vitest"
import { parseConfig } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { accountOf, pacesOf } from "./limits.ts"
import { findDriver } from "./targets/list.ts"

type Input = NonNullable<ConfigInput["targets"]>[string]

function read(target: object) {
  const config = parseConfig({ targets: { edge: { namespaces: ["*"], ...target } as Input } })
  const edge = config.targets["edge"]
  if (!edge) throw new Error("the target is there")
  return edge
}

const CLOUDFRONT = {
  type: "cloudfront",
  distribution: "EDFDVBD6EXAMPLE",
  accessKeyId: { secret: "AWS_KEY_ID" },
  secretAccessKey: { secret: "AWS_KEY" },
  tags: true,
  maxPathsPerMonth: 1_000,
}

describe("a configured rate", () => {
  const limitsOf = (target: object) => {
    const config = read(target)
    const driver = findDriver(config.type)
    return driver ? pacesOf(driver, config as never).map(({ limit }) => limit) : []
  }

  // The cap on what is spent was gone without a word.
  it("replaces the vendor's rates, and neither what is in progress nor what may be spent", () => {
    const published = limitsOf(CLOUDFRONT)
    expect(published).toContain("budget")
    expect(published).toContain("inProgress")
    expect(limitsOf({ ...CLOUDFRONT, rate: { perSecond: 1, burst: 1 } })).toEqual([
      "rate",
      ...published.filter((limit) => limit !== "rate"),
    ])
  })

  it("is the only limit of a vendor that publishes none", () => {
    const varnish = { type: "varnish", endpoints: ["http://127.0.0.1:6081"] }
    expect([limitsOf(varnish), limitsOf({ ...varnish, rate: { perSecond: 1, burst: 1 } })]).toEqual([
      [],
      ["rate"],
    ])
  })
})

describe("an account", () => {
  it.each([
    [{ type: "cloudflare", zone: "0".repeat(32), token: { secret: "CF" }, plan: "pro" }, "CF"],
    [CLOUDFRONT, "AWS_KEY_ID"],
    [{ type: "google-cloud-cdn", project: "p", urlMap: "m", key: { secret: "GOOGLE" } }, "GOOGLE"],
    [{ type: "http", url: "https://hook.example/", secret: { secret: "HOOK" } }, "edge"],
    [{ type: "varnish", endpoints: ["http://127.0.0.1:6081"] }, "edge"],
    [{ type: "varnish", endpoints: ["http://127.0.0.1:6081"], account: "all" }, "all"],
  ])("of %j is %s", (target, account) => expect(accountOf("edge", read(target))).toBe(account))
})
