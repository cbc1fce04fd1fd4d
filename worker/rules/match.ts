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

/** Whether every condition holds: a value of the variable is one of the texts. One without a value does not hold. */
export const matches = (when: NonNullable<RuleConfig["when"]>, variant: Variant): boolean =>
  Object.entries(when).every(([name, patterns]) => {
    const from = parseReference(name)
    const values = from ? variant.values(from) : []
    return values.some((value) => [patterns].flat().some((pattern) => matchesText(pattern, value)))
  })
