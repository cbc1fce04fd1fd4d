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
 * CloudFront's CreateInvalidation: https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_CreateInvalidation.html
 * Paths: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-specifying-objects.html
 * Tags: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-specifying-tags.html
 * Limits: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/InvalidationLimits.html
 * Signatures: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export interface FakeCloudfrontOptions extends FakeOptions {
  readonly distributions: readonly string[]
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  /** Whether the distributions have a `CacheTagConfig`, by the name of `Cache-Tag`. */
  readonly hasTags: boolean
  /** How long an invalidation is in progress. */
  readonly completesIn: number
}

const NAMESPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"
const XML = { "content-type": "text/xml" }

const fault = (status: number, code: string, message: string) =>
  new Response(
    `<?xml version="1.0"?>\n<ErrorResponse xmlns="${NAMESPACE}"><Error><Type>${status < 500 ? "Sender" : "Receiver"}</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>4d7b1b2e</RequestId></ErrorResponse>`,
    { status, headers: XML },
  )
const refuse = (complaint: string, status: number, code: string): never => {
  throw new Refusal(
    complaint,
    fault(status, code, complaint.replaceAll("&", "&amp;").replaceAll("<", "&lt;")),
  )
}

const bytes = (text: string) => new TextEncoder().encode(text)
const hex = (buffer: ArrayBuffer) =>
  [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
const sha = async (text: string) => hex(await crypto.subtle.digest("SHA-256", bytes(text)))
async function mac(key: Uint8Array<ArrayBuffer>, text: string): Promise<Uint8Array<ArrayBuffer>> {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ])
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, bytes(text)))
}

/** "Unsafe" by RFC 1738, and what is not ASCII: such characters stand in no path but encoded. */
const UNSAFE = /[\s<>"#{}|\\^~[\]`]|[^\x21-\x7e]/
const encoded = (path: string) =>
  path.replaceAll(/[{}|\\^~[\]`]/g, (char) => encodeURIComponent(char).replace("~", "%7E"))

/** @see https://docs.aws.amazon.com/awsconsolehelpdocs/latest/gsg/common-errors.html */
const KEYS = ["accessKeyId", "secretAccessKey", "sessionToken"]
const FAULTS: Faults = {
  "a clock that is off": {
    answer: () => fault(400, "RequestExpired", "Request has expired."),
    mend: [],
  },
  "a signature that is over": {
    answer: () =>
      fault(403, "SignatureDoesNotMatch", "Signature expired: 20261120T120000Z is now earlier than"),
    mend: [],
  },
  "a token that is over": { answer: () => fault(400, "ExpiredTokenException", "expired"), mend: KEYS },
  "a key that is not known": {
    answer: () => fault(400, "UnrecognizedClientException", "The security token"),
    mend: KEYS,
  },
  "an account that is not verified": {
    answer: () => fault(403, "AccessDenied", "Your account must be verified before you can"),
    mend: ["distribution", ...KEYS],
  },
  "a product not signed up for": {
    answer: () => fault(400, "OptInRequired", "needs a subscription"),
    mend: KEYS,
  },
  "no such distribution": {
    answer: () => fault(404, "NoSuchDistribution", "does not exist"),
    mend: ["distribution"],
  },
  "no such operation": {
    answer: () => fault(400, "InvalidAction", "The action is invalid."),
    mend: ["distribution"],
  },
}

/** An account with distributions, and one cache for all of them. */
export class FakeCloudfront extends FakeBase implements Fake {
  override readonly faults = FAULTS
  readonly cache = new FakeCache({ separator: ",", foldsCase: true, maxLabels: 50 })
  readonly #options: FakeCloudfrontOptions
  readonly #paths = new Map<string, InProgress>()
  readonly #wildcards = new Map<string, InProgress>()
  readonly #references = new Map<string, { readonly paths: string; readonly id: string }>()

  constructor(options: FakeCloudfrontOptions) {
    super()
    this.#options = options
    for (const distribution of options.distributions) {
      this.#paths.set(distribution, new InProgress(3_000, options.completesIn, options))
      this.#wildcards.set(distribution, new InProgress(15, options.completesIn, options))
    }
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#invalidate(request))
  }

  async #invalidate(request: Received): Promise<Response> {
    const { method, url, headers, body } = request
    const [, distribution = ""] =
      /^https:\/\/cloudfront\.amazonaws\.com\/2020-05-31\/distribution\/([^/?]+)\/invalidation$/.exec(url) ??
      []
    if (distribution === "") refuse(`no route ${url}`, 404, "UnknownOperationException")
    if (method !== "POST") refuse(method, 405, "MethodNotAllowed")
    const denied = await this.#denied(request)
    if (denied) return denied
    if (!this.#options.distributions.includes(distribution))
      return fault(404, "NoSuchDistribution", "The specified distribution does not exist.")
    if (body === "" || !/^(application|text)\/xml\b/.test(headers.get("content-type") ?? ""))
      refuse("no body, or no content-type", 400, "MissingBody")
    const { paths, reference } = this.#parse(body)
    const known = this.#references.get(`${distribution} ${reference}`)
    if (known && known.paths === JSON.stringify(paths)) return this.#answerOf(known.id, body)
    if (known) refuse("a reference of other paths", 400, "InvalidationBatchAlreadyExists")
    if (paths.some((path) => path.includes("poison")))
      return fault(400, "InvalidArgument", "Your request contains one or more invalid invalidation paths.")
    for (const path of paths) this.#check(path)
    const wildcards = paths.filter((path) => path.endsWith("*") && path.startsWith("/"))
    const others = paths.length - wildcards.length
    if (
      !this.#paths.get(distribution)?.take(others) ||
      !this.#wildcards.get(distribution)?.take(wildcards.length)
    ) {
      this.limited += 1
      return fault(
        400,
        "TooManyInvalidationsInProgress",
        "Processing your request will cause you to exceed the maximum number of in-progress wildcard invalidations.",
      )
    }
    this.cache.purge("hard", ({ url: page, has }) => {
      const at = encoded(page.pathname + page.search)
      return paths.some((path) => {
        if (path.startsWith("#")) return has(path.slice(1))
        return path.endsWith("*") ? at.startsWith(path.slice(0, -1)) : at === path
      })
    })
    this.taken.push(paths.length)
    const id = `I${this.taken.length}JQ3EXAMPLE`
    this.#references.set(`${distribution} ${reference}`, { paths: JSON.stringify(paths), id })
    return this.#answerOf(id, body)
  }

  #answerOf(id: string, batch: string): Response {
    const echo = batch.replace(/^<\?xml[^>]*\?>\s*/, "").replace(/ xmlns="[^"]*"/, "")
    return new Response(
      `<?xml version="1.0"?>\n<Invalidation xmlns="${NAMESPACE}"><Id>${id}</Id><Status>InProgress</Status><CreateTime>${new Date(this.#options.now()).toISOString()}</CreateTime>${echo}</Invalidation>`,
      { status: 201, headers: XML },
    )
  }

  #check(path: string): void {
    if (path.startsWith("#")) {
      const tag = path.slice(1)
      if (!this.#options.hasTags) refuse("a tag without CacheTagConfig", 400, "InvalidArgument")
      if (!/^[\x21-\x2b\x2d-\x7e]{1,256}$/.test(tag)) refuse(`the tag ${tag}`, 400, "InvalidArgument")
    } else if (!path.startsWith("/") || UNSAFE.test(path) || path.length > 4_000) {
      refuse(`the path ${path}`, 400, "InvalidArgument")
    } else if (path.slice(0, -1).includes("*")) refuse(`* within ${path}`, 400, "InvalidArgument")
  }

  #parse(body: string): { readonly paths: readonly string[]; readonly reference: string } {
    const malformed = () => refuse("malformed XML", 400, "MalformedXML")
    const [, inner = malformed()] =
      /^(?:<\?xml version="1\.0" encoding="UTF-8"\?>\s*)?<InvalidationBatch xmlns="http:\/\/cloudfront\.amazonaws\.com\/doc\/2020-05-31\/">(.*)<\/InvalidationBatch>$/s.exec(
        body,
      ) ?? []
    const [, reference = malformed()] = /<CallerReference>([^<]+)<\/CallerReference>/.exec(inner) ?? []
    const [, quantity = malformed()] = /<Quantity>(\d+)<\/Quantity>/.exec(inner) ?? []
    const [, items = malformed()] = /<Items>((?:<Path>[^<]*<\/Path>)*)<\/Items>/.exec(inner) ?? []
    const rest = inner
      .replace(items, "")
      .replace(/<CallerReference>[^<]+<\/CallerReference>/, "")
      .replace(/<Quantity>\d+<\/Quantity>/, "")
    if (rest !== "<Paths><Items></Items></Paths>") malformed()
    const paths = [...items.matchAll(/<Path>([^<]*)<\/Path>/g)].map(([, text = ""]) => {
      if (/&(?!(amp|lt|gt|quot|apos);)/.test(text) || text.includes(">")) malformed()
      return text
        .replaceAll("&lt;", "<")
        .replaceAll("&gt;", ">")
        .replaceAll("&quot;", '"')
        .replaceAll("&apos;", "'")
        .replaceAll("&amp;", "&")
    })
    if (Number(quantity) !== paths.length) refuse("Quantity", 400, "InconsistentQuantities")
    if (paths.length === 0) refuse("no path", 400, "InvalidArgument")
    if (paths.length > 3_000) refuse(`${paths.length} paths`, 413, "BatchTooLarge")
    return { paths, reference }
  }

  /** Not complained of: that credentials are wrong is what some tests are about. */
  async #denied({ method, url, headers, body }: Received): Promise<Response | undefined> {
    const { accessKeyId, secretAccessKey, sessionToken, now } = this.#options
    const [, key, date = "", names = "", signature] =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/us-east-1\/cloudfront\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(
        headers.get("authorization") ?? "",
      ) ?? []
    if (key === undefined)
      return fault(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    if (key !== accessKeyId || (headers.get("x-amz-security-token") ?? undefined) !== sessionToken)
      return fault(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
    const time = headers.get("x-amz-date") ?? ""
    const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time) ?? []
    const [year = 0, month = 0, day = 0, ...clock] = parts.map(Number)
    const at = Date.UTC(year, month - 1, day, ...clock)
    if (!(Math.abs(at - now()) <= 5 * 60_000) || !time.startsWith(date))
      return fault(403, "SignatureDoesNotMatch", "Signature expired")
    const signedNames = names.split(";")
    const needed = ["host", "x-amz-date", ...[...headers.keys()].filter((name) => name.startsWith("x-amz-"))]
    if (
      !needed.every((name) => signedNames.includes(name)) ||
      names !== [...signedNames].toSorted().join(";")
    )
      return fault(403, "SignatureDoesNotMatch", "A header that has to be signed is not")
    const { host, pathname } = new URL(url)
    const lines = signedNames.map(
      (name) => `${name}:${name === "host" ? host : (headers.get(name) ?? "").trim()}\n`,
    )
    const request = `${method}\n${pathname}\n\n${lines.join("")}\n${names}\n${await sha(body)}`
    const text = `AWS4-HMAC-SHA256\n${time}\n${date}/us-east-1/cloudfront/aws4_request\n${await sha(request)}`
    let signing = bytes(`AWS4${secretAccessKey}`)
    for (const part of [date, "us-east-1", "cloudfront", "aws4_request"]) signing = await mac(signing, part)
    const expected = hex((await mac(signing, text)).buffer)
    return signature === expected
      ? undefined
      : fault(
          403,
          "SignatureDoesNotMatch",
          "The request signature we calculated does not match the signature you provided.",
        )
  }
}
