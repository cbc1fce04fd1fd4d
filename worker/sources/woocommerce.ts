import { toBase64 } from "../../protocol/bytes.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, unreadable } from "./checks.ts"
import type { EventKind, SourceAdapter } from "./source.ts"

/**
 * WooCommerce: HMAC-SHA256 over the body, in base64. Whoever saves a webhook there makes it try the address with an
 * unsigned form, which is a ping.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`    the header `X-WC-Webhook-Topic`, such as `product.updated`
 * - `type`     `product`, also for a variation. Orders, customers and coupons are ignored; a topic of one's own
 *              (`action.…`) has none
 * - `kind`     by topic and status: what is not published now counts as unpublish, whatever it was before, as that is
 *              not told; but what was only just created so is ignored
 * - `id`       of a variation that of its product, except in a deletion, which does not tell it
 * - `slug`     of the record
 * - `url`      `permalink`, where it is published
 * - `version`  `date_modified_gmt`
 * - `tags`     the slugs of the product's tags
 *
 * @see https://github.com/woocommerce/woocommerce/blob/trunk/plugins/woocommerce/includes/class-wc-webhook.php
 */

const PING = /^webhook_id=\d{1,20}$/

/** No longer than that is read as text before anything is verified. */
const MAX_PING_BYTES = 32

const isPing = (body: Uint8Array<ArrayBuffer>): boolean =>
  body.length <= MAX_PING_BYTES && PING.test(new TextDecoder().decode(body))

/** In the names of WordPress' own hooks, by which an `action.…` is called. */
const GONE = /(?:^|_)(?:deleted?|trash(?:ed)?)(?:_|$)/

function kindOf(event: string, status: string | undefined): EventKind | undefined {
  if (event === "deleted") return "delete"
  if (status !== undefined && status !== "publish") return event === "created" ? undefined : "unpublish"
  return event === "created" || event === "restored" ? "publish" : "update"
}

/** Of the product on whose page it stands; undefined where a variation, or what may be one, does not tell it. */
function idOf(body: unknown): string | undefined {
  const parent = text(body, "/parent_id")
  if (parent === "0") return text(body, "/id")
  switch (text(body, "/type")) {
    case "variation":
      return parent
    case undefined:
      return parent === undefined ? text(body, "/id") : undefined
    default:
      return text(body, "/id")
  }
}

export const woocommerce: SourceAdapter = {
  type: "woocommerce",

  async verify({ headers, body }, context) {
    const signature = headers.get("x-wc-webhook-signature")
    if (signature === null && isPing(body)) {
      return { verdict: "ping", note: "WooCommerce tried the address" }
    }
    if (!/^[A-Za-z0-9+/]{43}=$/.test(signature ?? "")) {
      return invalid("The signature is missing or not 32 bytes in base64.")
    }
    if (!(await isSigned(signature ?? "", "SHA-256", body, toBase64, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    const id = headers.get("x-wc-webhook-delivery-id") ?? ""
    if (id === "") return { verdict: "verified", replay: "none" }
    // Made of the webhook and the second, and not signed: whatever was sent within one second has the same.
    const deliveryId = `${headers.get("x-wc-webhook-topic") ?? ""} ${id}`
    return { verdict: "verified", deliveryId, replay: "body-hash" }
  },

  read(said) {
    const body = objectOf(said)
    const topic = said.headers.get("x-wc-webhook-topic") ?? ""
    const [, resource, event = ""] = /^(\w+)\.(\w+)$/.exec(topic) ?? []
    switch (resource) {
      case "product": {
        if (!body) return unreadable(undefined, kindOf(event, undefined))
        const status = text(body, "/status")
        const kind = kindOf(event, status)
        if (!kind) return ignored(`the new product is not published: ${status}`)
        const tags = texts(find(body, "/tags/*/slug"))
        return oneEvent({
          kind,
          type: "product",
          topic,
          id: idOf(body),
          slug: text(body, "/slug"),
          // What is not published has an address that only its author can follow.
          url: kind === "unpublish" ? undefined : text(body, "/permalink"),
          version: text(body, "/date_modified_gmt"),
          tags: tags.length > 0 ? tags : undefined,
        })
      }
      case "order":
      case "customer":
      case "coupon":
        return ignored(`${topic} changes nothing published`)
      case "action":
        return oneEvent({ kind: GONE.test(event) ? "delete" : "update", topic })
      case undefined:
      default:
        return unreadable("no topic says what happened", kindOf(event, undefined))
    }
  },
}
