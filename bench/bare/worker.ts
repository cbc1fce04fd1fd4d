/** The least that an edge function could do: the same script, by one fetch, and nothing else. */
interface Bindings {
  readonly REST_URL: string
  readonly REST_TOKEN: string
  readonly SHA1: string
}

export default {
  async fetch(request: Request, { REST_URL, REST_TOKEN, SHA1 }: Bindings): Promise<Response> {
    if (request.method !== "POST") return new Response("ok")
    const { namespace, tags } = (await request.json()) as { namespace: string; tags: string[] }
    const of = (rest: string) => `tm:{bare}:${rest}`
    const keys = [
      of("head"),
      of("log"),
      of("n:"),
      of("idem"),
      of("later"),
      of("later:items"),
      of("later:after"),
      of(`n:${namespace}`),
      of(`tags:${namespace}`),
    ]
    const body = JSON.stringify({ namespace, tags })
    const args = [
      "",
      "60",
      "",
      "1000000",
      "",
      "1",
      body,
      "bare",
      "tags",
      "invalidate",
      "2592000000000",
      "1000000",
      "",
      "0",
      String(tags.length),
      ...tags,
    ]
    const response = await fetch(REST_URL, {
      method: "POST",
      headers: { authorization: `Bearer ${REST_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(["EVALSHA", SHA1, String(keys.length), ...keys, ...args]),
    })
    return new Response(await response.text(), { status: response.ok ? 202 : 500 })
  },
}
