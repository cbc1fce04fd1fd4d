/** A length of time in whole milliseconds. */
export type Milliseconds = number

/** A length of time in whole seconds: Redis `EX` and HTTP `Retry-After` speak seconds. */
export type Seconds = number

/** A length of time, or a moment since 1970, in whole microseconds: epochs speak microseconds. */
export type Microseconds = number

export const SECOND: Milliseconds = 1_000
export const MINUTE: Milliseconds = 60 * SECOND
export const HOUR: Milliseconds = 60 * MINUTE
export const DAY: Milliseconds = 24 * HOUR

const UNITS: Readonly<Record<string, Milliseconds>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY }

/** What a duration looks like: `"0"`, or digits with `ms`, `s`, `m`, `h` or `d`. */
export const DURATION = /^(?:0|(\d{1,12})(ms|s|m|h|d))$/

/** Reads a duration such as `"500ms"`, `"30s"`, `"7d"` or `"0"`; undefined when it is none. */
export function parseDuration(text: string): Milliseconds | undefined {
  const match = DURATION.exec(text)
  if (!match) return undefined
  const [, digits, unit] = match
  return digits === undefined || unit === undefined ? 0 : Number(digits) * (UNITS[unit] ?? 0)
}

/** ISO 8601 in UTC with milliseconds, as every time of day in an answer is written. */
export const isoTime = (at: Milliseconds): string => new Date(at).toISOString()
