import { toBase64 } from "../../protocol/bytes.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, unreadable } from "./checks.ts"
import type { EventKind, Reading, SourceAdapter } from "./source.ts"

/**
 * Shopify: HMAC-SHA256 over the body, in base64. Headers come in two families, `X-Shopify-…` of webhooks and
 * `Shopify-…` of Events; where both are there the second counts, as in Shopify's own library.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        `products/update`; of Events `Product/update`
 * - `type`         the resource in the singular: `product`, `collection`, `article` … Listings and publications of a
 *                  product are about the product
 * - `kind`         by the action. What is a draft, archived or taken from the shop counts as unpublish, whatever it was
 *                  before, as that is not told; but what was only just created as a draft is ignored
 * - `id`           the number, also of what is named by `gid://shopify/Product/1`
 * - `slug`         `handle`; of Events it is not told
 * - `version`      `updated_at`
 * - `environment`  the shop's `myshopify.com` domain: all shops of an app share one secret
 * - `tags`         of a product or article
 *
 * @see https://github.com/Shopify/shopify-app-js/tree/main/packages/apps/shopify-api/lib/webhooks
 * @see https://shopify.dev/docs/apps/build/webhooks/delivery-structure
 * @see https://shopify.dev/docs/apps/build/events/delivery-structure
 */

const either = (headers: Headers, name: string): string | undefined =>
  headers.get(`shopify-${name}`) ?? headers.get(`x-shopify-${name}`) ?? undefined

/** What happens between a shop and its customers: no page that is cached shows it. */
const PRIVATE =
  /^(?:app|bulk_operations|carts?|checkouts?|company|customers?|disputes?|draft_orders?|fulfillments?|orders?|payment|refunds?|returns?|subscription|tender)(?:_|\b)/

/** By the end of the topic; any other action counts as update. */
const KINDS: Readonly<Record<string, EventKind>> = {
  create: "publish",
  add: "publish",
  remove: "unpublish",
  delete: "delete",
}

const kindOf = (action: string): EventKind | undefined =>
  Object.hasOwn(KINDS, action) ? KINDS[action] : undefined

const HIDDEN = ["draft", "archived"]

/** `gid://shopify/Product/1` and `1` name the same. */
const numberOf = (id: string | undefined): string | undefined =>
  id?.startsWith("gid://") ? id.split("?")[0]?.split("/").at(-1) : id

/** `products/update`, by what is true of the record now. */
function readWebhook(body: unknown, topic: string, environment: string | undefined): Reading {
  const [resource = "", action = ""] = topic.split("/")
  if (PRIVATE.test(resource)) return ignored(`${topic} changes nothing published`)
  const told = { topic, environment, version: text(body, "/updated_at") }
  if (resource === "themes") {
    const role = text(body, "/role")
    if (action !== "publish" && role !== undefined && role !== "main") return ignored(`the theme is ${role}`)
    return oneEvent({ ...told, kind: "deploy", type: "theme", id: text(body, "/id") })
  }
  // The settings of a shop show on every page.
  if (resource === "shop") return oneEvent({ ...told, kind: "update", type: "shop" })
  const [, owner] = /^(product|collection)_(?:listing|publication)s$/.exec(resource) ?? []
  if (owner !== undefined) {
    const listing = `/${resource.slice(0, -1)}`
    return oneEvent({
      ...told,
      // What is no longer listed is not gone.
      kind: action === "delete" ? "unpublish" : (kindOf(action) ?? "update"),
      type: owner,
      id: text(body, `${listing}/${owner}_id`) ?? text(body, `/${owner}_id`),
      slug: text(body, `${listing}/handle`),
    })
  }
  if (resource === "variants") {
    return oneEvent({ ...told, kind: "update", type: "product", id: text(body, "/product_id") })
  }
  const isHidden = HIDDEN.includes(text(body, "/status") ?? "")
  if (isHidden && action === "create") return ignored(`the new ${resource} is a draft`)
  const isUnlisted = find(body, "/published_at")[0] === null && action === "update"
  const tags = texts(find(body, "/tags")).flatMap((list) => list.split(","))
  return oneEvent({
    ...told,
    kind: kindOf(action) ?? (isHidden || isUnlisted ? "unpublish" : "update"),
    type: resource.replace(/s$/, ""),
    id: numberOf(text(body, "/id")),
    slug: text(body, "/handle"),
    tags: tags.length > 0 ? texts([tags.map((tag) => tag.trim())]) : undefined,
  })
}

/** `Product` and `update`, of which only what changed is told. */
function readEvent(
  body: unknown,
  resource: string,
  action: string,
  { headers, environment }: { readonly headers: Headers; readonly environment: string | undefined },
): Reading {
  const changed = texts(find(body, "/fields_changed/*"))
  const [, id] = /^\w+\[id: '([^']+)'\]/.exec(changed[0] ?? "") ?? []
  // To which status is not told.
  const mayBeHidden = changed.some((path) => path.endsWith(".status"))
  return oneEvent({
    kind: kindOf(action) ?? (mayBeHidden ? "unpublish" : "update"),
    type: resource.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase(),
    // The header is not signed, what changed is.
    id: numberOf(id ?? headers.get("shopify-resource-id") ?? undefined),
    topic: `${resource}/${action}`,
    environment,
  })
}

export const shopify: SourceAdapter = {
  type: "shopify",

  async verify({ headers, body }, context) {
    const signature = either(headers, "hmac-sha256") ?? ""
    if (!/^[A-Za-z0-9+/]{43}=$/.test(signature)) {
      return invalid("The signature is missing or not 32 bytes in base64.")
    }
    if (!(await isSigned(signature, "SHA-256", body, toBase64, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    // One change has one id in whatever topics it is told. It is not signed, and counts together with the body.
    const id = either(headers, "event-id") ?? either(headers, "webhook-id") ?? ""
    if (id === "") return { verdict: "verified", replay: "none" }
    const deliveryId = `${either(headers, "topic") ?? ""} ${id}`
    return { verdict: "verified", deliveryId, replay: "body-hash" }
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const { headers } = said
    const environment = either(headers, "shop-domain")
    const action = text(body, "/action") ?? headers.get("shopify-action") ?? undefined
    const resource = text(body, "/topic") ?? headers.get("shopify-topic") ?? undefined
    if (resource !== undefined && /^\w+$/.test(resource) && action !== undefined) {
      return readEvent(body, resource, action, { headers, environment })
    }
    const topic = either(headers, "topic")
    return topic !== undefined && /^\w+\/\w+$/.test(topic)
      ? readWebhook(body, topic, environment)
      : unreadable("no topic says what happened")
  },
}
