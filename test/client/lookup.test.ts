import { afterAll, beforeAll, expect, test } from "vitest"
import { createTidemark, workerStore } from "../../client/index.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** What a reader costs, counted where the Worker asks Redis. Only the reader's clock is ours. */

let edge: Edge
beforeAll(async () => {
  edge = await startEdge({
    config: { namespaces: { blog: {} } },
    scopes: { publisher: ["publish:*"], reader: ["epochs:*"] },
  })
})
afterAll(() => edge.stop())

test("a look-up within its freshness costs no subrequest, and one above it", async () => {
  const store = workerStore({ url: edge.url, token: edge.tokens.reader ?? "" })
  let ahead = 0
  const tidemark = createTidemark({
    // The Worker's clock and the reader's are the same one, which the test sets ahead.
    store: { lookup: async (...asked) => ({ ...(await store.lookup(...asked)), asOf: Date.now() + ahead }) },
    ttl: 5_000,
    now: () => Date.now() + ahead,
  })
  const publish = (tags: readonly string[]) =>
    edge.call("POST", "/v1/invalidations", {
      token: edge.tokens.publisher ?? "",
      body: { namespace: "blog", tags },
    })
  const cost = async (work: () => Promise<unknown>) => {
    edge.requests.length = 0
    await work()
    return edge.requests.length
  }
  const asked = { tags: ["a", "b"], urls: ["https://www.example.com/"] }
  await publish(["other"])

  const { stamp } = await tidemark.begin("blog")
  expect(await tidemark.isFresh(stamp, "blog", asked)).toBe(true)
  const many = () => Promise.all(Array.from({ length: 100 }, () => tidemark.isFresh(stamp, "blog", asked)))
  expect(await cost(many)).toBe(0)

  await publish(["b"])
  expect(await cost(many)).toBe(0)
  ahead += 10_001
  // Above twice its freshness an answer is not used: all of these wait for one and the same look-up, which tells what
  // changed along with the namespace.
  expect(await cost(many)).toBe(1)
  expect(await tidemark.isFresh(stamp, "blog", asked)).toBe(false)
  expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(true)

  // Known to be stale, known to be changed: nothing is asked again until that is old too.
  expect(await cost(many)).toBe(0)
  ahead += 10_001
  expect(await cost(many)).toBe(1)
})
