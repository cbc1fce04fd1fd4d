import { describe, expect, it } from "vitest"
import { concatBytes, hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { MINUTE, type Milliseconds } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { hygraph } from "./hygraph.ts"
import type { Delivery } from "./source.ts"

const SECRET = "rCNwyiloY3oJYYkxgpBXaleIiUv5MYlx"
const OTHER = "another-secret-of-32-characters!"
const NOW: Milliseconds = 1_767_225_600_000

/** Signs as Hygraph does, spelt out here once more rather than shared with what is tested. */
async function sign(
  secret: string,
  body: string,
  at: Milliseconds | string,
  env = "master",
): Promise<Delivery> {
  const signed = `{"Body":${JSON.stringify(body)},"EnvironmentName":"${env}","TimeStamp":${at}}`
  const mac = toBase64(await hmac("SHA-256", utf8(secret), utf8(signed)))
  const headers = new Headers({ "gcms-signature": `sign=${mac}, env=${env}, t=${at}` })
  return { method: "POST", path: "/v1/hooks/hygraph-main", headers, body: utf8(body) }
}

const change = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { "gcms-signature": edit(delivery.headers.get("gcms-signature") ?? "") })

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

describeSource(hygraph, {
  secrets: [SECRET, OTHER],
  sign: async (secret, body, at) => sign(secret, body, at),
  signedHeaders: ["gcms-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
  spoilt: {
    "base64 whose unused bits are set": change((value) =>
      value.replace(/(.)=,/, (_, last: string) => `${ALPHABET[ALPHABET.indexOf(last) ^ 1]}=,`),
    ),
    "base64 without its padding": change((value) => value.replace("=,", ",")),
    "two signatures": change((value) => `${value}, ${value}`),
    "another environment": change((value) => value.replace("env=master", "env=test")),
    "no environment": change((value) => value.replace("env=master, ", "")),
    "an empty environment": change((value) => value.replace("env=master", "env=")),
    "members in another order": change((value) => value.split(", ").toReversed().join(", ")),
    "a timestamp in seconds": change((value) => value.slice(0, -3)),
    "a timestamp with a fraction": change((value) => `${value}.0`),
    "a timestamp with a leading zero": change((value) => value.replace("t=", "t=0")),
    "a byte order mark that was not signed": (delivery) => ({
      ...delivery,
      body: concatBytes(Uint8Array.from([0xef, 0xbb, 0xbf]), delivery.body),
    }),
  },
  vectors: vectorsOf("hygraph"),
})

describe("verification", () => {
  it.for(["1767225600", "1767225600000.5", "1e12", "-1767225600000"])(
    "refuses the timestamp %j, though it is rightly signed",
    async (timestamp) => {
      const delivery = await sign(SECRET, "{}", timestamp)
      expect(await hygraph.verify(delivery, contextOf("hygraph", SECRET))).toMatchObject({
        verdict: "invalid",
      })
    },
  )

  it("takes a header that was joined anew without blanks", async () => {
    const delivery = await sign(SECRET, "{}", NOW)
    const signature = delivery.headers.get("gcms-signature")?.replaceAll(", ", ",")
    const joined = withHeaders(delivery, { "gcms-signature": signature })
    expect(await hygraph.verify(joined, contextOf("hygraph", SECRET))).toMatchObject({ verdict: "verified" })
  })

  it("takes no bytes that are no UTF-8 for the characters that stand in for them", async () => {
    const delivery = await sign(SECRET, "\ufffd", NOW)
    const context = contextOf("hygraph", SECRET)
    expect(await hygraph.verify(delivery, context)).toMatchObject({ verdict: "verified" })
    const spoilt = { ...delivery, body: Uint8Array.from([0xff]) }
    expect(await hygraph.verify(spoilt, context)).toMatchObject({ verdict: "invalid" })
  })

  it("knows the very same delivery again, and no more: it has no id, and may have no payload", async () => {
    const [first, second] = [await sign(SECRET, "{}", NOW), await sign(SECRET, "{}", NOW + 1)]
    const context = contextOf("hygraph", SECRET)
    const verified = await hygraph.verify(first, context)
    expect(verified).toEqual({
      verdict: "verified",
      deliveryId: /sign=([^,]+)/.exec(first.headers.get("gcms-signature") ?? "")?.[1],
      replay: "delivery-id",
    })
    expect(await hygraph.verify(second, context)).not.toEqual(verified)
  })
})

const read = (body: unknown, env?: string) => {
  const signature = `sign=${"A".repeat(43)}=, env=${env}, t=${NOW}`
  const headers = new Headers(env === undefined ? {} : { "gcms-signature": signature })
  return hygraph.read({ body, headers, path: "/" }, contextOf("hygraph", SECRET))
}

const DATA = { __typename: "Post", id: "ckx1", stage: "PUBLISHED", slug: "tides" }

describe("reading", () => {
  it("reads a publish", () => {
    expect(read({ operation: "publish", data: DATA }, "master")).toEqual({
      reading: "events",
      events: [
        {
          kind: "publish",
          type: "Post",
          id: "ckx1",
          slug: "tides",
          environment: "master",
          topic: "publish",
        },
      ],
    })
  })

  it.for([
    ["publish", "PUBLISHED", "publish"],
    ["publish", "QA", "publish"],
    ["unpublish", "PUBLISHED", "unpublish"],
    ["delete", "DRAFT", "delete"],
    ["delete", "PUBLISHED", "delete"],
    ["update", "PUBLISHED", "update"],
    ["create", "QA", "update"],
    ["update", undefined, "update"],
    ["transition_step", "DRAFT", "update"],
  ] as const)("reads %s in the stage %s as %s", ([operation, stage, kind]) => {
    expect(read({ operation, data: { ...DATA, stage } })).toMatchObject({ events: [{ kind, id: "ckx1" }] })
  })

  it.for(["create", "update"])("ignores %s of a draft", (operation) => {
    expect(read({ operation, data: { ...DATA, stage: "DRAFT" } })).toEqual({
      reading: "ignored",
      note: `${operation} of a draft changes nothing published`,
    })
  })

  it("has an event for each locale, with its slug", () => {
    const localizations = [
      { locale: "en", slug: "tides" },
      { locale: "de", slug: "gezeiten" },
      { locale: "fr" },
      { slug: "of-no-locale" },
    ]
    expect(read({ operation: "publish", data: { ...DATA, slug: "by-id", localizations } })).toMatchObject({
      events: [
        { locale: "en", slug: "tides" },
        { locale: "de", slug: "gezeiten" },
        { locale: "fr", slug: "by-id" },
        { slug: "of-no-locale" },
      ],
    })
    expect(read({ operation: "publish", data: { ...DATA, localizations: [] } })).toMatchObject({
      events: [{ id: "ckx1", slug: "tides" }],
    })
  })

  it("reads what is left where payloads are not included", () => {
    const data = { __typename: "Asset", id: "ckx2", stage: "PUBLISHED" }
    expect(read({ operation: "unpublish", data })).toEqual({
      reading: "events",
      events: [{ kind: "unpublish", type: "Asset", id: "ckx2", topic: "unpublish" }],
    })
  })

  it("reads what says only one of model and id", () => {
    expect(read({ operation: "publish", data: { id: "ckx1" } })).toMatchObject({ events: [{ id: "ckx1" }] })
    expect(read({ operation: "publish", data: { __typename: "Post" } })).toMatchObject({
      events: [{ type: "Post" }],
    })
  })

  it("ignores the draft that Hygraph tests its own library with", () => {
    const [, , update] = vectorsOf("hygraph")
    expect(read(JSON.parse(update?.body ?? ""))).toMatchObject({ reading: "ignored" })
  })

  it("says that something was unpublished or deleted, where it cannot say what", () => {
    for (const operation of ["unpublish", "delete"] as const) {
      expect(read({ operation, data: {} })).toMatchObject({ reading: "unreadable", kind: operation })
    }
  })

  it.for([
    [undefined],
    [[]],
    [{}],
    [{ hello: "world" }],
    [{ operation: "publish" }],
    [{ operation: "publish", data: null }],
    [{ operation: "publish", data: { stage: "PUBLISHED" } }],
    [{ data: DATA }],
  ])("cannot read %j", ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  })
})
