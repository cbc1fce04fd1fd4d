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
 * Azure Front Door's purge: https://learn.microsoft.com/rest/api/frontdoorservice/azurefrontdoorstandardpremium/afd-endpoints/purge-content
 * Paths: https://learn.microsoft.com/azure/frontdoor/cache-purge
 * Operations: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
 * How often: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
 * Access tokens: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
 */
export interface FakeAzureOptions extends FakeOptions {
  readonly directory: string
  readonly clientId: string
  readonly clientSecret: string
  readonly subscription: string
  readonly resourceGroup: string
  readonly profile: string
  readonly endpointName: string
  /** What tokens begin with. */
  readonly token: string
  /** How often an operation is looked at until it is done; 0: it is done at once. */
  readonly looks: number
}

const fault = (status: number, code: string, message: string, headers: HeadersInit = {}) =>
  Response.json({ error: { code, message } }, { status, headers })
const refuse = (complaint: string, status = 400, code = "BadRequest"): never => {
  throw new Refusal(complaint, fault(status, code, complaint))
}

/** Codes: https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors */
const PLACE = ["subscription", "resourceGroup", "profile", "endpointName"]
const KEYS = ["directory", "clientId", "clientSecret"]
const FAULTS: Faults = {
  "a subscription of no form": {
    answer: () =>
      fault(400, "InvalidSubscriptionId", "The provided subscription identifier is malformed or invalid."),
    mend: PLACE,
  },
  "a subscription that is off": {
    answer: () => fault(409, "ReadOnlyDisabledSubscription", "The subscription is disabled"),
    mend: PLACE,
  },
  "a provider that is not registered": {
    answer: () => fault(409, "MissingSubscriptionRegistration", "The subscription is not registered"),
    mend: PLACE,
  },
  "a lock": {
    answer: () => fault(409, "ScopeLocked", "The scope cannot perform write operation"),
    mend: PLACE,
  },
  "a policy": {
    answer: () => fault(400, "RequestDisallowedByPolicy", "was disallowed by policy"),
    mend: PLACE,
  },
  "a token of another tenant": {
    answer: () => fault(400, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer"),
    mend: KEYS,
  },
  "no right to it": {
    answer: () => fault(403, "AuthorizationFailed", "does not have authorization"),
    mend: [...PLACE, ...KEYS],
  },
  "no such endpoint": { answer: () => fault(404, "ResourceNotFound", "was not found"), mend: PLACE },
}

const OPERATIONS = "https://management.azure.com/subscriptions/operations/"

/** A directory with one client, and one endpoint with its cache, which tells neither cases nor queries apart. */
export class FakeAzureFrontDoor extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({})
  /** How many tokens were given out. */
  tokens = 0
  readonly #options: FakeAzureOptions
  readonly #writes: TokenBucket
  readonly #granted = new Map<string, number>()
  readonly #operations = new Map<string, number>()

  constructor(options: FakeAzureOptions) {
    super()
    this.#options = options
    this.#writes = new TokenBucket(10, 200, options)
  }

  handle(request: Received): Promise<Response> {
    const isGrant = request.url.startsWith("https://login.microsoftonline.com/")
    return this.answer(() => {
      if (isGrant) return this.#grant(request)
      const denied = this.#denied(request)
      if (denied) return denied
      return request.url.startsWith(OPERATIONS) ? this.#look(request) : this.#purge(request)
    }, !isGrant)
  }

  #grant({ method, url, headers, body }: Received): Response {
    const { directory, clientId, clientSecret, now } = this.#options
    const invalid = (status: number, error: string, description: string) =>
      Response.json({ error, error_description: description }, { status })
    const form = new URLSearchParams(body)
    const isForm = headers.get("content-type") === "application/x-www-form-urlencoded"
    if (method !== "POST" || !isForm || form.get("grant_type") !== "client_credentials")
      throw new Refusal("how a token is asked for", invalid(400, "invalid_request", "AADSTS900144"))
    if (form.get("scope") !== "https://management.azure.com/.default")
      throw new Refusal("scope", invalid(400, "invalid_scope", "AADSTS70011"))
    if (url !== `https://login.microsoftonline.com/${directory}/oauth2/v2.0/token`)
      return invalid(400, "invalid_request", "AADSTS90002: Tenant not found.")
    if (form.get("client_id") !== clientId)
      return invalid(400, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
    if (form.get("client_secret") !== clientSecret)
      return invalid(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
    this.tokens += 1
    const token = `${this.#options.token}${this.tokens}`
    this.#granted.set(token, now() + 3_599_000)
    return Response.json({ token_type: "Bearer", expires_in: 3_599, access_token: token })
  }

  /** Not complained of: that credentials are wrong is what some tests are about. */
  #denied({ headers }: Received): Response | undefined {
    const token = headers.get("authorization")?.replace(/^Bearer /, "") ?? ""
    const isGranted = (this.#granted.get(token) ?? 0) > this.#options.now()
    return isGranted ? undefined : fault(401, "InvalidAuthenticationToken", "The access token is invalid.")
  }

  #look({ method, url }: Received): Response {
    const looks = this.#operations.get(url)
    if (method !== "GET" || looks === undefined) return refuse("no such operation", 404, "NotFound")
    this.#operations.set(url, looks - 1)
    return looks > 1
      ? new Response(null, { status: 202, headers: { location: url, "retry-after": "0" } })
      : new Response(null, { status: 200 })
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { subscription, resourceGroup, profile, endpointName } = this.#options
    const [, ...names] =
      /^https:\/\/management\.azure\.com\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/Microsoft\.Cdn\/profiles\/([^/]+)\/afdEndpoints\/([^/]+)\/purge\?api-version=2023-05-01$/.exec(
        url,
      ) ?? []
    if (names.length === 0) refuse(`no route ${url}`, 404, "InvalidResourceType")
    if (method !== "POST") refuse(method, 405, "MethodNotAllowed")
    if (names.join() !== [subscription, resourceGroup, profile, endpointName].join())
      return fault(404, "ResourceNotFound", "The Resource was not found.")
    if (headers.get("content-type") !== "application/json")
      refuse("a content-type", 415, "UnsupportedMediaType")
    const { contentPaths, domains, ...rest } = JSON.parse(body) as Record<string, unknown>
    if (Object.keys(rest).length > 0) refuse(`members ${Object.keys(rest).join()}`)
    const paths = this.#texts("contentPaths", contentPaths)
    if (paths.length > 100) refuse(`${paths.length} paths`)
    for (const path of paths)
      if (!/^\/(?:[^*?#\s]*|(?:[^*?#\s]*\/)?\*)$/.test(path)) refuse(`the path ${path}`)
    const hosts = domains === undefined ? undefined : this.#texts("domains", domains)
    for (const host of hosts ?? []) if (!/^[^\s/:*]+$/.test(host)) refuse(`the domain ${host}`)
    // ARM counts what comes in, whatever becomes of it.
    if (!this.#writes.take()) {
      this.limited += 1
      return fault(429, "TooManyRequests", "Number of requests exceeded the limit.", { "retry-after": "1" })
    }
    if (body.includes("poison")) return fault(400, "BadRequest", "The domain or path is not valid.")
    const wanted = paths.map((path) => path.toLowerCase())
    this.cache.purge("hard", ({ url: page }) => {
      if (hosts && !hosts.includes(page.hostname)) return false
      const at = page.pathname.toLowerCase()
      return wanted.some((path) => (path.endsWith("/*") ? at.startsWith(path.slice(0, -1)) : at === path))
    })
    this.taken.push(paths.length)
    const remaining = Math.floor(this.#writes.tokens)
    const shared = {
      "x-ms-request-id": `request-${this.taken.length}`,
      ...(Number.isFinite(remaining)
        ? { "x-ms-ratelimit-remaining-subscription-writes": String(remaining) }
        : {}),
    }
    if (this.#options.looks === 0) return new Response(null, { status: 200, headers: shared })
    const location = `${OPERATIONS}${this.taken.length}?api-version=2023-05-01`
    this.#operations.set(location, this.#options.looks)
    return new Response(null, { status: 202, headers: { ...shared, location, "retry-after": "0" } })
  }

  #texts(name: string, value: unknown): readonly string[] {
    const isList = Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === "string")
    if (!isList || new Set(value).size !== value.length) return refuse(name)
    return value
  }
}
