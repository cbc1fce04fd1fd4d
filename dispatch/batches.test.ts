import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { Mode } from "../protocol/invalidation.ts"
import { PORTABLE_CODEC } from "../protocol/tag-rules.ts"
import { type Bundle, cut, halves, toBatch } from "./batches.ts"
import type { Item } from "./plan.ts"
import type { Capabilities, Kind } from "./targets/target.ts"

const BOTH: readonly Mode[] = ["invalidate", "purge"]

const limited = (tag: number, url: number, rest: Partial<Capabilities> = {}): Capabilities => ({
  kinds: {
    tag: { modes: BOTH, batch: tag },
    url: { modes: BOTH, batch: url },
    everything: { modes: BOTH, batch: 1 },
  },
  mixed: false,
  tags: PORTABLE_CODEC,
  ...rest,
})

const item = (
  kind: Kind,
  value: string,
  mode: Mode = "invalidate",
  epochs: readonly number[] = [1],
): Item => ({
  kind,
  value,
  meant: value,
  mode,
  namespaces: ["blog"],
  epochs,
})

const tags = (count: number, mode: Mode = "invalidate") =>
  Array.from({ length: count }, (_, index) => item("tag", `${mode}-${index}`, mode))
const urls = (count: number) =>
  Array.from({ length: count }, (_, index) => item("url", `https://www.example.com/${index}`))

const sizes = (bundles: readonly Bundle[]) =>
  bundles.map(({ mode, items }) => `${mode} ${items[0]?.kind} ${items.length}`)

/** What the vendor counts: values joined by one byte each. */
const bytesOf = ({ items }: Bundle) =>
  items.reduce((sum, { value }) => sum + new TextEncoder().encode(value).length + 1, 0)

describe("cutting", () => {
  it.each([
    [0, []],
    [1, ["invalidate tag 1"]],
    [100, ["invalidate tag 100"]],
    [101, ["invalidate tag 100", "invalidate tag 1"]],
    [300, ["invalidate tag 100", "invalidate tag 100", "invalidate tag 100"]],
  ])("puts %i tags into as few calls as a hundred each allow", (count, expected) => {
    expect(sizes(cut(tags(count), limited(100, 30)))).toEqual(expected)
  })

  it("keeps to the bytes of a kind, where it has fewer of its own", () => {
    const kinds = { tag: { modes: BOTH, batch: 5, maxBytes: 25 }, url: { modes: BOTH, batch: 4 } }
    const bundles = cut([...tags(3), ...urls(3)], limited(1, 1, { kinds, maxBytes: 100 }))
    expect(sizes(bundles)).toEqual([
      "invalidate tag 1",
      "invalidate tag 1",
      "invalidate tag 1",
      "invalidate url 3",
    ])
    expect(bundles.map(bytesOf)).toEqual([13, 13, 13, 78])
  })

  it("makes a call a kind and a mode", () => {
    const mixedUp = [tags(2), urls(2), tags(2, "purge"), urls(1)].flat()
    expect(sizes(cut(mixedUp, limited(100, 30)))).toEqual([
      "invalidate tag 2",
      "invalidate url 3",
      "purge tag 2",
    ])
  })

  it("keeps to each kind's own limit", () => {
    expect(sizes(cut([...tags(4), ...urls(4)], limited(3, 2)))).toEqual([
      "invalidate tag 3",
      "invalidate tag 1",
      "invalidate url 2",
      "invalidate url 2",
    ])
  })

  it("puts several kinds into one call where the target takes them so, within the smallest limit", () => {
    const kinds = { tag: { modes: BOTH, batch: 5 }, url: { modes: BOTH, batch: 4 } }
    const bundles = cut([...tags(3), ...urls(3), ...tags(1, "purge")], limited(1, 1, { kinds, mixed: true }))
    expect(bundles.map(({ mode, items }) => [mode, items.length])).toEqual([
      ["invalidate", 4],
      ["invalidate", 2],
      ["purge", 1],
    ])
  })

  it("counts bytes, not characters", () => {
    const items = ["ää", "bb", "cccc"].map((value) => item("tag", value))
    expect(cut(items, limited(100, 100, { maxBytes: 8 })).map((bundle) => bundle.items.length)).toEqual([
      2, 1,
    ])
    expect(cut(items, limited(100, 100, { maxBytes: 7 })).map((bundle) => bundle.items.length)).toEqual([
      1, 1, 1,
    ])
  })

  it("sends alone what is too long for any call, as nobody else can say what the vendor makes of it", () => {
    const items = [item("tag", "a"), item("tag", "much too long"), item("tag", "b")]
    expect(cut(items, limited(100, 100, { maxBytes: 5 })).map(({ items: [first] }) => first?.value)).toEqual([
      "a",
      "much too long",
      "b",
    ])
  })

  const anyItem = fc.record({
    kind: fc.constantFrom<Kind>("tag", "url", "everything"),
    value: fc.string({ unit: "binary", minLength: 1, maxLength: 12 }),
    mode: fc.constantFrom<Mode>("invalidate", "purge"),
  })
  const anyItems = fc
    .uniqueArray(anyItem, { selector: ({ kind, value }) => `${kind} ${value}`, maxLength: 60 })
    .map((drawn) => drawn.map(({ kind, value, mode }) => item(kind, value, mode)))

  it("loses nothing, repeats nothing, and mixes no modes and kinds", () => {
    fc.assert(
      fc.property(
        anyItems,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        (items, tag, url, mixed) => {
          const bundles = cut(items, limited(tag, url, { mixed, maxBytes: 40 }))
          const keyed = (all: readonly Item[]) => all.map(({ kind, value }) => `${kind} ${value}`).toSorted()
          expect(keyed(bundles.flatMap((bundle) => bundle.items))).toEqual(keyed(items))
          for (const bundle of bundles) {
            const limits = mixed
              ? [tag, url, 1]
              : [{ tag, url, everything: 1 }[bundle.items[0]?.kind as "tag"]]
            expect(bundle.items.length).toBeGreaterThan(0)
            expect(bundle.items.length).toBeLessThanOrEqual(Math.min(...limits))
            expect(new Set(bundle.items.map((one) => one.mode))).toEqual(new Set([bundle.mode]))
            if (!mixed) expect(new Set(bundle.items.map((one) => one.kind)).size).toBe(1)
            if (bundle.items.length > 1) expect(bytesOf(bundle)).toBeLessThanOrEqual(40)
          }
        },
      ),
    )
  })

  it("makes no more calls than the limits force it to", () => {
    fc.assert(
      fc.property(
        anyItems,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 9 }),
        (items, tag, url) => {
          const limits = { tag, url, everything: 1 }
          const least = BOTH.flatMap((mode) =>
            (["tag", "url", "everything"] as const).map((kind) => {
              const count = items.filter((one) => one.kind === kind && one.mode === mode).length
              return Math.ceil(count / limits[kind])
            }),
          ).reduce((sum, count) => sum + count, 0)
          expect(cut(items, limited(tag, url))).toHaveLength(least)
        },
      ),
    )
  })

  it("never leaves two neighbours that would have fitted into one call", () => {
    fc.assert(
      fc.property(anyItems, (items) => {
        const bundles = cut(items, limited(9, 9, { maxBytes: 30 }))
        for (const [index, bundle] of bundles.entries()) {
          const next = bundles[index + 1]
          const first = next?.items[0]
          if (!next || !first || next.mode !== bundle.mode || first.kind !== bundle.items[0]?.kind) continue
          const together = bytesOf({ ...bundle, items: [...bundle.items, first] })
          const limit = first.kind === "everything" ? 1 : 9
          expect(bundle.items.length === limit || together > 30).toBe(true)
        }
      }),
    )
  })
})

describe("halving", () => {
  it("makes two of the same mode, in order, none of them empty", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 50 }), fc.constantFrom(...BOTH), (count, mode) => {
        const items = tags(count, mode)
        const [left, right] = halves({ mode, items })
        expect([...(left?.items ?? []), ...(right?.items ?? [])]).toEqual(items)
        expect([left?.mode, right?.mode]).toEqual([mode, mode])
        expect(Math.abs((left?.items.length ?? 0) - (right?.items.length ?? 0))).toBeLessThanOrEqual(1)
        expect(Math.min(left?.items.length ?? 0, right?.items.length ?? 0)).toBeGreaterThan(0)
      }),
    )
  })
})

describe("the call that a bundle is", () => {
  const bundle: Bundle = {
    mode: "purge",
    items: [item("tag", "a", "purge", [5, 3]), item("tag", "b", "purge", [9])],
  }

  it("has the same id for the same content, and no other one has it", async () => {
    const { id } = await toBatch("default", "edge", bundle)
    expect(id).toMatch(/^inv_[0-9a-f]{32}$/)
    expect((await toBatch("default", "edge", structuredClone(bundle))).id).toBe(id)
    const [a, b] = bundle.items
    if (!a || !b) throw new Error("they are there")
    const others = await Promise.all([
      toBatch("other", "edge", bundle),
      toBatch("default", "edge-2", bundle),
      toBatch("default", "edge", { ...bundle, mode: "invalidate" }),
      toBatch("default", "edge", { mode: "purge", items: [a] }),
      toBatch("default", "edge", { mode: "purge", items: [a, { ...b, value: "c" }] }),
      toBatch("default", "edge", { mode: "purge", items: [a, { ...b, kind: "url" }] }),
      toBatch("default", "edge", { mode: "purge", items: [a, { ...b, namespaces: ["shop"] }] }),
      // Published again since: what was accepted before does not cover it.
      toBatch("default", "edge", { mode: "purge", items: [a, { ...b, epochs: [9, 10] }] }),
    ])
    expect(new Set([id, ...others.map((other) => other.id)]).size).toBe(others.length + 1)
  })

  it("names what the vendor is told, and the epochs that it covers", async () => {
    expect(await toBatch("default", "edge", bundle)).toMatchObject({
      mode: "purge",
      tenant: "default",
      epochs: { first: 3, last: 9 },
      values: [
        { kind: "tag", value: "a", namespaces: ["blog"] },
        { kind: "tag", value: "b", namespaces: ["blog"] },
      ],
    })
  })

  it("takes a backlog's epochs", async () => {
    const epochs = Array.from({ length: 300_000 }, (_, index) => index + 1)
    const batch = await toBatch("default", "edge", {
      mode: "purge",
      items: [item("tag", "a", "purge", epochs)],
    })
    expect(batch.epochs).toEqual({ first: 1, last: 300_000 })
  })
})
