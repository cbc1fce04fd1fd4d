import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createClient } from "redis"
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest"
import { createTidemark, type EpochStore, upstashStore, workerStore } from "../../client/index.ts"
import { redisStore } from "../../client/node.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** Readers that can know nothing, each for its own reason: what is said of that, on a real Worker. */

let edge: Edge
let login: string
beforeAll(async () => {
  edge = await startEdge({
    config: { namespaces: { blog: {} } },
    scopes: { reader: ["epochs:*"], publisher: ["publish:*"] },
  })
  const server = createServer((_, response) => response.writeHead(302, { location: "/login" }).end())
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  login = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return () => void server.close()
})
afterAll(() => edge.stop())

const token = () => edge.tokens["reader"] ?? ""

const CASES: [string, () => EpochStore, string, RegExp, string?][] = [
  [
    "a wrong token",
    () => workerStore({ url: edge.url, token: "tm_wrong" }),
    "unauthorized",
    /status 401: The token is not known/,
  ],
  [
    "a token without the scope",
    () => workerStore({ url: edge.url, token: edge.tokens["publisher"] }),
    "refused",
    /namespace blog: .*status 403/,
  ],
  [
    "an undeclared namespace",
    () => workerStore({ url: edge.url, token: token() }),
    "refused",
    /namespace shop: .*422: .*not declared/,
    "shop",
  ],
  [
    "a wrong path",
    () => workerStore({ url: `${edge.url}/nope`, token: token() }),
    "unreachable",
    /status 404.*is url that of/,
  ],
  [
    "a login in between",
    () => workerStore({ url: login, token: token() }),
    "unreachable",
    /status 302 \(is url that of/,
  ],
  [
    "nobody there",
    () => workerStore({ url: "http://127.0.0.1:1", token: token() }),
    "unreachable",
    /^http:\/\/127\.0\.0\.1:1 cannot be reached: .*(ECONNREFUSED|bad port)/,
  ],
  ["no token", () => workerStore({ url: edge.url, token: undefined }), "misconfigured", /token is missing/],
  ["no url", () => workerStore({ url: undefined, token: token() }), "misconfigured", /url is missing/],
  [
    "a url without a scheme",
    () => workerStore({ url: "127.0.0.1:28787", token: token() }),
    "misconfigured",
    /url must begin with/,
  ],
  [
    "Upstash, and a wrong token",
    () => upstashStore({ ...edge.rest, token: "wrong" }),
    "unauthorized",
    /status 401/,
  ],
  [
    "a Redis that is not connected",
    () => redisStore(createClient({ url: edge.redis.url })),
    "unreachable",
    /not connected/,
  ],
]

it.each(CASES)(
  "%s is said once in a minute, in words that name it",
  async (_, make, code, words, namespace = "blog") => {
    await edge.call("POST", "/v1/invalidations", {
      token: edge.tokens["publisher"] ?? "",
      body: { namespace: "blog" },
    })
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined)
    onTestFinished(() => warn.mockRestore())
    const said: { code: string; message: string }[] = []
    let time = Date.now()
    const now = () => time
    const readers = [
      createTidemark({ store: make(), now, onError: (error) => void said.push(error) }),
      createTidemark({ store: make(), now }),
    ]
    for (let visit = 0; visit < 20; visit += 1) {
      for (const reader of readers) expect((await reader.begin(namespace)).stamp).toBeUndefined()
      time += 2_500
    }
    expect(said).toMatchObject([{ code, message: expect.stringMatching(words) }])
    expect(warn.mock.calls).toEqual([[`tidemark: ${said[0]?.message}`]])
    for (const secret of [token(), "tm_wrong"]) expect(said[0]?.message).not.toContain(secret)
  },
)
