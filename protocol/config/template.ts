/** The little language of rules: `post-{id}`, `https://www.example.com/{locale}/blog/{+slug}`, `{field:/tags/*}`. */

/** What a source tells of an event; each is a placeholder's name. */
export const VARIABLES = [
  "kind",
  "type",
  "id",
  "locale",
  "slug",
  "previousSlug",
  "url",
  "previousUrl",
  "version",
  "environment",
  "topic",
  "tags",
] as const
export type Variable = (typeof VARIABLES)[number]

/** Where a placeholder's value comes from: a variable of the event, or a JSON pointer into the body. */
export type Reference = { readonly variable: Variable } | { readonly field: string }

export interface Placeholder {
  readonly from: Reference
  /** `{+name}`: `/` is kept as it is in a url (RFC 6570). */
  readonly keepsSlash: boolean
  /** `{name?}`: without a value the template yields nothing. One that is not optional widens to the namespace then. */
  readonly optional: boolean
}

export type TemplatePart = string | Placeholder

const FIELD = "field:"

const isVariable = (text: string): text is Variable => (VARIABLES as readonly string[]).includes(text)

/** Reads a variable's name or `field:/pointer`; undefined when it is neither. */
export function parseReference(text: string): Reference | undefined {
  if (isVariable(text)) return { variable: text }
  if (!text.startsWith(FIELD)) return undefined
  const field = text.slice(FIELD.length)
  return field.startsWith("/") ? { field } : undefined
}

export const variableName = (text: string): boolean => parseReference(text) !== undefined

/** Reads a template into its literal texts and placeholders, or says in a sentence what is wrong with it. */
export function parseTemplate(template: string): readonly TemplatePart[] | string {
  const parts: TemplatePart[] = []
  let rest = template
  while (rest !== "") {
    const open = rest.search(/[{}]/)
    if (open < 0) return [...parts, rest]
    if (rest[open] === "}") return `has a '}' without a '{'`
    if (open > 0) parts.push(rest.slice(0, open))
    const close = rest.indexOf("}", open)
    if (close < 0) return `has a '{' without a '}'`
    const inner = rest.slice(open + 1, close)
    const [, plus, name, question] = /^(\+?)(.*?)(\??)$/s.exec(inner) ?? []
    const from = parseReference(name ?? "")
    if (!from) {
      const nth = parts.filter((part) => typeof part !== "string").length + 1
      return `has a placeholder (its number ${nth}) that is neither a variable nor field:/pointer`
    }
    parts.push({ from, keepsSlash: plus === "+", optional: question === "?" })
    rest = rest.slice(close + 1)
  }
  return parts
}
