import { describe, expect, it } from "vitest"
import { hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { signWebhook } from "../../protocol/standard-webhooks.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import type { Delivery } from "./source.ts"
import { wordpress } from "./wordpress.ts"

const OURS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const THEIRS = "a-secret-of-wp-webhooks"
const NOW: Milliseconds = 1_767_225_600_000
const PATH = "/v1/hooks/wordpress"

/** As the plugin WP Webhooks signs: the body, and nothing else. */
async function signPlugin(secret: string, body: string, trigger = "post_update"): Promise<Delivery> {
  const signature = toBase64(await hmac("SHA-256", utf8(secret), utf8(body)))
  const headers = new Headers({ "x-wp-webhook-name": trigger, "x-wp-webhook-signature": signature })
  return { method: "POST", path: PATH, headers, body: utf8(body) }
}

async function signOurs(secret: string, body: string, at: Milliseconds): Promise<Delivery> {
  const headers = new Headers(await signWebhook(secret, "msg_1", at / SECOND, body))
  return { method: "POST", path: PATH, headers, body: utf8(body) }
}

const change = (name: string, edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { [name]: edit(delivery.headers.get(name) ?? "") })

describe("of WP Webhooks", () => {
  describeSource(wordpress, {
    secrets: [THEIRS, "another"],
    sign: async (secret, body) => signPlugin(secret, body),
    signedHeaders: ["x-wp-webhook-signature"],
    signsPath: false,
    spoilt: {
      "a signature in hex": change("x-wp-webhook-signature", (value) =>
        Array.from(atob(value), (char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join(""),
      ),
      "base64 without its padding": change("x-wp-webhook-signature", (value) => value.replaceAll("=", "")),
      "two signatures": change("x-wp-webhook-signature", (value) => `${value}, ${value}`),
      "a delivery of our own plugin": (delivery) => ({
        ...delivery,
        headers: new Headers({
          "webhook-id": "msg_1",
          "webhook-timestamp": String(NOW / SECOND),
          "webhook-signature": `v1,${delivery.headers.get("x-wp-webhook-signature")}`,
        }),
      }),
    },
    vectors: vectorsOf("wp-webhooks"),
  })
})

describe("of our own plugin", () => {
  describeSource(wordpress, {
    secrets: [OURS, "whsec_VGlkZW1hcmsncyB0ZXN0cyBvbmx5LCBubyBzZWNyZXQ="],
    sign: signOurs,
    signedHeaders: ["webhook-id", "webhook-timestamp", "webhook-signature"],
    signsPath: false,
    tolerance: 5 * MINUTE,
    spoilt: {
      "another version": change("webhook-signature", (value) => value.replace("v1,", "v1a,")),
      "a time with a fraction": change("webhook-timestamp", (value) => `${value}.0`),
    },
    vectors: vectorsOf("standard-webhooks").filter(({ secret }) => secret.startsWith("whsec_")),
  })
})

describe("verification", () => {
  const verify = async (delivery: Delivery, secret: string | string[]) =>
    (await wordpress.verify(delivery, contextOf("wordpress", secret))).verdict

  it("goes by the secrets' form, never by what the delivery looks like", async () => {
    const plugin = await signPlugin(THEIRS, "{}")
    const ours = await signOurs(OURS, "{}", NOW)
    expect(await verify(plugin, THEIRS)).toBe("verified")
    expect(await verify(ours, OURS)).toBe("verified")
    // With one of ours in the list nothing else is taken, and never is a secret of one form used for the other.
    expect(await verify(plugin, [THEIRS, OURS])).toBe("invalid")
    expect(await verify(ours, [THEIRS, OURS])).toBe("verified")
    expect(await verify(await signPlugin(OURS, "{}"), OURS)).toBe("invalid")
    expect(await verify(await signOurs(btoa(THEIRS), "{}", NOW), btoa(THEIRS))).toBe("invalid")
  })

  it("knows a repetition by our plugin's id, and by the body of the other where that tells a time", async () => {
    const told = async (delivery: Delivery, secret: string) =>
      wordpress.verify(delivery, contextOf("wordpress", secret))
    expect(await told(await signOurs(OURS, "{}", NOW), OURS)).toEqual({
      verdict: "verified",
      deliveryId: "msg_1",
      replay: "delivery-id",
    })
    const body = JSON.stringify({ post: { post_modified_gmt: "2026-01-01 00:00:00" } })
    expect(await told(await signPlugin(THEIRS, body, "post_trash"), THEIRS)).toEqual({
      verdict: "verified",
      deliveryId: "post_trash",
      replay: "body-hash",
    })
    expect(await told(await signPlugin(THEIRS, '{"post":{}}'), THEIRS)).toEqual({
      verdict: "verified",
      replay: "none",
    })
  })
})

const readBy = (secret: string, body: unknown, trigger = "post_update") =>
  wordpress.read(
    { body, headers: new Headers({ "x-wp-webhook-name": trigger }), path: PATH },
    contextOf("wordpress", secret),
  )

describe("reading what WP Webhooks tells", () => {
  const POST = {
    ID: 42,
    post_type: "post",
    post_status: "publish",
    post_name: "tides",
    post_modified_gmt: "2026-01-01 00:00:00",
  }
  const read = (post: object, before?: object | false, trigger?: string, more: object = {}) =>
    readBy(
      THEIRS,
      {
        post_id: 42,
        post: { ...POST, ...post },
        post_permalink: "https://www.example.com/blog/tides/",
        ...(before === undefined ? {} : { post_before: before && { ...POST, ...before } }),
        ...more,
      },
      trigger,
    )

  it.for([
    ["post_create", "publish", undefined, "publish"],
    ["post_create", "draft", undefined, undefined],
    ["post_create", "auto-draft", undefined, undefined],
    ["post_update", "publish", "publish", "update"],
    ["post_update", "publish", "draft", "publish"],
    ["post_update", "publish", "future", "publish"],
    ["post_update", "publish", undefined, "update"],
    ["post_update", "draft", "publish", "unpublish"],
    ["post_update", "private", "publish", "unpublish"],
    ["post_update", "pending", "draft", undefined],
    ["post_update", "draft", "draft", undefined],
    // It does not say what was before: in doubt it could be seen.
    ["post_update", "draft", undefined, "unpublish"],
    ["post_update", "trash", "publish", "unpublish"],
    // A status that a plugin made up may be a public one.
    ["post_update", "archived", "publish", "update"],
    ["post_update", "inherit", "inherit", "update"],
    ["post_trash", "trash", undefined, "unpublish"],
    ["post_delete", "publish", undefined, "delete"],
    ["post_delete", "trash", undefined, "delete"],
    ["", "publish", "publish", "update"],
  ] as const)("%s of a post that is %s and was %s as %s", ([trigger, status, before, kind]) => {
    const reading = read({ post_status: status }, before && { post_status: before }, trigger)
    if (kind === undefined) expect(reading.reading).toBe("ignored")
    else expect(reading).toMatchObject({ reading: "events", events: [{ kind, type: "post", id: "42" }] })
  })

  it("reads slugs, the permalink, and terms", () => {
    const taxonomies = {
      category: { news: { term_id: 3, slug: "news" }, sea: { term_id: 7, slug: "sea" } },
      post_tag: {},
    }
    expect(read({}, { post_name: "ebb" }, "post_update", { taxonomies })).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          type: "post",
          id: "42",
          slug: "tides",
          previousSlug: "ebb",
          url: "https://www.example.com/blog/tides/",
          topic: "post_update",
          tags: ["term-3", "term-7"],
        },
      ],
    })
  })

  it("believes no post_before that is another post's", () => {
    expect(read({ post_status: "draft" }, { ID: 41, post_status: "draft", post_name: "x" })).toMatchObject({
      events: [{ kind: "unpublish", slug: "tides" }],
    })
  })

  it("finds the address that a post in the trash had, and none for a preview", () => {
    const trashed = { post_status: "trash", post_name: "tides__trashed" }
    const post_permalink = "https://www.example.com/blog/tides__trashed/"
    expect(read(trashed, undefined, "post_trash", { post_permalink })).toMatchObject({
      events: [{ slug: "tides", url: "https://www.example.com/blog/tides/" }],
    })
    const preview = { post_permalink: "https://www.example.com/?p=42" }
    const reading = read({ post_status: "draft" }, {}, "post_update", preview)
    expect(reading).toMatchObject({ events: [{ kind: "unpublish" }] })
    expect(reading).not.toHaveProperty("events.0.url")
    expect(read({}, {}, "post_update", preview)).toMatchObject({
      events: [{ url: "https://www.example.com/?p=42" }],
    })
  })

  it("ignores revisions", () => {
    expect(read({ post_type: "revision", post_status: "inherit" }).reading).toBe("ignored")
  })

  it.for([undefined, [], {}, { user_id: 1 }, { post: { ID: 1 } }, { post_id: 1, post: null }])(
    "cannot read %j",
    (body) => expect(readBy(THEIRS, body).reading).toBe("unreadable"),
  )

  it("knows what must be gone also where it cannot read of what", () => {
    expect(readBy(THEIRS, {}, "post_delete")).toMatchObject({ reading: "unreadable", kind: "delete" })
    expect(readBy(THEIRS, {}, "post_trash")).toMatchObject({ reading: "unreadable", kind: "unpublish" })
    for (const trigger of ["post_update", "constructor", ""])
      expect(readBy(THEIRS, {}, trigger)).not.toHaveProperty("kind")
  })

  it("reads the published delivery", () => {
    const [vector] = vectorsOf("wp-webhooks")
    expect(readBy(THEIRS, JSON.parse(vector?.body ?? ""))).toMatchObject({
      events: [{ kind: "update", type: "post", slug: "hello-world" }],
    })
  })
})

describe("reading what our own plugin tells", () => {
  it("takes it as it is said", () => {
    const data = {
      kind: "update",
      type: "post",
      id: 4,
      slug: "ebb",
      url: "https://www.example.com/blog/ebb/",
      previous_slug: "tides",
      previous_url: "https://www.example.com/blog/tides/",
      tags: ["term-2", "term-3"],
      terms: [{ taxonomy: "category", id: 2, slug: "news", path: "/category/news/" }],
    }
    expect(readBy(OURS, { type: "post.update", timestamp: "2026-01-01T00:00:00Z", data })).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          type: "post",
          id: "4",
          slug: "ebb",
          url: "https://www.example.com/blog/ebb/",
          previousSlug: "tides",
          previousUrl: "https://www.example.com/blog/tides/",
          topic: "post.update",
          tags: ["term-2", "term-3"],
        },
      ],
    })
  })

  it.for(["publish", "unpublish", "update", "delete"])("%s", (kind) => {
    const body = { type: `post.${kind}`, data: { kind, type: "post", id: 4, tags: [] } }
    expect(readBy(OURS, body)).toEqual({
      reading: "events",
      events: [{ kind, type: "post", id: "4", topic: `post.${kind}` }],
    })
  })

  it("takes a kind that it does not know for a change", () => {
    expect(readBy(OURS, { data: { kind: "toString", type: "post", id: 4 } })).toMatchObject({
      events: [{ kind: "update" }],
    })
  })

  it("knows that what changed may also be gone", () => {
    for (const kind of ["update", "unpublish"] as const) {
      expect(readBy(OURS, { type: "site.changed", data: { kind } })).toEqual({
        reading: "unreadable",
        note: "the sender says that everything may have changed",
        kind,
      })
    }
    expect(readBy(OURS, { data: { kind: "delete", id: 4 } })).toMatchObject({ kind: "delete" })
  })

  it.for([undefined, [], {}, { type: "site.changed" }, { data: null }, { data: { kind: "delete", id: 4 } }])(
    "has no event for %j, and so means all",
    (body) => expect(readBy(OURS, body).reading).toBe("unreadable"),
  )
})
