import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { canonicalJson, fingerprint } from "./canonical.ts"

/** The same value with the members of every object the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (value === null || typeof value !== "object") return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, member]) => [name, reversed(member)]),
  )
}

describe("canonical JSON", () => {
  it("says the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  it("is the same text whatever the order of members, and only then", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(canonicalJson(reversed(a))).toBe(canonicalJson(a))
        const alike = canonicalJson(a) === canonicalJson(b)
        if (alike) expect(JSON.parse(JSON.stringify(a))).toEqual(JSON.parse(JSON.stringify(b)))
      }),
    )
  })

  it.each([
    [{ b: 1, a: [2, { d: null, c: "x" }] }, '{"a":[2,{"c":"x","d":null}],"b":1}'],
    // By code units, not by a language's order; and no name is special.
    [{ é: 1, z: 2, Z: 3, "10": 4, "9": 5 }, '{"10":4,"9":5,"Z":3,"z":2,"é":1}'],
    [
      JSON.parse('{"constructor":1,"__proto__":{"b":1,"a":2}}'),
      '{"__proto__":{"a":2,"b":1},"constructor":1}',
    ],
    [{ a: undefined, b: 0 }, '{"b":0}'],
    ['\u2028"\\', '"\u2028\\"\\\\"'],
    [[], "[]"],
    [1e21, "1e+21"],
  ])("of %j is %s", (value, text) => expect(canonicalJson(value)).toBe(text))

  it("keeps the order of a list: it counts", () => {
    expect(canonicalJson(["b", "a"])).not.toBe(canonicalJson(["a", "b"]))
  })
})

describe("a fingerprint", () => {
  it("is the SHA-256 of the canonical text, in hex", async () => {
    // printf '{"a":1}' | sha256sum
    expect(await fingerprint({ a: 1 })).toBe(
      "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862",
    )
  })

  it("is the same for two bodies that say the same, and else another", async () => {
    const body = { namespace: "blog", tags: ["a", "b"] }
    expect(await fingerprint({ tags: ["a", "b"], namespace: "blog" })).toBe(await fingerprint(body))
    expect(await fingerprint({ ...body, tags: ["b", "a"] })).not.toBe(await fingerprint(body))
    expect(await fingerprint({ ...body, mode: "invalidate" })).not.toBe(await fingerprint(body))
  })
})
