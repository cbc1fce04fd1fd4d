import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { namespaceTag, PORTABLE_CODEC, TAG_HEADERS, tagCodec } from "./tags.ts"

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
  PORTABLE_CODEC,
  tagCodec({ allowed: /^[A-Za-z]$/, maxBytes: 10_000 }),
  tagCodec({ allowed: /^[%0-9a-f]$/, maxBytes: 10_000 }),
  tagCodec({ allowed: /^[^,]$/u, maxBytes: 10_000 }),
]

describe.each(codecs)("codec %#", (codec) => {
  it("gives every tag back", () => {
    fc.assert(
      fc.property(tag, (text) => {
        const label = codec.encode(text)
        if (label !== undefined) expect(codec.decode(label)).toBe(text)
      }),
    )
  })

  it("gives no two tags one label", () => {
    fc.assert(
      fc.property(tag, tag, (a, b) => {
        if (a !== b && codec.encode(a) !== undefined) expect(codec.encode(a)).not.toBe(codec.encode(b))
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

  it("uses nothing that separates labels in any header, nor anything a header may not hold", () => {
    expect([...new Set(Object.values(TAG_HEADERS))].toSorted()).toEqual([" ", ","])
    fc.assert(
      fc.property(tag, (text) => {
        expect(PORTABLE_CODEC.encode(text) ?? "").toMatch(/^[\x21-\x2b\x2d-\x7e]*$/)
      }),
    )
  })

  it("says nothing of a tag that would be too long there", () => {
    expect(PORTABLE_CODEC.encode("x".repeat(1_024))).toHaveLength(1_024)
    expect(PORTABLE_CODEC.encode("x".repeat(1_025))).toBeUndefined()
    // 342 bytes of the tag, 1,026 of the label.
    expect(PORTABLE_CODEC.encode("é".repeat(171))).toBeUndefined()
  })
})

it("a namespace has a label of its own, which no tag of a user can be", () => {
  expect(namespaceTag("catalog/products")).toBe("ns/catalog/products")
})
