/** A part of a site whose caches are versioned together, such as `blog` or `catalog/products`. */
export type Namespace = string

/** The namespace above all: an ancestor of every other, raised by `everything`. */
export const ROOT: Namespace = ""

const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
const MAX_SEGMENTS = 8
const MAX_BYTES = 200

/** Names of tenants, tokens, sources and targets. */
export const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/

/** 1 to 8 segments joined by `/`, 200 bytes in all. Compared exactly. */
export function isNamespace(text: string): boolean {
  if (text.length > MAX_BYTES) return false
  const segments = text.split("/")
  return segments.length <= MAX_SEGMENTS && segments.every((segment) => SEGMENT.test(segment))
}

export const NAMESPACE_RULE =
  "1 to 8 segments of letters, digits, '.', '_' and '-' joined by '/', each starting with a letter or digit and at most 63 long, 200 in all"

/** `*`, or a namespace. Nothing else is a wildcard. */
export const isPattern = (text: string): boolean => text === "*" || isNamespace(text)

/** Whether `inner` is `outer` itself or lies below it. The root holds all. */
export const isWithin = (inner: Namespace, outer: Namespace): boolean =>
  outer === ROOT || inner === outer || inner.startsWith(`${outer}/`)

/** Whether a pattern (`*`, or a namespace meaning itself and everything below) covers a namespace. */
export const matchesPattern = (namespace: Namespace, pattern: string): boolean =>
  pattern === "*" || isWithin(namespace, pattern)

export const matchesAny = (namespace: Namespace, patterns: readonly string[]): boolean =>
  patterns.some((pattern) => matchesPattern(namespace, pattern))

/** Whether anything at all could match both: one of them lies within the other. */
export const patternsOverlap = (a: string, b: string): boolean =>
  a === "*" || b === "*" || isWithin(a, b) || isWithin(b, a)

/** Its ancestors without the root, nearest first: of `a/b/c`, `a/b` and `a`. */
export function ancestors(namespace: Namespace): Namespace[] {
  const found: Namespace[] = []
  for (let end = namespace.lastIndexOf("/"); end > 0; end = namespace.lastIndexOf("/", end - 1)) {
    found.push(namespace.slice(0, end))
  }
  return found
}

/** What a look-up reads, outermost first: the root, the ancestors, the namespace itself. */
export const chain = (namespace: Namespace): Namespace[] =>
  namespace === ROOT ? [ROOT] : [ROOT, ...ancestors(namespace).toReversed(), namespace]
