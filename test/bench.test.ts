import { createClient } from "redis"
import { afterAll, beforeAll, expect, test } from "vitest"
import { evalsha } from "../bench/bare/publish.ts"
import { median } from "../bench/support/statistics.ts"
import { startRedis } from "../cli/servers/redis.ts"
import { createTidemark } from "../client/index.ts"
import { Planning } from "../dispatch/plan.ts"
import { http } from "../dispatch/targets/http.ts"
import { parseConfig } from "../protocol/config/config.ts"
import { decodeBody, encodeBody, type LogEntry } from "../protocol/log.ts"
import { NO_SELECTORS } from "../protocol/invalidation.ts"
import { publishScript } from "../protocol/scripts.gen.ts"

/** What the benchmarks hold Tidemark against must do the same work as it, or their ratios say nothing. */
let redis: Awaited<ReturnType<typeof startRedis>>
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

test("the bare chain publishes by the script as it is", async () => {
  const client = createClient({ url: redis.url, RESP: 2 })
  await client.connect()
  await client.sendCommand(["SCRIPT", "LOAD", publishScript.text])
  for (const nth of [1, 2]) {
    const [status, told] = (await client.sendCommand(
      evalsha(publishScript.sha1, "blog", ["a", "b"]),
    )) as string[]
    expect([status, told]).toEqual(["ok", expect.stringMatching(/^\d+ \d+:\d+$/)])
    expect(await client.xLen("tm:{bare}:log")).toBe(nth)
  }
  expect(await client.zCard("tm:{bare}:tags:blog")).toBe(2)
  client.destroy()
})

/** How many times as long one takes as the other, by the medians of rounds in turns. */
async function timesAsLong(one: () => unknown, other: () => unknown): Promise<number> {
  const took = async (work: () => unknown) => {
    const began = performance.now()
    await work()
    return performance.now() - began
  }
  const [ones, others]: [number[], number[]] = [[], []]
  for (let round = 0; round < 5; round += 1) {
    ones.push(await took(one))
    others.push(await took(other))
  }
  return median(ones) / median(others)
}

// The margins are wide: what is to be seen here is another order of growth, and never a slow machine.

test("a backlog ten times as long is planned in about ten times as long, whatever is in it", async () => {
  const config = parseConfig({
    namespaces: { "*": {} },
    targets: {
      hook: { type: "http", url: "https://hook.example.net/", secret: { secret: "S" }, namespaces: ["*"] },
    },
  })
  const target = config.targets["hook"]
  if (target?.type !== "http") throw new Error("no target")
  const capabilities = http.capabilities({ ...target, secret: "" })
  const url = (nth: number) => `https://www.example.com/${nth % 100}/${nth}`
  const kinds: ((nth: number) => object)[] = [
    (nth) => ({ tags: [`post-${nth % 20_000}`] }),
    (nth) => ({ urls: [url(nth)] }),
    (nth) => ({ prefixes: [`${url(nth)}/`], ...(nth % 50 === 0 ? { tags: ["all"] } : {}) }),
    (nth) => (nth % 10 === 0 ? {} : { tags: [`post-${nth}`] }),
  ]
  for (const kind of kinds) {
    const plan = (size: number) => {
      const planning = new Planning({ config, tenant: "default", target, capabilities })
      for (let nth = 0; nth < size; nth += 1) {
        const namespace = `site-${nth % 100}`
        const lists = { ...NO_SELECTORS, ...kind(nth) }
        const body = {
          kind: "invalidation",
          namespace,
          mode: "invalidate",
          by: { token: "t" },
          ...lists,
        } as const
        const entry: LogEntry = { generation: 1, epoch: nth, seq: nth, body: decodeBody(encodeBody(body)) }
        planning.take([entry])
      }
      return planning.finish()
    }
    expect(
      await timesAsLong(
        () => plan(20_000),
        () => plan(2_000),
      ),
    ).toBeLessThan(60)
  }
})

test("a judgement from memory is of the order of a Map.get", async () => {
  const namespaces = new Map([["blog", { epoch: 1, watermark: 9, hard: 1, floor: 1, tags: new Map() }]])
  const tidemark = createTidemark({
    store: {
      lookup: async () => ({ tenant: "default", generation: 1, last: 9, asOf: Date.now(), namespaces }),
    },
    ttl: 3_600_000,
    maxStale: 7_200_000,
  })
  const known = new Map([["post-1", { epoch: 5, until: Date.now() + 3_600_000 }]])
  const times = 20_000
  const bare = async () => {
    const isFresh = async () => {
      const row = known.get("post-1")
      return row !== undefined && Date.now() < row.until && row.epoch <= 6
    }
    for (let nth = 0; nth < times; nth += 1) await isFresh()
  }
  const ours = async () => {
    const stamp = { generation: 1, epoch: 9 }
    for (let nth = 0; nth < times; nth += 1) await tidemark.isFresh(stamp, "blog", { tags: ["post-1"] })
  }
  expect(await timesAsLong(ours, bare)).toBeLessThan(30)
})
