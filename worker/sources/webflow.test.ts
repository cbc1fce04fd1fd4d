import { describe, expect, it } from "vitest"
import { hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { MINUTE, type Milliseconds } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import type { Delivery } from "./source.ts"
import { webflow } from "./webflow.ts"

const SECRET = "e2f1b6a0c94d4b7c8f7a6e5d4c3b2a19"
const OTHER = "00000000c94d4b7c8f7a6e5d4c3b2a19"
const NOW: Milliseconds = 1_767_225_600_000

/** Signs as Webflow does, spelt out here once more rather than shared with what is tested. */
async function sign(secret: string, body: string, at: Milliseconds | string): Promise<Delivery> {
  const headers = new Headers({
    "x-webflow-timestamp": String(at),
    "x-webflow-signature": toHex(await hmac("SHA-256", utf8(secret), utf8(`${at}:${body}`))),
  })
  return { method: "POST", path: "/v1/hooks/webflow-main", headers, body: utf8(body) }
}

const change = (name: string, edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { [name]: edit(delivery.headers.get(name) ?? "") })

describeSource(webflow, {
  secrets: [SECRET, OTHER],
  sign,
  signedHeaders: ["x-webflow-timestamp", "x-webflow-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
  spoilt: {
    "an upper-case signature": change("x-webflow-signature", (value) => value.toUpperCase()),
    "a signature that is too short": change("x-webflow-signature", (value) => value.slice(2)),
    "a signature whose last digit is another": change("x-webflow-signature", (value) =>
      value.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
    ),
    "two signatures": change("x-webflow-signature", (value) => `${value}, ${value}`),
    "two timestamps": change("x-webflow-timestamp", (value) => `${value}, ${value}`),
    "a timestamp in seconds": change("x-webflow-timestamp", (value) => value.slice(0, 10)),
    "a timestamp with a fraction": change("x-webflow-timestamp", (value) => `${value}.0`),
    "a timestamp with a leading zero": change("x-webflow-timestamp", (value) => `0${value}`),
  },
  vectors: vectorsOf("webflow"),
})

/** As a source whose `auth` says that the webhook was made in the dashboard, which signs nothing. */
describe("a carried secret", () => {
  describeSource(webflow, {
    secrets: [SECRET, OTHER],
    sign: async (secret, body) => {
      const headers = new Headers({ "x-tidemark-secret": secret })
      return { method: "POST", path: "/v1/hooks/webflow-main", headers, body: utf8(body) }
    },
    signedHeaders: ["x-tidemark-secret"],
    signsPath: false,
    signsBody: false,
    options: { auth: "header:x-tidemark-secret" },
    spoilt: {},
    vectors: [],
  })

  it("may stand in the url, as the dashboard knows no headers", async () => {
    const context = contextOf("webflow", SECRET, { auth: "query:token" })
    const to = async (path: string) =>
      webflow.verify({ method: "POST", path, headers: new Headers(), body: utf8("{}") }, context)
    expect(await to(`/v1/hooks/webflow-main?token=${SECRET}`)).toEqual({
      verdict: "verified",
      replay: "none",
    })
    for (const query of ["", "?token=", `?token=${OTHER}`, `?key=${SECRET}`]) {
      expect(await to(`/v1/hooks/webflow-main${query}`), query).toMatchObject({ verdict: "invalid" })
    }
  })

  it("is no signature, nor the other way round", async () => {
    const signed = await sign(SECRET, "{}", NOW)
    const carried = { ...signed, path: `/v1/hooks/webflow-main?token=${SECRET}`, headers: new Headers() }
    expect(await webflow.verify(carried, contextOf("webflow", SECRET))).toMatchObject({ verdict: "invalid" })
    const context = contextOf("webflow", SECRET, { auth: "query:token" })
    expect(await webflow.verify(signed, context)).toMatchObject({ verdict: "invalid" })
  })
})

describe("verification", () => {
  it.for(["1767225600", "01767225600000", "1767225600000.0", "+1767225600000", "1e12", ""])(
    "refuses the timestamp %j, though it is rightly signed",
    async (timestamp) => {
      const delivery = await sign(SECRET, "{}", timestamp)
      expect(await webflow.verify(delivery, contextOf("webflow", SECRET))).toMatchObject({
        verdict: "invalid",
      })
    },
  )

  it("knows the very same delivery again, and no more, as it has no id", async () => {
    const [first, second] = [await sign(SECRET, "{}", NOW), await sign(SECRET, "{}", NOW + 1)]
    const context = contextOf("webflow", SECRET)
    const verified = await webflow.verify(first, context)
    expect(verified).toEqual({
      verdict: "verified",
      deliveryId: first.headers.get("x-webflow-signature"),
      replay: "delivery-id",
    })
    expect(await webflow.verify(second, context)).not.toEqual(verified)
  })
})

const read = (body: unknown) =>
  webflow.read({ body, headers: new Headers(), path: "/" }, contextOf("webflow", SECRET))

const ITEM = {
  id: "6582b8a8e10cc04306284330",
  siteId: "65427cf400e02b306eaa049c",
  collectionId: "652ece3ae68a3ae7f4ff1111",
  cmsLocaleId: "653ad57de882f528b32e810e",
  lastPublished: "2024-01-15T14:30:00.000Z",
  isArchived: false,
  isDraft: false,
  fieldData: { name: "Post", slug: "post" },
}

describe("reading", () => {
  it("reads a published item", () => {
    expect(read({ triggerType: "collection_item_published", payload: ITEM })).toEqual({
      reading: "events",
      events: [
        {
          kind: "publish",
          type: "652ece3ae68a3ae7f4ff1111",
          id: "6582b8a8e10cc04306284330",
          locale: "653ad57de882f528b32e810e",
          slug: "post",
          environment: "65427cf400e02b306eaa049c",
          topic: "collection_item_published",
        },
      ],
    })
  })

  it.for([
    ["published", { isDraft: true }, "publish"],
    ["unpublished", { isDraft: true }, "unpublish"],
    ["unpublished", { lastPublished: null }, "unpublish"],
    ["deleted", { lastPublished: null }, "delete"],
    ["created", {}, "update"],
    ["changed", {}, "update"],
    ["changed", { lastPublished: undefined }, "update"],
    ["changed", { isDraft: true }, "unpublish"],
    ["changed", { isArchived: true }, "unpublish"],
    ["rewritten", { isDraft: true }, "update"],
  ] as const)("reads an item that was %s, with %j, as %s", ([action, state, kind]) => {
    const triggerType = `collection_item_${action}`
    // As it arrives: undefined is absent.
    const payload: unknown = JSON.parse(JSON.stringify({ ...ITEM, ...state }))
    expect(read({ triggerType, payload })).toMatchObject({ events: [{ kind, id: ITEM.id }] })
  })

  it.for([
    ["draft", "unpublish"],
    ["archived", "unpublish"],
    ["isBranch", "update"],
  ] as const)("takes %s of Webflow's documents for what its library calls is…", ([flag, kind]) => {
    const payload = { ...ITEM, isDraft: undefined, isArchived: undefined, [flag]: true }
    expect(read({ triggerType: "collection_item_changed", payload })).toMatchObject({ events: [{ kind }] })
  })

  describe("several items in one delivery", () => {
    const items = [
      { ...ITEM, id: "i1", fieldData: { slug: "one" } },
      { ...ITEM, id: "i2", fieldData: { slug: "two" } },
    ]
    const told = { type: ITEM.collectionId, locale: ITEM.cmsLocaleId, environment: ITEM.siteId }

    it("are an event each", () => {
      const topic = "collection_item_published"
      expect(read({ triggerType: topic, payload: { items } })).toEqual({
        reading: "events",
        events: [
          { ...told, kind: "publish", id: "i1", slug: "one", topic },
          { ...told, kind: "publish", id: "i2", slug: "two", topic },
        ],
      })
    })

    it("have from the payload what stands there for all of them", () => {
      const { collectionId, cmsLocaleId, siteId } = ITEM
      const payload = { collectionId, cmsLocaleId, siteId, items: [{ id: "i1" }, { id: "i2", siteId: "s2" }] }
      expect(read({ triggerType: "collection_item_deleted", payload })).toMatchObject({
        events: [
          { ...told, kind: "delete", id: "i1" },
          { ...told, kind: "delete", id: "i2", environment: "s2" },
        ],
      })
    })

    it("are told apart by what became of each, and from what was never published", () => {
      const payload = { items: [items[0], { ...items[1], isDraft: true }, { ...ITEM, lastPublished: null }] }
      expect(read({ triggerType: "collection_item_changed", payload })).toMatchObject({
        events: [
          { kind: "update", id: "i1" },
          { kind: "unpublish", id: "i2" },
        ],
      })
      const never = { items: [{ ...ITEM, lastPublished: null }] }
      expect(read({ triggerType: "collection_item_changed", payload: never })).toMatchObject({
        reading: "ignored",
      })
    })

    it("cannot be read unless each has an id, and is as hard as the hardest then", () => {
      const payload = { items: [items[0], { isDraft: true }] }
      expect(read({ triggerType: "collection_item_changed", payload })).toMatchObject({
        reading: "unreadable",
        kind: "unpublish",
      })
      for (const none of [[], [null], [{ id: "" }], ["i1"], null]) {
        expect(read({ triggerType: "collection_item_deleted", payload: { items: none } })).toMatchObject({
          reading: "unreadable",
          kind: "delete",
        })
      }
    })

    it("come to the one beside them too", () => {
      expect(read({ triggerType: "collection_item_published", payload: { ...ITEM, items } })).toMatchObject({
        events: [{ id: ITEM.id }, { id: "i1" }, { id: "i2" }],
      })
    })
  })

  it.for(["created", "changed"])("ignores an item that was %s and never published", (action) => {
    const triggerType = `collection_item_${action}`
    for (const isDraft of [true, false]) {
      expect(read({ triggerType, payload: { ...ITEM, lastPublished: null, isDraft } })).toEqual({
        reading: "ignored",
        note: `${triggerType} of an item that was never published`,
      })
    }
  })

  it("reads the delivery whose signature is known", () => {
    const [unpublished] = vectorsOf("webflow")
    expect(read(JSON.parse(unpublished?.body ?? ""))).toMatchObject({
      events: [{ kind: "unpublish", slug: "post" }],
    })
  })

  it("reads a publish of the site as a deploy", () => {
    const payload = { siteId: "s1", publishedOn: "2024-01-15T14:30:00.000Z", domains: ["www.example.com"] }
    expect(read({ triggerType: "site_publish", payload })).toEqual({
      reading: "events",
      events: [{ kind: "deploy", environment: "s1", topic: "site_publish" }],
    })
    expect(read({ triggerType: "site_publish" })).toMatchObject({ events: [{ kind: "deploy" }] })
    const site = { ...payload, publishScope: "site", pageId: "p1" }
    expect(read({ triggerType: "site_publish", payload: site })).not.toHaveProperty("events.0.id")
  })

  it("reads a publish of one page as a deploy that names it", () => {
    const payload = { siteId: "s1", publishScope: "page", pageId: "p1" }
    expect(read({ triggerType: "site_publish", payload })).toEqual({
      reading: "events",
      events: [{ kind: "deploy", type: "page", id: "p1", environment: "s1", topic: "site_publish" }],
    })
    expect(read({ triggerType: "site_publish", payload: { publishScope: "page" } })).toEqual({
      reading: "events",
      events: [{ kind: "deploy", topic: "site_publish" }],
    })
  })

  it.for([
    ["page_metadata_updated", "update"],
    ["page_deleted", "delete"],
  ] as const)("reads %s as %s of a page", ([triggerType, kind]) => {
    const payload = { siteId: "s1", pageId: "p1", pageTitle: "About", publishedPath: "/about" }
    expect(read({ triggerType, payload })).toEqual({
      reading: "events",
      events: [{ kind, type: "page", id: "p1", environment: "s1", topic: triggerType }],
    })
  })

  it.for([
    "form_submission",
    "comment_created",
    "page_created",
    "ecomm_new_order",
    "ecomm_order_changed",
    "user_account_added",
  ])("ignores %s, which no page shows", (triggerType) => {
    expect(read({ triggerType, payload: { id: "7", siteId: "s1" } })).toEqual({
      reading: "ignored",
      note: `${triggerType} changes nothing published`,
    })
  })

  it("reads what it does not know as an update of what it names", () => {
    const payload = { id: "sku-7", quantity: 3 }
    expect(read({ triggerType: "ecomm_inventory_changed", payload })).toEqual({
      reading: "events",
      events: [{ kind: "update", id: "sku-7", topic: "ecomm_inventory_changed" }],
    })
  })

  it.for([
    ["collection_item_unpublished", "unpublish"],
    ["collection_item_deleted", "delete"],
    ["page_deleted", "delete"],
  ] as const)("says of %s that it was %s, where it cannot say of what", ([triggerType, kind]) => {
    expect(read({ triggerType, payload: {} })).toMatchObject({ reading: "unreadable", kind })
  })

  it.for([
    [undefined],
    [[]],
    [{}],
    [{ _id: "v1", slug: "post" }],
    [{ triggerType: "collection_item_changed" }],
    [{ triggerType: "collection_item_deleted", payload: { itemId: "v1", deleted: 1 } }],
    [{ triggerType: "page_deleted", payload: {} }],
    [{ triggerType: "site_rewritten", payload: {} }],
  ])("cannot read %j", ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  })
})
