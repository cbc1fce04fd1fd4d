import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  ancestors,
  chain,
  isNamespace,
  isPattern,
  isWithin,
  matchesAny,
  matchesPattern,
  NAME,
  patternsOverlap,
  ROOT,
} from "./namespace.ts"

/** Few words, so that most pairs are related; `a-b` sorts before `a/b`, where a comparison of texts would go wrong. */
const namespace = fc
  .array(fc.constantFrom("a", "b", "a-b", "ab"), { minLength: 1, maxLength: 4 })
  .map((segments) => segments.join("/"))

const any = fc.oneof(fc.constant(ROOT), namespace)

describe("the grammar", () => {
  it.each([
    "blog",
    "Blog",
    "0",
    "catalog/products",
    "a.b_c-d",
    "a..b",
    "constructor",
    "a/b/c/d/e/f/g/h",
    "x".repeat(63),
    ["x".repeat(63), "y".repeat(63), "z".repeat(63), "12345678"].join("/"),
  ])("takes %j", (text) => expect(isNamespace(text)).toBe(true))

  it.each([
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "*",
    "a/*",
    ".",
    "..",
    "a/../b",
    "-a",
    "_a",
    "a b",
    " a",
    "a\n",
    "a:b",
    "a{b}",
    "é",
    "a%20b",
    "a/b/c/d/e/f/g/h/i",
    "x".repeat(64),
    ["x".repeat(63), "y".repeat(63), "z".repeat(63), "123456789"].join("/"),
  ])("refuses %j", (text) => expect(isNamespace(text)).toBe(false))

  it("of a pattern takes a namespace or the one wildcard", () => {
    expect(["*", "blog", "a/b"].map(isPattern)).toEqual([true, true, true])
    expect(["", "**", "a*", "a/*", "*/a", "/"].map(isPattern)).toEqual(Array.from({ length: 6 }, () => false))
  })

  it.each([
    ["default", true],
    ["0-a", true],
    ["a".repeat(63), true],
    ["a".repeat(64), false],
    ["", false],
    ["-a", false],
    ["A", false],
    ["a.b", false],
    ["a{b", false],
    ["a:b", false],
    ["a\n", false],
  ])("of a name: %j is %s", (text, isName) => expect(NAME.test(text)).toBe(isName))
})

describe("nesting", () => {
  it("is a partial order with the root at its top", () => {
    fc.assert(
      fc.property(any, any, any, (a, b, c) => {
        expect(isWithin(a, a)).toBe(true)
        expect(isWithin(a, ROOT)).toBe(true)
        if (isWithin(a, b) && isWithin(b, a)) expect(a).toBe(b)
        if (isWithin(a, b) && isWithin(b, c)) expect(isWithin(a, c)).toBe(true)
      }),
    )
  })

  it("goes by whole segments", () => {
    fc.assert(
      fc.property(namespace, namespace, (inner, outer) => {
        const [segments, prefix] = [inner.split("/"), outer.split("/")]
        expect(isWithin(inner, outer)).toBe(prefix.every((segment, index) => segments[index] === segment))
      }),
    )
    expect(isWithin("blogger", "blog")).toBe(false)
    expect(isWithin(ROOT, "blog")).toBe(false)
  })

  it("has one chain: the root, then every ancestor, then the namespace itself", () => {
    fc.assert(
      fc.property(namespace, (name) => {
        const found = chain(name)
        expect(found).toHaveLength(name.split("/").length + 1)
        expect([found[0], found.at(-1)]).toEqual([ROOT, name])
        for (const [index, outer] of found.slice(0, -1).entries()) {
          expect(isWithin(found[index + 1] ?? ROOT, outer)).toBe(true)
        }
        expect(ancestors(name)).toEqual(found.slice(1, -1).toReversed())
      }),
    )
    expect(chain("a/b/c")).toEqual(["", "a", "a/b", "a/b/c"])
    expect(chain(ROOT)).toEqual([ROOT])
  })
})

describe("a pattern", () => {
  it("covers its namespace and all below, and the wildcard covers all", () => {
    fc.assert(
      fc.property(namespace, namespace, (name, pattern) => {
        expect(matchesPattern(name, "*")).toBe(true)
        expect(matchesPattern(name, pattern)).toBe(isWithin(name, pattern))
        expect(matchesAny(name, [])).toBe(false)
        expect(matchesAny(name, [pattern, name])).toBe(true)
      }),
    )
  })

  it("overlaps another when some namespace matches both", () => {
    fc.assert(
      fc.property(fc.oneof(namespace, fc.constant("*")), fc.oneof(namespace, fc.constant("*")), (a, b) => {
        const both = [a, b].filter((pattern) => pattern !== "*").concat("x")
        const matches = both.some((name) => matchesPattern(name, a) && matchesPattern(name, b))
        expect(patternsOverlap(a, b)).toBe(matches)
        expect(patternsOverlap(b, a)).toBe(matches)
      }),
    )
  })
})
