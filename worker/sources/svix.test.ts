import { describe, expect, it } from "vitest"
import { fromBase64, hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import type { Delivery } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"
import { svix } from "./svix.ts"

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const OTHER = "whsec_VGlkZW1hcmsncyB0ZXN0cyBvbmx5LCBubyBzZWNyZXQ="
const ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
const NOW: Milliseconds = 1_767_225_600_000

/** Signs as Svix does, spelt out here once more rather than shared with what is tested. */
async function sign(
  secret: string,
  body: string,
  at: Milliseconds,
  { id = ID, family = "svix" } = {},
): Promise<Delivery> {
  const key = fromBase64(secret.slice("whsec_".length)) ?? new Uint8Array()
  const mac = toBase64(await hmac("SHA-256", key, utf8(`${id}.${at / SECOND}.${body}`)))
  const headers = new Headers({
    [`${family}-id`]: id,
    [`${family}-timestamp`]: String(at / SECOND),
    [`${family}-signature`]: `v1,${mac}`,
  })
  return { method: "POST", path: "/v1/hooks/shop", headers, body: utf8(body) }
}

const change = (name: string, edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { [name]: edit(delivery.headers.get(name) ?? "") })

/** The same deliveries under the names that Svix gives the headers, which the signature does not cover. */
const published = vectorsOf("standard-webhooks", "standard-webhooks-v1a")
const renamed = published.map((vector) => ({
  ...vector,
  headers: Object.fromEntries(
    Object.entries(vector.headers).map(([name, value]) => [name.replace(/^webhook-/i, "svix-"), value]),
  ),
}))

describeSource(svix, {
  secrets: [SECRET, OTHER],
  sign: async (secret, body, at) => sign(secret, body, at),
  signedHeaders: ["svix-id", "svix-timestamp", "svix-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
  spoilt: {
    "an empty id": change("svix-id", () => ""),
    "two timestamps": change("svix-timestamp", (value) => `${value}, ${value}`),
    "a timestamp in milliseconds": change("svix-timestamp", (value) => `${value}000`),
    "base64 without its padding": change("svix-signature", (value) => value.replaceAll("=", "")),
    "a version that nobody knows": change("svix-signature", (value) => value.replace("v1", "v9")),
  },
  vectors: [...renamed, ...published],
})

describe("the names of the headers", () => {
  const verdict = async (adapter: typeof svix, delivery: Delivery) =>
    (await adapter.verify(delivery, contextOf(adapter.type, SECRET))).verdict

  it("are Svix's, or the standard ones where its customer asked for that", async () => {
    for (const adapter of [svix, standardWebhooks]) {
      expect(await verdict(adapter, await sign(SECRET, "{}", NOW))).toBe("verified")
      expect(await verdict(adapter, await sign(SECRET, "{}", NOW, { family: "webhook" }))).toBe("verified")
    }
  })

  it("are never mixed", async () => {
    const own = await sign(SECRET, "{}", NOW)
    const standard = await sign(SECRET, "{}", NOW, { family: "webhook" })
    for (const name of ["id", "timestamp", "signature"]) {
      const mixed = withHeaders(own, {
        [`svix-${name}`]: undefined,
        [`webhook-${name}`]: standard.headers.get(`webhook-${name}`) ?? "",
      })
      expect(await verdict(svix, mixed), name).toBe("invalid")
    }
  })

  it("count by the type where both signed: Svix's own here, the standard ones there", async () => {
    const own = await sign(SECRET, "{}", NOW, { id: "msg_own" })
    const forged = await sign(OTHER, "{}", NOW, { id: "msg_standard", family: "webhook" })
    const both = withHeaders(own, Object.fromEntries(forged.headers))
    expect(await svix.verify(both, contextOf("svix", SECRET))).toEqual({
      verdict: "verified",
      deliveryId: "msg_own",
      replay: "delivery-id",
    })
    expect(await verdict(standardWebhooks, both)).toBe("invalid")
    expect(await standardWebhooks.verify(both, contextOf("standard-webhooks", OTHER))).toMatchObject({
      deliveryId: "msg_standard",
    })
  })
})

describe("reading", () => {
  it.for([
    [
      { type: "post.published", data: { id: 42, slug: "tides", tags: ["coast"] } },
      { kind: "publish", type: "post", id: "42", slug: "tides", topic: "post.published", tags: ["coast"] },
    ],
    [
      { type: "post.unpublished", data: {} },
      { kind: "unpublish", type: "post", topic: "post.unpublished" },
    ],
    [
      { type: "post.deleted", data: { id: 7 } },
      { kind: "delete", type: "post", id: "7", topic: "post.deleted" },
    ],
    [{ tags: ["a", "b"] }, { kind: "tags", tags: ["a", "b"] }],
    [{ test: 2_432_232_314 }, { kind: "update" }],
  ] as const)("reads %j as %j, as Standard Webhooks are read", ([body, event]) => {
    const said = { body, headers: new Headers(), path: "/" }
    const expected = { reading: "events", events: [event] }
    expect(svix.read(said, contextOf("svix", SECRET))).toEqual(expected)
    expect(standardWebhooks.read(said, contextOf("standard-webhooks", SECRET))).toEqual(expected)
  })

  it("cannot read what is no JSON object", () => {
    for (const body of [undefined, null, [], "text"]) {
      expect(svix.read({ body, headers: new Headers(), path: "/" }, contextOf("svix", SECRET))).toMatchObject(
        {
          reading: "unreadable",
        },
      )
    }
  })
})
