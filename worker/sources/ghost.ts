import { concatBytes, toHex, utf8 } from "../../protocol/bytes.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, timely, unreadable } from "./checks.ts"
import type { EventKind, SourceAdapter } from "./source.ts"

/**
 * Ghost: HMAC-SHA256 over the body followed by the time in milliseconds; before that, with `legacy`, over the body alone.
 *
 * A delivery does not name its event: the address that Ghost was given does (`?event=post.published`). Without it the
 * event is what `current` and `previous` of the record show.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`         the address's `event`, or the body's where a later Ghost says it
 * - `type`          `post`, `page` or `tag`, whatever the address says. Members are ignored
 * - `kind`          by status and topic, see `kindOf`
 * - `id`, `slug`    of the record; of a deleted one as it was
 * - `previousSlug`  where the slug changed
 * - `url`           the public address; none for what is hidden or has no address
 * - `version`       `updated_at`
 * - `tags`          the slugs of the record's tags, and of those it had before
 *
 * @see https://github.com/TryGhost/Ghost/blob/main/ghost/core/core/server/services/webhooks/webhook-trigger.js
 * @see https://github.com/TryGhost/Ghost/pull/20500 (from signing the body alone to signing the time too)
 */

/** A header that came twice is joined by a comma, and is none. */
const SIGNATURE = /^sha256=([0-9a-f]{64}), *t=([1-9]\d{12,14})$/

const TYPES = ["post", "page", "tag", "member"] as const

/** The event that the address names. Nobody signs it: only what could be one is taken for it. */
function eventOf(path: string): string | undefined {
  const event = new URLSearchParams(path.split("?")[1] ?? "").get("event") ?? ""
  return /^[a-z]+(?:[._][a-z]+)*$/.test(event) ? event : undefined
}

const isHidden = (status: string | undefined): boolean => status === "draft" || status === "scheduled"

interface Change {
  /** The topic without its type: `published`, `tag.attached`; empty where none was told. */
  readonly action: string
  readonly isGone: boolean
  readonly status: string | undefined
  readonly previousStatus: string | undefined
  /** Whether `previous` says what changed. */
  readonly tellsChanges: boolean
}

/** Where the topic alone says what happened. */
const UNKNOWN = { isGone: false, status: undefined, previousStatus: undefined, tellsChanges: false }

/** What visitors notice of it; undefined: nothing, it was hidden before and still is. */
function kindOf({ action, isGone, status, previousStatus, tellsChanges }: Change): EventKind | undefined {
  if (isGone || action === "deleted") return "delete"
  if (action === "unpublished") return "unpublish"
  if (isHidden(status)) {
    // What changed is told: where the status is not among it, it was as hidden before.
    const wasHidden =
      previousStatus === undefined ? tellsChanges || action === "added" : isHidden(previousStatus)
    return wasHidden ? undefined : "unpublish"
  }
  const isNew = isHidden(previousStatus) || (action === "added" && status !== undefined)
  return isNew || action === "published" ? "publish" : "update"
}

export const ghost: SourceAdapter = {
  type: "ghost",

  async verify({ headers, path, body }, context) {
    const [, mac, time] = SIGNATURE.exec(headers.get("x-ghost-signature") ?? "") ?? []
    if (mac === undefined || time === undefined) {
      return invalid("The signature is missing or not of the form sha256=…, t=….")
    }
    if (await isSigned(mac, "SHA-256", concatBytes(body, utf8(time)), toHex, context)) {
      // Two events of one change may read the same and differ in their addresses alone.
      const deliveryId = `${mac}.${eventOf(path) ?? ""}`
      return timely(Number(time), context, { verdict: "verified", deliveryId, replay: "delivery-id" })
    }
    if (context.config.legacy && (await isSigned(mac, "SHA-256", body, toHex, context))) {
      // Its time is not signed, and `{}` is the body of every change of the site: no two of them are known to be one.
      return timely(Number(time), context, { verdict: "verified", replay: "none" })
    }
    return invalid("The signature is by no secret of this source.")
  },

  read(said) {
    const body = objectOf(said)
    const topic = eventOf(said.path) ?? text(body, "/event")
    const [entity = "", ...words] = topic?.split(".") ?? []
    const type = TYPES.find((name) => body && Object.hasOwn(body, name))
    const action = type === undefined || type === entity ? words.join(".") : ""
    if ((type ?? entity) === "member") return ignored("members are not published")
    if (topic === "site.changed" || !type) {
      const note = `${topic ?? "the delivery"} does not say what changed`
      return unreadable(note, kindOf({ ...UNKNOWN, action }))
    }
    const now = `/${type}/current`
    const before = `/${type}/previous`
    const isGone = find(body, `${now}/*`).length === 0
    const tellsChanges = find(body, `${before}/*`).length > 0
    if (isGone && !tellsChanges) return unreadable(`the ${type} is empty`, "delete")
    const status = text(body, `${now}/status`)
    const previousStatus = text(body, `${before}/status`)
    const kind = kindOf({ action, isGone, status, previousStatus, tellsChanges })
    if (!kind) return ignored(`the ${type} is a draft, and was one before`)
    const record = isGone ? before : now
    const url = text(body, `${now}/url`)
    const tags = texts([now, before].flatMap((at) => find(body, `${at}/tags/*/slug`)))
    return oneEvent({
      kind,
      type,
      topic,
      id: text(body, `${record}/id`),
      slug: text(body, `${record}/slug`),
      previousSlug: isGone ? undefined : text(body, `${before}/slug`),
      // What is hidden has the address of its preview, and what has none that of the page for nothing found.
      url: isHidden(status) || url?.endsWith("/404/") ? undefined : url,
      version: text(body, `${record}/updated_at`),
      tags: tags.length > 0 ? tags : undefined,
    })
  },
}
