import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { hostCovers, hostCoversUrl, prefixCovers } from "../protocol/selector.ts"
import { withoutCovered } from "./covered.ts"
import { type Draft, keyOf } from "./plan.ts"
import { atOnce } from "./slices.ts"
import type { Kind } from "./targets/target.ts"

const draft = (kind: Kind, value: string, rest: Partial<Draft> = {}): Draft => ({
  kind,
  value,
  meant: value,
  mode: "invalidate",
  namespaces: ["blog"],
  epochs: [1],
  ...rest,
})

const itemsOf = (drafts: readonly Draft[]) =>
  new Map(drafts.map((one) => [keyOf(one.kind, one.value), { ...one, epochs: [...one.epochs] }]))

const left = (...drafts: readonly Draft[]): string[] =>
  atOnce(withoutCovered(itemsOf(drafts))).map(({ value }) => value)

/* oxlint-disable no-extend-native -- what is looked up is counted */
/** How long all keys were together that something was looked up by. */
function lookedUp(work: () => void): number {
  const { get } = Map.prototype
  let length = 0
  Map.prototype.get = function (this: Map<unknown, unknown>, key: unknown) {
    length += typeof key === "string" ? key.length : 1
    return get.call(this, key)
  }
  try {
    work()
  } finally {
    Map.prototype.get = get
  }
  return length
}
/* oxlint-enable no-extend-native */

describe("what a prefix covers", () => {
  it.each([
    ["/blog", "/blog", true],
    ["/blog", "/blog/", true],
    ["/blog/", "/blog", true],
    ["/blog", "/blog/a/b", true],
    ["/blog/", "/blog/?page=2", true],
    ["/", "/", true],
    ["/", "/anything", true],
    ["/blog", "/blogs", false],
    ["/blog/a", "/blog", false],
    ["/blog//", "/blog/", false],
    ["/blog//", "/blog//", true],
    ["/blog//", "/blog//a", true],
    ["/a//b", "/a/b", false],
    ["/a//b", "/a//b/c", true],
  ])("%s, of %s: %s", (prefix, url, isCovered) => {
    const site = "https://www.example.com:8443"
    expect(prefixCovers(site + prefix, site + url)).toBe(isCovered)
    const found = left(draft("prefix", site + prefix), draft("url", site + url))
    expect(found).toEqual(isCovered ? [site + prefix] : [site + prefix, site + url])
  })

  it("is of its own origin, and of no address that is none", () => {
    const drafts = [
      draft("prefix", "https://www.example.com/a"),
      draft("url", "http://www.example.com/a"),
      draft("url", "https://www.example.com:444/a"),
      draft("url", "not an address"),
    ]
    expect(left(...drafts)).toEqual(drafts.map(({ value }) => value))
  })

  it("is no more than what is as hard", () => {
    const [prefix, url] = ["https://www.example.com/a", "https://www.example.com/a/b"]
    expect(left(draft("prefix", prefix), draft("url", url, { mode: "purge" }))).toEqual([prefix, url])
    expect(left(draft("prefix", prefix, { mode: "purge" }), draft("url", url))).toEqual([prefix])
  })
})

describe("of any items", () => {
  const path = fc
    .array(fc.constantFrom("a", "b", "", "blog"), { maxLength: 4 })
    .map((segments) => `/${segments.join("/")}`)
  const host = fc.constantFrom("a.example", "a.example:8443", "[::1]", "[::1]:8443", "b.example:443")
  const scheme = fc.constantFrom("https://", "http://")
  const address = fc.tuple(scheme, host, path).map((parts) => new URL(parts.join("")).href)
  const item = fc
    .tuple(
      fc.oneof(
        fc.record({ kind: fc.constant<Kind>("url"), value: address }),
        fc.record({ kind: fc.constant<Kind>("prefix"), value: address }),
        fc.record({ kind: fc.constant<Kind>("host"), value: host }),
        fc.record({ kind: fc.constant<Kind>("tag"), value: fc.constantFrom("a", "b") }),
      ),
      fc.constantFrom("purge" as const, "invalidate" as const),
    )
    .map(([{ kind, value }, mode]) => draft(kind, value, { mode }))

  /** By the definitions alone, each with each. */
  function covers(outer: Draft, inner: Draft): boolean {
    if (inner.mode === "purge" && outer.mode !== "purge") return false
    if (outer.kind === "prefix")
      return (inner.kind === "url" || inner.kind === "prefix") && prefixCovers(outer.value, inner.value)
    if (outer.kind !== "host") return false
    if (inner.kind === "host") return hostCovers(outer.value, inner.value)
    return inner.kind !== "tag" && hostCoversUrl(outer.value, inner.value)
  }

  it("what goes is covered by what stays, which no other covers that stays", () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 12 }), (drafts) => {
        const items = itemsOf(drafts)
        const all = [...items.values()].map((one) => ({ ...one }))
        const kept = new Set(atOnce(withoutCovered(items)).map((one) => keyOf(one.kind, one.value)))
        const stays = all.filter((one) => kept.has(keyOf(one.kind, one.value)))
        for (const one of all) {
          const others = stays.filter(
            (other) => keyOf(other.kind, other.value) !== keyOf(one.kind, one.value),
          )
          const isCovered = others.some((other) => covers(other, one))
          expect([one, isCovered]).toEqual([one, !kept.has(keyOf(one.kind, one.value))])
        }
      }),
      { numRuns: 3_000 },
    )
  })
})

describe("the work", () => {
  const slashes = (count: number, nth: number) => `https://www.example.com/${nth}${"/a".repeat(count)}`

  it.each([
    ["beside one prefix elsewhere", [draft("prefix", "https://www.example.com/elsewhere")]],
    ["beside a host", [draft("host", "cdn.example.com")]],
    ["beside a namespace", [draft("namespace", "shop")]],
    ["beside as many prefixes as deep", []],
  ])("of urls with many segments is as much as their bytes: %s", (_, beside) => {
    const work = (count: number) => {
      const urls = Array.from({ length: 50 }, (_one, nth) => draft("url", slashes(count, nth)))
      const deep = beside.length > 0 ? [] : urls.map(({ value }) => draft("prefix", `${value}/b`))
      return lookedUp(() => atOnce(withoutCovered(itemsOf([...beside, ...deep, ...urls]))))
    }
    expect(work(800) / work(400)).toBeLessThan(2.2)
  })

  it("of many items is as many steps", () => {
    const work = (count: number) => {
      const urls = Array.from({ length: count }, (_one, nth) => draft("url", slashes(3, nth)))
      const prefixes = Array.from({ length: count }, (_one, nth) => draft("prefix", `${slashes(3, nth)}/x`))
      return lookedUp(() => atOnce(withoutCovered(itemsOf([...prefixes, ...urls]))))
    }
    expect(work(2_000) / work(1_000)).toBeLessThan(2.2)
  })
})
