import { pointer } from "../errors.ts"
import { didYouMean } from "./nearest.ts"

/** A schema of zod/mini, which says in `def` what it is made of. */
interface Schema {
  readonly def: unknown
}

/** As much of that as is needed to find the words that may stand somewhere. */
interface Definition {
  readonly type: string
  readonly shape?: Readonly<Record<string, Schema>>
  readonly valueType?: Schema
  readonly element?: Schema
  readonly innerType?: Schema
  readonly in?: Schema
  readonly options?: readonly Schema[]
  readonly discriminator?: string
  readonly entries?: Readonly<Record<string, unknown>>
  readonly values?: readonly unknown[]
}

const definitionOf = (schema: Schema): Definition => schema.def as Definition

/**
 * What was most likely meant by each key and each word of a choice that the schema does not know.
 *
 * @returns by the dotted path of the mistake: `"; did you mean cloudflare?"`
 */
export function suggestions(schema: Schema, input: unknown): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  walk(schema, input, [], found)
  return found
}

type Path = readonly PropertyKey[]

function note(found: Map<string, string>, path: Path, word: unknown, candidates: readonly unknown[]): void {
  if (typeof word !== "string") return
  const text = didYouMean(
    word,
    candidates.filter((candidate) => typeof candidate === "string"),
  )
  // Paths as the mistakes have them, in which a name may hold any of these.
  const dotted = pointer(path).slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~")
  if (text !== "") found.set(dotted, text)
}

function walk(schema: Schema, value: unknown, path: Path, found: Map<string, string>): void {
  const definition = definitionOf(schema)
  const { shape, valueType, element, innerType, options = [], entries, values } = definition
  const inner = innerType ?? definition.in
  if (inner) walk(inner, value, path, found)
  else if (entries) note(found, path, value, Object.values(entries))
  else if (values) note(found, path, value, values)
  else if (Array.isArray(value)) {
    if (element) for (const [index, item] of value.entries()) walk(element, item, [...path, index], found)
    for (const option of options) walk(option, value, path, found)
  } else if (typeof value === "string") {
    for (const option of options) walk(option, value, path, found)
  } else if (value !== null && typeof value === "object") {
    if (options.length > 0) walkOption(definition, value, path, found)
    for (const [key, member] of Object.entries(value)) {
      const known = shape && Object.hasOwn(shape, key) ? shape[key] : valueType
      if (known) walk(known, member, [...path, key], found)
      else if (shape) note(found, [...path, key], key, Object.keys(shape))
    }
  }
}

/** Of several schemas the one that the value says by its discriminator; where it says none of them, what it may say. */
function walkOption(
  { options = [], discriminator }: Definition,
  value: object,
  path: Path,
  found: Map<string, string>,
): void {
  if (discriminator === undefined) {
    for (const option of options) walk(option, value, path, found)
    return
  }
  const said: unknown = Reflect.get(value, discriminator)
  const namesOf = (option: Schema): readonly unknown[] => {
    const member = definitionOf(option).shape?.[discriminator]
    return member ? (definitionOf(member).values ?? []) : []
  }
  const chosen = options.find((option) => namesOf(option).includes(said))
  if (chosen) walk(chosen, value, path, found)
  else note(found, [...path, discriminator], said, options.flatMap(namesOf))
}
