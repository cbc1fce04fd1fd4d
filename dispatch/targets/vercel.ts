import { vercel as vercelTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, byStatus, member, parseJson, tidy } from "./answer.ts"
import { rateHeaders } from "./rate-headers.ts"
import type { Capabilities, Outcome, TargetConfigOf, TargetDriver } from "./target.ts"

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
export const vercel: TargetDriver<TargetConfigOf<"vercel">> = {
  type: "vercel",
  capabilities: () => CAPABILITIES,
  // How often these may be called is not published; what an answer says of it is heeded below.
  pace: () => [],
  create({ endpoint, project, token, team, environment }, surroundings) {
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
        return "outcome" in answer ? answer : judge(host, answer, surroundings.now(), token)
      },
    }
  },
}

/** A team goes by its id, which begins with `team_`, or by the slug that stands in its addresses. */
function teamQuery(team: string | undefined): string {
  if (team === undefined) return ""
  return `&${team.startsWith("team_") ? "teamId" : "slug"}=${encodeURIComponent(team)}`
}

/**
 * An account that is blocked, and a project that is not there, or that the token does not see: no tag is at fault, and
 * cutting up the batch would make dead letters of all of it.
 */
const NOT_ABOUT_TAGS: readonly number[] = [402, 404, 410]

function judge(who: string, answer: Answer, now: Milliseconds, token: string): Outcome {
  const error = member(parseJson(answer.text), "error")
  const words = [member(error, "code"), member(error, "message")].filter((each) => typeof each === "string")
  const outcome = byStatus(who, answer, now, tidy(words.join(" "), [token]))
  if (outcome.outcome === "refused" && NOT_ABOUT_TAGS.includes(outcome.status)) {
    return { outcome: "unauthorised", status: outcome.status, detail: outcome.detail }
  }
  if (outcome.outcome !== "trouble" || answer.status !== 429 || outcome.retryAfter !== undefined)
    return outcome
  const { resetAfter } = rateHeaders(answer.headers, now)
  return resetAfter === undefined ? outcome : { ...outcome, retryAfter: resetAfter }
}
