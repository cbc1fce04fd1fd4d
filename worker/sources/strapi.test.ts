import { describe, expect, it } from "vitest"
import { contextOf, describeSource } from "./conformance.ts"
import { strapi } from "./strapi.ts"
import { unsigned } from "./testing/unsigned.ts"

describeSource(strapi, unsigned)

const read = (body: unknown, headers: Record<string, string> = {}) =>
  strapi.read({ body, headers: new Headers(headers), path: "/" }, contextOf("strapi", "s3cret"))

/** As Strapi 4 documents and sends it. */
const V4 = {
  id: 1,
  city: "Paris",
  createdAt: "2020-01-10T08:47:36.264Z",
  updatedAt: "2020-01-10T08:58:26.210Z",
  publishedAt: "2020-08-29T14:20:12.134Z",
  locale: "fr",
  slug: "paris",
}
const V5 = { ...V4, id: 17, documentId: "znrlzntu9ei5onjvwfaalu2v" }
const DRAFT = { publishedAt: null }

const delivery = (event: string, entry: unknown) => ({
  event,
  createdAt: "2020-01-10T08:59:35.796Z",
  model: "address",
  uid: "api::address.address",
  entry,
})

describe("an entry", () => {
  it("of Strapi 4 is known by its id", () => {
    expect(read(delivery("entry.publish", V4))).toEqual({
      reading: "events",
      events: [
        { kind: "publish", type: "address", id: "1", locale: "fr", slug: "paris", topic: "entry.publish" },
      ],
    })
  })

  it("of Strapi 5 is known by what its drafts and locales share", () => {
    expect(read(delivery("entry.publish", { ...V5, locale: null }))).toEqual({
      reading: "events",
      events: [
        { kind: "publish", type: "address", id: V5.documentId, slug: "paris", topic: "entry.publish" },
      ],
    })
  })

  it.for([
    ["entry.publish", V4, "publish"],
    ["entry.create", V4, "update"],
    ["entry.update", V4, "update"],
    ["entry.update", { ...V4, ...DRAFT }, "unpublish"],
    ["entry.unpublish", { ...V4, ...DRAFT }, "unpublish"],
    ["entry.delete", { ...V4, ...DRAFT }, "delete"],
    ["entry.delete", V5, "delete"],
    ["entry.update", { id: 1 }, "update"],
    ["entry.update", V5, "update"],
    ["entry.update", { ...V5, ...DRAFT, documentId: "not Strapi's" }, "unpublish"],
    ["entry.unpublish", { ...V5, ...DRAFT }, "unpublish"],
    ["entry.publish", { ...V5, ...DRAFT }, "publish"],
    ["entry.of-tomorrow", V4, "update"],
    ["plugin.something", V4, "update"],
  ] as const)("by %s of %j is %s", ([event, entry, kind]) => {
    expect(read(delivery(event, entry))).toMatchObject({ events: [{ kind }] })
  })

  it.for([
    ["entry.create", { ...V4, ...DRAFT }],
    ["entry.create", { ...V5, ...DRAFT }],
    ["entry.update", { ...V5, ...DRAFT }],
    ["entry.draft-discard", { ...V5, ...DRAFT }],
    ["entry.draft-discard", V5],
  ] as const)("by %s of %j is a draft's affair", ([event, entry]) => {
    expect(read(delivery(event, entry))).toMatchObject({ reading: "ignored" })
  })

  it("is of the type that its uid ends in, where no model is told", () => {
    expect(read({ event: "entry.update", uid: "api::loyalty-page.loyalty-page", entry: V4 })).toMatchObject({
      events: [{ type: "loyalty-page" }],
    })
  })

  it("is told by the header where the body does not", () => {
    const { event: _, ...untold } = delivery("", V4)
    expect(read(untold, { "x-strapi-event": "entry.delete" })).toMatchObject({ events: [{ kind: "delete" }] })
  })

  // https://github.com/strapi/strapi/issues/25387
  it.for([
    ["entry.publish", "publish"],
    ["entry.update", "update"],
    ["entry.delete", "delete"],
  ] as const)("that %s leaves out cannot be read, though what became of it is known", ([event, kind]) => {
    for (const entry of [null, undefined, {}, "x", []]) {
      expect(read(delivery(event, entry))).toMatchObject({ reading: "unreadable", kind })
    }
  })
})

it.for([
  ["media.create", "update"],
  ["media.update", "update"],
  ["media.delete", "delete"],
] as const)("%s is of an asset", ([event, kind]) => {
  expect(read({ event, media: { id: 9, url: "/uploads/tide.jpg", createdBy: { email: "a@b.c" } } })).toEqual({
    reading: "events",
    events: [{ kind, type: "asset", id: "9", topic: event }],
  })
  expect(read({ event, media: null })).toMatchObject({ reading: "unreadable", kind })
})

it.for([true, false])("a release names none of its entries, published or not: %s", (isPublished) => {
  const release = { id: 2, name: "Spring", actions: { count: 1 } }
  expect(read({ event: "releases.publish", isPublished, release })).toEqual({
    reading: "events",
    events: [{ kind: "publish", type: "release", topic: "releases.publish" }],
  })
})

it.for(["trigger-test", "review-workflows.updateEntryStage"])("%s is nothing published", (event) => {
  expect(read({ event, createdAt: "2020-01-10T08:59:35.796Z", model: "address", entry: V4 })).toMatchObject({
    reading: "ignored",
  })
})

it.for([[[]], [null], ["x"], [{}], [{ event: "something.else" }], [{ event: 1 }], [{ event: ["entry"] }]])(
  "has no use for %j",
  ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  },
)
