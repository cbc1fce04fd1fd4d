import { describe, expect, it } from "vitest"
import { hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { shopify } from "./shopify.ts"
import type { Delivery } from "./source.ts"

const SECRET = "test_secret_key"
const SHOP = "shop1.myshopify.com"

const macOf = async (secret: string, body: string): Promise<string> =>
  toBase64(await hmac("SHA-256", utf8(secret), utf8(body)))

async function sign(
  secret: string,
  body: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Delivery> {
  const headers = new Headers({
    "x-shopify-hmac-sha256": await macOf(secret, body),
    "x-shopify-topic": "products/update",
    "x-shopify-shop-domain": SHOP,
    ...more,
  })
  return { method: "POST", path: "/v1/hooks/shop", headers, body: utf8(body) }
}

async function signEvent(secret: string, body: string): Promise<Delivery> {
  const headers = new Headers({
    "shopify-hmac-sha256": await macOf(secret, body),
    "shopify-topic": "Product",
    "shopify-action": "update",
  })
  return { method: "POST", path: "/v1/hooks/shop", headers, body: utf8(body) }
}

const spoilt = (header: string) => {
  const spoil = (edit: (value: string) => string) => (delivery: Delivery) =>
    withHeaders(delivery, { [header]: edit(delivery.headers.get(header) ?? "") })
  return {
    "base64 without its padding": spoil((value) => value.slice(0, -1)),
    "more padding": spoil((value) => `${value}=`),
    "two signatures": spoil((value) => `${value}, ${value}`),
    "an empty signature": spoil(() => ""),
  }
}

describeSource(shopify, {
  secrets: [SECRET, "another"],
  sign: async (secret, body) => sign(secret, body),
  signedHeaders: ["x-shopify-hmac-sha256"],
  signsPath: false,
  spoilt: spoilt("x-shopify-hmac-sha256"),
  vectors: vectorsOf("shopify"),
})

describe("Events", () => {
  describeSource(shopify, {
    secrets: [SECRET, "another"],
    sign: async (secret, body) => signEvent(secret, body),
    signedHeaders: ["shopify-hmac-sha256"],
    signsPath: false,
    spoilt: spoilt("shopify-hmac-sha256"),
    vectors: vectorsOf("shopify"),
  })
})

describe("verification", () => {
  const context = contextOf("shopify", SECRET)
  const verify = async (more: Readonly<Record<string, string>>) =>
    shopify.verify(await sign(SECRET, "{}", more), context)

  it("goes by the newer header where both are there", async () => {
    expect(await verify({ "shopify-hmac-sha256": await macOf("another", "{}") })).toMatchObject({
      verdict: "invalid",
    })
    const stale = { "shopify-hmac-sha256": await macOf(SECRET, "{}"), "x-shopify-hmac-sha256": "x" }
    expect(await verify(stale)).toMatchObject({ verdict: "verified" })
  })

  it("knows a repetition by its id, its topic and its body together", async () => {
    expect(await verify({ "x-shopify-event-id": "e1", "x-shopify-webhook-id": "w1" })).toEqual({
      verdict: "verified",
      deliveryId: "products/update e1",
      replay: "body-hash",
    })
    expect(await verify({ "x-shopify-webhook-id": "w1" })).toMatchObject({ deliveryId: "products/update w1" })
    expect(await verify({ "shopify-event-id": "e1", "shopify-topic": "Product" })).toMatchObject({
      deliveryId: "Product e1",
    })
    expect(await verify({})).toEqual({ verdict: "verified", replay: "none" })
  })
})

const read = (topic: string | undefined, body: unknown, more: Readonly<Record<string, string>> = {}) => {
  const headers = new Headers({ ...(topic === undefined ? {} : { "x-shopify-topic": topic }), ...more })
  return shopify.read({ body, headers, path: "/" }, contextOf("shopify", SECRET))
}
const PRODUCT = {
  id: 9_554_194_432_293,
  title: "T-Shirt",
  handle: "t-shirt",
  status: "active",
  updated_at: "2025-04-22T14:30:00-05:00",
  published_at: "2025-04-01T00:00:00-05:00",
  tags: "cotton, comfortable",
}

describe("reading webhooks", () => {
  it("reads an update", () => {
    expect(read("products/update", PRODUCT, { "x-shopify-shop-domain": SHOP })).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          type: "product",
          id: "9554194432293",
          slug: "t-shirt",
          version: "2025-04-22T14:30:00-05:00",
          topic: "products/update",
          environment: SHOP,
          tags: ["cotton", "comfortable"],
        },
      ],
    })
  })

  it.for([
    ["products/create", PRODUCT, "publish", "product"],
    ["products/update", { ...PRODUCT, status: "draft" }, "unpublish", "product"],
    ["products/update", { ...PRODUCT, status: "archived" }, "unpublish", "product"],
    ["products/update", { ...PRODUCT, status: "unlisted" }, "update", "product"],
    ["products/update", { ...PRODUCT, published_at: null }, "unpublish", "product"],
    ["products/create", { ...PRODUCT, published_at: null }, "publish", "product"],
    ["products/update", { id: 9_554_194_432_293 }, "update", "product"],
    ["products/delete", { id: 9_554_194_432_293 }, "delete", "product"],
    ["collections/update", PRODUCT, "update", "collection"],
    ["collections/update", { ...PRODUCT, published_at: null }, "unpublish", "collection"],
    ["collections/delete", { id: 9_554_194_432_293 }, "delete", "collection"],
    ["pages/update", PRODUCT, "update", "page"],
    ["articles/create", PRODUCT, "publish", "article"],
    ["metaobjects/update", { id: "gid://shopify/Metaobject/9554194432293" }, "update", "metaobject"],
    ["product_listings/add", { product_listing: { product_id: 9_554_194_432_293 } }, "publish", "product"],
    [
      "product_listings/remove",
      { product_listing: { product_id: 9_554_194_432_293 } },
      "unpublish",
      "product",
    ],
    ["product_publications/delete", { product_id: 9_554_194_432_293 }, "unpublish", "product"],
    ["collection_listings/update", { collection_id: 9_554_194_432_293 }, "update", "collection"],
    ["variants/out_of_stock", { id: 1, product_id: 9_554_194_432_293 }, "update", "product"],
    ["products/constructor", PRODUCT, "update", "product"],
    ["product_listings/constructor", { product_id: 9_554_194_432_293 }, "update", "product"],
  ] as const)("reads %s of %j as %s of a %s", ([topic, body, kind, type]) => {
    expect(read(topic, body)).toMatchObject({
      reading: "events",
      events: [{ kind, type, id: "9554194432293", topic }],
    })
  })

  it("takes a theme for a deploy, and the shop's settings for a change of everything", () => {
    expect(read("themes/publish", { id: 1, role: "main" })).toMatchObject({
      events: [{ kind: "deploy", type: "theme" }],
    })
    expect(read("themes/update", { id: 1, role: "main" })).toMatchObject({ events: [{ kind: "deploy" }] })
    const shop = read("shop/update", { id: 1, email: "owner@example.com" })
    expect(shop).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "shop", topic: "shop/update" }],
    })
  })

  it.for([
    ["products/create", { ...PRODUCT, status: "draft" }],
    ["themes/update", { id: 1, role: "unpublished" }],
    ["orders/create", { id: 1 }],
    ["draft_orders/update", { id: 1 }],
    ["customers/data_request", { id: 1 }],
    ["customers/redact", { shop_id: 1 }],
    ["shop/redact", { shop_id: 1, shop_domain: SHOP }],
    ["companies/update", { id: 1 }],
    ["company_locations/update", { id: 1 }],
    ["reverse_deliveries/attach_deliverable", { id: 1 }],
    ["customer.tags_added", { customerId: "gid://shopify/Customer/1" }],
    ["segments/update", { id: 1 }],
    ["customer_groups/create", { id: 1 }],
    ["app/uninstalled", { id: 1 }],
  ] as const)("ignores %s of %j", ([topic, body]) => {
    expect(read(topic, body)).toMatchObject({ reading: "ignored" })
  })

  it("finds the id where whoever subscribed left it out, but not the one of GraphQL", () => {
    const { id: _, ...body } = PRODUCT
    const admin_graphql_api_id = "gid://shopify/Product/788032119674292922"
    expect(read("products/update", { ...body, admin_graphql_api_id })).toMatchObject({
      events: [{ id: "788032119674292922" }],
    })
    expect(read("products/delete", { admin_graphql_api_id })).toMatchObject({
      events: [{ kind: "delete", id: "788032119674292922" }],
    })
    expect(read("products/update", { ...PRODUCT, admin_graphql_api_id })).toMatchObject({
      events: [{ id: "9554194432293" }],
    })
    expect(read("products/update", body)).not.toHaveProperty("events.0.id")
  })

  it.for([
    ["metafield_definitions/update", "update", "metafield_definition"],
    ["metafield_definitions/delete", "delete", "metafield_definition"],
    ["metaobject_definitions/create", "update", "metaobject_definition"],
  ] as const)("takes %s for a change of the model", ([topic, kind, type]) => {
    expect(read(topic, { id: 1 })).toEqual({
      reading: "events",
      events: [{ kind, isModel: true, type, topic }],
    })
  })

  it("calls one of several by its singular", () => {
    expect(read("product_categories/update", { id: 1 })).toMatchObject({
      events: [{ type: "product_category" }],
    })
    expect(read("products/create", { ...PRODUCT, status: "draft" })).toMatchObject({
      note: "the new product is a draft",
    })
  })

  it.for([[undefined], ["products"], ["products/update, products/delete"], [""]])(
    "cannot tell what %j says",
    ([topic]) => {
      expect(read(topic, PRODUCT)).toMatchObject({ reading: "unreadable" })
    },
  )

  it("has no use for what is no object", () => {
    for (const body of [undefined, [], "x", null]) {
      expect(read("products/update", body)).toMatchObject({ reading: "unreadable" })
    }
  })
})

describe("reading Events", () => {
  const changed = (path: string) => ({
    topic: "Product",
    action: "update",
    handle: "my_product_events",
    fields_changed: { added: [], updated: [`product[id: 'gid://shopify/Product/123'].${path}`], removed: [] },
  })

  it("reads an update, of the subscription's handle nothing", () => {
    expect(read(undefined, changed("title"), { "shopify-shop-domain": SHOP })).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "product", id: "123", topic: "Product/update", environment: SHOP }],
    })
  })

  it("takes a change of status for one that may have hidden it", () => {
    expect(read(undefined, changed("status"))).toMatchObject({ events: [{ kind: "unpublish", id: "123" }] })
    const flat = { ...changed("x"), fields_changed: changed("status").fields_changed.updated }
    expect(read(undefined, flat)).toMatchObject({ events: [{ kind: "unpublish", id: "123" }] })
  })

  it.for([
    ["create", "publish"],
    ["update", "update"],
    ["delete", "delete"],
  ] as const)("reads %s by the headers as %s", ([action, kind]) => {
    const headers = {
      "shopify-topic": "ProductVariant",
      "shopify-action": action,
      "shopify-resource-id": "gid://shopify/ProductVariant/7",
    }
    expect(read("products/update", { foo: "bar" }, headers)).toMatchObject({
      events: [{ kind, type: "product_variant", id: "7", topic: `ProductVariant/${action}` }],
    })
  })

  // What is signed counts.
  it("goes by the body where the headers say otherwise", () => {
    const headers = {
      "shopify-topic": "Collection",
      "shopify-action": "delete",
      "shopify-resource-id": "gid://shopify/Collection/7",
    }
    expect(read(undefined, changed("title"), headers)).toMatchObject({
      events: [{ kind: "update", type: "product", id: "123" }],
    })
  })
})
