import { Hono } from "hono"
import { createTidemark, workerStore } from "tidemark/client"
import { epochCache } from "tidemark/hono"

/** The README's lines, and an app that says what its environment is. */

const tidemark = createTidemark({ store: workerStore({ url: "https://tidemark.example.com", token: "t" }) })

const app = new Hono()
app.use(
  "/blog/:slug",
  epochCache({ app, tidemark, namespace: "blog", tags: (c) => [`post-${c.req.param("slug")}`] }),
)
app.get("/blog/:slug", (c) => c.text("x"))

interface Environment {
  Bindings: { A: string }
  Variables: { user: string }
}
const typed = new Hono<Environment>()
typed.use(
  "/x",
  epochCache<Environment>({ app: typed, tidemark, namespace: "blog", tags: (c) => [c.env.A, c.get("user")] }),
)
typed.use("/y", epochCache({ tidemark, namespace: "blog" }))
typed.use(
  "/z",
  epochCache<Environment>({
    tidemark,
    namespace: "blog",
    bypass: (c) => c.get("user") !== undefined,
    query: { allow: ["page"] },
    vary: ["accept-language"],
  }),
)

export default app
