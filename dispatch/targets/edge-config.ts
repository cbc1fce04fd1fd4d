import { edgeConfigKey } from "../../protocol/mirror-keys.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, baseAddress, member, parseJson, textOf, tidy, verdict } from "./answer.ts"
import { mirror, writeMirror } from "./mirror.ts"
import { driverOf } from "./driver.ts"
import type { TargetConfigOf, TargetDriver, TargetTraits } from "./target.ts"

/** @see https://vercel.com/docs/edge-config/vercel-api */
const BASE_URL = "https://api.vercel.com/v1"

const MEND = { keys: ["token"], place: ["edgeConfig", "team"] }

/**
 * A mirror of a tenant's epochs in a Vercel Edge Config, one item a tenant. How often it may be written is not
 * published; each write costs. `endpoint` stands in for `https://api.vercel.com/v1`.
 *
 * @see https://vercel.com/docs/pricing/edge-config
 */
export const edgeConfigTraits: TargetTraits<TargetConfigOf<"edge-config">> = {
  type: "edge-config",
  capabilities: ({ heartbeat = 0 }) => mirror(heartbeat, PORTABLE_CODEC),
  // Ours: a write takes up to 10 s to be everywhere, and more of them in that time say nothing more.
  pace: ({ edgeConfig: id }) => [
    { limit: "rate", bucket: `items:${id}`, kinds: ["everything"], per: "call", perSecond: 1 / 10, burst: 5 },
  ],
}

/** How it is asked. */
export const edgeConfig: TargetDriver<TargetConfigOf<"edge-config">> = /* @__PURE__ */ driverOf(
  edgeConfigTraits,
  ({ endpoint, edgeConfig: id, token, team }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    const judge = (answer: Answer, now: Milliseconds) => {
      const body = parseJson(answer.text)
      const error = member(body, "error")
      const said = tidy(`${textOf(error, "code")} ${textOf(error, "message")}`, [token])
      return verdict(host, answer, now, {
        mend: MEND,
        said,
        isOwn: false,
        isTaken: textOf(body, "status") === "ok",
      })
    }
    const query = team === undefined ? "" : `?${team.startsWith("team_") ? "teamId" : "slug"}=${team}`
    return writeMirror(surroundings, host, judge, ({ tenant }, value) => ({
      url: `${base}/edge-config/${id}/items${query}`,
      request: {
        method: "PATCH",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify({
          items: [{ operation: "upsert", key: edgeConfigKey(tenant), value: JSON.parse(value) as unknown }],
        }),
      },
    }))
  },
)
