import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { epochToMs, formatStamp, parseEpoch, parseHead, parseStamp } from "./epoch.ts"

const number = fc.maxSafeNat()

describe("a head", () => {
  it("is read as it is written", () => {
    fc.assert(
      fc.property(
        number,
        number,
        number,
        fc.stringMatching(/^[0-9a-f]{16}$|^-$/),
        (generation, epoch, seq, identity) => {
          const text = `${generation} ${epoch} ${seq} ${identity}`
          expect(parseHead(text)).toEqual({ generation, epoch, seq, identity })
        },
      ),
    )
  })

  it.each([
    null,
    undefined,
    "",
    "1 2 3",
    "1 2 3 ",
    "1 2 x -",
    "-1 2 3 -",
    "1 2 3 a b",
    " 1 2 3 -",
    "1.5 2 3 -",
  ])("%j is none", (text) => expect(parseHead(text)).toBeUndefined())
})

describe("a stamp", () => {
  it("comes back as it was written", () => {
    fc.assert(
      fc.property(number, number, (generation, epoch) => {
        expect(parseStamp(formatStamp({ generation, epoch }))).toEqual({ generation, epoch })
      }),
    )
  })

  it.each([
    null,
    undefined,
    "",
    "1",
    "1.",
    ".1",
    "1.2.3",
    "1.-2",
    "1e3.4",
    " 1.2",
    "1.2\n",
    "1.12345678901234567",
  ])("%j is none", (text) => expect(parseStamp(text)).toBeUndefined())
})

describe("an epoch", () => {
  it.each([
    ["0", 0],
    ["1795214162009100", 1_795_214_162_009_100],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
  ])("%j is read exactly", (text, epoch) => expect(parseEpoch(text)).toBe(epoch))

  it.each([undefined, "", "9007199254740992", "12345678901234567", "-1", "1.0", "1e3", "0x1", " 1", "1-0"])(
    "%j is none",
    (text) => expect(parseEpoch(text)).toBeUndefined(),
  )

  it("in milliseconds is not rounded, so that no two epochs become one", () => {
    const epoch = 1_795_214_162_009_101
    expect(epochToMs(epoch)).toBeGreaterThan(epochToMs(epoch - 1))
    expect(epochToMs(epoch)).toBeLessThan(epochToMs(epoch + 1))
  })
})
