import { describe, expect, it } from "vitest"
import {
  countAsked,
  countSelectors,
  type Invalidation,
  NO_SELECTORS,
  parseInvalidation,
} from "./invalidation.ts"

/** The pointers of all faults, in the order in which they are told. */
function pointersOf(body: unknown, at?: readonly PropertyKey[]): string[] {
  const read = parseInvalidation(body, at)
  return "errors" in read ? read.errors.map(({ pointer }) => pointer) : []
}

/** What is told of one member. */
function detailOf(body: unknown, pointer: string): string | undefined {
  const read = parseInvalidation(body)
  return "errors" in read ? read.errors.find((fault) => fault.pointer === pointer)?.detail : undefined
}

const blog: Invalidation = { namespace: "blog", mode: "invalidate", ...NO_SELECTORS }

describe("an invalidation", () => {
  it.each<[string, unknown, Invalidation]>([
    ["of a whole namespace", { namespace: "blog" }, blog],
    ["of everything", { everything: true }, { ...blog, namespace: null }],
    ["that is not of everything", { namespace: "blog", everything: false }, blog],
    ["that is hard", { namespace: "blog", mode: "purge" }, { ...blog, mode: "purge" }],
    [
      "with every kind of selector, normalised, in the places where they were sent",
      {
        namespace: "catalog/products",
        tags: ["b", "a", "b", "A"],
        urls: [
          "HTTPS://WWW.example.com",
          "https://www.example.com/",
          "https://www.example.com/a?b#".slice(0, -1),
        ],
        prefixes: ["https://www.example.com/Blog/"],
        hosts: ["WWW.Example.com", "www.example.com", "www.example.com:8443"],
      },
      {
        namespace: "catalog/products",
        mode: "invalidate",
        tags: ["b", "a", "b", "A"],
        urls: ["https://www.example.com/", "https://www.example.com/", "https://www.example.com/a?b"],
        prefixes: ["https://www.example.com/Blog/"],
        hosts: ["www.example.com", "www.example.com", "www.example.com:8443"],
      },
    ],
    [
      "with all that may be told of it",
      {
        namespace: "blog",
        staleFor: "30s",
        settle: "5s",
        secondPass: "24h",
        entity: { type: "post", id: 42, version: "7" },
        reason: "x".repeat(200),
      },
      {
        ...blog,
        staleFor: 30_000,
        settle: 5_000,
        secondPass: 86_400_000,
        entity: { type: "post", id: 42, version: "7" },
        reason: "x".repeat(200),
      },
    ],
    ["whose passes are switched off", { namespace: "blog", settle: "0" }, { ...blog, settle: 0 }],
  ])("%s", (_, body, value) => expect(parseInvalidation(body)).toEqual({ value }))

  it.each([
    ["is nothing", undefined, ""],
    ["is null", null, ""],
    ["is a list", [], ""],
    ["is a text", "blog", ""],
    ["has no namespace", {}, "/namespace"],
    ["has none, and is not of everything either", { everything: false }, "/namespace"],
    ["has an empty namespace", { namespace: "" }, "/namespace"],
    ["has a pattern for a namespace", { namespace: "*" }, "/namespace"],
    ["has a namespace that is no text", { namespace: 5 }, "/namespace"],
    ["has no namespace but null", { namespace: null }, "/namespace"],
    ["has no tags in its list of them", { namespace: "blog", tags: [] }, "/tags"],
    ["has one tag and no list", { namespace: "blog", tags: "a" }, "/tags"],
    ["has an empty tag", { namespace: "blog", tags: ["a", ""] }, "/tags/1"],
    ["has a tag of ours", { namespace: "blog", tags: ["ns/blog"] }, "/tags/0"],
    ["has a number for a tag", { namespace: "blog", tags: [5] }, "/tags/0"],
    ["has a relative url", { namespace: "blog", urls: ["/a"] }, "/urls/0"],
    ["has a prefix with a query", { namespace: "blog", prefixes: ["https://a.test/?b"] }, "/prefixes/0"],
    ["has a url for a host", { namespace: "blog", hosts: ["https://a.test"] }, "/hosts/0"],
    ["has an unknown mode", { namespace: "blog", mode: "soft" }, "/mode"],
    ["has a number for a duration", { namespace: "blog", settle: 5 }, "/settle"],
    ["settles for more than a day", { namespace: "blog", settle: "25h" }, "/settle"],
    [
      "has its second pass after more than a day",
      { namespace: "blog", secondPass: "86400001ms" },
      "/secondPass",
    ],
    ["may be stale for more than a day", { namespace: "blog", staleFor: "2d" }, "/staleFor"],
    ["purges, but may be stale", { namespace: "blog", mode: "purge", staleFor: "1m" }, "/staleFor"],
    ["has a long reason", { namespace: "blog", reason: "x".repeat(201) }, "/reason"],
    ["says more of its entity", { namespace: "blog", entity: { slug: "a" } }, "/entity/slug"],
    ["has a member of no known name", { namespace: "blog", tag: ["a"] }, "/tag"],
    ["has a member that a pointer must escape", { namespace: "blog", "a/b~c": 1 }, "/a~1b~0c"],
    [
      "has a member by the name of a prototype",
      JSON.parse('{"namespace":"blog","__proto__":{}}'),
      "/__proto__",
    ],
    ["names a tenant", { namespace: "blog", tenant: "acme" }, "/tenant"],
    ["is of everything, with a namespace", { everything: true, namespace: "blog" }, "/namespace"],
    ["is of everything, with a selector", { everything: true, hosts: ["a.test"] }, "/hosts"],
  ])("is refused where it %s", (_, body, pointer) => expect(pointersOf(body)).toEqual([pointer]))

  it("has all its faults told at once, below where it stands in the request", () => {
    const body = {
      tags: ["ok", "", " b"],
      urls: [],
      prefixes: ["x"],
      hosts: [5],
      mode: "purge",
      staleFor: "soon",
      settle: "25h",
      entity: { id: true, colour: "red" },
      reason: 5,
      colour: "red",
    }
    const pointers = [
      "/tags/1",
      "/tags/2",
      "/urls",
      "/prefixes/0",
      "/hosts/0",
      "/staleFor",
      "/settle",
      "/entity/id",
      "/entity/colour",
      "/reason",
      "/colour",
      "/namespace",
    ]
    expect(new Set(pointersOf(body))).toEqual(new Set(pointers))
    const below = pointers.map((pointer) => `/invalidations/3${pointer}`)
    expect(new Set(pointersOf(body, ["invalidations", 3]))).toEqual(new Set(below))
  })

  it("of everything has all told that it must not carry", () => {
    const body = { everything: true, namespace: "blog", tags: ["a"], urls: ["https://a.test/"], mode: "hard" }
    expect(new Set(pointersOf(body))).toEqual(new Set(["/namespace", "/tags", "/urls", "/mode"]))
  })

  it.each([
    [{ namespace: "blog", tags: [] }, "/tags", "leave it out"],
    [{ namespace: "a//b" }, "/namespace", "segments"],
    [{ namespace: "blog", settle: "soon" }, "/settle", "duration"],
    [{ namespace: "blog", settle: "25h" }, "/settle", "at most 24h"],
    [{}, "/namespace", "everything"],
    [{ namespace: "blog", colour: 1 }, "/colour", "not a known member"],
  ])("%j is told at %s what would be right", (body, pointer, detail) => {
    expect(detailOf(body, pointer)).toContain(detail)
  })
})

describe("selectors", () => {
  it("are counted as they were asked, before any is judged", () => {
    expect(countAsked({ tags: ["a", "a", ""], urls: [1], prefixes: "x", hosts: ["b"], reason: ["c"] })).toBe(
      5,
    )
    expect([undefined, null, 5, "x", []].map(countAsked)).toEqual([0, 0, 0, 0, 0])
  })

  it("are counted as they are kept", () => {
    expect(countSelectors({ ...NO_SELECTORS, tags: ["a", "b"], hosts: ["c"] })).toBe(3)
    expect(countSelectors(NO_SELECTORS)).toBe(0)
  })
})
