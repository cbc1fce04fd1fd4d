import { createClient } from "redis"
import { Pool } from "undici"

/** The least that a relay could do: hear a wake, read what is new, post it. It keeps nothing and retries nothing. */
const [redisUrl = "", vendorUrl = ""] = process.argv.slice(2)
const subscriber = createClient({ url: redisUrl, RESP: 2 })
const commands = createClient({ url: redisUrl, RESP: 2 })
await Promise.all([subscriber.connect(), commands.connect()])
const { origin, pathname } = new URL(vendorUrl)
const pool = new Pool(origin, { connections: 16 })
const [newest] = await commands.sendCommand<[string, string[]][]>([
  "XREVRANGE",
  "tm:{bare}:log",
  "+",
  "-",
  "COUNT",
  "1",
])
let after = newest?.[0].split("-")[0] ?? "0"

await subscriber.subscribe("bare", async (message) => {
  const { e } = JSON.parse(message) as { e: number }
  const from = after
  after = String(e)
  const entries = await commands.sendCommand<[string, string[]][]>([
    "XRANGE",
    "tm:{bare}:log",
    `${from}-1`,
    `${e}-0`,
  ])
  const tags = entries.flatMap(
    ([, fields]) => (JSON.parse(fields[fields.indexOf("d") + 1] ?? "{}") as { tags?: string[] }).tags ?? [],
  )
  if (tags.length === 0) return
  const { body } = await pool.request({ path: pathname, method: "POST", body: JSON.stringify({ tags }) })
  await body.dump()
})
process.stdout.write("ready\n")
process.once("SIGTERM", () => process.exit(0))
