import { cloudflare as cloudflareTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, member, parseJson, textOf, tidy, verdict } from "./answer.ts"
import { cloudflareErrors } from "./cloudflare-errors.ts"
import { CALLS, MAX_ITEMS, type Plan, PROPAGATION } from "./cloudflare-limits.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  Kind,
  KindCapability,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
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
export const cloudflareTraits: TargetTraits<TargetConfigOf<"cloudflare">> = {
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
}

/** How it is asked. */
export const cloudflare: TargetDriver<TargetConfigOf<"cloudflare">> = /* @__PURE__ */ driverOf(
  cloudflareTraits,
  ({ endpoint, zone, token }, surroundings) => {
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
        return "outcome" in answer
          ? answer
          : judge(host, answer, batch.values.length, surroundings.now(), token)
      },
    }
  },
)

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

const MEND = { keys: ["token"], place: ["zone"] }

/** A 200 may well say `success: false`, without a word on which item was at fault. */
function judge(who: string, answer: Answer, count: number, now: Milliseconds, token: string): Outcome {
  const body = parseJson(answer.text)
  const success = member(body, "success")
  const { said, about } = cloudflareErrors(body, token)
  const isFailed = success === false
  const outcome = verdict(who, answer, now, {
    mend: MEND,
    said,
    isOwn: isFailed,
    isTaken: success === true,
    isFailed,
    about,
    count,
  })
  const id = tidy(textOf(member(body, "result"), "id"))
  return outcome.outcome === "accepted" && id !== "" ? { ...outcome, vendorId: id } : outcome
}
