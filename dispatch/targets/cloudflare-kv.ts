import { kvKey } from "../../protocol/mirror-keys.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, baseAddress, member, parseJson, verdict } from "./answer.ts"
import { cloudflareErrors } from "./cloudflare-errors.ts"
import { mirror, writeMirror } from "./mirror.ts"
import { driverOf } from "./driver.ts"
import type { TargetConfigOf, TargetDriver, TargetTraits } from "./target.ts"

/** @see https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/subresources/values/methods/update/ */
const BASE_URL = "https://api.cloudflare.com/client/v4"

/** Writes to the same key: one a second. @see https://developers.cloudflare.com/kv/platform/limits/ */
const WRITES_PER_SECOND = 1

const MEND = { keys: ["token"], place: ["accountId", "kvNamespace"] }

/**
 * A mirror of a tenant's epochs in Workers KV, one value a tenant. `endpoint` stands in for
 * `https://api.cloudflare.com/client/v4`.
 */
export const cloudflareKvTraits: TargetTraits<TargetConfigOf<"cloudflare-kv">> = {
  type: "cloudflare-kv",
  capabilities: ({ heartbeat = 0 }) => mirror(heartbeat, PORTABLE_CODEC),
  pace: ({ kvNamespace }) => [
    {
      limit: "rate",
      bucket: `kv:${kvNamespace}`,
      kinds: ["everything"],
      per: "call",
      perSecond: WRITES_PER_SECOND,
      burst: 1,
    },
  ],
}

/** How it is asked. */
export const cloudflareKv: TargetDriver<TargetConfigOf<"cloudflare-kv">> = /* @__PURE__ */ driverOf(
  cloudflareKvTraits,
  ({ endpoint, accountId, kvNamespace, token }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    const judge = (answer: Answer, now: Milliseconds) => {
      const body = parseJson(answer.text)
      const { said, about } = cloudflareErrors(body, token)
      const isTaken = member(body, "success") === true
      return verdict(host, answer, now, { mend: MEND, said, isOwn: false, isTaken, about })
    }
    const values = `${base}/accounts/${accountId}/storage/kv/namespaces/${kvNamespace}/values`
    return writeMirror(surroundings, host, judge, ({ tenant }, value) => ({
      url: `${values}/${encodeURIComponent(kvKey(tenant))}`,
      request: {
        method: "PUT",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: value,
      },
    }))
  },
)
