import { createHmac } from "node:crypto"
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import { logKey } from "../../protocol/keys.ts"
import { signWebhook } from "../../protocol/standard-webhooks.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/**
 * A delivery that comes again is known where its sender vouches for it, and counts again where nobody can tell: a
 * repeated purge is cheap, a dropped one is a stale page.
 */
const WHSEC = `whsec_${Buffer.alloc(24, 7).toString("base64")}`
const SECRET = "a-secret-of-the-senders"
let edge: Edge

beforeAll(async () => {
  const own = { secret: { secret: "SECRET" }, namespace: "blog", otherwise: "namespace" as const }
  edge = await startEdge({
    config: {
      namespaces: { blog: {} },
      sources: {
        standard: { ...own, type: "standard-webhooks", secret: { secret: "WHSEC" } },
        storyblok: { ...own, type: "storyblok" },
        ghost: { ...own, type: "ghost" },
        directus: { ...own, type: "directus", auth: "bearer" },
        woocommerce: { ...own, type: "woocommerce" },
      },
    },
    scopes: {},
    secrets: { WHSEC, SECRET },
  })
})
afterAll(() => edge.stop())
beforeEach(async () => void (await edge.store.pipeline([["FLUSHALL"]])))

const mac = (algorithm: string, text: string, encoding: "hex" | "base64") =>
  createHmac(algorithm, SECRET).update(text).digest(encoding)

async function post(source: string, body: string, headers: Readonly<Record<string, string>>) {
  const path = `/v1/hooks/${source}`
  const { status, json } = await edge.call("POST", path, { headers: { ...headers }, body })
  expect(status).toBe(200)
  return json as { accepted: number; duplicate: boolean; epochs: number[] }
}

const logged = async (): Promise<number> => {
  const [length] = await edge.store.pipeline([["XLEN", logKey("default")]])
  return Number(length)
}

test("the same webhook-id twice publishes once, and is answered as the first time", async () => {
  const body = '{"type":"post.published","data":{"id":"1"}}'
  const headers = await signWebhook(WHSEC, "msg_1", Date.now() / 1000, body)
  const [first, second] = [await post("standard", body, headers), await post("standard", body, headers)]
  expect([first.duplicate, second.duplicate, second.epochs]).toEqual([false, true, first.epochs])
  expect(await logged()).toBe(1)
})

test.each([
  [
    "storyblok",
    '{"action":"published","story_id":1,"space_id":1}',
    (body: string) => ({ "webhook-signature": mac("sha1", body, "hex") }),
  ],
  [
    "directus",
    '{"event":"posts.items.update","collection":"posts","keys":["1"]}',
    () => ({ authorization: `Bearer ${SECRET}` }),
  ],
] as const)(
  "the same body of %s twice publishes twice: nothing in it tells two apart",
  async (source, body, sign) => {
    await post(source, body, sign(body))
    await post(source, body, sign(body))
    expect(await logged()).toBe(2)
  },
)

test("an empty body of Ghost's an hour apart publishes twice: what is signed holds the time", async () => {
  const at = (ms: number) => ({ "x-ghost-signature": `sha256=${mac("sha256", `{}${ms}`, "hex")}, t=${ms}` })
  const now = Date.now()
  await post("ghost", "{}", at(now - 60_000))
  await post("ghost", "{}", at(now))
  expect(await logged()).toBe(2)
})

test("an id of WooCommerce's that two changes of one second share does not swallow the second", async () => {
  const headers = (body: string) => ({
    "x-wc-webhook-signature": mac("sha256", body, "base64"),
    "x-wc-webhook-topic": "product.updated",
    "x-wc-webhook-delivery-id": "the-same-for-both",
  })
  const [one, two] = [
    '{"id":1,"status":"publish","date_modified_gmt":"2026-01-01T00:00:00"}',
    '{"id":2,"status":"publish","date_modified_gmt":"2026-01-01T00:00:00"}',
  ]
  await post("woocommerce", one, headers(one))
  expect((await post("woocommerce", two, headers(two))).duplicate).toBe(false)
  expect((await post("woocommerce", one, headers(one))).duplicate).toBe(true)
  expect(await logged()).toBe(2)
})

test("a delivery that is hours late is refused where its time is signed, and harmless where it is not", async () => {
  const body = '{"type":"post.published","data":{"id":"1"}}'
  const headers = await signWebhook(WHSEC, "msg_2", Date.now() / 1000 - 4 * 3_600, body)
  const late = await edge.call("POST", "/v1/hooks/standard", { headers: { ...headers }, body })
  expect([late.status, late.json.code]).toEqual([401, "stale_signature"])
  expect(await logged()).toBe(0)
})
