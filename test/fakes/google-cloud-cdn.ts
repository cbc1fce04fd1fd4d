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
 * Compute Engine's urlMaps.invalidateCache: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps/invalidateCache
 * Paths, and how often: https://cloud.google.com/cdn/docs/cache-invalidation-overview
 * Access tokens: https://developers.google.com/identity/protocols/oauth2/service-account#httprest
 */
export interface FakeGoogleOptions extends FakeOptions {
  readonly project: string
  readonly urlMap: string
  /** Of the service account, and its public key. */
  readonly email: string
  readonly publicKey: { readonly n: string; readonly e: string }
  /** What tokens begin with. */
  readonly token: string
}

const MINUTE = 60_000
const TOKEN_URL = "https://oauth2.googleapis.com/token"
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const fault = (status: number, reason: string, message: string) =>
  Response.json(
    { error: { code: status, message, errors: [{ message, domain: "global", reason }] } },
    { status },
  )
const refuse = (complaint: string, status = 400, reason = "invalid"): never => {
  throw new Refusal(complaint, fault(status, reason, complaint))
}

/** Reasons: https://cloud.google.com/php/docs/reference/common-protos/latest/Api.ErrorReason */
const FAULTS: Faults = {
  "billing that is off": {
    answer: () => fault(403, "forbidden", "Project x has billing disabled. Please enable it."),
    mend: ["project", "urlMap", "key"],
  },
  "an API that is off": {
    answer: () => fault(400, "SERVICE_DISABLED", "Compute Engine API has not been used in project 1 before"),
    mend: ["project", "urlMap"],
  },
  "a project that is suspended": {
    answer: () => fault(400, "CONSUMER_SUSPENDED", "suspended"),
    mend: ["project", "urlMap"],
  },
  "a project of no form": {
    answer: () => fault(400, "invalid", "Invalid value for field 'project': 'X'. Must be a match of regex"),
    mend: ["project", "urlMap"],
  },
  "a key that is off": { answer: () => fault(400, "ACCOUNT_STATE_INVALID", "disabled"), mend: ["key"] },
  "no such URL map": {
    answer: () => fault(404, "notFound", "was not found"),
    mend: ["project", "urlMap", "key"],
  },
}

function decode(part: string): Uint8Array<ArrayBuffer> {
  const binary = atob(part.replaceAll("-", "+").replaceAll("_", "/"))
  return Uint8Array.from(binary, (char) => char.charCodeAt(0))
}

/** A project with one URL map, its cache, and the endpoint that gives tokens. */
export class FakeGoogleCloudCdn extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: "," })
  /** How many tokens were given out. */
  tokens = 0
  readonly #options: FakeGoogleOptions
  readonly #minute: InProgress
  readonly #granted = new Map<string, number>()
  readonly #requests = new Map<string, { readonly body: string; readonly operation: object }>()

  constructor(options: FakeGoogleOptions) {
    super()
    this.#options = options
    this.#minute = new InProgress(500, MINUTE, options)
  }

  handle(request: Received): Promise<Response> {
    const isGrant = request.url === TOKEN_URL
    return this.answer(() => (isGrant ? this.#grant(request) : this.#invalidate(request)), !isGrant)
  }

  async #grant({ method, headers, body }: Received): Promise<Response> {
    const invalid = (why: string) =>
      Response.json({ error: "invalid_grant", error_description: why }, { status: 400 })
    if (method !== "POST" || headers.get("content-type") !== "application/x-www-form-urlencoded")
      throw new Refusal(
        "how a token is asked for",
        Response.json({ error: "invalid_request" }, { status: 400 }),
      )
    const form = new URLSearchParams(body)
    if (form.get("grant_type") !== "urn:ietf:params:oauth:grant-type:jwt-bearer")
      throw new Refusal("grant_type", Response.json({ error: "unsupported_grant_type" }, { status: 400 }))
    const [header = "", claims = "", signature = "", ...more] = (form.get("assertion") ?? "").split(".")
    const key = await crypto.subtle.importKey(
      "jwk",
      { kty: "RSA", ...this.#options.publicKey },
      { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
      false,
      ["verify"],
    )
    const text = new TextEncoder().encode(`${header}.${claims}`)
    const isSigned = await crypto.subtle.verify("RSASSA-PKCS1-v1_5", key, decode(signature), text)
    if (!isSigned || more.length > 0) return invalid("Invalid JWT Signature.")
    const { alg, typ } = JSON.parse(atob(header)) as Record<string, unknown>
    if (alg !== "RS256" || typ !== "JWT") throw new Refusal("the header of a JWT", invalid("Invalid JWT."))
    const { iss, scope, aud, iat, exp } = JSON.parse(new TextDecoder().decode(decode(claims))) as Record<
      string,
      unknown
    >
    if (iss !== this.#options.email) return invalid("Invalid grant: account not found")
    if (aud !== TOKEN_URL) throw new Refusal(`aud ${String(aud)}`, invalid("Invalid JWT: aud"))
    if (scope !== "https://www.googleapis.com/auth/compute")
      throw new Refusal("scope", Response.json({ error: "invalid_scope" }, { status: 400 }))
    const now = this.#options.now() / 1_000
    const [from, to] = [Number(iat), Number(exp)]
    if (!(from <= now + 60 && to > now && to - from <= 3_600))
      return invalid(
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
      )
    this.tokens += 1
    const token = `${this.#options.token}${this.tokens}`
    this.#granted.set(token, this.#options.now() + 3_599_000)
    return Response.json({ access_token: token, expires_in: 3_599, token_type: "Bearer" })
  }

  #invalidate({ method, url, headers, body }: Received): Response {
    const { project, urlMap, now } = this.#options
    const [, base = "", query = ""] = /^(https:\/\/compute\.googleapis\.com\/[^?]*)\??(.*)$/.exec(url) ?? []
    const [, ofProject, ofMap] =
      /\/compute\/v1\/projects\/([^/]+)\/global\/urlMaps\/([^/]+)\/invalidateCache$/.exec(base) ?? []
    if (ofProject === undefined) refuse(`no route ${url}`, 404, "notFound")
    if (method !== "POST") refuse(method, 405, "httpMethodNotAllowed")
    const token = headers.get("authorization")?.replace(/^Bearer /, "") ?? ""
    // Not complained of: that credentials are wrong is what some tests are about.
    if (!((this.#granted.get(token) ?? 0) > now())) return fault(401, "authError", "Invalid Credentials")
    if (ofProject !== project)
      return fault(403, "forbidden", "Required permission 'compute.urlMaps.invalidateCache'")
    if (ofMap !== urlMap) return fault(404, "notFound", `The resource '${ofMap}' was not found`)
    if (headers.get("content-type") !== "application/json") refuse("a content-type")
    const [, requestId = ""] = /^requestId=([^&]+)$/.exec(query) ?? []
    if (!UUID.test(requestId)) refuse(`the query ${query}`)
    const known = this.#requests.get(requestId)
    if (known && known.body !== body) refuse("a requestId of another request", 409, "duplicate")
    if (known) return Response.json(known.operation)
    if (!this.#minute.take()) {
      this.limited += 1
      return fault(403, "rateLimitExceeded", "Rate Limit Exceeded")
    }
    const { path, host, cacheTags, ...rest } = JSON.parse(body) as Record<string, unknown>
    if (Object.keys(rest).length > 0) refuse(`members ${Object.keys(rest).join()}`)
    if (path === undefined && cacheTags === undefined && host === undefined) refuse("nothing")
    if (body.includes("poison")) return fault(400, "invalid", "Invalid value for field 'resource'")
    if (
      path !== undefined &&
      (typeof path !== "string" || !/^\/(?:[^*?#\s]*|(?:[^*?#\s]*\/)?\*)$/.test(path))
    )
      refuse(`the path ${JSON.stringify(path)}`)
    if (host !== undefined && (typeof host !== "string" || !/^[^\s/:]+$/.test(host)))
      refuse(`the host ${JSON.stringify(host)}`)
    if (cacheTags !== undefined && !this.#areTags(cacheTags)) refuse("cacheTags")
    const tags = this.#areTags(cacheTags) ? cacheTags : undefined
    this.cache.purge("hard", ({ url: page, has }) => {
      if (tags && !tags.some((tag) => has(tag))) return false
      if (host !== undefined && page.hostname !== host) return false
      if (typeof path !== "string") return true
      return path.endsWith("/*") ? page.pathname.startsWith(path.slice(0, -1)) : page.pathname === path
    })
    this.taken.push(tags?.length ?? 1)
    const operation = {
      kind: "compute#operation",
      id: String(this.taken.length),
      name: `operation-${this.taken.length}`,
      operationType: "invalidateCache",
      status: "PENDING",
    }
    this.#requests.set(requestId, { body, operation })
    return Response.json(operation)
  }

  #areTags(tags: unknown): tags is readonly string[] {
    return (
      Array.isArray(tags) &&
      tags.length > 0 &&
      tags.length <= 10 &&
      tags.every((tag) => typeof tag === "string" && /^[\x21-\x2b\x2d-\x7e]{1,120}$/.test(tag))
    )
  }
}
