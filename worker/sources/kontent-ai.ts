import { toBase64 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, text } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, unreadable } from "./checks.ts"
import type { EventKind, SourceAdapter, SourceEvent } from "./source.ts"

/**
 * Kontent.ai: HMAC-SHA256 over the body, which carries one or more notifications.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        object type and action, such as `content_item.published`
 * - `kind`         by the action. What concerns the preview alone is ignored
 * - `type`         the codename of an item's type; `asset` for assets. Of a changed content type its own codename, else
 *                  `taxonomy` or `language`
 * - `id`           of the item or asset. A change of the model has none: it concerns everything
 * - `locale`       the codename of an item's language
 * - `version`      `last_modified`
 * - `environment`  `environment_id`
 *
 * @see https://github.com/kontent-ai/webhook-helper-js/blob/main/lib/signatures/signature-helper.ts
 */

const SIGNATURE = "x-kontent-ai-signature"
const OLDER_SIGNATURE = "x-kc-signature"

const CARRIAGE_RETURN = 0x0d
const LINE_FEED = 0x0a

const isLineEnd = (byte: number | undefined): boolean => byte === CARRIAGE_RETURN || byte === LINE_FEED

/** With every run of line ends as the one that the sender writes; undefined where there is none to change. */
function withSentLineEnds(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  if (!body.some(isLineEnd)) return undefined
  const sent = new Uint8Array(2 * body.length)
  let length = 0
  for (const [index, byte] of body.entries()) {
    if (!isLineEnd(byte)) sent[length++] = byte
    else if (!isLineEnd(body[index - 1])) {
      sent[length++] = CARRIAGE_RETURN
      sent[length++] = LINE_FEED
    }
  }
  return sent.slice(0, length)
}

/** By the action, also as older webhooks call it. One of tomorrow counts as update. */
const KINDS: ReadonlyMap<string, EventKind> = new Map([
  ["published", "publish"],
  ["unpublished", "unpublish"],
  ["unpublish", "unpublish"],
  ["archive", "unpublish"],
  ["deleted", "delete"],
  ["delete", "delete"],
])

const kindOf = (action: string): EventKind => KINDS.get(action) ?? "update"

/** What was done, also as webhooks say it that were made before there were several notifications. */
const actionOf = (notification: unknown): string =>
  text(notification, "/message/action") ?? text(notification, "/message/operation") ?? ""

/** What changed: what has an id, or the model. */
function entityOf(
  objectType: string,
  notification: unknown,
): Pick<SourceEvent, "type" | "id" | "locale" | "isModel"> {
  const system = (name: string) => text(notification, `/data/system/${name}`)
  switch (objectType) {
    case "content_item":
      return compact({ type: system("type"), id: system("id"), locale: system("language") })
    case "asset":
      return compact({ type: "asset", id: system("id") })
    case "content_type":
      return compact({ isModel: true as const, type: system("codename") })
    default:
      return { isModel: true, type: objectType }
  }
}

/** undefined for what does not say what became of what. */
function readNotification(notification: unknown): SourceEvent | undefined {
  const objectType = text(notification, "/message/object_type")
  const action = text(notification, "/message/action")
  if (objectType === undefined || action === undefined) return undefined
  return compact({
    kind: kindOf(action),
    ...entityOf(objectType, notification),
    version: text(notification, "/data/system/last_modified"),
    environment: text(notification, "/message/environment_id"),
    topic: `${objectType}.${action}`,
  })
}

export const kontentAi: SourceAdapter = {
  type: "kontent-ai",

  async verify({ headers, body }, context) {
    const signature = headers.get(SIGNATURE) ?? headers.get(OLDER_SIGNATURE) ?? ""
    if (!/^[A-Za-z0-9+/]{43}=$/.test(signature))
      return invalid("The signature is missing or not base64 of 32 bytes.")
    const sent = withSentLineEnds(body)
    for (const signed of sent ? [body, sent] : [body]) {
      if (!(await isSigned(signature, "SHA-256", signed, toBase64, context))) continue
      // No id, and `last_modified` is the content's: to publish, unpublish and publish again may read the same.
      return { verdict: "verified", replay: "none" }
    }
    return invalid("The signature is by no secret of this source.")
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const notifications = find(body, "/notifications/*")
    const concerned = notifications.filter((each) => text(each, "/message/delivery_slot") !== "preview")
    const events = concerned.map(readNotification)
    const known = events.filter((event) => event !== undefined)
    if (notifications.length === 0 || known.length < events.length) {
      const kinds = [body, ...concerned].map((each) => kindOf(actionOf(each)))
      const note = "the body lacks notifications, or one says not what became of what"
      return unreadable(
        note,
        kinds.find((kind) => kind === "unpublish" || kind === "delete"),
      )
    }
    if (known.length === 0) return ignored("the preview alone changes nothing published")
    return { reading: "events", events: known }
  },
}
