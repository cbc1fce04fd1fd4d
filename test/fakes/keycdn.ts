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
 * KeyCDN's purging: https://www.keycdn.com/api and https://www.keycdn.com/support/purge-cdn-cache/. Purging by tags as
 * its users do it; 20 requests a minute and 128 characters of tags as in 2017: https://www.drupal.org/node/2878035
 */
export interface FakeKeycdnOptions extends FakeOptions {
  readonly zone: number
  readonly token: string
  /** The zone's own host, if URLs of that host are the only ones that it knows. */
  readonly zoneHost?: string
}

const reply = (status: number, word: "success" | "error", description: string) =>
  Response.json({ status: word, description, data: {} }, { status })
const fail = (status: number, description: string) => reply(status, "error", description)

/** "Not all errors map cleanly onto HTTP response codes": https://www.keycdn.com/api */
const FAULTS: Faults = {
  "a key, within a 200": { answer: () => fail(200, "API key is invalid"), mend: ["token"] },
  "a key, by a 400": { answer: () => fail(400, "Authentication failed"), mend: ["token"] },
  "a zone, within a 200": { answer: () => fail(200, "Zone not found"), mend: ["zone", "tags"] },
  "a zone that is not active": { answer: () => fail(400, "Zone is not active"), mend: ["zone", "tags"] },
  "an account that is suspended": { answer: () => fail(200, "Your account is suspended"), mend: ["token"] },
  "no such zone": { answer: () => fail(404, "Zone not found"), mend: ["zone", "tags"] },
}

/** An account with one zone. */
export class FakeKeycdn extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: " ", maxBytes: 8_192 })
  readonly #options: FakeKeycdnOptions
  readonly #requests: TokenBucket

  constructor(options: FakeKeycdnOptions) {
    super()
    this.#options = options
    this.#requests = new TokenBucket(20 / 60, 20, options)
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#route(request))
  }

  #route(request: Received): Response {
    const { method, url, headers, body } = request
    const [, action, zone] =
      /^https:\/\/api\.keycdn\.com\/zones\/(purge|purgeurl|purgetag)\/(\d+)\.json$/.exec(url) ?? []
    if (!action) throw new Refusal(`no route ${url}`, fail(404, "Not found"))
    // Not a complaint: that credentials are wrong is what some tests are about. The key is the user, without a password.
    if (headers.get("authorization") !== `Basic ${btoa(`${this.#options.token}:`)}`)
      return fail(401, "API key is invalid")
    if (!this.#requests.take()) {
      this.limited += 1
      return fail(429, "Rate limit reached")
    }
    if (Number(zone) !== this.#options.zone) return fail(404, "Zone not found")
    if (method !== (action === "purge" ? "GET" : "DELETE"))
      throw new Refusal(`${method} ${action}`, fail(400, "method"))
    if (action === "purge") {
      if (body !== "") throw new Refusal("a body with a zone", fail(400, "a body"))
      return this.#accept(1, () => true)
    }
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", fail(400, "No parameters"))
    if (new TextEncoder().encode(body).length > 64_000)
      throw new Refusal(`${body.length} characters`, fail(413, "Request Entity Too Large"))
    const name = action === "purgeurl" ? "urls" : "tags"
    const [member, ...others] = Object.entries(JSON.parse(body) as Record<string, unknown>)
    if (others.length > 0 || member?.[0] !== name || !Array.isArray(member[1]) || member[1].length === 0)
      throw new Refusal(`no ${name} alone`, fail(400, `No ${name}`))
    const items: readonly unknown[] = member[1]
    if (new Set(items).size < items.length) throw new Refusal("an item twice", fail(400, `${name} twice`))
    // An error that is not in the status.
    if (items.some((item) => String(item).includes("poison"))) return fail(200, `Invalid ${name}`)
    const isForm = (item: unknown): item is string =>
      typeof item === "string" &&
      (name === "urls" ? /^(?!https?:)[a-z0-9.:[\]-]+\/[!-~]*$/ : /^[!-~]+$/).test(item)
    if (!items.every(isForm)) throw new Refusal(`a value among ${name}`, fail(400, `Invalid ${name}`))
    if (name === "tags") {
      const length = JSON.stringify(items).length
      if (length > 128) throw new Refusal(`${length} characters of tags`, fail(400, "Too many tags"))
      return this.#accept(items.length, (_, has) => items.some(has))
    }
    const { zoneHost } = this.#options
    return this.#accept(items.length, ({ host, pathname, search }) =>
      items.includes(`${zoneHost ?? host}${pathname}${search}`),
    )
  }

  #accept(count: number, of: (url: URL, has: (label: string) => boolean) => boolean): Response {
    this.cache.purge("hard", ({ url, has }) => of(url, has))
    this.taken.push(count)
    return reply(200, "success", "Cache has been cleared.")
  }
}
