import { expect, it } from "vitest"
import { startProxy } from "../support/proxy.ts"
import { openStore, publisher } from "../support/publish.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { done, poll, stage, tagsOf } from "./stage.ts"

const withUser = (url: string, user: string): string => url.replace("redis://", `redis://${user}:pw@`)

it("without any Pub/Sub everything is purged by the poll, and the relay says that it is not ready", async () => {
  const { admin, redis, vendor, press, relay } = await stage()
  // May publish probes, and listen to them alone: the pattern that wakes come by is refused.
  await admin.sendCommand([
    "ACL",
    "SETUSER",
    "deaf",
    "on",
    ">pw",
    "~*",
    "+@all",
    "resetchannels",
    "&tm:v1:probe:*",
  ])
  const one = await relay({ redisUrl: withUser(redis.url, "deaf") })
  const [before] = await press.publish({ namespace: "blog", tags: ["before"] })
  await done(press, [before])
  const entries = await press.publish(...tagsOf(250).map((tag) => ({ namespace: "blog", tags: [tag] })))
  await done(press, entries)
  expect(vendor.purged("tag")).toEqual(expect.arrayContaining(tagsOf(250)))
  const more = await press.publish({ namespace: "blog", mode: "purge", tags: ["once-more"] })
  await done(press, more)

  const answer = await one.get("/readyz")
  expect([answer.status, await answer.json()]).toEqual([
    503,
    { ready: false, unready: { subscription: expect.stringContaining("no message") } },
  ])
  expect((await one.get("/healthz")).status).toBe(200)
  expect([one.stdout(), one.log("wake:heard")]).toEqual(["", []])
  expect(one.log("subscription:lost").length).toBeGreaterThan(0)

  // It never gives up.
  await admin.sendCommand(["ACL", "SETUSER", "deaf", "&tm:v1:*"])
  expect(await one.ready).toEqual({ event: "ready", part: "relay", url: one.url })
  await poll(async () => (await one.get("/readyz")).status).toBe(200)
})

it("a publisher whose wakes Redis refuses is heard by the poll", async () => {
  const { admin, redis, config, vendor, relay } = await stage()
  await admin.sendCommand(["ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "resetchannels"])
  const mute = await openStore(withUser(redis.url, "mute"))
  const press = publisher(mute.store, parseConfig(config))
  const one = await relay()
  await one.ready
  const entries = await press.publish(...tagsOf(30).map((tag) => ({ namespace: "blog", tags: [tag] })))
  await done(press, entries)
  expect(vendor.purged("tag")).toEqual(expect.arrayContaining(tagsOf(30)))
  expect((await one.json("/readyz", null)).ready).toBe(true)
  mute.close()
})

it("a subscription that answers but hands over no messages is found out, and mended when that ends", async () => {
  const { redis, vendor, press, relay } = await stage()
  await using proxy = await startProxy(redis.url)
  const one = await relay({ redisUrl: proxy.url })
  await one.ready
  proxy.muffle(true)
  const entries = await press.publish({ namespace: "blog", tags: ["muffled"] })
  await done(press, entries)
  await poll(async () => (await one.json("/readyz", null)).unready).toMatchObject({
    subscription: expect.any(String),
  })
  await poll(() => one.log("subscription:lost").map(({ reason }) => reason)).toContain("probe")
  proxy.muffle(false)
  await poll(async () => (await one.get("/readyz")).status).toBe(200)
  expect(vendor.purged("tag")).toContain("muffled")
})

// The kernel at the other end is gone without a word, and no client of Redis notices by itself.
it("links that are open at our end only are given up, and everything is purged", async () => {
  const { redis, vendor, press, relay } = await stage()
  await using proxy = await startProxy(redis.url)
  const one = await relay({ redisUrl: proxy.url })
  await one.ready
  await poll(() => proxy.open).toBe(2)
  proxy.freeze()
  const entries = await press.publish({ namespace: "blog", tags: ["while-frozen"] })
  await done(press, entries)
  await poll(async () => (await one.get("/readyz")).status).toBe(200)
  expect(one.log("subscription:lost").length).toBeGreaterThan(0)
  expect(vendor.purged("tag")).toContain("while-frozen")
  // Woken again, over new links, and none of the old ones is left.
  const heard = one.log("wake:heard").length
  await press.publish({ namespace: "blog", tags: ["after"] })
  await poll(() => vendor.purged("tag")).toContain("after")
  expect(one.log("wake:heard").length).toBeGreaterThanOrEqual(heard)
  await poll(() => proxy.open).toBe(2)
})
