import { describe, expect, it } from "vitest"
import {
  headKey,
  laterKey,
  logKey,
  namespaceKey,
  namespacesKey,
  taggedKey,
  tagsKey,
} from "../protocol/keys.ts"
import { lookupCommands, parseNamespaceRow, readLookup } from "../protocol/lookup.ts"
import { resync } from "../protocol/resync.ts"
import { StoreError } from "../protocol/store.ts"
import { admin, open, useLanes, world } from "../test/support/lanes.ts"
import { setNamespaceAside } from "./aside.ts"

useLanes()

/** A tenant in which a tag of the namespace and one of another were published. */
async function tenant() {
  const at = world({})
  await at.publish({ namespace: "blog", tags: ["a"] }, { namespace: "shop", tags: ["a"] })
  const mend = (namespace = "blog", now = 5_000) =>
    setNamespaceAside(open.store, at.tenant, namespace, {
      now,
      invalidate: (name) =>
        resync(open.store, at.config, at.tenant, { namespace: name, by: { relay: "r1" } }),
    })
  const published = async () =>
    ((await admin.xRange(logKey(at.tenant), "-", "+")) ?? []).map(
      ({ message }) => (JSON.parse(message["d"] ?? "{}") as { namespace: string | null }).namespace,
    )
  const lookup = async (name: string) => {
    const request = new Map([[name, { tags: ["a"], urls: [] }]])
    const answer = readLookup(
      at.tenant,
      request,
      await open.store.pipeline(lookupCommands(at.tenant, request)),
      Date.now(),
    )
    const found = answer.namespaces.get(name)
    if (!found) throw new Error("it was not asked for")
    return { ...found, last: answer.last }
  }
  return { at, mend, published, lookup }
}

describe("a namespace whose key in Redis is of another type", () => {
  it.each([
    ["its row", namespaceKey],
    ["its tags", tagsKey],
  ] as const)(
    "%s is set aside, nothing of it is fresh any more, and its publishes are taken again",
    async (_, keyOf) => {
      const { at, mend, published, lookup } = await tenant()
      const key = keyOf(at.tenant, "blog")
      const before = await lookup("shop")
      await admin.del(key)
      await admin.rPush(key, "somebody's")
      await expect(at.publish({ namespace: "blog", tags: ["b"] })).rejects.toThrow(StoreError)
      expect(await mend()).toEqual([key])
      expect(await admin.lRange(`${key}:aside:5000`, 0, -1)).toEqual(["somebody's"])
      expect(await published()).toEqual(["blog", "shop", "blog"])
      const after = await lookup("blog")
      // A stamp of before is below all that there is, and one of now is not.
      expect(after.epoch).toBeGreaterThan(before.last)
      expect(after.last).toBeGreaterThanOrEqual(after.epoch)
      const { last: _last, ...others } = await lookup("shop")
      const { last: _before, ...kept } = before
      expect(others).toEqual(kept)
      await at.publish({ namespace: "blog", tags: ["b"] })
      expect(await mend()).toEqual([])
      expect(await published()).toHaveLength(4)
    },
  )

  it("is not fresh either where its relay ends in between", async () => {
    const { at, lookup } = await tenant()
    const key = namespaceKey(at.tenant, "blog")
    await admin.del(key)
    await admin.rPush(key, "somebody's")
    const ended = setNamespaceAside(open.store, at.tenant, "blog", {
      now: 5_000,
      invalidate: () => Promise.reject(new Error("it was killed")),
    })
    await expect(ended).rejects.toThrow("it was killed")
    const { watermark, epoch, last } = await lookup("blog")
    expect(Math.min(watermark, epoch)).toBeGreaterThan(last)
    const row = parseNamespaceRow((await admin.get(key)) ?? "")
    expect(row).toEqual({ epoch, watermark: epoch, hard: epoch, floor: epoch })
  })

  it("and so is the root's, for which all of the tenant is invalidated", async () => {
    const { at, mend, published } = await tenant()
    const key = namespaceKey(at.tenant, "")
    await admin.rPush(key, "somebody's")
    await expect(at.publish({ namespace: "shop" })).rejects.toThrow(key)
    expect(await mend()).toEqual([key])
    expect(await published()).toEqual(["blog", "shop", null])
  })

  it("and passes, whose invalidations were put off", async () => {
    const { at, mend, published } = await tenant()
    await admin.rPush(laterKey(at.tenant), "somebody's")
    expect(await mend()).toEqual([laterKey(at.tenant)])
    expect(await published()).toEqual(["blog", "shop", null])
  })

  it("and what is only counted, for which nothing is", async () => {
    const { at, mend, published } = await tenant()
    for (const key of [namespacesKey(at.tenant), taggedKey(at.tenant)]) {
      await admin.del(key)
      await admin.rPush(key, "somebody's")
    }
    expect(await mend()).toEqual([namespacesKey(at.tenant), taggedKey(at.tenant)])
    expect(await published()).toEqual(["blog", "shop"])
  })

  it("is left alone where all is as it should be", async () => {
    const { at, mend, published } = await tenant()
    const head = await admin.get(headKey(at.tenant))
    expect(await mend()).toEqual([])
    expect(await admin.get(headKey(at.tenant))).toBe(head)
    expect(await published()).toHaveLength(2)
  })
})
