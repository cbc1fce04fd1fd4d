import { describe, expect, it } from "vitest"
import { hmac, sha256, toBase64, toBase64Url, toHex, utf8 } from "../../protocol/bytes.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { netlify } from "./netlify.ts"
import type { Delivery } from "./source.ts"

const SECRET = "netlify-jws-secret"
const HEADER = { alg: "HS256", typ: "JWT" }

const encode = (part: unknown): string => toBase64Url(utf8(JSON.stringify(part)))

interface Jws {
  readonly header?: unknown
  readonly claims?: unknown
}

async function sign(secret: string, body: string, jws: Jws = {}): Promise<Delivery> {
  const { header = HEADER, claims = { iss: "netlify", sha256: toHex(await sha256(utf8(body))) } } = jws
  const signed = `${encode(header)}.${encode(claims)}`
  const signature = toBase64Url(await hmac("SHA-256", utf8(secret), utf8(signed)))
  const headers = new Headers({ "x-webhook-signature": `${signed}.${signature}` })
  return { method: "POST", path: "/v1/hooks/site", headers, body: utf8(body) }
}

const spoil = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { "x-webhook-signature": edit(delivery.headers.get("x-webhook-signature") ?? "") })

/** The last character of 32 bytes in base64 has two bits that mean nothing. */
const lowBit = (value: string): string => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
  return value.slice(0, -1) + alphabet[alphabet.indexOf(value.at(-1) ?? "") ^ 1]
}

describeSource(netlify, {
  secrets: [SECRET, "another"],
  sign: async (secret, body) => sign(secret, body),
  signedHeaders: ["x-webhook-signature"],
  signsPath: false,
  spoilt: {
    "a signature whose unused bits are set": spoil(lowBit),
    "a signature with padding": spoil((value) => `${value}=`),
    "base64 that is not for urls": spoil((value) => `${value.slice(0, -1)}+`),
    "no signature": spoil((value) => value.slice(0, value.lastIndexOf(".") + 1)),
    "two parts": spoil((value) => value.slice(0, value.lastIndexOf("."))),
    "four parts": spoil((value) => `${value}.AAAA`),
    "two signatures": spoil((value) => `${value}, ${value}`),
    "alg none with the signature left on": spoil((value) =>
      value.replace(/^[^.]+/, encode({ alg: "none", typ: "JWT" })),
    ),
    "a header that is no JSON": spoil((value) => value.replace(/^[^.]+/, toBase64(utf8("abc")))),
  },
  vectors: vectorsOf("netlify"),
})

describe("verification", () => {
  const verify = async (jws: Jws, body = "{}") =>
    netlify.verify(await sign(SECRET, body, jws), contextOf("netlify", SECRET))

  it("knows no repetition", async () => {
    expect(await verify({})).toEqual({ verdict: "verified", replay: "none" })
  })

  it.for([
    [{ alg: "none" }],
    [{ alg: "hs256" }],
    [{ alg: "HS512" }],
    [{ alg: "RS256" }],
    [{ alg: ["HS256", "none"], typ: "JWT" }],
    [{}],
    [null],
    ["HS256"],
  ])("refuses the header %j, though it is rightly signed", async ([header]) => {
    expect(await verify({ header })).toMatchObject({ verdict: "invalid" })
  })

  it("refuses claims that are not of this body or not of Netlify, though they are rightly signed", async () => {
    const digest = toHex(await sha256(utf8("{}")))
    for (const claims of [
      { iss: "netlify", sha256: toHex(await sha256(utf8("{ }"))) },
      { iss: "netlify", sha256: digest.toUpperCase() },
      { iss: "netlify" },
      { iss: "netlify", sha256: [digest] },
      { iss: ["netlify"], sha256: digest },
      { iss: "somebody", sha256: digest },
      { sha256: digest },
      null,
      "netlify",
    ]) {
      expect(await verify({ claims }), JSON.stringify(claims)).toMatchObject({ verdict: "invalid" })
    }
    expect(await verify({ claims: { iss: "netlify", sha256: digest } })).toMatchObject({
      verdict: "verified",
    })
  })
})

const read = (body: unknown) =>
  netlify.read({ body, headers: new Headers(), path: "/" }, contextOf("netlify", SECRET))

const DEPLOY = {
  id: "5ebc34bf4fea0b01f02efa3a",
  site_id: "fa4dd95a-994e-4f89-8a7a-2d9e9fc36a32",
  state: "ready",
  name: "www-jvt-me",
  ssl_url: "https://www.jvt.me",
  branch: "master",
  context: "production",
  commit_ref: "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
  published_at: "2020-05-13T17:58:56.634Z",
}

describe("reading", () => {
  it("reads a deploy", () => {
    expect(read(DEPLOY)).toEqual({
      reading: "events",
      events: [
        {
          kind: "deploy",
          type: "www-jvt-me",
          id: "5ebc34bf4fea0b01f02efa3a",
          environment: "production",
          version: "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        },
      ],
    })
  })

  it.for([
    [{ ...DEPLOY, context: "branch-deploy" }, "branch-deploy"],
    [{ ...DEPLOY, context: "staging" }, "staging"],
    // Whether that means that it is not live is not known for certain.
    [{ ...DEPLOY, published_at: null, locked: true }, "production"],
    // A state of tomorrow.
    [{ ...DEPLOY, state: "current" }, "production"],
  ] as const)("takes %j for a deploy", ([body, environment]) => {
    expect(read(body)).toMatchObject({ events: [{ kind: "deploy", environment }] })
  })

  it("names no environment where none is told", () => {
    expect(read({ state: "ready", commit_ref: null })).toEqual({
      reading: "events",
      events: [{ kind: "deploy" }],
    })
  })

  it.for([
    { ...DEPLOY, state: "new" },
    { ...DEPLOY, state: "building" },
    { ...DEPLOY, state: "error" },
    { ...DEPLOY, state: "rejected" },
    { ...DEPLOY, context: "deploy-preview" },
  ])("ignores $state of $context", (body) => {
    expect(read(body)).toMatchObject({ reading: "ignored" })
  })

  it("cannot tell what has no state", () => {
    for (const body of [undefined, [], {}, { form_id: "1", email: "ada@example.com" }]) {
      expect(read(body)).toMatchObject({ reading: "unreadable" })
    }
  })
})
