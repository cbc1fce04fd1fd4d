import * as fc from "fast-check"
import { afterAll, beforeAll, expect, test } from "vitest"
import { createTidemark, upstashStore, workerStore } from "../../client/index.ts"
import { type Edge, startEdge } from "../support/edge.ts"
import { respelling } from "../support/spellings.ts"

/** Two spellings of an address are one page: what is purged by one of them is never fresh by the other. */

let edge: Edge
beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: {
        blog: { hosts: ["www.example.com"], prefixes: ["https://b%c3%bccher.example./%61r/"] },
        books: { hosts: ["bücher.example."] },
      },
    },
    scopes: { all: ["publish:*", "epochs:*", "read:*"] },
  })
  // Without a log nothing is fresh.
  await call("POST", "/v1/invalidations", { namespace: "blog" })
})
afterAll(() => edge.stop())

const call = (method: string, path: string, body?: object) =>
  edge.call(method, path, { token: edge.tokens["all"] ?? "", ...(body ? { body } : {}) })

test("a page purged by one spelling of its address is dead by any other, through the Worker and beside it", async () => {
  const stores = [workerStore({ url: edge.url, token: edge.tokens["all"] ?? "" }), upstashStore(edge.rest)]
  const readers = stores.map((store) => createTidemark({ store, ttl: 0 }))
  await fc.assert(
    fc.asyncProperty(respelling, fc.boolean(), async ({ url, spelled }, isSwapped) => {
      const [published, visited] = isSwapped ? [url, spelled] : [spelled, url]
      const namespace = url.includes("xn--") ? "books" : "blog"
      const fills = await Promise.all(readers.map((reader) => reader.begin(namespace)))
      const other = { urls: [`${url}x`] }
      const answered = await call("POST", "/v1/invalidations", {
        namespace,
        urls: [published],
        mode: "purge",
      })
      expect(answered.status).toBe(202)
      for (const [nth, reader] of readers.entries()) {
        const stamp = fills[nth]?.stamp
        for (const address of [published, visited, `${visited}#part`])
          expect(await reader.judge(stamp, namespace, { urls: [address] })).toEqual({ verdict: "dead" })
        expect(await reader.judge(stamp, namespace, other)).toEqual({ verdict: "fresh" })
      }
    }),
    { numRuns: 60 },
  )
})

test("the log keeps an address as it was published, and answers of epochs say its one form", async () => {
  const published = "https://www.example.com/%d9%85%7e?a=%41"
  const normal = "https://www.example.com/%D9%85~?a=A"
  const { status, json } = await call("POST", "/v1/invalidations", { namespace: "blog", urls: [published] })
  expect(status).toBe(202)
  const { id, epoch } = json as { id: string; epoch: number }
  expect((await call("GET", `/v1/invalidations/${id}`)).json).toMatchObject({ urls: [published] })
  const query = `/v1/epochs?url=${encodeURIComponent(`blog:${published}`)}`
  expect((await call("GET", query)).json).toMatchObject({
    namespaces: { blog: { urls: { [normal]: epoch } } },
  })
})

test("two spellings in one invalidation are one page that is kept track of", async () => {
  const [one, other] = ["https://www.example.com/%c3%a9", "https://www.example.com/é"]
  const { json } = await call("POST", "/v1/invalidations", { namespace: "blog", urls: [one, other] })
  const asked = await call("POST", "/v1/epochs", { namespaces: { blog: { urls: [one, other] } } })
  const { epoch } = json as { epoch: number }
  expect(asked.json).toMatchObject({
    namespaces: { blog: { urls: { "https://www.example.com/%C3%A9": epoch } } },
  })
})

test("a prefix of the configuration holds every spelling of what lies below it", async () => {
  for (const url of ["https://xn--bcher-kva.example/ar/1", "https://BÜCHER.example.:443/%61%72/%7e"])
    expect((await call("POST", "/v1/invalidations", { namespace: "blog", urls: [url] })).status, url).toBe(
      202,
    )
  const outside = { namespace: "blog", urls: ["https://xn--bcher-kva.example/ar%2F1"] }
  expect((await call("POST", "/v1/invalidations", outside)).status).toBe(422)
})
