import { gzipSync, deflateSync, constants } from "node:zlib"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { logKey } from "../../protocol/keys.ts"
import { type Edge, startEdge } from "../support/edge.ts"
import { send, type Sent } from "../support/senders.ts"

/** Bodies in whatever form they come, over HTTP, in workerd. */

const SECRET = "5".repeat(64)
const MIB = 1024 * 1024
let edge: Edge

const CONFIG = {
  shop: { type: "shopify", rules: [{ tags: ["product-{id}"] }] },
  contentful: { type: "contentful", rules: [{ when: { type: "post" }, tags: ["post-{id}"] }] },
  github: { type: "github" },
  json: { type: "json", auth: "bearer", fields: { id: "/id" } },
  query: {
    type: "json",
    auth: "query:key",
    fields: { id: "/id", kind: "/what" },
    rules: [{ namespace: "news" }],
  },
  inside: { type: "json", auth: "body", fields: { id: "/id" } },
} as const

beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: { blog: {}, news: {} },
      sources: Object.fromEntries(
        Object.entries(CONFIG).map(([name, source]) => [
          name,
          { ...source, secret: { secret: "SECRET" }, namespace: "blog" },
        ]),
      ) as never,
    },
    scopes: { reader: ["read:*"] },
    secrets: { SECRET },
  })
})
afterAll(() => edge.stop())
beforeEach(async () => void (await edge.store.pipeline([["FLUSHALL"]])))

type Name = keyof typeof CONFIG

interface Outcome {
  readonly status: number
  readonly notes: readonly string[]
  readonly duplicate: boolean
  /** Mode, namespace and tags of each record; a whole namespace has none. */
  readonly records: readonly (readonly string[])[]
}

async function post(name: Name, sent: Partial<Sent> & Pick<Sent, "body">): Promise<Outcome> {
  const source = CONFIG[name]
  const request = await send(source.type, {
    secret: SECRET,
    path: `/v1/hooks/${name}`,
    now: Date.now(),
    ...("auth" in source ? { auth: source.auth } : {}),
    ...sent,
  })
  return take(request)
}

async function take({ path, headers, body }: Awaited<ReturnType<typeof send>>): Promise<Outcome> {
  const response = await fetch(edge.url + path, { method: "POST", headers: { ...headers }, body })
  const answer = (await response.json()) as { epochs?: number[]; notes?: string[]; duplicate?: boolean }
  const token = edge.tokens["reader"] ?? ""
  const records = await Promise.all(
    (answer.epochs ?? []).map(async (epoch) => {
      const { json } = await edge.call("GET", `/v1/invalidations/${epoch}`, { token })
      return [json.mode, json.namespace, ...(json.tags ?? [])] as string[]
    }),
  )
  const { notes = [], duplicate = false } = answer
  return { status: response.status, notes, duplicate, records }
}

const logged = async (): Promise<number> =>
  Number((await edge.store.pipeline([["XLEN", logKey("default")]]))[0])

const bytes = (text: string, encoding: BufferEncoding = "utf8") =>
  Uint8Array.from(Buffer.from(text, encoding))
const gzip = (body: Uint8Array) => Uint8Array.from(gzipSync(body))

const PRODUCT = bytes('{"id":788032119674292922,"handle":"größe"}')
const TOPIC = { "x-shopify-topic": "products/update" }
const IS_PRODUCT = [["invalidate", "blog", "product-788032119674292922"]]

describe("a signed body", () => {
  const wire = gzip(PRODUCT)

  it.for([
    [
      "gzip, of which the wire's bytes are signed",
      { body: wire, headers: { ...TOPIC, "content-encoding": "gzip" } },
    ],
    [
      "gzip, of which the JSON is signed",
      { body: wire, signed: PRODUCT, headers: { ...TOPIC, "content-encoding": "gzip" } },
    ],
    ["gzip without a header that says so", { body: wire, signed: PRODUCT, headers: TOPIC }],
    [
      "JSON, though a header speaks of gzip",
      { body: PRODUCT, headers: { ...TOPIC, "content-encoding": "gzip" } },
    ],
    [
      "deflate",
      { body: Uint8Array.from(deflateSync(PRODUCT)), headers: { ...TOPIC, "content-encoding": "deflate" } },
    ],
    ["UTF-16", { body: bytes(`\ufeff${Buffer.from(PRODUCT).toString()}`, "utf16le"), headers: TOPIC }],
    [
      "Latin-1",
      {
        body: bytes(Buffer.from(PRODUCT).toString(), "latin1"),
        headers: { ...TOPIC, "content-type": "application/json; charset=ISO-8859-1" },
      },
    ],
  ] satisfies [string, Partial<Sent> & Pick<Sent, "body">][])("is read: %s", async ([, sent]) => {
    expect(await post("shop", sent)).toMatchObject({ status: 200, records: IS_PRODUCT })
  })

  it("is refused where neither the wire's bytes nor the JSON are what was signed", async () => {
    const headers = { ...TOPIC, "content-encoding": "gzip" }
    expect(await post("shop", { body: wire, signed: bytes('{"id":2}'), headers })).toMatchObject({
      status: 401,
    })
    expect(await logged()).toBe(0)
  })

  it("that is a bomb says nothing usable where its wire is signed, and nothing at all where it is not", async () => {
    const bomb = Uint8Array.from(gzipSync(new Uint8Array(200 * MIB), { level: constants.Z_BEST_SPEED }))
    const headers = { ...TOPIC, "content-encoding": "gzip" }
    expect(await post("shop", { body: bomb, headers })).toMatchObject({
      status: 200,
      records: [["invalidate", "blog"]],
    })
    expect(await post("shop", { body: bomb, signed: PRODUCT, headers })).toMatchObject({ status: 401 })
  })

  it("is known again whichever of the two was signed", async () => {
    const headers = { ...TOPIC, "content-encoding": "gzip", "x-shopify-event-id": "e1" }
    for (const sent of [
      { body: wire, headers },
      { body: wire, signed: PRODUCT, headers },
    ]) {
      expect(await post("shop", sent)).toMatchObject({ status: 200, duplicate: false })
      expect(await post("shop", sent)).toMatchObject({ status: 200, duplicate: true })
    }
  })
})

describe("a form", () => {
  const FORM = { "content-type": "application/x-www-form-urlencoded" }

  it("of JSON is what it holds", async () => {
    const payload = JSON.stringify({
      deployment_status: { state: "success" },
      deployment: { environment: "p" },
    })
    const headers = { ...FORM, "x-github-event": "deployment_status" }
    expect(
      await post("github", { body: bytes(`payload=${encodeURIComponent(payload)}`), headers }),
    ).toMatchObject({
      status: 200,
      records: [["invalidate", "blog"]],
      notes: ["a deploy concerns every page: blog is invalidated as a whole"],
    })
  })

  it("of plain members is an object", async () => {
    const body = bytes("sys[id]=e1&sys[contentType][sys][id]=post&sys[revision]=3")
    const headers = { ...FORM, "x-contentful-topic": "ContentManagement.Entry.unpublish" }
    expect(await post("contentful", { body, headers })).toMatchObject({
      records: [["purge", "blog", "post-e1"]],
    })
  })

  it("may carry the secret", async () => {
    const request = { path: "/v1/hooks/inside", headers: FORM, body: bytes(`id=7&secret=${SECRET}`) }
    expect(await take(request)).toMatchObject({ records: [["invalidate", "blog", "id-7"]] })
    expect(await take({ ...request, body: bytes("id=7&secret=another") })).toMatchObject({ status: 401 })
    const packed = gzip(bytes(JSON.stringify({ id: 8, secret: SECRET })))
    expect(await take({ ...request, headers: {}, body: packed })).toMatchObject({
      records: [["invalidate", "blog", "id-8"]],
    })
  })
})

/** Of a client that does not look at an answer which comes before the end of what it sends, and is closed upon. */
const CUT_OFF = ["EPIPE", "ECONNRESET", "UND_ERR_SOCKET"]

const statusOf = (outcome: Promise<Outcome>): Promise<number | string | undefined> =>
  outcome.then(
    ({ status }) => status,
    (error: TypeError) => (error.cause as { code?: string } | undefined)?.code,
  )

describe("a body that is too long to be parsed", () => {
  const long = (size: number) => bytes(`{"id":1,"text":"${"x".repeat(size)}"}`)

  it("is believed where it is rightly signed, and is the namespace", async () => {
    const outcome = await post("shop", { body: long(5 * MIB), headers: TOPIC })
    expect(outcome).toMatchObject({ status: 200, records: [["invalidate", "blog"]] })
    expect(outcome.notes).toEqual([expect.stringContaining("the body has more than 5242880 bytes")])
    expect(await post("shop", { body: long(5 * MIB), signed: PRODUCT, headers: TOPIC })).toMatchObject({
      status: 401,
    })
  })

  it("is known again where its sender names it", async () => {
    const sent = { body: long(6 * MIB), headers: { ...TOPIC, "x-shopify-event-id": "e1" } }
    expect(await post("shop", sent)).toMatchObject({ duplicate: false })
    expect(await post("shop", sent)).toMatchObject({ duplicate: true })
  })

  it("is not read where its secret stands elsewhere, and counts each time", async () => {
    for (const _ of [1, 2]) {
      expect(await post("json", { body: long(6 * MIB) })).toMatchObject({
        status: 200,
        duplicate: false,
        records: [["invalidate", "blog"]],
      })
    }
    expect(await post("query", { body: long(20 * MIB) })).toMatchObject({
      records: [
        ["invalidate", "blog"],
        ["invalidate", "news"],
      ],
    })
    const stranger = post("json", { body: long(6 * MIB), secret: "another" })
    expect([401, ...CUT_OFF]).toContain(await statusOf(stranger))
    expect(await logged()).toBe(4)
  })

  it("is believed by the secret in it, as far as it is read", async () => {
    const body = (secret: string) => bytes(`{"id":1,"secret":"${secret}","text":"${"x".repeat(6 * MIB)}"}`)
    const headers = {}
    const path = "/v1/hooks/inside"
    expect(await take({ path, headers, body: body(SECRET) })).toMatchObject({
      status: 200,
      records: [["invalidate", "blog"]],
    })
    expect(await take({ path, headers, body: body("another") })).toMatchObject({ status: 401 })
  })

  it("is refused above what can be verified, and nothing is believed", async () => {
    for (const name of ["shop", "inside"] as const) {
      const request = post(name, { body: long(17 * MIB), headers: TOPIC })
      expect([413, ...CUT_OFF]).toContain(await statusOf(request))
    }
    expect(await logged()).toBe(0)
  })
})
