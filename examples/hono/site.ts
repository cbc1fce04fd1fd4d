import { type Context, Hono } from "hono"
import { createTidemark, type Tidemark, workerStore } from "tidemark/client"
import { epochCache } from "tidemark/hono"

/** A site of posts on a Worker, whose pages are kept in the Cache API until they are invalidated. */
interface Bindings {
  /** Where Tidemark's Worker answers, and a token with the scope `epochs:blog`. */
  readonly TIDEMARK_URL: string
  readonly TIDEMARK_TOKEN: string
}

type Env = { Bindings: Bindings }

/** One reader for all requests of this isolate: it holds what it was told. */
let reader: Tidemark | undefined
const tidemark = ({ env }: Context<Env>): Tidemark =>
  (reader ??= createTidemark({
    store: workerStore({ url: env.TIDEMARK_URL, token: env.TIDEMARK_TOKEN }),
    // Look-ups are used for a second here, so that there is something to see at once. The default is five.
    ttl: 1_000,
  }))

const app = new Hono<Env>()

app.use(
  "/posts/:id",
  epochCache<Env>({
    tidemark,
    // With the app, a page that was invalidated softly is served while it is made anew.
    app,
    namespace: "blog",
    tags: (c) => [`post-${c.req.param("id") ?? ""}`, "type-post"],
  }),
)

app.get("/posts/:id", (c) =>
  c.html(`<!doctype html><title>Post ${c.req.param("id")}</title>
<h1>Post ${c.req.param("id")}</h1><p>Made at ${new Date().toISOString()}.</p>`),
)

export default app
