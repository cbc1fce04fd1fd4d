import { describe, expect, it } from "vitest"
import { contextOf, describeSource } from "./conformance.ts"
import { directus } from "./directus.ts"
import { unsigned } from "./testing/unsigned.ts"

describeSource(directus, unsigned)

const read = (body: unknown) =>
  directus.read({ body, headers: new Headers(), path: "/" }, contextOf("directus", "s3cret"))

/** What `{{$trigger}}` comes to, by the sources of Directus. */
const CREATED = {
  event: "posts.items.create",
  payload: { slug: "tides", status: "published" },
  key: 42,
  collection: "posts",
}
const UPDATED = {
  event: "posts.items.update",
  payload: { title: "Tides" },
  keys: ["42", "43"],
  collection: "posts",
}
const DELETED = { event: "posts.items.delete", payload: ["42"], keys: ["42"], collection: "posts" }

describe("what triggered a flow", () => {
  it("is one event for one key", () => {
    expect(read(CREATED)).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "posts", id: "42", slug: "tides", topic: "posts.items.create" }],
    })
  })

  it("is an event for each of several keys, of which no slug is told", () => {
    const told = { kind: "update", type: "posts", topic: "posts.items.update" }
    expect(read({ ...UPDATED, payload: { slug: "tides" } })).toEqual({
      reading: "events",
      events: [
        { ...told, id: "42" },
        { ...told, id: "43" },
      ],
    })
  })

  it.for([
    [CREATED, "update"],
    [UPDATED, "update"],
    [DELETED, "delete"],
    [{ ...CREATED, payload: { status: "draft" } }, "update"],
    [{ ...UPDATED, payload: { status: "published" } }, "update"],
    [{ ...UPDATED, payload: { status: "draft" } }, "unpublish"],
    [{ ...UPDATED, payload: { status: "archived" } }, "unpublish"],
    [{ ...UPDATED, payload: '{"status":"archived"}' }, "unpublish"],
    [{ ...UPDATED, payload: '{"status":"published"}' }, "update"],
    [{ ...UPDATED, payload: "{status" }, "update"],
    [{ ...UPDATED, event: "items.update" }, "update"],
    [{ ...UPDATED, event: "of-tomorrow" }, "update"],
    [{ event: "items.promote", collection: "posts", item: "42", version: "v2" }, "publish"],
    [{ event: "items.sort", collection: "posts", item: 42, to: 7 }, "update"],
  ] as const)("%j is %s", ([body, kind]) => {
    const reading = read(body)
    expect(reading).toHaveProperty("events.0.kind", kind)
    expect(reading).toHaveProperty("events.0.type", "posts")
    expect(reading).toHaveProperty("events.0.id", "42")
  })

  it("reads what a template wrote into a text as a whole", () => {
    expect(read(JSON.stringify(DELETED))).toEqual(read(DELETED))
  })

  it("reads the slug of a payload that a template wrote into a text", () => {
    expect(read({ ...UPDATED, keys: ["42"], payload: '{"slug":"tides"}' })).toMatchObject({
      events: [{ id: "42", slug: "tides" }],
    })
  })

  it.for([
    ["fields.update", "posts", "update"],
    ["fields.delete", "posts", "delete"],
    ["collections.update", "directus_collections", "update"],
    ["relations.create", "posts", "update"],
    ["items.update", "directus_fields", "update"],
  ] as const)("takes %s of %s for a change of the model", ([event, collection, kind]) => {
    expect(read({ event, collection, keys: ["title"] })).toEqual({
      reading: "events",
      events: [{ kind, isModel: true, type: collection, topic: event }],
    })
  })

  it("leaves a collection of one's own alone that is called so", () => {
    const reading = read({ event: "collections.items.update", collection: "collections", keys: ["1"] })
    expect(reading).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "collections", id: "1", topic: "collections.items.update" }],
    })
  })

  it("calls a file an asset", () => {
    const uploaded = {
      event: "files.upload",
      payload: { title: "Tide", uploaded_by: "8cbb43fe" },
      key: "f0c1",
      collection: "directus_files",
    }
    expect(read(uploaded)).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "asset", id: "f0c1", topic: "files.upload" }],
    })
  })

  it("is of the collection that its event names, where no other is told", () => {
    const { collection: _, ...untold } = DELETED
    expect(read(untold)).toMatchObject({ events: [{ kind: "delete", type: "posts" }] })
    expect(read({ ...untold, event: "items.delete" })).toMatchObject({
      reading: "unreadable",
      kind: "delete",
    })
  })
})

describe("keys", () => {
  it.for([
    [{ keys: ["a", "b"] }, ["a", "b"]],
    [{ keys: [1, 2] }, ["1", "2"]],
    [{ keys: "[1,2]" }, ["1", "2"]],
    [{ keys: '["a","b"]' }, ["a", "b"]],
    [{ keys: "a" }, ["a"]],
    [{ keys: 7 }, ["7"]],
    [{ keys: "[draft" }, ["[draft"]],
    [{ keys: "[9007199254740993]" }, ["9007199254740993"]],
    [{ key: "a" }, ["a"]],
    [{ key: "a", keys: null }, ["a"]],
    [{ key: "a", keys: ["a", "b"] }, ["a", "b"]],
    [{ keys: ["a"], item: "another" }, ["a"]],
  ] as const)("in %j are %j", ([told, ids]) => {
    expect(read({ event: "items.update", collection: "posts", ...told })).toMatchObject({
      events: ids.map((id) => ({ id })),
    })
  })

  it.for([
    {},
    { key: null },
    { key: "" },
    { keys: [] },
    { keys: "[]" },
    { keys: ["a", null] },
    { keys: ["a", ""] },
    { keys: ["a", { id: "b" }] },
    { keys: ["a", ["b"]] },
    { keys: {} },
    { keys: ["a"], key: { id: "b" } },
  ])("that are %j cannot be read, though what became of them is known", (told) => {
    expect(read({ event: "items.delete", collection: "posts", ...told })).toMatchObject({
      reading: "unreadable",
      kind: "delete",
    })
  })

  it("that are more than could be named cannot be read either", () => {
    const keys = Array.from({ length: 1_001 }, (_, index) => index)
    expect(read({ ...DELETED, keys })).toMatchObject({ reading: "unreadable", kind: "delete" })
    expect(read({ ...DELETED, keys: keys.slice(1) })).toMatchObject({ reading: "events" })
  })
})

it.for([[[]], [null], [{}], [{ collection: "posts", key: 1 }], ["{{$trigger}}"]])(
  "has no use for %j",
  ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  },
)
