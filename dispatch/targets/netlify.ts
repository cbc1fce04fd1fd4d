import { netlify as netlifyTags } from "../../protocol/tag-rules.ts"
import { type Milliseconds, MINUTE, SECOND } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, isPage, parseJson, textOf, tidy, verdict } from "./answer.ts"
import { rateHeaders } from "./rate-headers.ts"
import { driverOf } from "./driver.ts"
import type { Batch, Capabilities, Outcome, TargetConfigOf, TargetDriver, TargetTraits } from "./target.ts"

/** @see https://open-api.netlify.com/#tag/purge/operation/purgeCache */
const BASE_URL = "https://api.netlify.com/api/v1"

/** Ours: how many tags a call may name is not published. A response has 500 at most, and a call this many of them. */
const MAX_TAGS = 100

/**
 * Each tag, and each site as a whole, may be purged twice in five seconds: evenly spaced, that is once in half of it.
 *
 * @see https://github.com/netlify/context-and-tools/blob/main/skills/netlify-caching/SKILL.md
 */
const EACH: Milliseconds = (5 * SECOND) / 2

/**
 * Requests to the API as a whole, in a minute. How that minute is counted is not published: with a fifth of them at
 * once and the rest spread over the minute, no minute has more, wherever it begins.
 *
 * @see https://docs.netlify.com/api-and-cli-guides/api-guides/get-started-with-api/#rate-limiting
 */
const REQUESTS_PER_MINUTE = 500
const AT_ONCE = REQUESTS_PER_MINUTE / 5

const CAPABILITIES: Capabilities = {
  kinds: {
    tag: { modes: ["purge"], batch: MAX_TAGS },
    everything: { modes: ["purge"], batch: 1 },
  },
  mixed: false,
  tags: netlifyTags.codec,
}

/** Netlify's purge of one site, by tag or all of it. `endpoint` stands in for `https://api.netlify.com/api/v1`. */
export const netlifyTraits: TargetTraits<TargetConfigOf<"netlify">> = {
  type: "netlify",
  capabilities: () => CAPABILITIES,
  pace: ({ site }) => [
    { limit: "spacing", bucket: `tags:${site}`, kinds: ["tag"], each: EACH },
    { limit: "spacing", bucket: `site:${site}`, kinds: ["everything"], each: EACH },
    {
      limit: "rate",
      bucket: "api",
      kinds: ["tag", "everything"],
      per: "call",
      perSecond: ((REQUESTS_PER_MINUTE - AT_ONCE) * SECOND) / MINUTE,
      burst: AT_ONCE,
    },
  ],
}

/** How it is asked. */
export const netlify: TargetDriver<TargetConfigOf<"netlify">> = /* @__PURE__ */ driverOf(
  netlifyTraits,
  ({ endpoint, site, token }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    const named = siteMember(site)
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch)
        if (unsupported) return unsupported
        const body = JSON.stringify({ ...named, ...tagsMember(batch) })
        const answer = await ask(
          surroundings,
          host,
          `${base}/purge`,
          { method: "POST", headers, body },
          signal,
        )
        return "outcome" in answer
          ? answer
          : judge(host, answer, batch.values.length, surroundings.now(), token)
      },
    }
  },
)

/** @throws {TypeError} for a domain: Netlify would take one, and purge what that domain has and nothing else */
function siteMember(site: string): { readonly site_id: string } | { readonly site_slug: string } {
  if (site.includes(".")) throw new TypeError("site is a domain: give the site's id or its name")
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(site) ? { site_id: site } : { site_slug: site }
}

/** Without the member the whole site is purged; an empty list would be taken, and purge nothing. */
function tagsMember({ values }: Batch): { readonly cache_tags?: readonly string[] } {
  if (values.some(({ kind }) => kind === "everything")) return {}
  return { cache_tags: [...new Set(values.map(({ value }) => value))] }
}

const MEND = { keys: ["token"], place: ["site"] }

/**
 * 400 and 404 (the site) are documented, with `code` and `message` and no list of them
 * (https://github.com/netlify/open-api/blob/master/swagger.yml). By their words: whatever speaks of the token, of access
 * or of the site would fault every batch.
 */
const KEYS = /\baccess denied\b|^unauthorized\b|\b(?:invalid|missing|unknown|expired) (?:access )?token\b/i
const PLACE =
  /\b(?:invalid|missing|unknown|no such|cannot find|disabled) site\b|\b(?:site|site_id|site_slug|account|team) (?:is|was|has been|must|not|does not)\b/i

function judge(who: string, answer: Answer, count: number, now: Milliseconds, token: string): Outcome {
  const { status, headers, text } = answer
  const message = textOf(parseJson(text), "message")
  const said = tidy(message, [token])
  const isOpen = status === 400 || status === 422
  const outcome = verdict(who, answer, now, {
    mend: MEND,
    said,
    isOwn: message !== "",
    isTaken: status === 202 && !isPage(answer),
    about: isOpen ? (KEYS.test(said) ? "keys" : PLACE.test(said) ? "place" : undefined) : undefined,
    count,
  })
  const { remaining, resetAfter } = rateHeaders(headers, now)
  const left = remaining === undefined ? {} : { left: [{ bucket: "api", tokens: remaining }] }
  if (outcome.outcome === "accepted") return { ...outcome, ...left }
  if (outcome.outcome !== "trouble") return outcome
  // Those headers are about the API as a whole. Where it has calls left, it was a tag that came too soon.
  const isSpent = status === 429 && remaining === 0 && outcome.retryAfter === undefined
  return { ...outcome, ...left, ...(isSpent && resetAfter !== undefined ? { retryAfter: resetAfter } : {}) }
}
