import { describe, expect, it } from "vitest"
import { hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { MINUTE, type Milliseconds } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { ghost } from "./ghost.ts"
import type { Delivery } from "./source.ts"

const SECRET = "a sentence that somebody thought of"
const OTHER = "6f1a0c6e"
const NOW: Milliseconds = 1_767_225_600_000
const HOOK = "/v1/hooks/ghost-main"

async function sign(secret: string, body: string, at: Milliseconds, path = HOOK): Promise<Delivery> {
  const mac = toHex(await hmac("SHA-256", utf8(secret), utf8(`${body}${at}`)))
  const headers = new Headers({ "x-ghost-signature": `sha256=${mac}, t=${at}` })
  return { method: "POST", path, headers, body: utf8(body) }
}

async function signLegacy(secret: string, body: string, at: Milliseconds): Promise<Delivery> {
  const mac = toHex(await hmac("SHA-256", utf8(secret), utf8(body)))
  const headers = new Headers({ "x-ghost-signature": `sha256=${mac}, t=${at}` })
  return { method: "POST", path: HOOK, headers, body: utf8(body) }
}

const spoil = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { "x-ghost-signature": edit(delivery.headers.get("x-ghost-signature") ?? "") })

describeSource(ghost, {
  secrets: [SECRET, OTHER],
  sign,
  signedHeaders: ["x-ghost-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
  spoilt: {
    "an upper-case signature": spoil((value) => value.replace(/[0-9a-f]{64}/, (mac) => mac.toUpperCase())),
    "a signature that is too short": spoil((value) => value.replace(/.(?=,)/, "")),
    "another hash": spoil((value) => value.replace("sha256", "sha1")),
    "no time": spoil((value) => value.slice(0, value.indexOf(","))),
    "two times": spoil((value) => `${value}, t=${NOW}`),
    "two signatures": spoil((value) => `${value}, ${value}`),
    "a time in seconds": spoil((value) => value.slice(0, -3)),
    "a time with a fraction": spoil((value) => `${value}.0`),
  },
  vectors: vectorsOf("ghost"),
})

describe("verification", () => {
  const context = contextOf("ghost", SECRET)
  const legacy = contextOf("ghost", SECRET, { legacy: true })

  it("takes the older scheme only where that is allowed, and the newer one as well then", async () => {
    const delivery = await signLegacy(SECRET, "{}", NOW)
    expect(await ghost.verify(delivery, context)).toMatchObject({ verdict: "invalid" })
    expect(await ghost.verify(delivery, legacy)).toEqual({ verdict: "verified", replay: "none" })
    expect(await ghost.verify(await sign(SECRET, "{}", NOW), legacy)).toMatchObject({
      verdict: "verified",
      replay: "delivery-id",
    })
    const late = await signLegacy(SECRET, "{}", NOW - 6 * MINUTE)
    expect(await ghost.verify(late, legacy)).toMatchObject({ verdict: "stale" })
    expect(await ghost.verify(await signLegacy(OTHER, "{}", NOW), legacy)).toMatchObject({
      verdict: "invalid",
    })
  })

  it("takes a header that was joined anew without blanks", async () => {
    const delivery = await sign(SECRET, "{}", NOW)
    const signature = delivery.headers.get("x-ghost-signature")?.replace(", ", ",")
    const joined = withHeaders(delivery, { "x-ghost-signature": signature })
    expect(await ghost.verify(joined, context)).toMatchObject({ verdict: "verified" })
  })

  // Ghost tells of one change by several events, each of them to an address of its own.
  it("knows a repetition by its signature and the event in the address", async () => {
    const id = async (at: Milliseconds, path: string) => {
      const verification = await ghost.verify(await sign(SECRET, "{}", at, path), context)
      expect(verification).toMatchObject({ verdict: "verified", replay: "delivery-id" })
      return verification.verdict === "verified" ? verification.deliveryId : undefined
    }
    const first = await id(NOW, `${HOOK}?event=post.edited`)
    expect(await id(NOW, `${HOOK}?event=post.edited`)).toBe(first)
    expect(await id(NOW, `${HOOK}?event=post.unpublished`)).not.toBe(first)
    expect(await id(NOW + 1, `${HOOK}?event=post.edited`)).not.toBe(first)
  })
})

const read = (body: unknown, event?: string) => {
  const path = event === undefined ? HOOK : `${HOOK}?event=${encodeURIComponent(event)}`
  return ghost.read({ body, headers: new Headers(), path }, contextOf("ghost", SECRET))
}

const POST = {
  id: "6682b8a8e10cc04306284330",
  slug: "tides",
  status: "published",
  updated_at: "2026-01-01T00:00:00.000Z",
  url: "https://www.example.com/tides/",
  tags: [{ id: "1", slug: "coast" }],
  authors: [{ slug: "ada", email: "ada@example.com" }],
}
const DRAFT = { ...POST, status: "draft", url: "https://www.example.com/p/6f3c/" }
const post = (current: object, previous: object) => ({ post: { current, previous } })

describe("reading", () => {
  it("reads a publish", () => {
    const body = post(POST, { status: "draft", slug: "untitled", tags: [{ slug: "sea" }] })
    expect(read(body, "post.published")).toEqual({
      reading: "events",
      events: [
        {
          kind: "publish",
          type: "post",
          topic: "post.published",
          id: "6682b8a8e10cc04306284330",
          slug: "tides",
          previousSlug: "untitled",
          url: "https://www.example.com/tides/",
          version: "2026-01-01T00:00:00.000Z",
          tags: ["coast", "sea"],
        },
      ],
    })
  })

  it("reads a deletion from the record as it was", () => {
    expect(read(post({}, DRAFT), "post.deleted")).toEqual({
      reading: "events",
      events: [
        {
          kind: "delete",
          type: "post",
          topic: "post.deleted",
          id: POST.id,
          slug: "tides",
          version: POST.updated_at,
          tags: ["coast"],
        },
      ],
    })
  })

  it.for([
    ["post.published", POST, {}, "publish"],
    ["post.published", POST, { status: "scheduled" }, "publish"],
    ["post.published.edited", POST, { title: "x" }, "update"],
    ["post.edited", POST, { title: "x" }, "update"],
    ["post.edited", POST, { status: "draft" }, "publish"],
    ["post.added", POST, {}, "publish"],
    ["post.tag.attached", POST, {}, "update"],
    ["post.unpublished", DRAFT, { status: "published" }, "unpublish"],
    ["post.unpublished", DRAFT, { title: "x" }, "unpublish"],
    ["post.edited", DRAFT, { status: "published" }, "unpublish"],
    ["post.scheduled", { ...DRAFT, status: "scheduled" }, { status: "published" }, "unpublish"],
    // An address under which another event is sent.
    ["post.published", DRAFT, { status: "published" }, "unpublish"],
    ["post.published", {}, DRAFT, "delete"],
    ["page.edited", POST, { status: "draft" }, "publish"],
    ["nonsense", POST, { title: "x" }, "update"],
    // Nothing says what it was before.
    ["post.edited", DRAFT, {}, "unpublish"],
    ["post.edited", { id: "1" }, {}, "update"],
    // An event of a later Ghost.
    ["post.polished", POST, {}, "update"],
    // A post that went to members by e-mail alone has a page of its own.
    ["post.edited", { ...POST, status: "sent" }, { status: "draft" }, "publish"],
  ] as const)("reads %s of %j after %j as %s", ([event, current, previous, kind]) => {
    expect(read(post(current, previous), event)).toMatchObject({
      reading: "events",
      events: [{ kind, type: "post", topic: event }],
    })
  })

  it.for([
    [POST, { status: "draft" }, "publish"],
    [POST, { title: "x" }, "update"],
    [DRAFT, { status: "published" }, "unpublish"],
    [{}, POST, "delete"],
  ] as const)("knows without a topic what %j after %j is: %s", ([current, previous, kind]) => {
    const reading = read(post(current, previous))
    expect(reading).toMatchObject({ reading: "events", events: [{ kind, type: "post" }] })
    expect(reading).not.toHaveProperty("events.0.topic")
  })

  it.for([
    ["post.added", DRAFT, {}],
    ["post.edited", DRAFT, { title: "x" }],
    ["post.scheduled", { ...DRAFT, status: "scheduled" }, { status: "draft" }],
    ["post.unscheduled", DRAFT, { status: "scheduled" }],
    ["post.rescheduled", { ...DRAFT, status: "scheduled" }, { published_at: "2026-02-01" }],
  ] as const)("ignores %s of a draft that was one before", ([event, current, previous]) => {
    expect(read(post(current, previous), event)).toMatchObject({ reading: "ignored" })
  })

  it("has no url for what has no public address", () => {
    const nowhere = { ...POST, url: "https://www.example.com/404/" }
    for (const body of [
      post(DRAFT, { status: "published" }),
      post(nowhere, { title: "x" }),
      post({}, POST),
    ]) {
      const reading = read(body)
      expect(reading).toMatchObject({ reading: "events" })
      expect(reading).not.toHaveProperty("events.0.url")
    }
  })

  it("reads tags and pages", () => {
    const tag = { id: "7", slug: "coast", url: "https://www.example.com/tag/coast/", updated_at: "x" }
    expect(read({ tag: { current: tag, previous: { slug: "sea" } } }, "tag.edited")).toMatchObject({
      events: [{ kind: "update", type: "tag", id: "7", slug: "coast", previousSlug: "sea", url: tag.url }],
    })
    expect(read({ tag: { current: tag, previous: {} } }, "tag.added")).toMatchObject({
      events: [{ kind: "update" }],
    })
    expect(read({ tag: { current: {}, previous: tag } }, "tag.deleted")).toMatchObject({
      events: [{ kind: "delete", type: "tag", id: "7" }],
    })
    expect(read({ page: { current: POST, previous: { status: "draft" } } }, "page.published")).toMatchObject({
      events: [{ kind: "publish", type: "page" }],
    })
  })

  it("takes the topic of a Ghost that says it", () => {
    expect(read({ ...post(POST, {}), event: "post.published" })).toMatchObject({
      events: [{ kind: "publish", topic: "post.published" }],
    })
  })

  it.for(["post.published<script>", "POST.PUBLISHED", "", "a".repeat(3) + "\u0000"])(
    "takes %j in an address for no topic",
    (event) => {
      expect(read(post(POST, { title: "x" }), event)).not.toHaveProperty("events.0.topic")
    },
  )

  it("ignores members", () => {
    const member = { member: { current: { id: "1", email: "ada@example.com" }, previous: {} } }
    expect(read(member, "member.added")).toEqual({ reading: "ignored", note: "members are not published" })
  })

  it("cannot tell what changed in the site", () => {
    expect(read({}, "site.changed")).toEqual({
      reading: "unreadable",
      note: "site.changed does not say what changed",
      kind: "update",
    })
    for (const body of [
      {},
      undefined,
      [],
      { post: null },
      { post: { current: {}, previous: {} } },
      { x: 1 },
    ]) {
      expect(read(body)).toMatchObject({ reading: "unreadable" })
    }
  })

  it("tells nobody's address", () => {
    expect(JSON.stringify(read(post(POST, { authors: POST.authors })))).not.toContain("@")
  })
})
