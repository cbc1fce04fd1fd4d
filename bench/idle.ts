/**
 * `npm run bench:idle`: what a relay asks of Redis while nothing happens, counted by `MONITOR` over a minute for some
 * numbers of tenants with one target each: every command but those that scripts ask themselves, as providers bill them.
 * `-- 1 10` counts for those numbers.
 */
import { setTimeout as delay } from "node:timers/promises"
import { createClient } from "redis"
import { startRedis } from "../cli/servers/redis.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { MINUTE, SECOND } from "../protocol/time.ts"
import { startRelayProcess } from "../test/support/relay-process.ts"

const TENANTS = [1, 10, 100]
/** What a start asks for is over by then, leases and all. */
const SETTLES = 45 * SECOND
const MINUTES_A_MONTH = 30 * 24 * 60

function configOf(tenants: number): ConfigInput {
  const names = Array.from({ length: tenants }, (_, nth) => `t-${nth}`)
  return {
    tenants: Object.fromEntries(names.map((name) => [name, { namespaces: { blog: {} } }])),
    targets: { out: { type: "print", namespaces: ["*"], tenants: names } },
  }
}

/** Commands of a minute, by name. */
async function countIdle(tenants: number): Promise<ReadonlyMap<string, number>> {
  const redis = await startRedis()
  const relay = await startRelayProcess({ redisUrl: redis.url, config: configOf(tenants) })
  const monitor = createClient({ url: redis.url, RESP: 2 })
  monitor.on("error", () => {})
  const counts = new Map<string, number>()
  try {
    await relay.ready
    await delay(SETTLES)
    await monitor.connect()
    await monitor.monitor((line) => {
      const [, from, name = ""] = /\[\d+ (\S+)\] "([^"]+)"/.exec(line) ?? []
      if (from !== "lua") counts.set(name.toUpperCase(), (counts.get(name.toUpperCase()) ?? 0) + 1)
    })
    await delay(MINUTE)
  } finally {
    monitor.destroy()
    await relay[Symbol.asyncDispose]()
    await redis.stop()
  }
  return counts
}

const chosen = process.argv.slice(2).map(Number)
for (const tenants of chosen.length > 0 ? chosen : TENANTS) {
  const counts = await countIdle(tenants)
  const sum = [...counts.values()].reduce((total, count) => total + count, 0)
  const named = [...counts].map(([name, count]) => `${name} ${count}`).join(", ")
  process.stdout.write(
    `${tenants} tenants: ${sum} commands a minute, ${sum * MINUTES_A_MONTH} a month (${named})\n`,
  )
}
