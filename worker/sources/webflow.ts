import { concatBytes, constantTimeEqual, hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, text } from "../rules/pointer.ts"
import { invalid, objectOf, secretsOf, timely, unreadable, verifyCarried } from "./checks.ts"
import type { EventKind, Reading, SourceAdapter } from "./source.ts"

/**
 * Webflow: HMAC-SHA256 over `timestamp:body`. A webhook that was made in the dashboard is not signed: `auth` then says
 * where its secret stands.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        `triggerType`
 * - `kind`         by its last word; a publish of the site is a `deploy`, and an item that became a draft or was
 *                  archived an `unpublish`. What was never published is ignored, and so are forms, orders and comments
 * - `type`         the id of the collection; `page` for pages
 * - `id`           of the item or the page
 * - `slug`         `fieldData.slug`
 * - `locale`       the id of the locale
 * - `environment`  the id of the site
 *
 * @see https://github.com/webflow/js-webflow-api/blob/master/src/wrapper/WebhooksClient.ts
 */

const MILLISECONDS = /^[1-9]\d{12}$/

/** Nothing of it is on a page: visitors caused it, or only those who edit see it. */
const ELSEWHERE =
  /^(?:form_submission|comment_created|page_created|ecomm_new_order|ecomm_order_changed|user_account_\w+)$/

const ITEM = /^collection_item_(\w+)$/

/** What became of an item. undefined: nothing that was ever published. */
function itemKind(action: string, payload: unknown): EventKind | undefined {
  switch (action) {
    case "published":
      return "publish"
    case "unpublished":
      return "unpublish"
    case "deleted":
      return "delete"
    case "created":
    case "changed": {
      const [lastPublished] = find(payload, "/lastPublished")
      if (lastPublished === null) return undefined
      const isHidden = text(payload, "/isDraft") === "true" || text(payload, "/isArchived") === "true"
      return isHidden ? "unpublish" : "update"
    }
    default:
      return "update"
  }
}

function readItem(topic: string, action: string, payload: unknown): Reading {
  const kind = itemKind(action, payload)
  if (!kind) return { reading: "ignored", note: `${topic} of an item that was never published` }
  const id = text(payload, "/id")
  if (id === undefined) return unreadable("the payload names no item")
  const event = compact({
    kind,
    type: text(payload, "/collectionId"),
    id,
    locale: text(payload, "/cmsLocaleId"),
    slug: text(payload, "/fieldData/slug"),
    environment: text(payload, "/siteId"),
    topic,
  })
  return { reading: "events", events: [event] }
}

export const webflow: SourceAdapter = {
  type: "webflow",

  async verify(delivery, context) {
    if (context.config.auth !== undefined) return verifyCarried(delivery, context)
    const signature = delivery.headers.get("x-webflow-signature") ?? ""
    if (!/^[0-9a-f]{64}$/.test(signature)) return invalid("The signature is missing or not 64 hex digits.")
    const timestamp = delivery.headers.get("x-webflow-timestamp") ?? ""
    if (!MILLISECONDS.test(timestamp)) return invalid("The timestamp is missing or not in milliseconds.")
    const signed = concatBytes(utf8(`${timestamp}:`), delivery.body)
    for (const secret of secretsOf(context)) {
      const mac = toHex(await hmac("SHA-256", utf8(secret), signed))
      if (!constantTimeEqual(utf8(mac), utf8(signature))) continue
      const verified = { verdict: "verified", deliveryId: signature, replay: "delivery-id" } as const
      return timely(Number(timestamp), context, verified)
    }
    return invalid("The signature is by no secret of this source.")
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/triggerType")
    if (topic === undefined) return unreadable("the body names no triggerType")
    const { payload } = body
    const environment = text(payload, "/siteId")
    if (topic === "site_publish") {
      return { reading: "events", events: [compact({ kind: "deploy" as const, environment, topic })] }
    }
    if (ELSEWHERE.test(topic)) return { reading: "ignored", note: `${topic} changes nothing published` }
    const [, action] = ITEM.exec(topic) ?? []
    if (action !== undefined) return readItem(topic, action, payload)
    const pageId = text(payload, "/pageId")
    const id = pageId ?? text(payload, "/id")
    if (id === undefined) return unreadable("the payload names neither an item nor a page")
    const event = compact({
      kind: topic === "page_deleted" ? ("delete" as const) : ("update" as const),
      type: pageId === undefined ? undefined : "page",
      id,
      environment,
      topic,
    })
    return { reading: "events", events: [event] }
  },
}
