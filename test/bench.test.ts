import { createClient } from "redis"
import { afterAll, beforeAll, expect, test } from "vitest"
import { evalsha } from "../bench/bare/publish.ts"
import { startRedis } from "../cli/servers/redis.ts"
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
