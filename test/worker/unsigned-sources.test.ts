import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import { type Edge, startEdge } from "../support/edge.ts"

/** Senders that sign nothing, as they meet the Worker: in workerd, over HTTP, on a real Redis. */

const SECRET = "what-only-this-sender-knows"
let edge: Edge

beforeAll(async () => {
  const source = { secret: { secret: "HOOK_SECRET" }, namespace: "blog" } as const
  edge = await startEdge({
    config: {
      namespaces: { blog: { hosts: ["www.example.com"] } },
      sources: {
        json: { ...source, type: "json", auth: "bearer", fields: { id: "/*/id", kind: "/*/what" } },
        strapi: { ...source, type: "strapi", auth: "bearer" },
        datocms: { ...source, type: "datocms", auth: "bearer" },
        prismic: {
          ...source,
          type: "prismic",
          auth: "body",
          // What nobody would write on purpose.
          fields: { slug: "/secret" },
          rules: [{ tags: ["doc-{id}", "{field:/secret?}", "{slug?}", "{field:/*}"] }],
        },
        directus: { ...source, type: "directus", auth: "bearer" },
        builder: { ...source, type: "builder-io", auth: "header:X-Token" },
        drupal: { ...source, type: "drupal", auth: "basic" },
      },
    },
    scopes: { all: ["publish:*", "read:*"] },
    secrets: { HOOK_SECRET: SECRET },
  })
})
afterAll(() => edge.stop())
beforeEach(async () => {
  await edge.store.pipeline([["FLUSHALL"]])
})

const BEARER = { authorization: `Bearer ${SECRET}` }
const DATO_TAGS = {
  webhook_call_id: "103216210",
  entity_type: "cda_cache_tags",
  event_type: "invalidate",
  entity: { attributes: { tags: ["N*r;L", "6-KZ@", "t#k[uP"] } },
}
const PRISMIC = {
  type: "api-update",
  domain: "my-repo",
  secret: SECRET,
  masterRef: "X6",
  documents: ["XxE8"],
}

/** Of each source a delivery, the headers that let it in, and what it comes to. */
const DELIVERIES = {
  json: [[{ id: 1 }, { id: 2, what: "delete" }], BEARER, { tags: ["id-1", "id-2"], mode: "purge" }],
  strapi: [
    { event: "entry.publish", model: "post", entry: { id: 42 } },
    BEARER,
    { tags: ["post-42", "type-post"], mode: "invalidate" },
  ],
  datocms: [DATO_TAGS, BEARER, { tags: ["6-KZ@", "N*r;L", "t#k[uP"], mode: "invalidate" }],
  prismic: [PRISMIC, {}, { tags: ["api-update", "doc-XxE8", "my-repo", "X6", "XxE8"], mode: "invalidate" }],
  directus: [
    { event: "posts.items.delete", collection: "posts", keys: ["7", "8"] },
    BEARER,
    { tags: ["posts-7", "posts-8", "type-posts"], mode: "purge" },
  ],
  builder: [
    { operation: "unpublish", modelName: "page", newValue: { id: "cs3df" } },
    { "x-token": SECRET },
    { tags: ["page-cs3df", "type-page"], mode: "purge" },
  ],
  drupal: [
    { tags: ["node:12", "node_list"] },
    { authorization: `Basic ${btoa(SECRET)}` },
    { tags: ["node:12", "node_list"], mode: "invalidate" },
  ],
} as const

const NAMES = Object.keys(DELIVERIES) as (keyof typeof DELIVERIES)[]

const deliver = (name: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  edge.call("POST", `/v1/hooks/${name}`, { body: JSON.stringify(body), headers })

/** Everything that Redis holds, as text. */
async function everythingKept(): Promise<string> {
  const [keys] = (await edge.store.pipeline([["KEYS", "*"]])) as [string[]]
  const read = {
    string: ["GET"],
    hash: ["HGETALL"],
    stream: ["XRANGE", "-", "+"],
    zset: ["ZRANGE", "0", "-1"],
  }
  const values = await Promise.all(
    keys.map(async (key) => {
      const [type] = (await edge.store.pipeline([["TYPE", key]])) as [keyof typeof read]
      const [command = "", ...rest] = read[type]
      return edge.store.pipeline([[command, key, ...rest]])
    }),
  )
  return JSON.stringify([keys, values])
}

test.for(NAMES)("%s is recorded by what it says, each time that it comes", async (name) => {
  const [body, headers, expected] = DELIVERIES[name]
  const first = await deliver(name, body, headers)
  expect([first.status, first.json]).toMatchObject([200, { accepted: 1, duplicate: false }])
  const record = await edge.call("GET", `/v1/invalidations/${first.json.epochs[0]}`, {
    token: edge.tokens.all ?? "",
  })
  expect(record.json).toMatchObject({ mode: expected.mode, by: { source: name } })
  expect(record.json.tags.toSorted()).toEqual(expected.tags.toSorted())
  // Only DatoCMS names its deliveries.
  const again = await deliver(name, body, headers)
  expect([again.status, again.json]).toMatchObject([200, { accepted: 1, duplicate: name === "datocms" }])
})

test("one whose delivery is named once more, and says something else, is taken", async () => {
  await deliver("datocms", DATO_TAGS, BEARER)
  const other = { ...DATO_TAGS, entity: { attributes: { tags: ["b"] } } }
  expect((await deliver("datocms", other, BEARER)).json).toMatchObject({ accepted: 1, duplicate: false })
})

test.for(NAMES)("%s without its secret writes nothing", async (name) => {
  const [body] = DELIVERIES[name]
  const bare = name === "prismic" ? { ...PRISMIC, secret: undefined } : body
  const answers = [
    await deliver(name, bare),
    await deliver(name, bare, { authorization: "Bearer another", "x-token": "another" }),
    await deliver(name, { ...PRISMIC, secret: "another" }),
  ]
  expect(answers.map(({ status, json }) => [status, json.code])).toEqual(
    answers.map(() => [401, "invalid_signature"]),
  )
  expect(await edge.store.pipeline([["DBSIZE"]])).toEqual([0])
})

test.for(NAMES)("%s leaves its secret nowhere", async (name) => {
  const [body, headers] = DELIVERIES[name]
  const { text, status } = await deliver(name, body, headers)
  const explained = await edge.call("POST", "/v1/explain", {
    token: edge.tokens.all ?? "",
    body: { source: name, body },
  })
  expect([status, explained.status]).toEqual([200, 200])
  const kept = await everythingKept()
  expect(kept).toContain("blog")
  expect([text, explained.text, kept].some((each) => each.includes(SECRET))).toBe(false)
})
