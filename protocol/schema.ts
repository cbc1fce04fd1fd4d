import * as z from "zod/mini"
import en from "zod/v4/locales/en.js"
import { isNamespace, NAMESPACE_RULE } from "./namespace.ts"
import { type Checked } from "./selector.ts"
import { DAY, DURATION, HOUR, type Milliseconds, MINUTE, parseDuration, SECOND } from "./time.ts"

// zod/mini brings no messages of its own; without this every fault would read "Invalid input".
z.config(en())

/** In the largest unit that is whole; a day is "24h" here as in the documents. */
function shown(length: Milliseconds): string {
  const isWhole = ([, size]: (typeof UNITS)[number]) => length % size === 0 && length !== DAY
  const [unit, size] = UNITS.find(isWhole) ?? ["h", HOUR]
  return `${length / size}${unit}`
}

const UNITS = [
  ["d", DAY],
  ["h", HOUR],
  ["m", MINUTE],
  ["s", SECOND],
  ["ms", 1],
] as const

/** A duration as text (`"30s"`), read as milliseconds, `min` to `max`. */
export const duration = (max = Number.MAX_SAFE_INTEGER, min = 0) =>
  z.pipe(
    z.string().check(
      z.regex(DURATION, { error: `must be a duration such as "0", "500ms", "30s", "5m", "24h" or "7d"` }),
      z.refine((text) => (parseDuration(text) ?? 0) <= max, { error: `must be at most ${shown(max)}` }),
      z.refine((text) => (parseDuration(text) ?? min) >= min, { error: `must be at least ${shown(min)}` }),
    ),
    z.transform((text): Milliseconds => parseDuration(text) ?? 0),
  )

export const namespaceName = z.string().check(z.refine(isNamespace, { error: `must be ${NAMESPACE_RULE}` }))

/** A text that a grammar function normalises, or refuses in its own words. */
export const checked = (check: (text: string) => Checked) =>
  z.pipe(
    z.string(),
    z.transform((text, context) => {
      const result = check(text)
      if ("value" in result) return result.value
      context.issues.push({ code: "custom", message: result.problem, input: text })
      return z.NEVER
    }),
  )
