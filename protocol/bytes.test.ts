import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  byteLength,
  concatBytes,
  constantTimeEqual,
  fromBase64,
  hmac,
  parseJsonBytes,
  sha256,
  toBase64,
  toBase64Url,
  toHex,
  utf8,
} from "./bytes.ts"

const bytes = fc.uint8Array({ maxLength: 40 })

describe("base64", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(fromBase64(toBase64(value))).toEqual(new Uint8Array(value))
      }),
    )
  })

  // A second text for the same bytes would be a second signature for the same delivery.
  it.each(["QQ", "QR==", "QQ=", "QQ===", "Q Q=", "QQ==\n", "-_8=", "=", "é"])("%j is none", (text) => {
    expect(fromBase64(text)).toBeUndefined()
  })

  it("for urls has neither '+', '/' nor '='", () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(toBase64Url(value)).toMatch(/^[A-Za-z0-9_-]*$/)
      }),
    )
    expect(toBase64Url(new Uint8Array([251, 255]))).toBe("-_8")
  })
})

it("two values are equal when every byte is", () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(constantTimeEqual(a, b)).toBe(toHex(a) === toHex(b))
      expect(constantTimeEqual(a, Uint8Array.from(a))).toBe(true)
    }),
  )
  expect(constantTimeEqual(new Uint8Array([1]), new Uint8Array([1, 0]))).toBe(false)
  // Wherever the one byte is that differs.
  for (const index of [0, 1, 2])
    expect(constantTimeEqual(utf8("abc"), utf8("abc").with(index, 0))).toBe(false)
})

it("texts are equal when they are, and wherever they differ they are not", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 4 }), fc.string({ maxLength: 4 }), (a, b) => {
      expect(constantTimeEqual(a, b)).toBe(a === b)
    }),
  )
  expect(constantTimeEqual("abc", "abc")).toBe(true)
  for (const other of ["xbc", "axc", "abx", "ab", "abcd", ""])
    expect(constantTimeEqual("abc", other)).toBe(false)
})

it("bytes are read as JSON, or as nothing, whatever came before", () => {
  const nothing = ["", "{", "nul", "{} {}"].map(utf8)
  for (const none of [...nothing, new Uint8Array([0xff]), new Uint8Array([0x22, 0xe2, 0x82, 0x22])]) {
    expect(parseJsonBytes(none)).toBeUndefined()
    expect(parseJsonBytes(utf8('{"a":"€"}'))).toEqual({ a: "€" })
  }
  expect([utf8("null"), utf8("0"), utf8("\ufeff[]")].map(parseJsonBytes)).toEqual([null, 0, []])
})

describe("a number", () => {
  const digits = fc.stringMatching(/^-?(?:0|[1-9]\d{0,39})(?:\.\d{0,20}[1-9])?$/)

  it("is the digits that were sent, up to 40 of them, wherever it stands", () => {
    fc.assert(
      fc.property(digits, (number) => {
        const [inList] = parseJsonBytes(utf8(`[${number}]`)) as unknown[]
        const { a, b } = parseJsonBytes(utf8(`{"a": ${number}, "b": [{"c": ${number}}]}`)) as Record<
          string,
          unknown
        >
        expect([inList, a, b].map((each) => JSON.stringify(each).replaceAll(/[^-.\d]/g, ""))).toEqual([
          number,
          number,
          number,
        ])
      }),
      { numRuns: 1_000 },
    )
  })

  it.each([
    ["7", 7],
    ["9007199254740991", 9_007_199_254_740_991],
    ["9007199254740993", "9007199254740993"],
    ["788032119674292922", "788032119674292922"],
    ["42.0", 42],
    ["9007199254740993.00", "9007199254740993"],
    ["1.5", 1.5],
    ["1.50", "1.50"],
    ["0.1234567890123456789", "0.1234567890123456789"],
    ["1e400", "1e400"],
    ["1e-400", "1e-400"],
    ["-0", "-0"],
  ])("%s is %j", (source, value) => {
    expect(parseJsonBytes(utf8(`{"n":${source}}`))).toEqual({ n: value })
  })

  it("is left alone in a text, and in the name of a member", () => {
    const json = '{"788032119674292922":"788032119674292922.0, 1.50","__proto__":{"a":1.50}}'
    expect(JSON.stringify(parseJsonBytes(utf8(json)))).toBe(json.replace(":1.50", ':"1.50"'))
  })

  it.each(["[0788032119674292922]", "[788032119674292922.]", "[1.50.1]", "[--0]"])(
    "is none in %s",
    (none) => {
      expect(parseJsonBytes(utf8(none))).toBeUndefined()
    },
  )
})

it("bytes are joined in order", () => {
  fc.assert(
    fc.property(fc.array(bytes), (parts) => {
      expect(toHex(concatBytes(...parts))).toBe(parts.map((part) => toHex(part)).join(""))
    }),
  )
})

it("a text is counted in bytes of UTF-8", () => {
  expect(["", "a", "é", "日", "😀"].map(byteLength)).toEqual([0, 1, 2, 3, 4])
})

describe("digests", () => {
  it("SHA-256 of nothing is the known one", async () => {
    const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    expect(toHex(await sha256(utf8("")))).toBe(empty)
  })

  /** @see https://www.rfc-editor.org/rfc/rfc4231#section-4.3 and https://www.rfc-editor.org/rfc/rfc2202#section-3 */
  it.each([
    ["SHA-256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"],
    ["SHA-1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"],
  ] as const)("HMAC with %s is as its RFC has it", async (hash, digest) => {
    expect(toHex(await hmac(hash, utf8("Jefe"), utf8("what do ya want for nothing?")))).toBe(digest)
  })
})
