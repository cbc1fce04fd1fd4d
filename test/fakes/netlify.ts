import type { Milliseconds } from "../../protocol/time.ts"
import {
  type Fake,
  FakeBase,
  FakeCache,
  type FakeOptions,
  type Faults,
  InProgress,
  type Received,
  Refusal,
} from "./fake.ts"

/**
 * Netlify's purge: https://open-api.netlify.com/#tag/purge/operation/purgeCache
 * Each tag or site twice in five seconds, 500 tags a response, tags of 1,024 characters, case does not count:
 * https://github.com/netlify/context-and-tools/blob/main/skills/netlify-caching/SKILL.md
 * 500 requests a minute: https://docs.netlify.com/api-and-cli-guides/api-guides/get-started-with-api/#rate-limiting
 */
const WINDOW: Milliseconds = 5_000
const PURGES_A_WINDOW = 2
const MINUTE: Milliseconds = 60_000
const REQUESTS_A_MINUTE = 500

export interface FakeNetlifyOptions extends FakeOptions {
  readonly site: { readonly id: string; readonly slug: string }
  readonly token: string
}

const fault = (status: number, message: string, headers: HeadersInit = {}) =>
  Response.json({ code: status, message }, { status, headers })

const FAULTS: Faults = {
  "no such site": { answer: () => fault(404, "site not found"), mend: ["site", "token"] },
  "a site, by a 400": { answer: () => fault(400, "site_id is invalid"), mend: ["site"] },
  "a token": { answer: () => fault(400, "Access Denied: invalid token"), mend: ["token"] },
  "a site that is not its own, by a 422": { answer: () => fault(422, "Unknown site"), mend: ["site"] },
}

/** One site. */
export class FakeNetlify extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: ",", foldsCase: true, maxLabels: 500 })
  readonly #options: FakeNetlifyOptions
  readonly #requests: InProgress
  /** When each tag, or the site under the empty name, was purged. */
  readonly #purged = new Map<string, Milliseconds[]>()

  constructor(options: FakeNetlifyOptions) {
    super()
    this.#options = options
    this.#requests = new InProgress(REQUESTS_A_MINUTE, MINUTE, options)
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { site, token } = this.#options
    if (url !== "https://api.netlify.com/api/v1/purge") throw new Refusal(url, fault(404, "Not Found"))
    if (method !== "POST") throw new Refusal(method, fault(405, "Method Not Allowed"))
    if (headers.get("authorization") !== `Bearer ${token}`) return fault(401, "Access Denied")
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", fault(400, "Bad Request"))
    if (!this.#requests.take()) return this.#tooMany()
    const { site_id, site_slug, cache_tags: tags, ...rest } = JSON.parse(body) as Record<string, unknown>
    if (Object.keys(rest).length > 0) throw new Refusal("a member", fault(400, "Bad Request"))
    const isSite = site_slug === undefined ? site_id === site.id : site_id === undefined
    if (!isSite || (site_slug !== undefined && site_slug !== site.slug))
      throw new Refusal("a site", fault(404, "site not found"))
    if (tags === undefined) {
      if (!this.#mayPurge([""])) return this.#tooMany()
      this.cache.purge("hard", () => true)
      return this.#accept(1)
    }
    if (!Array.isArray(tags)) throw new Refusal("cache_tags", fault(400, "cache_tags must be a list"))
    // Taken by the real one too, which then purges nothing: nobody means that.
    if (tags.length === 0) this.complaints.push("an empty list of tags")
    if (tags.some((tag) => String(tag).includes("poison"))) return fault(400, "invalid cache tag")
    if (!tags.every((tag): tag is string => typeof tag === "string" && /^[^,\s]{1,1024}$/.test(tag)))
      throw new Refusal("a tag", fault(400, "invalid cache tag"))
    const folded = tags.map((tag) => tag.toLowerCase())
    if (new Set(folded).size !== tags.length)
      throw new Refusal("a tag twice", fault(400, "invalid cache tag"))
    if (!this.#mayPurge(folded)) return this.#tooMany()
    this.cache.purge("hard", ({ has }) => tags.some(has))
    return this.#accept(tags.length)
  }

  #mayPurge(names: readonly string[]): boolean {
    const { now, isUnlimited } = this.#options
    if (isUnlimited) return true
    const recent = (name: string) => (this.#purged.get(name) ?? []).filter((at) => at > now() - WINDOW)
    if (names.some((name) => recent(name).length >= PURGES_A_WINDOW)) return false
    for (const name of names) this.#purged.set(name, [...recent(name), now()])
    return true
  }

  #accept(count: number): Response {
    this.taken.push(count)
    return new Response(null, { status: 202 })
  }

  #tooMany(): Response {
    this.limited += 1
    return fault(429, "Too Many Requests")
  }
}
