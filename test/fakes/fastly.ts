import {
  type Fake,
  FakeBase,
  FakeCache,
  type FakeOptions,
  type Faults,
  type Received,
  Refusal,
  TokenBucket,
} from "./fake.ts"

/**
 * Fastly's purging: https://www.fastly.com/documentation/reference/api/purging/ and, soft, the same with
 * `Fastly-Soft-Purge`. Purge-all counts against the limit of the API: 1,000 requests an hour a user.
 */
export interface FakeFastlyOptions extends FakeOptions {
  readonly services: readonly string[]
  readonly token: string
  /** What the token may do; `purge_all` is needed to purge everything. */
  readonly scopes?: readonly ("purge_select" | "purge_all")[]
}

const REQUESTS_PER_HOUR = 1_000

const json = (status: number, body: object, headers: HeadersInit = {}) =>
  Response.json(body, { status, headers })
const fail = (reason: string) => json(400, { status: "fail", reason })

/** Answers about the service: https://github.com/fastly/fastly-php/issues/53 */
const FAULTS: Faults = {
  "a token that is not known": {
    answer: () => json(401, { msg: "Provided credentials are missing or invalid" }),
    mend: ["token"],
  },
  "credentials, by a 400": {
    answer: () => json(400, { msg: "Bad request", detail: "Provided credentials are missing or invalid" }),
    mend: ["token"],
  },
  "no scope": {
    answer: () => json(403, { msg: "You are not authorized to perform this action" }),
    mend: ["service", "token"],
  },
  "no such service": {
    answer: () => json(404, { msg: "Record not found", detail: "Cannot load service" }),
    mend: ["service", "token"],
  },
  "no such service, by a 400": {
    answer: () => json(400, { msg: "Bad request", detail: "Cannot find service" }),
    mend: ["service"],
  },
}

/** An account with services, and one cache for all of them. */
export class FakeFastly extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: " " })
  readonly #options: FakeFastlyOptions
  readonly #api: TokenBucket
  #ids = 0

  constructor(options: FakeFastlyOptions) {
    super()
    this.#options = options
    this.#api = new TokenBucket(REQUESTS_PER_HOUR / 3_600, REQUESTS_PER_HOUR, options)
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#route(request))
  }

  #route(request: Received): Response {
    const { method, url, headers } = request
    const root = "https://api.fastly.com/"
    if (!url.startsWith(root)) throw new Refusal(`no such host ${url}`, new Response(null, { status: 404 }))
    if (method !== "POST") throw new Refusal(method, json(405, { msg: "Method not allowed" }))
    // Not a complaint: that credentials are wrong is what some tests are about. A page, not JSON, as it does happen.
    if (headers.get("fastly-key") !== this.#options.token) {
      const page = "<html><head><title>401 Unauthorized</title></head><body></body></html>"
      return new Response(page, { status: 401, headers: { "content-type": "text/html" } })
    }
    const path = url.slice(root.length)
    const [, service, action] = /^service\/([^/]+)\/(purge|purge_all)$/.exec(path) ?? []
    if (service !== undefined) {
      if (!this.#options.services.includes(service))
        return json(404, { msg: "Record not found", detail: "Cannot load service" })
      return action === "purge" ? this.#byKeys(request) : this.#everything(request)
    }
    const [, address] = /^purge\/(.+)$/.exec(path) ?? []
    if (address !== undefined) return this.#byUrl(address, request)
    // Also `service/<id>/purge/<key>`: one key a call is documented, and a path there would be taken for a key.
    throw new Refusal(`no route ${url}`, json(404, { msg: "Record not found" }))
  }

  /** Any value of the header means soft, so that whoever means hard must not send it. */
  #how(headers: Headers): "soft" | "hard" {
    return headers.has("fastly-soft-purge") ? "soft" : "hard"
  }

  #byKeys({ headers, body }: Received): Response {
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", fail("no keys"))
    const [member, ...others] = Object.entries(JSON.parse(body) as Record<string, unknown>)
    if (others.length > 0 || member?.[0] !== "surrogate_keys" || !Array.isArray(member[1]))
      throw new Refusal("no surrogate_keys alone", fail("no surrogate keys"))
    const keys: readonly unknown[] = member[1]
    if (keys.length === 0) throw new Refusal("no keys", fail("no surrogate keys"))
    if (keys.length > 256) {
      const reason = "Batch surrogate key request only supports up to 256 surrogate keys"
      throw new Refusal(`${keys.length} keys`, fail(reason))
    }
    if (new Set(keys).size < keys.length) throw new Refusal("a key twice", fail("a key twice"))
    if (keys.some((key) => String(key).includes("poison"))) return fail("a key that is not taken")
    if (!keys.every((key): key is string => typeof key === "string" && /^[\x21-\x7e]{1,1024}$/.test(key)))
      throw new Refusal("a key that none can be", fail("a key that is not taken"))
    this.cache.purge(this.#how(headers), ({ has }) => keys.some(has))
    this.taken.push(keys.length)
    return json(200, Object.fromEntries(keys.map((key) => [key, this.#id()])))
  }

  #byUrl(address: string, { headers, body }: Received): Response {
    if (body !== "") throw new Refusal("a body with a url", fail("a body"))
    if (/^https?:/.test(address)) throw new Refusal(`a scheme in ${address}`, fail("not a url"))
    if (!/^[^\s/?#@]+\/[^\s#]*$/.test(address)) throw new Refusal(`no url ${address}`, fail("not a url"))
    if (address.includes("poison")) return fail("not a url")
    const { host, pathname, search } = new URL(`https://${address}`)
    // Both schemes of a page are one object, unless the service's own code says otherwise.
    this.cache.purge(
      this.#how(headers),
      ({ url }) => url.host === host && url.pathname === pathname && url.search === search,
    )
    this.taken.push(1)
    return json(200, { status: "ok", id: this.#id() })
  }

  #everything({ headers, body }: Received): Response {
    const { scopes = ["purge_select", "purge_all"], now } = this.#options
    if (body !== "") throw new Refusal("a body with purge_all", fail("a body"))
    if (headers.has("fastly-soft-purge"))
      throw new Refusal("a soft purge of everything", fail("purge all is never soft"))
    if (!scopes.includes("purge_all"))
      return json(403, { msg: "You do not have permission to perform this action" })
    const isTaken = this.#api.take()
    const tokens = this.#api.tokens
    const limits = {
      "fastly-ratelimit-remaining": String(Number.isFinite(tokens) ? Math.floor(tokens) : REQUESTS_PER_HOUR),
      "fastly-ratelimit-reset": String(Math.ceil(now() / 1_000 / 3_600) * 3_600),
    }
    if (!isTaken) {
      this.limited += 1
      return json(429, { msg: "You have exceeded your hourly rate limit." }, limits)
    }
    this.cache.purge("hard", () => true)
    this.taken.push(1)
    return json(200, { status: "ok" }, limits)
  }

  #id(): string {
    this.#ids += 1
    return `79-1434606966-${this.#ids}`
  }
}
