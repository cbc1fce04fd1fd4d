import { describe, expect, it } from "vitest"
import type { Lookup, LookupRequest } from "../protocol/lookup.ts"
import { StoreRefusal } from "./epoch-store.ts"
import { inParts } from "./in-parts.ts"

const asked = (tags: string[] = [], urls: string[] = []) => ({ tags, urls })

/** An answer to a part, of a log that has come as far as told. */
const answer = (part: LookupRequest, last: number, more: Partial<Lookup> = {}): Lookup => ({
  tenant: "default",
  generation: 1,
  last,
  asOf: last,
  namespaces: new Map(
    Array.from(part, ([name, { tags }]) => [
      name,
      { epoch: 0, watermark: last, hard: 0, floor: 0, tags: new Map(tags.map((tag) => [tag, last])) },
    ]),
  ),
  ...more,
})

describe("a look-up in parts", () => {
  it("asks nothing that is no namespace, and no tag that nobody can publish", async () => {
    const parts: LookupRequest[] = []
    const lookup = inParts(async (part) => {
      parts.push(part)
      return answer(part, 1)
    })
    await lookup(
      new Map([
        ["blog", asked(["a", "", " b", "ns/blog", "x".repeat(1_025)])],
        ["no such/../namespace", asked()],
        ["", asked()],
      ]),
    )
    expect(parts).toEqual([new Map([["blog", asked(["a"])]])])
    await expect(lookup(new Map([["", asked()]]))).rejects.toThrow(StoreRefusal)
  })

  it("leaves out what was refused, and fails only where all was", async () => {
    const lookup = inParts(async (part) => {
      if (part.has("secret")) throw new StoreRefusal(403, "no")
      return answer(part, 1)
    })
    const told = await lookup(
      new Map([
        ["blog", asked()],
        ["secret", asked()],
        ["shop", asked()],
      ]),
    )
    expect([...told.namespaces.keys()].toSorted()).toEqual(["blog", "shop"])
    expect(told.refused).toEqual(new Map([["secret", new StoreRefusal(403, "no")]]))
    await expect(lookup(new Map([["secret", asked()]]))).rejects.toMatchObject({
      name: "StoreRefusal",
      status: 403,
      message: "no",
    })
    const away = inParts(() => Promise.reject(new Error("reset")))
    await expect(away(new Map([["blog", asked()]]))).rejects.toThrow("reset")
  })

  it("tells no more of the log than the part that tells least, and every tag", async () => {
    const told: Lookup[] = []
    const lookup = inParts(
      async (part, after) => {
        // The later part is answered of an earlier point, as by a replica that lags.
        const last = 9 - told.length
        const changed = new Map([["blog", new Map([[`changed-${last}`, last]])]])
        told.push(answer(part, last, { after: after ?? 0, changed }))
        return told.at(-1) as Lookup
      },
      { namespaces: 16, selectors: 2 },
    )
    const merged = await lookup(new Map([["blog", asked(["a", "b", "c"], ["https://www.example.com/"])]]), 4)
    expect(told.map(({ last }) => last)).toEqual([9, 8])
    expect(merged).toMatchObject({ last: 8, asOf: 8, after: 4 })
    const { tags, ...row } = merged.namespaces.get("blog") ?? { tags: new Map() }
    expect(row).toMatchObject({ watermark: 8 })
    expect(tags).toEqual(
      new Map([
        ["a", 9],
        ["b", 9],
        ["c", 8],
      ]),
    )
    expect(merged.changed?.get("blog")).toEqual(
      new Map([
        ["changed-8", 8],
        ["changed-9", 9],
      ]),
    )
  })

  it("counts a tag that was dropped between two parts as the floor that this raised", async () => {
    let floor = 0
    const lookup = inParts(
      async (part) => {
        const told = answer(part, 9 + floor)
        const rows = Array.from(
          told.namespaces,
          ([name, row]) => [name, { ...row, floor, tags: new Map() }] as const,
        )
        floor += 5
        return { ...told, namespaces: new Map(rows) }
      },
      { namespaces: 16, selectors: 1 },
    )
    const merged = await lookup(new Map([["blog", asked(["a", "b"])]]))
    expect(merged.last).toBe(9)
    expect(merged.namespaces.get("blog")).toMatchObject({ watermark: 9, floor: 5 })
  })

  it("does not say what changed where one part could not", async () => {
    let nth = 0
    const lookup = inParts(
      async (part) => answer(part, 9, { changed: new Map([["blog", (nth += 1) === 1 ? null : new Map()]]) }),
      { namespaces: 16, selectors: 1 },
    )
    const merged = await lookup(new Map([["blog", asked(["a", "b"])]]))
    expect(merged.changed?.get("blog")).toBeNull()
  })

  it("is no answer where the parts are of two logs", async () => {
    let generation = 0
    const lookup = inParts(async (part) => answer(part, 9, { generation: (generation += 1) }), {
      namespaces: 1,
      selectors: 1,
    })
    const request = new Map([
      ["blog", asked()],
      ["shop", asked()],
    ])
    await expect(lookup(request)).rejects.toThrow("two logs")
  })
})
