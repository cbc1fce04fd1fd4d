import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Cluster, Redis } from "ioredis"
import { createClient, createClientPool, createCluster, createSentinel } from "redis"
import { beforeAll, describe, expect, it, onTestFinished } from "vitest"
import type { RunningServer } from "../../cli/servers/process.ts"
import { findRedis } from "../../cli/servers/provision.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import {
  type EntryStorage,
  type RedisStorageClient,
  redisStorage,
  type StoredEntry,
} from "../../client/next-redis.ts"
import { redisCommand } from "../support/redis-command.ts"

/** The storage of `tidemark/next` on real servers, by every client that it is for. */

const HOUR = 3_600_000
const PREFIX = "tidemark:next:"

const entryOf = (value: Uint8Array): StoredEntry => ({
  value,
  tags: ["post", "naïve 🌊"],
  stamp: "17.1800000000000000",
  timestamp: 1_800_000_000_000.25,
  stale: 300,
  expire: 0xff_ff_ff_fe,
  revalidate: 60,
})

/** Every byte, and so none that is UTF-8. */
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte)

const silent = () => undefined

const hostOf = (url: string) => {
  const { hostname: host, port } = new URL(url)
  return { host, port: Number(port) }
}

/** A server of its own, with these arguments. */
async function start(args: readonly string[] = [], port = 0): Promise<RunningServer> {
  const server = await startRedis({ args, port })
  onTestFinished(() => server.stop())
  return server
}

/** A cluster of one node, which has all slots. */
async function startCluster(port = 0): Promise<RunningServer> {
  const server = await start(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"], port)
  await redisCommand(server.url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
  await expect.poll(() => redisCommand(server.url, "CLUSTER", "INFO")).toContain("cluster_state:ok")
  return server
}

/** A server, and a Sentinel that watches it, which wants a file to write its state to. */
async function startWatched(): Promise<Servers> {
  const server = await start()
  const redis = await findRedis()
  const directory = mkdtempSync(join(tmpdir(), "tidemark-sentinel-"))
  const port = await freePort()
  const { host, port: watched } = hostOf(server.url)
  const file = join(directory, "sentinel.conf")
  writeFileSync(file, `port ${port}\nbind 127.0.0.1\nsentinel monitor main ${host} ${watched} 1\n`)
  const child = spawn(redis.file, [file, "--sentinel"], {
    cwd: directory,
    env: { ...process.env, ...redis.env },
    stdio: "ignore",
  })
  onTestFinished(async () => {
    child.kill()
    await once(child, "exit")
    rmSync(directory, { recursive: true })
  })
  const sentinelUrl = `redis://127.0.0.1:${port}`
  await expect.poll(() => redisCommand(sentinelUrl, "PING").catch(String)).toBe("PONG")
  return { server, sentinelUrl }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  await once(server.close(), "close")
  return port
}

interface Servers {
  readonly server: RunningServer
  readonly sentinelUrl?: string
}

/** Whether an entry is there once it has been set; false while there is no connection. */
async function keeps(storage: EntryStorage, key: string, entry: StoredEntry): Promise<boolean> {
  try {
    await storage.set(key, entry, HOUR)
    return (await storage.get(key))?.stamp === entry.stamp
  } catch {
    return false
  }
}

interface Kind {
  readonly name: string
  readonly start: () => Promise<Servers>
  readonly connect: (url: string, sentinelUrl: string) => Promise<RedisStorageClient> | RedisStorageClient
}

const alone = async () => ({ server: await start() })
const clustered = async () => ({ server: await startCluster() })

const KINDS: readonly Kind[] = [
  {
    name: "node-redis",
    start: alone,
    async connect(url) {
      const client = createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy: 20 } })
      client.on("error", silent)
      onTestFinished(() => client.destroy())
      await client.connect()
      return client
    },
  },
  {
    name: "node-redis, RESP2, with types of its own",
    start: alone,
    async connect(url) {
      const client = createClient({ url, RESP: 2, socket: { reconnectStrategy: 20 } })
      client.on("error", silent)
      onTestFinished(() => client.destroy())
      await client.connect()
      return client.withTypeMapping({ 43: Buffer })
    },
  },
  {
    name: "a pool of node-redis",
    start: alone,
    async connect(url) {
      const pool = createClientPool({ url, socket: { reconnectStrategy: 20 } })
      pool.on("error", silent)
      onTestFinished(() => pool.destroy())
      await pool.connect()
      return pool
    },
  },
  {
    name: "a cluster of node-redis",
    start: clustered,
    async connect(url) {
      const cluster = createCluster({
        rootNodes: [{ url }],
        defaults: { disableOfflineQueue: true, socket: { reconnectStrategy: 20 } },
      })
      cluster.on("error", silent)
      onTestFinished(() => cluster.destroy())
      await cluster.connect()
      return cluster
    },
  },
  {
    name: "a sentinel of node-redis",
    start: startWatched,
    async connect(_, sentinelUrl) {
      const sentinel = createSentinel({
        name: "main",
        sentinelRootNodes: [hostOf(sentinelUrl)],
        nodeClientOptions: { disableOfflineQueue: true },
      })
      sentinel.on("error", silent)
      onTestFinished(() => void sentinel.destroy())
      await sentinel.connect()
      return sentinel
    },
  },
  {
    name: "ioredis",
    start: alone,
    connect(url) {
      const redis = new Redis(url, { enableOfflineQueue: false, retryStrategy: () => 20 })
      redis.on("error", silent)
      onTestFinished(() => redis.disconnect())
      return redis
    },
  },
  {
    name: "a cluster of ioredis",
    start: clustered,
    connect(url) {
      const cluster = new Cluster([hostOf(url)], {
        enableOfflineQueue: false,
        clusterRetryStrategy: () => 20,
        slotsRefreshTimeout: 1_000,
      })
      cluster.on("error", silent)
      onTestFinished(() => cluster.disconnect())
      return cluster
    },
  },
  {
    name: "ioredis with sentinels",
    start: startWatched,
    connect(_, sentinelUrl) {
      const redis = new Redis({
        name: "main",
        sentinels: [hostOf(sentinelUrl)],
        enableOfflineQueue: false,
        retryStrategy: () => 20,
      })
      redis.on("error", silent)
      onTestFinished(() => redis.disconnect())
      return redis
    },
  },
]

describe.each(KINDS)("by $name", ({ start: startServers, connect }) => {
  it("an entry comes back byte for byte, under a key that expires", async () => {
    const { server, sentinelUrl = "" } = await startServers()
    const storage = redisStorage(await connect(server.url, sentinelUrl))
    const entry = entryOf(ALL_BYTES)
    await expect.poll(() => keeps(storage, '["build","id",["ä"]]', entry)).toBe(true)
    expect(await storage.get('["build","id",["ä"]]')).toEqual({
      ...entry,
      value: expect.toSatisfy((value: Uint8Array) => Buffer.compare(value, ALL_BYTES) === 0) as Uint8Array,
    })
    expect(await storage.get("another")).toBeUndefined()
    const key = `${PREFIX}["build","id",["ä"]]`
    const left = Number(await redisCommand(server.url, "PTTL", key))
    expect(left).toBeGreaterThan(HOUR - 60_000)
    expect(left).toBeLessThanOrEqual(HOUR)
    // Compact: what JSON with base64 would need 344 bytes for alone.
    expect(Number(await redisCommand(server.url, "STRLEN", key))).toBeLessThan(450)
  })

  it("what is none of ours is nothing", async () => {
    const { server, sentinelUrl = "" } = await startServers()
    const storage = redisStorage(await connect(server.url, sentinelUrl))
    await expect.poll(() => keeps(storage, "a", entryOf(ALL_BYTES))).toBe(true)
    for (const foreign of [
      "",
      "{}",
      '{"value":"b2xk","tags":[]}',
      '{"tidemark":1,"data":{},"sizes":[0]}\n',
    ]) {
      await redisCommand(server.url, "SET", `${PREFIX}a`, foreign)
      expect(await storage.get("a")).toBeUndefined()
    }
  })
})

describe.each(KINDS.filter(({ name }) => !name.includes("sentinel")))(
  "while the server is away, $name",
  ({ name, start: startServers, connect }) => {
    it("is asked for nothing, queues nothing, and goes on when it is back", async () => {
      const { server } = await startServers()
      const storage = redisStorage(await connect(server.url, ""))
      const entry = entryOf(ALL_BYTES)
      await expect.poll(() => keeps(storage, "a", entry)).toBe(true)
      process.kill(server.pid, "SIGKILL")
      await server.exited
      // As soon as the client has noticed, nothing is sent any more.
      await expect
        .poll(() =>
          Promise.resolve(storage.get("a")).then(
            () => "asked",
            () => "refused",
          ),
        )
        .toBe("refused")
      const isCluster = name.includes("cluster")
      for (let nth = 0; nth < 20; nth += 1)
        await expect(Promise.resolve(storage.set(`while away ${nth}`, entry, HOUR))).rejects.toThrow(Error)
      const again = isCluster ? await startCluster(server.port) : await start([], server.port)
      await expect.poll(() => keeps(storage, "b", entry)).toBe(true)
      expect(await redisCommand(again.url, "DBSIZE")).toBe("1")
    })
  },
)

describe("a storage in Redis", () => {
  let url: string
  beforeAll(async () => {
    const server = await startRedis()
    ;({ url } = server)
    return () => server.stop()
  })

  async function connect() {
    const client = createClient({ url })
    onTestFinished(() => client.destroy())
    return client.connect()
  }

  it("keeps none that is larger than maxEntryBytes, 5 MiB by default, and says so", async () => {
    const client = await connect()
    const large = entryOf(new Uint8Array(5 * 2 ** 20))
    await expect(redisStorage(client).set("a", large, HOUR)).rejects.toThrow(
      /the entry has 52430\d\d bytes, and maxEntryBytes is 5242880/,
    )
    expect(await redisStorage(client).get("a")).toBeUndefined()
    const small = redisStorage(client, { maxEntryBytes: 300 })
    await small.set("a", entryOf(new Uint8Array(50)), HOUR)
    await expect(small.set("b", entryOf(new Uint8Array(300)), HOUR)).rejects.toThrow("maxEntryBytes is 300")
    await redisStorage(client, { maxEntryBytes: 6 * 2 ** 20 }).set("c", large, HOUR)
    expect((await redisStorage(client).get("c"))?.value.byteLength).toBe(5 * 2 ** 20)
  })

  it("has a prefix of its own, and keeps nothing longer than it is told", async () => {
    const client = await connect()
    await redisStorage(client, { prefix: "shop:" }).set("a", entryOf(ALL_BYTES), HOUR)
    expect(await client.exists("shop:a")).toBe(1)
    expect(await redisStorage(client, { prefix: "blog:" }).get("a")).toBeUndefined()
    await redisStorage(client).set("short", entryOf(ALL_BYTES), 1)
    await expect.poll(() => redisStorage(client).get("short")).toBeUndefined()
  })

  it("connects an ioredis that connects by its first command", async () => {
    const redis = new Redis(url, { lazyConnect: true })
    onTestFinished(() => redis.disconnect())
    const storage = redisStorage(redis)
    expect(await storage.get("none")).toBeUndefined()
    expect(redis.status).toBe("ready")
  })

  it("has nothing while its client connects for the first time, and fails when that takes too long", async () => {
    const client = createClient({ url, disableOfflineQueue: true })
    onTestFinished(() => client.destroy())
    const storage = redisStorage(client, { timeout: HOUR })
    expect(await storage.get("a")).toBeUndefined()
    await storage.set("a", entryOf(ALL_BYTES), HOUR)
    const impatient = redisStorage(client, { timeout: Number.MIN_VALUE })
    await expect(Promise.resolve(impatient.get("a"))).rejects.toThrow("Redis is not connected")
    await client.connect()
    await storage.set("a", entryOf(ALL_BYTES), HOUR)
    client.destroy()
    await expect(Promise.resolve(storage.get("a"))).rejects.toThrow("Redis is not connected")
    await client.connect()
  })

  it.each([{ maxEntryBytes: 0 }, { timeout: 0 }, { timeout: Infinity }])("refuses %j", async (options) => {
    const client = await connect()
    expect(() => redisStorage(client, options)).toThrow(Object.keys(options)[0])
  })
})
