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
 * Akamai's Fast Purge v3: https://techdocs.akamai.com/purge-cache/reference/api-summary. Limits:
 * https://techdocs.akamai.com/purge-cache/reference/rate-limiting
 */
export interface FakeAkamaiOptions extends FakeOptions {
  readonly host: string
  readonly clientToken: string
  readonly clientSecret: string
  readonly accessToken: string
  /** CP codes of the account. */
  readonly cpCodes?: readonly number[]
}

const KINDS = {
  url: { perSecond: 200, burst: 10_000, name: "URL" },
  tag: { perSecond: 500 / 60, burst: 5_000, name: "TAG" },
  cpcode: { perSecond: 30 / 60, burst: 300, name: "CPCODE" },
} as const
type Kind = keyof typeof KINDS

const MAX_SKEW = 30_000

const AUTHORIZATION =
  /^(EG1-HMAC-SHA256 client_token=([^;]+);access_token=([^;]+);timestamp=(\d{4})(\d\d)(\d\d)T(\d\d:\d\d:\d\d)\+0000;nonce=([^;]{8,64});)signature=([A-Za-z0-9+/]{43}=)$/

const bytes = (text: string) => new TextEncoder().encode(text)
const base64 = (buffer: ArrayBuffer) => btoa(String.fromCodePoint(...new Uint8Array(buffer)))

async function mac(key: string, text: string): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" }
  const imported = await crypto.subtle.importKey("raw", bytes(key), algorithm, false, ["sign"])
  return base64(await crypto.subtle.sign("HMAC", imported, bytes(text)))
}

/**
 * A clock that is off: https://github.com/akamai/AkamaiOPEN-edgegrid-node/issues/234; credentials of another API:
 * https://github.com/akamai/cli-purge/issues/16; what a contract has not:
 * https://techdocs.akamai.com/purge-cache/reference/403
 */
const edge = (status: number, type: string, title: string, detail: string) => () =>
  Response.json(
    { type: `https://problems.luna.akamaiapis.net/-/${type}`, title, status, detail, requestId: "1" },
    { status, headers: { "content-type": "application/problem+json" } },
  )
const CREDENTIALS = ["clientToken", "clientSecret", "accessToken"]
const FAULTS: Faults = {
  "a clock that is off": {
    answer: edge(400, "pep-authn/request-error", "Bad request", "Invalid timestamp"),
    mend: [],
  },
  "credentials of another API": {
    answer: edge(400, "pep-authn/request-error", "Bad request", "Invalid endpoint"),
    mend: ["host", ...CREDENTIALS],
  },
  "an endpoint, by no type": {
    answer: () => Response.json({ title: "Bad request", detail: "Invalid endpoint" }, { status: 400 }),
    mend: ["host", ...CREDENTIALS],
  },
  "a client that is not known": {
    answer: edge(400, "pep-authn/deny", "Bad request", "Invalid client token"),
    mend: CREDENTIALS,
  },
  "a client that is off": {
    answer: edge(401, "pep-authn/deny", "Not authorized", "Inactive client token"),
    mend: CREDENTIALS,
  },
  "a client without the grant": {
    answer: edge(
      403,
      "pep-authz/deny",
      "Forbidden",
      "The client does not have the grant needed for the request",
    ),
    mend: ["host", ...CREDENTIALS],
  },
}

/** An account with one API client, and one cache for each of its networks. */
export class FakeAkamai extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: ",", maxLabels: 128, maxBytes: 8_192 })
  readonly staging = new FakeCache({ separator: ",", maxLabels: 128, maxBytes: 8_192 })
  readonly #options: FakeAkamaiOptions
  readonly #requests: TokenBucket
  readonly #objects: Readonly<Record<Kind, TokenBucket>>
  readonly #nonces = new Set<string>()
  #ids = 0

  constructor(options: FakeAkamaiOptions) {
    super()
    this.#options = options
    this.#requests = new TokenBucket(50, 100, options)
    const bucket = (kind: Kind) => new TokenBucket(KINDS[kind].perSecond, KINDS[kind].burst, options)
    this.#objects = { url: bucket("url"), tag: bucket("tag"), cpcode: bucket("cpcode") }
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  async #purge(request: Received): Promise<Response> {
    const { method, url, headers, body } = request
    const root = `https://${this.#options.host}`
    if (!url.startsWith(`${root}/`)) throw new Refusal(`no such host ${url}`, this.#problem(404, "not found"))
    const path = url.slice(root.length)
    const [, action, kind, network] =
      /^\/ccu\/v3\/(invalidate|delete)\/(url|tag|cpcode)\/(production|staging)$/.exec(path) ?? []
    if (!action || !kind) throw new Refusal(`no route ${path}`, this.#problem(404, "not found"))
    if (method !== "POST") throw new Refusal(method, this.#problem(405, "method not allowed"))
    // Not a complaint: that credentials are wrong is what some tests are about.
    const fault = await this.#faultOf(path, request)
    if (fault === "Invalid timestamp") return FAULTS["a clock that is off"]?.answer() ?? new Response()
    if (fault !== undefined) return this.#problem(401, "Not authorized", fault)
    if (headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", this.#problem(415, "unsupported media type"))
    if (bytes(body).length > 50_000)
      throw new Refusal(`${bytes(body).length} bytes`, this.#problem(413, "request entity too large"))
    const objects = this.#objectsOf(body)
    return this.#take(kind as Kind, objects, action, network === "staging" ? this.staging : this.cache)
  }

  /** Its own reading of https://techdocs.akamai.com/developer/docs/edgegrid; what is wrong, if anything. */
  async #faultOf(path: string, { headers, body }: Received): Promise<string | undefined> {
    const { host, clientToken, clientSecret, accessToken, now } = this.#options
    const [, unsigned = "", client, access, year, month, day, time, nonce = "", signature] =
      AUTHORIZATION.exec(headers.get("authorization") ?? "") ?? []
    if (client !== clientToken || access !== accessToken) return "Inactive client token"
    const skew = Math.abs(Date.parse(`${year}-${month}-${day}T${time}Z`) - now())
    if (!(skew <= MAX_SKEW)) return "Invalid timestamp"
    if (this.#nonces.has(nonce)) return "Nonce has already been used"
    const digest = body === "" ? "" : base64(await crypto.subtle.digest("SHA-256", bytes(body)))
    const text = `POST\thttps\t${host}\t${path}\t\t${digest}\t${unsigned}`
    const key = await mac(clientSecret, `${year}${month}${day}T${time}+0000`)
    if ((await mac(key, text)) !== signature) return "The signature does not match"
    this.#nonces.add(nonce)
    return undefined
  }

  #objectsOf(body: string): readonly (string | number)[] {
    const [member, ...others] = Object.entries(JSON.parse(body) as Record<string, unknown>)
    if (
      others.length > 0 ||
      member?.[0] !== "objects" ||
      !Array.isArray(member[1]) ||
      member[1].length === 0
    ) {
      const detail = "'objects' attribute cannot be missing or empty"
      throw new Refusal("no objects alone", this.#problem(400, "invalid attribute value", detail))
    }
    const objects: readonly (string | number)[] = member[1]
    if (new Set(objects).size < objects.length)
      throw new Refusal("an object twice", this.#problem(400, "invalid attribute value"))
    return objects
  }

  /** All or nothing: one object that is not to its liking refuses all of them. */
  #take(kind: Kind, objects: readonly (string | number)[], action: string, cache: FakeCache): Response {
    const poison = objects.find((object) => String(object).includes("poison"))
    if (poison !== undefined)
      return kind === "url"
        ? this.#problem(403, "unauthorized arl", String(poison))
        : this.#problem(400, `bad ${kind}`)
    const form = {
      url: /^https?:\/\/[!-~]+$/,
      tag: /^[\w!#$%&'+.^`|~-]{1,128}$/,
      cpcode: /^\d{1,10}$/,
    }[kind]
    const odd = objects.find(
      (object) => typeof object !== (kind === "cpcode" ? "number" : "string") || !form.test(String(object)),
    )
    if (odd !== undefined) {
      const detail = kind === "url" ? `Invalid or malformed URL '${odd}': no URL` : String(odd)
      throw new Refusal(`${odd} among ${kind}s`, this.#problem(400, `bad ${KINDS[kind].name}`, detail))
    }
    const { cpCodes = [] } = this.#options
    const foreign = kind === "cpcode" && objects.find((object) => !cpCodes.includes(Number(object)))
    if (foreign !== false && foreign !== undefined)
      return this.#problem(403, "unauthorized cpcode", String(foreign))
    const limited = this.#limit(kind, objects.length)
    if (limited) return limited
    cache.purge(action === "delete" ? "hard" : "soft", ({ url, has }) => {
      if (kind === "cpcode") return true
      // Both schemes of a page.
      const same = (object: string) => new URL(object.replace(/^http:/, "https:")).href
      const page = same(url.href)
      return objects.some((object) => (kind === "tag" ? has(String(object)) : same(String(object)) === page))
    })
    this.taken.push(objects.length)
    this.#ids += 1
    const accepted = {
      httpStatus: 201,
      detail: "Request accepted",
      estimatedSeconds: 5,
      purgeId: `e535071c-26b2-11e7-94d7-${this.#ids}`,
      supportId: `17PY1492793544958045-${this.#ids}`,
    }
    return Response.json(accepted, { status: 201, headers: this.#headers(kind) })
  }

  /** Neither bucket loses anything by a request that is denied. */
  #limit(kind: Kind, size: number): Response | undefined {
    const objects = this.#objects[kind]
    const isOften = this.#requests.tokens + 1e-6 < 1
    if (!isOften && objects.take(size)) {
      this.#requests.take()
      return undefined
    }
    this.limited += 1
    const title = isOften ? "Rate Limit exceeded" : `${KINDS[kind].name} Rate Limit exceeded`
    const bucket = isOften ? this.#requests : objects
    const body = {
      supportId: "17PY1552425241133633-211776704",
      title,
      httpStatus: 429,
      rateLimit: isOften ? 100 : KINDS[kind].burst,
      rateLimitCurrentRequestSize: isOften ? 1 : size,
      rateLimitRemaining: Math.floor(bucket.tokens),
    }
    const headers = { ...this.#headers(kind), "content-type": "application/api-problem+json" }
    return new Response(JSON.stringify(body), { status: 429, headers })
  }

  #headers(kind: Kind): Record<string, string> {
    const { burst, perSecond } = KINDS[kind]
    const left = (bucket: TokenBucket, most: number) => String(Math.min(most, Math.floor(bucket.tokens)))
    return {
      "x-ratelimit-limit": "100",
      "x-ratelimit-limit-per-second": "50.00",
      "x-ratelimit-remaining": left(this.#requests, 100),
      "x-ratelimit-limit-objects": String(burst),
      "x-ratelimit-limit-per-second-objects": perSecond.toFixed(2),
      "x-ratelimit-remaining-objects": left(this.#objects[kind], burst),
    }
  }

  #problem(status: number, title: string, detail = title): Response {
    this.#ids += 1
    const supportId = `17PY1576572861552226-${this.#ids}`
    const describedBy = "https://techdocs.akamai.com/purge-cache/reference/api-errors"
    return new Response(JSON.stringify({ supportId, httpStatus: status, title, detail, describedBy }), {
      status,
      headers: { "content-type": "application/api-problem+json" },
    })
  }
}
