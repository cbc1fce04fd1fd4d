import { describe, expect, it } from "vitest"
import { hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { MINUTE, type Milliseconds } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { derive } from "../routes/hooks.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { sanity } from "./sanity.ts"
import type { Delivery } from "./source.ts"

const SECRET = "tide-and-time"
const OTHER = "wait-for-no-one"
const NOW: Milliseconds = 1_767_225_600_000

/** Signs as Sanity does, spelt out here once more rather than shared with what is tested. */
async function sign(secret: string, body: string, at: Milliseconds | string): Promise<Delivery> {
  const mac = toBase64(await hmac("SHA-256", utf8(secret), utf8(`${at}.${body}`)))
  const encoded = mac.replaceAll("+", "-").replaceAll("/", "_").replace("=", "")
  const headers = new Headers({ "sanity-webhook-signature": `t=${at},v1=${encoded}` })
  return { method: "POST", path: "/v1/hooks/sanity-main", headers, body: utf8(body) }
}

const change = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, {
    "sanity-webhook-signature": edit(delivery.headers.get("sanity-webhook-signature") ?? ""),
  })

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

describeSource(sanity, {
  secrets: [SECRET, OTHER],
  sign,
  signedHeaders: ["sanity-webhook-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
  spoilt: {
    "base64url whose unused bits are set": change((value) => {
      const last = ALPHABET.indexOf(value.at(-1) ?? "")
      return `${value.slice(0, -1)}${ALPHABET[last ^ 1]}`
    }),
    "base64url with its padding": change((value) => `${value}=`),
    "a signature that is too short": change((value) => value.slice(0, -1)),
    "two signatures": change((value) => `${value}, ${value}`),
    "a version that nobody knows": change((value) => value.replace("v1", "v5")),
    "a timestamp in seconds": change((value) => value.replace("000,", ",")),
    "a timestamp with a leading zero": change((value) => value.replace("t=", "t=0")),
    "no timestamp": change((value) => value.replace(/^t=\d+,/, "")),
  },
  vectors: vectorsOf("sanity"),
})

/** As a source whose `auth` says that a function of Sanity carries the secret. */
describe("a carried secret", () => {
  describeSource(sanity, {
    secrets: [SECRET, OTHER],
    sign: async (secret, body) => {
      const headers = new Headers({ "x-tidemark-secret": secret })
      return { method: "POST", path: "/v1/hooks/sanity-tags", headers, body: utf8(body) }
    },
    signedHeaders: ["x-tidemark-secret"],
    signsPath: false,
    signsBody: false,
    options: { auth: "header:x-tidemark-secret" },
    spoilt: {
      "a signature instead": (delivery) =>
        withHeaders(delivery, {
          "x-tidemark-secret": undefined,
          "sanity-webhook-signature": `t=${NOW},v1=a`,
        }),
    },
    vectors: [],
  })

  it("is out of reach of rules and reading, where the body carries it", async () => {
    const source = { type: "sanity", secret: { secret: "SANITY" }, namespace: "blog", auth: "body" } as const
    const rules = [{ tags: ["{tags?}", "{field:/secret?}"] }]
    const config = parseConfig({ namespaces: { blog: {} }, sources: { cms: { ...source, rules } } })
    const delivery = {
      method: "POST",
      path: "/v1/hooks/cms",
      headers: new Headers(),
      body: utf8(JSON.stringify({ secret: SECRET, tags: ["s1:a"] })),
    }
    const context = contextOf("sanity", SECRET, { auth: "body", rules })
    expect(await sanity.verify(delivery, context)).toMatchObject({ verdict: "verified" })
    const { invalidations } = derive(config, "cms", sanity, delivery, context)
    expect(invalidations).toMatchObject([{ namespace: "blog", tags: ["s1:a"] }])
  })

  it("is no substitute where the source goes by signatures", async () => {
    const signed = await sign(SECRET, "{}", NOW)
    const bearer = { authorization: `Bearer ${SECRET}`, "sanity-webhook-signature": undefined }
    const carried = withHeaders(signed, bearer)
    expect(await sanity.verify(carried, contextOf("sanity", SECRET))).toMatchObject({ verdict: "invalid" })
    const context = contextOf("sanity", SECRET, { auth: "bearer" })
    expect(await sanity.verify(carried, context)).toEqual({ verdict: "verified", replay: "none" })
    expect(await sanity.verify(signed, context)).toMatchObject({ verdict: "invalid" })
  })
})

it.for(["1767225600", "01767225600000", "1767225600000.0", "+1767225600000", "1e12"])(
  "refuses the timestamp %j, though it is rightly signed",
  async (timestamp) => {
    const delivery = await sign(SECRET, "{}", timestamp)
    expect(await sanity.verify(delivery, contextOf("sanity", SECRET))).toMatchObject({ verdict: "invalid" })
  },
)

describe("by what a repetition is known", () => {
  const context = contextOf("sanity", SECRET)

  it("its key together with the body, as the key is not signed", async () => {
    const delivery = withHeaders(await sign(SECRET, '{"_id":"a"}', NOW), { "idempotency-key": "k-1" })
    expect(await sanity.verify(delivery, context)).toEqual({
      verdict: "verified",
      deliveryId: "k-1",
      replay: "body-hash",
    })
  })

  it("no more than its signature, where there is no key: two changes of a document may read the same", async () => {
    const [first, second] = [
      await sign(SECRET, '{"_id":"a"}', NOW),
      await sign(SECRET, '{"_id":"a"}', NOW + 1),
    ]
    const verified = await sanity.verify(first, context)
    expect(verified).toEqual({
      verdict: "verified",
      deliveryId: first.headers.get("sanity-webhook-signature")?.split("v1=")[1],
      replay: "delivery-id",
    })
    expect(await sanity.verify(second, context)).not.toEqual(verified)
  })
})

const read = (body: unknown, headers: Record<string, string> = {}, fields?: Record<string, string>) =>
  sanity.read(
    { body, headers: new Headers(headers), path: "/" },
    contextOf("sanity", SECRET, fields ? { fields } : {}),
  )

/** What the projection of the documentation gives. */
const POST = {
  _id: "5f2c1d7e",
  _type: "post",
  _rev: "u1Q",
  operation: "update",
  slug: "spring-tides",
  previousSlug: "spring-tides",
  locale: "en",
  dataset: "production",
}
const TOLD = {
  type: "post",
  id: "5f2c1d7e",
  locale: "en",
  version: "u1Q",
  environment: "production",
}

describe("reading", () => {
  it("reads an update, which published the document anew", () => {
    expect(read(POST)).toEqual({
      reading: "events",
      events: [{ ...TOLD, kind: "update", topic: "update", slug: "spring-tides" }],
    })
  })

  it("reads a rename with both its slugs", () => {
    expect(read({ ...POST, previousSlug: "tides" })).toEqual({
      reading: "events",
      events: [{ ...TOLD, kind: "update", topic: "update", slug: "spring-tides", previousSlug: "tides" }],
    })
  })

  it("reads a first publish, which has no earlier slug", () => {
    expect(read({ ...POST, operation: "create", previousSlug: null })).toEqual({
      reading: "events",
      events: [{ ...TOLD, kind: "publish", topic: "create", slug: "spring-tides" }],
    })
  })

  it("reads a deletion, by the slug that was", () => {
    expect(read({ ...POST, operation: "delete", slug: null })).toMatchObject({
      events: [{ kind: "delete", slug: "spring-tides", previousSlug: "spring-tides" }],
    })
    expect(read({ ...POST, slug: null })).toMatchObject({
      events: [{ kind: "update", previousSlug: "spring-tides" }],
    })
  })

  it.for([
    [{ operation: "delete" }, { "sanity-operation": "update" }, "delete"],
    [{}, { "sanity-operation": "delete" }, "delete"],
    [{}, { "sanity-operation": "create" }, "publish"],
    [{}, {}, "update"],
    [{ operation: "rewrite" }, {}, "update"],
    [{ operation: "rewrite" }, { "sanity-operation": "delete" }, "delete"],
    [{ operation: "constructor" }, {}, "update"],
  ] as const)("of %j and the headers %j makes the kind %s", ([body, headers, kind]) => {
    expect(read({ _id: "a", ...body }, headers)).toMatchObject({ events: [{ kind }] })
  })

  it("reads a whole document, which an empty projection gives", () => {
    const document = {
      _id: "5f2c1d7e",
      _type: "post",
      _rev: "u1Q",
      slug: { _type: "slug", current: "tides" },
      tags: ["coast", { _ref: "tag-2" }],
      body: [{ _type: "block" }],
    }
    const headers = { "sanity-operation": "update", "sanity-dataset": "production" }
    expect(read(document, headers)).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          type: "post",
          id: "5f2c1d7e",
          slug: "tides",
          version: "u1Q",
          environment: "production",
          topic: "update",
          tags: ["coast"],
        },
      ],
    })
  })

  it.for(["drafts.5f2c1d7e", "versions.r4u.5f2c1d7e"])("ignores %s, whatever became of it", (_id) => {
    for (const operation of ["create", "update", "delete"]) {
      expect(read({ ...POST, _id, operation })).toEqual({
        reading: "ignored",
        note: "drafts and versions change nothing published",
      })
    }
  })

  it("takes the id from the header where the projection leaves it out, as that of Sanity's own guide does", () => {
    const headers = { "sanity-operation": "update", "sanity-document-id": "5f2c1d7e" }
    expect(read({ _type: "post", slug: "tides" }, headers)).toEqual({
      reading: "events",
      events: [{ kind: "update", type: "post", id: "5f2c1d7e", slug: "tides", topic: "update" }],
    })
    // What is signed counts.
    expect(read({ _id: "a", _type: "post" }, headers)).toMatchObject({ events: [{ id: "a" }] })
    expect(read({ _id: "a" }, { "sanity-document-id": "drafts.a" })).toMatchObject({ events: [{ id: "a" }] })
    // No page has a tag of its id alone.
    expect(read({ slug: "tides" }, headers)).toMatchObject({ reading: "unreadable", kind: "update" })
    expect(read({ path: "/tides" }, headers, { slug: "/path" })).toMatchObject({
      events: [{ id: "5f2c1d7e" }],
    })
  })

  it.for([{ _type: "post", slug: "tides" }, {}, { tags: ["s1:a"] }, undefined, "drafts.a", null])(
    "ignores a draft that the header alone names, with the body %j",
    (body) => {
      for (const id of ["drafts.a", "versions.r4u.a"]) {
        const headers = { "sanity-operation": "delete", "sanity-document-id": id }
        expect(read(body, headers)).toMatchObject({ reading: "ignored" })
      }
    },
  )

  it("is an event for each slug of a document that has several", () => {
    const told = { kind: "update", type: "post", id: "a" }
    const slug = [
      { _key: "en", value: { _type: "slug", current: "tides" } },
      { _key: "de", value: { _type: "slug", current: "gezeiten" } },
    ]
    expect(read({ _id: "a", _type: "post", slug })).toEqual({
      reading: "events",
      events: [
        { ...told, slug: "tides" },
        { ...told, slug: "gezeiten" },
      ],
    })
    const renamed = { slug: ["tides", "gezeiten"], previousSlug: ["tides", "ebbe", "marea"] }
    expect(read({ _id: "a", _type: "post", ...renamed })).toEqual({
      reading: "events",
      events: [
        { ...told, slug: "tides" },
        { ...told, slug: "gezeiten", previousSlug: "ebbe" },
        { ...told, previousSlug: "marea" },
      ],
    })
    const localised = {
      _type: "localeSlug",
      en: { _type: "slug", current: "tides" },
      de: { current: "ebbe" },
    }
    expect(read({ _id: "a", _type: "post", slug: localised })).toMatchObject({
      events: [{ slug: "tides" }, { slug: "ebbe" }],
    })
  })

  it("takes tags of what was deleted for no sync tags, which are only ever marked stale", () => {
    expect(read({ tags: ["post-1"] }, { "sanity-operation": "delete" })).toMatchObject({
      reading: "unreadable",
      kind: "delete",
    })
    expect(read({ tags: ["post-1"] }, { "sanity-operation": "update" })).toMatchObject({
      events: [{ kind: "tags" }],
    })
  })

  it.for(["tags", "syncTags"])("takes a body of only %s for tags", (name) => {
    expect(read({ [name]: ["s1:a/b", "s1:c"] })).toEqual({
      reading: "events",
      events: [{ kind: "tags", tags: ["s1:a/b", "s1:c"] }],
    })
    for (const tags of [[], ["a", 1], "a", null]) {
      expect(read({ [name]: tags })).toMatchObject({ reading: "unreadable" })
    }
    expect(read({ [name]: ["a"], _id: "b" })).toMatchObject({ events: [{ kind: "update", id: "b" }] })
  })

  it("reads the lists of ids that webhooks had before they had projections", () => {
    const ids = {
      created: ["a"],
      updated: ["b", "drafts.b"],
      deleted: ["c"],
      all: ["a", "b", "drafts.b", "c"],
    }
    const body = { transactionId: "Not supported", projectId: "p", dataset: "production", ids }
    const environment = "production"
    expect(read(body)).toEqual({
      reading: "events",
      events: [
        { kind: "publish", id: "a", environment },
        { kind: "update", id: "b", environment },
        { kind: "delete", id: "c", environment },
      ],
    })
    const none = { created: [], updated: [], deleted: [] }
    expect(read({ ids: { all: ["a"] } }, { "sanity-operation": "delete" })).toMatchObject({
      events: [{ kind: "delete", id: "a" }],
    })
    expect(read({ ids: { ...none, all: ["a"] } })).toMatchObject({ events: [{ kind: "update", id: "a" }] })
    expect(read({ ids: { ...none, all: ["drafts.a"] } })).toMatchObject({ reading: "ignored" })
    expect(read({ ids: { ...none, all: [] } })).toMatchObject({ reading: "unreadable" })
  })

  it.for([[undefined], [null], ["text"], [7], [["a"]], [{}], [{ title: "GROQ-Hooks are neat" }]])(
    "cannot read %j",
    ([body]) => {
      expect(read(body)).toMatchObject({ reading: "unreadable" })
    },
  )

  it("says that a deletion happened, where it cannot say of what", () => {
    expect(read({ operation: "delete" })).toMatchObject({ reading: "unreadable", kind: "delete" })
    expect(read({}, { "sanity-operation": "delete" })).toMatchObject({ kind: "delete" })
  })

  it("reads a projection of one's own, where the configuration says what is what", () => {
    expect(read({ path: "/tides" }, {}, { slug: "/path" })).toEqual({
      reading: "events",
      events: [{ kind: "update" }],
    })
  })
})
