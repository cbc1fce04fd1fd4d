import { describe, expect, it } from "vitest"
import { hmac, toBase64, toHex, utf8 } from "../../protocol/bytes.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { contextOf, describeSource, type Vector, withHeaders } from "./conformance.ts"
import { contentstack } from "./contentstack.ts"
import type { Delivery } from "./source.ts"

const SECRET = "cs-organisation-secret"
const OTHER = "cs-another-secret"
const NOW: Milliseconds = 1_767_225_600_000

const deliveryOf = (headers: Record<string, string>, body: string): Delivery => ({
  method: "POST",
  path: "/v1/hooks/contentstack-main",
  headers: new Headers(headers),
  body: utf8(body),
})

/** Signs by HMAC as Contentstack does, spelt out here once more rather than shared with what is tested. */
async function sign(secret: string, body: string, at: Milliseconds | string): Promise<Delivery> {
  const seconds = typeof at === "string" ? at : String(at / SECOND)
  const mac = toHex(await hmac("SHA-256", utf8(secret), utf8(`${seconds}.${body}`)))
  return deliveryOf({ "x-contentstack-hmac-signature": `t=${seconds},v1=${mac}` }, body)
}

/** A publish as the documents show it, shortened, with the time at which the vectors arrive. */
const PUBLISH =
  '{"module":"entry","api_key":"blt22","data":{"entry":{"title":"Webhook Entry","url":"/webhook-entry","locale":"en-us","uid":"blta9","_version":2,"tags":[]},"content_type":{"title":"Webhook created","uid":"webhookcreated"},"environment":{"name":"production"},"locale":"en-us","action":"publish","status":"success"},"event":"publish","triggered_at":"2026-01-01T00:00:00.000Z"}'

/** Made by `openssl genrsa`, and written by `openssl rsa -RSAPublicKey_out` in the form that Contentstack publishes. */
const PUBLIC_KEY = [
  "-----BEGIN RSA PUBLIC KEY-----",
  "MIIBCgKCAQEAzRQ1eMaDKLFgkb0qraJEpi+PEGlyBcIAXcZvk1yUVf/ok+mWXGlS",
  "WN7NSFYPKp3ZJbdHmwZJpNFQFzpmw4hXY4tiIRhzFlScJxF+lADx3nmQsIeJ5xCj",
  "CBtm9/aEdxb8VEjeJahCq5oyqnyJlkvOJmfi9f1RGCI0u6AMfuWFw+evT/FpTX4h",
  "q9kAxpgOA3x6zIdP2osaxwImoWZmZdGl7cMvH8F9ukH4bbXpNOmB2O7Ml13OQ5g3",
  "GKvJ4mrcJLAFKWwnH3XeRiH+2uK13be8PKJ+DfkGtc7l1J0y1oEWP1tA1FH4fTZG",
  "citWCB3fpzrAH2WNafx00xP+0GLQsjuR2wIDAQAB",
  "-----END RSA PUBLIC KEY-----",
].join("\n")

/** Contentstack publishes none: these are OpenSSL's, by the algorithms that it documents. */
const common = { provider: "contentstack", source: "made by OpenSSL", body: PUBLISH, clock_ms: NOW }
const hmacVector: Vector = {
  ...common,
  secret: SECRET,
  headers: {
    "x-contentstack-hmac-signature":
      "t=1767225600,v1=54dc53dcbd4bdd107c50019cc603d4233164b057db6117f581784f27cf0bc0c7",
  },
  valid: true,
  note: "openssl dgst -sha256 -hmac",
}
const keyVector: Vector = {
  ...common,
  secret: PUBLIC_KEY,
  headers: {
    "x-contentstack-request-signature":
      "v1=yUFkO8lJZNddzlUuKLjRnwC7lqxgVNM+vCX/XGFkhVgJ2LkqO61V+iCfhRWy9GDuW+WjYTQ4CVHQoUNv3AmCtYBpfJiJ6Gc2BZhYx4xytqaHA00sVuoQFzxXpuMM4CSFJAfdP8Sel85pU2dKfdzG8SJsr7P2UZHdG3+WWXuG8v3+xToO7ehydVI4nqf0llD33/36JXvNzeVzutDS+q5zBC7QxF2AfKTq2esrvC+Kbjnhlcgt9S3O7b3kyD46PR3t9jVpudFaC2Ncv/MaLZqX0NB1t+m1EOwSLdXB/+3+edTzU2gcX8rDtXQzLUr41hbE8kwuia7AMzerO/VQ2mVfKA==",
  },
  valid: true,
  note: "openssl dgst -sha256 -sign, rsa_padding_mode:pss, rsa_pss_saltlen:32",
}
const longSaltVector: Vector = {
  ...keyVector,
  headers: {
    "x-contentstack-request-signature":
      "v1=QmG1STuZA5TurOgcAXcdgafC8l/i31yvWujU2yJJxH+HsRYa+4+yKCH4fIESZm0/5xhrMGglE4q9SNkvj27ZmhlesvSeJOz+FNV5VpS7cORTljOOAraqBgfpwWDRc4baDoi6tY4Mtj9DfaeKvvvZ+in5pRwQ6g/YO9Q61fOWr7antb1pzC/0jRqDD261BXxhl83mrAEG+lZ2nMuR64opGLPSxMUmuNWBT5eT1KPTTk6mWUc5xccVSxOD06kEjuc1+zPXGBwGgRZWc67/vR+fMaig/11U51C0mkVcTOsgkbOpY7+WtTg65Kc++WgZwg3ndHIwXf3Y5Vk9aEcKRwQ2uQ==",
  },
  valid: false,
  note: "the same with rsa_pss_saltlen:222, which the documents call outdated",
}

const change = (name: string, edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { [name]: edit(delivery.headers.get(name) ?? "") })

describe("by HMAC", () => {
  const edit = (by: (value: string) => string) => change("x-contentstack-hmac-signature", by)
  describeSource(contentstack, {
    secrets: [SECRET, OTHER],
    sign,
    signedHeaders: ["x-contentstack-hmac-signature"],
    signsPath: false,
    tolerance: 5 * MINUTE,
    spoilt: {
      "an upper-case signature": edit((value) => value.toUpperCase().replace("T=", "t=").replace("V1", "v1")),
      "a signature that is too short": edit((value) => value.slice(0, -2)),
      "a signature whose last digit is another": edit((value) =>
        value.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
      ),
      "a version that nobody knows": edit((value) => value.replace("v1", "v2")),
      "two timestamps": edit((value) => `${value},t=1`),
      "no timestamp": edit((value) => value.replace(/^t=\d+,/, "")),
      "one signature too late in a list": edit((value) => value.replace(",v1", `${",v1=00".repeat(8)},v1`)),
    },
    vectors: [hmacVector],
  })

  it.for(["1767225600000", "01767225600", "1767225600.0", "+1767225600", "1e9"])(
    "refuses the timestamp %j, though it is rightly signed",
    async (timestamp) => {
      const delivery = await sign(SECRET, "{}", timestamp)
      expect(await contentstack.verify(delivery, contextOf("contentstack", SECRET))).toMatchObject({
        verdict: "invalid",
      })
    },
  )

  it("takes one good signature among several, as while a key is rotated", async () => {
    const delivery = await sign(SECRET, "{}", NOW)
    const rotating = change("x-contentstack-hmac-signature", (value) =>
      value.replace(",v1", `,v1=${"0".repeat(64)}, v1`),
    )
    expect(await contentstack.verify(rotating(delivery), contextOf("contentstack", SECRET))).toMatchObject({
      verdict: "verified",
    })
  })
})

const generate = async () =>
  crypto.subtle.generateKey(
    { name: "RSA-PSS", modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1), hash: "SHA-256" },
    true,
    ["sign", "verify"],
  )

const pem = (label: string, base64: string) =>
  `-----BEGIN ${label}-----\n${base64.replaceAll(/.{64}/g, "$&\n")}\n-----END ${label}-----\n`

const publicKeyOf = async ({ publicKey }: CryptoKeyPair) =>
  new Uint8Array(await crypto.subtle.exportKey("spki", publicKey))

/** Of 2,048 bits: what stands before the key itself. */
const HEAD = 24

describe("by key", async () => {
  const [pair, another] = [await generate(), await generate()]
  const spki = await publicKeyOf(pair)
  const key = toBase64(spki)
  const bare = toBase64(spki.slice(HEAD))
  const otherKey = pem("PUBLIC KEY", toBase64(await publicKeyOf(another)))

  async function signByKey(by: CryptoKeyPair, body: string, saltLength = 32): Promise<Delivery> {
    const signature = await crypto.subtle.sign({ name: "RSA-PSS", saltLength }, by.privateKey, utf8(body))
    return deliveryOf(
      { "x-contentstack-request-signature": `v1=${toBase64(new Uint8Array(signature))}` },
      body,
    )
  }

  const edit = (by: (value: string) => string) => change("x-contentstack-request-signature", by)
  describeSource(contentstack, {
    secrets: [pem("RSA PUBLIC KEY", bare), otherKey],
    sign: async (secret, body) => signByKey(secret === otherKey ? another : pair, body),
    signedHeaders: ["x-contentstack-request-signature"],
    signsPath: false,
    spoilt: {
      "a signature that is too short": edit((value) => value.slice(0, -8)),
      "a signature that is too long": edit((value) => `v1=AAAA${value.slice(3)}`),
      "an empty signature": edit(() => "v1="),
      base64url: edit((value) => `${value.replaceAll("+", "-").replaceAll("/", "_")}_`),
      "base64 without its padding": edit((value) => value.replaceAll(/=+$/g, "")),
      "a signature of no version": edit((value) => value.slice(3)),
      "a version that nobody knows": edit((value) => value.replace("v1", "v2")),
    },
    vectors: [keyVector, longSaltVector],
  })

  const context = (secret: string | string[], at = NOW) => contextOf("contentstack", secret, { at })
  const verdict = async (delivery: Delivery, secret: string | string[], at = NOW) =>
    (await contentstack.verify(delivery, context(secret, at))).verdict

  it.for([
    ["PEM of the key itself", pem("RSA PUBLIC KEY", bare)],
    ["PEM of it in its envelope", pem("PUBLIC KEY", key)],
    ["base64 of the key itself", bare],
    ["base64 of it in its envelope", key],
    ["PEM as JSON writes it", JSON.stringify(pem("RSA PUBLIC KEY", bare)).slice(1, -1)],
    ["PEM in one line", pem("RSA PUBLIC KEY", bare).replaceAll("\n", " ")],
    ["base64 in lines", bare.replaceAll(/.{64}/g, "$&\n")],
  ] as const)("takes %s", async ([, secret]) => {
    const delivery = await signByKey(pair, "{}")
    expect(await verdict(delivery, secret)).toBe("verified")
    expect(await verdict(await signByKey(another, "{}"), secret)).toBe("invalid")
    // It is public: nobody may sign by HMAC with it, in whatever form.
    for (const text of [secret, secret.trim(), key, bare]) {
      expect(await verdict(await sign(text, "{}", NOW), secret)).toBe("invalid")
    }
  })

  it.for([
    ["cut off", pem("RSA PUBLIC KEY", bare.slice(0, -40))],
    ["of another kind", pem("CERTIFICATE", key.slice(40))],
    ["none at all", "-----BEGIN RSA PUBLIC KEY-----"],
    ["a private one's label", pem("PRIVATE KEY", "AAAA")],
  ] as const)("has no use for a key that is %s, nor for its text", async ([, secret]) => {
    expect(await verdict(await signByKey(pair, "{}"), secret)).toBe("invalid")
    expect(await verdict(await sign(secret, "{}", NOW), secret)).toBe("invalid")
  })

  it("goes by the secret, never by what the delivery claims", async () => {
    const both = async (byKey: string, byHmac: string) => {
      const [first, second] = [await signByKey(pair, byKey), await sign(SECRET, byHmac, NOW)]
      const name = "x-contentstack-hmac-signature"
      return withHeaders(first, { [name]: second.headers.get(name) ?? "" })
    }
    const delivery = await both('{"a":1}', '{"a":2}')
    expect(await verdict(delivery, key)).toBe("verified")
    expect(await verdict(delivery, SECRET)).toBe("invalid")
    expect(await verdict(delivery, [SECRET, key])).toBe("verified")
  })

  it("takes the JSON that was signed, however it is spaced, and no other", async () => {
    const { headers } = await signByKey(pair, '{"a":[1,"b c"]}')
    const spaced = (body: string) => ({ ...deliveryOf({}, body), headers })
    expect(await verdict(spaced('{ "a": [1, "b c"] }\n'), key)).toBe("verified")
    for (const body of ['{"a":[1,"bc"]}', '{"a":[1,"b c"],"d":1}', '{"a":["1","b c"]}', ""]) {
      expect(await verdict(spaced(body), key), body).toBe("invalid")
    }
  })

  it("bounds the time in the body, and lets the last attempt come", async () => {
    const body = JSON.stringify({ triggered_at: new Date(NOW).toISOString() })
    const delivery = await signByKey(pair, body)
    expect(await verdict(delivery, key, NOW + 780 * SECOND)).toBe("verified")
    expect(await verdict(delivery, key, NOW + 21 * MINUTE)).toBe("verified")
    expect(await verdict(delivery, key, NOW + 21 * MINUTE + SECOND)).toBe("stale")
    expect(await verdict(delivery, key, NOW - 5 * MINUTE)).toBe("verified")
    expect(await verdict(delivery, key, NOW - 5 * MINUTE - SECOND)).toBe("stale")
  })

  it("knows a repetition by the body where that tells its time, else by its signature", async () => {
    const timed = await signByKey(pair, PUBLISH)
    expect(await contentstack.verify(timed, context(key))).toEqual({
      verdict: "verified",
      replay: "body-hash",
    })
    const timeless = await signByKey(pair, '{"triggered_at":"soon"}')
    expect(await contentstack.verify(timeless, context(key))).toEqual({
      verdict: "verified",
      deliveryId: timeless.headers.get("x-contentstack-request-signature")?.slice(3),
      replay: "delivery-id",
    })
    expect(await contentstack.verify(await sign(SECRET, PUBLISH, NOW), context(SECRET))).toEqual({
      verdict: "verified",
      replay: "body-hash",
    })
    expect(await contentstack.verify(await sign(SECRET, "{}", NOW), context(SECRET))).toMatchObject({
      deliveryId: /^[0-9a-f]{64}$/.exec(
        toHex(await hmac("SHA-256", utf8(SECRET), utf8(`${NOW / SECOND}.{}`))),
      )?.[0],
      replay: "delivery-id",
    })
  })
})

/** As a source whose `auth` says that the webhook has basic auth, a bearer token or a header of one's own. */
describe("by a carried secret", () => {
  describeSource(contentstack, {
    secrets: ["tidemark:s3cret", "tidemark:other"],
    sign: async (secret, body) =>
      deliveryOf({ "x-own": secret, authorization: `Basic ${toBase64(utf8(secret))}` }, body),
    signedHeaders: ["x-own"],
    signsPath: false,
    signsBody: false,
    options: { auth: "header:x-own" },
    spoilt: {},
    vectors: [],
  })

  it("looks at no signature then", async () => {
    const signed = await sign(SECRET, "{}", NOW)
    const context = contextOf("contentstack", SECRET, { auth: "basic" })
    expect(await contentstack.verify(signed, context)).toMatchObject({ verdict: "invalid" })
    const carried = deliveryOf({ authorization: `Basic ${toBase64(utf8(SECRET))}` }, "{}")
    expect(await contentstack.verify(carried, context)).toEqual({ verdict: "verified", replay: "none" })
    expect(await contentstack.verify(carried, contextOf("contentstack", SECRET))).toMatchObject({
      verdict: "invalid",
    })
  })
})

const read = (body: unknown) =>
  contentstack.read({ body, headers: new Headers(), path: "/" }, contextOf("contentstack", SECRET))

const ENTRY = {
  uid: "blta9",
  title: "Tides",
  url: "/blog/tides",
  locale: "en-us",
  _version: 2,
  tags: ["coast"],
}
const DATA = {
  entry: ENTRY,
  content_type: { uid: "post" },
  environment: { name: "production", uid: "blt33" },
}

describe("reading", () => {
  it("reads a publish", () => {
    expect(read({ module: "entry", event: "publish", data: { ...DATA, locale: "de-de" } })).toEqual({
      reading: "events",
      events: [
        {
          kind: "publish",
          type: "post",
          id: "blta9",
          locale: "de-de",
          slug: "/blog/tides",
          version: "2",
          environment: "production",
          topic: "entry.publish",
          tags: ["coast"],
        },
      ],
    })
  })

  it("reads the delivery whose signatures are known", () => {
    expect(read(JSON.parse(PUBLISH))).toMatchObject({
      events: [{ kind: "publish", type: "webhookcreated", id: "blta9", locale: "en-us" }],
    })
  })

  it("reads a publish within a release, which names no environment", () => {
    const source = { type: "release", title: "Release01", uid: "blt11" }
    const { environment: _, ...data } = DATA
    expect(read({ module: "entry", event: "publish", source, data })).toMatchObject({
      events: [{ kind: "publish", id: "blta9", locale: "en-us" }],
    })
  })

  it.for([
    ["publish", "publish"],
    ["publish.success", "publish"],
    ["unpublish", "unpublish"],
    ["unpublish.success", "unpublish"],
    ["delete", "delete"],
    ["rewrite", "update"],
  ] as const)("reads %s as %s, of entries and of assets", ([event, kind]) => {
    expect(read({ module: "entry", event, data: DATA })).toMatchObject({ events: [{ kind, type: "post" }] })
    const asset = { uid: "blt11", url: "https://images.example.com/a.png", _version: 1 }
    const { events } = read({ module: "asset", event, data: { asset } }) as { events: unknown }
    expect(events).toEqual([{ kind, type: "asset", id: "blt11", version: "1", topic: `asset.${event}` }])
  })

  it.for(["create", "update", "publish.start", "publish.fail", "unpublish.start", "unpublish.fail"])(
    "ignores %s, as nothing is published by it",
    (event) => {
      for (const module of ["entry", "asset"]) {
        expect(read({ module, event, data: DATA })).toEqual({
          reading: "ignored",
          note: `${module}.${event} changes nothing published`,
        })
      }
    },
  )

  it("has an event for each item of a deployed release", () => {
    const items = [
      { uid: "blt01", version: 1, action: "publish", content_type_uid: "post", locale: "en-us" },
      { uid: "blt02", version: 3, action: "unpublish", content_type_uid: "post", locale: "en-us" },
      { uid: "blt33", version: 1, action: "publish", content_type_uid: "built_io_upload", locale: "en-us" },
      { uid: "blt44", content_type_uid: "sys_assets" },
    ]
    const environment = { name: "production" }
    const deploy = (release: object) =>
      read({ module: "release", event: "deploy", data: { release, environment } })
    expect(deploy({ items })).toMatchObject({
      events: [
        { kind: "publish", type: "post", id: "blt01", environment: "production", topic: "release.deploy" },
        { kind: "unpublish", type: "post", id: "blt02", version: "3", locale: "en-us" },
        { kind: "publish", type: "asset", id: "blt33" },
        { kind: "update", type: "asset", id: "blt44" },
      ],
    })
    const whole = [{ kind: "deploy", environment: "production", topic: "release.deploy" }]
    expect(deploy({})).toEqual({ reading: "events", events: whole })
    const published = { ...items[0], action: "publish" }
    expect(deploy({ items: [published, { action: "publish" }] })).toEqual({
      reading: "events",
      events: whole,
    })
    expect(deploy({ items: [published, { action: "unpublish" }] })).toMatchObject({
      reading: "unreadable",
      kind: "unpublish",
    })
  })

  it.for(["content_type", "content_types", "content types"])(
    "takes a change of a %s for one of the model",
    (module) => {
      for (const [event, kind] of [
        ["create", "update"],
        ["update", "update"],
        ["delete", "delete"],
      ]) {
        expect(read({ module, event, data: { content_type: { uid: "post" } } })).toEqual({
          reading: "events",
          events: [{ kind, isModel: true, type: "post", topic: `${module}.${event}` }],
        })
      }
    },
  )

  it.for(["global_field", "taxonomy", "term"])("takes a change of a %s for one of the model", (module) => {
    expect(read({ module, event: "delete", data: { [module]: { uid: "seo" } } })).toEqual({
      reading: "events",
      events: [{ kind: "delete", isModel: true, type: module, topic: `${module}.delete` }],
    })
  })

  it.for([
    ["release", "create"],
    ["release", "update"],
    ["comment", "update"],
    ["workflow", "update"],
  ] as const)("ignores %s.%s", ([module, event]) => {
    expect(read({ module, event, data: DATA })).toMatchObject({ reading: "ignored" })
  })

  it.for([
    [{ event: "delete" }, "delete"],
    [{ module: "entry", event: "unpublish", data: {} }, "unpublish"],
    [{ module: "bulk_job", event: "unpublish", data: {} }, "unpublish"],
  ] as const)("says of %j that it is %s, where it cannot say of what", ([body, kind]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable", kind })
  })

  it.for([
    [undefined],
    [[]],
    [{}],
    [{ module: "entry" }],
    [{ event: "publish" }],
    [{ module: "entry", event: "publish" }],
    [{ module: "asset", event: "delete", data: { entry: ENTRY } }],
    [{ module: "bulk_job", event: "completed", data: {} }],
    [{ module: "constructor", event: "publish", data: DATA }],
  ])("cannot read %j", ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  })
})
