import { parseTemplate, type Placeholder, type Reference } from "../../protocol/config/template.ts"
import { MAX_SELECTORS, type SelectorList } from "../../protocol/invalidation.ts"
import {
  type Checked,
  checkHost,
  checkPrefix,
  checkTag,
  checkUrl,
  hostWithin,
  type Territory,
  urlWithin,
} from "../../protocol/selector.ts"
import type { Variant } from "./variants.ts"

/** What a template came to. */
export interface Rendered {
  readonly values: readonly string[]
  /** Something that it should have said and did not. */
  readonly fault?: string
  /** Whether the namespace must stand in for that. */
  readonly required?: boolean
  /** Which optional placeholder has no value, where that says something. */
  readonly absent?: string
}

const CHECKS: Readonly<Record<SelectorList, (text: string) => Checked>> = {
  tags: checkTag,
  urls: (text) =>
    isStraight(text) ? checkUrl(text) : { problem: "a url holds no control characters and no '..'" },
  prefixes: (text) =>
    isStraight(text) ? checkPrefix(text) : { problem: "a prefix holds no control characters and no '..'" },
  hosts: checkHost,
}

/**
 * A parser of urls drops control characters and walks dot segments: what came out would be another page than the
 * template names. Dots cannot be encoded either, as `%2e%2e` is walked just the same.
 */
const isStraight = (text: string): boolean =>
  !/\p{Cc}/u.test(text) && !/[\\/](?:\.|%2e){1,2}(?:[\\/?#]|$)/i.test(text.split("?", 1)[0] ?? "")

/** Everything but the unreserved characters of RFC 3986. */
const percentEncode = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )

const isWholeUrl = (from: Reference): boolean =>
  "variable" in from && (from.variable === "url" || from.variable === "previousUrl")

function encode(value: string, { from, keepsSlash }: Placeholder, list: SelectorList): string {
  if (list === "tags" || list === "hosts" || isWholeUrl(from)) return value
  const encoded = percentEncode(value)
  return keepsSlash ? encoded.replaceAll("%2F", "/") : encoded
}

const nameOf = ({ from }: Placeholder): string =>
  `{${"variable" in from ? from.variable : `field:${from.field}`}}`

const isWithin = (value: string, list: SelectorList, territory: Territory): boolean => {
  if (list === "tags") return true
  return list === "hosts" ? hostWithin(value, territory) : urlWithin(value, territory)
}

/** Fills a template with every combination of its placeholders' values, and keeps what the namespace may say. */
export function render(
  template: string,
  list: SelectorList,
  variant: Variant,
  territory: Territory,
): Rendered {
  const parts = parseTemplate(template)
  if (typeof parts === "string") return { values: [], fault: parts, required: true }
  const placeholders = parts.filter((part) => typeof part !== "string")
  const choices = parts.map((part) =>
    typeof part === "string" ? [part] : variant.values(part.from).map((value) => encode(value, part, list)),
  )
  const missing = placeholders.filter((placeholder) => variant.values(placeholder.from).length === 0)
  const [lacking] = missing.filter(({ optional }) => !optional)
  if (lacking) return { values: [], fault: `${nameOf(lacking)} has no value`, required: true }
  if (missing.length > 0) {
    // Only a rename has a previous one.
    const [absent] = missing.map(nameOf).filter((name) => !name.startsWith("{previous"))
    return { values: [], ...(absent === undefined ? {} : { absent: `${absent} has no value` }) }
  }
  if (choices.reduce((product, values) => product * values.length, 1) > MAX_SELECTORS) {
    return { values: [], fault: "names too much", required: true }
  }
  let filled = [""]
  for (const values of choices) filled = filled.flatMap((start) => values.map((value) => start + value))
  const values: string[] = []
  let fault: string | undefined
  for (const text of filled) {
    const checked = CHECKS[list](text)
    if ("problem" in checked) fault = checked.problem
    else if (isWithin(checked.value, list, territory)) values.push(checked.value)
    else fault = "what it names lies outside the namespace"
  }
  if (fault === undefined) return { values }
  return {
    values,
    fault,
    // A tag that cannot be one stands on a page in some other form. Urls may be optional as they lie elsewhere at times.
    required: list === "tags" || placeholders.length === 0 || placeholders.some(({ optional }) => !optional),
  }
}
