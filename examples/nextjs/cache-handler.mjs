import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { createClient } from "redis"
import { createTidemark, workerStore } from "tidemark/client"
import { createCacheHandler } from "tidemark/next"
import { redisStorage } from "tidemark/next-redis"

/** What `npm start` in the repository made. In your app, the token comes from the environment alone. */
const devToken = join(process.cwd(), "../../.tidemark/dev.token")

const token =
  process.env.TIDEMARK_TOKEN ?? (existsSync(devToken) ? readFileSync(devToken, "utf8").trim() : undefined)

const tidemark = createTidemark({
  store: workerStore({ url: process.env.TIDEMARK_URL ?? "http://127.0.0.1:8787", token }),
  ttl: Number(process.env.TIDEMARK_TTL ?? 1_000),
})

/** Shared by several processes where there is a Redis; else each keeps its entries in its own memory. */
function storage() {
  if (!process.env.REDIS_URL) return {}
  // While Redis is away nothing is queued: pages do without.
  const redis = createClient({ url: process.env.REDIS_URL, disableOfflineQueue: true })
  redis.on("error", (error) => console.warn(`redis: ${error.message}`))
  void redis.connect()
  return { storage: redisStorage(redis) }
}

export default createCacheHandler({ tidemark, namespace: "blog", ...storage() })
