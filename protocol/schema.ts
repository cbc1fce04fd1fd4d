import * as z from "zod/mini"
import { isNamespace, NAMESPACE_RULE } from "./namespace.ts"
import { type Checked } from "./selector.ts"
import { DAY, DURATION, HOUR, type Milliseconds, MINUTE, parseDuration, SECOND } from "./time.ts"

/** What is wrong, where a schema has no words of its own: in the words in which the others say it. */
function problem(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined
        ? `must be given (${issue.expected})`
        : `must be of type ${issue.expected}`
    case "invalid_value":
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`
    case "too_small":
      return atBound(issue.origin, "at least", issue.minimum)
    case "too_big":
      return atBound(issue.origin, "at most", issue.maximum)
    case "invalid_format":
      return `must match ${issue["pattern"] ?? issue.format}`
    // These have words of their own, or are told of what is within.
    case "custom":
    case "invalid_element":
    case "invalid_key":
    case "invalid_union":
    case "not_multiple_of":
    case "unrecognized_keys":
      return "is none of what is allowed here"
  }
}

/** What the length of a value is counted in; a number is its own size. */
const COUNTED: Record<string, string> = { string: "character", array: "item" }

function atBound(origin: string, bound: string, size: number | bigint): string {
  const unit = COUNTED[origin]
  return unit === undefined
    ? `must be ${bound} ${size}`
    : `must have ${bound} ${size} ${unit}${size === 1 ? "" : "s"}`
}

// zod/mini brings no messages; its English locale is a kilobyte of the Worker's bundle for formats that none here has.
z.config({ localeError: problem })

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

/**
 * A check of a schema: refuses in words of its own what does not hold. As a function, because with zod's `refine`, and
 * with `pipe` and `transform` below, the Worker's bundle would have half a kilobyte more.
 */
export const must =
  <T>(holds: (value: T) => boolean, error: string) =>
  ({ value, issues }: z.core.ParsePayload<T>): void => {
    if (!holds(value)) issues.push({ code: "custom", message: error, input: value, continue: true })
  }

/** A duration as text (`"30s"`), read as milliseconds, `min` to `max`. */
export const duration = (max = Number.MAX_SAFE_INTEGER, min = 0) =>
  z.string().check(
    z.regex(DURATION, { error: `must be a duration such as "0", "500ms", "30s", "5m", "24h" or "7d"` }),
    must((text) => (parseDuration(text) ?? 0) <= max, `must be at most ${shown(max)}`),
    must((text) => (parseDuration(text) ?? min) >= min, `must be at least ${shown(min)}`),
    (payload: z.core.ParsePayload) => {
      payload.value = parseDuration(String(payload.value)) ?? 0
    },
    // What comes out is what the last check made of it, which the type of a text cannot know.
  ) as z.ZodMiniType as z.ZodMiniType<Milliseconds, string>

export const namespaceName = z.string().check(must(isNamespace, `must be ${NAMESPACE_RULE}`))

/** A text that a grammar function normalises, or refuses in its own words. */
export const checked = (check: (text: string) => Checked) =>
  z.string().check((payload) => {
    const result = check(payload.value)
    if ("value" in result) payload.value = result.value
    else payload.issues.push({ code: "custom", message: result.problem, input: payload.value })
  })
