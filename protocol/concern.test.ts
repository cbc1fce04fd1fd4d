import { describe, expect, it } from "vitest"
import { concernedTargets, concerns } from "./concern.ts"
import { type EntryBody, NO_SELECTORS } from "./invalidation.ts"

const body = (namespace: string | null, selectors: Partial<EntryBody> = {}): EntryBody => ({
  kind: "invalidation",
  namespace,
  mode: "invalidate",
  by: { token: "deploy" },
  ...NO_SELECTORS,
  ...selectors,
})

const tags = { tags: ["a"] }
const urls = { urls: ["https://www.example.com/"] }
const prefixes = { prefixes: ["https://www.example.com/"] }
const hosts = { hosts: ["www.example.com"] }

describe("an entry concerns a target", () => {
  it.each([
    ["in one of its namespaces", body("shop", tags), ["shop"], true],
    ["below one of them", body("shop/cart", tags), ["blog", "shop"], true],
    ["anywhere, where it has all", body("blog", tags), ["*"], true],
    ["not in another namespace", body("blog"), ["shop"], false],
    ["not in one whose name only begins alike", body("shopping"), ["shop"], false],
    ["by everything", body(null), ["shop"], true],
    ["by a resync", body(null, { kind: "resync" }), ["shop"], true],
    ["by a whole bump above", body("shop"), ["shop/cart"], true],
    ["by a prefix above", body("shop", prefixes), ["shop/cart"], true],
    ["by a host above", body("shop", hosts), ["shop/cart"], true],
    ["not by tags above, which do not nest", body("shop", tags), ["shop/cart"], false],
    ["not by urls above", body("shop", urls), ["shop/cart"], false],
    ["by a prefix beside tags", body("shop", { ...tags, ...prefixes }), ["shop/cart"], true],
  ] as const)("%s", (_, entry, namespaces, concerned) => expect(concerns(entry, namespaces)).toBe(concerned))
})

it("only targets that serve its tenant are concerned, in the order of the configuration", () => {
  const targets = {
    "z-all": { namespaces: ["*"], tenants: ["*"] },
    "a-own": { namespaces: ["blog"], tenants: ["other", "acme"] },
    "b-foreign": { namespaces: ["*"], tenants: ["default"] },
    "c-elsewhere": { namespaces: ["shop"], tenants: ["acme"] },
  }
  expect(concernedTargets(body("blog", tags), "acme", targets)).toEqual(["z-all", "a-own"])
  expect(concernedTargets(body("blog", tags), "default", targets)).toEqual(["z-all", "b-foreign"])
})
