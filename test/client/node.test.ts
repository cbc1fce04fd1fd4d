import { LRUCache } from "lru-cache"
import { createClient, createClientPool, RESP_TYPES } from "redis"
import { beforeAll, describe, expect, onTestFinished, test } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { createTidemark, type Epoch, type Tidemark, type TidemarkOptions } from "../../client/index.ts"
import {
  createLocalCache,
  followWakes,
  type FollowWakesOptions,
  type LocalCache,
  redisStore,
  type WakeEvent,
} from "../../client/node.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { InvalidationInput } from "../../protocol/invalidation.ts"
import { headKey, wakeChannel } from "../../protocol/keys.ts"
import { useRedis } from "../scripts/support.ts"
import { type Publisher, publisher } from "../support/publish.ts"
import { type Proxy, startProxy } from "../support/proxy.ts"

/** Servers with caches of their own, on a real Redis and by real publishes. */

/** So long that nothing but a wake can tell a reader anything. */
const HOUR = 3_600_000

const CONFIG = parseConfig({ namespaces: { shop: {} } })

const host = useRedis()
let publish: Publisher["publish"]
beforeAll(() => {
  ;({ publish } = publisher(host.store, CONFIG))
})

const purge = (tag = "lamp"): InvalidationInput => ({ namespace: "shop", tags: [tag], mode: "purge" })
const invalidate = (tag = "lamp"): InvalidationInput => ({
  namespace: "shop",
  tags: [tag],
  mode: "invalidate",
})

async function proxy(url = host.url): Promise<Proxy> {
  const link = await startProxy(url, { isRaw: true })
  onTestFinished(() => link[Symbol.asyncDispose]())
  return link
}

/** A client that comes back at once. */
async function connect(url = host.url, RESP: 2 | 3 = 3) {
  const client = createClient({ url, RESP, socket: { reconnectStrategy: 20 } })
  client.on("error", () => undefined)
  onTestFinished(() => client.destroy())
  return client.connect()
}

/** Where values are true. */
interface Origin {
  version: number
  reads: number
}

interface ServerOptions {
  /** Where it finds Redis for look-ups, and for its subscription. */
  readonly url?: string
  readonly subscriberUrl?: string
  readonly RESP?: 2 | 3
  readonly reader?: Partial<TidemarkOptions>
  readonly follow?: Partial<FollowWakesOptions>
}

/** Waits until a reader was told of an epoch, asking nothing for it. */
async function heardOf({ tidemark }: { readonly tidemark: Tidemark }, epoch: Epoch): Promise<void> {
  for (;;) {
    const { stamp } = await tidemark.begin("shop")
    if (stamp && stamp.epoch >= epoch) return
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** One server: its cache before the origin, and what it hears. */
async function startServer(origin: Origin, options: ServerOptions = {}) {
  const { url = host.url, subscriberUrl = url, RESP = 3, reader, follow } = options
  const client = await connect(url, RESP)
  const store = redisStore(client, { timeout: 500 })
  const counts = { lookups: 0 }
  const tidemark = createTidemark({
    store: {
      lookup(...asked) {
        counts.lookups += 1
        return store.lookup(...asked)
      },
    },
    ttl: HOUR,
    maxStale: 2 * HOUR,
    ...reader,
  })
  const cache = createLocalCache<string>({ tidemark, namespace: "shop" })
  const events: WakeEvent[] = []
  const subscriber = createClient({ url: subscriberUrl, RESP, socket: { reconnectStrategy: 20 } })
  const wakes = followWakes({
    tidemark,
    subscriber,
    caches: [cache],
    onEvent: (event) => void events.push(event),
    ...follow,
  })
  onTestFinished(() => wakes.close())
  const told = (type: WakeEvent["type"]) => events.filter((event) => event.type === type)
  await expect.poll(() => told("following")).toHaveLength(1)
  const read = () => {
    origin.reads += 1
    return `v${origin.version}`
  }
  const get = (key = "lamp", fill: () => string | Promise<string> = read) =>
    cache.getOrFill(key, { fill, tags: [key] })
  return { cache, tidemark, wakes, client, subscriber, events, told, counts, read, get }
}

const newOrigin = (): Origin => ({ version: 1, reads: 0 })

describe("redisStore", () => {
  test("answers the same by RESP3, by RESP2, with a client's own types, and over a pool", async () => {
    await publish(purge("a"), invalidate("b"), { namespace: "shop/lamps" }, invalidate("c"))
    const url = "https://www.example.com/"
    await publish({ namespace: "shop", urls: [url] })
    const request = new Map([
      ["shop", { tags: ["a", "b", "none"], urls: [url] }],
      ["shop/lamps", { tags: [], urls: [] }],
      ["blog", { tags: ["x"], urls: [] }],
    ])
    const client = await connect()
    const pool = createClientPool({ url: host.url })
    await pool.connect()
    onTestFinished(() => pool.destroy())
    const now = () => 1
    const stores = [
      redisStore(client, { now }),
      redisStore(await connect(host.url, 2), { now }),
      redisStore(client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }), { now }),
      redisStore(pool, { now }),
    ]
    const after = await client.get(headKey("default")).then((head) => Number(head?.split(" ")[0]))
    const answers = await Promise.all(
      stores.flatMap((store) => [store.lookup(request), store.lookup(request, after)]),
    )
    const [plain, withChanges] = answers
    expect(plain?.namespaces.get("shop")?.tags.size).toBe(3)
    expect(withChanges?.changed?.get("shop")?.size).toBe(3)
    for (const [index, answer] of answers.entries()) expect(answer).toEqual(answers[index % 2])
  })

  test("tells tenants apart, and what was never published to", async () => {
    await publisher(host.store, CONFIG, "acme").publish(purge())
    const client = await connect()
    const asked = new Map([["shop", { tags: ["lamp"], urls: [] }]])
    expect((await redisStore(client).lookup(asked)).generation).toBe(0)
    const { generation, last, namespaces } = await redisStore(client, { tenant: "acme" }).lookup(asked)
    expect(generation).toBe(last)
    expect(namespaces.get("shop")?.hard).toBe(last)
  })

  test("needs no more rights than to read, and to subscribe", async () => {
    const rights = "resetkeys %R~tm:{*}:head %R~tm:{*}:n:* %R~tm:{*}:tags:* resetchannels &tm:v1:{default}:*"
    const commands = "-@all +mget +zmscore +zrangebyscore +psubscribe"
    await host.command("ACL", "SETUSER", "web", "on", ">secret", ...`${rights} ${commands}`.split(" "))
    onTestFinished(async () => void (await host.command("ACL", "DELUSER", "web")))
    const url = new URL(host.url)
    Object.assign(url, { username: "web", password: "secret" })
    const origin = newOrigin()
    const { get } = await startServer(origin, { url: url.href })
    await publish(invalidate("other"))
    expect(await get()).toBe("v1")
    origin.version = 2
    await publish(purge())
    await expect.poll(() => get()).toBe("v2")
    // A user who may not even read a namespace is told so, and others are not held responsible.
    await host.command("ACL", "SETUSER", "web", "resetkeys", "%R~tm:{default}:head", "%R~tm:{default}:n:")
    const client = await connect(url.href)
    await expect(
      redisStore(client).lookup(new Map([["shop", { tags: [], urls: [] }]])),
    ).rejects.toMatchObject({ name: "StoreRefusal", status: 403 })
  })
})

describe("two servers", () => {
  test.each([2, 3] as const)("each drop what the other's user changed, by RESP%d", async (RESP) => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const [a, b] = await Promise.all([startServer(origin, { RESP }), startServer(origin, { RESP })])
    expect([await a.get(), await b.get(), await b.get("chair")]).toEqual(["v1", "v1", "v1"])
    origin.version = 2
    await publish(purge())
    await expect.poll(() => a.cache.size + b.cache.size).toBe(1)
    expect([await a.get(), await b.get(), await b.get("chair")]).toEqual(["v2", "v2", "v1"])
    // The namespace above, and everything.
    origin.version = 3
    await publish({ everything: true, mode: "purge" })
    await expect.poll(() => a.cache.size + b.cache.size).toBe(0)
    expect([await a.get(), await b.get("chair")]).toEqual(["v3", "v3"])
  })

  test("after a soft change serve the old value until one fill has the new one", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const { get, told, counts, tidemark } = await startServer(origin)
    await get()
    origin.version = 2
    const [{ epoch } = { epoch: 0 }] = await publish(invalidate())
    const { lookups } = counts
    await expect.poll(() => counts.lookups).toBeGreaterThan(lookups)
    expect((await tidemark.begin("shop")).stamp?.epoch).toBe(epoch)
    expect(await get()).toBe("v1")
    await expect.poll(() => get()).toBe("v2")
    expect(origin.reads).toBe(2)
    expect(told("resync")).toHaveLength(1)
  })

  test("one of which is cut off during a change is right again by itself; lru-cache alone never is", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const link = await proxy()
    const [a, b] = await Promise.all([startServer(origin), startServer(origin, { subscriberUrl: link.url })])
    // The stock way: what a message names is deleted.
    const stock = new LRUCache<string, string>({ max: 100 })
    const listener = await connect(link.url)
    await listener.subscribe("deletions", (key) => void stock.delete(key))
    const heard: string[] = []
    await listener.subscribe("hello", (message) => void heard.push(message))

    stock.set("lamp", await b.get())
    expect([await a.get(), await b.get(), await b.get("chair")]).toEqual(["v1", "v1", "v1"])
    link.cut(true)
    await expect.poll(() => b.told("lost")).toHaveLength(1)
    origin.version = 2
    await publish(purge())
    await host.command("PUBLISH", "deletions", "lamp")
    await expect.poll(() => a.get()).toBe("v2")
    expect(await b.get()).toBe("v1")

    link.cut(false)
    await expect.poll(() => b.get()).toBe("v2")
    expect(b.told("resync").at(-1)).toEqual({ type: "resync", reason: "behind", entries: "judged" })
    // What was not concerned is still there.
    const { reads } = origin
    expect(await b.get("chair")).toBe("v1")
    expect(origin.reads).toBe(reads)
    await expect
      .poll(async () => {
        await host.command("PUBLISH", "hello", "again")
        return heard.length
      })
      .toBeGreaterThan(0)
    expect(stock.get("lamp")).toBe("v1")
  })

  test("one of which was cut off while nothing changed keeps everything, and hears again", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const link = await proxy()
    const b = await startServer(origin, { subscriberUrl: link.url })
    await b.get()
    const { lookups } = b.counts
    for (const harm of ["cut", "close", "reset"] as const) {
      const before = b.told("following").length
      link[harm](true)
      link.cut(false)
      await expect.poll(() => b.told("following")).toHaveLength(before + 1)
    }
    expect(b.told("resync")).toHaveLength(1)
    expect(await b.get()).toBe("v1")
    expect([origin.reads, b.counts.lookups]).toEqual([1, lookups])
    origin.version = 2
    await publish(purge())
    await expect.poll(() => b.get()).toBe("v2")
  })

  test("one of which cannot read the head after a reconnect drops everything", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const link = await proxy()
    const b = await startServer(origin, { subscriberUrl: link.url, RESP: 2 })
    await b.get()
    link.close()
    await expect.poll(() => b.told("following")).toHaveLength(2)
    expect(b.told("resync").at(-1)).toEqual({ type: "resync", reason: "unknown", entries: "dropped" })
    expect(b.cache.size).toBe(0)
    // Over RESP2 the subscription works all the same.
    origin.version = 2
    await publish(purge())
    await expect.poll(() => b.get()).toBe("v2")
  })

  test("one whose connection is dead at the other end opens another", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const link = await proxy()
    const b = await startServer(origin, { subscriberUrl: link.url, follow: { checkEvery: 100 } })
    await b.get()
    link.freeze()
    origin.version = 2
    await publish(purge())
    await expect.poll(() => b.get()).toBe("v2")
    expect(b.told("lost").at(-1)).toMatchObject({ error: { name: "NoAnswer" } })
    origin.version = 3
    await publish(purge())
    await expect.poll(() => b.get()).toBe("v3")
    expect(link.open).toBe(1)
  })

  test("one whose subscription is deaf finds out by the head", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const deaf = createClient({ url: host.url })
    const b = await startServer(origin, {
      follow: {
        checkEvery: 100,
        subscriber: Object.assign(deaf, { pSubscribe: () => Promise.resolve() }),
      },
    })
    await b.get()
    origin.version = 2
    await publish(purge())
    await expect.poll(() => b.get()).toBe("v2")
  })

  test("without any wakes are right within twice the ttl", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    let ahead = 0
    const now = () => Date.now() + ahead
    const b = await startServer(origin, { reader: { ttl: 5_000, maxStale: 60_000, now } })
    await b.wakes.close()
    await b.get()
    origin.version = 2
    await publish(purge())
    expect(await b.get()).toBe("v1")
    ahead += 10_000
    expect(await b.get()).toBe("v2")
  })

  test("of two changes in quick succession keep the newer one's", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const [a, b] = await Promise.all([startServer(origin), startServer(origin)])
    await Promise.all([a.get(), b.get()])
    for (let round = 0; round < 20; round += 1) {
      const released = Promise.withResolvers<void>()
      origin.version += 1
      await publish(purge())
      // Reads what the first change made true, and is slow to keep it.
      const filling = a.get("lamp", async () => {
        const value = a.read()
        await released.promise
        return value
      })
      origin.version += 1
      const [position] = await publish(purge())
      released.resolve()
      await filling
      const heardAll = async () =>
        Promise.all([a, b].map(async ({ tidemark }) => (await tidemark.begin("shop")).stamp?.epoch))
      await expect.poll(heardAll).toEqual([position?.epoch, position?.epoch])
      const truth = `v${origin.version}`
      expect([await a.get(), await b.get()]).toEqual([truth, truth])
    }
  })

  test("drop nothing new for an old message, and ignore what is none", async () => {
    const origin = newOrigin()
    const [old] = await publish(invalidate("other"))
    const b = await startServer(origin)
    await publish(purge())
    await b.get()
    await expect
      .poll(async () => (await b.tidemark.begin("shop")).stamp?.epoch)
      .toBeGreaterThan(old?.epoch ?? 0)
    await b.get()
    const { reads } = origin
    const again = JSON.stringify({ v: 1, g: old?.generation, e: old?.epoch, s: old?.seq })
    const channel = wakeChannel("default", "shop")
    for (const message of [again, again, "garbage", "{}", again]) {
      await host.command("PUBLISH", channel, message)
      await host.command("PUBLISH", wakeChannel("default", ""), message)
    }
    await expect.poll(() => b.told("unreadable").at(-1)).toEqual({ type: "unreadable", count: 4 })
    expect(await b.get()).toBe("v1")
    expect(origin.reads).toBe(reads)
    origin.version = 2
    await publish(purge())
    await expect.poll(() => b.get()).toBe("v2")
  })

  test("ask the store little in a storm of 10,000 wakes, and are right after it", async () => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const b = await startServer(origin)
    for (let index = 0; index < 1_000; index += 1) await b.get(String(index))
    const { lookups } = b.counts
    const { reads } = origin
    const began = Date.now()
    origin.version = 2
    for (let sent = 0; sent < 10_000; sent += 50)
      await Promise.all(Array.from({ length: 50 }, (_, index) => publish(purge(`storm-${sent + index}`))))
    const [last] = await publish(purge("7"))
    await expect.poll(() => b.cache.size).toBe(999)
    // One a round, and one more where something is asked meanwhile; there are twenty rounds a second at most.
    expect(b.counts.lookups - lookups).toBeLessThanOrEqual((2 * (Date.now() - began)) / 50 + 2)
    expect((await b.tidemark.begin("shop")).stamp?.epoch).toBe(last?.epoch)
    expect(await b.get("8")).toBe("v1")
    expect(origin.reads).toBe(reads)
    expect(await b.get("7")).toBe("v2")
  })

  test("leave nothing behind when they are closed", async () => {
    const origin = newOrigin()
    const before = process.getActiveResourcesInfo().filter((kind) => kind !== "Immediate").length
    const link = await proxy()
    const b = await startServer(origin, { subscriberUrl: link.url })
    await b.get()
    await publish(purge())
    await b.wakes.close()
    await b.wakes.close()
    b.client.destroy()
    await expect.poll(() => link.open).toBe(0)
    expect(b.subscriber.isOpen).toBe(false)
    const after = () => process.getActiveResourcesInfo().filter((kind) => kind !== "Immediate").length
    // The proxy's own server is still there.
    await expect.poll(after).toBeLessThanOrEqual(before + 1)
    const { length } = b.events
    await publish(purge())
    expect(b.events).toHaveLength(length)
  })

  test("that are closed while Redis is away do not come back", async () => {
    const origin = newOrigin()
    const link = await proxy()
    const b = await startServer(origin, { subscriberUrl: link.url })
    link.cut(true)
    await expect.poll(() => b.told("lost")).toHaveLength(1)
    await b.wakes.close()
    link.cut(false)
    // One that comes now comes after whatever was under way.
    const other = await connect(link.url)
    await other.ping()
    expect(link.open).toBe(1)
  })
})

/** Read begins, then the change is published and heard of, then what was read is kept, then it is read again. */
describe("a thousand fills that began before a change", () => {
  const TIMES = 1_000
  const AT_ONCE = 50

  test.each(["purge", "invalidate"] as const)("are never served as fresh after it: %s", async (mode) => {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const b = await startServer(origin)
    let stale = 0
    for (let time = 0; time < TIMES; time += AT_ONCE) {
      const keys = Array.from({ length: AT_ONCE }, (_, index) => `lamp-${time + index}`)
      const published = Promise.withResolvers<void>()
      let begun = 0
      const filling = keys.map((key) =>
        b.get(key, async () => {
          const value = b.read()
          begun += 1
          await published.promise
          return value
        }),
      )
      await expect.poll(() => begun, { interval: 1 }).toBe(AT_ONCE)
      origin.version += 1
      const positions = await Promise.all(
        keys.map((tag) => publish({ namespace: "shop", tags: [tag], mode })),
      )
      await heardOf(b, Math.max(...positions.flat().map(({ epoch }) => epoch)))
      published.resolve()
      await Promise.all(filling)
      const { reads } = origin
      const values = await Promise.all(keys.map((key) => b.get(key)))
      // What may still be served is revalidated for it.
      if (mode === "invalidate") await expect.poll(() => origin.reads, { interval: 1 }).toBe(reads + AT_ONCE)
      const after = mode === "purge" ? values : await Promise.all(keys.map((key) => b.get(key)))
      stale += after.filter((value) => value !== `v${origin.version}`).length
    }
    expect(stale).toBe(0)
  })

  test("are by lru-cache alone, with its entry deleted when the message comes, every time", async () => {
    const cache = new LRUCache<string, string>({ max: 100 })
    let deleted = Promise.withResolvers<void>()
    const listener = await connect()
    await listener.subscribe("deletions", (key) => {
      cache.delete(key)
      deleted.resolve()
    })
    const origin = newOrigin()
    let stale = 0
    for (let time = 0; time < TIMES; time += 1) {
      const published = Promise.withResolvers<void>()
      const filling = (async () => {
        const value = `v${origin.version}`
        await published.promise
        cache.set("lamp", value)
      })()
      origin.version += 1
      await host.command("PUBLISH", "deletions", "lamp")
      await deleted.promise
      deleted = Promise.withResolvers()
      published.resolve()
      await filling
      if (cache.get("lamp") !== `v${origin.version}`) stale += 1
    }
    expect(stale).toBe(TIMES)
  })
})

describe("a server whose Redis", () => {
  /** Between it and Redis a link, and a clock that the test sets ahead. */
  async function startOverLink() {
    const origin = newOrigin()
    await publish(invalidate("other"))
    const link = await proxy()
    const time = { ahead: 0 }
    const server = await startServer(origin, {
      url: link.url,
      subscriberUrl: host.url,
      reader: { ttl: 5_000, maxStale: 60_000, now: () => Date.now() + time.ahead },
    })
    await server.get()
    return { origin, link, time, ...server }
  }
  /** Serves by what is known up to `maxStale`, and then fills each time, with nothing kept. */
  async function expectBypass(
    server: Awaited<ReturnType<typeof startOverLink>> & { readonly cache: LocalCache<string> },
  ): Promise<void> {
    const { origin, time, get } = server
    time.ahead += 10_000
    expect(await get()).toBe("v1")
    expect(origin.reads).toBe(1)
    origin.version = 2
    time.ahead += 60_000
    expect(await get()).toBe("v2")
    origin.version = 3
    expect(await get()).toBe("v3")
    expect(origin.reads).toBe(3)
  }

  test("is away serves by what is known up to maxStale, and then past the cache", async () => {
    const server = await startOverLink()
    server.link.cut(true)
    await expectBypass(server)
    server.link.cut(false)
    await expect.poll(() => server.client.isReady).toBe(true)
    server.time.ahead += 5_000
    await expect
      .poll(async () => {
        const { reads } = server.origin
        await server.get()
        return server.origin.reads - reads
      })
      .toBe(0)
  })

  test("is slow counts as away", async () => {
    const server = await startOverLink()
    server.link.stall(true)
    await expectBypass(server)
  })

  test("holds garbage counts as away", async () => {
    const server = await startOverLink()
    await host.command("SET", headKey("default"), "garbage")
    await expectBypass(server)
  })

  test("is older than what is known is used for nothing but to say no", async () => {
    const server = await startOverLink()
    // As it was before the change, on another server.
    const replica = await startRedis()
    onTestFinished(() => replica.stop())
    const copy = await connect(replica.url)
    for (const key of await server.client.keys("*")) {
      const type = await server.client.type(key)
      if (type === "string") await copy.set(key, (await server.client.get(key)) ?? "")
      if (type === "zset") await copy.zAdd(key, await server.client.zRangeWithScores(key, 0, -1))
    }
    server.origin.version = 2
    const [position] = await publish(purge())
    await expect.poll(async () => (await server.tidemark.begin("shop")).stamp?.epoch).toBe(position?.epoch)
    server.link.lead(replica.url)
    server.link.reset()
    await expect.poll(() => server.client.isReady).toBe(true)
    for (let round = 0; round < 3; round += 1) {
      server.time.ahead += 10_001
      expect(await server.get()).toBe("v2")
    }
  })
})
