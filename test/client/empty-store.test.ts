import { createClient } from "redis"
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest"
import {
  createTidemark,
  type EpochStore,
  type Lookup,
  TidemarkError,
  upstashStore,
  workerStore,
} from "../../client/index.ts"
import { redisStore } from "../../client/node.ts"
import { Memory } from "../../dispatch/adopt.ts"
import { connectVendors } from "../../relay-node/vendor-fetch.ts"
import { WorkerCheck } from "../../relay-node/worker-check.ts"
import { redisCommand } from "../support/redis-command.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** Before anything was published, and before a relay began a log: a real Redis, a real Worker, a real adoption. */

let edge: Edge
const stores: Record<string, () => Promise<EpochStore>> = {}

beforeAll(async () => {
  edge = await startEdge({ config: { namespaces: { blog: {} } }, scopes: { reader: ["epochs:*"] } })
  stores["workerStore"] = async () => workerStore({ url: edge.url, token: edge.tokens["reader"] ?? "" })
  stores["upstashStore"] = async () => upstashStore(edge.rest)
  stores["redisStore"] = async () => {
    const client = createClient({ url: edge.redis.url })
    client.on("error", () => undefined)
    await client.connect()
    onTestFinished(() => client.destroy())
    return redisStore(client)
  }
})
afterAll(() => edge.stop())
beforeEach(async () => void (await redisCommand(edge.redis.url, "FLUSHALL")))

const adopt = () => new Memory().adopt(edge.store, "default", "relay", edge.config)

describe.each(["workerStore", "upstashStore", "redisStore"])("%s", (name) => {
  it("lets no observer see an epoch fall, and nothing be fresh before there is a log", async () => {
    const store = await (stores[name] ?? (() => Promise.reject(new Error(name))))()
    const said: TidemarkError[] = []
    const reader = () =>
      createTidemark({ store, ttl: 0, maxStale: 0, onError: (error) => void said.push(error) })
    const readers = [reader(), reader()]
    const observed: Lookup[] = []
    const observe = async () => {
      // By POST, too.
      const tags = Array.from({ length: 30 }, (_, nth) => `tag-${nth}-${"x".repeat(100)}`)
      for (const asked of [[], tags])
        observed.push(await store.lookup(new Map([["blog", { tags: asked, urls: [] }]]), 0))
    }
    await observe()
    await observe()
    for (const tidemark of readers) {
      expect((await tidemark.begin("blog")).stamp).toBeUndefined()
      expect(await tidemark.key("blog")).toBeUndefined()
      for (const lookup of observed)
        expect(await tidemark.judge({ generation: 0, epoch: lookup.last }, "blog")).toEqual({
          verdict: "unknown",
        })
    }
    expect(observed.map(({ generation, last, asOf }) => [generation, last - asOf * 1_000])).toEqual(
      observed.map(() => [0, 0]),
    )
    expect(said.map(({ code }) => code)).toEqual(["empty", "empty"])

    const { reason, head } = await adopt()
    expect(reason).toBe("missing")
    await observe()
    for (const tidemark of [...readers, reader()]) {
      // What failed is let alone for a moment.
      await expect
        .poll(async () => (await tidemark.begin("blog")).stamp)
        .toEqual({
          generation: head.generation,
          epoch: head.epoch,
        })
      const { stamp } = await tidemark.begin("blog")
      expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(true)
      expect(await tidemark.judge({ generation: 0, epoch: observed[0]?.last ?? 0 }, "blog")).toEqual({
        verdict: "dead",
      })
    }
    const lasts = observed.map(({ last }) => last)
    expect(lasts).toEqual(lasts.toSorted((one, other) => one - other))
  })
})

it("is no disagreement between the Worker and the relay", async () => {
  const said: (string | undefined)[] = []
  const principal = { name: "reader", tenant: "default", scopes: ["epochs:*"] }
  const vendor = connectVendors("test")
  onTestFinished(() => vendor.close())
  const check = new WorkerCheck({
    worker: { url: edge.url, token: edge.tokens["reader"] ?? "", principal },
    store: edge.store,
    config: edge.config,
    fetch: vendor.fetch,
    onChange: (disagreement) => void said.push(disagreement),
  })
  for (let round = 0; round < 4; round += 1) await check.run()
  expect(check.disagreement).toBeUndefined()
  await adopt()
  for (let round = 0; round < 4; round += 1) await check.run()
  expect(check.disagreement).toBeUndefined()
  expect(said).toEqual([])
})
