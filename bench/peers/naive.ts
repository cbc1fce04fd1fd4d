/** Calls the CDN itself before it answers. It keeps nothing: what the CDN does not take is lost. */
interface Bindings {
  readonly VENDOR_URL: string
}

export default {
  async fetch(request: Request, { VENDOR_URL }: Bindings): Promise<Response> {
    if (request.method !== "POST") return new Response("ok")
    const { tags } = (await request.json()) as { tags: string[] }
    const response = await fetch(VENDOR_URL, { method: "POST", body: JSON.stringify({ tags }) })
    return new Response(await response.text(), { status: response.ok ? 202 : 502 })
  },
}
