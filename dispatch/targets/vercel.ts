import { vercel as vercelTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import {
  type Answer,
  ask,
  baseAddress,
  beyond,
  isPage,
  member,
  parseJson,
  type Reading,
  textOf,
  tidy,
  verdict,
} from "./answer.ts"
import { rateHeaders } from "./rate-headers.ts"
import { driverOf } from "./driver.ts"
import type { Capabilities, Outcome, TargetConfigOf, TargetDriver, TargetTraits } from "./target.ts"

/** @see https://vercel.com/docs/rest-api/edge-cache/invalidate-by-tag */
const BASE_URL = "https://api.vercel.com"

/** @see https://vercel.com/docs/rest-api/reference/endpoints/edge-cache */
const MAX_TAGS = 16

const CAPABILITIES: Capabilities = {
  kinds: { tag: { modes: ["invalidate", "purge"], batch: MAX_TAGS } },
  mixed: false,
  tags: vercelTags.codec,
}

/** What Vercel calls stale, and what it calls dangerous: the next visitor waits for the origin. */
const PATHS = {
  invalidate: "/v1/edge-cache/invalidate-by-tags",
  purge: "/v1/edge-cache/dangerously-delete-by-tags",
}

/**
 * Vercel's purge by cache tag, of one project: its CDN cache, Runtime Cache and Data Cache together. `endpoint` stands
 * in for `https://api.vercel.com`.
 */
export const vercelTraits: TargetTraits<TargetConfigOf<"vercel">> = {
  type: "vercel",
  capabilities: () => CAPABILITIES,
  // How often these may be called is not published; what an answer says of it is heeded below.
  pace: () => [],
}

/** How it is asked. */
export const vercel: TargetDriver<TargetConfigOf<"vercel">> = /* @__PURE__ */ driverOf(
  vercelTraits,
  ({ endpoint, project, token, team, environment }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
    const query = `projectIdOrName=${encodeURIComponent(project)}${teamQuery(team)}`
    const target = environment === undefined ? {} : { target: environment }
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch)
        if (unsupported) return unsupported
        const tags = [...new Set(batch.values.map(({ value }) => value))]
        const body = JSON.stringify({ tags, ...target })
        const url = `${base}${PATHS[batch.mode]}?${query}`
        const answer = await ask(surroundings, host, url, { method: "POST", headers, body }, signal)
        return "outcome" in answer
          ? answer
          : judge(host, answer, batch.values.length, surroundings.now(), token)
      },
    }
  },
)

/** A team goes by its id, which begins with `team_`, or by the slug that stands in its addresses. */
function teamQuery(team: string | undefined): string {
  if (team === undefined) return ""
  return `&${team.startsWith("team_") ? "teamId" : "slug"}=${encodeURIComponent(team)}`
}

const MEND = { keys: ["token"], place: ["project", "team"] }

/**
 * Codes of `error`, as https://vercel.com/docs/rest-api/errors has them and names of others that its SDK knows. About
 * tags is `bad_request` alone, unless its message names the query: no tag has its back quotes.
 */
const KEYS = /auth|token|forbidden|denied|saml|sso|scope/i
const PLACE =
  /not_?found|project|team|account|block|suspend|payment|plan|upgrade|paused|disabled|limit_reached/i
const PLACE_WORDS = /`(?:projectIdOrName|teamId|slug|target)`/
const PASSING = /^(?:rate_limit|internal|too_many)/

function judge(who: string, answer: Answer, count: number, now: Milliseconds, token: string): Outcome {
  const { status, headers, text } = answer
  const error = member(parseJson(text), "error")
  const [code, message] = [textOf(error, "code"), textOf(error, "message")]
  const aboutOf = (): Reading["about"] => {
    if (PASSING.test(code)) return "vendor"
    if (status !== 400 && status !== 422) return undefined
    if (KEYS.test(code)) return "keys"
    return PLACE.test(code) || PLACE_WORDS.test(message) ? "place" : undefined
  }
  const outcome = verdict(who, answer, now, {
    mend: MEND,
    said: tidy(`${code} ${message}`, [token]),
    isOwn: code !== "",
    // Documented without a body: https://vercel.com/docs/rest-api/edge-cache/invalidate-by-tag
    isTaken: status === 200 && !isPage(answer),
    about: aboutOf(),
    count,
  })
  if (outcome.outcome !== "trouble" || status !== 429 || outcome.retryAfter !== undefined) return outcome
  const { resetAfter } = rateHeaders(headers, now)
  return resetAfter === undefined ? outcome : { ...outcome, retryAfter: resetAfter }
}
