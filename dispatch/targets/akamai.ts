import { akamai as akamaiTags } from "../../protocol/tag-rules.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import {
  type Answer,
  ask,
  baseAddress,
  beyond,
  parseJson,
  type Reading,
  textOf,
  tidy,
  verdict,
} from "./answer.ts"
import { signEdgeGrid } from "./edgegrid.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  Kind,
  KindCapability,
  Left,
  Outcome,
  RateLimit,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  VendorHeaders,
} from "./target.ts"

/** @see https://techdocs.akamai.com/purge-cache/reference/413 */
const MAX_BODY_BYTES = 50_000
const ENVELOPE_BYTES = '{"objects":[]}'.length
/** A value's quotes and comma. What else JSON writes longer, a backslash in a query, is a 413 at worst, and cut in two. */
const VALUE_OVERHEAD = 3

/**
 * Ours: the bytes allow a few times as many of short ones. One value that is not taken refuses all of a call, and what
 * one call takes of the account's tokens, others wait for.
 */
const MAX_OBJECTS = 1_000

/**
 * Token buckets of the account as a whole, whatever its API clients. Every call takes a request, and one of its kind
 * for each object. That `invalidate`, `delete` and both networks share them is how we read it.
 *
 * @see https://techdocs.akamai.com/purge-cache/reference/rate-limiting
 */
const REQUESTS = { perSecond: 50, burst: 100 }
const URLS = { perSecond: 12_000 / 60, burst: 10_000 }
const TAGS = { perSecond: 500 / 60, burst: 5_000 }
const CP_CODES = { perSecond: 30 / 60, burst: 300 }

/** @see https://techdocs.akamai.com/purge-cache/reference/429 */
const LEAST_PAUSE: Milliseconds = 5 * SECOND

const SOFT_AND_HARD: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_OBJECTS }

/** How Fast Purge calls what it can do. */
const ACTIONS = { invalidate: "invalidate", purge: "delete" } as const

type AkamaiConfig = TargetConfigOf<"akamai">

function capabilitiesOf({ cpCodes }: Pick<Partial<AkamaiConfig>, "cpCodes">): Capabilities {
  return {
    kinds: {
      tag: SOFT_AND_HARD,
      url: SOFT_AND_HARD,
      // Akamai knows no site as a whole but by its CP codes.
      ...(cpCodes && { everything: { ...SOFT_AND_HARD, batch: 1 } }),
    },
    mixed: false,
    maxBytes: MAX_BODY_BYTES - ENVELOPE_BYTES,
    valueOverhead: VALUE_OVERHEAD,
    tags: akamaiTags.codec,
    // `estimatedSeconds` of every answer: https://techdocs.akamai.com/purge-cache/reference/api-summary
    propagation: 5 * SECOND,
  }
}

/**
 * Akamai's Fast Purge v3 by URL and cache tag; everything is the CP codes that the configuration lists. `endpoint`
 * stands in for `https://<host>`; what is signed stays the real host and path.
 */
export const akamaiTraits: TargetTraits<AkamaiConfig> = {
  type: "akamai",
  capabilities: capabilitiesOf,
  pace({ cpCodes }) {
    const rate = (
      bucket: string,
      kinds: readonly Kind[],
      per: RateLimit["per"],
      limit: typeof URLS,
    ): RateLimit => ({
      limit: "rate",
      bucket,
      kinds,
      per,
      ...limit,
    })
    const paces = [
      rate("requests", cpCodes ? ["tag", "url", "everything"] : ["tag", "url"], "call", REQUESTS),
      rate("urls", ["url"], "value", URLS),
      rate("tags", ["tag"], "value", TAGS),
    ]
    if (!cpCodes) return paces
    // A call names all of them. Counted in such calls, so that the bucket has their number in its name.
    const { perSecond, burst } = CP_CODES
    const calls = { perSecond: perSecond / cpCodes.length, burst: Math.floor(burst / cpCodes.length) }
    return [...paces, rate(cpCodesBucket(cpCodes), ["everything"], "call", calls)]
  },
}

/** How it is asked. */
export const akamai: TargetDriver<AkamaiConfig> = /* @__PURE__ */ driverOf(
  akamaiTraits,
  (config, surroundings) => {
    const { host, clientToken, clientSecret, accessToken, network, cpCodes = [], endpoint } = config
    const { base, host: who } = baseAddress("endpoint", endpoint ?? `https://${host}`)
    for (const [option, token] of Object.entries({ clientToken, clientSecret, accessToken }))
      if (!/^[\x21-\x3a\x3c-\x7e]+$/.test(token))
        throw new TypeError(`${option} is empty, or holds what no such credential does`)
    const capabilities = capabilitiesOf(config)
    return {
      async purge(batch, signal) {
        const unsupported = beyond(capabilities, batch)
        if (unsupported) return unsupported
        const { type, objects } = contentOf(batch, cpCodes)
        const path = `/ccu/v3/${ACTIONS[batch.mode]}/${type}/${network}`
        const body = JSON.stringify({ objects })
        const authorization = await signEdgeGrid(config, path, body, surroundings.now(), crypto.randomUUID())
        const headers = { accept: "application/json", authorization, "content-type": "application/json" }
        const answer = await ask(surroundings, who, base + path, { method: "POST", headers, body }, signal)
        if ("outcome" in answer) return answer
        const secrets = [authorization, clientToken, clientSecret, accessToken]
        return judge(who, answer, batch, cpCodes, surroundings.now(), secrets)
      },
    }
  },
)

const cpCodesBucket = (cpCodes: readonly number[]): string => `cpcodes:${cpCodes.length}`

interface Content {
  readonly type: "url" | "tag" | "cpcode"
  readonly objects: readonly (string | number)[]
}

/** One kind a call, as Akamai takes it. A page is purged for `http` and `https` alike. */
function contentOf({ values }: Batch, cpCodes: readonly number[]): Content {
  if (values[0]?.kind === "everything") return { type: "cpcode", objects: [...new Set(cpCodes)] }
  const objects = [...new Set(values.map(({ value }) => value))]
  return { type: values[0]?.kind === "url" ? "url" : "tag", objects }
}

const MEND = { keys: ["clientToken", "clientSecret", "accessToken"], place: ["host"] }
/** CP codes stand in the configuration: nobody published one. */
const MEND_CP_CODES = { ...MEND, place: ["cpCodes"] }

/**
 * What is said of who asks and with what clock, whatever the status. Seen: 400 with the `type`
 * `…/pep-authn/request-error` and the detail "Invalid timestamp"
 * (https://github.com/akamai/AkamaiOPEN-edgegrid-node/issues/234), 400 "Invalid endpoint" for credentials of another
 * API (https://github.com/akamai/cli-purge/issues/16), 401 `pep-authn/deny` for clients that are not active, 403 for
 * what a client, or a contract, may not do (https://techdocs.akamai.com/purge-cache/reference/403). No value has a
 * space in it.
 */
const ABOUT_KEYS =
  /\binvalid (?:timestamp|authorization|signature|nonce)\b|\b(?:invalid|inactive|unknown|mismatched|deactivated) (?:client|access) token\b|\bsignature does not match\b|\bnonce has\b/i
const ABOUT_US = /\binvalid endpoint\b/i

/** "unauthorized arl", and the like: of a URL that is not this account's, by credentials that are good. */
const ABOUT_VALUE = /^unauthorized (?:arl|url|tag|cp ?code)\b/i

function judge(
  who: string,
  answer: Answer,
  batch: Batch,
  cpCodes: readonly number[],
  now: Milliseconds,
  secrets: readonly string[],
): Outcome {
  const { status, headers } = answer
  const body = parseJson(answer.text)
  const [type, title, about, purgeId] = [
    textOf(body, "type"),
    textOf(body, "title"),
    textOf(body, "detail"),
    textOf(body, "purgeId"),
  ]
  const words = [title, about].filter((text) => text !== "").join(": ")
  const isCpCodes = batch.values[0]?.kind === "everything"
  const aboutOf = (): Reading["about"] => {
    if (ABOUT_US.test(words)) return "us"
    if (ABOUT_KEYS.test(words)) return "keys"
    if (/\bpep-auth[nz]\b/.test(type)) return "us"
    if (status === 403 && ABOUT_VALUE.test(title)) return isCpCodes ? "place" : "value"
    return isCpCodes && status === 400 && words !== "" ? "place" : undefined
  }
  const outcome = verdict(who, answer, now, {
    mend: isCpCodes ? MEND_CP_CODES : MEND,
    said: tidy(words, secrets),
    // A firewall in front of the API answers 400 without words to too many requests: cutting up would only make more of
    // them. https://techdocs.akamai.com/purge-cache/reference/400
    isOwn: words !== "",
    isTaken: status === 201 && purgeId !== "",
    about: aboutOf(),
    count: batch.values.length,
  })
  const left = leftOf(headers, batch, cpCodes)
  if (outcome.outcome === "accepted") return { ...outcome, vendorId: tidy(purgeId), ...left }
  if (outcome.outcome === "refused") return { ...outcome, ...placesOf(batch, about) }
  if (outcome.outcome !== "trouble") return outcome
  const pause = outcome.retryAfter ?? (status === 429 ? untilEnough(headers, batch, cpCodes) : undefined)
  return { ...outcome, ...left, ...(pause === undefined ? {} : { retryAfter: pause }) }
}

/**
 * Which URL a refusal is about, where its detail is that URL, or quotes it. One is named, and all are refused; where
 * there are more, the next call says so.
 *
 * @see https://techdocs.akamai.com/purge-cache/reference/api-errors
 */
function placesOf({ values }: Batch, detail: string): { readonly at?: readonly number[] } {
  const at = [...values.keys()].filter((place) => {
    const { kind, value } = values[place] ?? { kind: "tag", value: "" }
    return kind === "url" && (detail === value || detail.includes(`'${value}'`))
  })
  return at.length === 0 ? {} : { at }
}

const amount = (headers: VendorHeaders, name: string): number | undefined => {
  const text = headers.get(name)?.trim() ?? ""
  return /^\d{1,9}(?:\.\d{1,9})?$/.test(text) ? Number(text) : undefined
}

function leftOf(
  headers: VendorHeaders,
  { values }: Batch,
  cpCodes: readonly number[],
): { readonly left?: readonly Left[] } {
  const requests = amount(headers, "x-ratelimit-remaining")
  const objects = amount(headers, "x-ratelimit-remaining-objects")
  const ofKind = (tokens: number): Left => {
    if (values[0]?.kind !== "everything")
      return { bucket: values[0]?.kind === "url" ? "urls" : "tags", tokens }
    return { bucket: cpCodesBucket(cpCodes), tokens: Math.floor(tokens / cpCodes.length) }
  }
  const left = [
    ...(requests === undefined ? [] : [{ bucket: "requests", tokens: requests }]),
    ...(objects === undefined ? [] : [ofKind(objects)]),
  ]
  return left.length === 0 ? {} : { left }
}

/** Until there are tokens for all of a denied call, five seconds at least; undefined where Akamai does not say. */
function untilEnough(
  headers: VendorHeaders,
  { values }: Batch,
  cpCodes: readonly number[],
): Milliseconds | undefined {
  const waitFor = (wanted: number, suffix: string): Milliseconds[] => {
    const remaining = amount(headers, `x-ratelimit-remaining${suffix}`)
    const perSecond = amount(headers, `x-ratelimit-limit-per-second${suffix}`)
    if (remaining === undefined || !perSecond) return []
    return [Math.ceil((Math.max(0, wanted - remaining) * SECOND) / perSecond)]
  }
  const size = values[0]?.kind === "everything" ? cpCodes.length : values.length
  const waits = [...waitFor(1, ""), ...waitFor(size, "-objects")]
  return waits.length === 0 ? undefined : Math.max(LEAST_PAUSE, ...waits)
}
