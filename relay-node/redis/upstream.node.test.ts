import { afterEach, describe, expect, it } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { type Proxy, startProxy } from "../../test/support/proxy.ts"
import { redisCommand } from "../../test/support/redis-command.ts"
import { connectUpstream, type Upstream, type UpstreamOptions } from "./upstream.ts"
import type { RawReply, RedisCommand } from "./types.ts"

const REPLICA = "Redis is a read-only replica: REDIS_URL has to name the primary"
const ended: (() => unknown)[] = []

afterEach(async () => {
  for (const end of ended.splice(0).toReversed()) await end()
})

const poll = <T>(read: () => T) => expect.poll(read, { timeout: 20_000, interval: 10 })

async function newRedis(...args: string[]) {
  const redis = await startRedis({ args })
  ended.push(() => redis.stop())
  return redis
}

/** A link to a Redis, an upstream over it, and what it told. */
async function stage(url: string, options: UpstreamOptions = {}) {
  const front: Proxy = await startProxy(url)
  ended.push(() => front[Symbol.asyncDispose]())
  const told: [string, object][] = []
  const say = (fields: object, message: string) => void told.push([message, fields])
  const upstream: Upstream = connectUpstream(front.url, { info: say, warn: say, error: say }, options)
  ended.push(() => upstream.close())
  await upstream.tried
  const ask = async (...command: RedisCommand): Promise<RawReply | undefined> =>
    (await upstream.exchange([command], {}))[0]
  return { front, told, names: () => told.map(([name]) => name), upstream, ask }
}

const connections = async (url: string): Promise<number> =>
  Number(/total_connections_received:(\d+)/.exec(await redisCommand(url, "INFO", "stats"))?.[1])

const demote = (url: string) => redisCommand(url, "REPLICAOF", "127.0.0.1", "1")
const promote = (url: string) => redisCommand(url, "REPLICAOF", "NO", "ONE")

describe("the one connection", () => {
  it("leaves a node that became a replica, by the first answer that says so", async () => {
    const [one, other] = [await newRedis(), await newRedis()]
    const { front, names, upstream, ask } = await stage(one.url)
    let recovered = 0
    upstream.onRecovered(() => (recovered += 1))
    expect(await ask("SET", "where", "one")).toBe("OK")
    expect([upstream.trouble, recovered]).toEqual([undefined, 0])
    await demote(one.url)
    front.lead(other.url)
    expect(String(await ask("SET", "where", "lost"))).toContain("READONLY")
    expect(upstream.trouble).toBe(REPLICA)
    await poll(() => upstream.trouble).toBeUndefined()
    expect(await ask("SET", "where", "other")).toBe("OK")
    expect(await redisCommand(other.url, "GET", "where")).toBe("other")
    expect(recovered).toBe(1)
    expect(names()).toEqual(["redis:connected", "redis:refused", "redis:recovered"])
    // And none of what was made on the way is left.
    await poll(() => front.open).toBe(1)
  })

  it("is known by an error inside a script, a transaction, and a list", async () => {
    for (const commands of [
      [["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "k"]],
      [["EVAL", "return {1, {redis.pcall('SET', KEYS[1], 1)}}", "1", "k"]],
      [["MULTI"], ["SET", "k", "1"], ["EXEC"]],
    ] as const) {
      const one = await newRedis()
      const { upstream } = await stage(one.url)
      await demote(one.url)
      await upstream.exchange(commands, {})
      expect(upstream.trouble, commands[0].join(" ")).toBe(REPLICA)
    }
  })

  it("goes on serving what only reads, and is made anew once a second at most", async () => {
    const one = await newRedis()
    const { upstream, ask, names } = await stage(one.url)
    await ask("SET", "k", "v")
    await demote(one.url)
    // One that was asked before the connection is left has its answer as well.
    const started = performance.now()
    const before = await connections(one.url)
    await ask("SET", "k", "w")
    let own = 1
    for (let count = before; count - before - own < 4; own += 1) {
      // A key that Redis would not take for lost: each is answered, whichever connection it meets.
      expect(await ask("GET", "k")).toBe("v")
      expect(String(await ask("SET", "k", "w"))).toContain("READONLY")
      count = await connections(one.url)
    }
    // The first at once, and three after a second each.
    expect(performance.now() - started).toBeGreaterThan(2_900)
    expect(upstream.trouble).toBe(REPLICA)
    await promote(one.url)
    await poll(() => upstream.trouble).toBeUndefined()
    expect(names()).toEqual(["redis:connected", "redis:refused", "redis:recovered"])
  })

  it("is level again though too few replicas were there, or nobody may try", async () => {
    const one = await newRedis()
    const { upstream, ask } = await stage(one.url)
    await redisCommand(one.url, "CONFIG", "SET", "min-replicas-to-write", "1")
    expect(String(await ask("SET", "k", "v"))).toContain("NOREPLICAS")
    expect(upstream.trouble).toBe("Redis has too few replicas")
    await redisCommand(one.url, "CONFIG", "SET", "min-replicas-to-write", "0")
    await poll(() => upstream.trouble).toBeUndefined()
    // The gateway of those who only look up has no right to run scripts.
    await redisCommand(one.url, "ACL", "SETUSER", "default", "-eval")
    await redisCommand(one.url, "CONFIG", "SET", "min-replicas-to-write", "1")
    expect(String(await ask("SET", "k", "v"))).toContain("NOREPLICAS")
    await redisCommand(one.url, "CONFIG", "SET", "min-replicas-to-write", "0")
    await poll(() => upstream.trouble).toBeUndefined()
    expect(await ask("SET", "k", "v")).toBe("OK")
  })

  it("is distrusted by whoever knows better, until a node says that it is a primary", async () => {
    // One that takes writes all the same.
    const one = await newRedis("--replica-read-only", "no")
    const { upstream, names } = await stage(one.url)
    await demote(one.url)
    upstream.distrust("Redis is a replica")
    const before = await connections(one.url)
    await poll(async () => (await connections(one.url)) - before).toBeGreaterThan(2)
    expect(upstream.trouble).toBe("Redis is a replica")
    await promote(one.url)
    await poll(() => upstream.trouble).toBeUndefined()
    expect(names()).toEqual(["redis:connected", "redis:refused", "redis:recovered"])
  })

  it("ends the subscriptions that it gave out, once it was moved", async () => {
    const [one, other] = [await newRedis(), await newRedis()]
    const { front, upstream, ask } = await stage(one.url)
    const subscriber = await upstream.open("subscriber")
    let isEnded = false
    subscriber.on("end", () => (isEnded = true))
    await demote(one.url)
    front.lead(other.url)
    await ask("SET", "k", "v")
    await poll(() => upstream.trouble).toBeUndefined()
    expect(isEnded).toBe(true)
  })

  it("says why there is none", async () => {
    const one = await newRedis()
    const { port } = one
    const troubleOf = async (url: string) => {
      const told: object[] = []
      const say = (fields: object) => void told.push(fields)
      const upstream = connectUpstream(url, { info: say, warn: say, error: say })
      await upstream.tried
      upstream.close()
      expect(JSON.stringify(told)).not.toMatch(/s3cret/)
      return upstream.trouble
    }
    expect(await troubleOf(`redis://127.0.0.1:${port}/99`)).toMatch(
      /^Redis has no database of that number: .*REDIS_URL/,
    )
    expect(await troubleOf(`redis://:s3cret@127.0.0.1:${port}`)).toMatch(/REDIS_URL/)
    expect(await troubleOf(`redis://s3cret:s3cret@127.0.0.1:${port}`)).toMatch(
      /^Redis refuses us: .*REDIS_URL/,
    )
    expect(await troubleOf("redis://127.0.0.1:1")).toBe("Redis cannot be reached")
    expect(await troubleOf("unix:///nowhere/s3cret.sock")).toBe("Redis cannot be reached")
    await redisCommand(one.url, "CONFIG", "SET", "requirepass", "s3cret")
    const { upstream, ask } = await stage(one.url)
    expect(String(await ask("GET", "k"))).toContain("NOAUTH")
    expect(upstream.trouble).toBeUndefined()
  })
})
