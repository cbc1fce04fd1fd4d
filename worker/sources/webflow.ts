import { concatBytes, toHex, utf8 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, text } from "../rules/pointer.ts"
import {
  ignored,
  invalid,
  isSigned,
  objectOf,
  oneEvent,
  timely,
  unreadable,
  verifyCarried,
} from "./checks.ts"
import type { EventKind, Reading, SourceAdapter, SourceEvent } from "./source.ts"

/**
 * Webflow: HMAC-SHA256 over `timestamp:body`. A webhook that was made in the dashboard is not signed: `auth` then says
 * where its secret stands.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        `triggerType`
 * - `kind`         by its last word; a publish of the site, or of one page of it, is a `deploy`, and an item that became
 *                  a draft or was archived an `unpublish`. What was never published is ignored, and so are forms,
 *                  orders and comments
 * - `type`         the id of the collection; `page` for pages
 * - `id`           of the item or the page. Items that were published together are an event each
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

/** What says of an item that nobody is shown it: by the types of the vendor's library, and by the samples of its docs. */
const HIDING = ["isDraft", "isArchived", "draft", "archived"]

/** What became of an item. undefined: nothing that was ever published. */
function itemKind(action: string, item: unknown): EventKind | undefined {
  switch (action) {
    case "published":
      return "publish"
    case "unpublished":
      return "unpublish"
    case "deleted":
      return "delete"
    case "created":
    case "changed": {
      const [lastPublished] = find(item, "/lastPublished")
      if (lastPublished === null) return undefined
      return HIDING.some((flag) => text(item, `/${flag}`) === "true") ? "unpublish" : "update"
    }
    default:
      return "update"
  }
}

/**
 * The items of a delivery: those of the list `items`, in which several come that were published together, and the one
 * that the payload is itself. What the list leaves out may stand beside it.
 *
 * @see https://developers.webflow.com/data/reference/webhooks/events/collection-item-published
 */
function readItems(topic: string, action: string, payload: unknown): Reading {
  const listed = find(payload, "/items/*")
  const items = listed.length === 0 || text(payload, "/id") !== undefined ? [payload, ...listed] : listed
  const told = items.flatMap((item) => {
    const kind = itemKind(action, item)
    return kind ? [{ kind, item, id: text(item, "/id") }] : []
  })
  const [first] = told
  if (!first) return ignored(`${topic} of an item that was never published`)
  if (told.some(({ id }) => id === undefined)) {
    const { kind } = told.find((each) => each.kind === "unpublish") ?? first
    return unreadable("the payload does not name every item", kind)
  }
  const events = told.map(({ kind, item, id }): SourceEvent => {
    const either = (pointer: string) => text(item, pointer) ?? text(payload, pointer)
    return compact({
      kind,
      type: either("/collectionId"),
      id,
      locale: either("/cmsLocaleId"),
      slug: text(item, "/fieldData/slug"),
      environment: either("/siteId"),
      topic,
    })
  })
  return { reading: "events", events }
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
    if (!(await isSigned(signature, "SHA-256", signed, toHex, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    const verified = { verdict: "verified", deliveryId: signature, replay: "delivery-id" } as const
    return timely(Number(timestamp), context, verified)
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/triggerType")
    if (topic === undefined) return unreadable("the body names no triggerType")
    const { payload } = body
    const environment = text(payload, "/siteId")
    const pageId = text(payload, "/pageId")
    if (topic === "site_publish") {
      // The page may be the template of a collection, and so many pages: a deploy it is, which rules may narrow.
      const isPage = pageId !== undefined && text(payload, "/publishScope") === "page"
      return oneEvent({ kind: "deploy", ...(isPage && { type: "page", id: pageId }), environment, topic })
    }
    if (ELSEWHERE.test(topic)) return ignored(`${topic} changes nothing published`)
    const [, action] = ITEM.exec(topic) ?? []
    if (action !== undefined) return readItems(topic, action, payload)
    const id = pageId ?? text(payload, "/id")
    const kind = topic === "page_deleted" ? "delete" : "update"
    if (id === undefined) return unreadable("the payload names neither an item nor a page", kind)
    return oneEvent({
      kind,
      type: pageId === undefined ? undefined : "page",
      id,
      environment,
      topic,
    })
  },
}
