import { MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import { type Answer, isMarkup, isPage, verdict } from "./answer.ts"
import { driverOf } from "./driver.ts"
import type { Capabilities, KindCapability, TargetConfigOf, TargetDriver, TargetTraits } from "./target.ts"
import { MAX_VALUE_BYTES, MEND, webhook } from "./webhook.ts"

const ANY: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_SELECTORS }

const CAPABILITIES: Capabilities = {
  kinds: { tag: ANY, url: ANY, prefix: ANY, host: ANY, namespace: ANY, everything: ANY },
  mixed: true,
  maxBytes: MAX_VALUE_BYTES,
  tags: PORTABLE_CODEC,
  isIdempotent: true,
}

/**
 * Anything that takes a signed webhook: an invalidation is delivered as it is, by Standard Webhooks, and the receiver
 * does what its cache needs. `endpoint`, where given, stands in for `url`.
 */
export const httpTraits: TargetTraits<TargetConfigOf<"http">> = {
  type: "http",
  capabilities: () => CAPABILITIES,
  pace: () => [],
}

/** How it is asked. */
export const http: TargetDriver<TargetConfigOf<"http">> = /* @__PURE__ */ driverOf(
  httpTraits,
  (config, surroundings) => {
    const receiver = webhook(config, surroundings)
    return {
      async purge(batch, signal) {
        const answer = await receiver.deliver(batch, signal)
        if ("outcome" in answer) return answer
        const isTaken = !isLogin(answer)
        // A receiver has no form of its own: it is taken at its word, as docs/targets/http.md has it. Where it refuses
        // everything, the lane takes that for what it is.
        const about = isTaken && isRefusal(answer.status) ? "value" : undefined
        const count = batch.values.length
        return verdict(receiver.host, answer, surroundings.now(), {
          mend: MEND,
          isOwn: false,
          isTaken,
          about,
          count,
        })
      },
    }
  },
)

/** Of who asks (401 to 403), of what is not there (404, 405, 410), and of the moment (408, 429), no value is at fault. */
const isRefusal = (status: number): boolean =>
  status >= 400 && status < 500 && ![401, 402, 403, 404, 405, 408, 410, 429].includes(status)

/** A page, and not just a word: many frameworks call any text HTML, and an empty body too. */
const isLogin = (answer: Answer): boolean =>
  isMarkup(answer.text) || (isPage(answer) && /<[a-z!]/i.test(answer.text))
