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
 * Bunny's purging: https://docs.bunny.net/api-reference/core/purge/purge-url and
 * https://docs.bunny.net/cdn/purge-cache. Limits: https://docs.bunny.net/docs/cdn-api-purge-rate-limits; where they do
 * not say which of the two a purge takes, it is the scarcer one here.
 */
export interface FakeBunnyOptions extends FakeOptions {
  readonly pullZone: number
  readonly token: string
  /** Whether the zone's setting "ignore query strings" is on: then `exactPath` has no effect. */
  readonly ignoresQuery?: boolean
}

const fail = (status: number, message: string, headers: HeadersInit = {}) =>
  Response.json({ ErrorKey: "purge", Field: "", Message: message }, { status, headers })

/** https://docs.bunny.net/api-reference/core/errors; 401 for the id of another kind of zone, as others have seen:
 * https://github.com/ayeressian/bunnycdn-storage-deploy/issues/65 */
const said = (status: number, ErrorKey: string, Field: string, Message: string) => () =>
  Response.json({ ErrorKey, Field, Message }, { status })
const FAULTS: Faults = {
  "a zone of another kind": {
    answer: said(401, "unauthorized", "", "The request authorization failed"),
    mend: ["token"],
  },
  "no such zone": {
    answer: said(404, "pullZone.not_found", "PullZone", "The requested Pull Zone was not found"),
    mend: ["pullZone", "token"],
  },
  "no such zone, by a 400": {
    answer: said(400, "pullZone.not_found", "PullZone", "The requested Pull Zone was not found"),
    mend: ["pullZone"],
  },
  "a key that may not": { answer: said(403, "forbidden", "", "forbidden"), mend: ["pullZone", "token"] },
  "an account that is suspended": {
    answer: said(400, "user.suspended", "User", "Your account is suspended"),
    mend: ["token"],
  },
}

/** An account with one pull zone. */
export class FakeBunny extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: ",", maxBytes: 1_024 })
  readonly #options: FakeBunnyOptions
  readonly #exact: TokenBucket
  readonly #prefix: TokenBucket

  constructor(options: FakeBunnyOptions) {
    super()
    this.#options = options
    this.#exact = new TokenBucket(5, 120, options)
    this.#prefix = new TokenBucket(0.5, 20, options)
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#route(request))
  }

  #route(request: Received): Response {
    const { method, headers } = request
    const { origin, pathname, search, searchParams } = new URL(request.url)
    if (origin !== "https://api.bunny.net")
      throw new Refusal(`no such host ${origin}`, fail(404, "not found"))
    if (method !== "POST") throw new Refusal(method, fail(405, "method not allowed"))
    // Not a complaint: that credentials are wrong is what some tests are about.
    if (headers.get("accesskey") !== this.#options.token)
      return fail(401, "Authorization has been denied for this request.")
    if (pathname === "/purge") return this.#byUrl(searchParams, request)
    const [, zone] = /^\/pullzone\/(\d+)\/purgeCache$/.exec(pathname) ?? []
    if (zone === undefined || search !== "")
      throw new Refusal(`no route ${pathname}${search}`, fail(404, "not found"))
    if (Number(zone) !== this.#options.pullZone) return fail(404, "The requested Pull Zone was not found")
    return this.#byZone(request)
  }

  #byUrl(params: URLSearchParams, { body }: Received): Response {
    if (body !== "") throw new Refusal("a body with a url", fail(400, "a body"))
    const names = [...params.keys()]
    const isKnown = names.every((name) => ["url", "async", "exactPath"].includes(name))
    if (!isKnown || new Set(names).size < names.length)
      throw new Refusal(`parameters ${names.join()}`, fail(400, "no such parameter"))
    const flags = ["async", "exactPath"].map((name) => params.get(name) ?? "false")
    if (!flags.every((flag) => flag === "true" || flag === "false"))
      throw new Refusal(`flags ${flags.join()}`, fail(400, "no boolean"))
    const text = params.get("url") ?? ""
    if (!/^https?:\/\/[!-~]+$/.test(text)) throw new Refusal(`no url ${text}`, fail(400, "not a url"))
    if (text.includes("poison")) return fail(400, "not a url")
    const isExact = flags[1] === "true" && this.#options.ignoresQuery !== true
    const isPattern = text.includes("*") || (text.endsWith("/") && !isExact)
    const path = text.split("?", 1)[0] ?? ""
    if (!(isPattern || path.endsWith("/") ? this.#prefix : this.#exact).take()) return this.#tooMany()
    const wanted = text.endsWith("/") && isPattern ? `${text}*` : text
    const parts = wanted.split("*").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    const pattern = new RegExp(`^${parts.join(".*")}$`)
    return this.#accept(({ href }) => (isPattern ? pattern.test(href) : new URL(text).href === href))
  }

  #byZone({ headers, body }: Received): Response {
    if (body === "") {
      if (!this.#prefix.take()) return this.#tooMany()
      return this.#accept(() => true)
    }
    // Without it the body would not be read, and the whole zone be purged.
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", fail(415, "unsupported media type"))
    const [member, ...others] = Object.entries(JSON.parse(body) as Record<string, unknown>)
    const tag = member?.[1]
    if (member?.[0] !== "CacheTag" || others.length > 0 || typeof tag !== "string")
      throw new Refusal("no CacheTag alone", fail(400, "no tag"))
    if (!/^[!-+\--~]{1,1024}$/.test(tag)) throw new Refusal(`the tag ${tag}`, fail(400, "no tag"))
    // It would be taken for any characters, and drop what nobody asked for.
    if (tag.includes("*")) throw new Refusal(`the wildcard ${tag}`, fail(400, "a wildcard"))
    if (tag.includes("poison")) return fail(400, "no tag")
    if (!this.#prefix.take()) return this.#tooMany()
    // A wildcard, as those who use it have it: https://github.com/ToshY/BunnyNet-PHP. How much it takes is not published:
    // all of the zone, here.
    return this.#accept((_, has) => tag.includes("*") || has(tag))
  }

  #accept(of: (url: URL, has: (label: string) => boolean) => boolean): Response {
    this.cache.purge("hard", ({ url, has }) => of(url, has))
    this.taken.push(1)
    return new Response(null, { status: 200 })
  }

  #tooMany(): Response {
    this.limited += 1
    return fail(429, "Too many purge requests", { "retry-after": "2" })
  }
}
