import { describe, expect, it } from "vitest"
import { hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import type { Delivery } from "./source.ts"
import { woocommerce } from "./woocommerce.ts"

const SECRET = 'wc secret & "quotes"'
const context = contextOf("woocommerce", SECRET)

const deliver = (body: string, headers: Readonly<Record<string, string>> = {}): Delivery => ({
  method: "POST",
  path: "/v1/hooks/shop",
  headers: new Headers(headers),
  body: utf8(body),
})

async function sign(
  secret: string,
  body: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Delivery> {
  const signature = toBase64(await hmac("SHA-256", utf8(secret), utf8(body)))
  return deliver(body, {
    "x-wc-webhook-topic": "product.updated",
    "x-wc-webhook-signature": signature,
    ...more,
  })
}

const spoil = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, {
    "x-wc-webhook-signature": edit(delivery.headers.get("x-wc-webhook-signature") ?? ""),
  })

describeSource(woocommerce, {
  secrets: [SECRET, "another"],
  sign: async (secret, body) => sign(secret, body),
  signedHeaders: ["x-wc-webhook-signature"],
  signsPath: false,
  spoilt: {
    "base64 without its padding": spoil((value) => value.slice(0, -1)),
    "two signatures": spoil((value) => `${value}, ${value}`),
    "an empty signature": spoil(() => ""),
    "a ping with a signature": (delivery) => ({ ...delivery, body: utf8("webhook_id=5") }),
  },
  vectors: vectorsOf("woocommerce"),
})

describe("verification", () => {
  it("takes an unsigned form with the number of a webhook for a ping", async () => {
    expect(await woocommerce.verify(deliver("webhook_id=5"), context)).toMatchObject({ verdict: "ping" })
  })

  it.for([
    "webhook_id=",
    "webhook_id=5&id=7",
    "webhook_id=5\n",
    "a&webhook_id=5",
    "webhook_id=x",
    `webhook_id=${"5".repeat(40)}`,
    "{}",
    "",
  ])("takes %j for none", async (body) => {
    expect(await woocommerce.verify(deliver(body), context)).toMatchObject({ verdict: "invalid" })
  })

  // The id is made of the webhook and the second: two products that are saved in one second share it.
  it("knows a repetition by its id, its topic and its body together", async () => {
    const id = { "x-wc-webhook-delivery-id": "0123456789abcdef" }
    expect(await woocommerce.verify(await sign(SECRET, '{"id":1}', id), context)).toEqual({
      verdict: "verified",
      deliveryId: "product.updated 0123456789abcdef",
      replay: "body-hash",
    })
    expect(await woocommerce.verify(await sign(SECRET, '{"id":1}'), context)).toEqual({
      verdict: "verified",
      replay: "none",
    })
  })
})

const read = (topic: string | undefined, body: unknown) => {
  const { headers } = deliver("", topic === undefined ? {} : { "x-wc-webhook-topic": topic })
  return woocommerce.read({ body, headers, path: "/" }, context)
}
const PRODUCT = {
  id: 799,
  slug: "t-shirt",
  permalink: "https://shop.example/product/t-shirt/",
  status: "publish",
  type: "simple",
  parent_id: 0,
  date_modified_gmt: "2026-01-01T00:00:00",
  tags: [{ id: 1, name: "Cotton", slug: "cotton" }],
}
const VARIATION = { ...PRODUCT, id: 801, type: "variation", parent_id: 799 }

describe("reading", () => {
  it("reads an update", () => {
    expect(read("product.updated", PRODUCT)).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          type: "product",
          topic: "product.updated",
          id: "799",
          slug: "t-shirt",
          url: "https://shop.example/product/t-shirt/",
          version: "2026-01-01T00:00:00",
          tags: ["cotton"],
        },
      ],
    })
  })

  it.for([
    ["product.created", PRODUCT, "publish"],
    ["product.restored", PRODUCT, "publish"],
    ["product.updated", { ...PRODUCT, status: "draft" }, "unpublish"],
    ["product.updated", { ...PRODUCT, status: "private" }, "unpublish"],
    ["product.updated", { ...PRODUCT, status: "trash" }, "unpublish"],
    ["product.restored", { ...PRODUCT, status: "draft" }, "unpublish"],
    ["product.deleted", { id: 799 }, "delete"],
    ["product.polished", PRODUCT, "update"],
    ["product.updated", { id: 799 }, "update"],
    ["product.updated", VARIATION, "update"],
    ["product.updated", { ...VARIATION, status: "private" }, "unpublish"],
  ] as const)("reads %s of %j as %s", ([topic, body, kind]) => {
    expect(read(topic, body)).toMatchObject({ events: [{ kind, type: "product", topic, id: "799" }] })
  })

  it("has no url for what is not published", () => {
    expect(read("product.updated", { ...PRODUCT, status: "draft" })).not.toHaveProperty("events.0.url")
  })

  it("has no id where a variation, or what may be one, does not tell its product", () => {
    for (const body of [
      { ...VARIATION, parent_id: undefined },
      { ...VARIATION, type: undefined },
    ]) {
      expect(read("product.updated", body)).toMatchObject({ events: [{ type: "product" }] })
      expect(read("product.updated", body)).not.toHaveProperty("events.0.id")
    }
    expect(read("product.updated", { ...PRODUCT, type: undefined })).toHaveProperty("events.0.id", "799")
  })

  it("says of a variation that is its own what it can", () => {
    expect(read("product.updated", { ...VARIATION, parent_id: 0 })).toMatchObject({ events: [{ id: "801" }] })
  })

  it.for([
    ["action.wp_trash_post", "delete"],
    ["action.before_delete_post", "delete"],
    ["action.deleted_post", "delete"],
    ["action.untrashed_post", "update"],
  ] as const)("reads the name of WordPress' own hook in %s as %s", ([topic, kind]) => {
    expect(read(topic, { action: "x", arg: 799 })).toEqual({ reading: "events", events: [{ kind, topic }] })
  })

  it("leaves what a topic of one's own means to the rules", () => {
    const topic = "action.woocommerce_product_set_stock"
    expect(read(topic, { action: "woocommerce_product_set_stock", arg: 799 })).toEqual({
      reading: "events",
      events: [{ kind: "update", topic }],
    })
  })

  it.for([
    ["product.created", { ...PRODUCT, status: "draft" }],
    ["order.updated", { id: 1, billing: { email: "ada@example.com" } }],
    ["customer.created", { id: 1, email: "ada@example.com" }],
    ["coupon.deleted", { id: 1 }],
  ] as const)("ignores %s", ([topic, body]) => {
    const reading = read(topic, body)
    expect(reading).toMatchObject({ reading: "ignored" })
    expect(JSON.stringify(reading)).not.toContain("@")
  })

  it.for([
    [undefined, PRODUCT],
    ["product", PRODUCT],
    ["product.updated, product.deleted", PRODUCT],
    ["subscription.updated", PRODUCT],
    ["product.updated", undefined],
    ["product.updated", []],
  ] as const)("cannot tell what %j says", ([topic, body]) => {
    expect(read(topic, body)).toMatchObject({ reading: "unreadable" })
  })

  // A record that was gone when WooCommerce came to send it.
  it("names nothing where an error was sent instead of a product", () => {
    const error = { code: "woocommerce_rest_product_invalid_id", data: { status: 404 } }
    expect(read("product.updated", error)).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "product", topic: "product.updated" }],
    })
  })
})
