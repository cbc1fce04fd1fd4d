import { describe, expect, it } from "vitest"
import { hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { contentful } from "./contentful.ts"
import type { Delivery } from "./source.ts"

const SECRET = "a".repeat(32) + "b".repeat(32)
const OTHER = "c".repeat(64)
const NOW: Milliseconds = 1_767_225_600_000

interface Request {
  readonly path?: string
  /** As it is written in the canonical request. */
  readonly canonicalPath?: string
  readonly headers?: Readonly<Record<string, string>>
  /** The list of signed headers as it is to be, instead of one that names them all. */
  readonly names?: readonly string[]
}

/** Signs as Contentful does, spelt out here once more rather than shared with what is tested. */
async function signRequest(
  secret: string,
  body: string,
  at: Milliseconds,
  request: Request = {},
): Promise<Delivery> {
  const { path = "/v1/hooks/contentful-main", canonicalPath = path } = request
  const headers: Record<string, string> = {
    "content-type": "application/vnd.contentful.management.v1+json",
    "x-contentful-topic": "ContentManagement.Entry.publish",
    ...request.headers,
    "x-contentful-timestamp": String(at),
  }
  const names = request.names ?? [...Object.keys(headers), "x-contentful-signed-headers"].toSorted()
  headers["x-contentful-signed-headers"] = names.join(",")
  const lines = names.map((name) => `${name}:${headers[name]}`).join(";")
  const mac = await hmac("SHA-256", utf8(secret), utf8(`POST\n${canonicalPath}\n${lines}\n${body}`))
  headers["x-contentful-signature"] = toHex(mac)
  return { method: "POST", path, headers: new Headers(headers), body: utf8(body) }
}

const change = (name: string, edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { [name]: edit(delivery.headers.get(name) ?? "") })

const append = (name: string, value: string) => (delivery: Delivery) => {
  const headers = new Headers(delivery.headers)
  headers.append(name, value)
  return { ...delivery, headers }
}

describeSource(contentful, {
  secrets: [SECRET, OTHER],
  sign: async (secret, body, at) => signRequest(secret, body, at),
  signedHeaders: [
    "content-type",
    "x-contentful-signature",
    "x-contentful-signed-headers",
    "x-contentful-timestamp",
    "x-contentful-topic",
  ],
  signsPath: true,
  tolerance: 30 * SECOND,
  spoilt: {
    "an upper-case signature": change("x-contentful-signature", (value) => value.toUpperCase()),
    "a signature that is too short": change("x-contentful-signature", (value) => value.slice(2)),
    "two signatures": (delivery) =>
      append("x-contentful-signature", delivery.headers.get("x-contentful-signature") ?? "")(delivery),
    "two timestamps": append("x-contentful-timestamp", String(NOW)),
    "a signed header twice": append("x-contentful-topic", "ContentManagement.Entry.publish"),
    "the list of signed headers twice": (delivery) =>
      append(
        "x-contentful-signed-headers",
        delivery.headers.get("x-contentful-signed-headers") ?? "",
      )(delivery),
    "a name twice in the list": change("x-contentful-signed-headers", (value) => `${value},content-type`),
    "white space in the list": change("x-contentful-signed-headers", (value) => value.replace(",", ", ")),
    "a list that lacks itself": change("x-contentful-signed-headers", (value) =>
      value.replace(",x-contentful-signed-headers", ""),
    ),
    "a list that lacks the timestamp": change("x-contentful-signed-headers", (value) =>
      value.replace(",x-contentful-timestamp", ""),
    ),
    "a list that names a header that is not there": change(
      "x-contentful-signed-headers",
      (value) => `${value},x-contentful-webhook-name`,
    ),
    "a timestamp in seconds": change("x-contentful-timestamp", (value) => value.slice(0, 10)),
    "a timestamp with a fraction": change("x-contentful-timestamp", (value) => `${value}.0`),
    "a path that is no text": (delivery) => ({ ...delivery, path: "/\ud800" }),
  },
  vectors: vectorsOf("contentful"),
})

const verify = async (delivery: Delivery) => contentful.verify(delivery, contextOf("contentful", SECRET))

describe("verification", () => {
  // The toolkit escapes the query as one text and encodes the outcome once more, path included.
  it.for([
    ["/hooks/a?foo=bar&x=1", "/hooks/a?foo%253Dbar%2526x%253D1"],
    ["/hooks/a?foo=bar%20baz", "/hooks/a?foo%253Dbar%252520baz"],
    ["/hooks/a%20b", "/hooks/a%2520b"],
    ["/hooks/a?", "/hooks/a"],
    ["/hooks/ü", "/hooks/%C3%BC"],
  ] as const)("signs the path %s as %s", async ([path, canonicalPath]) => {
    expect(await verify(await signRequest(SECRET, "{}", NOW, { path, canonicalPath }))).toMatchObject({
      verdict: "verified",
    })
  })

  it.for([
    [["x-contentful-signed-headers"], "invalid"],
    [["x-contentful-timestamp"], "invalid"],
    [["x-contentful-signed-headers", "x-contentful-timestamp"], "verified"],
    [["content-type", "content-type", "x-contentful-signed-headers", "x-contentful-timestamp"], "invalid"],
  ] as const)("of a list that is itself rightly signed, %j, is %s", async ([names, verdict]) => {
    expect(await verify(await signRequest(SECRET, "{}", NOW, { names }))).toMatchObject({ verdict })
  })

  it("leaves nothing of a query unsigned", async () => {
    const delivery = await signRequest(SECRET, "{}", NOW, { path: "/a?b", canonicalPath: "/a?b" })
    expect(await verify(delivery)).toMatchObject({ verdict: "verified" })
    for (const path of ["/a?b?c", "/a", "/a?b&c", "/a?"]) {
      expect(await verify({ ...delivery, path }), path).toMatchObject({ verdict: "invalid" })
    }
  })

  it("takes the list in any order, and values with white space around", async () => {
    const delivery = await signRequest(SECRET, "{}", NOW, { headers: { "x-custom": "a, b" } })
    const names = delivery.headers.get("x-contentful-signed-headers")?.split(",").toReversed().join(",")
    expect(await verify(withHeaders(delivery, { "x-contentful-signed-headers": names }))).toMatchObject({
      verdict: "verified",
    })
  })

  describe("by what a repetition is known", () => {
    const KEY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    const REVISED = '{"sys":{"id":"a","revision":7}}'
    const TEMPLATED = '{"id":"a"}'

    it("its own key, where that is signed", async () => {
      const headers = { "x-contentful-idempotency-key": KEY }
      expect(await verify(await signRequest(SECRET, REVISED, NOW, { headers }))).toEqual({
        verdict: "verified",
        deliveryId: KEY,
        replay: "delivery-id",
      })
    })

    it("key and body together, where the key is not signed", async () => {
      const delivery = await signRequest(SECRET, TEMPLATED, NOW)
      expect(await verify(withHeaders(delivery, { "x-contentful-idempotency-key": KEY }))).toEqual({
        verdict: "verified",
        deliveryId: KEY,
        replay: "body-hash",
      })
    })

    it("the body, where there is no key", async () => {
      expect(await verify(await signRequest(SECRET, REVISED, NOW))).toEqual({
        verdict: "verified",
        replay: "body-hash",
      })
    })

    it("no more than its signature, where the body tells no revision either", async () => {
      const delivery = await signRequest(SECRET, TEMPLATED, NOW)
      const later = await signRequest(SECRET, TEMPLATED, NOW + 1)
      expect(await verify(delivery)).toEqual({
        verdict: "verified",
        deliveryId: delivery.headers.get("x-contentful-signature"),
        replay: "delivery-id",
      })
      expect(await verify(later)).not.toEqual(await verify(delivery))
    })
  })
})

const read = (body: Readonly<Record<string, unknown>>, topic?: string) => {
  const headers = new Headers(
    topic === undefined ? {} : { "x-contentful-topic": `ContentManagement.${topic}` },
  )
  return contentful.read({ body, headers, path: "/" }, contextOf("contentful", SECRET))
}
const link = (linkType: string, id: string) => ({ sys: { type: "Link", linkType, id } })
const ENTRY = {
  metadata: { tags: [link("Tag", "summer"), link("Tag", "coast")] },
  sys: {
    type: "Entry",
    id: "5KsDBWseXY6QegucYAoacS",
    contentType: link("ContentType", "post"),
    environment: link("Environment", "master"),
    revision: 7,
  },
  fields: { slug: { "en-US": "tides" } },
}
const TOMBSTONE = { sys: { ...ENTRY.sys, type: "DeletedEntry", deletedAt: "2026-01-01T00:00:00Z" } }

describe("reading", () => {
  it("reads a publish", () => {
    expect(read(ENTRY, "Entry.publish")).toEqual({
      reading: "events",
      events: [
        {
          kind: "publish",
          type: "post",
          id: "5KsDBWseXY6QegucYAoacS",
          version: "7",
          environment: "master",
          topic: "ContentManagement.Entry.publish",
          tags: ["summer", "coast"],
        },
      ],
    })
  })

  it.for([
    ["Entry.publish", "publish"],
    ["Entry.unpublish", "unpublish"],
    ["Entry.archive", "unpublish"],
    ["Entry.delete", "delete"],
    ["Entry.rewrite", "update"],
    ["Asset.publish", "publish"],
    ["Asset.delete", "delete"],
  ] as const)("reads %s as %s", ([topic, kind]) => {
    expect(read(ENTRY, topic)).toMatchObject({ events: [{ kind }] })
  })

  it.for([
    "Entry.create",
    "Entry.save",
    "Entry.auto_save",
    "Entry.unarchive",
    "Asset.save",
    "ContentType.save",
    "ContentType.create",
    "Release.save",
    "ReleaseAction.execute",
    "BulkAction.execute",
    "ScheduledAction.create",
    "Task.create",
    "Comment.delete",
    "Workflow.save",
  ])("ignores %s, as no delivery shows it", (topic) => {
    expect(read(ENTRY, topic)).toEqual({ reading: "ignored", note: `${topic} changes nothing published` })
  })

  it("reads a tombstone, with a topic and without", () => {
    const told = { type: "post", id: "5KsDBWseXY6QegucYAoacS", version: "7", environment: "master" }
    expect(read(TOMBSTONE, "Entry.unpublish")).toMatchObject({ events: [{ kind: "unpublish", ...told }] })
    expect(read(TOMBSTONE)).toEqual({ reading: "events", events: [{ kind: "delete", ...told }] })
  })

  it("calls an asset an asset", () => {
    const asset = {
      sys: { type: "Asset", id: "2fMg", environment: link("Environment", "master"), revision: 1 },
    }
    expect(read(asset, "Asset.publish")).toMatchObject({ events: [{ type: "asset", id: "2fMg" }] })
    expect(read({ sys: { type: "DeletedAsset", id: "2fMg" } })).toMatchObject({
      events: [{ kind: "delete", type: "asset", id: "2fMg" }],
    })
  })

  it.for(["publish", "unpublish", "delete"] as const)(
    "takes %s of a content type for a change of the model",
    (kind) => {
      const model = { sys: { type: "ContentType", id: "post", environment: link("Environment", "master") } }
      expect(read(model, `ContentType.${kind}`)).toEqual({
        reading: "events",
        events: [
          {
            kind,
            isModel: true,
            type: "post",
            environment: "master",
            topic: `ContentManagement.ContentType.${kind}`,
          },
        ],
      })
    },
  )

  describe("the environment", () => {
    const crn = (environment: string) =>
      `crn:contentful:::content:spaces/s/environments/${environment}/entries/e1`
    const environmentOf = (told: string | undefined, named: string, environments?: string[]) => {
      const environment = told === undefined ? undefined : link("Environment", told)
      const headers = new Headers({
        "x-contentful-topic": "ContentManagement.Entry.publish",
        "x-contentful-crn": named,
      })
      const reading = contentful.read(
        { body: { ...ENTRY, sys: { ...ENTRY.sys, environment } }, headers, path: "/" },
        contextOf("contentful", SECRET, environments ? { environments } : {}),
      )
      return reading.reading === "events" ? reading.events[0]?.environment : undefined
    }

    it.for([
      // Which of the two names an alias is not documented.
      ["release-2", crn("master"), ["master"], "master"],
      ["master", crn("release-2"), ["master"], "master"],
      ["release-2", crn("master"), ["release-*"], "release-2"],
      ["release-2", crn("master"), undefined, "release-2"],
      [undefined, crn("master"), ["master"], "master"],
      [undefined, crn("staging"), ["master"], "staging"],
      ["staging", crn("staging"), ["master"], "staging"],
      ["staging", "crn:contentful:::content:spaces/s/entries/e1", ["master"], "staging"],
      ["staging", "environments/master", ["master"], "staging"],
    ] as const)("of a body that names %s and the header %s, for %j, is %s", ([told, named, of, expected]) => {
      expect(environmentOf(told, named, of && [...of])).toBe(expected)
    })
  })

  it("takes an alias that was pointed elsewhere for a change of everything in it", () => {
    const alias = {
      sys: { type: "EnvironmentAlias", id: "master" },
      environment: link("Environment", "2026-02"),
    }
    expect(read(alias, "EnvironmentAlias.save")).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          isModel: true,
          environment: "master",
          topic: "ContentManagement.EnvironmentAlias.save",
        },
      ],
    })
  })

  it("cannot read what neither a topic nor a tombstone explains", () => {
    expect(read(ENTRY)).toMatchObject({ reading: "unreadable" })
    expect(read({})).toMatchObject({ reading: "unreadable" })
    const headers = new Headers({ "x-contentful-topic": "Entry.publish, ContentManagement.Entry.publish" })
    expect(
      contentful.read({ body: ENTRY, headers, path: "/" }, contextOf("contentful", SECRET)),
    ).toMatchObject({
      reading: "unreadable",
    })
  })

  it("says what it can of a body whose shape somebody changed", () => {
    expect(read({ slug: "tides" }, "Entry.publish")).toEqual({
      reading: "events",
      events: [{ kind: "publish", topic: "ContentManagement.Entry.publish" }],
    })
  })
})
