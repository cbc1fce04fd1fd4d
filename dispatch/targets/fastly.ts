import { fastly as fastlyTags } from "../../protocol/tag-rules.ts"
import { HOUR, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, member, parseJson, textOf, tidy, verdict } from "./answer.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  Left,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  VendorHeaders,
} from "./target.ts"

/** @see https://www.fastly.com/documentation/reference/api/purging/ */
const BASE_URL = "https://api.fastly.com"

/** @see https://www.fastly.com/documentation/reference/api/purging/#bulk-purge-tag */
const MAX_KEYS = 256

/** Ours: how long a body Fastly takes is not published. A key may have 1,024 bytes; nearly all are far shorter. */
const MAX_BODY_BYTES = 64 * 1024

/** A key's quotes and comma. */
const KEY_OVERHEAD = 3

/**
 * Requests that write, of a user: purging everything counts, purging by key or URL does not.
 *
 * @see https://docs.fastly.com/api/ an older copy of it; the pages of today name no number, and we could confirm none
 */
const REQUESTS_PER_HOUR = 1_000
/** Ours: what may come at once; the rest is spread over the hour, so that no hour sees more than the limit. */
const BURST = 100

const CAPABILITIES: Capabilities = {
  kinds: {
    tag: { modes: ["invalidate", "purge"], batch: MAX_KEYS },
    url: { modes: ["invalidate", "purge"], batch: 1 },
    // There is no soft one: https://www.fastly.com/documentation/reference/api/purging/#purge-all
    everything: { modes: ["purge"], batch: 1 },
  },
  mixed: false,
  maxBytes: MAX_BODY_BYTES,
  valueOverhead: KEY_OVERHEAD,
  tags: fastlyTags.codec,
  // https://www.fastly.com/blog/fastly-instant-purge-under-150ms-for-over-a-decade
  propagation: 150,
}

/**
 * Fastly's purging by surrogate key and URL, soft or hard, and of a whole service. `endpoint` stands in for
 * `https://api.fastly.com`.
 */
export const fastlyTraits: TargetTraits<TargetConfigOf<"fastly">> = {
  type: "fastly",
  capabilities: () => CAPABILITIES,
  pace: () => [
    {
      limit: "rate",
      bucket: "api",
      kinds: ["everything"],
      per: "call",
      perSecond: (REQUESTS_PER_HOUR - BURST) / (HOUR / SECOND),
      burst: BURST,
    },
  ],
}

/** How it is asked. */
export const fastly: TargetDriver<TargetConfigOf<"fastly">> = /* @__PURE__ */ driverOf(
  fastlyTraits,
  ({ endpoint, service, token }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch)
        if (unsupported) return unsupported
        const { path, headers, body } = requestOf(service, batch)
        const init = { method: "POST", headers: { ...headers, "fastly-key": token }, ...(body && { body }) }
        const answer = await ask(surroundings, host, base + path, init, signal)
        return "outcome" in answer ? answer : judge(host, answer, batch, surroundings.now(), token)
      },
    }
  },
)

interface FastlyRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

function requestOf(service: string, { mode, values }: Batch): FastlyRequest {
  // Its presence is what counts, so a hard purge must not even send it as 0.
  const soft: Record<string, string> = mode === "invalidate" ? { "fastly-soft-purge": "1" } : {}
  const headers = { accept: "application/json", ...soft }
  const [first] = values
  if (first?.kind === "url") {
    // Without its scheme: Fastly knows a page by host and path, and `http` and `https` are one there.
    const { host, pathname, search } = new URL(first.value)
    return { path: `/purge/${host}${pathname}${search}`, headers }
  }
  if (first?.kind === "everything") return { path: `/service/${service}/purge_all`, headers }
  const keys = [...new Set(values.map(({ value }) => value))]
  return {
    path: `/service/${service}/purge`,
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ surrogate_keys: keys }),
  }
}

const MEND = { keys: ["token"], place: ["service"] }

/**
 * Fastly has no codes. In its words, by 400 as by 401, 403 or 404: "Provided credentials are missing or invalid", "You
 * are not authorized to perform this action"; "Cannot load service" or "Cannot find service", also for a URL whose host
 * no service of this token has (https://github.com/fastly/fastly-php/issues/53,
 * https://github.com/fastly/cli/issues/1780). A wrong key may also be answered by a page.
 */
const KEYS =
  /\bprovided credentials\b|\b(?:missing or invalid|invalid api) (?:credentials|key|token)\b|\bnot (?:authorized|permitted)\b|\b(?:no|have) permission\b|\b(?:account|customer) (?:is|has)\b/i
const PLACE =
  /\bcannot (?:load|find) '?service\b|\b(?:invalid|unknown|no such) service\b|\bservice (?:is|has been|was|not)\b/i

function judge(who: string, answer: Answer, batch: Batch, now: Milliseconds, token: string): Outcome {
  const { status, headers } = answer
  const body = parseJson(answer.text)
  const isOpen = status === 200 || status === 400
  const said = tidy(wordsOf(body).join(": "), [token])
  const isFailed = ["fail", "error"].includes(textOf(body, "status"))
  const ids = idsOf(batch, body)
  const isNamed = (id: unknown) => typeof id === "string"
  const at = [...ids.keys()].filter((place) => !isNamed(ids[place]))
  const isByKey = batch.values[0]?.kind === "tag"
  const outcome = verdict(who, answer, now, {
    mend: MEND,
    said,
    isOwn: said !== "" || isFailed,
    // Fastly has been seen to answer by a page, and a key without an id was not purged.
    isTaken: !isFailed && (isByKey ? ids.some(isNamed) : member(body, "status") === "ok"),
    isFailed,
    // By 401, 403 and 404 it is one or the other in any case, and a purge that was taken has no words.
    about: !isOpen ? undefined : KEYS.test(said) ? "keys" : PLACE.test(said) ? "place" : undefined,
    count: batch.values.length,
  })
  const left = leftOf(headers)
  if (outcome.outcome === "accepted")
    return isByKey && at.length > 0
      ? { outcome: "refused", status, at, detail: `${who} answered ${status} and named no purge of it` }
      : { ...outcome, ...vendorId(ids), ...left }
  if (outcome.outcome !== "trouble") return outcome
  const pause = outcome.retryAfter ?? (status === 429 ? untilReset(headers, now) : undefined)
  return { ...outcome, ...left, ...(pause === undefined ? {} : { retryAfter: pause }) }
}

/** The first few, as many as a receipt shows whole. */
const MAX_IDS = 6

/** What a 200 names in its body: one id of a URL or of everything, and of keys one each. */
const idsOf = ({ values }: Batch, body: unknown): readonly unknown[] =>
  values[0]?.kind === "tag" ? values.map(({ value }) => member(body, value)) : [member(body, "id")]

function vendorId(ids: readonly unknown[]): { readonly vendorId?: string } {
  const known = new Set(ids.filter((id): id is string => typeof id === "string" && id !== ""))
  return known.size === 0 ? {} : { vendorId: tidy([...known].slice(0, MAX_IDS).join(",")) }
}

/** Its own words, in the two forms that its errors have; none where it answers by a page. */
function wordsOf(body: unknown): readonly string[] {
  return ["reason", "msg", "detail", "details"]
    .map((name) => textOf(body, name))
    .filter((word) => word !== "")
}

const count = (headers: VendorHeaders, name: string): number | undefined => {
  const text = headers.get(name)?.trim() ?? ""
  return /^\d{1,12}$/.test(text) ? Number(text) : undefined
}

function leftOf(headers: VendorHeaders): { readonly left?: readonly Left[] } {
  const tokens = count(headers, "fastly-ratelimit-remaining")
  return tokens === undefined ? {} : { left: [{ bucket: "api", tokens }] }
}

/** Seconds since 1970 at which the limit is whole again. Fastly documents no `Retry-After`. */
function untilReset(headers: VendorHeaders, now: Milliseconds): Milliseconds | undefined {
  const reset = count(headers, "fastly-ratelimit-reset")
  return reset === undefined ? undefined : Math.max(0, reset * SECOND - now)
}
