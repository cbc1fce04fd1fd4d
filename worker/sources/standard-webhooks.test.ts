import { describe, expect, it } from "vitest"
import { concatBytes, fromBase64, hmac, toBase64, utf8 } from "../../protocol/bytes.ts"
import { parseWebhookSecret, signedPrefix, signWebhook } from "../../protocol/standard-webhooks.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, type SourceCases, withHeaders } from "./conformance.ts"
import type { Delivery, SourceEvent } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const OTHER = "whsec_VGlkZW1hcmsncyB0ZXN0cyBvbmx5LCBubyBzZWNyZXQ="
const ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
const NOW: Milliseconds = 1_767_225_600_000

async function sign(secret: string, body: string, at: Milliseconds): Promise<Delivery> {
  const headers = await signWebhook(secret, ID, at / SECOND, body)
  return { method: "POST", path: "/v1/hooks/shop", headers: new Headers(headers), body: utf8(body) }
}

/** The published key pair: see test/fixtures/README.md. */
const [published] = vectorsOf("standard-webhooks-v1a")
const PUBLIC = published?.secret ?? ""

/** 32 bytes that are no point of the curve. */
const NO_POINT = `whpk_${"/".repeat(42)}8=`

/** Signs by v1a with a seed. PKCS 8 is the only form in which WebCrypto takes one; its head is always the same. */
async function signAsymmetric(seed: Uint8Array, body: string, at: Milliseconds): Promise<Delivery> {
  const head = Uint8Array.from([48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32])
  const key = await crypto.subtle.importKey("pkcs8", concatBytes(head, seed), { name: "Ed25519" }, false, [
    "sign",
  ])
  const seconds = String(at / SECOND)
  const signature = await crypto.subtle.sign("Ed25519", key, utf8(`${ID}.${seconds}.${body}`))
  const headers = new Headers({
    "webhook-id": ID,
    "webhook-timestamp": seconds,
    "webhook-signature": `v1a,${toBase64(new Uint8Array(signature))}`,
  })
  return { method: "POST", path: "/v1/hooks/shop", headers, body: utf8(body) }
}

const change = (name: string, edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { [name]: edit(delivery.headers.get(name) ?? "") })

const shared = {
  signedHeaders: ["webhook-id", "webhook-timestamp", "webhook-signature"],
  signsPath: false,
  tolerance: 5 * MINUTE,
} satisfies Partial<SourceCases>

/** Lenient decoders read both of these as the same bytes: the last character's low bits are not used. */
const lowBit = (value: string) =>
  value.replace(/(.)(=+)$/, (_, last: string, pad: string) => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return `${alphabet[alphabet.indexOf(last) ^ 1]}${pad}`
  })

const spoilt: SourceCases["spoilt"] = {
  "base64 whose unused bits are set": change("webhook-signature", lowBit),
  "base64 without its padding": change("webhook-signature", (value) => value.replaceAll("=", "")),
  base64url: change("webhook-signature", (value) =>
    value.replaceAll("+", "-").replaceAll("/", "_").replace("v1,", "v1,_"),
  ),
  "base64 with white space": change("webhook-signature", (value) => value.replace(",", ",\t")),
  "a signature of no version": change("webhook-signature", (value) => value.slice(value.indexOf(","))),
  "a version that nobody knows": change("webhook-signature", (value) => value.replace(/^v1a?/, "v9")),
  "an upper-case version": change("webhook-signature", (value) => value.replace("v1", "V1")),
  "one signature too late in a list": change(
    "webhook-signature",
    (value) => `${"v1,AAAA ".repeat(16)}${value}`,
  ),
  "an empty id": change("webhook-id", () => ""),
  "two timestamps": change("webhook-timestamp", (value) => `${value}, ${value}`),
  "a timestamp with a fraction": change("webhook-timestamp", (value) => `${value}.0`),
  "a timestamp with text after it": change("webhook-timestamp", (value) => `${value}abc`),
  "a timestamp in hex": change("webhook-timestamp", (value) => `0x${Number(value).toString(16)}`),
  "a timestamp with a leading zero": change("webhook-timestamp", (value) => `0${value}`),
}

describeSource(standardWebhooks, {
  ...shared,
  secrets: [SECRET, OTHER],
  sign,
  spoilt,
  vectors: vectorsOf("standard-webhooks"),
})

describe("v1a", () => {
  const pair = fromBase64(published?.private_key?.slice("whsk_".length) ?? "") ?? new Uint8Array()
  const seeds = new Map([
    [PUBLIC, pair.slice(0, 32)],
    // RFC 8032, 7.1, test 2.
    [
      "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
      fromBase64("TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=") ?? new Uint8Array(),
    ],
  ])
  const [first = "", second = ""] = seeds.keys()
  describeSource(standardWebhooks, {
    ...shared,
    secrets: [first, second],
    sign: async (secret, body, at) => signAsymmetric(seeds.get(secret) ?? new Uint8Array(), body, at),
    spoilt,
    vectors: vectorsOf("standard-webhooks-v1a"),
  })

  it("goes by the secret, never by what the delivery claims", async () => {
    const symmetric = await sign(SECRET, "{}", NOW)
    const claim = change("webhook-signature", (value) => value.replace("v1,", "v1a,"))
    expect(
      await standardWebhooks.verify(claim(symmetric), contextOf("standard-webhooks", SECRET)),
    ).toMatchObject({
      verdict: "invalid",
    })
    // The public key is no secret: nobody may sign by HMAC with it.
    const forged = await sign(PUBLIC.slice("whpk_".length), "{}", NOW)
    const both = withHeaders(forged, {
      "webhook-signature": `${forged.headers.get("webhook-signature")} ${claim(forged).headers.get("webhook-signature")}`,
    })
    expect(await standardWebhooks.verify(both, contextOf("standard-webhooks", PUBLIC))).toMatchObject({
      verdict: "invalid",
    })
  })

  it.for([["whpk_"], ["whpk_AAAA"], [`${PUBLIC}AAAA`], [PUBLIC.slice(0, -1)], [NO_POINT]])(
    "has no use for the key %s",
    async ([key]) => {
      const delivery = await signAsymmetric(pair.slice(0, 32), "{}", NOW)
      expect(
        await standardWebhooks.verify(delivery, contextOf("standard-webhooks", key ?? "")),
      ).toMatchObject({
        verdict: "invalid",
      })
    },
  )
})

describe("verification", () => {
  it("names the delivery, which its retries name too", async () => {
    const delivery = await sign(SECRET, "{}", NOW)
    expect(await standardWebhooks.verify(delivery, contextOf("standard-webhooks", SECRET))).toEqual({
      verdict: "verified",
      deliveryId: ID,
      replay: "delivery-id",
    })
  })

  it.for(["1767225600abc", "1767225600.0", "+1767225600", "01767225600", " ", "1e9"])(
    "refuses the timestamp %j, though it is rightly signed",
    async (timestamp) => {
      const key = parseWebhookSecret(SECRET) ?? new Uint8Array()
      const mac = await hmac("SHA-256", key, utf8(`${signedPrefix(ID, timestamp)}{}`))
      const signed = { "webhook-timestamp": timestamp, "webhook-signature": `v1,${toBase64(mac)}` }
      const delivery = withHeaders(await sign(SECRET, "{}", NOW), signed)
      const context = contextOf("standard-webhooks", SECRET)
      expect(await standardWebhooks.verify(delivery, context)).toMatchObject({ verdict: "invalid" })
    },
  )

  it("takes Svix's names for the headers, but not a mixture", async () => {
    const delivery = await sign(SECRET, "{}", NOW)
    const renamed = [...delivery.headers].map(
      ([name, value]) => [name.replace("webhook-", "svix-"), value] as const,
    )
    const svix = { ...delivery, headers: new Headers(Object.fromEntries(renamed)) }
    const context = contextOf("standard-webhooks", SECRET)
    expect(await standardWebhooks.verify(svix, context)).toMatchObject({
      verdict: "verified",
      deliveryId: ID,
    })
    const mixed = withHeaders(svix, { "webhook-signature": svix.headers.get("svix-signature") ?? "" })
    expect(await standardWebhooks.verify(mixed, context)).toMatchObject({ verdict: "invalid" })
  })
})

const read = (body: Readonly<Record<string, unknown>>): SourceEvent | undefined => {
  const reading = standardWebhooks.read(
    { body, headers: new Headers(), path: "/" },
    contextOf("standard-webhooks", SECRET),
  )
  return reading.reading === "events" ? reading.events[0] : undefined
}

describe("reading", () => {
  it.for([
    ["post.published", "publish", "post"],
    ["post.unpublished", "unpublish", "post"],
    ["post.archived", "unpublish", "post"],
    ["post.updated", "update", "post"],
    ["post.created", "update", "post"],
    ["post.deleted", "delete", "post"],
    ["Post.Removed", "delete", "Post"],
    ["shop.product.deleted", "delete", "shop.product"],
    ["entry/delete", "delete", "entry"],
    ["entry:publish", "publish", "entry"],
    ["blog_post_deleted", "delete", "blog_post"],
    ["invoice.paid", "update", "invoice.paid"],
    ["post", "update", "post"],
    ["deleted", "delete", undefined],
    ["constructor", "update", "constructor"],
    ["deploy", "deploy", undefined],
    ["site.deployed", "deploy", "site"],
    ["deploy.succeeded", "deploy", "deploy"],
    ["deployment.production.ready", "deploy", "deployment.production"],
    ["deploy.failed", "update", "deploy.failed"],
    ["payment.succeeded", "update", "payment.succeeded"],
  ] as const)("reads %s as %s of %s", ([topic, kind, type]) => {
    expect(read({ type: topic })).toEqual({ kind, ...(type === undefined ? {} : { type }), topic })
  })

  it("reads what data tells", () => {
    const data = { id: 42, slug: "tides", tags: ["a", 7, "a"], other: true }
    expect(read({ type: "post.published", timestamp: "2026-01-01T00:00:00Z", data })).toEqual({
      kind: "publish",
      type: "post",
      topic: "post.published",
      id: "42",
      slug: "tides",
      tags: ["a", "7"],
    })
  })

  it("reads a body with only tags as tags, and nothing else so", () => {
    expect(read({ tags: ["a", "b"] })).toEqual({ kind: "tags", tags: ["a", "b"] })
    for (const body of [
      { tags: [] },
      { tags: ["a", 1] },
      { tags: "a" },
      { tags: ["a"], type: "x" },
      { tags: ["a"], data: {} },
    ]) {
      expect(read(body)?.kind).toBe("update")
    }
  })

  it("has an event without a name for a body that says nothing", () => {
    expect(read({ test: 2_432_232_314 })).toEqual({ kind: "update" })
    expect(read({ type: null, data: "x" })).toEqual({ kind: "update" })
  })
})
