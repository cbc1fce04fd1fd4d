import { describe, expect, it } from "vitest"
import { signWebhook } from "../protocol/standard-webhooks.ts"
import { FakeWorkersCache } from "../test/fakes/workers-cache.ts"
import { purgeAgent, type WorkersCacheContext, type WorkersCacheResult } from "./workers-cache.ts"

const NOW = Date.UTC(2026, 10, 20, 12, 0, 0)
const SECRET = `whsec_${btoa("a secret of twenty-four b")}`
const OTHER = `whsec_${btoa("another, of another sende")}`
const URL_OF_AGENT = "https://www.example.com/tidemark/purge"

const worker = () =>
  new FakeWorkersCache({ url: URL_OF_AGENT, secret: SECRET, now: () => NOW, isUnlimited: true })

interface Asked {
  readonly data?: object
  readonly body?: string
  readonly secret?: string
  readonly signedAt?: number
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}

const NOTHING = { tags: [], urls: [], prefixes: [], hosts: [], namespaces: [], everything: false }
const bodyOf = (data: object) =>
  JSON.stringify({ type: "tidemark.invalidation", data: { mode: "purge", ...NOTHING, ...data } })

/** A delivery, signed as the target signs it unless told otherwise. */
async function delivery({
  data = { tags: ["post-1"] },
  body = bodyOf(data),
  secret = SECRET,
  signedAt = NOW,
  method = "POST",
  headers = {},
}: Asked = {}): Promise<Request> {
  const signature = await signWebhook(secret, "inv_1", signedAt / 1_000, body)
  return new Request(URL_OF_AGENT, {
    method,
    headers: { ...signature, ...headers },
    ...(method === "GET" ? {} : { body }),
  })
}

const agent = purgeAgent({ secret: SECRET, now: () => NOW })

async function statusOf(asked: Asked, context: WorkersCacheContext = worker().context): Promise<number> {
  const response = await agent(await delivery(asked), context)
  const { status } = response
  const { success } = (await response.json()) as { success: boolean }
  expect(success).toBe(status === 200)
  expect(response.headers.get("cache-control")).toBe("no-store")
  return status
}

/** A cache that answers so, and how it was asked. */
function answering(answer: () => WorkersCacheResult | Promise<WorkersCacheResult>) {
  const asked: unknown[] = []
  const cache = {
    async purge(options: object) {
      asked.push(["purge", options])
      return answer()
    },
    async invalidate(options: object) {
      asked.push(["invalidate", options])
      return answer()
    },
  }
  return { asked, context: { cache } }
}

describe("what the agent asks of its cache", () => {
  it.each([
    [{ tags: ["a", "b", "a"] }, { tags: ["a", "b"] }],
    [{ urls: ["https://a.example/x?y=1", "https://b.example/x"] }, { pathPrefixes: ["/x"] }],
    [{ prefixes: ["https://a.example/blog/"] }, { pathPrefixes: ["/blog"] }],
    [{ prefixes: ["https://a.example/blog"] }, { pathPrefixes: ["/blog"] }],
    [
      { tags: ["a"], urls: ["https://a.example/x"] },
      { tags: ["a"], pathPrefixes: ["/x"] },
    ],
    [{ urls: ["https://a.example/"] }, { purgeEverything: true }],
    [{ prefixes: ["https://a.example/"], tags: ["a"] }, { purgeEverything: true }],
    [{ everything: true }, { purgeEverything: true }],
  ])("for %j is %j", async (data, options) => {
    const { asked, context } = answering(() => ({ success: true }))
    expect(await statusOf({ data }, context)).toBe(200)
    expect(asked).toEqual([["purge", options]])
    expect(await statusOf({ data }, worker().context)).toBe(200)
  })

  it("is soft where it was asked to be, and the runtime can", async () => {
    const { asked, context } = answering(() => ({ success: true }))
    const data = { mode: "invalidate", tags: ["a"] }
    expect(await statusOf({ data }, context)).toBe(200)
    const { purge } = context.cache
    expect(await statusOf({ data }, { cache: { purge } })).toBe(200)
    expect(asked).toEqual([
      ["invalidate", { tags: ["a"] }],
      ["purge", { tags: ["a"] }],
    ])
  })

  it("drops the page, and keeps the others", async () => {
    const vendor = worker()
    const [one, two] = ["https://www.example.com/1", "https://www.example.com/2"]
    vendor.cache.label(one, "post-1")
    for (const url of [one, two]) vendor.cache.visit(url)
    expect(await statusOf({}, vendor.context)).toBe(200)
    expect([one, two].map((url) => vendor.cache.visit(url).how)).toEqual(["miss", "hit"])
  })
})

describe("whom the agent believes", () => {
  it("takes nothing that is not signed, by its secret, in these minutes", async () => {
    const { asked, context } = answering(() => ({ success: true }))
    const MINUTE = 60_000
    for (const refused of [
      { secret: OTHER },
      { signedAt: NOW - 5 * MINUTE - 1_000 },
      { signedAt: NOW + 5 * MINUTE + 1_000 },
      { headers: { "webhook-id": "inv_2" } },
      { headers: { "webhook-timestamp": String(NOW / 1_000 + 1) } },
      { headers: { "webhook-timestamp": "soon" } },
      { headers: { "webhook-signature": "" } },
      { headers: { "webhook-signature": "v1,bm8=" } },
    ]) {
      expect(await statusOf(refused, context), JSON.stringify(refused)).toBe(401)
    }
    const altered = new Request(await delivery(), { method: "POST", body: bodyOf({ tags: ["post-2"] }) })
    expect((await agent(altered, context)).status).toBe(401)
    expect(asked).toEqual([])
    for (const taken of [{ signedAt: NOW - 5 * MINUTE }, { signedAt: NOW + 5 * MINUTE }]) {
      expect(await statusOf(taken, context)).toBe(200)
    }
  })

  it("believes nobody where it has no secret", async () => {
    for (const secret of ["", [], "no secret!"]) {
      const { status } = await purgeAgent({ secret, now: () => NOW })(await delivery(), worker().context)
      expect(status).toBe(401)
    }
  })

  it("takes either secret while it is being changed", async () => {
    const both = purgeAgent({ secret: [OTHER, SECRET], now: () => NOW })
    for (const secret of [OTHER, SECRET]) {
      expect((await both(await delivery({ secret }), worker().context)).status).toBe(200)
    }
  })

  it.each([
    "",
    "null",
    "{}",
    '{"data":null}',
    bodyOf({}),
    bodyOf({ mode: "ban", tags: ["a"] }),
    bodyOf({ tags: "a" }),
    bodyOf({ tags: [1] }),
    bodyOf({ urls: ["no url"] }),
    bodyOf({ tags: ["a"], hosts: ["www.example.com"] }),
    bodyOf({ namespaces: ["blog"] }),
  ])("refuses what the target never sends: %s", async (body) => {
    const { asked, context } = answering(() => ({ success: true }))
    expect(await statusOf({ body }, context)).toBe(400)
    expect(asked).toEqual([])
  })

  it("reads no body that is longer than any of ours", async () => {
    let read = 0
    const chunk = new Uint8Array(16 * 1024)
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        read += chunk.length
        controller.enqueue(chunk)
      },
    })
    const request = new Request(URL_OF_AGENT, { method: "POST", body, duplex: "half" } as RequestInit)
    expect((await agent(request, worker().context)).status).toBe(413)
    expect(read).toBeLessThan(512 * 1024)
  })

  it("takes POST alone", async () => {
    const response = await agent(await delivery({ method: "GET" }), worker().context)
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"])
  })
})

describe("what the agent says", () => {
  const saying = async (answer: () => WorkersCacheResult | Promise<WorkersCacheResult>) => {
    const response = await agent(await delivery(), answering(answer).context)
    return [response.status, await response.text()]
  }

  it("of a refusal is its codes and nothing else", async () => {
    const errors = [{ code: 1100, message: "Cache tag exceeds maximum length: secret-tag" }, { code: 1016 }]
    expect(await saying(() => ({ success: false, errors }))).toEqual([
      400,
      '{"success":false,"errors":[{"code":1100},{"code":1016}]}',
    ])
  })

  it.each([
    "Unable to purge, rate limit reached. Please wait if possible",
    "You have been rate limited",
    "Too many requests",
    "Internal error",
    "Service temporarily unavailable",
  ])("of %j is to come again", async (message) => {
    const [status] = await saying(() => ({ success: false, errors: [{ code: 1, message }] }))
    expect(status).toBe(503)
  })

  it("of a cache that fails, says nothing, or is not there is to come again", async () => {
    expect((await saying(() => Promise.reject(new Error("a secret"))))[0]).toBe(503)
    expect((await saying(() => ({ success: false, errors: [] })))[0]).toBe(503)
    expect((await saying(() => ({ success: false })))[0]).toBe(503)
    expect(await statusOf({}, {})).toBe(503)
    expect(await statusOf({}, { cache: undefined })).toBe(503)
  })
})
