import { sha256, toBase64, toHex, utf8 } from "../../protocol/bytes.ts"
import { googleCloudCdn as googleCloudCdnTags } from "../../protocol/tag-rules.ts"
import { HOUR, type Milliseconds, SECOND } from "../../protocol/time.ts"
import {
  address,
  type Answer,
  ask,
  baseAddress,
  beyond,
  member,
  parseJson,
  type Reading,
  textOf,
  tidy,
  verdict,
  pathOf,
  withWildcard,
} from "./answer.ts"
import { importKey, readPem, signJwt } from "./jwt.ts"
import { accessTokens } from "./oauth.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  KindCapability,
  Outcome,
  Pace,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
} from "./target.ts"

/** @see https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps/invalidateCache */
const BASE_URL = "https://compute.googleapis.com"
const SCOPE = "https://www.googleapis.com/auth/compute"

/** @see https://developers.google.com/identity/protocols/oauth2/service-account#httprest */
const TOKEN_URL = "https://oauth2.googleapis.com/token"
const GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
/** The longest that Google takes. */
const ASSERTED: Milliseconds = HOUR

/** @see https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps/invalidateCache#request-body */
const MAX_TAGS = 10

/**
 * 500 requests in any minute, of which 400 are for calls of one request and 100 for prefixes, which take two; of each
 * part some at once. The parts are ours. Whether a project or a URL map has the 500 is not published.
 *
 * @see https://cloud.google.com/cdn/docs/cache-invalidation-overview
 */
const PACES: readonly Pace[] = [
  {
    limit: "rate",
    bucket: "requests",
    kinds: ["tag", "url", "host", "everything"],
    per: "call",
    perSecond: 300 / 60,
    burst: 100,
  },
  { limit: "rate", bucket: "prefixes", kinds: ["prefix"], per: "call", perSecond: 30 / 60, burst: 20 },
]

const hard = (batch: number): KindCapability => ({ modes: ["purge"], batch })

const CAPABILITIES: Capabilities = {
  kinds: { tag: hard(MAX_TAGS), url: hard(1), prefix: hard(1), host: hard(1), everything: hard(1) },
  mixed: false,
  tags: googleCloudCdnTags.codec,
  isIdempotent: true,
  // https://cloud.google.com/cdn/docs/cache-invalidation-overview
  propagation: 10 * SECOND,
}

/**
 * Cloud CDN's invalidations of one URL map: always hard. `endpoint` stands in for `https://compute.googleapis.com`; the
 * address that gives tokens is the key's own.
 */
export const googleCloudCdnTraits: TargetTraits<TargetConfigOf<"google-cloud-cdn">> = {
  type: "google-cloud-cdn",
  capabilities: () => CAPABILITIES,
  pace: () => PACES,
}

/** How it is asked. */
export const googleCloudCdn: TargetDriver<TargetConfigOf<"google-cloud-cdn">> = /* @__PURE__ */ driverOf(
  googleCloudCdnTraits,
  ({ endpoint, project, urlMap, key }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    const url = `${base}/compute/v1/projects/${project}/global/urlMaps/${urlMap}/invalidateCache`
    const account = readKey(key)
    let imported: Promise<CryptoKey> | undefined
    const tokens = accessTokens(surroundings, {
      url: account.tokenUrl,
      mend: MEND.keys,
      secrets: account.secrets,
      async form() {
        imported ??= importKey(account.pkcs8)
        return { grant_type: GRANT, assertion: await assert(account, surroundings.now(), await imported) }
      },
    })
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch) ?? withWildcard(batch, pathOf)
        if (unsupported) return unsupported
        const granted = await tokens.get(signal)
        if ("outcome" in granted) return granted
        const { token } = granted
        const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
        const vendorIds: string[] = []
        let status = 0
        for (const [nth, rule] of rulesOf(batch).entries()) {
          const to = `${url}?requestId=${await requestId(`${batch.id}/${nth}`)}`
          const body = JSON.stringify(rule)
          const answer = await ask(surroundings, host, to, { method: "POST", headers, body }, signal)
          if ("outcome" in answer) return answer
          if (answer.status === 401) tokens.forget(token)
          const secrets = [token, ...account.secrets]
          const outcome = judge(host, answer, batch.values.length, surroundings.now(), secrets)
          if (outcome.outcome !== "accepted") return outcome
          status = outcome.status
          vendorIds.push(outcome.vendorId ?? "")
        }
        return { outcome: "accepted", status, vendorId: vendorIds.join(" ") }
      },
    }
  },
)

interface Account {
  readonly email: string
  readonly keyId: string | undefined
  /** The private key, in the forms in which it is handled here. */
  readonly secrets: readonly string[]
  readonly pkcs8: Uint8Array<ArrayBuffer>
  readonly tokenUrl: string
}

/** @throws {TypeError} naming what is wrong with the key, and nothing of it */
function readKey(text: string): Account {
  const json = parseJson(text)
  const of = (name: string): string | undefined => {
    const value = member(json, name)
    return typeof value === "string" && value !== "" ? value : undefined
  }
  const [email, privateKey, keyId] = [of("client_email"), of("private_key"), of("private_key_id")]
  if (email === undefined || privateKey === undefined)
    throw new TypeError("key is not the JSON of a service account's key")
  const pkcs8 = readPem(privateKey)
  if (!pkcs8) throw new TypeError("key has a private_key that is no PEM")
  return {
    email,
    keyId,
    secrets: [privateKey, toBase64(pkcs8)],
    pkcs8,
    tokenUrl: address("token_uri of key", of("token_uri") ?? TOKEN_URL).href,
  }
}

/** @see https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests */
function assert({ email, keyId, tokenUrl }: Account, now: Milliseconds, key: CryptoKey): Promise<string> {
  const at = Math.floor(now / SECOND)
  const claims = { iss: email, scope: SCOPE, aud: tokenUrl, iat: at, exp: at + ASSERTED / SECOND }
  return signJwt(keyId === undefined ? {} : { kid: keyId }, claims, key)
}

/** What Google knows a repeated request by: the same for the same attempt, in the form of a UUID of version 4. */
async function requestId(name: string): Promise<string> {
  const hex = toHex(await sha256(utf8(name)))
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

interface Rule {
  readonly path?: string
  readonly host?: string
  readonly cacheTags?: readonly string[]
}

/**
 * What is asked for, a request each. Paths are matched without their queries. `/blog/*` is all that a prefix can be said
 * by, and the page at `/blog` is beside it: that is another request.
 *
 * @see https://cloud.google.com/cdn/docs/cache-invalidation-overview
 */
function rulesOf({ values }: Batch): readonly Rule[] {
  const tags = values.filter(({ kind }) => kind === "tag").map(({ value }) => value)
  const rules = values.flatMap(({ kind, value }): readonly Rule[] => {
    switch (kind) {
      case "url": {
        const { hostname, pathname } = new URL(value)
        return [{ host: hostname, path: pathname }]
      }
      case "prefix": {
        const { hostname, pathname } = new URL(value)
        const page = pathname.replace(/\/$/, "")
        return [
          { host: hostname, path: `${page}/*` },
          ...(page === "" ? [] : [{ host: hostname, path: page }]),
        ]
      }
      // The port of a request is not documented as part of its host; without it all of them are meant.
      case "host":
        return [{ host: value.replace(/:\d+$/, ""), path: "/*" }]
      case "everything":
        return [{ path: "/*" }]
      case "tag":
      case "namespace":
        return []
    }
  })
  return tags.length > 0 ? [{ cacheTags: [...new Set(tags)] }, ...rules] : rules
}

/**
 * Which status a limit has is not published, 429 or 403: the reason tells. A URL map that is just being changed is a
 * passing matter too.
 *
 * @see https://cloud.google.com/compute/docs/api/how-tos/api-requests-responses#handling_api_responses
 */
const PASSING = /rate_?limit|quota|resource_?exhausted|operation_?rate|resource_?not_?ready|backend_?error/i

const MEND = { keys: ["key"], place: ["project", "urlMap"] }

/**
 * Reasons that are about the key and its account, or about the project and its map, whatever the status: those of
 * `google.api.ErrorReason` (https://cloud.google.com/php/docs/reference/common-protos/latest/Api.ErrorReason) and their
 * older names.
 */
const KEYS =
  /\b(?:API_KEY_\w+|ACCESS_TOKEN_\w+|ACCOUNT_STATE_INVALID|CREDENTIALS_MISSING|USER_\w+|UNAUTHENTICATED|authError|key(?:Invalid|Expired)|accountDisabled|insufficientPermissions)\b/
const PLACE =
  /\b(?:(?:SERVICE|BILLING)_DISABLED|(?:CONSUMER|GCP|RESOURCE_PROJECT|SERVICE)_(?:SUSPENDED|INVALID|NOT_VISIBLE)|\w+_POLICY_VIOLATED|ORG_RESTRICTION_\w+|accessNotConfigured|billing\w*|userProjectMissing|project\w*|failedPrecondition|FAILED_PRECONDITION)\b/
/** A project or a map whose name has no such form is 400 `invalid`, in words. */
const PLACE_WORDS = /\bvalue for field '(?:project|urlMap)'|^unknown project\b/i

/** An operation that has failed already says so within a 200. */
function judge(
  who: string,
  answer: Answer,
  count: number,
  now: Milliseconds,
  secrets: readonly string[],
): Outcome {
  const body = parseJson(answer.text)
  const isOk = answer.status >= 200 && answer.status < 300
  const name = textOf(body, "name")
  const error = member(body, "error")
  const listed = member(error, "errors")
  const errors: readonly unknown[] = Array.isArray(listed) ? listed : []
  const isFailed = isOk && name !== "" && errors.length > 0
  const details = member(error, "details")
  const reasons = [error, ...errors, ...(Array.isArray(details) ? details : [])]
    .flatMap((each) => [textOf(each, "status"), textOf(each, "reason"), textOf(each, "code")])
    .filter((reason) => reason !== "")
    .join(" ")
  const message = textOf(error, "message") || textOf(errors[0], "message")
  const failed = Number(member(body, "httpErrorStatusCode"))
  const status = isFailed ? (failed >= 400 ? failed : 400) : answer.status
  const aboutOf = (): Reading["about"] => {
    if (PASSING.test(reasons)) return "vendor"
    if (status === 401 || status === 403 || status === 404) return undefined
    if (KEYS.test(reasons)) return "keys"
    return PLACE.test(reasons) || PLACE_WORDS.test(message) ? "place" : undefined
  }
  const outcome = verdict(who, { ...answer, status }, now, {
    mend: MEND,
    said: tidy(`${reasons} ${message}`, secrets),
    isOwn: reasons !== "" || message !== "",
    isTaken: name !== "" && errors.length === 0,
    about: aboutOf(),
    count,
  })
  return outcome.outcome === "accepted" ? { ...outcome, vendorId: tidy(name) } : outcome
}
