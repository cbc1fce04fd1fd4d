import { describe, expect, it } from "vitest"
import { souin as souinTags } from "../../protocol/tag-rules.ts"
import { FakeSouin } from "../../test/fakes/souin.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import { souin } from "./souin.ts"
import type { Kind, TargetConfigOf } from "./target.ts"

const NODES = ["http://10.0.0.1:2019/"]
const BASES = ["http://10.0.0.1:2019"]
const TOKEN = "souin-token-4Hd8sJq0"

const config = (more: Partial<TargetConfigOf<"souin">> = {}): TargetConfigOf<"souin"> => ({
  type: "souin",
  endpoints: NODES,
  expressions: true,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<TargetConfigOf<"souin">>) =>
  souin.create(config(more), { fetch, now: () => NOW })

describe.each([
  ["whose storage knows expressions, behind a token", { token: TOKEN }],
  ["by keys alone", { expressions: false }],
] as const)("Souin %s", (_, more) => {
  describeTarget("souin", () => ({
    create: (fetch) => driverOn(fetch, more),
    capabilities: souin.capabilities(config(more)),
    fake: () => new FakeSouin({ nodes: BASES, ...("token" in more ? { token: more.token } : {}) }),
    unauthorised: () => new Response("no", { status: 403 }),
    refused: () => new Response(null, { status: 400 }),
    requests: NODES.length,
    secrets: [TOKEN],
  }))
})

/** One node, its cache, and what it was sent. */
function stage(more: Partial<TargetConfigOf<"souin">> = {}) {
  const vendor = new FakeSouin({ nodes: BASES.slice(0, 1), ...(more.token ? { token: more.token } : {}) })
  const { fetch, received } = transportTo((request) => vendor.handle(request))
  const driver = driverOn(fetch, more)
  const purge = (kind: Kind, ...values: readonly string[]) =>
    driver.purge({ ...FAST, mode: "purge", values: values.map((value) => valueOf(kind, value)) }, soon())
  return { vendor, received, purge }
}

describe("what Souin is sent", () => {
  it("names the labels in one header, by comma and space", async () => {
    const { received, purge, vendor } = stage({ token: TOKEN })
    expect(await purge("tag", "post-1!", "ns/blog!")).toEqual({ outcome: "accepted", status: 204 })
    expect(received.map(({ method, url, headers }) => [method, url, Object.fromEntries(headers)])).toEqual([
      [
        "PURGE",
        "http://10.0.0.1:2019/souin-api/souin",
        { "surrogate-key": "post-1!, ns/blog!", authorization: `Bearer ${TOKEN}` },
      ],
    ])
    expect(vendor.complaints).toEqual([])
  })

  it.each([
    ["everything", "*", "flush"],
    ["host", "www.example.com", "-www(.)example(.)com(:[0-9]+|)-/"],
    ["host", "www.example.com:8443", "-www(.)example(.)com(.)8443-/"],
    ["prefix", "https://a.example/blog/", "-a(.)example-/blog.*"],
    ["prefix", "https://a.example/", "-a(.)example-/.*"],
    ["prefix", "https://a.example/souin/flush/", "-a(.)example-/souin/flush.*"],
    ["url", "https://a.example/a.b?c=d&e", "-a(.)example-/a(.)b(.)c(.)d(.)e($|.-VARY-)"],
    ["url", "https://a.example/%C3%A9/(x)|*%5E$%7B", "-a(.)example-/(.)/(.)x(......)($|.-VARY-)"],
    ["url", "https://a.example/%E9", "-a(.)example-/(.+)($|.-VARY-)"],
  ] as const)("names the %s %s as %s", async (kind, value, path) => {
    const { received, purge, vendor } = stage()
    expect(await purge(kind, value)).toEqual({ outcome: "accepted", status: 204 })
    expect(received.map(({ url, headers }) => [url, [...headers]])).toEqual([
      [`http://10.0.0.1:2019/souin-api/souin/${path}`, []],
    ])
    expect(vendor.complaints).toEqual([])
  })

  it("is about one page, and not about those whose addresses go on", async () => {
    const { vendor, purge } = stage()
    const pages = ["/", "/blog", "/blog?page=2", "/blog/1", "/blog/10", "/blog/é ü"]
    const urls = pages.map((path) => new URL(path, "https://www.example.com").href)
    const versions = () => urls.map((url) => vendor.cache.visit(url).version)
    expect(versions()).toEqual([1, 1, 1, 1, 1, 1])
    await purge("url", urls[0] ?? "")
    expect(versions()).toEqual([2, 1, 1, 1, 1, 1])
    await purge("url", urls[3] ?? "")
    expect(versions()).toEqual([2, 1, 1, 2, 1, 1])
    await purge("url", urls[5] ?? "")
    expect(versions()).toEqual([2, 1, 1, 2, 1, 2])
    await purge("prefix", "https://www.example.com/blog/")
    expect(versions()).toEqual([2, 2, 2, 3, 2, 3])
  })
})

describe("labels", () => {
  const { codec, separator } = souinTags
  const [one, ten] = ["https://www.example.com/1", "https://www.example.com/10"]

  /** Whether a page is still found by its own tag after another one was purged that begins it. */
  async function isFound(labelOf: (tag: string) => string): Promise<boolean> {
    const { vendor, purge } = stage()
    vendor.cache.label(one, [labelOf("post-1"), labelOf("all")].join(separator))
    vendor.cache.label(ten, [labelOf("post-10"), labelOf("all")].join(separator))
    expect([one, ten].map((url) => vendor.cache.visit(url).version)).toEqual([1, 1])
    await purge("tag", labelOf("post-1"))
    expect([one, ten].map((url) => vendor.cache.visit(url).version)).toEqual([2, 1])
    await purge("tag", labelOf("post-10"))
    return vendor.cache.visit(ten).version === 2
  }

  it("lose none that another one begins, as Souin would", async () => {
    expect(await isFound((tag) => tag)).toBe(false)
    expect(await isFound((tag) => codec.encode(tag))).toBe(true)
  })
})

describe("what Souin answers", () => {
  const at = async (status: number) => {
    const { fetch } = transportTo(() => new Response(status === 204 ? null : "words", { status }))
    return driverOn(fetch).purge(sample("tag", "purge"), soon())
  }

  it("is 204 where it takes a purge, and 200 where it is somebody else", async () => {
    expect(await at(204)).toEqual({ outcome: "accepted", status: 204 })
    expect(await at(200)).toEqual({
      outcome: "unauthorised",
      status: 200,
      detail: "10.0.0.1:2019 answered 200 and not 204, as Souin does",
      mend: ["endpoints"],
    })
  })

  it.each([401, 403, 405, 410, 422])("is %d where it is somebody else, or knows us not", async (status) => {
    expect((await at(status)).outcome).toBe("unauthorised")
  })

  it("is 404 where its API is not up, or not yet", async () => {
    expect(await at(404)).toEqual({
      outcome: "trouble",
      status: 404,
      detail: "10.0.0.1:2019 has no API of Souin",
    })
  })
})

describe("its configuration", () => {
  const { fetch } = transportTo(() => new Response(null, { status: 204 }))

  it("says what it can do", () => {
    const kinds = (more: Partial<TargetConfigOf<"souin">>) =>
      Object.keys(souin.capabilities(config(more)).kinds).join()
    expect(kinds({ expressions: false })).toBe("tag,everything")
    expect(kinds({})).toBe("tag,everything,url,prefix,host")
    expect(souin.pace(config())).toEqual([])
  })

  it.each(["", "two words", "line\nbreak"])("refuses the token %j without repeating it", (token) => {
    expect(() => driverOn(fetch, { token })).toThrow(/^token /)
    if (token !== "") expect(() => driverOn(fetch, { token })).not.toThrow(token)
  })

  it("refuses addresses with credentials", () => {
    expect(() => driverOn(fetch, { endpoints: ["http://user:hunter2@10.0.0.1/"] })).toThrow(
      /^endpoints (?!.*hunter2)/,
    )
  })
})
