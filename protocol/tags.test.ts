import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { foldLabel, isOwnLabel, isTag } from "./selector.ts"
import { labelledNamespaces, PORTABLE_CODEC, TAG_RULES } from "./tag-rules.ts"
import { namespaceTag, tagCodec } from "./tags.ts"

/** Any text of well-formed Unicode, with far more of what the codec must tell apart than chance would bring. */
const tag = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "%",
        "%%",
        "4",
        "1",
        "C",
        "c",
        "%41",
        "%2C",
        "%2c",
        ",",
        " ",
        "a",
        "é",
        "😀",
        "\ufeff",
        "\u0000",
      ),
      fc.string({ unit: "binary", maxLength: 3 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""))

/** Labels of letters only, or of nearly nothing: what a vendor may ask for. */
const codecs = [
  ...Object.values(TAG_RULES).map(({ codec }) => codec),
  tagCodec({ allowed: /^[A-Za-z]$/, maxBytes: 10_000 }),
  tagCodec({ allowed: /^[%0-9a-f]$/, maxBytes: 10_000 }),
  tagCodec({ allowed: /^[^,]$/u, maxBytes: 10_000 }),
]
const folds = (codec: (typeof codecs)[number]): boolean => codec.encode("A") === codec.encode("a")

describe.each(codecs)("codec %#", (codec) => {
  it("gives every tag back", () => {
    fc.assert(
      fc.property(tag, (text) => {
        const back = codec.decode(codec.encode(text))
        if (back !== undefined) expect(back).toBe(folds(codec) ? text.toLowerCase() : text)
      }),
    )
  })

  it("gives no two tags one label", () => {
    fc.assert(
      fc.property(tag, tag, (a, b) => {
        const isOne = folds(codec) ? a.toLowerCase() === b.toLowerCase() : a === b
        expect(codec.encode(a) === codec.encode(b)).toBe(isOne)
      }),
    )
  })
})

describe("the codec of Souin", () => {
  const { codec } = TAG_RULES.souin

  it.each([
    ["post-1", "post-1!"],
    ["ns/blog", "ns/blog!"],
    ["post.1", "post%2E1!"],
    ["a!", "a%21!"],
    ["a+(b)", "a%2B%28b%29!"],
  ])("says %j as %j", (text, label) => {
    expect(codec.encode(text)).toBe(label)
    expect(codec.decode(label)).toBe(text)
  })

  it("has no label that finds another one, taken for a regular expression from its beginning", () => {
    const [long, longer] = ["x".repeat(2_000), "x".repeat(2_001)]
    expect(codec.encode(long)).toMatch(/^tm-h_[0-9a-f]{32}!$/)
    fc.assert(
      fc.property(tag, tag, (a, b) => {
        for (const [one, other] of [
          [a, b],
          [a, a + b],
          [long, longer],
        ] as const) {
          expect(new RegExp(`^${codec.encode(one)}`).test(codec.encode(other))).toBe(one === other)
        }
      }),
    )
  })
})

describe("the portable codec", () => {
  it.each([
    "N*r;L",
    "t#k[uP",
    "post:42",
    "node:12",
    "Post-42",
    "%",
    "%4",
    "%zz",
    "%c3",
    "100%",
    "ns/blog/posts",
  ])("says %j verbatim", (text) => expect(PORTABLE_CODEC.encode(text)).toBe(text))

  it.each([
    ["a b", "a%20b"],
    ["a,b", "a%2Cb"],
    ["%41", "%2541"],
    ["%2C", "%252C"],
    ["%%41", "%%2541"],
    ["%,", "%%2C"],
    ["é", "%C3%A9"],
    ["😀", "%F0%9F%98%80"],
    ["\ufeff", "%EF%BB%BF"],
    ["a\u0000b", "a%00b"],
  ])("says %j as %s", (text, label) => expect(PORTABLE_CODEC.encode(text)).toBe(label))

  it("says what would be too long by a hash, which no tag's own label is", () => {
    expect(PORTABLE_CODEC.encode("x".repeat(1_024))).toHaveLength(1_024)
    const label = PORTABLE_CODEC.encode("x".repeat(1_025))
    expect(label).toMatch(/^tm-h_[0-9a-f]{32}$/)
    // 342 bytes of the tag, 1,026 of the label.
    expect(PORTABLE_CODEC.encode("é".repeat(171))).toMatch(/^tm-h_/)
    expect(PORTABLE_CODEC.decode(label)).toBeUndefined()
    expect(PORTABLE_CODEC.encode(label)).not.toBe(label)
    // Nor where the cache takes capitals for small letters.
    expect(PORTABLE_CODEC.encode(label.toUpperCase()).toLowerCase()).not.toBe(label)
  })

  it("hashes by FNV-1a, as RFC 9923 has it", () => {
    // Room for nothing, so that everything is hashed.
    const codec = tagCodec({ allowed: /^[a-z%_-]$/, maxBytes: 0 })
    expect(codec.encode("")).toBe("")
    expect(codec.encode("a")).toBe("tm-h_d228cb696f1a8caf78912b704e4a8964")
    expect(codec.encode("foobar")).toBe("tm-h_343e1662793c64bf6f0d3597ba446f18")
  })
})

describe.each(Object.entries(TAG_RULES))("%s", (_, { separator, codec, maxBytes }) => {
  it("has labels that its separator does not cut, and no header is broken by", () => {
    fc.assert(
      fc.property(tag, (text) => {
        const label = codec.encode(text)
        expect(label).toMatch(/^[\x21-\x2b\x2d-\x7e]*$/)
        expect(label).not.toContain(separator)
        expect(label.length).toBeLessThan(maxBytes)
      }),
    )
  })

  it.each(["N*r;L", "t#k[uP", "post:42", "node:12"])("gives %j back", (text) => {
    expect([text, text.toLowerCase()]).toContain(codec.decode(codec.encode(text)))
  })
})

it.each(Object.entries(TAG_RULES))("%s is never told a label of ours by a tag", (_, { codec }) => {
  const part = fc.constantFrom(..."nNsSuU/:%#%2F%4E%53%25\u017f\uff0f\u33b1\u200b ".match(/%[\dA-F]{2}|./gu)!)
  const near = fc.array(fc.oneof(part, tag), { maxLength: 8 }).map((parts) => parts.join(""))
  fc.assert(
    fc.property(near, (text) => {
      fc.pre(isTag(text))
      expect(isOwnLabel(foldLabel(codec.encode(text)))).toBe(false)
    }),
  )
})

it.each(["akamai", "bunny", "google-cloud-cdn", "keycdn", "souin", "vercel"] as const)(
  "%s is told no wildcard, whatever the tag",
  (name) => {
    const { codec } = TAG_RULES[name]
    fc.assert(
      fc.property(tag, fc.constantFrom("", "*", "a*", "*b*", "%2A"), (text, more) => {
        const label = codec.encode(text + more)
        expect(label).not.toContain("*")
        const back = codec.decode(label)
        if (back !== undefined) expect(back).toBe(text + more)
      }),
    )
    expect(codec.encode("*")).not.toBe(codec.encode("%2A"))
  },
)

it("CloudFront is told it, as it takes tags to the letter", () =>
  expect(TAG_RULES.cloudfront.codec.encode("a*")).toBe("a*"))

it("Akamai is told no character that it disallows", () => {
  expect(TAG_RULES.akamai.codec.encode("post:42/a*b;{c}")).toBe("post%3A42%2Fa%2Ab%3B%7Bc%7D")
})

it("a namespace has a label of its own, which no tag of a user can be", () => {
  expect(namespaceTag("catalog/products")).toBe("ns/catalog/products")
})

it("namespaces are known by their labels in any header, with or without a prefix", () => {
  const headers = new Map([
    ["cache-tag", "post-1,ns/blog,de:ns/shop/books,ns/blog/+"],
    ["xkey", "ns/news a"],
    ["edge-cache-tag", "ns%2Fdocs"],
  ])
  const found = labelledNamespaces({ get: (name) => headers.get(name) ?? null })
  expect(found.toSorted()).toEqual(["blog", "docs", "news", "shop/books"])
})
