import { fastly as fastlyTags } from "../../protocol/tag-rules.ts"
import { HOUR, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, byStatus, member, tidy, troubleOf } from "./answer.ts"
import type {
  Batch,
  Capabilities,
  Left,
  Outcome,
  TargetConfigOf,
  TargetDriver,
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
export const fastly: TargetDriver<TargetConfigOf<"fastly">> = {
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
  create({ endpoint, service, token }, surroundings) {
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
}

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

function judge(who: string, answer: Answer, batch: Batch, now: Milliseconds, token: string): Outcome {
  const body = parse(answer.text)
  const said = tidy(wordsOf(body).join(": "), [token])
  const outcome = byStatus(who, answer, now, said)
  const left = leftOf(answer.headers)
  switch (outcome.outcome) {
    case "accepted": {
      const taken = confirm(who, answer, batch, body, said)
      return "outcome" in taken ? taken : { ...outcome, ...taken, ...left }
    }
    case "trouble": {
      const pause =
        outcome.retryAfter ?? (answer.status === 429 ? untilReset(answer.headers, now) : undefined)
      return { ...outcome, ...left, ...(pause === undefined ? {} : { retryAfter: pause }) }
    }
    case "refused":
      // About the service, not about what was to be purged: every item would share it.
      if (answer.status === 404 && batch.values[0]?.kind !== "url") {
        const detail = `${outcome.detail} (no such service for this token?)`
        return { outcome: "unauthorised", status: answer.status, detail }
      }
      return outcome
    case "unauthorised":
    case "unsupported":
      return outcome
  }
}

/** The first few, as many as a receipt shows whole. */
const MAX_IDS = 6

/**
 * What a 200 says in its body: `status: "ok"` of a URL and of everything, and of keys an id each. Fastly has been seen
 * to answer by a page, and a key without an id was not purged.
 */
function confirm(
  who: string,
  { status, headers, text }: Answer,
  { values }: Batch,
  body: unknown,
  said: string,
): Outcome | { readonly vendorId?: string } {
  const unread = (): Outcome =>
    troubleOf({ status, headers, text }, 0, `${who} answered ${status} with a body that cannot be read`)
  if (body === null || typeof body !== "object") return unread()
  const isFailed = member(body, "status") === "fail" || member(body, "status") === "error"
  if (isFailed)
    return { outcome: "refused", status, detail: `${who} answered ${status} without success: ${said}` }
  if (values[0]?.kind !== "tag")
    return member(body, "status") === "ok" ? vendorId([member(body, "id")]) : unread()
  const ids = values.map(({ value }) => member(body, value))
  const at = [...ids.keys()].filter((place) => typeof ids[place] !== "string")
  if (at.length === values.length) return unread()
  if (at.length > 0)
    return { outcome: "refused", status, at, detail: `${who} answered ${status} and named no purge of it` }
  return vendorId(ids)
}

function vendorId(ids: readonly unknown[]): { readonly vendorId?: string } {
  const known = new Set(ids.filter((id): id is string => typeof id === "string" && id !== ""))
  return known.size === 0 ? {} : { vendorId: tidy([...known].slice(0, MAX_IDS).join(",")) }
}

/** Its own words, in the two forms that its errors have; none where it answers by a page. */
function wordsOf(body: unknown): readonly string[] {
  const words = ["reason", "msg", "detail"].map((name) => member(body, name))
  return words.filter((word): word is string => typeof word === "string" && word !== "")
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
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
