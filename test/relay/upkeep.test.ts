import { describe, expect, it } from "vitest"
import {
  headKey,
  laterKey,
  logKey,
  namespaceKey,
  taggedKey,
  tagsKey,
  wakeChannel,
} from "../../protocol/keys.ts"
import { StoreError } from "../../protocol/store.ts"
import { DAY, SECOND } from "../../protocol/time.ts"
import { type RestingRelay, restingRelay, tenantName } from "../support/resting-relay.ts"
import { poll } from "./stage.ts"

const TENANT = tenantName(0)
const ROW = namespaceKey(TENANT, "blog")
const publish = (one: RestingRelay, ...tags: string[]) => one.press().publish({ namespace: "blog", tags })

/** Puts something else under a key. */
async function breakKey(one: RestingRelay, key: string): Promise<void> {
  await one.admin.del(key)
  await one.admin.rPush(key, "somebody's")
}

/** That a publish is refused, as often as a sender tries, until it is taken again. */
async function takenAgain(one: RestingRelay, tag: string): Promise<number> {
  let refused = 0
  const attempt = async (): Promise<boolean> => {
    try {
      await publish(one, tag)
      return true
    } catch (error) {
      expect(error).toBeInstanceOf(StoreError)
      refused += 1
      return false
    }
  }
  await poll(attempt).toBe(true)
  return refused
}

describe("a namespace whose key is none of ours", () => {
  it("is set aside when a publish was refused for it: it is invalidated, and nothing else is", async () => {
    const one = await restingRelay()
    await publish(one, "before")
    await poll(() => one.purged).toContain("before")
    const had = one.purged.length
    await breakKey(one, ROW)
    expect(await takenAgain(one, "after")).toBeGreaterThan(0)
    await poll(() => one.purged).toContain("after")
    // The namespace once, by the relay; and of what was refused nothing.
    expect(one.purged.slice(had)).toEqual(["ns/blog", "after"])
    const [{ keys } = { keys: [] }] = one.said("tenant:setAside") as { keys: string[] }[]
    expect(keys).toEqual([ROW])
    expect(one.said("lane:resynced").slice(1)).toEqual([])
  })

  it("is found at the start, though nobody publishes in it", async () => {
    const first = await restingRelay()
    await breakKey(first, tagsKey(TENANT, "blog"))
    const second = await restingRelay({ redisUrl: first.url })
    expect(second.said("tenant:setAside")).toMatchObject([{ tenant: TENANT, namespace: "blog" }])
    await publish(second, "a")
  })

  it("is not believed to be broken because somebody says so", async () => {
    const one = await restingRelay()
    await publish(one, "a")
    await poll(() => one.purged).toContain("a")
    const head = await one.head()
    for (const namespace of ["blog", "not declared"])
      await one.admin.publish(wakeChannel(TENANT, namespace), '{"v":1,"broken":true}')
    await one.pass(5 * SECOND)
    expect(await one.head()).toEqual(head)
    expect(one.said("tenant:setAside")).toEqual([])
  })
})

describe("a tenant whose key is none of ours", () => {
  it("its log, which nobody reads while all is level, is set aside when a publish was refused for it", async () => {
    const one = await restingRelay()
    await publish(one, "before")
    await poll(() => one.purged).toContain("before")
    await breakKey(one, logKey(TENANT))
    expect(await takenAgain(one, "after")).toBeGreaterThan(0)
    await poll(() => one.purged).toContain("after")
    expect(one.said("tenant:setAside")).toMatchObject([{ keys: [logKey(TENANT)] }])
    expect(one.purged.filter((tag) => tag === "after")).toHaveLength(1)
  })

  it.each([
    ["its head", headKey(TENANT)],
    ["the root's row", namespaceKey(TENANT, "")],
    ["its passes", laterKey(TENANT)],
  ])("%s, goes on with all of it invalidated, and says so", async (_, key) => {
    const one = await restingRelay({ tenants: 2 })
    await publish(one, "before")
    await one.press(tenantName(1)).publish({ namespace: "blog", tags: ["other"] })
    await poll(() => one.purged.filter((tag) => tag === "before" || tag === "other").length).toBe(2)
    const [had, other] = [one.purged.length, await one.head(tenantName(1))]
    await breakKey(one, key)
    await publish(one, "hint").catch(() => {})
    await one.pass(30 * SECOND)
    await poll(() => one.said("tenant:setAside").length + one.said("lane:setAside").length).toBeGreaterThan(0)
    await one.pass(30 * SECOND)
    await takenAgain(one, "after")
    await poll(() => one.purged.slice(had)).toEqual(expect.arrayContaining(["ns/blog", "after"]))
    // Of the other tenant nothing is read, or purged, for that.
    expect(one.purged.slice(had).filter((tag) => tag === "ns/blog")).toHaveLength(1)
    expect(await one.head(tenantName(1))).toEqual(other)
  })
})

describe("tags that say nothing any more", () => {
  it("are swept a while after an invalidation of more than tags, and else once a day", async () => {
    const one = await restingRelay()
    await publish(one, "a", "b")
    await one.press().publish({ everything: true })
    expect(await one.admin.hKeys(taggedKey(TENANT))).toEqual([tagsKey(TENANT, "blog")])
    await poll(() => one.purged).toContain("ns/blog")
    await one.pass(100 * SECOND)
    await poll(() => one.admin.exists([tagsKey(TENANT, "blog"), taggedKey(TENANT)])).toBe(0)
    // By the clock of Redis these are old; nobody publishes.
    await one.admin.zAdd(tagsKey(TENANT, "blog"), { score: 5, value: "old" })
    await one.admin.hSet(taggedKey(TENANT), tagsKey(TENANT, "blog"), "")
    one.clock.advance(DAY)
    await one.pass(60 * SECOND)
    await poll(() => one.admin.exists(tagsKey(TENANT, "blog"))).toBe(0)
  })
})
