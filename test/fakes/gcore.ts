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
 * Gcore's purge of CDN resources: https://gcore.com/docs/api-reference/cdn/tools/purge-cache and
 * https://gcore.com/docs/cdn/clear-cdn-resource-cache-by-url-pattern-or-all
 */
const MINUTE = 60_000

export interface FakeGcoreOptions extends FakeOptions {
  readonly resource: number
  readonly token: string
}

const errors = (status: number, member: string, words: string) =>
  Response.json({ errors: { [member]: [words] } }, { status })

const said = (status: number, body: object) => () => Response.json(body, { status })
const FAULTS: Faults = {
  "a token": { answer: said(400, { errors: { detail: ["Invalid token"] } }), mend: ["token"] },
  "no such resource": { answer: said(404, { detail: "Not found." }), mend: ["resource", "token"] },
  "a resource that is suspended": {
    answer: said(400, { message: "Resource is suspended" }),
    mend: ["resource"],
  },
  "a right": {
    answer: said(403, { detail: "You do not have permission to perform this action." }),
    mend: ["resource", "token"],
  },
  "a product": {
    answer: said(400, { message: "The feature is not available for your plan" }),
    mend: ["resource"],
  },
}

/** One resource, with a limit for each kind of purge. */
export class FakeGcore extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({})
  readonly #options: FakeGcoreOptions
  readonly #limits: Readonly<Record<"url" | "pattern" | "all", InProgress>>

  constructor(options: FakeGcoreOptions) {
    super()
    this.#options = options
    this.#limits = {
      url: new InProgress(2, MINUTE, options),
      pattern: new InProgress(1, MINUTE, options),
      all: new InProgress(1, MINUTE, options),
    }
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { resource, token } = this.#options
    if (url !== `https://api.gcore.com/cdn/resources/${resource}/purge`)
      throw new Refusal(url, Response.json({ detail: "Not found." }, { status: 404 }))
    if (method !== "POST")
      throw new Refusal(method, Response.json({ detail: "Method not allowed." }, { status: 405 }))
    if (headers.get("authorization") !== `apikey ${token}`)
      return Response.json({ message: "Invalid API token" }, { status: 401 })
    if (headers.get("content-type") !== "application/json")
      throw new Refusal(
        "a content-type",
        Response.json({ detail: "Unsupported media type" }, { status: 415 }),
      )
    const [member, ...others] = Object.entries(JSON.parse(body) as Record<string, unknown>)
    if (!member || others.length > 0) throw new Refusal("not one member", errors(400, "paths", "Required."))
    const [name, list] = member
    if ((name !== "urls" && name !== "paths") || !Array.isArray(list))
      throw new Refusal(name, errors(400, "paths", "This field is required."))
    return name === "urls" ? this.#urls(list) : list.length === 0 ? this.#all() : this.#patterns(list)
  }

  #all(): Response {
    if (!this.#limits.all.take()) return this.#tooMany()
    this.cache.purge("hard", () => true)
    return this.#accept([])
  }

  #urls(list: readonly unknown[]): Response {
    const bad = this.#check("urls", list, 100, /^\/[^\s*#]*$/)
    if (bad) return bad
    if (!this.#limits.url.take()) return this.#tooMany()
    // By the path alone: a resource has one cache, whatever names it goes by.
    this.cache.purge("hard", ({ url }) => list.includes(url.pathname + url.search))
    return this.#accept(list)
  }

  #patterns(list: readonly unknown[]): Response {
    const bad = this.#check("paths", list, 10, /^[/*][^\s*#?]*\*?$/)
    if (bad) return bad
    if (!this.#limits.pattern.take()) return this.#tooMany()
    // With a wildcard at its end or without, a pattern takes all that begins so.
    const beginnings = list.map((each) => String(each).replace(/\*$/, ""))
    this.cache.purge("hard", ({ url }) => beginnings.some((each) => url.pathname.startsWith(each)))
    return this.#accept(list)
  }

  #check(name: string, list: readonly unknown[], most: number, form: RegExp): Response | undefined {
    if (list.length === 0) throw new Refusal(`no ${name}`, errors(400, name, "This list may not be empty."))
    if (list.length > most || new Set(list).size !== list.length)
      throw new Refusal(`${list.length} ${name}`, errors(400, name, `At most ${most}.`))
    if (list.some((each) => String(each).includes("poison"))) return errors(400, name, "Not a valid path.")
    if (!list.every((each) => typeof each === "string" && form.test(each)))
      throw new Refusal(`a value among ${name}`, errors(400, name, "Not a valid path."))
    return undefined
  }

  #accept(list: readonly unknown[]): Response {
    this.taken.push(Math.max(1, list.length))
    return Response.json(list, { status: 201 })
  }

  #tooMany(): Response {
    this.limited += 1
    return Response.json({ message: "Too many requests" }, { status: 429 })
  }
}
