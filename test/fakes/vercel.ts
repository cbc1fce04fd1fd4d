import {
  type Fake,
  FakeBase,
  FakeCache,
  type FakeOptions,
  type Faults,
  type Received,
  Refusal,
} from "./fake.ts"

/**
 * Vercel's purge by tag: https://vercel.com/docs/rest-api/reference/endpoints/edge-cache (1 to 16 tags of 256
 * characters) and https://vercel.com/docs/caching/cdn-cache/purge (case counts, 128 tags a response). How often it may
 * be called is not published, so nothing here limits that.
 */
export interface FakeVercelOptions extends FakeOptions {
  readonly project: string
  /** Of the team that the project belongs to; without one it is the token's own. */
  readonly team?: { readonly id: string; readonly slug: string }
  readonly token: string
}

const fault = (status: number, code: string, message: string) =>
  Response.json({ error: { code, message } }, { status })

/** @see https://vercel.com/docs/rest-api/errors */
const FAULTS: Faults = {
  "no such project": {
    answer: () => fault(404, "not_found", "Project not found"),
    mend: ["project", "team", "token"],
  },
  "a project, by a 400": {
    answer: () => fault(400, "bad_request", "Invalid request: `projectIdOrName` should match pattern"),
    mend: ["project", "team"],
  },
  "a team, by a 400": { answer: () => fault(400, "team_not_found", "no"), mend: ["project", "team"] },
  "a token of no form": {
    answer: () => fault(400, "invalid_token", "The token is not valid"),
    mend: ["token"],
  },
  "a bill": { answer: () => fault(402, "payment_required", "pay"), mend: ["project", "team", "token"] },
  "an account that is blocked": {
    answer: () => fault(400, "account_blocked", "blocked"),
    mend: ["project", "team"],
  },
}

/** One project, whose pages are those of its production. */
export class FakeVercel extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: ",", maxLabels: 128 })
  readonly #options: FakeVercelOptions

  constructor(options: FakeVercelOptions) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { origin, pathname, searchParams } = new URL(url)
    const action = /^\/v1\/edge-cache\/(invalidate|dangerously-delete)-by-tags$/.exec(pathname)?.[1]
    if (origin !== "https://api.vercel.com" || action === undefined) {
      throw new Refusal(`no route ${url}`, fault(404, "not_found", "The page could not be found"))
    }
    if (method !== "POST") throw new Refusal(method, fault(405, "method_unknown", "Method not allowed"))
    if (headers.get("authorization") !== `Bearer ${this.#options.token}`)
      return fault(403, "forbidden", "Not authorized")
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", fault(400, "bad_request", "Invalid content type"))
    this.#check(searchParams)
    const { tags, target, ...rest } = JSON.parse(body) as Record<string, unknown>
    if (Object.keys(rest).length > 0 || !isTarget(target))
      throw new Refusal("a member", fault(400, "bad_request", "Invalid request: additional property"))
    if (!Array.isArray(tags) || tags.length < 1 || tags.length > 16)
      throw new Refusal("not 1 to 16 tags", fault(400, "bad_request", "Invalid request: `tags` 1 to 16"))
    if (tags.some((tag) => String(tag).includes("poison")))
      return fault(400, "bad_request", "Invalid request: `tags` has a value that is not allowed")
    if (!tags.every((tag): tag is string => typeof tag === "string" && /^[^,\s]{1,256}$/.test(tag)))
      throw new Refusal("a tag", fault(400, "bad_request", "Invalid request: `tags` item"))
    if (new Set(tags).size !== tags.length)
      throw new Refusal("a tag twice", fault(400, "bad_request", "Invalid request: `tags` item"))
    if (target !== "preview")
      this.cache.purge(action === "invalidate" ? "soft" : "hard", ({ has }) => tags.some(has))
    this.taken.push(tags.length)
    return new Response(null, { status: 200 })
  }

  #check(query: URLSearchParams): void {
    const { project, team } = this.#options
    const known = ["projectIdOrName", "teamId", "slug"]
    if ([...query.keys()].some((key) => !known.includes(key)))
      throw new Refusal("a query", fault(400, "bad_request", "Invalid request: query"))
    const isTheirs =
      query.get("projectIdOrName") === project &&
      query.get("teamId") === (query.has("slug") ? null : (team?.id ?? null)) &&
      (!query.has("slug") || query.get("slug") === team?.slug)
    if (!isTheirs) throw new Refusal("a project", fault(404, "not_found", "Project not found"))
  }
}

const isTarget = (target: unknown): boolean =>
  target === undefined || target === "production" || target === "preview"
