import { find, texts } from "../rules/pointer.ts"
import { oneEvent, unreadable, verifyCarried } from "./checks.ts"
import type { EventKind, SourceAdapter } from "./source.ts"

/**
 * Any JSON at all, from a sender that carries a secret: an object, or a list.
 *
 * Every variable comes from where `fields` say, and from nowhere else. What they do not name has no value, but for
 * `kind`: where `fields` find none, something was updated. Where a pointer leads to several values, as through the
 * token `*`, rules apply to each of them.
 */

const isObject = (value: unknown): value is object => value !== null && typeof value === "object"

/** Whether a pointer leads to a text in each element of every list that it passes through. */
function isWhole(value: unknown, pointer: string): boolean {
  const tokens = pointer.split("/")
  const at = tokens.indexOf("*")
  if (at < 0) return texts(find(value, pointer)).length > 0
  const lists = find(value, tokens.slice(0, at).join("/"))
  const rest = ["", ...tokens.slice(at + 1)].join("/")
  return (
    lists.length > 0 &&
    lists.every((list) => isObject(list) && find(list, "/*").every((element) => isWhole(element, rest)))
  )
}

/** The hardest of what is told. */
const hardest = (kinds: readonly string[]): EventKind =>
  (["unpublish", "delete"] as const).find((kind) => kinds.includes(kind)) ?? "update"

export const json: SourceAdapter = {
  type: "json",

  verify: (delivery, context) => verifyCarried(delivery, context),

  read({ body }, { config: { fields = {} } }) {
    if (!isObject(body)) return unreadable("the body is neither a JSON object nor a list")
    const { id, type, environment, kind } = fields
    const listed = [id ?? "", type ?? "", environment ?? ""].filter((pointer) => pointer.includes("*"))
    // Of two records the one that is told whole would be found, and the other forgotten.
    if (listed.some((pointer) => !isWhole(body, pointer))) {
      const kinds = kind === undefined ? [] : texts(find(body, kind))
      return unreadable("not every element of the list says which it is", hardest(kinds))
    }
    return oneEvent({ kind: "update" })
  },
}
