// Found in a security review: globex had the prefix "g-", default none, and default's tokens purged all of globex.
import { describe, expect, it } from "vitest"
import { parseConfig } from "./config/config.ts"
import { secret } from "./config/define.ts"
import type { Config, ConfigInput } from "./config/schema.ts"
import { crossings, strayTags } from "./label-borders.ts"

const fastly = (tenants: string[], service = "abc", namespaces = ["*"]) =>
  ({ type: "fastly", service, token: secret("TOKEN"), namespaces, tenants }) as const
const token = (name: string, tenant: string, ...scopes: string[]) => ({
  name,
  tenant,
  scopes,
  sha256: secret("HASH"),
})

/** Two tenants, each with the prefix of its own, at the given targets. */
const tenants = (
  ours: string,
  theirs: string,
  targets: ConfigInput["targets"] = { shared: fastly(["default", "globex"]) },
): Config =>
  parseConfig({
    tokens: [token("a", "default", "publish:*"), token("b", "globex", "publish:*")],
    tenants: {
      default: { namespaces: { blog: { tagPrefix: ours } } },
      globex: { namespaces: { blog: { tagPrefix: theirs } } },
    },
    targets,
  })

/** One tenant, and what its publishers may. */
const namespaces = (declared: ConfigInput["namespaces"], ...scopes: string[]): Config =>
  parseConfig({
    tokens: [token("a", "default", ...scopes)],
    namespaces: declared,
    targets: { shared: fastly(["default"]) },
  })

const stray = (config: Config, tags: string[], patterns = ["*"], namespace = "blog"): number[] =>
  strayTags(config, { tenant: "default", namespace, tags }, patterns).map(({ index }) => index)

describe("a tag strays into the labels of another tenant", () => {
  it.each([
    ["", "g-", ["post-1", "g-post-1", "g-ns/x", "G-ns/x", "g", "xg-a", "%67-a"], [1, 2, 3, 6]],
    ["a-", "a-b-", ["c", "b-c", "b-ns/blog", "B-c"], [1, 2, 3]],
    // What begins with the shorter prefix of others is theirs to purge, but for what is Tidemark's own.
    ["n", "", ["s/blog", "S/blog", "s%2Fblog", "post", "x/s/blog"], [0, 1, 2]],
    ["a-n", "a-", ["s/blog", "s"], [0]],
    ["g-", "g-", ["g-a", "a"], []],
    ["a-", "b-", ["b-c", "a-c"], []],
  ] as const)("by prefixes %j and %j", (ours, theirs, tags, found) =>
    expect(stray(tenants(ours, theirs), [...tags])).toEqual(found),
  )

  it("where two targets are one cache", () => {
    const split = (service: string) => ({ a: fastly(["default"]), b: fastly(["globex"], service) })
    expect(stray(tenants("", "g-", split("abc")), ["g-a"])).toEqual([0])
    expect(stray(tenants("", "g-", split("def")), ["g-a"])).toEqual([])
  })

  it("only where a target sends labels, of that namespace", () => {
    const print = { type: "print" as const, namespaces: ["*"], tenants: ["*"] }
    expect(stray(tenants("", "g-", { print }), ["g-a"])).toEqual([])
    const shop = { shared: fastly(["default", "globex"], "abc", ["shop"]) }
    expect(stray(tenants("", "g-", shop), ["g-a"])).toEqual([])
  })

  it("and whose labels those are is not told", () => {
    const [found] = strayTags(tenants("", "g-"), { tenant: "default", namespace: "blog", tags: ["g-a"] }, [
      "*",
    ])
    expect(found?.detail).toBe("would be a label of another tenant at the cache of shared")
  })
})

describe("namespaces of one tenant", () => {
  const both = { blog: {}, shop: { tagPrefix: "s-" } }

  it("have a border where the publisher may publish in one alone", () => {
    expect(stray(namespaces(both, "publish:blog"), ["s-ns/shop", "a"], ["blog"])).toEqual([0])
    expect(stray(namespaces(both, "publish:*"), ["s-ns/shop"])).toEqual([])
    expect(stray(namespaces(both, "publish:*"), ["s-ns/shop"], ["blog", "shop"])).toEqual([])
    expect(stray(namespaces(both, "publish:*"), ["s-ns/shop"], ["blog", "shop/books"])).toEqual([0])
  })

  it("share labels where they share a prefix", () => {
    const nested = { blog: { tagPrefix: "b-" }, "blog/posts": {} }
    expect(stray(namespaces(nested, "publish:*"), ["b-a"], ["blog/posts"], "blog/posts")).toEqual([])
  })
})

describe("prefixes are held against each other", () => {
  const found = (config: Config) =>
    crossings(config).map(({ from, to, target }) => [from.tenant, to.tenant, from.prefix, to.prefix, target])

  it("between tenants", () => {
    expect(found(tenants("", "g-"))).toEqual([["default", "globex", "", "g-", "shared"]])
    expect(found(tenants("A-b", "a-"))).toEqual([["globex", "default", "a-", "a-b", "shared"]])
    expect(found(tenants("a-", "b-"))).toEqual([])
    expect(found(tenants("g-", "g-"))).toEqual([])
    expect(found(tenants("", "g-", { a: fastly(["default"]) }))).toEqual([])
  })

  it("between namespaces, where a publisher may publish in one alone", () => {
    const both = { blog: {}, shop: { tagPrefix: "s-" } }
    const crossing = [["default", "default", "", "s-", "shared"]]
    expect(found(namespaces(both, "publish:*"))).toEqual([])
    expect(found(namespaces(both, "publish:blog"))).toEqual(crossing)
    expect(found(namespaces(both, "publish:blog/a"))).toEqual(crossing)
    expect(found(namespaces(both, "publish:shop"))).toEqual([])
    const source = { type: "contentful", secret: secret("SECRET"), namespace: "blog" } as const
    const cms = parseConfig({
      namespaces: both,
      sources: { cms: source },
      targets: { shared: fastly(["default"]) },
    })
    expect(found(cms)).toEqual(crossing)
    const rules = [{ namespace: "shop", tags: ["{id}"] }]
    const two = parseConfig({
      namespaces: both,
      sources: { cms: { ...source, rules } },
      targets: { shared: fastly(["default"]) },
    })
    expect(found(two)).toEqual([])
  })
})
