import { expect, it } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { openStore, publisher } from "../support/publish.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { TOKENS } from "../support/relay-process.ts"
import { done, poll, stage, tagsOf } from "./stage.ts"

it("a Redis that comes back empty is told loudly, and everything is purged once more", async () => {
  const { redis, config, vendor, press, relay } = await stage()
  const one = await relay()
  await one.ready
  const [before] = await press.publish({ namespace: "blog", tags: ["before"] })
  await done(press, [before])
  expect(one.log().filter(({ level, msg }) => level >= 40 && /adopted|resynced/.test(msg))).toEqual([])
  vendor.forget()

  await redis.stop()
  await poll(async () => (await one.get("/readyz")).status).toBe(503)
  // Nobody is left to publish, and nobody lives who could have been told: the relay's memory is all.
  const empty = await startRedis({ port: redis.port })
  try {
    await poll(async () => (await one.get("/readyz")).status).toBe(200)
    await poll(() => vendor.purged("tag")).toEqual(["ns/blog", "ns/shop"])
    expect(one.log("tenant:adopted").filter(({ level }) => level === 40)).toMatchObject([
      { tenant: "default", reason: "missing" },
    ])
    await poll(() => one.log("lane:resynced").filter(({ level }) => level === 40)).toMatchObject([
      { tenant: "default", target: "www-cloudflare", isFirst: false },
    ])
    const metrics = await (await one.get("/metrics", TOKENS.operator)).text()
    expect(metrics).toMatch(/^tidemark_tenant_resyncs_total\{tenant="default",reason="missing"\} 2$/m)
    expect(metrics).toMatch(
      /^tidemark_lane_resyncs_total\{tenant="default",target="www-cloudflare",reason="\w+"\} \d$/m,
    )

    const open = await openStore(empty.url)
    const again = publisher(open.store, parseConfig(config))
    const [after] = await again.publish({ namespace: "blog", tags: ["after"] })
    // Higher than what anybody was told before (I1).
    expect(after?.epoch).toBeGreaterThan(before?.epoch ?? 0)
    await done(again, [after])
    open.close()
  } finally {
    await one.stop()
    await empty.stop()
  }
})

it("a Redis that is away makes it unready, and it comes back by itself", async () => {
  const directory = await import("node:fs/promises").then(async ({ mkdtemp }) => {
    const { tmpdir } = await import("node:os")
    return mkdtemp(`${tmpdir()}/tidemark-kept-`)
  })
  // Kept on disk, and with its identity: an orderly restart.
  const { redis, vendor, press, relay, config } = await stage({
    redis: { directory, args: ["--appendonly", "yes", "--appendfsync", "always"] },
    config: { relay: { lease: "1s", poll: "1s", resync: { onIdentity: "report" } } },
  })
  const one = await relay()
  await one.ready
  const [before] = await press.publish({ namespace: "blog", tags: ["before"] })
  await done(press, [before])
  vendor.forget()
  await redis.stop()
  await poll(async () => (await one.get("/readyz")).status).toBe(503)
  expect(one.isRunning).toBe(true)
  // What it cannot look up it says so, and does not make up.
  expect((await one.get("/v1/lanes", TOKENS.operator)).status).toBe(503)
  const back = await startRedis({ port: redis.port, directory, args: ["--appendonly", "yes"] })
  try {
    await poll(async () => (await one.get("/readyz")).status).toBe(200)
    const open = await openStore(back.url)
    const again = publisher(open.store, parseConfig(config))
    const entries = await again.publish(...tagsOf(20).map((tag) => ({ namespace: "blog", tags: [tag] })))
    await done(again, entries)
    open.close()
    // Nothing was lost, and it is told to believe so.
    expect(vendor.purged("tag")).toEqual(tagsOf(20).toSorted())
    expect(one.log("lane:resynced").filter(({ level }) => level === 40)).toEqual([])
    expect(one.log("tenant:adopted").map(({ reason }) => reason)).toContain("reported")
  } finally {
    await one.stop()
    await back.stop()
    await import("node:fs/promises").then(({ rm }) => rm(directory, { recursive: true, force: true }))
  }
})

it("a Redis that may evict keys makes it unready, and it says how to mend that", async () => {
  const { admin, vendor, press, relay } = await stage({
    redis: { args: ["--maxmemory-policy", "allkeys-lru"] },
  })
  const one = await relay()
  await poll(async () => (await one.json("/readyz", null)).unready).toEqual({
    policy: "Redis evicts keys (allkeys-lru): set maxmemory-policy noeviction",
  })
  // It works all the same.
  const [entry] = await press.publish({ namespace: "blog", tags: ["a"] })
  await done(press, [entry])
  expect([vendor.purged("tag").includes("a"), one.stdout()]).toEqual([true, ""])
  await admin.configSet("maxmemory-policy", "noeviction")
  expect((await one.ready).part).toBe("relay")
  await poll(async () => (await one.get("/readyz")).status).toBe(200)
})
