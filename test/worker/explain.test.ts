import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type Edge, startEdge } from "../support/edge.ts"

/** What a publish would do, asked of the Worker in workerd: nothing is stored, and nobody is called. */

let edge: Edge

beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: { blog: { hosts: ["www.example.com"] }, shop: {} },
      sources: {
        cms: {
          type: "contentful",
          secret: { secret: "CONTENTFUL_SECRET" },
          namespace: "blog",
          rules: [
            { when: { type: "author" }, tags: ["author-{id}"] },
            { when: { type: "post" }, tags: ["post-{id}"], mode: "purge" },
          ],
        },
      },
      targets: {
        cdn: {
          type: "cloudflare",
          zone: "023e105f4ecef8ad9ca31a8372d0c353",
          token: { secret: "CDN" },
          plan: "free",
          namespaces: ["*"],
        },
        node: { type: "varnish", endpoints: ["http://127.0.0.1:9"], namespaces: ["blog"] },
      },
    },
    scopes: { all: ["publish:*", "everything"], blog: ["publish:blog"], reader: ["read:*"] },
    secrets: { CONTENTFUL_SECRET: "c".repeat(64) },
  })
})
afterAll(() => edge.stop())
beforeEach(() => {
  edge.requests.length = 0
})

const ask = (body: unknown, token = edge.tokens.all) =>
  edge.call("POST", "/v1/explain", { token: token ?? "", body })

const DELIVERY = {
  sys: {
    id: "p1",
    type: "Entry",
    contentType: { sys: { id: "post" } },
    environment: { sys: { id: "master" } },
  },
}

describe("an invalidation", () => {
  test("is told in calls, widened selectors, cost and seconds, and nothing is asked of Redis", async () => {
    const { status, json } = await ask({
      invalidation: {
        namespace: "blog",
        tags: ["a"],
        prefixes: ["https://www.example.com/x/"],
        secondPass: "5s",
      },
    })
    expect(status).toBe(200)
    expect(json).toEqual({
      rule: null,
      rules: [],
      invalidations: [
        expect.objectContaining({
          namespace: "blog",
          tags: ["a"],
          mode: "invalidate",
          passes: [{ kind: "second", seconds: 5 }],
        }),
      ],
      targets: {
        cdn: { calls: 2, widened: [], cost: 0, seconds: 0 },
        node: {
          calls: 2,
          widened: [{ namespace: "blog", selector: "https://www.example.com/x/", as: "purge" }],
          cost: 0,
          seconds: 0,
        },
      },
      notes: [],
    })
    expect(edge.requests).toEqual([])
  })

  test("is refused as a publish would be, and the pointer leads into what was asked", async () => {
    const outside = await ask({ invalidation: { namespace: "blog", urls: ["https://elsewhere.example/"] } })
    expect([outside.status, outside.json.code, outside.json.errors[0].pointer]).toEqual([
      422,
      "outside_namespace",
      "/invalidation/urls/0",
    ])
    expect((await ask({ invalidation: { namespace: "nowhere" } })).json.code).toBe("unknown_namespace")
    expect((await ask({ invalidation: { namespace: "blog", tags: [] } })).status).toBe(422)
    expect((await ask({ invalidation: { namespace: "shop", tags: ["a"] } }, edge.tokens.blog)).status).toBe(
      403,
    )
    expect((await ask({ invalidation: { namespace: "blog" } }, edge.tokens.reader)).status).toBe(403)
    expect(edge.requests).toEqual([])
  })

  test("may be several", async () => {
    const inputs = [
      { namespace: "blog", tags: ["a"] },
      { namespace: "shop", tags: ["b"] },
    ]
    const { json } = await ask({ invalidation: { invalidations: inputs } })
    expect([json.invalidations.length, json.targets.cdn.calls]).toEqual([2, 1])
  })
})

describe("a delivery", () => {
  const headers = { "x-contentful-topic": "ContentManagement.Entry.publish" }

  test("is told by the rule that matched, without a signature", async () => {
    const { status, json } = await ask({ source: "cms", headers, body: DELIVERY })
    expect(status).toBe(200)
    expect(json).toMatchObject({
      rule: 1,
      rules: [1],
      invalidations: [{ namespace: "blog", tags: ["post-p1"], mode: "purge" }],
      targets: { cdn: { calls: 1 }, node: { calls: 1 } },
      notes: [],
    })
    const asText = await ask({ source: "cms", headers, body: JSON.stringify(DELIVERY) })
    expect(asText.json).toEqual(json)
    expect(edge.requests).toEqual([])
  })

  test("that says nothing usable is told to become the namespace, with a note", async () => {
    const { json } = await ask({ source: "cms", headers, body: "no JSON" })
    expect(json).toMatchObject({ rule: null, invalidations: [{ namespace: "blog" }] })
    expect(json.notes).toHaveLength(1)
  })

  test("is for whoever may publish everywhere, and of a source that there is", async () => {
    expect((await ask({ source: "cms", body: {} }, edge.tokens.blog)).status).toBe(403)
    expect((await ask({ source: "nobody", body: {} })).json.code).toBe("unknown_source")
  })
})

test.each([
  [[]],
  [{}],
  [{ invalidation: { namespace: "blog" }, source: "cms" }],
  [{ source: "cms" }],
  [{ source: 5, body: {} }],
  [{ source: "cms", body: {}, headers: { a: 1 } }],
  [{ source: "cms", body: {}, headers: { "a b": "c" } }],
  [{ invalidation: { namespace: "blog" }, more: 1 }],
])("%j is refused, and says where", async (body) => {
  const { status, json } = await ask(body)
  expect([status, json.code]).toEqual([422, "invalid_request"])
  expect(json.errors.length).toBeGreaterThan(0)
})
