import type { Resolved } from "../protocol/config/config.ts"
import { isSecret } from "../protocol/config/secret.ts"
import type { TargetConfig } from "../protocol/config/schema.ts"
import type { Pace, RateLimit, TargetTraits, Value } from "./targets/target.ts"

const ALL_CALLS = {
  limit: "rate",
  bucket: "rate",
  per: "call",
  kinds: ["tag", "url", "prefix", "host", "namespace", "everything"],
} as const satisfies Omit<RateLimit, "perSecond" | "burst">

/**
 * The limits that a target keeps: the vendor's, or instead of its rates the one that the configuration gives. What may
 * be in progress, how soon a value may come again, and what may be spent are no rates, and stay.
 */
export function pacesOf(driver: TargetTraits, target: Resolved<TargetConfig>): readonly Pace[] {
  const published = driver.pace(target)
  return target.rate
    ? [{ ...ALL_CALLS, ...target.rate }, ...published.filter(({ limit }) => limit !== "rate")]
    : published
}

/** Whether a value draws from a limit. */
export const drawsFrom = ({ kinds, only }: Pace, value: Pick<Value, "kind" | "value">): boolean =>
  kinds.includes(value.kind) && (only?.(value) ?? true)

/** Keys of credentials, the one that names an account best first. */
const CREDENTIALS = ["token", "accessKeyId", "clientToken", "key", "clientSecret"] as const

/** Who shares a vendor's limits where nobody says: whoever uses the same credential; else the target alone. */
export function accountOf(name: string, target: TargetConfig): string {
  if (target.account !== undefined) return target.account
  const members: Readonly<Record<string, unknown>> = target
  const credential = CREDENTIALS.map((key) => members[key]).find(isSecret)
  return credential?.secret ?? name
}
