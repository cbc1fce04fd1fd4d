import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { checkHost, checkPrefix, checkUrl, hostCovers, prefixCovers } from "../../protocol/selector.ts"
import {
  describeDriver,
  FAST,
  NOW,
  type Received,
  sample,
  soon,
  transportTo,
  valueOf,
  type Vendor,
} from "./conformance.ts"
import type { TargetConfigOf } from "./target.ts"
import { hostRegex, prefixRegexes, varnish } from "./varnish.ts"

const NODE = "http://10.0.0.1:6081"
const BELOW_A_PATH = "https://cache.example.net/varnish/"
const BASES = [NODE, "https://cache.example.net/varnish"]

const config = (endpoints: TargetConfigOf<"varnish">["endpoints"]): TargetConfigOf<"varnish"> => ({
  type: "varnish",
  endpoints,
  namespaces: ["blog"],
  tenants: ["default"],
  allowEverything: false,
  onUnsupported: "widen",
  window: 0,
  timeout: 10_000,
})

const driverOn = (fetch: typeof globalThis.fetch, endpoint = NODE) =>
  varnish.create(config([endpoint]), { fetch, now: () => NOW })

const REGEX = /^\^[\x21-\x7e]+$/

const done = (count: number) =>
  new Response("done", { status: 200, headers: { "x-tidemark-purged": String(count) } })
const bad = () => new Response("bad", { status: 400, headers: { "x-tidemark-purged": "-" } })

/** What the VCL takes, header for header; anything else is a 400, an unknown method a 405. */
const vcl: Vendor = ({ method, url, headers }) => {
  const base = BASES.find((each) => url.startsWith(`${each}/`))
  if (base === undefined) return new Response(null, { status: 400 })
  const path = url.slice(base.length)
  const given = Object.fromEntries(headers)
  const names = Object.keys(given).toSorted().join(" ")
  if (method === "PURGE" && (names === "xkey-purge" || names === "xkey-softpurge")) {
    const labels = Object.values(given).join().split(" ")
    return path === "/" && labels.length <= 200 && labels.every((label) => label !== "")
      ? done(labels.length)
      : bad()
  }
  if (
    method === "PURGE" &&
    (names === "host x-tidemark-host" || names === "host x-tidemark-host x-tidemark-mode")
  ) {
    return given.host === given["x-tidemark-host"] &&
      ["invalidate", undefined].includes(given["x-tidemark-mode"])
      ? done(1)
      : bad()
  }
  if (method === "BAN" && path === "/") {
    if (names === "x-tidemark-ban") return given["x-tidemark-ban"] === "everything" ? done(0) : bad()
    if (names !== "x-tidemark-ban-host" && names !== "x-tidemark-ban-host x-tidemark-ban-url") return bad()
    return Object.values(given).every((regex) => REGEX.test(regex) && !/['"]/.test(regex)) ? done(0) : bad()
  }
  return new Response(null, { status: method === "BAN" || method === "PURGE" ? 400 : 405 })
}

describeDriver("varnish", () => ({
  create: (fetch) => driverOn(fetch),
  capabilities: varnish.capabilities({ type: "varnish" }),
  vendor: vcl,
  unauthorised: () => new Response("Forbidden", { status: 403 }),
  refused: bad,
  requests: 1,
  secrets: [],
}))

const show = ({ method, url, headers }: Received) => ({ method, url, headers: Object.fromEntries(headers) })

async function requestsOf(batch: Parameters<ReturnType<typeof driverOn>["purge"]>[0]) {
  const { fetch, received } = transportTo(vcl)
  const outcome = await driverOn(fetch).purge(batch, soon())
  expect(outcome.outcome).toBe("accepted")
  return received.map(show)
}

const ban = (kind: "prefix" | "host" | "everything", value: string) =>
  requestsOf({ ...FAST, mode: "purge", values: [valueOf(kind, value)] })

describe("what Varnish is sent", () => {
  it("names the labels in one header, by its mode", async () => {
    const values = [valueOf("tag", "post-1"), valueOf("tag", "a%20b")]
    expect(await requestsOf({ ...FAST, mode: "purge", values })).toEqual([
      { method: "PURGE", url: "http://10.0.0.1:6081/", headers: { "xkey-purge": "post-1 a%20b" } },
    ])
    expect(await requestsOf({ ...FAST, mode: "invalidate", values })).toEqual([
      { method: "PURGE", url: "http://10.0.0.1:6081/", headers: { "xkey-softpurge": "post-1 a%20b" } },
    ])
  })

  it("names a url by its path, with its host beside", async () => {
    const values = [valueOf("url", "https://www.example.com:8443/a/b?c=d&e=%2F")]
    const url = "http://10.0.0.1:6081/a/b?c=d&e=%2F"
    const headers = { host: "www.example.com:8443", "x-tidemark-host": "www.example.com:8443" }
    expect(await requestsOf({ ...FAST, mode: "purge", values })).toEqual([{ method: "PURGE", url, headers }])
    expect(await requestsOf({ ...FAST, mode: "invalidate", values })).toEqual([
      { method: "PURGE", url, headers: { ...headers, "x-tidemark-mode": "invalidate" } },
    ])
  })

  it("stays at the node where a path looks like another server", async () => {
    const [request] = await requestsOf({
      ...FAST,
      mode: "purge",
      values: [valueOf("url", "https://a.example//evil.example/x")],
    })
    expect(new URL(request?.url ?? "").host).toBe("10.0.0.1:6081")
    expect(request?.url).toBe("http://10.0.0.1:6081//evil.example/x")
  })

  it("bans a prefix and a host by anchored expressions, and everything by the word", async () => {
    const url = "http://10.0.0.1:6081/"
    expect(await ban("prefix", "https://www.example.com/blog/")).toEqual([
      {
        method: "BAN",
        url,
        headers: {
          "x-tidemark-ban-host": "^www\\.example\\.com(:\\d+)?$",
          "x-tidemark-ban-url": "^/blog(/|\\?|$)",
        },
      },
    ])
    expect(await ban("host", "www.example.com:8443")).toEqual([
      { method: "BAN", url, headers: { "x-tidemark-ban-host": "^www\\.example\\.com:8443$" } },
    ])
    expect(await ban("everything", "*")).toEqual([
      { method: "BAN", url, headers: { "x-tidemark-ban": "everything" } },
    ])
  })

  it("adds the path of an endpoint that has one", async () => {
    const { fetch, received } = transportTo(vcl)
    const batch = { ...FAST, mode: "purge" as const, values: [valueOf("url", "https://www.example.com/x")] }
    expect(await driverOn(fetch, BELOW_A_PATH).purge(batch, soon())).toMatchObject({ vendorId: "1" })
    expect(received.map(({ url }) => url)).toEqual(["https://cache.example.net/varnish/x"])
  })
})

/** What becomes of a tag when Varnish answers so. */
const told = (status: number, headers: Record<string, string> = {}) => {
  const body = status === 204 ? null : "<title>words</title>"
  const { fetch } = transportTo(() => new Response(body, { status, headers }))
  return driverOn(fetch).purge(sample("tag", "purge"), soon())
}

const MARK = { "x-tidemark-purged": "-" }

describe("what Varnish answers", () => {
  it("is a purge where tidemark.vcl says so, with what it dropped where it counts", async () => {
    expect(await told(200, { "x-tidemark-purged": "2" })).toEqual({
      outcome: "accepted",
      status: 200,
      vendorId: "2",
    })
    expect(await told(200, MARK)).toEqual({ outcome: "accepted", status: 200 })
    expect(await told(200, { "x-tidemark-purged": "<b>" })).toEqual({ outcome: "accepted", status: 200 })
  })

  // A VCL of others that knows PURGE, one that returns before ours, the site itself, an ingress, a firewall.
  it.each([200, 202, 204, 401, 403, 404, 405, 410, 412, 501])(
    "%d of somebody else is none",
    async (status) => {
      const outcome = await told(status)
      expect(outcome.outcome).toBe(status === 501 ? "trouble" : "unauthorised")
      if (outcome.outcome !== "unauthorised") return
      expect(outcome.mend).toEqual(["endpoints"])
      expect(outcome.detail).toMatch(
        /^10\.0\.0\.1:6081 answered \d+: no x-tidemark-purged came with it: tidemark\.vcl /,
      )
    },
  )

  it.each([400, 413, 414, 431])(
    "%d of a server in front is about what was asked, as far as can be told",
    async (status) => {
      expect((await told(status)).outcome).toBe("refused")
    },
  )

  it("is about the VCL's age where it does not know the method", async () => {
    expect((await told(405, MARK)).outcome).toBe("unauthorised")
    expect((await told(403, MARK)).outcome).toBe("unauthorised")
    expect((await told(400, MARK)).outcome).toBe("refused")
  })
})

describe("its configuration", () => {
  const surroundings = { fetch: transportTo(vcl).fetch, now: () => NOW }

  it("has no word for dev's own Varnish left when a driver is made of it", () => {
    expect(() => varnish.create(config("dev"), surroundings)).toThrow(TypeError)
  })

  it.each(["http://user:hunter2@10.0.0.1/", "http://10.0.0.1/?a=hunter2", "hunter2"])(
    "refuses %s without repeating it",
    (text) => {
      const create = () => varnish.create(config([text]), surroundings)
      expect(create).toThrow(/^endpoints /)
      expect(create).not.toThrow(/hunter2/)
    },
  )

  it("is of one node", () => {
    expect(() => varnish.create(config([NODE, BELOW_A_PATH]), surroundings)).toThrow(
      /^endpoints: .* one node$/,
    )
  })

  it("has one endpoint stand for all nodes", async () => {
    const { fetch, received } = transportTo(() => new Response(null))
    const broadcaster = { ...config(["http://10.0.0.1"]), endpoint: "http://127.0.0.1:8088" }
    await varnish.create(broadcaster, { fetch, now: () => NOW }).purge(sample("tag", "purge"), soon())
    expect(received.map(({ url }) => url)).toEqual(["http://127.0.0.1:8088/"])
  })
})

const ODD = "a.\\/*+?()[]{}|^$'\"#& %".split("")

/** Segments with what regular expressions, headers and bans could take amiss, and with what is often near. */
const segment = fc.oneof(
  fc.constantFrom(
    "",
    "a",
    "A",
    "ab",
    "a.b",
    "aXb",
    "a+",
    "aa",
    "(a)",
    "[a]",
    "a|b",
    "^a",
    "a$",
    "$",
    "*",
    "a*",
    "{1}",
    "\\d",
  ),
  fc.constantFrom(
    "'",
    '"',
    "it's",
    "a b",
    "%20",
    "%41",
    "é",
    "日本",
    "~",
    "!",
    "@",
    "&&",
    "=",
    ";",
    ",",
    "-",
    "_",
    "..",
    "%2e",
  ),
  fc.string({ maxLength: 4, unit: "grapheme" }),
  fc.string({ maxLength: 4, unit: fc.constantFrom(...ODD) }),
)
const path = fc.array(segment, { maxLength: 4 }).map((segments) => `/${segments.join("/")}`)
const query = fc.option(fc.string({ maxLength: 6 }), { nil: undefined })
const host = fc.constantFrom("a.example", "aXexample", "b.example", "a.example:8080", "[::1]", "it's.example")

const normal = (checked: { readonly value: string } | { readonly problem: string }): string => {
  fc.pre("value" in checked)
  return checked.value
}
const withoutFragment = (text: string): string => text.replaceAll("#", "")

/** Whether a request for a url would be banned: what the VCL compares are its Host and its path with query. */
function banned(prefix: string, url: string): boolean {
  const regexes = prefixRegexes(prefix)
  const asked = new URL(url)
  return (
    new RegExp(regexes.host).test(asked.host) && new RegExp(regexes.url).test(asked.pathname + asked.search)
  )
}

describe("the expression of a prefix", () => {
  it.each([
    ["https://h/blog/", "^/blog(/|\\?|$)"],
    ["https://h/blog", "^/blog(/|\\?|$)"],
    ["https://h/", "^/"],
    ["https://h//", "^//"],
    ["https://h/blog//", "^/blog//"],
    ["https://h/a.b/(c)+[d]", "^/a\\.b/\\(c\\)\\+\\[d\\](/|\\?|$)"],
    ["https://h/it's/a|b/$", "^/it\\x27s/a\\|b/\\$(/|\\?|$)"],
  ])("of %s is %s", (prefix, url) => expect(prefixRegexes(prefix).url).toBe(url))

  it("matches what the prefix covers and nothing else, whatever the paths", () => {
    const near = fc
      .tuple(path, fc.constantFrom("", "/", "//", "/x", "x", "?", "?/", "/?q", ".", "%2F"))
      .map((parts) => parts.join(""))
    // Related paths are what it can go wrong at, so most pairs share theirs.
    const pair = fc.oneof(
      { weight: 3, arbitrary: near.map((text) => [text.replace(/[?].*$/s, ""), text] as const) },
      { weight: 3, arbitrary: fc.tuple(path, near).map(([outer, rest]) => [outer, outer + rest] as const) },
      { weight: 1, arbitrary: fc.tuple(path, path) },
    )
    const seen = { covered: 0, not: 0 }
    fc.assert(
      fc.property(
        host,
        host,
        pair,
        query,
        fc.boolean(),
        (outerHost, otherHost, [outer, inner], search, same) => {
          const prefix = normal(
            checkPrefix(withoutFragment(`https://${outerHost}${outer.replaceAll("?", "")}`)),
          )
          const innerHost = same ? outerHost : otherHost
          const asked = search === undefined ? inner : `${inner}?${search}`
          const url = normal(checkUrl(withoutFragment(`https://${innerHost}${asked}`)))
          // A host without a port stands for all its ports at Varnish, so that much is wider than the prefix.
          fc.pre(!(innerHost !== outerHost && new RegExp(hostRegex(outerHost)).test(innerHost)))
          expect(banned(prefix, url)).toBe(prefixCovers(prefix, url))
          seen[prefixCovers(prefix, url) ? "covered" : "not"] += 1
        },
      ),
      { numRuns: 3_000 },
    )
    expect(seen.covered).toBeGreaterThan(300)
    expect(seen.not).toBeGreaterThan(300)
  })

  it("is one word without quotes, whatever the prefix", () => {
    fc.assert(
      fc.property(host, path, (name, text) => {
        const prefix = normal(checkPrefix(withoutFragment(`https://${name}${text.replaceAll("?", "")}`)))
        for (const regex of Object.values(prefixRegexes(prefix))) expect(regex).toMatch(/^\^[!#-&(-~]*$/)
      }),
    )
  })
})

describe("the expression of a host", () => {
  it.each([
    "a.example",
    "aXexample",
    "a.example:8080",
    "a.example:80",
    "[::1]",
    "[::1]:8080",
    "it's.example",
  ])("of %s matches what it covers", (text) => {
    const declared = normal(checkHost(text))
    for (const asked of [
      "a.example",
      "aXexample",
      "aexample",
      "a.example:8080",
      "a.example:80",
      "ba.example",
      "[::1]",
      "[::1]:8080",
    ]) {
      const name = normal(checkHost(asked))
      expect(new RegExp(hostRegex(declared)).test(name), asked).toBe(hostCovers(declared, name))
    }
  })
})
