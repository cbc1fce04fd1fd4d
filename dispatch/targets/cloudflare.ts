import { cloudflare as cloudflareTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import {
  type Answer,
  ask,
  baseAddress,
  beyond,
  byStatus,
  member,
  parseJson,
  tidy,
  troubleOf,
} from "./answer.ts"
import { CALLS, MAX_ITEMS, type Plan, PROPAGATION } from "./cloudflare-limits.ts"
import type {
  Batch,
  Capabilities,
  Kind,
  KindCapability,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  Value,
} from "./target.ts"

/** @see https://developers.cloudflare.com/api/resources/cache/methods/purge/ */
const BASE_URL = "https://api.cloudflare.com/client/v4"

/**
 * Urls a second, over a moving average: no more than one second's worth at once.
 *
 * @see https://developers.cloudflare.com/cache/how-to/purge-cache/#single-file-purge-limits
 */
const URLS_PER_SECOND: Record<Plan, number> = { free: 800, pro: 1_500, business: 1_500, enterprise: 3_000 }

const SOFT_AND_HARD: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_ITEMS }

const CAPABILITIES: Capabilities = {
  kinds: {
    tag: SOFT_AND_HARD,
    url: SOFT_AND_HARD,
    prefix: SOFT_AND_HARD,
    host: SOFT_AND_HARD,
    everything: { ...SOFT_AND_HARD, batch: 1 },
  },
  mixed: false,
  tags: cloudflareTags.codec,
  propagation: PROPAGATION,
}

/**
 * Cloudflare's zone purge: `purge_cache` is hard, `invalidate_cache` soft. `endpoint` stands in for
 * `https://api.cloudflare.com/client/v4`, so that a call goes to `<endpoint>/zones/<zone>/purge_cache`.
 */
export const cloudflare: TargetDriver<TargetConfigOf<"cloudflare">> = {
  type: "cloudflare",
  capabilities: () => CAPABILITIES,
  pace: ({ plan }) => [
    {
      limit: "rate",
      bucket: "purge",
      kinds: ["tag", "prefix", "host", "everything"],
      per: "call",
      ...CALLS[plan],
    },
    {
      limit: "rate",
      bucket: "urls",
      kinds: ["url"],
      per: "value",
      perSecond: URLS_PER_SECOND[plan],
      burst: URLS_PER_SECOND[plan],
    },
  ],
  create({ endpoint, zone, token }, surroundings) {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch)
        if (unsupported) return unsupported
        const url = `${base}/zones/${zone}/${batch.mode === "purge" ? "purge_cache" : "invalidate_cache"}`
        const body = JSON.stringify(bodyOf(batch))
        const answer = await ask(surroundings, host, url, { method: "POST", headers, body }, signal)
        return "outcome" in answer ? answer : judge(host, answer, surroundings.now(), token)
      },
    }
  },
}

/** One member a kind. Two of them in one body are refused, as they should be: the plan makes a call a kind. */
function bodyOf({ values }: Batch): Readonly<Record<string, true | readonly string[]>> {
  const of = (kind: Kind) => [...new Set(values.filter((each) => each.kind === kind).map(wire))]
  const lists = { tags: of("tag"), files: of("url"), hosts: of("host"), prefixes: of("prefix") }
  const body = Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0))
  return values.some(({ kind }) => kind === "everything") ? { ...body, purge_everything: true } : body
}

/**
 * A value as Cloudflare takes it. Hosts and prefixes are documented without a scheme, and by name only: with a port
 * they go by that name, which is wider. A prefix goes without its last slash, as documented, to cover the page at
 * `…/blog` too.
 *
 * @see https://developers.cloudflare.com/cache/how-to/purge-cache/purge_by_prefix/
 */
function wire({ kind, value }: Value): string {
  if (kind === "host") return value.replace(/:\d+$/, "")
  if (kind !== "prefix") return value
  const { hostname, pathname } = new URL(value)
  return hostname + pathname.replace(/\/$/, "")
}

interface Envelope {
  readonly success: boolean
  readonly id: unknown
  readonly errors: readonly unknown[]
}

/** The parts of Cloudflare's usual envelope that matter here; undefined when the text is none. */
function parseEnvelope(text: string): Envelope | undefined {
  const body = parseJson(text)
  const success = member(body, "success")
  if (typeof success !== "boolean") return undefined
  const errors = member(body, "errors")
  return { success, id: member(member(body, "result"), "id"), errors: Array.isArray(errors) ? errors : [] }
}

/**
 * "Invalid request headers", with status 400: a token that has not even the form of one. It would fault every item.
 *
 * @see https://github.com/cloudflare/cloudflare-go/issues/643
 */
const INVALID_HEADERS = 6003

/**
 * What the body of a rate-limited purge says is not documented; older answers said this, and not always by a 429.
 * Taken for a refusal it would be cut into ever more calls.
 *
 * @see https://github.com/danielpigott/cloudflare-cli/issues/15
 */
const RATE_LIMITED = /\brate limit (?:reached|enforced)\b/i

/** A 200 may well say `success: false`, without a word on which item was at fault. */
function judge(who: string, answer: Answer, now: Milliseconds, token: string): Outcome {
  const { status } = answer
  const envelope = parseEnvelope(answer.text)
  const errors = (envelope?.errors ?? []).map((each) => ({
    code: member(each, "code"),
    message: member(each, "message"),
  }))
  const said = tidy(errors.map(({ code, message }) => `${String(code)} ${String(message)}`).join("; "), [
    token,
  ])
  const outcome = byStatus(who, answer, now, said)
  if (outcome.outcome === "accepted") {
    if (!envelope) return troubleOf(answer, now, `${who} answered ${status} with a body that cannot be read`)
    if (envelope.success) return { ...outcome, ...vendorId(envelope.id) }
  }
  const detail = "detail" in outcome ? outcome.detail : `${who} answered ${status} without success: ${said}`
  if (outcome.outcome === "trouble" || RATE_LIMITED.test(said)) return troubleOf(answer, now, detail)
  const unauthorised =
    outcome.outcome === "unauthorised" || errors.some(({ code }) => code === INVALID_HEADERS)
  return { outcome: unauthorised ? "unauthorised" : "refused", status, detail }
}

const vendorId = (id: unknown): { vendorId?: string } =>
  typeof id === "string" && id !== "" ? { vendorId: tidy(id) } : {}
