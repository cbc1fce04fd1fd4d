import { createServer } from "node:net"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Cluster, Redis } from "ioredis"
import { createClient, createClientPool, createCluster, createSentinel } from "redis"
import { describe, expect, it, onTestFinished, test, vi } from "vitest"
import { inDirectory, startServer } from "../../cli/servers/process.ts"
import { findRedis } from "../../cli/servers/provision.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { createTidemark, type LookupRequest } from "../../client/index.ts"
import { followWakes, type RedisClient, redisStore, type RedisSubscriber } from "../../client/node.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { headKey } from "../../protocol/keys.ts"
import { useRedis } from "../scripts/support.ts"
import { openStore, publisher } from "../support/publish.ts"
import { type Proxy, startProxy } from "../support/proxy.ts"
import { redisCommand } from "../support/redis-command.ts"

/** `redisStore` over every client that it takes, on real servers. */

const CONFIG = parseConfig({ namespaces: { shop: {} } })
const URL_OF_PAGE = "https://www.example.com/"

const REQUEST: LookupRequest = new Map([
  ["shop", { tags: ["a", "b", "none"], urls: [URL_OF_PAGE] }],
  ["shop/lamps", { tags: [], urls: [] }],
])

const host = useRedis()

async function fill(url: string): Promise<void> {
  const { store, close } = await openStore(url)
  await publisher(store, CONFIG).publish(
    { namespace: "shop", tags: ["a"], mode: "purge" },
    { namespace: "shop", tags: ["b"] },
    { namespace: "shop/lamps" },
    { namespace: "shop", urls: [URL_OF_PAGE] },
  )
  close()
}

async function proxy(url = host.url): Promise<Proxy> {
  const link = await startProxy(url, { isRaw: true })
  onTestFinished(() => link[Symbol.asyncDispose]())
  return link
}

/** Ends with the test, and says nothing of what becomes of it meanwhile. */
function until<T extends { on(event: "error", listener: () => void): unknown }>(
  client: T,
  end: () => unknown,
): T {
  client.on("error", () => undefined)
  onTestFinished(async () => void (await end()))
  return client
}

function ioredis(url: string, options: object = {}): Redis {
  const client = new Redis(url, options)
  return until(client, () => client.disconnect())
}

async function nodeRedis(url: string) {
  const client = createClient({ url })
  return until(client, () => client.destroy()).connect()
}

const answers = async (client: RedisClient) => {
  const store = redisStore(client, { now: () => 1 })
  return [await store.lookup(REQUEST), await store.lookup(REQUEST, 1)]
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === "object" && address ? address.port : 0
}

describe("ioredis", () => {
  it("answers as node-redis does", async () => {
    await fill(host.url)
    const expected = await answers(await nodeRedis(host.url))
    expect(expected[0]?.namespaces.get("shop")?.tags.size).toBe(3)
    const client = ioredis(host.url)
    await expect.poll(() => client.status).toBe("ready")
    expect(await answers(client)).toEqual(expected)
    expect(await answers(ioredis(host.url, { lazyConnect: true }))).toEqual(expected)
    expect(await answers(ioredis(host.url, { lazyConnect: true, enableAutoPipelining: true }))).toEqual(
      expected,
    )
  })

  it("is sent nothing while it is not connected, and nothing is kept for later", async () => {
    const link = await proxy()
    const client = ioredis(link.url, { retryStrategy: () => 20 })
    await expect.poll(() => client.status).toBe("ready")
    link.cut(true)
    await expect.poll(() => client.status).not.toBe("ready")
    const store = redisStore(client, { timeout: 500 })
    for (let time = 0; time < 5; time += 1)
      await expect(store.lookup(REQUEST)).rejects.toThrow("not connected")
    const { offlineQueue } = client as unknown as {
      offlineQueue: { toArray(): { command: { name: string } }[] }
    }
    // Its own, of greeting a server, may wait there.
    const names = offlineQueue.toArray().map(({ command }) => command.name)
    expect(names.filter((name) => /^(mget|z)/.test(name))).toEqual([])
    link.cut(false)
    await expect.poll(() => client.status).toBe("ready")
    expect((await store.lookup(REQUEST)).tenant).toBe("default")
  })

  it("is waited for no longer than the timeout, and not asked without end", async () => {
    await fill(host.url)
    const link = await proxy()
    const client = ioredis(link.url)
    await expect.poll(() => client.status).toBe("ready")
    link.stall(true)
    const store = redisStore(client, { timeout: 30 })
    for (let time = 0; time < 30; time += 1)
      await expect(store.lookup(REQUEST)).rejects.toThrow("did not answer within 30 ms")
    // Ten look-ups of three commands.
    expect((client as unknown as { commandQueue: { length: number } }).commandQueue.length).toBe(30)
    link.stall(false)
    await expect
      .poll(() =>
        store.lookup(REQUEST).then(
          ({ last }) => last > 0,
          () => false,
        ),
      )
      .toBe(true)
  })

  it("tells that this user may not read a namespace, or is not let in", async () => {
    const rights =
      "resetkeys %R~tm:{default}:head %R~tm:{default}:n: resetchannels -@all +mget +zmscore +info"
    await host.command("ACL", "SETUSER", "web", "on", ">secret", ...rights.split(" "))
    onTestFinished(async () => void (await host.command("ACL", "DELUSER", "web")))
    const url = new URL(host.url)
    Object.assign(url, { username: "web", password: "secret" })
    const client = ioredis(url.href)
    await expect.poll(() => client.status).toBe("ready")
    await expect(redisStore(client).lookup(REQUEST)).rejects.toMatchObject({
      name: "StoreRefusal",
      status: 403,
    })
  })

  it("with a keyPrefix is refused, which says what to do", async () => {
    const client = ioredis(host.url, { keyPrefix: "app:" })
    expect(() => redisStore(client)).toThrow(TypeError)
    expect(() => redisStore(client)).toThrow('client.duplicate({ keyPrefix: "" })')
    const bare = client.duplicate({ keyPrefix: "" })
    until(bare, () => bare.disconnect())
    await expect.poll(() => bare.status).toBe("ready")
    expect((await redisStore(bare).lookup(REQUEST)).tenant).toBe("default")
    const cluster = new Cluster([host.url], { lazyConnect: true, redisOptions: { keyPrefix: "app:" } })
    expect(() => redisStore(cluster)).toThrow("keyPrefix")
  })

  it("is not what followWakes takes, nor are node-redis's pools, clusters and sentinels", () => {
    const others = [
      ioredis(host.url, { lazyConnect: true }),
      createClientPool({ url: host.url }),
      createCluster({ rootNodes: [{ url: host.url }] }),
      createSentinel({ name: "main", sentinelRootNodes: [{ host: "127.0.0.1", port: 1 }] }),
    ]
    for (const subscriber of others)
      expect(() =>
        followWakes({
          tidemark: { hear: () => undefined },
          subscriber: subscriber as unknown as RedisSubscriber,
        }),
      ).toThrow("subscriber must be one client of node-redis")
  })
})

it.each([undefined, null, {}, "redis://127.0.0.1", { get: () => undefined }])("%j is no client", (client) => {
  expect(() => redisStore(client as unknown as RedisClient)).toThrow(TypeError)
  expect(() => redisStore(client as unknown as RedisClient)).toThrow("must be of node-redis")
})

describe("a cluster", () => {
  /** Of two nodes that know each other; the first has all slots. */
  async function startCluster() {
    const start = async () => {
      const bus = await freePort()
      const node = await startRedis({ args: ["--cluster-enabled", "yes", "--cluster-port", String(bus)] })
      onTestFinished(() => node.stop())
      return {
        url: node.url,
        port: new URL(node.url).port,
        bus,
        id: await redisCommand(node.url, "CLUSTER", "MYID"),
      }
    }
    const [one, two] = [await start(), await start()]
    await redisCommand(one.url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    await redisCommand(one.url, "CLUSTER", "MEET", "127.0.0.1", two.port, String(two.bus))
    for (const node of [one, two])
      await expect
        .poll(() => redisCommand(node.url, "CLUSTER", "INFO"))
        .toMatch(/cluster_state:ok[^]*cluster_known_nodes:2/)
    await fill(one.url)
    const slot = await redisCommand(one.url, "CLUSTER", "KEYSLOT", headKey("default"))
    /** The tenant's slot goes to the second node. */
    const move = async () => {
      await redisCommand(two.url, "CLUSTER", "SETSLOT", slot, "IMPORTING", one.id)
      await redisCommand(one.url, "CLUSTER", "SETSLOT", slot, "MIGRATING", two.id)
      const client = await nodeRedis(one.url)
      const keys = (await client.sendCommand(["CLUSTER", "GETKEYSINSLOT", slot, "100"])) as string[]
      await redisCommand(one.url, "MIGRATE", "127.0.0.1", two.port, "", "0", "5000", "KEYS", ...keys)
      for (const node of [two, one]) await redisCommand(node.url, "CLUSTER", "SETSLOT", slot, "NODE", two.id)
    }
    return { one, two, move, nodes: [{ url: one.url }] }
  }

  test("is asked at the tenant's slot by node-redis, also once that has moved", async () => {
    const { one, two, move, nodes } = await startCluster()
    const expected = await answers(await nodeRedis(one.url))
    const cluster = createCluster({ rootNodes: nodes })
    const store = redisStore(cluster)
    await expect(store.lookup(REQUEST)).rejects.toThrow("not connected")
    await until(cluster, () => cluster.destroy()).connect()
    expect(await answers(cluster)).toEqual(expected)
    await move()
    expect(await answers(cluster)).toEqual(expected)
    expect(await redisCommand(two.url, "EXISTS", headKey("default"))).toBe("1")
    await expect(redisCommand(one.url, "EXISTS", headKey("default"))).rejects.toThrow("MOVED")
  })

  test("is asked at the tenant's slot by ioredis, also once that has moved", async () => {
    const { one, move, nodes } = await startCluster()
    const expected = await answers(await nodeRedis(one.url))
    const cluster = new Cluster(nodes.map(({ url }) => url))
    until(cluster, () => cluster.disconnect())
    await expect.poll(() => cluster.status).toBe("ready")
    expect(await answers(cluster)).toEqual(expected)
    await move()
    expect(await answers(cluster)).toEqual(expected)
  })
})

describe("a sentinel", () => {
  /** Watching the test's Redis, as `main`. */
  async function startSentinel(url: string): Promise<number> {
    const redis = await findRedis({})
    const port = await freePort()
    const sentinel = await inDirectory("sentinel", undefined, async (directory) => {
      const file = join(directory.path, "sentinel.conf")
      const lines = [
        `port ${port}`,
        "bind 127.0.0.1",
        `sentinel monitor main 127.0.0.1 ${new URL(url).port} 1`,
        "sentinel down-after-milliseconds main 500",
      ]
      await writeFile(file, `${lines.join("\n")}\n`)
      return startServer({
        name: "sentinel",
        command: { file: redis.file, args: [file, "--sentinel"], env: redis.env },
        directory,
        url: `redis://127.0.0.1:${port}`,
        port,
        portVariable: "-",
        answers: async () =>
          redisCommand(`redis://127.0.0.1:${port}`, "PING").then(
            () => true,
            () => false,
          ),
      })
    })
    onTestFinished(() => sentinel.stop())
    return port
  }

  test("leads node-redis and ioredis to the master; one that is gone is no worse than any store", async () => {
    const redis = await startRedis()
    await fill(redis.url)
    const port = await startSentinel(redis.url)
    const expected = await answers(await nodeRedis(redis.url))
    const sentinel = createSentinel({ name: "main", sentinelRootNodes: [{ host: "127.0.0.1", port }] })
    await until(sentinel, () => sentinel.destroy()).connect()
    const other = new Redis({ sentinels: [{ host: "127.0.0.1", port }], name: "main" })
    until(other, () => other.disconnect())
    await expect.poll(() => other.status).toBe("ready")
    expect(await answers(sentinel)).toEqual(expected)
    expect(await answers(other)).toEqual(expected)

    await redis.stop()
    const stores = [sentinel, other].map((client) => redisStore(client, { timeout: 50 }))
    for (const store of stores)
      for (let time = 0; time < 30; time += 1)
        await expect(store.lookup(REQUEST)).rejects.toThrow(
          /not connected|did not answer within 50 ms|closed/i,
        )
  })
})

test("a store that is gone is said once, by any client", async () => {
  const said: string[] = []
  const warn = vi.spyOn(console, "warn").mockImplementation((line: string) => void said.push(line))
  onTestFinished(() => warn.mockRestore())
  const client = ioredis("redis://127.0.0.1:1", { retryStrategy: () => 20 })
  const tidemark = createTidemark({ store: redisStore(client) })
  for (let time = 0; time < 5; time += 1) expect((await tidemark.begin("shop")).stamp).toBeUndefined()
  expect(said).toEqual(["tidemark: Redis is not connected"])
})
