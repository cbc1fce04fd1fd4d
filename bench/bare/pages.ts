import { type Context, Hono } from "hono"
import { cache } from "hono/cache"
import { createTidemark, type EpochStore } from "tidemark/client"
import { epochCache } from "tidemark/hono"

/** One page behind nothing, behind Hono's own cache, and behind ours; the store is asked once in the whole run. */

const store: EpochStore = {
  async lookup(request) {
    const row = { epoch: 1, watermark: 1, hard: 1, floor: 1, tags: new Map<string, number>() }
    return {
      tenant: "default",
      generation: 1,
      last: 1,
      asOf: Date.now(),
      namespaces: new Map(Array.from(request.keys(), (name) => [name, row])),
    }
  },
}

const HOUR = 3_600_000
const tidemark = createTidemark({ store, ttl: HOUR, maxStale: 2 * HOUR })
const BODY = `<!doctype html>${"<p>a page</p>".repeat(154)}`
const page = (c: Context) => c.html(BODY, 200, { "cache-control": "public, max-age=3600" })

const app = new Hono()
app.get("/healthz", (c) => c.text("ok"))
app.get("/plain", page)
app.use("/cache", cache({ cacheName: "default", cacheControl: "max-age=3600" }))
app.get("/cache", page)
app.use("/epochs", epochCache({ tidemark, namespace: "blog", tags: () => ["post-1", "type-post"] }))
app.get("/epochs", page)

export default app
