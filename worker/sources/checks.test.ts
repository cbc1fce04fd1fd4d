import { describe, expect, it } from "vitest"
import { toBase64, utf8 } from "../../protocol/bytes.ts"
import { isAuthorised } from "./checks.ts"
import { contextOf } from "./conformance.ts"
import type { Delivery } from "./source.ts"

/** Of senders that sign nothing: a secret that the delivery carries. */
const delivery = (of: {
  readonly headers?: Record<string, string>
  readonly path?: string
  readonly body?: string
}): Delivery => ({
  method: "POST",
  path: of.path ?? "/v1/hooks/cms",
  headers: new Headers(of.headers ?? {}),
  body: utf8(of.body ?? "{}"),
})

const authorised = (auth: string, secrets: string[], of: Parameters<typeof delivery>[0]) =>
  isAuthorised(delivery(of), contextOf("standard-webhooks", secrets, { auth }))

const basic = (text: string) => ({ authorization: `Basic ${toBase64(utf8(text))}` })

const WAYS = [
  ["bearer", { headers: { authorization: "Bearer s3cret" } }],
  ["bearer", { headers: { authorization: "bearer s3cret" } }],
  ["basic", { headers: basic("s3cret") }],
  ["header:x-token", { headers: { "x-token": "s3cret" } }],
  ["query:token", { path: "/v1/hooks/cms?a=b&token=s3cret" }],
  ["body", { body: '{"secret":"s3cret"}' }],
] as const

describe.each(WAYS)("%s in %j", (auth, of) => {
  it("is taken with any of the secrets, and with no other", async () => {
    expect(await authorised(auth, ["s3cret"], of)).toBe(true)
    expect(await authorised(auth, ["old", "s3cret"], of)).toBe(true)
    expect(await authorised(auth, ["s3cre"], of)).toBe(false)
    expect(await authorised(auth, ["s3cret!"], of)).toBe(false)
    expect(await authorised(auth, [], of)).toBe(false)
  })

  it("is nothing where the environment lacks the secret", async () => {
    expect(await authorised(auth, [""], of)).toBe(false)
    expect(await authorised(auth, [""], {})).toBe(false)
  })
})

it.each([
  ["bearer", { headers: basic("s3cret") }],
  ["basic", { headers: { authorization: "Basic !!!" } }],
  ["body", { body: "no JSON" }],
  ["body", { body: '{"secret":["s3cret"]}' }],
  ["query:token", { path: "/v1/hooks/cms" }],
  ["header:x-token", {}],
  ["", { headers: { authorization: "Bearer s3cret" } }],
] as const)("%s is not found in %j", async (auth, of) => {
  expect(await authorised(auth, ["s3cret"], of)).toBe(false)
})
