// A secret that was pasted with its line end, or is no base64, was "valid", and each delivery a 401 that blamed the sender.
import { describe, expect, it } from "vitest"
import { parseConfig } from "./config.ts"
import { secret } from "./define.ts"
import type { ConfigInput } from "./schema.ts"
import { secretFaults } from "./secret-forms.ts"
import { SOURCE_TRAITS, type SourceType } from "./source-options.ts"

const NAME = "THE_SECRET"
const WHSEC = `whsec_${btoa("0123456789abcdef0123456789abcdef")}`

/** What is wrong with a value as the one secret of this configuration. */
function problemOf(config: ConfigInput, value: string): string | undefined {
  const faults = secretFaults(parseConfig(config), { [NAME]: value })
  for (const { name, detail } of faults) {
    expect(name).toBe(NAME)
    // No part of a value is repeated.
    if (value.trim().length > 8) expect(detail).not.toContain(value.trim().slice(0, 8))
  }
  expect(faults.length).toBeLessThan(2)
  return faults[0]?.detail
}

const source = (type: SourceType, auth?: string): ConfigInput => ({
  namespaces: { blog: {} },
  sources: {
    cms: { type, secret: secret(NAME), namespace: "blog", ...(auth === undefined ? {} : { auth }) },
  },
})

describe("of a source", () => {
  const right: Partial<Record<SourceType, string>> = {
    contentful: "a".repeat(60) + "+/=_",
    payload: WHSEC,
    "standard-webhooks": WHSEC,
    svix: WHSEC,
    wordpress: WHSEC,
  }
  const types = Object.keys(SOURCE_TRAITS) as SourceType[]
  const of = (type: SourceType) => source(type, SOURCE_TRAITS[type].signed ? undefined : "bearer")

  it.for(types)(
    "%s: one with a line end or a blank beside it is refused, and the same without is not",
    (type) => {
      const value = right[type] ?? "a-secret-of-its-own"
      expect(problemOf(of(type), value)).toBeUndefined()
      for (const wrong of [`${value}\n`, `${value}\r\n`, ` ${value}`, `${value}\t`])
        expect(problemOf(of(type), wrong)).toBe("begins or ends with white space")
      expect(problemOf(of(type), "   ")).toBe("begins or ends with white space")
    },
  )

  it.for(["payload", "standard-webhooks", "svix"] as const)(
    "%s: one that is no base64 is refused",
    (type) => {
      for (const wrong of [
        "plain text",
        "whsec_",
        "whsec_not base64",
        `${WHSEC}!`,
        "whpk_",
        `whpk_${btoa("short")}`,
      ])
        expect(problemOf(of(type), wrong)).toBe("is not whsec_ and base64")
      expect(problemOf(of(type), `whpk_${btoa("k".repeat(32))}`)).toBeUndefined()
      expect(problemOf(of(type), WHSEC.slice("whsec_".length))).toBeUndefined()
    },
  )

  it("wordpress: one that begins as ours is ours, and any other a text", () => {
    expect(problemOf(of("wordpress"), "whsec_???")).toBe("is not whsec_ and base64")
    expect(problemOf(of("wordpress"), "any text")).toBeUndefined()
  })

  it("contentful: one that is cut short is refused", () => {
    for (const wrong of ["a".repeat(63), "a".repeat(65), "a".repeat(63) + "!"])
      expect(problemOf(of("contentful"), wrong)).toMatch(/^is not the 64 characters/)
  })

  it("contentstack: a key in PEM may end with a line end", () => {
    const pem = `-----BEGIN PUBLIC KEY-----\n${"A".repeat(64)}\n-----END PUBLIC KEY-----\n`
    expect(problemOf(of("contentstack"), pem)).toBeUndefined()
  })

  it.for([
    ["bearer", "two words", /no bearer token/],
    ["bearer", "schlüssel", /no bearer token/],
    ["header:x-secret", "schlüssel", /no header carries/],
    ["header:x-secret", "two words", undefined],
    ["basic", "a-secret-alone", /user:password/],
    ["basic", "user:pass word", undefined],
    ["query:token", "a+b/c=", undefined],
    ["body", "two words", undefined],
  ] as const)("with auth %s", ([auth, value, wrong]) => {
    const problem = problemOf(source("json", auth), value)
    if (wrong === undefined) expect(problem).toBeUndefined()
    else expect(problem).toMatch(wrong)
  })

  it("a list is told one by one, by place and name", () => {
    const config = parseConfig({
      namespaces: { blog: {} },
      sources: { cms: { type: "svix", secret: [secret("OLD"), secret("NEW")], namespace: "blog" } },
    })
    expect(secretFaults(config, { OLD: WHSEC, NEW: "oops!" })).toEqual([
      { path: "sources.cms.secret.1", name: "NEW", detail: "is not whsec_ and base64" },
    ])
  })
})

describe("of a token", () => {
  const config: ConfigInput = { tokens: [{ name: "deploy", sha256: secret(NAME), scopes: ["read:*"] }] }

  it("is a SHA-256, and what is none is refused", () => {
    expect(problemOf(config, "0aF".repeat(21) + "0")).toBeUndefined()
    expect(problemOf(config, "0".repeat(63))).toMatch(/^is no SHA-256/)
    expect(problemOf(config, `${"0".repeat(64)}\n`)).toBe("begins or ends with white space")
  })

  it("that holds the token itself is told what it is", () => {
    expect(problemOf(config, `tm_${"x".repeat(43)}`)).toMatch(/^holds a token/)
  })
})

describe("of a target", () => {
  const target = (type: string, options: object): ConfigInput =>
    ({ targets: { cdn: { type, namespaces: ["*"], ...options } } }) as ConfigInput

  it.for(["http", "nextjs", "workers-cache"])("%s: one that is not whsec_ and base64 is refused", (type) => {
    const config = target(type, { url: "https://hooks.example.com", secret: secret(NAME) })
    expect(problemOf(config, WHSEC)).toBeUndefined()
    for (const wrong of ["plain", WHSEC.slice("whsec_".length), "whsec_!"])
      expect(problemOf(config, wrong)).toBe("is not whsec_ and base64")
  })

  it("a credential that stands in a header is printable, and has no blank", () => {
    const config = target("cloudflare", { zone: "0".repeat(32), plan: "pro", token: secret(NAME) })
    expect(problemOf(config, "token-1")).toBeUndefined()
    for (const wrong of ["two words", "tok\u0000en", "schlüssel"])
      expect(problemOf(config, wrong)).toMatch(/^holds what no such credential does/)
    expect(problemOf(config, "token-1\n")).toBe("begins or ends with white space")
  })

  it("Google's is the JSON of a key", () => {
    const config = target("google-cloud-cdn", { project: "p", urlMap: "u", key: secret(NAME) })
    expect(problemOf(config, '{"client_email":"a@b","private_key":"-"}\n')).toBeUndefined()
    for (const wrong of ["{}", "/etc/key.json", '"text"'])
      expect(problemOf(config, wrong)).toMatch(/JSON of a service/)
  })
})

it("what is not held is missing, and not wrong", () => {
  expect(secretFaults(parseConfig(source("svix")), {})).toEqual([])
  expect(secretFaults(parseConfig(source("svix")), { [NAME]: "" })).toEqual([])
})
