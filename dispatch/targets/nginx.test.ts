import { describe, expect, it } from "vitest"
import { FakeNginx, type FakeNginxOptions } from "../../test/fakes/nginx.ts"
import {
  describeTarget,
  FAST,
  NOW,
  sample,
  SHARED,
  soon,
  transportTo,
  valueOf,
  type Vendor,
} from "./conformance.ts"
import { nginx } from "./nginx.ts"
import type { Kind, TargetConfigOf } from "./target.ts"

const NODES = ["http://10.0.0.1:8081/"]
const BASES = ["http://10.0.0.1:8081"]

const config = (more: Partial<TargetConfigOf<"nginx">> = {}): TargetConfigOf<"nginx"> => ({
  type: "nginx",
  endpoints: NODES,
  module: "cache-purge",
  wildcards: true,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"nginx">>) =>
  nginx.create(config(more), { fetch, now: () => NOW })

const MODULES: readonly (readonly [string, FakeNginxOptions["module"], Partial<TargetConfigOf<"nginx">>])[] =
  [
    ["the module that is maintained", "3.0", {}],
    ["the module of Debian", "2.3", { wildcards: false }],
    ["Plus", "plus", { module: "plus", wildcards: false }],
  ]

describe.each(MODULES)("%s", (_, module, more) => {
  describeTarget("nginx", () => ({
    create: (fetch) => driverOn(fetch, more),
    capabilities: nginx.capabilities(config(more)),
    fake: () => new FakeNginx({ nodes: BASES, module }),
    unauthorised: () => new Response("no", { status: 403 }),
    refused: () => new Response("no", { status: 400, headers: { "x-tidemark-purge": "nginx" } }),
    requests: NODES.length,
    alsoAccepts: [404, 412],
    secrets: [],
  }))
})

const fakes = (nodes = BASES): Vendor => {
  const fake = new FakeNginx({ nodes, module: "3.0" })
  return (request) => fake.handle(request)
}

async function keyOf(kind: Kind, value: string): Promise<string | undefined> {
  const { fetch, received } = transportTo(fakes())
  const batch = { ...FAST, mode: "purge" as const, values: [valueOf(kind, value)] }
  expect((await driverOn(fetch).purge(batch, soon())).outcome).toBe("accepted")
  expect(received).toHaveLength(1)
  const [request] = received
  expect([request?.method, [...(request?.headers ?? [])], request?.body]).toEqual(["PURGE", [], ""])
  return request?.url.slice(`${BASES[0]}/`.length)
}

describe("the key that nginx is sent", () => {
  it.each([
    ["url", "https://www.example.com/blog/1?page=2", "www.example.com/https/blog/1?page=2"],
    ["url", "http://www.example.com/", "www.example.com/http/"],
    ["url", "https://www.example.com:8443/a%2Fb//c", "www.example.com/https/a%2Fb//c"],
    ["url", "https://[::1]:8443/a", "[::1]/https/a"],
    ["prefix", "https://www.example.com/blog/", "www.example.com/https/blog*"],
    ["prefix", "https://www.example.com/blog", "www.example.com/https/blog*"],
    ["prefix", "https://www.example.com/", "www.example.com/https/*"],
    ["host", "www.example.com", "www.example.com/*"],
    ["host", "www.example.com:8443", "www.example.com/*"],
    ["everything", "*", "*"],
  ] as const)("of the %s %s is %s", async (kind, value, key) => {
    expect(await keyOf(kind, value)).toBe(key)
  })

  it("is cut to what the module compares", async () => {
    const key = await keyOf("prefix", `https://www.example.com/${"a".repeat(600)}/`)
    expect(key).toBe(`www.example.com/https/${"a".repeat(500 - "www.example.com/https/".length)}*`)
  })

  it.each([true, false])("is no wildcard for a url, with wildcards %s", async (wildcards) => {
    const { fetch, received } = transportTo(fakes())
    for (const path of ["a*", "*", "a?b=*"]) {
      const values = [valueOf("url", `https://www.example.com/${path}`)]
      const outcome = await driverOn(fetch, { wildcards }).purge({ ...FAST, mode: "purge", values }, soon())
      expect(outcome).toEqual({
        outcome: "unsupported",
        detail: "it cannot purge by a url that ends in *",
      })
    }
    expect(received).toEqual([])
    expect(await keyOf("url", "https://www.example.com/a*b")).toBe("www.example.com/https/a*b")
  })
})

/** A node that answers so; by its purge server unless told otherwise. */
const at = async (status: number, headers: Record<string, string> = { "x-tidemark-purge": "nginx" }) => {
  const body = status === 204 ? null : "words"
  const { fetch } = transportTo(() => new Response(body, { status, headers }))
  return driverOn(fetch).purge(sample("url", "purge"), soon())
}

describe("what nginx answers", () => {
  it.each([200, 202, 204, 404, 412])("%d is success", async (status) => {
    expect(await at(status)).toEqual({ outcome: "accepted", status })
  })

  it.each([200, 204, 401, 404, 405, 412])("%d of somebody else pauses", async (status) => {
    expect(await at(status, {})).toEqual({
      outcome: "unauthorised",
      status,
      detail: `10.0.0.1:8081 answered ${status}: no x-tidemark-purge came with it: no purge server of ours`,
      mend: ["endpoints"],
    })
  })

  it.each([403, 405, 410])("%d pauses, as it lets nobody in", async (status) => {
    expect(await at(status)).toMatchObject({
      outcome: "unauthorised",
      status,
      detail: `10.0.0.1:8081 answered ${status}`,
    })
  })

  it.each([400, 414])("%d is about the key", async (status) => {
    expect((await at(status)).outcome).toBe("refused")
  })
})

describe("its configuration", () => {
  const surroundings = { fetch: transportTo(fakes()).fetch, now: () => NOW }

  it("says what it can do: urls alone where the module knows no wildcards", () => {
    const kinds = (more: Partial<TargetConfigOf<"nginx">>) =>
      Object.keys(nginx.capabilities(config(more)).kinds).join()
    expect(kinds({ wildcards: false })).toBe("url")
    expect(kinds({ wildcards: true })).toBe("url,prefix,host,everything")
    expect(kinds({ module: "plus", wildcards: false })).toBe("url,prefix,host")
  })

  it.each(["http://user:hunter2@10.0.0.1/", "http://10.0.0.1/?a=hunter2", "hunter2"])(
    "refuses %s without repeating it",
    (text) => {
      const create = () => nginx.create(config({ endpoints: [text] }), surroundings)
      expect(create).toThrow(/^endpoints (?!.*hunter2)/)
    },
  )

  it("has one endpoint stand for all nodes", async () => {
    const { fetch, received } = transportTo(fakes(["http://127.0.0.1:8088"]))
    const driver = driverOn(fetch, { endpoint: "http://127.0.0.1:8088" })
    expect((await driver.purge(sample("url", "purge"), soon())).outcome).toBe("accepted")
    expect(received.map(({ url }) => url)).toEqual([
      "http://127.0.0.1:8088/www.example.com/https/blog/0?page=2",
    ])
  })

  it("paces nothing: nginx has no limits", () => expect(nginx.pace(config())).toEqual([]))
})
