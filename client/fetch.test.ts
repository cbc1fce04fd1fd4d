import { expect, it, vi } from "vitest"
import { type EpochCacheWarning, withEpochCache } from "./fetch.ts"
import { MapCache } from "./testing/map-cache.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

it("revalidates with a request of its own: without conditions, and not aborted when the visitor leaves", async () => {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const seen: unknown[] = []
  const background: Promise<unknown>[] = []
  const handler = withEpochCache(() => new Response("page"), {
    tidemark: createTidemark({ store, now: clock.now, random: () => 0 }),
    namespace: "blog",
    cache: new MapCache(),
    tags: ({ request }) => {
      seen.push([request.headers.get("if-none-match"), request.signal.aborted])
      return ["post-1"]
    },
  })
  const visitor = new AbortController()
  const visit = async () => {
    const request = new Request("https://www.example.com/", {
      headers: { "if-none-match": '"1"' },
      signal: visitor.signal,
    })
    const ctx = { waitUntil: (promise: Promise<unknown>) => void background.push(promise) }
    return (await handler(request, {}, ctx)).headers.get("cache-status")
  }
  await visit()
  await Promise.all(background.splice(0))
  store.record({ kind: "tags", namespace: "blog", values: ["post-1"] })
  clock.time += 10_000
  const served = visit()
  visitor.abort()
  expect(await served).toBe("tidemark; hit; detail=stale-while-revalidate")
  await Promise.all(background)
  expect(seen).toEqual([
    ['"1"', false],
    [null, false],
  ])
})

it.each([
  ["a context", { waitUntil: () => undefined }],
  ["no context, as outside Workers", undefined],
])("drops what it kept of a url that was written to, with %s", async (_, ctx) => {
  const clock = new Clock()
  let count = 0
  const handler = withEpochCache<unknown, object>(() => new Response(`v${(count += 1)}`), {
    tidemark: createTidemark({ store: new ModelStore(clock), now: clock.now, random: () => 0 }),
    namespace: "blog",
    cache: new MapCache(),
  })
  const visit = async (method: string) => {
    const request = new Request("https://www.example.com/", { method })
    return (await handler(request, {}, ctx as object)).text()
  }
  expect([await visit("GET"), await visit("GET")]).toEqual(["v1", "v1"])
  expect([await visit("POST"), await visit("GET")]).toEqual(["v2", "v3"])
})

it("keeps pages in memory where the runtime's own cache cannot be opened", async () => {
  vi.stubGlobal("caches", { open: () => Promise.reject(new Error("read-only file system")) })
  try {
    const clock = new Clock()
    const warnings: EpochCacheWarning[] = []
    const handler = withEpochCache<unknown, object>(() => new Response("page"), {
      tidemark: createTidemark({ store: new ModelStore(clock), now: clock.now, random: () => 0 }),
      namespace: "blog",
      onWarning: (warning) => void warnings.push(warning),
    })
    const seen = []
    for (let nth = 0; nth < 2; nth += 1) {
      const background: Promise<unknown>[] = []
      const waitUntil = (promise: Promise<unknown>) => void background.push(promise)
      const response = await handler(new Request("https://www.example.com/"), {}, { waitUntil })
      seen.push(await response.text(), response.headers.get("cache-status"))
      await Promise.all(background)
    }
    expect(seen).toEqual(["page", "tidemark; fwd=uri-miss; stored", "page", "tidemark; hit"])
    expect(warnings.map(({ code, cause }) => `${code}: ${String(cause)}`)).toEqual([
      "cache-failed: Error: read-only file system",
    ])
  } finally {
    vi.unstubAllGlobals()
  }
})
