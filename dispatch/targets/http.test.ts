import { describe, expect, it } from "vitest"
import { byteLength } from "../../protocol/bytes.ts"
import { FakeReceiver, isSigned, RECEIVER_RULES } from "../../test/fakes/http.ts"
import { describeTarget, FAST, NOW, sample, soon, transportTo, valueOf } from "./conformance.ts"
import { http } from "./http.ts"
import type { Batch, Kind, TargetConfigOf } from "./target.ts"

const KEY = Uint8Array.from({ length: 24 }, (_, index) => index * 7)
const SECRET = `whsec_${btoa(String.fromCharCode(...KEY))}`
const URL_WITH_PATH = "https://hooks.example.net/caches/path-that-is-a-secret?key=also-a-secret"

const config = (more: Partial<TargetConfigOf<"http">> = {}): TargetConfigOf<"http"> => ({
  type: "http",
  url: URL_WITH_PATH,
  secret: SECRET,
  namespaces: ["*"],
  tenants: ["default"],
  allowEverything: true,
  onUnsupported: "widen",
  window: 0,
  timeout: 10_000,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, now = NOW) =>
  http.create(config(), { fetch, now: () => now })

const receiver = () => new FakeReceiver({ url: URL_WITH_PATH, key: KEY, now: () => NOW })

describeTarget("http", () => ({
  create: driverOn,
  capabilities: http.capabilities({ type: "http" }),
  fake: receiver,
  rules: RECEIVER_RULES,
  unauthorised: () => new Response("no", { status: 401 }),
  refused: () => new Response("no", { status: 422 }),
  requests: 1,
  secrets: [SECRET, SECRET.slice("whsec_".length), "path-that-is-a-secret", "also-a-secret"],
}))

async function delivered(batch: Batch, now?: number) {
  const vendor = receiver()
  const { fetch, received } = transportTo((request) => vendor.handle(request))
  expect(await driverOn(fetch, now).purge(batch, soon())).toEqual({ outcome: "accepted", status: 200 })
  expect(received).toHaveLength(1)
  return received[0] ?? { headers: new Headers(), body: "" }
}

describe("what a receiver gets", () => {
  const values = [
    valueOf("host", "www.example.com"),
    valueOf("tag", "t1:post-1"),
    valueOf("namespace", "blog"),
    valueOf("url", "https://www.example.com/a?b"),
    valueOf("tag", "t1:post-2"),
    valueOf("prefix", "https://www.example.com/blog/"),
  ]

  it("holds each kind in its list, in order", async () => {
    const { body } = await delivered({ ...FAST, mode: "purge", values })
    expect(body).toBe(
      '{"type":"tidemark.invalidation","timestamp":"2026-11-18T11:06:41.500Z","data":{"tenant":"default","mode":"purge",' +
        '"namespaces":["blog"],"tags":["t1:post-1","t1:post-2"],"urls":["https://www.example.com/a?b"],' +
        '"prefixes":["https://www.example.com/blog/"],"hosts":["www.example.com"],"everything":false,' +
        '"epochs":{"first":1795000000000000,"last":1795000001500000}}}',
    )
  })

  it("has every list for everything too, all empty", async () => {
    const { body } = await delivered(sample("everything", "invalidate"))
    expect(JSON.parse(body)).toMatchObject({
      data: {
        mode: "invalidate",
        namespaces: [],
        tags: [],
        urls: [],
        prefixes: [],
        hosts: [],
        everything: true,
      },
    })
  })

  it("is the same on a retry but for the time and signature of the attempt", async () => {
    const batch: Batch = { ...FAST, id: "msg_2f", mode: "purge", values }
    const first = await delivered(batch)
    const again = await delivered(batch, NOW + 61_000)
    expect(again.body).toBe(first.body)
    expect([first, again].map(({ headers }) => headers.get("webhook-id"))).toEqual(["msg_2f", "msg_2f"])
    expect(
      Number(again.headers.get("webhook-timestamp")) - Number(first.headers.get("webhook-timestamp")),
    ).toBe(61)
    expect(again.headers.get("webhook-signature")).not.toBe(first.headers.get("webhook-signature"))
  })

  it("is signed over every byte", async () => {
    const { headers, body } = await delivered({ ...FAST, mode: "purge", values })
    expect(await isSigned(KEY, headers, body)).toBe(true)
    expect(await isSigned(KEY, headers, body.replace("post-1", "post-3"))).toBe(false)
    const other = new Headers(headers)
    other.set("webhook-id", "b-2")
    expect(await isSigned(KEY, other, body)).toBe(false)
  })

  it("stays within 256 KiB with the most and the worst that the plan may hand over", async () => {
    const { maxBytes = 0, kinds } = http.capabilities({ type: "http" })
    const kindsAsked: Kind[] = ["tag", "url", "prefix", "host", "namespace"]
    const size = Math.floor(maxBytes / 1_000) - 1
    const worst = Array.from({ length: kinds.tag?.batch ?? 0 }, (_, index) =>
      valueOf(kindsAsked[index % kindsAsked.length] ?? "tag", `"\\`.repeat(size).slice(0, size)),
    )
    const tenant = "t".repeat(63)
    const epochs = { first: 2 ** 53 - 1, last: 8_640_000_000_000_000 }
    const { body } = await delivered({ id: "b", tenant, epochs, mode: "invalidate", values: worst })
    expect(byteLength(body)).toBeGreaterThan(250 * 1024)
  })

  it("accepts any 2xx, with a body or without", async () => {
    for (const status of [200, 201, 202, 204]) {
      const answer = () => new Response(status === 204 ? null : "fine", { status })
      expect(await driverOn(transportTo(answer).fetch).purge(sample("tag", "purge"), soon())).toEqual({
        outcome: "accepted",
        status,
      })
    }
  })

  it("accepts a word that a framework calls HTML, and no page", async () => {
    const answer = async (text: string | null, type = "text/html; charset=utf-8", status = 200) =>
      driverOn(
        transportTo(() => new Response(text, { status, headers: { "content-type": type } })).fetch,
      ).purge(sample("tag", "purge"), soon())
    for (const text of ["ok", "", null])
      expect(await answer(text)).toEqual({ outcome: "accepted", status: 200 })
    for (const text of ["<!doctype html><p>Sign in", "Please <a href='/login'>sign in</a>"])
      for (const status of [200, 422])
        expect(await answer(text, undefined, status)).toMatchObject({ outcome: "trouble", status })
    expect(await answer("\n<!-- proxy -->\n<HTML>", "text/plain")).toMatchObject({
      outcome: "trouble",
      detail: "hooks.example.net answered 200 with a page: does a proxy or a log-in stand before it?",
    })
  })

  it.each([
    [400, "refused"],
    [401, "unauthorised"],
    [404, "unauthorised"],
    [405, "unauthorised"],
    [408, "trouble"],
    [409, "refused"],
    [410, "unauthorised"],
    [415, "refused"],
    [422, "refused"],
    [429, "trouble"],
  ])("is taken at its word: %d is %s", async (status, expected) => {
    for (const text of ["no", "", null]) {
      const outcome = await driverOn(transportTo(() => new Response(text, { status })).fetch).purge(
        sample("tag", "purge"),
        soon(),
      )
      expect(outcome).toMatchObject({ outcome: expected, status })
    }
  })

  it("is told of as a host, without path and query", async () => {
    const outcome = await driverOn(transportTo(() => new Response("no", { status: 422 })).fetch).purge(
      sample("tag", "purge"),
      soon(),
    )
    expect(outcome).toEqual({ outcome: "refused", status: 422, detail: "hooks.example.net answered 422" })
  })
})

const create = (more: Partial<TargetConfigOf<"http">>) => () =>
  http.create(config(more), { fetch: transportTo(() => new Response("thank you")).fetch, now: () => NOW })

describe("its configuration", () => {
  it.each(["", "whsec_", "whsec_no base64", SECRET.slice("whsec_".length), "whpk_aGVsbG8=", `${SECRET}!`])(
    "refuses the secret %j without repeating it",
    (secret) => {
      expect(create({ secret })).toThrow(TypeError)
      expect(create({ secret })).toThrow(/^secret /)
      if (secret.length > 6) expect(create({ secret })).not.toThrow(secret)
    },
  )

  it("refuses credentials in the url", () => {
    expect(create({ url: "https://a:hunter2@hooks.example.net/" })).toThrow(/^url (?!.*hunter2)/)
  })

  it("is delivered elsewhere where an endpoint is configured", async () => {
    const { fetch, received } = transportTo(() => new Response(null, { status: 204 }))
    const driver = http.create(config({ endpoint: "http://127.0.0.1:9000/in" }), { fetch, now: () => NOW })
    await driver.purge(sample("tag", "purge"), soon())
    expect(received.map(({ url }) => url)).toEqual(["http://127.0.0.1:9000/in"])
  })
})
