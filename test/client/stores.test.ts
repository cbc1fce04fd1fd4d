import { convertV4MiniflareOptions, Miniflare } from "miniflare"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  createTidemark,
  edgeConfigStore,
  type EpochStore,
  kvStore,
  upstashStore,
  workerStore,
} from "../../client/index.ts"
import { readMirror } from "../../dispatch/mirror.ts"
import { edgeConfigKey, kvKey } from "../../protocol/mirror-keys.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** Every store of epochs over one real Redis, which a real Worker publishes to. */

interface KvBinding {
  get(key: string, type: "json"): Promise<unknown>
  put(key: string, value: string): Promise<void>
}

let edge: Edge
let miniflare: Miniflare
/** What the relay would write: every mirror is brought up to date after every publish. */
let mirror = (): Promise<unknown> => Promise.resolve()
const stores: Record<string, () => EpochStore> = {}

beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: {
        shop: { hosts: ["www.example.com"] },
        "shop/cart": { hosts: ["www.example.com"] },
      },
    },
    scopes: { publisher: ["publish:*", "everything"], reader: ["epochs:*"], both: ["epochs:*", "publish:*"] },
  })
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      modules: true,
      script: "export default { fetch: () => new Response() }",
      kvNamespaces: ["EPOCHS"],
      cf: false,
    }),
  )
  const kv = (await miniflare.getKVNamespace("EPOCHS")) as unknown as KvBinding
  const items = new Map<string, unknown>()
  mirror = async () => {
    const text = await readMirror(
      edge.store,
      { tenant: "default", config: edge.config, patterns: ["*"] },
      Date.now(),
    )
    await kv.put(kvKey("default"), text)
    items.set(edgeConfigKey("default"), JSON.parse(text))
  }
  const token = edge.tokens["reader"] ?? ""
  stores["the Worker"] = () => workerStore({ url: edge.url, token })
  stores["the Worker by a binding"] = () =>
    workerStore({
      url: "http://tidemark",
      token,
      fetch: { fetch: (url, init) => fetch(url.replace("http://tidemark", edge.url), init) },
    })
  stores["Upstash"] = () => upstashStore(edge.rest)
  stores["Workers KV"] = () => kvStore({ get: (key, type) => kv.get(key, type) })
  stores["Edge Config"] = () => edgeConfigStore({ get: async (key) => items.get(key) })
})
afterAll(async () => {
  await miniflare.dispose()
  await edge.stop()
})

const publish = async (body: object) => {
  const { status, json } = await edge.call("POST", "/v1/invalidations", {
    token: edge.tokens["publisher"] ?? "",
    body,
  })
  expect(status).toBe(202)
  await mirror()
  return json
}

const NAMES = ["the Worker", "the Worker by a binding", "Upstash", "Workers KV", "Edge Config"]
/** They hold no tags: any invalidation in a namespace counts for all of it. */
const MIRRORS = ["Workers KV", "Edge Config"]

describe.each(NAMES)("%s", (name) => {
  const url = "https://www.example.com/a"
  const reader = () => createTidemark({ store: stores[name]?.() as EpochStore, ttl: 0, maxStale: 60_000 })

  it.each([
    { what: "its tag", body: { namespace: "shop/cart", tags: ["a"] }, verdict: "stale" },
    { what: "its url", body: { namespace: "shop/cart", urls: [url] }, verdict: "stale" },
    {
      what: "another tag",
      body: { namespace: "shop/cart", tags: ["z"] },
      verdict: "fresh",
      mirrored: "stale",
    },
    { what: "another namespace", body: { namespace: "shop", tags: ["a"] }, verdict: "fresh" },
    { what: "the namespace above", body: { namespace: "shop" }, verdict: "stale" },
    {
      what: "a prefix",
      body: { namespace: "shop/cart", prefixes: ["https://www.example.com/b/"] },
      verdict: "stale",
    },
    { what: "everything", body: { everything: true }, verdict: "stale" },
    {
      what: "its tag, purged",
      body: { namespace: "shop/cart", tags: ["a"], mode: "purge" },
      verdict: "dead",
    },
  ])("after $what: $verdict, and what is filled then is fresh", async ({ body, verdict, mirrored }) => {
    await publish({ namespace: "shop", tags: ["first"] })
    const tidemark = reader()
    const depends = { tags: ["a"], urls: [url] }
    const { stamp } = await tidemark.begin("shop/cart")
    expect(stamp).toBeDefined()
    expect((await tidemark.judge(stamp, "shop/cart", depends)).verdict).toBe("fresh")
    await publish(body)
    const expected = MIRRORS.includes(name) ? (mirrored ?? verdict) : verdict
    expect((await tidemark.judge(stamp, "shop/cart", depends)).verdict).toBe(expected)
    const later = await tidemark.begin("shop/cart")
    expect((await tidemark.judge(later.stamp, "shop/cart", depends)).verdict).toBe("fresh")
    // One that knows nothing yet says the same.
    expect((await reader().judge(stamp, "shop/cart", depends)).verdict).toBe(expected)
  })
})

it("mirrors know of a namespace below a declared one only that something happened", async () => {
  await publish({ namespace: "shop", tags: ["first"] })
  for (const name of MIRRORS) {
    const tidemark = createTidemark({ store: stores[name]?.() as EpochStore, ttl: 0, maxStale: 60_000 })
    const { stamp } = await tidemark.begin("shop/cart/items")
    expect((await tidemark.judge(stamp, "shop/cart/items")).verdict).toBe("fresh")
    await publish({ namespace: "shop", tags: ["other"] })
    expect((await tidemark.judge(stamp, "shop/cart/items")).verdict).toBe("dead")
  }
})

it("Upstash's token may be one that cannot write: nothing but reads is sent", async () => {
  edge.requests.length = 0
  const tidemark = createTidemark({ store: upstashStore(edge.rest) })
  const { stamp } = await tidemark.begin("shop")
  await tidemark.judge(stamp, "shop", { tags: ["a"] })
  const commands = edge.requests.flatMap(({ commands: sent }) => sent)
  expect(new Set(commands)).toEqual(new Set(["MGET", "ZRANGEBYSCORE"]))
  expect(edge.requests).toHaveLength(1)
  const refused = createTidemark({ store: upstashStore({ ...edge.rest, token: "wrong" }) })
  expect((await refused.begin("shop")).stamp).toBeUndefined()
})

it("publishes through the Worker: what was filled before is judged by it at once", async () => {
  const tidemark = createTidemark({
    store: workerStore({ url: edge.url, token: edge.tokens["both"] ?? "" }),
    ttl: 60_000,
    maxStale: 120_000,
  })
  const { stamp } = await tidemark.begin("shop")
  const { id, epoch } = await tidemark.invalidate({ namespace: "shop", tags: ["a"], reason: "a test" })
  expect(id).toBe(String(epoch))
  expect(await tidemark.isFresh(stamp, "shop", { tags: ["a"] })).toBe(false)
  expect(await tidemark.isFresh(stamp, "shop", { tags: ["b"] })).toBe(true)
  const later = await tidemark.begin("shop")
  expect(later.stamp?.epoch).toBe(epoch)
  expect((await tidemark.judge(later.stamp, "shop", { tags: ["a"] })).verdict).toBe("fresh")
  await expect(tidemark.purge({ namespace: "no-such-namespace" })).rejects.toThrow("422")
})
