import { compact } from "../../protocol/invalidation.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { ignored, objectOf, unreadable, verifyCarried } from "./checks.ts"
import { slugPairs } from "./slugs.ts"
import type { EventKind, SourceAdapter } from "./source.ts"

/**
 * Builder.io. Nothing is signed: a header that the webhook was told to send carries the secret.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`  `operation`, such as `publish`
 * - `kind`   by that. Older bodies lack it: then `delete` where there is no new value, `unpublish` where it is not
 *            published and was not told to be so before
 * - `type`   `modelName`
 * - `id`     of the new value, else of the previous one
 * - `slug`, `previousSlug`  `data.url`, a path such as `/about`. A page with several is an event for each
 *
 * @see https://www.builder.io/c/docs/webhooks
 */

const OPERATIONS: Readonly<Record<string, EventKind>> = {
  publish: "publish",
  scheduledStart: "publish",
  unpublish: "unpublish",
  archive: "unpublish",
  scheduledEnd: "unpublish",
  delete: "delete",
}

type Body = Readonly<Record<string, unknown>>

const isPublished = (value: unknown): boolean => {
  const state = text(value, "/published")
  return state === undefined || state === "published"
}

/** What became of the content; undefined: nothing, it was no more published before than it is now. */
function kindOf(operation: string | undefined, { newValue, previousValue }: Body): EventKind | undefined {
  if (operation !== undefined) {
    return Object.hasOwn(OPERATIONS, operation) ? OPERATIONS[operation] : "update"
  }
  if (newValue === null) return "delete"
  if (isPublished(newValue)) return "update"
  const isTold = previousValue !== null && typeof previousValue === "object"
  return isTold && !isPublished(previousValue) ? undefined : "unpublish"
}

/** One path, a list of them, or one for each language, beside which stands that they are such. */
const pathsOf = (value: unknown): string[] => {
  const localized = texts(find(value, "/data/url/*")).filter((path) => path.startsWith("/"))
  return texts([find(value, "/data/url")[0], localized])
}

export const builderIo: SourceAdapter = {
  type: "builder-io",

  verify: (delivery, context) => verifyCarried(delivery, context),

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const { newValue, previousValue } = body
    const operation = text(body, "/operation")
    const kind = kindOf(operation, body)
    if (!kind) return ignored("a draft was saved: nothing published changed")
    const id = text(newValue, "/id") ?? text(previousValue, "/id")
    if (id === undefined) return unreadable("the content that it is about is missing", kind)
    const previous = pathsOf(previousValue)
    // Of what was deleted, where it was.
    const pairs = newValue === null ? slugPairs(previous, []) : slugPairs(pathsOf(newValue), previous)
    const told = { kind, type: text(body, "/modelName"), id, topic: operation }
    return { reading: "events", events: pairs.map((pair) => compact({ ...told, ...pair })) }
  },
}
