import { describe, expect, it } from "vitest"
import { builderIo } from "./builder-io.ts"
import { contextOf, describeSource } from "./conformance.ts"
import { unsigned } from "./testing/unsigned.ts"

describeSource(builderIo, unsigned)

const read = (body: unknown) =>
  builderIo.read({ body, headers: new Headers(), path: "/" }, contextOf("builder-io", "s3cret"))

const content = (published: string | undefined, data: Record<string, unknown> = {}) => ({
  id: "cs3df",
  published,
  name: "My great page",
  data,
})

describe("reading", () => {
  it("reads the documented sample, in which what is published calls itself a draft", () => {
    const newValue = content("draft", { property: "value" })
    expect(read({ newValue, previousValue: {}, modelName: "page", operation: "publish" })).toEqual({
      reading: "events",
      events: [{ kind: "publish", type: "page", id: "cs3df", topic: "publish" }],
    })
  })

  it.for([
    ["publish", "publish"],
    ["scheduledStart", "publish"],
    ["unpublish", "unpublish"],
    ["archive", "unpublish"],
    ["scheduledEnd", "unpublish"],
    ["delete", "delete"],
    ["ofTomorrow", "update"],
    ["constructor", "update"],
  ] as const)("reads %s as %s", ([operation, kind]) => {
    expect(read({ newValue: content("published"), previousValue: null, operation })).toMatchObject({
      events: [{ kind, topic: operation }],
    })
  })

  it("tells where a page was, and where it is now", () => {
    const body = { modelName: "page", operation: "publish" }
    const at = (url: unknown) => content("published", { url })
    expect(read({ ...body, newValue: at("/tides"), previousValue: at("/waves") })).toMatchObject({
      events: [{ slug: "/tides", previousSlug: "/waves" }],
    })
    const same = read({ ...body, newValue: at("/tides"), previousValue: at("/tides") })
    expect(same).toHaveProperty("events.0.slug", "/tides")
    expect(same).not.toHaveProperty("events.0.previousSlug")
  })

  it("is an event for each path of a page that has several", () => {
    const body = { modelName: "page", operation: "publish" }
    const at = (url: unknown) => content("published", { url })
    const told = { kind: "publish", type: "page", id: "cs3df", topic: "publish" }
    expect(read({ ...body, newValue: at(["/a", "/b"]), previousValue: at("/a") })).toEqual({
      reading: "events",
      events: [
        { ...told, slug: "/a" },
        { ...told, slug: "/b" },
      ],
    })
    const localized = { "@type": "@builder.io/core:LocalizedValue", Default: "/a", de: "/b" }
    expect(read({ ...body, newValue: at(localized), previousValue: null })).toMatchObject({
      events: [{ slug: "/a" }, { slug: "/b" }],
    })
    expect(read({ newValue: null, previousValue: at(["/a", "/b"]), operation: "delete" })).toMatchObject({
      events: [{ kind: "delete", slug: "/a" }, { slug: "/b" }],
    })
  })

  it("tells of a deletion what was there", () => {
    const previousValue = content("published", { url: "/tides" })
    for (const operation of ["delete", undefined]) {
      const reading = read({ newValue: null, previousValue, modelName: "page", operation })
      expect(reading).toMatchObject({
        events: [{ kind: "delete", type: "page", id: "cs3df", slug: "/tides" }],
      })
      expect(reading).not.toHaveProperty("events.0.previousSlug")
    }
  })
})

describe("a body without an operation", () => {
  it.for([
    ["published", null, "update"],
    ["published", "published", "update"],
    ["published", "draft", "update"],
    [undefined, undefined, "update"],
    ["draft", "published", "unpublish"],
    ["archived", "published", "unpublish"],
    ["draft", null, "unpublish"],
    ["draft", undefined, "unpublish"],
  ] as const)("that is %s after %s is %s", ([now, before, kind]) => {
    const previousValue = before === null ? null : before && content(before)
    expect(read({ newValue: content(now), previousValue })).toMatchObject({ events: [{ kind }] })
  })

  it.for([
    ["draft", "draft"],
    ["archived", "draft"],
  ] as const)("that is %s after %s is a draft's affair", ([now, before]) => {
    expect(read({ newValue: content(now), previousValue: content(before) })).toMatchObject({
      reading: "ignored",
    })
  })
})

describe("what has no content", () => {
  it.for([
    ["publish", "publish"],
    ["unpublish", "unpublish"],
    ["delete", "delete"],
  ] as const)("by %s, cannot be read, though what became of it is known", ([operation, kind]) => {
    // As the switch "Disable Payload" makes it.
    expect(read({ operation, modelName: "page" })).toMatchObject({ reading: "unreadable", kind })
    expect(read({ operation, newValue: null, previousValue: null })).toMatchObject({
      reading: "unreadable",
      kind,
    })
  })

  it.for([[[]], [null], [{}], ["x"], [{ newValue: {} }]])("has no use for %j", ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  })
})
