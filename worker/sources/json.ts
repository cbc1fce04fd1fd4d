import { MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { find, texts } from "../rules/pointer.ts"
import { oneEvent, unreadable, verifyCarried } from "./checks.ts"
import type { EventKind, SourceAdapter, SourceEvent } from "./source.ts"

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
    const told = hardest(kind === undefined ? [] : texts(find(body, kind)))
    if (listed.some((pointer) => !isWhole(body, pointer)))
      return unreadable("not every element of the list says which it is", told)
    // An element that does not say what happened is as hard as the hardest that does.
    const events = elementsOf(body, Object.values(fields)).map((element) => eventOf(element, told))
    return events.length > 0 ? { reading: "events", events } : oneEvent({ kind: "update" })
  },
}

/** Not to be counted: whoever writes a reading down, as for a repetition, writes the whole body beside it. */
const eventOf = (element: unknown, kind: EventKind): SourceEvent =>
  Object.defineProperty({ kind }, "body", { value: element })

/** Ours: what stands beside a list, and is copied with each of its elements. */
const MAX_MEMBERS = 100

/**
 * The body once for each element of the list that pointers lead through, with that element alone in it: so an id goes
 * with its own type, and what no rule matches is known of each. None where they lead through no list, through several,
 * or through one that is too long to be told apart.
 */
function elementsOf(body: object, pointers: readonly string[]): unknown[] {
  const through = pointers.map((pointer) => pointer.split("/")).filter((tokens) => tokens.includes("*"))
  const places = new Set(through.map((tokens) => tokens.slice(1, tokens.indexOf("*")).join("/")))
  const [place, another] = places
  if (place === undefined || another !== undefined) return []
  const tokens = place === "" ? [] : place.split("/").map(unescaped)
  const lists = tokens.reduce<unknown[]>((path, token) => [...path, memberOf(path.at(-1), token)], [body])
  const list = lists.pop()
  const isWide = lists.some((each) => !isObject(each) || Object.keys(each).length > MAX_MEMBERS)
  const elements = isObject(list) && !isWide ? Object.values(list) : []
  return elements.length > MAX_SELECTORS ? [] : elements.map((element) => withOnly(body, tokens, element))
}

const unescaped = (token: string): string => token.replaceAll("~1", "/").replaceAll("~0", "~")

const memberOf = (value: unknown, token: string): unknown =>
  isObject(value) && Object.hasOwn(value, token) ? (Reflect.get(value, token) as unknown) : undefined

/** A value with one element alone in the list at a place. */
function withOnly(value: unknown, [token, ...rest]: readonly string[], element: unknown): unknown {
  if (token === undefined) return [element]
  return { ...(value as object), [token]: withOnly(memberOf(value, token), rest, element) }
}
