import type { RuleConfig } from "../../protocol/config/schema.ts"
import { parseReference } from "../../protocol/config/template.ts"
import type { Variant } from "./variants.ts"

/** Whether `*` standing for anything makes a pattern the text. Linear, and no regular expression. */
export function matchesText(pattern: string, text: string): boolean {
  const [first = "", ...rest] = pattern.split("*")
  const last = rest.pop()
  if (last === undefined) return text === pattern
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return at <= text.length - last.length
}

/** What every record has, and a sender can only have left out. */
const IDENTITY: readonly string[] = ["type", "id", "environment"]

/** Whether what a sender left out decides about a condition. `*` asks no more than whether there is a value. */
const isUnsure = (name: string, patterns: string | readonly string[], values: readonly string[]): boolean =>
  IDENTITY.includes(name) && values.length === 0 && ![patterns].flat().includes("*")

/**
 * Whether every condition holds: a value of the variable is one of the texts. One without a value does not hold, but
 * for what every record has: without its type nobody knows whether a rule for posts concerns it. Of tags and deploys,
 * which are no records, nothing is missing.
 */
export function matches(when: NonNullable<RuleConfig["when"]>, variant: Variant): boolean | "unsure" {
  const kinds = variant.values({ variable: "kind" })
  const isRecord = !kinds.includes("tags") && !kinds.includes("deploy")
  let result: boolean | "unsure" = true
  for (const [name, patterns] of Object.entries(when)) {
    const from = parseReference(name)
    const values = from ? variant.values(from) : []
    if (isRecord && isUnsure(name, patterns, values)) result = "unsure"
    else if (!values.some((value) => [patterns].flat().some((pattern) => matchesText(pattern, value))))
      return false
  }
  return result
}
