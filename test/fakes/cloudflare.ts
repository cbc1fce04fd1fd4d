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
 * Cloudflare's zone purge: https://developers.cloudflare.com/api/resources/cache/methods/purge/ and, soft, the same at
 * `invalidate_cache`. Limits: https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits
 */
const PLANS = {
  free: { perSecond: 5 / 60, burst: 25, urls: 800 },
  pro: { perSecond: 5, burst: 25, urls: 1_500 },
  business: { perSecond: 10, burst: 50, urls: 1_500 },
  enterprise: { perSecond: 50, burst: 500, urls: 3_000 },
} as const

export interface FakeCloudflareOptions extends FakeOptions {
  readonly zones: readonly string[]
  readonly token: string
  readonly plan: keyof typeof PLANS
}

const MEMBERS: Readonly<Record<string, RegExp>> = {
  tags: /^[\x21-\x2b\x2d-\x7e]{1,1024}$/,
  files: /^https?:\/\/[^\s#]+$/,
  hosts: /^[^\s/:]+$/,
  prefixes: /^[^\s:/?#]+(\/[^\s?#]*)?$/,
}

const envelope = (
  status: number,
  errors: readonly object[],
  result: object | null,
  headers: HeadersInit = {},
) => Response.json({ success: errors.length === 0, errors, messages: [], result }, { status, headers })
const fault = (code: number, message: string, status = 400) => envelope(status, [{ code, message }], null)

/**
 * The first: https://github.com/cloudflare/cloudflare-go/issues/643; a zone that is none, or an account's id in its
 * place: https://github.com/lukesUbuntu/cloudflare-api/issues/4; what a plan has not:
 * https://github.com/cloudflare/cloudflare-php/pull/25. 9106 and 9109 stand in logs of wrangler.
 */
const FAULTS: Faults = {
  "a token of no form": { answer: () => fault(6003, "Invalid request headers"), mend: ["token"] },
  "a token that is not known": {
    answer: () => fault(9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
    mend: ["token"],
  },
  "a token that is over": { answer: () => fault(9109, "Invalid access token", 403), mend: ["token"] },
  "a token that may not, within a 200": {
    answer: () => fault(10000, "Authentication error", 200),
    mend: ["token"],
  },
  "a zone that is none": {
    answer: () =>
      fault(7003, "Could not route to /zones/x/purge_cache, perhaps your object identifier is invalid?", 404),
    mend: ["zone"],
  },
  "no route": { answer: () => fault(7000, "No route for that URI", 400), mend: ["zone"] },
  "a plan without it": {
    answer: () => fault(1107, "Only enterprise zones can purge by tag."),
    mend: ["zone"],
  },
  "an unknown 404": { answer: () => fault(1, "?", 404), mend: ["zone", "token"] },
}

/** An account with zones of one plan, which share its limits; and one cache for all of them. */
export class FakeCloudflare extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: ",", foldsCase: true })
  readonly #options: FakeCloudflareOptions
  readonly #calls: TokenBucket
  readonly #urls: TokenBucket

  constructor(options: FakeCloudflareOptions) {
    super()
    this.#options = options
    const { perSecond, burst, urls } = PLANS[options.plan]
    this.#calls = new TokenBucket(perSecond, burst, options)
    this.#urls = new TokenBucket(urls, urls, options)
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { zones, token } = this.#options
    const [, zone = "", action] =
      /^https:\/\/api\.cloudflare\.com\/client\/v4\/zones\/([0-9a-f]{32})\/(purge_cache|invalidate_cache)$/.exec(
        url,
      ) ?? []
    if (zone === "") throw new Refusal(`no route ${url}`, fault(7000, "No route for that URI", 404))
    // Not a complaint, as with credentials: an account's id where a zone's should be is what some tests are about.
    if (!zones.includes(zone)) return FAULTS["a zone that is none"]?.answer() ?? new Response()
    if (method !== "POST") throw new Refusal(method, fault(7001, "Method not available for that URI", 405))
    // Not a complaint: that credentials are wrong is what some tests are about.
    if (headers.get("authorization") !== `Bearer ${token}`) return fault(10000, "Authentication error", 403)
    if (headers.get("content-type") !== "application/json") {
      throw new Refusal("a content-type", fault(6003, "Invalid request headers"))
    }
    const [member, ...others] = Object.entries(JSON.parse(body) as Record<string, unknown>)
    if (!member || others.length > 0) throw new Refusal("not one member", fault(1012, "exactly one member"))
    const [name, items] = member
    const how = action === "purge_cache" ? "hard" : "soft"
    if (name === "purge_everything") {
      if (items !== true) throw new Refusal("purge_everything", fault(1012, "must be true"))
      if (!this.#calls.take()) return this.#tooMany()
      this.cache.purge(how, () => true)
      return this.#accept(1)
    }
    const form = MEMBERS[name]
    if (!form || !Array.isArray(items) || items.length === 0)
      throw new Refusal(name, fault(1012, "no such member"))
    if (items.length > 100 || new Set(items).size !== items.length) {
      throw new Refusal(`${items.length} ${name}`, fault(1094, "at most 100 items"))
    }
    // A 200 that is none, and not a word on which of them it was.
    const isPoison = items.some((item) => String(item).includes("poison"))
    if (isPoison) return fault(1016, "one or more purge errors", 200)
    if (!items.every((item): item is string => typeof item === "string" && form.test(item))) {
      throw new Refusal(`a value among ${name}`, fault(1315, "not printable", 200))
    }
    if (!(name === "files" ? this.#urls.take(items.length) : this.#calls.take())) return this.#tooMany()
    this.cache.purge(how, ({ url: page, has }) =>
      items.some((item) => {
        if (name === "tags") return has(item)
        if (name === "files") return new URL(item).href === page.href
        if (name === "hosts") return page.hostname === item
        return `${page.hostname}${page.pathname}`.startsWith(item)
      }),
    )
    return this.#accept(items.length)
  }

  #accept(count: number): Response {
    this.taken.push(count)
    return envelope(200, [], { id: `purge-${this.taken.length}` })
  }

  #tooMany(): Response {
    this.limited += 1
    return envelope(429, [{ code: 10429, message: "rate limit reached" }], null, { "retry-after": "1" })
  }
}
