import { describe, expect, it } from "vitest"
import { MAX_BATCH } from "../protocol/invalidation.ts"
import { namespaceKey, taggedKey, tagsKey } from "../protocol/keys.ts"
import { parseNamespaceRow } from "../protocol/lookup.ts"
import type { Store } from "../protocol/store.ts"
import { DAY } from "../protocol/time.ts"
import { admin, open, useLanes, world } from "../test/support/lanes.ts"
import { sweepTags } from "./sweep.ts"

useLanes()

type World = ReturnType<typeof world>

const sweep = (at: World, store: Store = open.store) =>
  sweepTags({ store, tenant: at.tenant, config: at.config })
const count = (at: World, namespace: string) => admin.zCard(tagsKey(at.tenant, namespace))
const rowOf = async (at: World, namespace: string) =>
  parseNamespaceRow((await admin.get(namespaceKey(at.tenant, namespace))) ?? "")

describe("tags of a namespace in which nothing is published any more", () => {
  it.each([
    ["of itself", { namespace: "blog" }],
    ["of one above it", { namespace: "shop" }],
    ["of everything", { everything: true }],
  ] as const)("go after an invalidation %s, and the floor says what they said", async (what, whole) => {
    const at = world({ namespaces: { "*": {} } })
    const name = what === "of one above it" ? "shop/cart" : "blog"
    await at.publish({ namespace: name, tags: ["a", "b"] }, { namespace: "other", tags: ["a"] })
    const [{ epoch } = { epoch: 0 }] = await at.publish({ namespace: name, tags: ["b"] })
    await at.publish(whole)
    await sweep(at)
    expect(await count(at, name)).toBe(0)
    expect((await rowOf(at, name)).floor).toBe(epoch)
    const isAll = "everything" in whole
    expect(await count(at, "other")).toBe(isAll ? 0 : 1)
    expect(await admin.hKeys(taggedKey(at.tenant))).toEqual(isAll ? [] : [tagsKey(at.tenant, "other")])
  })

  it("go when they are older than an entry may be, one by one", async () => {
    const at = world({ namespaces: { "*": { maxCacheTtl: "1h" } } })
    await at.publish({ namespace: "blog", tags: ["a"] })
    const old = (Date.now() - DAY) * 1_000
    await admin.zAdd(tagsKey(at.tenant, "blog"), { score: old, value: "old" })
    await sweep(at)
    expect(await admin.zRange(tagsKey(at.tenant, "blog"), 0, -1)).toEqual(["a"])
    expect((await rowOf(at, "blog")).floor).toBe(old)
  })

  it("stay where they are what is known", async () => {
    const at = world({ namespaces: { "*": {} } })
    await at.publish({ everything: true }, { namespace: "blog" }, { namespace: "blog", tags: ["a", "b"] })
    const before = await rowOf(at, "blog")
    await sweep(at)
    expect(await count(at, "blog")).toBe(2)
    expect(await rowOf(at, "blog")).toEqual(before)
  })

  it("go a thousand a script where others stay, and all at once where none does", async () => {
    const at = world({ namespaces: { "*": { maxCacheTtl: "1h" } } })
    await at.publish({ namespace: "blog", tags: ["young"] }, { namespace: "shop", tags: ["a"] })
    const old = (Date.now() - DAY) * 1_000
    const many = Array.from({ length: 3_500 }, (_, nth) => ({ score: old + nth, value: `old-${nth}` }))
    await admin.zAdd(tagsKey(at.tenant, "blog"), many)
    await admin.zAdd(tagsKey(at.tenant, "shop"), many)
    await at.publish({ namespace: "shop" })
    // A publish takes a thousand away itself.
    await admin.zAdd(tagsKey(at.tenant, "shop"), many)
    await admin.hSet(taggedKey(at.tenant), tagsKey(at.tenant, "shop"), "")
    const left: unknown[] = []
    const store: Store = {
      ...open.store,
      async script(...asked) {
        const reply = await open.store.script(...asked)
        left.push([reply, await count(at, "blog"), await count(at, "shop")])
        return reply
      },
    }
    await sweep(at, store)
    expect(left).toEqual([
      [2_500, 2_501, 0],
      [1_500, 1_501, 0],
      [500, 501, 0],
      [0, 1, 0],
    ])
  })

  it("are looked at fifty namespaces a script", async () => {
    const at = world({ namespaces: { "*": {} } })
    const names = Array.from({ length: MAX_BATCH }, (_, nth) => ({ namespace: `n${nth}`, tags: ["a"] }))
    await at.publish(...names)
    await at.publish({ everything: true })
    let scripts = 0
    await sweep(at, {
      ...open.store,
      script(...asked) {
        scripts += 1
        return open.store.script(...asked)
      },
    })
    expect(scripts).toBe(2)
    expect(
      await admin.exists([
        taggedKey(at.tenant),
        ...names.map(({ namespace }) => tagsKey(at.tenant, namespace)),
      ]),
    ).toBe(0)
  })
})
