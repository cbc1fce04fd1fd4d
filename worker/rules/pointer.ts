import { MAX_SELECTORS } from "../../protocol/invalidation.ts"

/** JSON Pointers (RFC 6901) with two tokens more: `*` is every element or member, `@locale` the event's locale. */

const LOCALE = "@locale"

/** More values than this are never told apart: whatever they were for is invalidated as a whole. */
const ENOUGH = MAX_SELECTORS + 1

const tokens = (pointer: string): string[] =>
  pointer
    .split("/")
    .slice(1)
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"))

/** What a token leads to. Own members only: a pointer never reaches a prototype. */
function step(value: unknown, token: string): readonly unknown[] {
  if (value === null || typeof value !== "object") return []
  if (token === "*") return Object.values(value)
  if (Array.isArray(value) && !/^(?:0|[1-9]\d*)$/.test(token)) return []
  return Object.hasOwn(value, token) ? [Reflect.get(value, token) as unknown] : []
}

/** Every value that a pointer leads to. Without a locale, one that names `@locale` leads nowhere. */
export function find(root: unknown, pointer: string, locale?: string): readonly unknown[] {
  let found: readonly unknown[] = [root]
  for (const token of tokens(pointer)) {
    const name = token === LOCALE ? locale : token
    found = name === undefined ? [] : found.flatMap((value) => step(value, name))
  }
  return found
}

/** The keys that stand where a pointer first names `@locale`; none where it does not. */
export function localesAt(root: unknown, pointer: string): string[] {
  const path = pointer.split("/")
  const at = path.indexOf(LOCALE)
  if (at < 0) return []
  const parents = find(root, path.slice(0, at).join("/"))
  return parents.flatMap((parent) =>
    parent !== null && typeof parent === "object" && !Array.isArray(parent) ? Object.keys(parent) : [],
  )
}

/** A value as text; undefined for null, an empty or ill-formed text, an object or a list. */
function scalar(value: unknown): string | undefined {
  if (typeof value === "number" || typeof value === "boolean") return String(value)
  return typeof value === "string" && value !== "" && value.isWellFormed() ? value : undefined
}

/** The distinct texts among values and the elements of those that are lists; of very many, one more than is usable. */
export function texts(values: readonly unknown[]): string[] {
  const distinct = new Set<string>()
  for (const value of values) {
    for (const item of Array.isArray(value) ? (value as readonly unknown[]) : [value]) {
      const text = scalar(item)
      if (text !== undefined) distinct.add(text)
      if (distinct.size >= ENOUGH) return [...distinct]
    }
  }
  return [...distinct]
}

/** The first text that a pointer leads to. */
export const text = (root: unknown, pointer: string): string | undefined => texts(find(root, pointer))[0]
