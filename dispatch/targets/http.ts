import { MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import { byStatus } from "./answer.ts"
import type { Capabilities, KindCapability, TargetConfigOf, TargetDriver } from "./target.ts"
import { MAX_VALUE_BYTES, webhook } from "./webhook.ts"

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
export const http: TargetDriver<TargetConfigOf<"http">> = {
  type: "http",
  capabilities: () => CAPABILITIES,
  pace: () => [],
  create(config, surroundings) {
    const receiver = webhook(config, surroundings)
    return {
      async purge(batch, signal) {
        const answer = await receiver.deliver(batch, signal)
        return "outcome" in answer ? answer : byStatus(receiver.host, answer, surroundings.now())
      },
    }
  },
}
