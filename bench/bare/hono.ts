import { Hono } from "hono"
import { evalsha } from "./publish.ts"

/** The least that an edge function on Hono could do: one route, and the same script by one fetch. */
interface Bindings {
  readonly REST_URL: string
  readonly REST_TOKEN: string
  readonly SHA1: string
}

const app = new Hono<{ Bindings: Bindings }>()

app.post("/", async (c) => {
  const { REST_URL, REST_TOKEN, SHA1 } = c.env
  const { namespace, tags } = await c.req.json<{ namespace: string; tags: string[] }>()
  const response = await fetch(REST_URL, {
    method: "POST",
    headers: { authorization: `Bearer ${REST_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(evalsha(SHA1, namespace, tags)),
  })
  return c.text(await response.text(), response.ok ? 202 : 500)
})

export default app
