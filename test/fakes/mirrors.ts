import { FakeBase, type FakeOptions, type Received, Refusal, TokenBucket } from "./fake.ts"

/** Stores that hold mirrors of epochs: https://developers.cloudflare.com/kv/ and https://vercel.com/docs/edge-config */

const envelope = (status: number, errors: readonly object[]) =>
  Response.json({ success: errors.length === 0, errors, messages: [], result: null }, { status })
const fault = (status: number, code: number, message: string) => envelope(status, [{ code, message }])

/** Workers KV by Cloudflare's API: a key is written once a second at most. */
export class FakeKv extends FakeBase {
  readonly values = new Map<string, string>()
  readonly #options: FakeOptions & {
    readonly account: string
    readonly namespace: string
    readonly token: string
  }
  readonly #writes = new Map<string, TokenBucket>()

  constructor(
    options: FakeOptions & { readonly account: string; readonly namespace: string; readonly token: string },
  ) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#write(request))
  }

  #write({ method, url, headers, body }: Received): Response {
    const { account, namespace, token } = this.#options
    const base = `https://api.cloudflare.com/client/v4/accounts/${account}/storage/kv/namespaces/${namespace}/values/`
    if (!url.startsWith(base)) throw new Refusal(`no route ${url}`, fault(404, 7000, "No route for that URI"))
    if (method !== "PUT") throw new Refusal(method, fault(405, 7001, "Method not available"))
    if (headers.get("authorization") !== `Bearer ${token}`) return fault(403, 10000, "Authentication error")
    const key = decodeURIComponent(url.slice(base.length))
    if (key === "" || key === "." || key === ".." || new TextEncoder().encode(key).length > 512) {
      throw new Refusal(`the key ${key}`, fault(400, 10014, "invalid key"))
    }
    if (url.slice(base.length).includes("/"))
      throw new Refusal("a slash in a key as it is", fault(404, 7000, "No route"))
    const bucket = this.#writes.get(key) ?? new TokenBucket(1, 1, this.#options)
    this.#writes.set(key, bucket)
    if (!bucket.take()) {
      this.limited += 1
      return fault(429, 10058, "too many writes to the same key")
    }
    this.values.set(key, body)
    this.taken.push(1)
    return envelope(200, [])
  }
}

/** A Vercel Edge Config by Vercel's API. */
export class FakeEdgeConfig extends FakeBase {
  readonly items = new Map<string, unknown>()
  readonly #options: { readonly id: string; readonly team?: string; readonly token: string }

  constructor(options: { readonly id: string; readonly team?: string; readonly token: string }) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#patch(request))
  }

  #patch({ method, url, headers, body }: Received): Response {
    const { id, team, token } = this.#options
    const no = (status: number, code: string) => Response.json({ error: { code, message: code } }, { status })
    const { origin, pathname, search } = new URL(url)
    if (origin !== "https://api.vercel.com" || pathname !== `/v1/edge-config/${id}/items`) {
      throw new Refusal(`no route ${url}`, no(404, "not_found"))
    }
    if (search !== (team === undefined ? "" : `?teamId=${team}`))
      throw new Refusal(search, no(404, "not_found"))
    if (method !== "PATCH") throw new Refusal(method, no(405, "method_not_allowed"))
    if (headers.get("authorization") !== `Bearer ${token}`) return no(403, "forbidden")
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", no(415, "unsupported"))
    const { items, ...others } = JSON.parse(body) as {
      items: { operation: string; key: string; value: unknown }[]
    }
    if (!Array.isArray(items) || items.length === 0 || Object.keys(others).length > 0) {
      throw new Refusal("items", no(400, "bad_request"))
    }
    for (const { operation, key, value, ...rest } of items) {
      const isRight = operation === "upsert" && /^[A-Za-z0-9_-]{1,256}$/.test(key) && value !== undefined
      if (!isRight || Object.keys(rest).length > 0) throw new Refusal(`item ${key}`, no(400, "bad_request"))
      this.items.set(key, value)
    }
    this.taken.push(items.length)
    return Response.json({ status: "ok" })
  }
}
