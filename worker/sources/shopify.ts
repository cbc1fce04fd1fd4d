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
 * - `id`           the number, also of what is named by `gid://shopify/Product/1` alone
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

/**
 * What happens between a shop and its customers, by the start of the topic: no page that is cached shows it. A shop's
 * data are to be erased two days after it gave up the app, which every app is told.
 */
const PRIVATE =
  /^(?:app|bulk_operations|carts?|checkouts?|company|companies|customers?|disputes?|draft_orders?|fulfillments?|orders?|payment|refunds?|returns?|reverse|segments?|shop\/redact|subscription|tax|tender)(?:_|\b)/

/** By the end of the topic; any other action counts as update. */
const KINDS: Readonly<Record<string, EventKind>> = {
  create: "publish",
  add: "publish",
  remove: "unpublish",
  delete: "delete",
}

const kindOf = (action: string): EventKind | undefined =>
  Object.hasOwn(KINDS, action) ? KINDS[action] : undefined

/** What became of something listed or published in a channel: what is no longer listed is not gone. */
const LISTING = /^(product|collection)_(?:listing|publication)s$/

/** What must no longer be seen, by the topic alone. */
function hardOf(topic: string): EventKind | undefined {
  const [resource = "", action = ""] = topic.split("/")
  const kind = kindOf(action)
  if (kind === "delete" && LISTING.test(resource)) return "unpublish"
  return kind === "publish" ? undefined : kind
}

/** `reverse_deliveries` in the singular. */
const singular = (resource: string): string => resource.replace(/ies$/, "y").replace(/s$/, "")

const HIDDEN = ["draft", "archived"]

/** `gid://shopify/Product/1` and `1` name the same. */
const numberOf = (id: string | undefined): string | undefined =>
  id?.startsWith("gid://") ? id.split("?")[0]?.split("/").at(-1) : id

/** `products/update`, by what is true of the record now. */
function readWebhook(body: unknown, topic: string, environment: string | undefined): Reading {
  const [resource = "", action = ""] = topic.split("/")
  const told = { topic, environment, version: text(body, "/updated_at") }
  if (resource === "themes") {
    const role = text(body, "/role")
    if (action !== "publish" && role !== undefined && role !== "main") return ignored(`the theme is ${role}`)
    return oneEvent({ ...told, kind: "deploy", type: "theme", id: text(body, "/id") })
  }
  // The settings of a shop show on every page.
  if (resource === "shop") return oneEvent({ ...told, kind: "update", type: "shop" })
  // Fields of one's own are on anything that is of their kind.
  if (resource.endsWith("_definitions")) {
    return oneEvent({ ...told, kind: hardOf(topic) ?? "update", isModel: true, type: singular(resource) })
  }
  const [, owner] = LISTING.exec(resource) ?? []
  if (owner !== undefined) {
    const listing = `/${resource.slice(0, -1)}`
    return oneEvent({
      ...told,
      kind: hardOf(topic) ?? kindOf(action) ?? "update",
      type: owner,
      id: text(body, `${listing}/${owner}_id`) ?? text(body, `/${owner}_id`),
      slug: text(body, `${listing}/handle`),
    })
  }
  if (resource === "variants") {
    return oneEvent({ ...told, kind: "update", type: "product", id: text(body, "/product_id") })
  }
  const isHidden = HIDDEN.includes(text(body, "/status") ?? "")
  if (isHidden && action === "create") return ignored(`the new ${singular(resource)} is a draft`)
  const isUnlisted = find(body, "/published_at")[0] === null && action === "update"
  const tags = texts(find(body, "/tags")).flatMap((list) => list.split(","))
  return oneEvent({
    ...told,
    kind: kindOf(action) ?? (isHidden || isUnlisted ? "unpublish" : "update"),
    type: singular(resource),
    // Which of its members are sent is for whoever subscribes to say.
    id: numberOf(text(body, "/id") ?? text(body, "/admin_graphql_api_id")),
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
    const { headers } = said
    const environment = either(headers, "shop-domain")
    const action = text(body, "/action") ?? headers.get("shopify-action") ?? undefined
    const resource = text(body, "/topic") ?? headers.get("shopify-topic") ?? undefined
    const isEvent = resource !== undefined && /^\w+$/.test(resource) && action !== undefined
    const topic = isEvent ? `${resource}/${action}` : (either(headers, "topic") ?? "")
    if (!isEvent && PRIVATE.test(topic)) return ignored(`${topic} changes nothing published`)
    if (!body) return unreadable(undefined, hardOf(topic))
    if (isEvent) return readEvent(body, resource, action, { headers, environment })
    return /^\w+\/\w+$/.test(topic)
      ? readWebhook(body, topic, environment)
      : unreadable("no topic says what happened", hardOf(topic))
  },
}
