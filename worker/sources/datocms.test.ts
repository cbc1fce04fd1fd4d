import { describe, expect, it } from "vitest"
import { utf8 } from "../../protocol/bytes.ts"
import type { Resolved } from "../../protocol/config/config.ts"
import type { SourceConfig } from "../../protocol/config/schema.ts"
import { contextOf, describeSource } from "./conformance.ts"
import { datocms } from "./datocms.ts"
import { unsigned } from "./testing/unsigned.ts"

describeSource(datocms, unsigned)

describe("how a repetition is known", () => {
  const verify = async (body: string) => {
    const delivery = await unsigned.sign("s3cret", body, 0)
    return datocms.verify(delivery, contextOf("datocms", "s3cret", unsigned.options))
  }

  it("by the call's id together with the body", async () => {
    expect(await verify('{"webhook_call_id":"103216210","entity_type":"item"}')).toEqual({
      verdict: "verified",
      deliveryId: "103216210",
      replay: "body-hash",
    })
  })

  it.for(["{}", "no JSON", "", "[]", '{"entity":{"webhook_call_id":"1"}}', '{"webhook_call_id":null}'])(
    "not at all by %j",
    async (body) => {
      expect(await verify(body)).toEqual({ verdict: "verified", replay: "none" })
    },
  )

  it("is no way in without the secret", async () => {
    const delivery = { ...(await unsigned.sign("s3cret", "{}", 0)), body: utf8('{"webhook_call_id":"1"}') }
    const verification = await datocms.verify(delivery, contextOf("datocms", "other", unsigned.options))
    expect(verification).toMatchObject({ verdict: "invalid" })
  })
})

const read = (body: unknown, options: Partial<Resolved<SourceConfig>> = {}) =>
  datocms.read({ body, headers: new Headers(), path: "/" }, contextOf("datocms", "s3cret", options))

const MODEL = "Dq4WEbdjStWIeSeH_lBA-Q"
const item = (status: string | null | undefined, attributes: Record<string, unknown> = {}) => ({
  id: "Ke9nrZ4iRHWpKbJplG_zdQ",
  type: "item",
  attributes,
  relationships: {
    item_type: { data: { id: MODEL, type: "item_type" } },
    creator: { data: { id: "104280", type: "account" } },
  },
  meta: { status, current_version: "QXuPXVc6SDmXcDh1MnImHQ" },
})

/** As DatoCMS documents it. */
const delivery = (entity_type: string, event_type: string, more: Record<string, unknown> = {}) => ({
  webhook_call_id: "103216210",
  event_triggered_at: "2024-08-26T12:49:16Z",
  attempted_auto_retries_count: 0,
  environment: "main",
  is_environment_primary: true,
  entity_type,
  event_type,
  related_entities: [
    { id: "another", type: "item_type", attributes: { api_key: "nested_block" } },
    { id: MODEL, type: "item_type", attributes: { name: "ExampleModel", api_key: "example_model" } },
  ],
  ...more,
})

describe("a record", () => {
  it("is told with its model, and with its slug now and before", () => {
    const entity = item("published", { slug: "tides" })
    const previous_entity = item("published", { slug: "waves" })
    expect(read(delivery("item", "publish", { entity, previous_entity }))).toEqual({
      reading: "events",
      events: [
        {
          kind: "publish",
          type: "example_model",
          id: "Ke9nrZ4iRHWpKbJplG_zdQ",
          slug: "tides",
          previousSlug: "waves",
          version: "QXuPXVc6SDmXcDh1MnImHQ",
          topic: "item.publish",
          environment: "main",
        },
      ],
    })
  })

  it("has no previous slug that is the present one", () => {
    const same = item("published", { slug: "tides" })
    const reading = read(delivery("item", "update", { entity: same, previous_entity: same }))
    expect(reading).not.toHaveProperty("events.0.previousSlug")
  })

  it("with a localised slug is an event for each locale that it has, or had", () => {
    const entity = item("published", { slug: { en: "tides", de: "gezeiten", fr: null } })
    const previous_entity = item("published", { slug: { en: "tides", de: "ebbe", it: "maree" } })
    const told = {
      kind: "update",
      type: "example_model",
      id: entity.id,
      version: entity.meta.current_version,
      topic: "item.update",
      environment: "main",
    }
    expect(read(delivery("item", "update", { entity, previous_entity }))).toEqual({
      reading: "events",
      events: [
        { ...told, locale: "en", slug: "tides" },
        { ...told, locale: "de", slug: "gezeiten", previousSlug: "ebbe" },
        { ...told, locale: "fr" },
        { ...told, locale: "it", previousSlug: "maree" },
      ],
    })
    const none = read(delivery("item", "update", { entity: item("published", { slug: {} }) }))
    expect(none).toMatchObject({ events: [{ id: entity.id }] })
  })

  it("is of its model's id where no model is told along", () => {
    for (const related_entities of [[], undefined, [{ id: "another", type: "item_type" }]]) {
      expect(
        read(delivery("item", "publish", { entity: item("published"), related_entities })),
      ).toMatchObject({ events: [{ type: MODEL }] })
    }
  })

  it.for([
    ["publish", "published", undefined, "publish"],
    ["unpublish", "draft", undefined, "unpublish"],
    ["delete", "published", undefined, "delete"],
    ["delete", "draft", undefined, "delete"],
    ["create", "published", undefined, "update"],
    ["update", "published", "published", "update"],
    ["update", null, undefined, "update"],
    ["update", undefined, undefined, "update"],
    ["update", "draft", "published", "unpublish"],
    ["update", "draft", "updated", "unpublish"],
    ["update", "draft", undefined, "unpublish"],
    ["of tomorrow", "published", undefined, "update"],
  ] as const)("by %s, %s after %s, is %s", ([event, status, before, kind]) => {
    const previous_entity = before && item(before)
    expect(read(delivery("item", event, { entity: item(status), previous_entity }))).toMatchObject({
      events: [{ kind }],
    })
  })

  it.for([
    ["create", "draft", undefined],
    ["update", "draft", "draft"],
    ["update", "updated", "published"],
    ["update", "updated", undefined],
  ] as const)("by %s, %s after %s, is a draft's affair", ([event, status, before]) => {
    const previous_entity = before && item(before)
    expect(read(delivery("item", event, { entity: item(status), previous_entity }))).toMatchObject({
      reading: "ignored",
    })
  })

  it("that is missing cannot be read, though what became of it is known", () => {
    expect(read(delivery("item", "delete"))).toMatchObject({ reading: "unreadable", kind: "delete" })
    expect(read(delivery("item", "publish", { entity: null }))).toMatchObject({ reading: "unreadable" })
  })
})

describe("an environment", () => {
  const sandbox = delivery("item", "publish", {
    entity: item("published"),
    environment: "sandbox",
    is_environment_primary: false,
  })

  it("that is not the primary one is ignored", () => {
    expect(read(sandbox)).toMatchObject({ reading: "ignored" })
    const tags = { entity: { attributes: { tags: ["a"] } }, is_environment_primary: false }
    expect(read(delivery("cda_cache_tags", "invalidate", tags))).toMatchObject({ reading: "ignored" })
  })

  it("that is not the primary one counts where environments are configured", () => {
    expect(read(sandbox, { environments: ["sandbox"] })).toMatchObject({
      events: [{ kind: "publish", environment: "sandbox" }],
    })
  })

  it("that is promoted changes everything, whatever it is called", () => {
    const promoted = delivery("environment", "promote", {
      entity: { id: "main-2", type: "environment" },
      environment: "main-2",
      is_environment_primary: false,
    })
    expect(read(promoted, { environments: ["main"] })).toEqual({
      reading: "events",
      events: [{ kind: "update", isModel: true, topic: "environment.promote" }],
    })
    expect(read(delivery("environment", "delete"))).toMatchObject({ reading: "ignored" })
  })
})

describe("cache tags", () => {
  it("are tags as they are, whatever characters they have", () => {
    // The sample of https://www.datocms.com/docs/content-delivery-api/cache-tags-invalidation
    const body = {
      entity_type: "cda_cache_tags",
      event_type: "invalidate",
      entity: {
        id: "cda_cache_tags",
        type: "cda_cache_tags",
        attributes: { tags: ["N*r;L", "6-KZ@", "t#k[uP"] },
      },
      related_entities: [],
    }
    expect(read(body)).toEqual({
      reading: "events",
      events: [{ kind: "tags", tags: ["N*r;L", "6-KZ@", "t#k[uP"], topic: "cda_cache_tags.invalidate" }],
    })
  })

  it.for([[[]], ["a b"], [null], [["a", 1]], [undefined]])("that are %j cannot be read", ([tags]) => {
    const entity = { attributes: { tags } }
    expect(read(delivery("cda_cache_tags", "invalidate", { entity }))).toMatchObject({
      reading: "unreadable",
    })
  })
})

describe("what is no record", () => {
  it.for([
    ["create", "update"],
    ["update", "update"],
    ["delete", "delete"],
  ] as const)("an upload, by %s, is %s of an asset", ([event, kind]) => {
    expect(read(delivery("upload", event, { entity: { id: "42", type: "upload" } }))).toMatchObject({
      events: [{ kind, type: "asset", id: "42" }],
    })
    expect(read(delivery("upload", event))).toMatchObject({ reading: "unreadable", kind })
  })

  it("a model concerns everything, in one event", () => {
    const entity = { id: MODEL, attributes: { api_key: "article" } }
    const previous_entity = { id: MODEL, attributes: { api_key: "post" } }
    const told = { kind: "update", isModel: true, topic: "item_type.update", environment: "main" }
    expect(read(delivery("item_type", "update", { entity, previous_entity }))).toEqual({
      reading: "events",
      events: [{ ...told, type: "article" }],
    })
    expect(read(delivery("item_type", "update", { entity: { id: MODEL } }))).toMatchObject({
      events: [{ isModel: true, type: MODEL }],
    })
    expect(read(delivery("item_type", "create", { entity }))).toMatchObject({ reading: "ignored" })
    expect(read(delivery("item_type", "delete"))).toMatchObject({
      events: [{ kind: "delete", isModel: true }],
    })
  })

  it("a build that succeeded is a deploy", () => {
    expect(read(delivery("build_trigger", "deploy_succeeded", { entity: { id: "7" } }))).toEqual({
      reading: "events",
      events: [{ kind: "deploy", topic: "build_trigger.deploy_succeeded", environment: "main" }],
    })
  })

  it.for([
    ["build_trigger", "deploy_started"],
    ["build_trigger", "deploy_failed"],
    ["maintenance_mode", "change"],
    ["sso_user", "create"],
  ] as const)("%s.%s is ignored", ([entity, event]) => {
    expect(read(delivery(entity, event))).toMatchObject({ reading: "ignored" })
  })
})

it.for([[[]], [null], [{}], [{ entity_type: "item" }], [delivery("of", "tomorrow")], [{ message: "mine" }]])(
  "has no use for %j",
  ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  },
)
