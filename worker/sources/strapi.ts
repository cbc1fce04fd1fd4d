import { find, text } from "../rules/pointer.ts"
import { ignored, objectOf, oneEvent, unreadable, verifyCarried } from "./checks.ts"
import type { EventKind, Reading, SourceAdapter } from "./source.ts"

/**
 * Strapi 4 and 5. Nothing is signed: a header that the webhook was told to send carries the secret.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`   the body's `event`, such as `entry.publish`
 * - `kind`    by its last word. Without one that says so: `unpublish` for an entry that is not published, as Strapi 4
 *             may have taken it back by that very save
 * - `type`    the name of the model; `asset` for media, `release` for a release, which has no id
 * - `id`      `entry.documentId`, which Strapi 5 keeps over drafts and locales; else `entry.id`
 * - `locale`, `slug`  of the entry
 *
 * @see https://github.com/strapi/strapi/blob/develop/packages/core/core/src/services/document-service/events.ts
 */

/** A button of Strapi's own for trying the address. */
const TEST = "trigger-test"

/** As Strapi 5 makes them. Its drafts are records beside what is published; those of Strapi 4 are the record itself. */
const DOCUMENT_ID = /^[a-z0-9]{24}$/

function kindOf(action: string): EventKind {
  switch (action) {
    case "publish":
    case "unpublish":
    case "delete":
      return action
    default:
      return "update"
  }
}

function readEntry(body: Readonly<Record<string, unknown>>, topic: string, action: string): Reading {
  const { entry } = body
  const documentId = text(entry, "/documentId")
  const id = documentId ?? text(entry, "/id")
  const told = kindOf(action)
  // Strapi 5 has sent `null` for entries that it published: https://github.com/strapi/strapi/issues/25387
  if (id === undefined) return unreadable("the entry that it is about is missing", told)
  const isDraft = find(entry, "/publishedAt")[0] === null
  const isBeside = action === "create" || DOCUMENT_ID.test(documentId ?? "")
  if (told === "update" && isDraft && isBeside) return ignored("a draft was saved: nothing published changed")
  return oneEvent({
    kind: told === "update" && isDraft ? "unpublish" : told,
    type: text(body, "/model") ?? text(body, "/uid")?.split(".").at(-1),
    id,
    locale: text(entry, "/locale"),
    slug: text(entry, "/slug"),
    topic,
  })
}

export const strapi: SourceAdapter = {
  type: "strapi",

  // No delivery id, and the body's only time is the delivery's own: two publishes may read the same.
  verify: (delivery, context) => verifyCarried(delivery, context),

  read(said) {
    const body = objectOf(said)
    const topic = text(body, "/event") ?? said.headers.get("x-strapi-event") ?? ""
    if (topic === TEST) return ignored(`${TEST} only tries the address`)
    if (topic === "entry.draft-discard") return ignored(`${topic} changes nothing published`)
    const [entity = "", action = ""] = topic.split(".")
    if (entity === "review-workflows") return ignored("a stage of a review changes nothing published")
    if (!body) return unreadable(undefined, kindOf(action))
    switch (entity) {
      case "entry":
        return readEntry(body, topic, action)
      case "media": {
        const id = text(body, "/media/id")
        if (id === undefined) return unreadable("the file that it is about is missing", kindOf(action))
        return oneEvent({ kind: kindOf(action), type: "asset", id, topic })
      }
      case "releases":
        // It does not say which entries went out with it, and even one that failed may have published some.
        return oneEvent({ kind: "publish", type: "release", topic })
      default:
        return body["entry"] === undefined
          ? unreadable("it is no event that Strapi documents", kindOf(action))
          : readEntry(body, topic, action)
    }
  },
}
