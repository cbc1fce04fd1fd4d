/** What stands at the edge where the queue does not: it hands a publish on to whoever can hold a connection to Redis. */
interface Bindings {
  readonly HANDLER_URL: string
}

export default {
  async fetch(request: Request, { HANDLER_URL }: Bindings): Promise<Response> {
    if (request.method !== "POST") return new Response("ok")
    return fetch(HANDLER_URL, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: request.body,
    })
  },
}
