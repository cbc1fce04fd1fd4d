import { parseJsonText } from "../../protocol/bytes.ts"
import { compact, MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { text, texts } from "../rules/pointer.ts"
import { objectOf, oneEvent, unreadable, verifyCarried } from "./checks.ts"
import type { EventKind, SourceAdapter } from "./source.ts"

/**
 * Directus, by a flow that hands on what triggered it. Nothing is signed: a header of the flow's request carries the
 * secret.
 *
 * What an event is, one for each key, unless `fields` say otherwise:
 *
 * - `topic`  `event`, such as `posts.items.update`
 * - `kind`   by its last word; `unpublish` for an update by which the field `status` becomes `draft` or `archived`
 * - `type`   `collection`; `asset` for files. A change of a collection itself, of its fields or relations has no id: it
 *            concerns everything
 * - `id`     of `keys` and `key`
 * - `slug`   `payload.slug`, where only one item is told of: an update tells no more than what it changed
 *
 * @see https://github.com/directus/directus/blob/main/api/src/flows.ts
 */

/** What Directus' own preset of a status field calls what nobody is shown. */
const HIDDEN = new Set(["draft", "archived"])

function kindOf(action: string, status: string | undefined): EventKind {
  switch (action) {
    case "delete":
      return "delete"
    case "promote":
      return "publish"
    case "update":
      return HIDDEN.has(status ?? "") ? "unpublish" : "update"
    default:
      return "update"
  }
}

/** What decides how all items of a collection look: by the topic, or as a collection of Directus' own. */
const MODEL = /^(?:collections|fields|relations)\.\w+$/
const MODEL_COLLECTION = /^directus_(?:collections|fields|relations)$/

/** A list or an object that a flow's template wrote into a text is JSON again. */
const unwrap = (value: unknown): unknown =>
  typeof value === "string" && /^[[{]/.test(value) ? (parseJsonText(value) ?? value) : value

/** The keys of the items; undefined where there is none, or where something is told that can be none. */
function keysOf({ key, keys, item }: Readonly<Record<string, unknown>>): string[] | undefined {
  const told = [unwrap(keys), key].filter((value) => value !== undefined && value !== null)
  // A new order and a promoted version are told of one item, under that name.
  const all = (told.length > 0 || item === undefined ? told : [item]).flat()
  const distinct = texts(all)
  const isWhole = all.every((value) => !Array.isArray(value) && texts([value]).length === 1)
  return isWhole && distinct.length > 0 ? distinct : undefined
}

export const directus: SourceAdapter = {
  type: "directus",

  verify: (delivery, context) => verifyCarried(delivery, context),

  read(said) {
    const body = objectOf({ ...said, body: unwrap(said.body) })
    if (!body) return unreadable()
    const topic = text(body, "/event")
    const words = topic?.split(".") ?? []
    const payload = unwrap(body["payload"])
    const kind = kindOf(words.at(-1) ?? "", text(payload, "/status"))
    // `posts.items.update` names its collection, `items.update` does not.
    const collection = text(body, "/collection") ?? (words.length === 3 ? words[0] : undefined)
    if (topic === undefined || collection === undefined) {
      return unreadable("neither an event nor a collection is told", kind)
    }
    if (MODEL.test(topic) || MODEL_COLLECTION.test(collection)) {
      return oneEvent({ kind, isModel: true, type: collection, topic })
    }
    const keys = keysOf(body)
    if (!keys) return unreadable("the keys of the items are missing", kind)
    if (keys.length > MAX_SELECTORS) return unreadable("it tells of too many items", kind)
    const told = compact({
      kind,
      type: collection === "directus_files" ? "asset" : collection,
      slug: keys.length === 1 ? text(payload, "/slug") : undefined,
      topic,
    })
    return { reading: "events", events: keys.map((id) => ({ ...told, id })) }
  },
}
