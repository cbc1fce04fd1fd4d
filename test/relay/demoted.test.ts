// A primary that was demoted went on being asked for ever: its answer READONLY passed for silence.
import { expect, it, onTestFinished } from "vitest"
import { edgeOf } from "../support/edge-of.ts"
import { fakeVendor } from "../support/fake-vendor.ts"
import { startProxy } from "../support/proxy.ts"
import { redisCommand } from "../support/redis-command.ts"
import { startRelayProcess, tokenConfig } from "../support/relay-process.ts"
import { startReplicatedRedis } from "../support/replicated-redis.ts"
import { startSentinel } from "../support/sentinel.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { logKey } from "../../protocol/keys.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { poll } from "./stage.ts"

const REPLICA = "Redis is a read-only replica"
const NOT_READY = `${REPLICA}: REDIS_URL has to name the primary`

/** Gateway, Worker and relay behind one address, and a CDN. */
async function behind(url: string) {
  const vendor = await fakeVendor()
  onTestFinished(() => vendor[Symbol.asyncDispose]())
  const config: ConfigInput = {
    tokens: await tokenConfig(),
    namespaces: { blog: { wholeBy: "tag" } },
    targets: {
      "www-cloudflare": {
        type: "cloudflare",
        zone: vendor.zone,
        token: { secret: "CLOUDFLARE_PURGE_TOKEN" },
        plan: "enterprise",
        endpoint: vendor.endpoint,
        namespaces: ["*"],
      },
    },
  }
  const edge = await edgeOf(url, config)
  onTestFinished(() => edge[Symbol.asyncDispose]())
  const env = { CLOUDFLARE_PURGE_TOKEN: vendor.token }
  const relay = await startRelayProcess({ redisUrl: url, config, env })
  onTestFinished(() => relay[Symbol.asyncDispose]())
  await relay.ready
  const unready = async () => (await relay.json("/readyz", null)).unready ?? {}
  const isPurged = (tag: string) => vendor.purged("tag").includes(tag)
  return { vendor, edge, relay, unready, isPurged }
}

it.each(["its address leads to the new one", "it is promoted again"] as const)(
  "a demoted primary is left at once, and all is level when %s",
  async (how) => {
    await using redis = await startReplicatedRedis()
    const { vendor, edge, relay, unready, isPurged } = await behind(redis.front.url)
    expect((await edge.publish("before")).status).toBe(202)
    await poll(() => isPurged("before")).toBe(true)
    await redis.caughtUp()
    vendor.forget()

    await redis.detach()
    await redisCommand(redis.primary.url, "REPLICAOF", "127.0.0.1", String(redis.replica.port))
    const refused = await edge.publish("refused")
    expect([refused.status, refused.json.detail]).toEqual([
      503,
      `${REPLICA}, so nothing is acknowledged. Send it again.`,
    ])
    // What only reads goes on, and another publish is told the same.
    expect(await edge.epochs("blog")).toBe(200)
    expect((await edge.publish("refused")).json.detail).toContain(REPLICA)
    await poll(() => relay.log("redis:refused").length).toBe(1)
    expect(await unready()).toMatchObject({ store: NOT_READY })
    expect((await relay.get("/readyz")).status).toBe(503)
    // Within the first poll that met it, which says so of the log and of the heartbeat: no more of them were needed.
    expect(relay.log("poll:failed").length).toBeLessThanOrEqual(2)
    const resync = await relay.send("POST", "/v1/resync", { namespace: "blog" })
    expect([resync.status, (await resync.json()).detail]).toEqual([503, `${REPLICA}.`])

    // No connection of before is ended: whoever is to move moves by itself.
    if (how === "it is promoted again") await redisCommand(redis.primary.url, "REPLICAOF", "NO", "ONE")
    else redis.front.lead(redis.replica.url)
    await poll(async () => (await edge.publish("after")).status).toBe(202)
    await poll(() => isPurged("after") || isPurged("ns/blog")).toBe(true)
    await poll(unready).toEqual({})
    expect(relay.log("subscription:lost").map(({ reason }) => reason)).toEqual(["left"])
    // One line when it begins and one when it ends, however often the address was looked at.
    expect(
      relay
        .log()
        .filter(({ msg }) => msg.startsWith("redis:"))
        .map(({ msg }) => msg),
    ).toEqual(["redis:connected", "redis:refused", "redis:recovered"])
    expect(edge.told.filter((msg) => msg.startsWith("redis:"))).toEqual([
      "redis:connected",
      "redis:refused",
      "redis:recovered",
    ])
    if (how === "its address leads to the new one")
      expect(await redisCommand(redis.primary.url, "XLEN", logKey("default"))).not.toBe("0")
  },
)

it("a Sentinel fails over where the address is static: refused by the true reason, and nothing lost after", async () => {
  const primary = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] })
  onTestFinished(() => primary.stop())
  const replica = await startRedis({ args: ["--replicaof", "127.0.0.1", String(primary.port)] })
  onTestFinished(() => replica.stop())
  await using front = await startProxy(primary.url)
  const sentinel = await startSentinel(primary.port)
  onTestFinished(() => sentinel.stop())
  const { edge, unready, isPurged } = await behind(front.url)
  expect((await edge.publish("before")).status).toBe(202)
  await poll(() => redisCommand(sentinel.url, "SENTINEL", "REPLICAS", "tidemark")).toContain(
    String(replica.port),
  )

  await poll(() => redisCommand(sentinel.url, "SENTINEL", "FAILOVER", "tidemark").catch(String)).toBe("OK")
  let tags = 0
  const acknowledged: string[] = []
  const publish = async () => {
    const tag = `tag-${(tags += 1)}`
    const { status, json } = await edge.publish(tag)
    return { tag, status, detail: json.detail as string | undefined }
  }
  // Until then the old primary takes them, as it does not know better: those are for its own log to lose.
  await poll(async () => (await publish()).detail).toBe(
    `${REPLICA}, so nothing is acknowledged. Send it again.`,
  )
  await poll(unready).toMatchObject({ store: NOT_READY })
  expect((await publish()).status).toBe(503)

  front.lead(replica.url)
  await poll(async () => {
    const { tag, status } = await publish()
    if (status === 202) acknowledged.push(tag)
    return acknowledged.length
  }).toBeGreaterThan(10)
  await poll(unready).toEqual({})
  const log = await redisCommand(replica.url, "XRANGE", logKey("default"), "-", "+")
  expect(acknowledged.filter((tag) => !log.includes(`"${tag}"`))).toEqual([])
  await poll(() => acknowledged.every((tag) => isPurged(tag) || isPurged("ns/blog"))).toBe(true)
})
