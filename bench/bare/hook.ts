import { Hono } from "hono"
import { evalsha } from "./publish.ts"

/** The least that a receiver of webhooks could do on Hono: read the body, and the same one call to Redis. It verifies nothing. */
interface Bindings {
  readonly REST_URL: string
  readonly REST_TOKEN: string
  readonly SHA1: string
}

const app = new Hono<{ Bindings: Bindings }>()

app.post("/", async (c) => {
  const { REST_URL, REST_TOKEN, SHA1 } = c.env
  const { sys } = await c.req.json<{ sys: { id: string } }>()
  const response = await fetch(REST_URL, {
    method: "POST",
    headers: { authorization: `Bearer ${REST_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(evalsha(SHA1, "blog", [`post-${sys.id}`, "type-post"])),
  })
  await response.arrayBuffer()
  return c.json({ accepted: 1 }, response.ok ? 200 : 500)
})

export default app
