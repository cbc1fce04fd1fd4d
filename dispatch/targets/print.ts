import { MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import { driverOf } from "./driver.ts"
import type { Capabilities, KindCapability, TargetConfigOf, TargetDriver, TargetTraits } from "./target.ts"
import { payloadOf } from "./webhook.ts"

const ANY: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_SELECTORS }

const CAPABILITIES: Capabilities = {
  kinds: { tag: ANY, url: ANY, prefix: ANY, host: ANY, namespace: ANY, everything: ANY },
  mixed: true,
  tags: PORTABLE_CODEC,
  isIdempotent: true,
}

/** Says what it would purge, a line of JSON a call, and asks nobody: to see what a configuration does. */
export const printTraits: TargetTraits<TargetConfigOf<"print">> = {
  type: "print",
  capabilities: () => CAPABILITIES,
  pace: () => [],
}

/** How it is asked. */
export const print: TargetDriver<TargetConfigOf<"print">> = /* @__PURE__ */ driverOf(
  printTraits,
  (_, surroundings) => ({
    async purge(batch, signal) {
      if (signal.aborted) return { outcome: "trouble", detail: "aborted before it was printed" }
      surroundings.print?.(JSON.stringify({ id: batch.id, ...payloadOf(batch).data }))
      return { outcome: "accepted", status: 200 }
    },
  }),
)
