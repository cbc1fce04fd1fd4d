import { once } from "node:events"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { text } from "node:stream/consumers"
import { createClient } from "redis"
import { createTidemark, workerStore } from "tidemark/client"
import { createLocalCache, followWakes, redisStore } from "tidemark/node"

/** One of two servers that show products of one database, each from a cache in its own memory. */

const { PORT, REDIS_URL = "", TIDEMARK_URL = "", TIDEMARK_TOKEN = "" } = process.env
const NAMESPACE = "catalog/products"
/** Stands for your database. */
const DATABASE = "node-pair:products"

const redis = createClient({ url: REDIS_URL })
redis.on("error", () => undefined)
await redis.connect()

const tidemark = createTidemark({
  // Epochs are read from Redis; what is published goes to the Worker, which has the configuration.
  store: { ...workerStore({ url: TIDEMARK_URL, token: TIDEMARK_TOKEN }), ...redisStore(redis) },
})
const products = createLocalCache<string | null>({ tidemark, namespace: NAMESPACE })
const wakes = followWakes({ tidemark, subscriber: redis.duplicate(), caches: [products] })

const server = createServer((request, response) => {
  answer(request).then(
    ({ status, body, from }) => response.writeHead(status, { "x-from": from }).end(`${body}\n`),
    () => response.writeHead(502).end("something did not answer\n"),
  )
})

async function answer(request: IncomingMessage): Promise<{ status: number; body: string; from: string }> {
  const slug = new URL(request.url ?? "/", "http://localhost").pathname.slice(1)
  const tags = [`product-${slug}`]
  if (request.method === "PUT") {
    // First the change, and then its invalidation.
    await redis.hSet(DATABASE, slug, await text(request))
    const { id } = await tidemark.purge({ namespace: NAMESPACE, tags })
    return { status: 200, body: `changed and purged: ${id}`, from: "database" }
  }
  let from = "memory"
  const product = await products.getOrFill(slug, {
    tags,
    fill() {
      from = "database"
      return redis.hGet(DATABASE, slug)
    },
  })
  return { status: product === null ? 404 : 200, body: product ?? "no such product", from }
}

server.listen(Number(PORT), "127.0.0.1")
await once(server, "listening")
process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`)

async function stop(): Promise<void> {
  server.close()
  server.closeAllConnections()
  await wakes.close()
  redis.destroy()
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop())
