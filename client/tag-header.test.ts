import { describe, expect, it } from "vitest"
import { TAG_RULES, type TagCache } from "../protocol/tag-rules.ts"
import { labelsFor, tagHeader } from "./tag-header.ts"

const CF = TAG_RULES.cloudflare
const CACHES = Object.keys(TAG_RULES) as TagCache[]

describe("the tag header", () => {
  it("carries the namespace, its ancestors, and the asked tags verbatim", () => {
    expect(tagHeader("shop/books/new", ["post-1", "Post-1"], TAG_RULES.fastly)).toEqual({
      headers: { "surrogate-key": "ns/shop/books/new ns/shop/books ns/shop post-1 Post-1" },
      separator: " ",
      dropped: [],
    })
    // To Cloudflare the two are one.
    expect(tagHeader("shop/books/new", ["post-1", "Post-1"], CF)).toEqual({
      headers: { "cache-tag": "ns/shop/books/new,ns/shop/books,ns/shop,post-1" },
      separator: ",",
      dropped: [],
    })
  })

  it("puts the prefix before every tag, as purges do", () => {
    expect(tagHeader("shop/books", ["a"], TAG_RULES.fastly, { tagPrefix: "de:" }).headers).toEqual({
      "surrogate-key": "de:ns/shop/books de:ns/shop de:a",
    })
  })

  it("encodes what would part a tag in two", () => {
    expect(tagHeader("blog", ["a, b", "100%25", "ü"], CF).headers["cache-tag"]).toBe(
      "ns/blog,a%2C%20b,100%2525,%C3%BC",
    )
  })

  it("names a tag once", () => {
    expect(tagHeader("blog", ["a", "a"], CF).headers["cache-tag"]).toBe("ns/blog,a")
  })

  it.each(CACHES)("%s: keeps the namespace first, and says what it left out", (inFront) => {
    const { header, separator, codec, maxBytes, maxLabels } = TAG_RULES[inFront]
    const tags = Array.from({ length: 3_000 }, (_, index) => `tag-number-${index}`)
    const { headers, dropped } = tagHeader("shop/books", tags, TAG_RULES[inFront], { budget: maxBytes })
    const labels = headers[header]?.split(separator) ?? []
    const kept = labels.map((label) => codec.decode(label))
    expect(kept.slice(0, 3)).toEqual(["ns/shop/books", "ns/shop", "ns/shop/books/+"])
    expect(new Set([...kept.slice(3), ...dropped])).toEqual(new Set(tags))
    expect(labels.length + dropped.length).toBe(3 + tags.length)
    expect(dropped.length).toBeGreaterThan(0)
    expect(headers[header]?.length).toBeLessThanOrEqual(maxBytes)
    expect(labels.length).toBeLessThanOrEqual(maxLabels)
  })

  it("carries the label of what did not fit only where something did not", () => {
    const tags = Array.from({ length: 60 }, (_, index) => `tag-${index}`)
    const of = (some: readonly string[]) =>
      tagHeader("blog", some, TAG_RULES.cloudfront).headers["cache-tag"]?.split(",") ?? []
    expect(of(tags.slice(0, 49))).toHaveLength(50)
    expect(of(tags.slice(0, 49))).not.toContain("ns/blog/+")
    expect(of(tags).slice(0, 2)).toEqual(["ns/blog", "ns/blog/+"])
    expect(of(tags)).toHaveLength(50)
    // What is no tag at all is no tag that did not fit.
    expect(of(["a\nb"])).toEqual(["ns/blog"])
  })

  it("goes by the name that the header was given", () => {
    expect(tagHeader("blog", [], TAG_RULES.cloudfront, { header: "x-tags" }).headers).toEqual({
      "x-tags": "ns/blog",
    })
  })

  it("keeps a budget to the byte, and goes on with what still fits", () => {
    const budget = "ns/blog,aaa,b".length
    expect(tagHeader("blog", ["aaa", "cc", "b"], CF, { budget })).toEqual({
      headers: { "cache-tag": "ns/blog,aaa,b" },
      separator: ",",
      dropped: ["cc"],
    })
    expect(tagHeader("blog", ["a"], CF, { budget: 0 })).toEqual({
      headers: {},
      separator: ",",
      dropped: ["ns/blog", "a"],
    })
  })

  it("leaves out what is no tag, and says so", () => {
    const wrong = ["", " a", "a\nb", "ns/other", "NS/Other", "u:https://www.example.com/", "x".repeat(1_025)]
    expect(tagHeader("blog", wrong, CF)).toEqual({
      headers: { "cache-tag": "ns/blog" },
      separator: ",",
      dropped: wrong,
    })
    // A tag whose label would be too long is known by its hash.
    expect(tagHeader("blog", ["ü".repeat(512)], CF).headers["cache-tag"]).toMatch(
      /^ns\/blog,tm-h_[0-9a-f]{32}$/,
    )
  })

  it.each(CACHES)(
    "%s: passes servers in between by default, with what is the coarser in front",
    (inFront) => {
      const { header, separator, codec, maxBytes } = TAG_RULES[inFront]
      const tags = Array.from({ length: 900 }, (_, index) => `catalog_product_${10_000 + index}`)
      const { headers, dropped } = tagHeader("shop", tags, TAG_RULES[inFront])
      const value = headers[header] ?? ""
      expect(value.length).toBeLessThanOrEqual(Math.min(2_048, maxBytes))
      expect(value.split(separator).slice(0, 2)).toEqual(["ns/shop", "ns/shop/+"].map(codec.encode))
      expect(dropped.length).toBeGreaterThan(0)
    },
  )
})

describe("the labeller", () => {
  const tags = Array.from({ length: 900 }, (_, index) => `catalog_product_${10_000 + index}`)
  const labelled = (headers: Headers, name = "surrogate-key") => headers.get(name)?.split(" ") ?? []

  it("counts what the header says already", () => {
    const label = labelsFor(TAG_RULES.fastly)
    const headers = new Headers()
    const first = label(headers, "shop", tags.slice(0, 50))
    const second = label(headers, "blog", tags.slice(50))
    expect([first, headers.get("surrogate-key")?.length ?? 0]).toEqual([[], expect.any(Number)])
    expect(headers.get("surrogate-key")?.length).toBeLessThanOrEqual(2_048)
    expect(labelled(headers)).toEqual(expect.arrayContaining(["ns/shop", "ns/blog", "ns/blog/+"]))
    expect(second.length).toBe(900 - (labelled(headers).length - 3))
  })

  it("puts the namespace and what stands for the rest in where nothing else has room", () => {
    const headers = new Headers({ "surrogate-key": "x".repeat(5_000) })
    expect(labelsFor(TAG_RULES.fastly)(headers, "shop/de", tags)).toEqual(tags)
    expect(labelled(headers).slice(1)).toEqual(["ns/shop/de", "ns/shop", "ns/shop/de/+"])
  })

  it("counts labels too, where the cache keeps so many", () => {
    const header = { header: "x-tags" }
    const headers = new Headers({ "x-tags": tags.slice(0, 40).join(",") })
    const dropped = labelsFor(TAG_RULES.cloudfront, header)(headers, "shop", tags.slice(40, 60))
    expect(headers.get("x-tags")?.split(",")).toHaveLength(50)
    expect(dropped).toHaveLength(12)
  })
})
