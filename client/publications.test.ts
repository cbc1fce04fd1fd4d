import { describe, expect, it } from "vitest"
import { byteLength } from "../protocol/bytes.ts"
import { MAX_BODY_BYTES, MAX_SELECTORS, parseInvalidation } from "../protocol/invalidation.ts"
import { publicationsOf, publishEach, type SelectorLists } from "./publications.ts"

const many = (count: number, value: (nth: number) => string) =>
  Array.from({ length: count }, (_, nth) => value(nth))

describe("publications", () => {
  it.each<[string, SelectorLists, number]>([
    ["few tags", { tags: ["a", "b"] }, 1],
    ["as many tags as one takes", { tags: many(1_000, (nth) => `t${nth}`) }, 1],
    ["one more", { tags: many(1_001, (nth) => `t${nth}`) }, 2],
    ["tags and urls, counted together", { tags: many(600, (nth) => `t${nth}`), urls: many(600, url) }, 2],
    ["the longest tags", { tags: many(1_000, (nth) => String(nth).padEnd(1_024, "x")) }, 5],
    ["tags that JSON writes twice as long", { tags: many(1_000, (nth) => `${nth}${'"'.repeat(1_000)}x`) }, 9],
    ["tags of few characters and many bytes", { tags: many(1_000, (nth) => `${nth}${"🌊".repeat(255)}`) }, 5],
    ["the longest urls", { urls: many(400, (nth) => url(nth).padEnd(2_048, "x")) }, 4],
    ["prefixes and hosts", { prefixes: ["https://a.example/b/"], hosts: ["a.example"] }, 1],
  ])("of %s are each accepted, and lose nothing", (_, lists, count) => {
    const publications = publicationsOf("blog", lists)
    expect(publications).toHaveLength(count)
    for (const publication of publications) {
      const body = { ...publication, mode: "invalidate", reason: "x".repeat(200) }
      expect(parseInvalidation(body)).not.toHaveProperty("errors")
      expect(byteLength(JSON.stringify(body))).toBeLessThanOrEqual(MAX_BODY_BYTES)
      expect(Object.values({ ...publication, namespace: [] }).flat().length).toBeLessThanOrEqual(
        MAX_SELECTORS,
      )
    }
    const together: Record<string, unknown> = {}
    for (const publication of publications)
      for (const [name, list] of Object.entries(publication))
        if (Array.isArray(list)) together[name] = [...((together[name] ?? []) as string[]), ...list]
    expect(together).toEqual(lists)
  })

  it("hold each selector once, and no list that is empty", () => {
    expect(publicationsOf("blog", { tags: ["a", "b", "a"], urls: [] })).toEqual([
      { namespace: "blog", tags: ["a", "b"] },
    ])
  })

  it.each([{ tags: ["a", "ns/b"] }, { tags: [" padded "], urls: ["https://a.example/"] }])(
    "of %j are the whole namespace",
    (lists) => {
      expect(publicationsOf("blog", lists)).toEqual([{ namespace: "blog" }])
    },
  )

  it("of nothing are none, and not the whole namespace", () => {
    expect(publicationsOf("blog", { tags: [], urls: [] })).toEqual([])
  })
})

it("publishes the others when one fails, and then throws what the first failed by", async () => {
  const done: number[] = []
  const publishing = publishEach([1, 2, 3, 4], async (one) => {
    if (one % 2 === 0) throw new Error(`no ${one}`)
    done.push(one)
  })
  await expect(publishing).rejects.toThrow("no 2")
  expect(done).toEqual([1, 3])
})

function url(nth: number): string {
  return `https://www.example.com/${nth}`
}
