import { type Context, Hono } from "hono"
import { createTidemark, type Tidemark, workerStore } from "tidemark/client"
import { epochCache } from "tidemark/hono"

/** The site of the consistency check, in workerd: every page is read from the origin, and kept by epochs. */
interface Bindings {
  readonly TIDEMARK_URL: string
  readonly TIDEMARK_TOKEN: string
  readonly ORIGIN_URL: string
  readonly SITE_ORIGIN: string
  readonly TTL_MS: string
  readonly MAX_STALE_MS: string
  readonly SWR_MS: string
}

type Env = { Bindings: Bindings }

/** When a look-up of this reader last failed, as the store's caller saw it. */
let failedAt = 0

let reader: Tidemark | undefined
const tidemark = ({ env }: Context<Env>): Tidemark => {
  if (reader) return reader
  const store = workerStore({ url: env.TIDEMARK_URL, token: env.TIDEMARK_TOKEN })
  reader = createTidemark({
    store: {
      async lookup(request, after) {
        try {
          return await store.lookup(request, after)
        } catch (error) {
          failedAt = Date.now()
          throw error
        }
      },
    },
    ttl: Number(env.TTL_MS),
    maxStale: Number(env.MAX_STALE_MS),
  })
  return reader
}

const app = new Hono<Env>()

app.use(async (c, next) => {
  await next()
  c.header("soak-store-failed-at", String(failedAt))
})

let cached: ReturnType<typeof epochCache<Env>> | undefined
app.use("/p/:page", (c, next) => {
  cached ??= epochCache<Env>({
    tidemark,
    app,
    namespace: "blog",
    tags: (context) => [`page-${context.req.param("page") ?? ""}`, "type-page"],
    url: (context) => context.env.SITE_ORIGIN + new URL(context.req.url).pathname,
    swr: Number(c.env.SWR_MS),
  })
  return cached(c, next)
})

app.get("/p/:page", async (c) => {
  const page = await fetch(`${c.env.ORIGIN_URL}/p/${c.req.param("page")}`, {
    headers: { "soak-reader": "site" },
  })
  return new Response(page.body, {
    status: page.status,
    headers: { "content-type": "application/json", "cache-control": "s-maxage=3600" },
  })
})

export default app
