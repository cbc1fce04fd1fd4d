import { expect, it } from "vitest"
import { withEpochCache } from "./fetch.ts"
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
