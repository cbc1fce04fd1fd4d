import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  type Lookup,
  lookupCommands,
  lookupJson,
  type LookupRequest,
  MAX_CHANGED,
  parseLookupJson,
  parseNamespaceRow,
  readLookup,
} from "./lookup.ts"

const URL = "https://www.example.com/a"
const request: LookupRequest = new Map([
  ["shop/cart", { tags: ["a", "b"], urls: [URL] }],
  ["shop", { tags: [], urls: [] }],
  ["blog", { tags: ["c"], urls: [] }],
])

describe("the commands of a look-up", () => {
  it("read head and rows first, and each row once; then the tags", () => {
    expect(lookupCommands("acme", request)).toEqual([
      [
        "MGET",
        "tm:{acme}:head",
        "tm:{acme}:n:",
        "tm:{acme}:n:shop",
        "tm:{acme}:n:shop/cart",
        "tm:{acme}:n:blog",
      ],
      ["ZMSCORE", "tm:{acme}:tags:shop/cart", "a", "b", `u:${URL}`],
      ["ZMSCORE", "tm:{acme}:tags:blog", "c"],
      ["MGET", "tm:{acme}:n:shop/cart", "tm:{acme}:n:shop", "tm:{acme}:n:blog"],
    ])
  })

  it("read floors once more after the tags, and only then", () => {
    const alone: LookupRequest = new Map([["blog", { tags: [], urls: [] }]])
    expect(lookupCommands("acme", alone)).toHaveLength(1)
    const told = readLookup(
      "acme",
      new Map([["blog", { tags: ["a"], urls: [] }]]),
      [["100 900 12 -", null, "30 60 5 9"], [null], [], ["30 950 5 45"]],
      0,
      100,
    )
    expect(told.namespaces.get("blog")).toMatchObject({ watermark: 60, floor: 45 })
    const since = (after: number) =>
      readLookup("acme", alone, [["9 90 12 -", null, "30 60 5 9"], [], ["30 95 5 45"]], 0, after).changed
    expect([since(44), since(45)]).toEqual([new Map([["blog", null]]), new Map([["blog", new Map()]])])
  })

  it("ask what changed, one more than is told, of every namespace", () => {
    const asked: LookupRequest = new Map([
      ["shop", { tags: [], urls: [] }],
      ["blog", { tags: ["c"], urls: [] }],
    ])
    const after = ["(7", "+inf", "WITHSCORES", "LIMIT", "0", String(MAX_CHANGED + 1)]
    expect(lookupCommands("acme", asked, 7).slice(1)).toEqual([
      ["ZRANGEBYSCORE", "tm:{acme}:tags:shop", ...after],
      ["ZMSCORE", "tm:{acme}:tags:blog", "c"],
      ["ZRANGEBYSCORE", "tm:{acme}:tags:blog", ...after],
      ["MGET", "tm:{acme}:n:shop", "tm:{acme}:n:blog"],
    ])
  })
})

describe("a look-up", () => {
  const rows = ["100 900 12 -", "30 30 5 9", "20 60 10 8", "40 50 7 6", null]

  it("folds root and ancestors into epoch and hard; watermark and floor are its own", () => {
    const replies = [rows, ["45", null, "48"], ["55"]]
    const lookup = readLookup("acme", request, replies, 1_234)
    expect(lookup).toMatchObject({ tenant: "acme", generation: 100, last: 900, asOf: 1_234 })
    expect(lookup.namespaces.get("shop/cart")).toEqual({
      epoch: 40,
      watermark: 50,
      hard: 10,
      floor: 6,
      tags: new Map([
        ["a", 45],
        [`u:${URL}`, 48],
      ]),
    })
    expect(lookup.namespaces.get("shop")).toEqual({
      epoch: 30,
      watermark: 60,
      hard: 10,
      floor: 8,
      tags: new Map(),
    })
    // Nothing was ever published in it: what was above it still counts.
    expect(lookup.namespaces.get("blog")).toEqual({
      epoch: 30,
      watermark: 30,
      hard: 5,
      floor: 0,
      tags: new Map([["c", 55]]),
    })
    expect(lookup).not.toHaveProperty("changed")
  })

  it("of a store where nothing was ever published has generation 0, and has come as far as the clock", () => {
    const lookup = readLookup(
      "acme",
      new Map([["blog", { tags: ["a"], urls: [] }]]),
      [[null, null, null], [null]],
      1_800_000_000_123,
    )
    expect(lookup).toMatchObject({ generation: 0, last: 1_800_000_000_123_000 })
    expect(lookup.namespaces.get("blog")).toEqual({
      epoch: 0,
      watermark: 0,
      hard: 0,
      floor: 0,
      tags: new Map(),
    })
  })

  it.each([undefined, "", "1 2 3", "1 2 3 4 5", "a b c d"])("takes the row %j for none", (text) => {
    expect(parseNamespaceRow(text)).toEqual({ epoch: 0, watermark: 0, hard: 0, floor: 0 })
  })
})

/** So many tags and their epochs, as Redis answers them. */
const flat = (count: number) => Array.from({ length: count }, (_, index) => [`t${index}`, "260"]).flat()

describe("what changed", () => {
  const asked: LookupRequest = new Map([["blog", { tags: [], urls: [] }]])
  const changed = (after: number, reply: readonly string[]) =>
    readLookup("acme", asked, [["100 900 12 -", null, "30 300 5 200"], reply], 0, after).changed?.get("blog")

  it("is every tag and url since", () => {
    expect(changed(250, ["a", "260", `u:${URL}`, "300"])).toEqual(
      new Map([
        ["a", 260],
        [`u:${URL}`, 300],
      ]),
    )
    expect(changed(300, [])).toEqual(new Map())
  })

  it("is not known below the floor, nor before the generation", () => {
    expect(changed(200, [])).toEqual(new Map())
    expect(changed(199, [])).toBeNull()
    const young = readLookup("acme", asked, [["300 900 12 -", null, "300 300 5 0"], []], 0, 299)
    expect(young.changed?.get("blog")).toBeNull()
  })

  it("is not told where it is too much", () => {
    expect(changed(250, flat(MAX_CHANGED))?.size).toBe(MAX_CHANGED)
    expect(changed(250, flat(MAX_CHANGED + 1))).toBeNull()
  })
})

describe("the answer as JSON", () => {
  const epoch = fc.maxSafeNat()
  const name = fc.oneof(
    fc.constantFrom("blog", "shop/cart", "constructor", "12"),
    fc.stringMatching(/^[A-Za-z0-9]{1,4}$/),
  )
  const tagName = fc.oneof(
    fc.constantFrom("__proto__", "constructor", "12", "a:b", `u:${URL}`),
    fc.string({ minLength: 1 }),
  )
  const epochs = fc.array(fc.tuple(tagName, epoch), { maxLength: 4 }).map((pairs) => new Map(pairs))
  const row = fc.record({ epoch, watermark: epoch, hard: epoch, floor: epoch, tags: epochs })
  const base = {
    tenant: fc.constant("acme"),
    generation: epoch,
    last: epoch,
    asOf: epoch,
    namespaces: fc.array(fc.tuple(name, row), { maxLength: 3 }).map((pairs) => new Map(pairs)),
  }
  const changes = fc.array(fc.tuple(name, fc.option(epochs)), { maxLength: 3 })
  const lookup: fc.Arbitrary<Lookup> = fc.oneof(
    fc.record(base),
    fc.record({ ...base, after: epoch, changed: changes.map((pairs) => new Map(pairs)) }),
  )

  it("comes back as it was", () => {
    fc.assert(
      fc.property(lookup, (told) => {
        expect(parseLookupJson(JSON.parse(JSON.stringify(lookupJson(told))))).toEqual(told)
      }),
    )
  })

  it("is as its documentation says", () => {
    const told = readLookup(
      "acme",
      new Map([["blog", { tags: ["a", "b"], urls: [URL] }]]),
      [
        ["100 900 12 -", null, "30 60 5 9"],
        ["45", null, "48"],
        ["a", "45", `u:${URL}`, "48"],
      ],
      1_234,
      40,
    )
    expect(lookupJson(told)).toEqual({
      tenant: "acme",
      generation: 100,
      last: 900,
      stamp: "100.900",
      asOf: 1_234,
      namespaces: {
        blog: { epoch: 30, watermark: 60, hard: 5, floor: 9, tags: { a: 45 }, urls: { [URL]: 48 } },
      },
      after: 40,
      // Asked from before the generation: not known.
      changed: { blog: null },
    })
  })

  it.each([
    undefined,
    null,
    "text",
    {},
    { tenant: "acme", generation: 1, last: 1, asOf: 1 },
    { tenant: 5, generation: 1, last: 1, asOf: 1, namespaces: {} },
    { tenant: "acme", generation: "1", last: 1, asOf: 1, namespaces: {} },
    { tenant: "acme", generation: 1, last: null, asOf: 1, namespaces: {} },
    { tenant: "acme", generation: 1, last: 1, asOf: 1, namespaces: { blog: null } },
    {
      tenant: "acme",
      generation: 1,
      last: 1,
      asOf: 1,
      namespaces: { blog: { epoch: 1, watermark: 1, hard: 1 } },
    },
    { type: "urn:tidemark:error:unauthorized", status: 401 },
  ])("%j is none", (body) => expect(parseLookupJson(body)).toBeUndefined())
})
