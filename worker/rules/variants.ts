import type { Reference, Variable } from "../../protocol/config/template.ts"
import { MAX_SELECTORS } from "../../protocol/invalidation.ts"
import type { SourceEvent } from "../sources/source.ts"
import { find, localesAt, texts } from "./pointer.ts"

/** One event as rules see it, in one locale. */
export interface Variant {
  /** Every value that a placeholder or a condition refers to; empty where it has none. */
  values(from: Reference): readonly string[]
}

/**
 * The variants of an event: one for each locale that `fields` find, or one alone. A variable that `fields` name comes
 * from there or has no value, as falling back to what the adapter read could name another thing.
 *
 * @returns undefined for more locales than could be invalidated singly
 */
export function readVariants(
  event: SourceEvent,
  body: unknown,
  fields: Readonly<Record<string, string>>,
): Variant[] | undefined {
  const split = new Set(Object.values(fields).flatMap((pointer) => localesAt(body, pointer)))
  if (split.size > MAX_SELECTORS) return undefined

  const variantIn = (locale: string | undefined): Variant => {
    const variable = (name: Variable): readonly string[] => {
      if (name === "locale" && split.size > 0) return texts([locale])
      const pointer = Object.hasOwn(fields, name) ? fields[name] : undefined
      if (pointer === undefined) return texts([event[name]])
      const found = texts(find(body, pointer, locale))
      // Hardness hangs on the kind: what the adapter knows of it stands until something else is known.
      return found.length === 0 && name === "kind" ? [event.kind] : found
    }
    return {
      values: (from) =>
        "variable" in from ? variable(from.variable) : texts(find(body, from.field, locale)),
    }
  }

  return split.size === 0 ? [variantIn(event.locale)] : [...split].map((locale) => variantIn(locale))
}
