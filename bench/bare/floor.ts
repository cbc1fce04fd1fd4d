import { createClient } from "redis"

/** The least that a reader of a log must do: one pass of XRANGE, and JSON.parse of every body. It merges and calls nothing. */
const [redisUrl = "", key = "", to = ""] = process.argv.slice(2)
const client = createClient({ url: redisUrl, RESP: 2 })
await client.connect()
const COUNT = 1_000
const began = performance.now()
const before = process.cpuUsage()
let from = "0-0"
let entries = 0
let tags = 0
for (;;) {
  const page = await client.sendCommand<[string, string[]][]>([
    "XRANGE",
    key,
    `(${from}`,
    to,
    "COUNT",
    String(COUNT),
  ])
  for (const [, fields] of page) {
    const body = JSON.parse(fields[fields.indexOf("d") + 1] ?? "{}") as { tags?: string[] }
    tags += body.tags?.length ?? 0
  }
  entries += page.length
  from = page.at(-1)?.[0] ?? from
  if (page.length < COUNT) break
}
const took = performance.now() - began
const { user, system } = process.cpuUsage(before)
process.stdout.write(`${JSON.stringify({ took, entries, tags, cpu: (user + system) / 1e6 })}\n`)
client.destroy()
