import { SOURCE_TRAITS, type SourceTraits } from "../../protocol/config/source-options.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import type { SourceContext, Verification, Verified } from "./source.ts"

/** What the verification of more than one source does. */

export const invalid = (detail: string): Verification => ({ verdict: "invalid", detail })

/** Every secret of a source. One that the environment lacks stands there empty: it must verify nothing. */
export const secretsOf = ({ config }: SourceContext): string[] =>
  [config.secret].flat().filter((secret) => secret !== "")

/** What a right signature is worth at its time: `verified` within the tolerance of now, both ways, else stale. */
export function timely(
  signedAt: Milliseconds,
  { config, now }: SourceContext,
  verified: Verified,
): Verification {
  const traits: SourceTraits = SOURCE_TRAITS[config.type]
  const tolerance = config.tolerance ?? traits.tolerance ?? 0
  const offset = now() - signedAt
  if (Math.abs(offset) <= tolerance) return verified
  return { verdict: "stale", detail: `It was signed too ${offset > 0 ? "long ago" : "far in the future"}.` }
}
