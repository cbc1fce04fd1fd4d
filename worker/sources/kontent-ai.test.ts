import { describe, expect, it } from "vitest"
import { hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { kontentAi } from "./kontent-ai.ts"
import type { Delivery } from "./source.ts"

const SECRET = "hx3snVrI9E2Lgpi1LaL+WfiPWCh88OjI7Bv/3ihq+Qo="
const OTHER = "BHPyfqwSy1iJjcscOB+GSkDf9THrBlfcKkwtADJdbP4="
const NOW: Milliseconds = 1_767_225_600_000

/** Signs as Kontent.ai does, spelt out here once more rather than shared with what is tested. */
async function sign(secret: string, body: string): Promise<Delivery> {
  const mac = toBase64(await hmac("SHA-256", utf8(secret), utf8(body)))
  const headers = new Headers({ "x-kontent-ai-signature": mac })
  return { method: "POST", path: "/v1/hooks/kontent-main", headers, body: utf8(body) }
}

const change = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, {
    "x-kontent-ai-signature": edit(delivery.headers.get("x-kontent-ai-signature") ?? ""),
  })

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

describeSource(kontentAi, {
  secrets: [SECRET, OTHER],
  sign,
  signedHeaders: ["x-kontent-ai-signature"],
  signsPath: false,
  spoilt: {
    "base64 whose unused bits are set": change((value) =>
      value.replace(/(.)=$/, (_, last: string) => `${ALPHABET[ALPHABET.indexOf(last) ^ 1]}=`),
    ),
    "base64 without its padding": change((value) => value.slice(0, -1)),
    "two signatures": change((value) => `${value}, ${value}`),
    "a signature in hex": change((value) =>
      Array.from(value, (char) => char.charCodeAt(0).toString(16)).join(""),
    ),
    "a line end that was not signed": (delivery) => ({
      ...delivery,
      body: utf8(`${new TextDecoder().decode(delivery.body)}\r\n`),
    }),
  },
  vectors: vectorsOf("kontent-ai"),
})

describe("verification", () => {
  const context = contextOf("kontent-ai", SECRET)
  const verify = async (delivery: Delivery) => kontentAi.verify(delivery, context)

  it("knows no repetition: two publishes of the same content may read the same", async () => {
    expect(await verify(await sign(SECRET, "{}"))).toEqual({ verdict: "verified", replay: "none" })
  })

  it.for(["{\n}", "{\r}", "{\r\n}", "{\n\n}", "{\r\n\r\n}"])(
    "takes %j for what was signed with the sender's line ends, however a proxy wrote them",
    async (body) => {
      const signed = await sign(SECRET, "{\r\n}")
      expect(await verify({ ...signed, body: utf8(body) })).toMatchObject({ verdict: "verified" })
    },
  )

  it.for(["{}", "{ }", "{\r\n }", "{\r\n\t}", "\r\n{}"])("takes %j for nothing else", async (body) => {
    const signed = await sign(SECRET, "{\r\n}")
    expect(await verify({ ...signed, body: utf8(body) })).toMatchObject({ verdict: "invalid" })
  })

  it("takes other line ends where those were signed", async () => {
    expect(await verify(await sign(SECRET, "{\n}"))).toMatchObject({ verdict: "verified" })
  })

  it("takes the older name of the header, but does not fall back to it", async () => {
    const signed = await sign(SECRET, "{}")
    const mac = signed.headers.get("x-kontent-ai-signature") ?? ""
    const older = withHeaders(signed, { "x-kontent-ai-signature": undefined, "x-kc-signature": mac })
    expect(await verify(older)).toMatchObject({ verdict: "verified" })
    expect(await verify(withHeaders(older, { "x-kontent-ai-signature": "no" }))).toMatchObject({
      verdict: "invalid",
    })
  })
})

const read = (body: unknown) =>
  kontentAi.read({ body, headers: new Headers(), path: "/" }, contextOf("kontent-ai", SECRET, { at: NOW }))

const SYSTEM = {
  id: "aa7f127f",
  name: "This changes everything!",
  codename: "this_changes_everything_",
  collection: "marketing",
  language: "de",
  type: "product_update",
  last_modified: "2024-03-25T07:55:57.0563735Z",
}
const told = (object_type: string, action: string, delivery_slot = "published", system: object = SYSTEM) => ({
  data: { system },
  message: { environment_id: "0f5b6cb2", object_type, action, delivery_slot },
})
const COMMON = { version: SYSTEM.last_modified, environment: "0f5b6cb2" }

describe("reading", () => {
  it("reads a publish", () => {
    expect(read({ notifications: [told("content_item", "published")] })).toEqual({
      reading: "events",
      events: [
        {
          ...COMMON,
          kind: "publish",
          type: "product_update",
          id: "aa7f127f",
          locale: "de",
          topic: "content_item.published",
        },
      ],
    })
  })

  it.for([
    ["content_item", "published", "publish"],
    ["content_item", "unpublished", "unpublish"],
    ["content_item", "metadata_changed", "update"],
    ["content_item", "deleted", "delete"],
    ["content_item", "rewritten", "update"],
    ["asset", "created", "update"],
    ["asset", "metadata_changed", "update"],
    ["asset", "deleted", "delete"],
  ] as const)("reads %s.%s as %s", ([objectType, action, kind]) => {
    expect(read({ notifications: [told(objectType, action)] })).toMatchObject({
      events: [{ kind, id: "aa7f127f", topic: `${objectType}.${action}` }],
    })
  })

  it("calls an asset an asset, whose language is none", () => {
    expect(read({ notifications: [told("asset", "deleted")] })).toEqual({
      reading: "events",
      events: [{ ...COMMON, kind: "delete", type: "asset", id: "aa7f127f", topic: "asset.deleted" }],
    })
  })

  it.for([
    ["content_type", "changed", "article", "update"],
    ["content_type", "deleted", "article", "delete"],
    ["taxonomy", "term_changed", "taxonomy", "update"],
    ["taxonomy", "deleted", "taxonomy", "delete"],
    ["language", "changed", "language", "update"],
    ["collection", "changed", "collection", "update"],
  ] as const)("takes %s.%s for a change of the model", ([objectType, action, type, kind]) => {
    const notification = told(objectType, action, "published", { ...SYSTEM, codename: "article" })
    expect(read({ notifications: [notification] })).toEqual({
      reading: "events",
      events: [{ ...COMMON, kind, isModel: true, type, topic: `${objectType}.${action}` }],
    })
  })

  it("reads every notification, and leaves out those of the preview", () => {
    const notifications = [
      told("content_item", "workflow_step_changed", "preview"),
      told("content_item", "published"),
      told("content_item", "deleted", "preview"),
      told("asset", "deleted"),
    ]
    expect(read({ notifications })).toMatchObject({ events: [{ kind: "publish" }, { kind: "delete" }] })
    expect(read({ notifications: notifications.filter((_, index) => index % 2 === 0) })).toEqual({
      reading: "ignored",
      note: "the preview alone changes nothing published",
    })
  })

  it("takes a slot that it does not know for a published one", () => {
    expect(read({ notifications: [told("content_item", "published", "draft")] })).toMatchObject({
      events: [{ kind: "publish" }],
    })
  })

  it("reads the deliveries whose signatures are known", () => {
    const readings = vectorsOf("kontent-ai").map(({ body }) => read(JSON.parse(body)))
    expect(readings).toMatchObject([
      { reading: "ignored" },
      { events: [{ kind: "publish", type: "product_update", locale: "default" }] },
    ])
  })

  it("says that something is gone, where it cannot read all of it", () => {
    for (const [action, kind] of [
      ["unpublished", "unpublish"],
      ["deleted", "delete"],
    ] as const) {
      expect(read({ notifications: [told("content_item", action), {}] })).toMatchObject({
        reading: "unreadable",
        kind,
      })
      const without = read({ notifications: [told("content_item", action, "preview"), {}] })
      expect(without).toMatchObject({ reading: "unreadable" })
      expect(without).not.toHaveProperty("kind")
    }
  })

  it.for([
    ["unpublish", "unpublish"],
    ["archive", "unpublish"],
    ["delete", "delete"],
    ["publish", undefined],
    ["upsert", undefined],
  ] as const)("says of what older webhooks %s that it is %s", ([operation, kind]) => {
    const data = { items: [{ id: "a", codename: "b", language: "default", type: "article" }] }
    const reading = read({ data, message: { type: "content_item_variant", operation } })
    expect(reading).toEqual({ reading: "unreadable", note: expect.any(String), ...(kind && { kind }) })
  })

  it.for([
    [undefined],
    [[]],
    [{}],
    [{ notifications: [] }],
    [{ notifications: [null] }],
    [{ notifications: [told("content_item", "published"), {}] }],
    [{ notifications: [told("content_item", "deleted", "preview"), { data: { system: SYSTEM } }] }],
    [{ notifications: [{ message: { object_type: "content_item" } }] }],
    // What the webhooks that were made before December 2023 send.
    [
      {
        data: { items: [{ id: "a", codename: "b" }] },
        message: { type: "content_item_variant", operation: "publish" },
      },
    ],
  ])("cannot read %j", ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  })
})
