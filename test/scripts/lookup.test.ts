import { describe, expect, it } from "vitest"
import type { Stamp } from "../../protocol/epoch.ts"
import { askedTags, isFresh, isServable, stampOf } from "../../protocol/freshness.ts"
import type { EntryBody } from "../../protocol/invalidation.ts"
import { headKey } from "../../protocol/keys.ts"
import { type Lookup, lookupCommands, type LookupRequest, readLookup } from "../../protocol/lookup.ts"
import { epochOf, plan, record, TENANT, useRedis } from "./support.ts"

const host = useRedis()

const URL = "https://www.example.com/a"
const OTHER_URL = "https://www.example.com/b"

/** In milliseconds. */
const ASKED_AT = 1_800_000_000_000

/** What an entry depends on: the namespace `shop/cart`, a tag of it, and its url. */
const DEPENDS = { tags: ["a", "b"], urls: [URL] }

async function look(
  request: LookupRequest = new Map([["shop/cart", DEPENDS]]),
  after?: number,
): Promise<Lookup> {
  return readLookup(
    TENANT,
    request,
    await host.store.pipeline(lookupCommands(TENANT, request, after)),
    ASKED_AT,
    after,
  )
}

/** The stamp for an entry that is filled now. */
const fill = async (): Promise<Stamp> => stampOf(await look())

async function judge(
  stamp: Stamp,
  namespace = "shop/cart",
  depends: { tags?: string[]; urls?: string[] } = DEPENDS,
): Promise<{ fresh: boolean; servable: boolean }> {
  const { tags = [], urls = [] } = depends
  const lookup = await look(new Map([[namespace, { tags, urls }]]))
  const epochs = lookup.namespaces.get(namespace)
  if (!epochs) throw new Error("the namespace was not answered")
  const answer = { ...epochs, generation: lookup.generation, last: lookup.last }
  return { fresh: isFresh(stamp, answer, askedTags(depends)), servable: isServable(stamp, answer) }
}

describe("an entry filled before a publish", () => {
  // Urls, prefixes, hosts and everything once raised no epoch that a reader could ask for: fresh for ever.
  it.each<[string, Partial<EntryBody>]>([
    ["its tag", { tags: ["b"] }],
    ["its url", { urls: [URL] }],
    ["a prefix of its namespace", { prefixes: ["https://www.example.com/"] }],
    ["a host of its namespace", { hosts: ["www.example.com"] }],
    ["its namespace", {}],
    ["the namespace above", { namespace: "shop" }],
    ["a prefix of the namespace above", { namespace: "shop", prefixes: ["https://www.example.com/"] }],
    ["everything", { namespace: null }],
  ])("of %s is stale after it, and gone after a hard one; one filled after it is fresh", async (_, body) => {
    await epochOf(host.store, { namespace: "shop/cart" })
    const before = await fill()
    expect(await judge(before)).toEqual({ fresh: true, servable: true })
    await epochOf(host.store, { namespace: "shop/cart", ...body })
    expect(await judge(before)).toEqual({ fresh: false, servable: true })
    const between = await fill()
    expect(await judge(between)).toEqual({ fresh: true, servable: true })
    await epochOf(host.store, { namespace: "shop/cart", ...body, mode: "purge" })
    expect(await judge(between)).toEqual({ fresh: false, servable: false })
    expect(await judge(await fill())).toEqual({ fresh: true, servable: true })
  })

  it.each<[string, Partial<EntryBody>]>([
    ["another tag", { tags: ["c"] }],
    ["another url", { urls: [OTHER_URL] }],
    ["its tag in the namespace above, as tags do not nest", { namespace: "shop", tags: ["a"] }],
    ["another namespace", { namespace: "blog" }],
    ["a namespace whose name begins alike", { namespace: "shop/carts" }],
    ["a namespace below", { namespace: "shop/cart/items" }],
  ])("of %s stays fresh", async (_, body) => {
    await epochOf(host.store, { namespace: "shop/cart" })
    const stamp = await fill()
    await epochOf(host.store, { namespace: "shop/cart", ...body })
    expect(await judge(stamp)).toEqual({ fresh: true, servable: true })
  })

  it("is never fresh where nothing was ever published before: there is no log", async () => {
    const stamp = await fill()
    expect(stamp).toEqual({ generation: 0, epoch: ASKED_AT * 1_000 })
    expect(await judge(stamp)).toEqual({ fresh: false, servable: false })
    await epochOf(host.store, { namespace: "shop/cart", tags: ["c"] })
    // The log began since: what was before it is not known.
    expect(await judge(stamp)).toEqual({ fresh: false, servable: false })
  })

  it("is stale in a log that was begun anew, though the clock is behind", async () => {
    await epochOf(host.store, { namespace: "shop/cart" }, { clock: 1_005 })
    const stamp = await fill()
    await host.command("FLUSHALL")
    await epochOf(host.store, { namespace: "shop/cart", tags: ["a"] }, { clock: 1_002 })
    expect(await judge(stamp)).toEqual({ fresh: false, servable: false })
  })
})

describe("a tag that was dropped", () => {
  it("counts as the floor: of five with room for three, two are stale with it and three are judged by themselves", async () => {
    const tags = ["a", "b", "c", "d", "e"]
    const stamps = new Map<string, Stamp>()
    for (const tag of tags) {
      await record(host.store, [plan({ tags: [tag] }, { maxTags: 3 })])
      const lookup = await look()
      stamps.set(tag, stampOf(lookup))
    }
    const fresh = async (tag: string, filledAfter: string) => {
      const stamp = stamps.get(filledAfter)
      if (!stamp) throw new Error(`nothing was filled after ${filledAfter}`)
      return (await judge(stamp, "blog", { tags: [tag] })).fresh
    }
    // Known singly: fresh from their own epoch on, though others came later.
    for (const tag of ["c", "d", "e"]) expect([tag, await fresh(tag, tag)]).toEqual([tag, true])
    expect(await fresh("d", "c")).toBe(false)
    // No longer: what was filled when a came may also have been filled before a tag that was dropped with it.
    expect(await fresh("a", "a")).toBe(false)
    expect(await fresh("a", "b")).toBe(true)
    expect(await fresh("never heard of", "a")).toBe(false)
    expect(await fresh("never heard of", "b")).toBe(true)
  })
})

describe("what changed", () => {
  it("is told since any epoch of the log, and not from before it", async () => {
    const born = await epochOf(host.store, { tags: ["a", "b"] })
    const next = await epochOf(host.store, { tags: ["b"], urls: [URL] })
    const changed = async (after: number) =>
      (await look(new Map([["blog", { tags: ["a"], urls: [] }]]), after)).changed?.get("blog")
    expect(await changed(next)).toEqual(new Map())
    expect(await changed(born)).toEqual(
      new Map([
        ["b", next],
        [`u:${URL}`, next],
      ]),
    )
    expect(await changed(born - 1)).toBeNull()
  })
})

it("a head that is damaged is none: nothing is fresh under it", async () => {
  await epochOf(host.store, { namespace: "shop/cart" })
  const stamp = await fill()
  await host.command("SET", headKey(TENANT), "damaged")
  expect(await judge(stamp)).toEqual({ fresh: false, servable: false })
})
