import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { nextjs } from "../../dispatch/targets/nextjs.ts"
import { FAST, SHARED, soon, transportTo, valueOf } from "../../dispatch/targets/conformance.ts"
import type { Batch } from "../../dispatch/targets/target.ts"
import { payloadOf } from "../../dispatch/targets/webhook.ts"
import { POST } from "../../examples/nextjs-revalidate/route.ts"
import { signWebhook } from "../../protocol/standard-webhooks.ts"
import { TAG_RULES } from "../../protocol/tag-rules.ts"
import { vectorsOf } from "../fixtures/vectors.ts"
import { asked } from "../support/next-cache.ts"

// The file that people copy, as it is. What it imports from Next.js is a stand-in that remembers what it was asked.

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const OTHER = `whsec_${btoa("another secret, of thirty-two by")}`
const NOW = Date.UTC(2026, 10, 20, 12, 0, 0)
const ROUTE = "https://www.example.com/api/tidemark"

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: NOW })
  vi.stubEnv("TIDEMARK_WEBHOOK_SECRET", SECRET)
  asked.length = 0
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
})

const post = (headers: HeadersInit, body: BodyInit) =>
  POST(new Request(ROUTE, { method: "POST", headers, body }))

/** What a signed body is answered. */
async function statusOf(body: string, more: { secret?: string; at?: number } = {}): Promise<number> {
  const { secret = SECRET, at = NOW } = more
  return (await post(await signWebhook(secret, "inv_1", at / 1_000, body), body)).status
}

/** A driver whose app is the copied file. */
const driver = nextjs.create(
  { type: "nextjs", url: ROUTE, secret: SECRET, prefixes: true, ...SHARED },
  {
    now: () => NOW,
    fetch: transportTo(({ url, headers, body }) => POST(new Request(url, { method: "POST", headers, body })))
      .fetch,
  },
)

const batchOf = (mode: Batch["mode"], values: Batch["values"]): Batch => ({ ...FAST, mode, values })
const tagged = batchOf("purge", [valueOf("tag", "post-1")])

describe("a Next.js app that is told by the driver", () => {
  it("marks tags stale, or expires them", async () => {
    const values = [valueOf("tag", "post-1"), valueOf("tag", "ns/blog")]
    expect(await driver.purge(batchOf("invalidate", values), soon())).toEqual({
      outcome: "accepted",
      status: 200,
    })
    await driver.purge(batchOf("purge", values), soon())
    expect(asked).toEqual([
      ["revalidateTag", "post-1", "max"],
      ["revalidateTag", "ns/blog", "max"],
      ["revalidateTag", "post-1", { expire: 0 }],
      ["revalidateTag", "ns/blog", { expire: 0 }],
    ])
  })

  it("is told the very label that a page says to cacheTag", async () => {
    const { encode } = TAG_RULES.nextjs.codec
    for (const tag of ["post 1, and more", "naïve", "x".repeat(300)]) {
      asked.length = 0
      const label = encode(tag)
      await driver.purge(batchOf("purge", [valueOf("tag", label)]), soon())
      expect(asked).toEqual([["revalidateTag", label, { expire: 0 }]])
      expect(label).toMatch(/^[\x21-\x2b\x2d-\x7e]{1,256}$/)
    }
  })

  it("revalidates the path of a url, what lies under a prefix, and everything", async () => {
    const values = [
      valueOf("url", "https://www.example.com/blog/1?page=2"),
      valueOf("url", "https://www.example.com/"),
      valueOf("url", "https://www.example.com/about/"),
      valueOf("prefix", "https://www.example.com/blog/"),
      valueOf("prefix", "https://www.example.com/"),
      valueOf("everything", "*"),
    ]
    expect((await driver.purge(batchOf("purge", values), soon())).outcome).toBe("accepted")
    expect(asked).toEqual([
      ["revalidatePath", "/blog/1"],
      ["revalidatePath", "/"],
      ["revalidatePath", "/about"],
      ["revalidatePath", "/blog", "layout"],
      ["revalidatePath", "/", "layout"],
      ["revalidatePath", "/", "layout"],
    ])
  })

  // Seen with Next.js 16.4.6: it knew the page at /a%20b by "/a b" alone, and the one at /a%2Fb by that.
  it.each([
    ["/a%20b", ["/a%20b", "/a b"]],
    ["/a%2Fb%3Fc%23d%5Ce", ["/a%2Fb%3Fc%23d%5Ce"]],
    ["/a%252Fb", ["/a%252Fb"]],
    ["/na%C3%AFve/x", ["/na%C3%AFve/x", "/naïve/x"]],
    ["/100%", ["/100%"]],
  ])("spells the path %s as Next.js may know it", async (path, paths) => {
    await driver.purge(batchOf("purge", [valueOf("url", `https://www.example.com${path}`)]), soon())
    expect(asked).toEqual(paths.map((each) => ["revalidatePath", each]))
  })

  it("refuses what Next.js would pass over, and does nothing of it", async () => {
    const long = valueOf("url", `https://www.example.com/${"a".repeat(1_024)}`)
    const outcome = await driver.purge(batchOf("purge", [valueOf("tag", "post-1"), long]), soon())
    expect([outcome.outcome, asked]).toEqual(["refused", []])
  })
})

describe("what is signed", () => {
  const published = vectorsOf("standard-webhooks", "standard-webhooks-v1a")

  it("has vectors to go by, right ones and wrong ones", () => {
    expect(published.filter(({ provider, valid }) => valid && provider === "standard-webhooks")).not.toEqual(
      [],
    )
    expect(published.filter(({ valid }) => !valid)).not.toEqual([])
  })

  it.each(published)("is told from what is not: $source", async (vector) => {
    vi.setSystemTime(vector.clock_ms ?? 0)
    vi.stubEnv("TIDEMARK_WEBHOOK_SECRET", vector.secret)
    const { status } = await post(new Headers(vector.headers as Record<string, string>), vector.body)
    // A published body is signed, and no invalidation. A public key is no secret, and this receiver has none then.
    if (vector.secret.startsWith("whpk_")) expect(status).toBe(503)
    else expect(status).toBe(vector.valid ? 400 : 401)
    expect(asked).toEqual([])
  })

  it("counts byte for byte, under its own id", async () => {
    const body = JSON.stringify(payloadOf(tagged))
    const signed = await signWebhook(SECRET, "inv_1", NOW / 1_000, body)
    expect((await post(signed, body)).status).toBe(200)
    asked.length = 0
    expect((await post(signed, body.replace("post-1", "post-2"))).status).toBe(401)
    expect((await post({ ...signed, "webhook-id": "inv_2" }, body)).status).toBe(401)
    expect((await post({ ...signed, "webhook-timestamp": String(NOW / 1_000 - 1) }, body)).status).toBe(401)
    for (const missing of Object.keys(signed)) {
      const rest = Object.entries(signed).filter(([name]) => name !== missing)
      expect((await post(rest, body)).status, missing).toBe(401)
    }
    expect((await post({}, body)).status).toBe(401)
    expect(asked).toEqual([])
  })

  it("is of now, give or take five minutes", async () => {
    const body = JSON.stringify(payloadOf(tagged))
    for (const [seconds, status] of [
      [-300, 200],
      [300, 200],
      [-301, 401],
      [301, 401],
      [-86_400, 401],
    ] as const) {
      expect(await statusOf(body, { at: NOW + seconds * 1_000 }), `${seconds}`).toBe(status)
    }
  })

  it("may be by either of two secrets while they are rotated, and by no other", async () => {
    const body = JSON.stringify(payloadOf(tagged))
    expect(await statusOf(body, { secret: OTHER })).toBe(401)
    vi.stubEnv("TIDEMARK_WEBHOOK_SECRET", `${OTHER} ${SECRET}`)
    expect(await statusOf(body, { secret: OTHER })).toBe(200)
    expect(await statusOf(body)).toBe(200)
  })

  it.each(["", "  ", "whsec_", "whsec_!", "not-a-secret"])(
    "is by nobody where the app has no secret but %j",
    async (secret) => {
      vi.stubEnv("TIDEMARK_WEBHOOK_SECRET", secret)
      expect(await statusOf(JSON.stringify(payloadOf(tagged)))).toBe(503)
      expect(asked).toEqual([])
    },
  )
})

describe("what the body says", () => {
  const payload = payloadOf(tagged)
  const having = (more: object) => JSON.stringify({ ...payload, data: { ...payload.data, ...more } })

  it.each([
    "",
    "{",
    "null",
    "[]",
    "{}",
    JSON.stringify({ ...payload, type: "another.event" }),
    JSON.stringify({ ...payload, data: null }),
    having({ mode: "delete" }),
    having({ tags: "post-1" }),
    having({ tags: [1] }),
    having({ urls: undefined }),
    having({ urls: ["/no-address"] }),
    having({ everything: "yes" }),
  ])("is a 400 where it cannot be read: %j", async (body) => {
    expect(await statusOf(body)).toBe(400)
    expect(asked).toEqual([])
  })

  it("is a 400 where it is no UTF-8", async () => {
    // All is well but for one byte of the tag.
    const bytes = new TextEncoder().encode(having({ tags: ["post-!"] }))
    bytes[bytes.indexOf("!".charCodeAt(0))] = 0xff
    // Signed by hand: the signer takes a text.
    const key = Uint8Array.from(atob(SECRET.slice("whsec_".length)), (char) => char.charCodeAt(0))
    const hmac = { name: "HMAC", hash: "SHA-256" }
    const signer = await crypto.subtle.importKey("raw", key, hmac, false, ["sign"])
    const prefix = new TextEncoder().encode(`inv_1.${NOW / 1_000}.`)
    const mac = await crypto.subtle.sign("HMAC", signer, Uint8Array.from([...prefix, ...bytes]))
    const headers = {
      "webhook-id": "inv_1",
      "webhook-timestamp": String(NOW / 1_000),
      "webhook-signature": `v1,${btoa(String.fromCharCode(...new Uint8Array(mac)))}`,
    }
    expect([(await post(headers, bytes)).status, asked]).toEqual([400, []])
  })

  it("is a 422 where it names what Next.js does not know", async () => {
    expect(await statusOf(having({ hosts: ["www.example.com"] }))).toBe(422)
    expect(await statusOf(having({ namespaces: ["blog"] }))).toBe(422)
    expect(asked).toEqual([])
  })

  it("may have members that are new", async () => {
    expect(await statusOf(having({ later: true }))).toBe(200)
  })

  it("is read no further than Tidemark ever writes", async () => {
    let sent = 0
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1
        controller.enqueue(new Uint8Array(64 * 1_024))
      },
    })
    const init: RequestInit & { duplex: "half" } = { method: "POST", body: endless, duplex: "half" }
    expect((await POST(new Request(ROUTE, init))).status).toBe(413)
    expect(sent).toBeLessThan(10)
  })
})
