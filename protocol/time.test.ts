import { describe, expect, it } from "vitest"
import { DAY, HOUR, isoTime, MINUTE, parseDuration, SECOND } from "./time.ts"

describe("a duration", () => {
  it.each([
    ["0", 0],
    ["0ms", 0],
    ["500ms", 500],
    ["30s", 30 * SECOND],
    ["5m", 5 * MINUTE],
    ["24h", 24 * HOUR],
    ["7d", 7 * DAY],
    ["007d", 7 * DAY],
    ["999999999999ms", 999_999_999_999],
  ])("%j is %i ms", (text, length) => expect(parseDuration(text)).toBe(length))

  it.each([
    "",
    "5",
    "00",
    "s",
    "-1s",
    "+1s",
    "1.5s",
    "1e3s",
    "1 s",
    " 1s",
    "1s ",
    "1s\n",
    "1S",
    "1w",
    "1h30m",
    "PT5M",
    "٣s",
    "1234567890123ms",
    "__proto__",
  ])("%j is none", (text) => expect(parseDuration(text)).toBeUndefined())
})

it("a time of day is ISO 8601 in UTC, to the millisecond", () => {
  expect(isoTime(1_800_000_000_123)).toBe("2027-01-15T08:00:00.123Z")
  // Epochs are microseconds: the rest of a millisecond is not shown.
  expect(isoTime(1_800_000_000_123.999)).toBe("2027-01-15T08:00:00.123Z")
})
