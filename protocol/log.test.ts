import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type EntryBody, NO_SELECTORS } from "./invalidation.ts"
import { decodeBody, encodeBody, parseLogEntries, parseLogEntry } from "./log.ts"

const texts = fc.array(fc.string(), { maxLength: 3 })
const body: fc.Arbitrary<EntryBody> = fc.record(
  {
    kind: fc.constantFrom("invalidation" as const, "resync" as const),
    namespace: fc.constantFrom("blog", "a/b", null),
    mode: fc.constantFrom("invalidate" as const, "purge" as const),
    by: fc.constantFrom({ token: "deploy" }, { source: "cms" }, { relay: "relay-1" }),
    tags: texts,
    urls: texts,
    prefixes: texts,
    hosts: texts,
    reason: fc.string(),
    settling: fc.constant(true as const),
    pass: fc.record({ kind: fc.constantFrom("settle" as const, "second" as const), of: fc.maxSafeNat() }),
  },
  { requiredKeys: ["kind", "namespace", "mode", "by", "tags", "urls", "prefixes", "hosts"] },
)

describe("a body", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(body, (entry) => {
        expect(decodeBody(encodeBody(entry))).toEqual(entry)
      }),
    )
  })

  it("is stored without its empty lists", () => {
    const text = encodeBody({
      kind: "invalidation",
      namespace: "blog",
      mode: "purge",
      by: { token: "deploy" },
      ...NO_SELECTORS,
      tags: ["a"],
    })
    expect(text).toBe(
      '{"kind":"invalidation","namespace":"blog","mode":"purge","by":{"token":"deploy"},"tags":["a"]}',
    )
  })

  // The wider thing: an entry that a lane could not read would otherwise stop it, or be purged nowhere.
  it.each([
    "",
    "{",
    "null",
    "5",
    '"text"',
    "[]",
    "{}",
    '{"kind":"other","namespace":"blog","mode":"purge"}',
    '{"kind":"invalidation","mode":"purge"}',
    '{"kind":"invalidation","namespace":5,"mode":"purge"}',
    '{"kind":"invalidation","namespace":"blog","mode":"harder"}',
    '{"kind":"invalidation","namespace":"blog","mode":"purge","tags":"a"}',
  ])("that is %j is taken for a resync", (text) => {
    expect(decodeBody(text)).toMatchObject({ kind: "resync", namespace: null, ...NO_SELECTORS })
  })
})

describe("an entry", () => {
  const d = '{"kind":"invalidation","namespace":"blog","mode":"purge","by":{"token":"deploy"}}'

  it("is read from its id and its fields, whatever their order", () => {
    expect(parseLogEntry(["1795214162009100-0", ["d", d, "s", "7", "v", "1", "g", "12"]])).toMatchObject({
      epoch: 1_795_214_162_009_100,
      generation: 12,
      seq: 7,
      body: { namespace: "blog", mode: "purge", tags: [] },
    })
  })

  it("of a version to come keeps its place and is taken for a resync", () => {
    expect(parseLogEntry(["5-0", ["v", "2", "g", "1", "s", "3", "d", d]])).toMatchObject({
      epoch: 5,
      generation: 1,
      seq: 3,
      body: { kind: "resync", namespace: null },
    })
  })

  it("without a place in the log is none: its reader sees a gap", () => {
    const whole = ["5-0", ["v", "1", "g", "1", "s", "3", "d", d]]
    const replies = [
      whole,
      ["6-0", ["v", "1", "d", d]],
      ["x-0", ["v", "1", "g", "1", "s", "4"]],
      null,
      "text",
    ]
    expect(parseLogEntries(replies).map(({ seq }) => seq)).toEqual([3])
    expect(parseLogEntries(undefined)).toEqual([])
  })
})
