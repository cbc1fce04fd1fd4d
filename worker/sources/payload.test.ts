import { expect, it } from "vitest"
import { signWebhook } from "../../protocol/standard-webhooks.ts"
import { utf8 } from "../../protocol/bytes.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { payload } from "./payload.ts"
import type { Delivery } from "./source.ts"

// What the hooks themselves send is tried in test/examples/payload.test.ts.

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

async function sign(secret: string, body: string, at: Milliseconds): Promise<Delivery> {
  const headers = new Headers(await signWebhook(secret, "msg_1", at / SECOND, body))
  return { method: "POST", path: "/v1/hooks/payload", headers, body: utf8(body) }
}

describeSource(payload, {
  secrets: [SECRET, "whsec_VGlkZW1hcmsncyB0ZXN0cyBvbmx5LCBubyBzZWNyZXQ="],
  sign,
  signedHeaders: ["webhook-id", "webhook-timestamp", "webhook-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
  spoilt: {
    "another version": (delivery) =>
      withHeaders(delivery, {
        "webhook-signature": delivery.headers.get("webhook-signature")?.replace("v1,", "v1a,"),
      }),
  },
  vectors: vectorsOf("standard-webhooks"),
})

const read = (body: unknown) =>
  payload.read({ body, headers: new Headers(), path: "/" }, contextOf("payload", SECRET))

it("reads what the hooks tell", () => {
  const data = {
    kind: "update",
    type: "posts",
    id: "6710c1",
    locale: "en",
    slug: "ebb",
    previous_slug: "tides",
    url: "https://www.example.com/ebb",
    previous_url: "https://www.example.com/tides",
  }
  expect(read({ type: "posts.update", timestamp: "2026-01-01T00:00:00Z", data })).toEqual({
    reading: "events",
    events: [
      {
        kind: "update",
        type: "posts",
        id: "6710c1",
        locale: "en",
        slug: "ebb",
        previousSlug: "tides",
        url: "https://www.example.com/ebb",
        previousUrl: "https://www.example.com/tides",
        topic: "posts.update",
      },
    ],
  })
})

it.for([undefined, [], {}, { type: "posts.update" }, { data: {} }, { data: { kind: "delete", id: 1 } }])(
  "has no event for %j, and so means all",
  (body) => expect(read(body).reading).toBe("unreadable"),
)

it("knows by the topic how hard to purge where the rest is missing", () => {
  expect(read({ type: "posts.delete" })).toMatchObject({ reading: "unreadable", kind: "delete" })
  expect(read({ type: "posts.unpublish", data: { type: "posts", id: 1 } })).toMatchObject({
    events: [{ kind: "unpublish" }],
  })
  expect(read({ type: "posts.delete", data: { kind: "update", type: "posts", id: 1 } })).toMatchObject({
    events: [{ kind: "update" }],
  })
})
