import { evalsha } from "./publish.ts"

/** The least that a receiver of webhooks could do: read the body, and the same one call to Redis. It verifies nothing. */
interface Bindings {
  readonly REST_URL: string
  readonly REST_TOKEN: string
  readonly SHA1: string
}

export default {
  async fetch(request: Request, { REST_URL, REST_TOKEN, SHA1 }: Bindings): Promise<Response> {
    if (request.method !== "POST") return new Response("ok")
    const { sys } = JSON.parse(await request.text()) as { sys: { id: string } }
    const response = await fetch(REST_URL, {
      method: "POST",
      headers: { authorization: `Bearer ${REST_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(evalsha(SHA1, "blog", [`post-${sys.id}`, "type-post"])),
    })
    await response.arrayBuffer()
    return Response.json({ accepted: 1 }, { status: response.ok ? 200 : 500 })
  },
}
