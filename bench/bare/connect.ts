import { createClient } from "redis"

/** The least that a process on Redis could do before it is ready: connect, and see that it is answered. */
const [redisUrl = ""] = process.argv.slice(2)
const client = createClient({ url: redisUrl, RESP: 2 })
await client.connect()
await client.ping()
process.stdout.write("ready\n")
process.once("SIGTERM", () => process.exit(0))
