// `publish --wait` was `done` at no target at all, since a target's namespace was mistyped and the configuration valid.
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { borderFaults, checkConfig, configWarnings } from "./checks.ts"
import { ConfigError, parseConfig } from "./config.ts"
import { secret } from "./define.ts"
import { nearest } from "./nearest.ts"
import type { ConfigInput } from "./schema.ts"

/** The mistakes, as `path: detail`. */
function mistakes(input: unknown): string[] {
  try {
    checkConfig(input)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.faults.map(({ path, detail }) => `${path}: ${detail}`)
  }
}

const print = (...namespaces: string[]) => ({ type: "print", namespaces })
const token = (scopes: readonly string[], tenant?: string) => ({
  name: "deploy",
  sha256: secret("HASH"),
  scopes,
  ...(tenant === undefined ? {} : { tenant }),
})
const UNDECLARED = "names what is not declared in namespaces"

describe("a pattern", () => {
  const declared = { blog: {}, "catalog/products": {} }

  it.for(["*", "blog", "blog/posts", "catalog", "catalog/products", "catalog/products/shoes"])(
    "%s that covers something declared, or lies below it, is taken",
    (pattern) => {
      const scopes = ["publish", "read", "epochs", "events"].map((kind) => `${kind}:${pattern}`)
      expect(
        mistakes({ namespaces: declared, tokens: [token(scopes)], targets: { a: print(pattern) } }),
      ).toEqual([])
    },
  )

  it.for(["blgo", "blo", "blogs", "catalog/product", "other"])(
    "%s that covers nothing is refused, of targets and of every scope that has one",
    (pattern) => {
      const scopes = ["publish", "read", "epochs", "events"].map((kind) => `${kind}:${pattern}`)
      const found = mistakes({
        namespaces: declared,
        tokens: [token(["read:*", ...scopes])],
        targets: { a: print("blog", pattern) },
      })
      expect(found.map((text) => text.split(";")[0])).toEqual([
        ...[1, 2, 3, 4].map((index) => `tokens.0.scopes.${index}: ${UNDECLARED}`),
        `targets.a.namespaces.1: ${UNDECLARED}`,
      ])
    },
  )

  it('is any where "*" declares all', () => {
    expect(
      mistakes({
        namespaces: { "*": {} },
        tokens: [token(["publish:anything"])],
        targets: { a: print("x/y") },
      }),
    ).toEqual([])
  })

  it("means the namespaces of the tenants that it is for", () => {
    const config = (tenant: string, tenants: readonly string[]) => ({
      namespaces: { blog: {} },
      tenants: { acme: { namespaces: { shop: {} } } },
      tokens: [{ ...token([`publish:shop`], tenant), name: "a" }, token(["publish:*"], "initech")],
      targets: { a: { ...print("shop"), tenants } },
    })
    expect(mistakes(config("acme", ["acme"]))).toEqual([])
    expect(mistakes(config("acme", ["*"]))).toEqual([])
    // Whoever has none of their own has those that all share.
    expect(mistakes(config("initech", ["default", "initech"]))).toEqual([
      `tokens.0.scopes.0: ${UNDECLARED}`,
      `targets.a.namespaces.0: ${UNDECLARED}`,
    ])
  })
})

it("a tenant is refused that nobody publishes for, or that has no namespaces", () => {
  expect(
    mistakes({
      tenants: { acme: { namespaces: { shop: {} } } },
      tokens: [token(["publish:*"], "acm")],
      sources: {
        cms: { type: "json", auth: "bearer", secret: secret("S"), namespace: "shop", tenant: "acme" },
      },
      targets: { a: { ...print("*"), tenants: ["acme", "acne"] } },
    }),
  ).toEqual([
    "tokens.0.tenant: is a tenant for which no namespace is declared; did you mean acme?",
    "targets.a.tenants.1: is a tenant that no token, no source and no key of tenants names; did you mean acme?",
  ])
})

describe("what nothing does yet", () => {
  it("is told where somebody would wait for it, and an event that never happens is refused", () => {
    const notify = (event: string) => ({
      notify: { oncall: { url: "https://hooks.example.com", secret: secret("N"), events: [event] } },
    })
    expect(mistakes(notify("failed"))).toEqual([])
    expect(configWarnings(checkConfig(notify("failed"))).map(({ path }) => path)).toEqual(["notify.oncall"])
    expect(mistakes(notify("faild"))).toEqual(["notify.oncall.events.0: is no event; did you mean failed?"])
  })

  it("is warned of elsewhere", () => {
    const warnings = configWarnings(
      parseConfig({
        namespaces: { blog: {} },
        tokens: [token(["read:*", "events:blog"])],
        relay: { cors: ["https://www.example.com"] },
      }),
    )
    expect(warnings.map(({ path }) => path)).toEqual(["relay.cors", "tokens.0.scopes.1"])
  })
})

it("a token of a tenant that is about all tenants' relays is warned of", () => {
  const tokens = [
    { ...token(["drain", "fleet"]), name: "a" },
    { ...token(["drain", "fleet", "operate"], "acme"), name: "b" },
  ]
  const paths = configWarnings(parseConfig({ namespaces: { blog: {} }, tokens })).map(({ path }) => path)
  expect(paths).toEqual(["tokens.1.scopes.0", "tokens.1.scopes.1"])
})

it("prefixes of tags by which tenants reach each other are warned of, and both are named", () => {
  const config = parseConfig({
    tokens: [token(["publish:*"]), { ...token(["publish:*"], "globex"), name: "globex" }],
    namespaces: { blog: {} },
    tenants: { globex: { namespaces: { shop: { tagPrefix: "hunter2-" } } } },
    targets: {
      cdn: {
        type: "fastly",
        service: "abc",
        token: secret("TOKEN"),
        namespaces: ["*"],
        tenants: ["*"],
      },
    },
  })
  const told =
    "lets tags of namespaces.blog, by its own tagPrefix, be labels of this one at the cache of cdn: neither prefix may begin with the other"
  const path = "tenants.globex.namespaces.shop.tagPrefix"
  expect(borderFaults(config)).toEqual([{ path, detail: told }])
  expect(configWarnings(config)).toContainEqual({ path, detail: told })
})

it("a namespace that no target purges is warned of, where there are targets", () => {
  const config = (targets: object) =>
    configWarnings(
      parseConfig({
        namespaces: { blog: {}, shop: {}, "shop/shoes": {} },
        tenants: { acme: { namespaces: { blog: {} } } },
        targets,
      }),
    ).map(({ path }) => path)
  expect(config({})).toEqual([])
  expect(config({ a: { ...print("blog"), tenants: ["*"] } })).toEqual([
    "namespaces.shop",
    "namespaces.shop/shoes",
  ])
  expect(config({ a: print("blog", "shop") })).toEqual(["tenants.acme.namespaces.blog"])
})

describe("hosts", () => {
  const of = (namespace: object) => mistakes({ namespaces: { blog: namespace } })

  it.for([
    "*.example.com",
    "*",
    "a.example.com,b.example.com",
    "www..example.com",
    "www.example.com;",
    "(www)",
  ])("%s covers nothing", (host) => {
    expect(of({ hosts: ["www.example.com", host] })).toEqual([
      expect.stringMatching(/^namespaces\.blog\.hosts\.1: /),
    ])
  })

  it.for([
    "www.example.com",
    "localhost",
    "127.0.0.1:8080",
    "[::1]",
    "[::1]:8080",
    "müller.example",
    "my_host.internal",
  ])("%s covers a page", (host) => expect(of({ hosts: [host] })).toEqual([]))

  const warned = (blog: NonNullable<ConfigInput["namespaces"]>[string]) =>
    configWarnings(checkConfig({ namespaces: { blog } })).map(({ path }) => path)

  it("at which no prefix lies are warned of where all of the namespace is said by its prefixes", () => {
    const prefixes = ["https://www.example.com/blog/"]
    const hosts = ["www.example.com", "m.example.com"]
    expect(warned({ hosts, prefixes })).toEqual(["namespaces.blog.hosts.1"])
    for (const wholeBy of ["host", "tag"] as const) expect(warned({ hosts, prefixes, wholeBy })).toEqual([])
  })

  it("outside of which a prefix lies are warned of where all of the namespace is said by them", () => {
    const blog = { hosts: ["www.example.com"], prefixes: ["https://blog.example.com/"] }
    expect(warned({ ...blog, wholeBy: "host" })).toEqual(["namespaces.blog.prefixes.0"])
  })

  it("are needed where all of the namespace is said by them, and so are prefixes", () => {
    expect(of({ wholeBy: "host" })).toEqual(["namespaces.blog.wholeBy: needs hosts, and there are none"])
    expect(of({ wholeBy: "prefix" })).toEqual(["namespaces.blog.wholeBy: needs prefixes, and there are none"])
    const inherited = { "*": { hosts: ["www.example.com"] }, blog: { wholeBy: "host" } }
    expect(mistakes({ namespaces: inherited })).toEqual([])
  })
})

describe("a template", () => {
  const of = (rule: object, namespace: object) =>
    mistakes({
      namespaces: { blog: namespace },
      sources: {
        cms: { type: "json", auth: "bearer", secret: secret("S"), namespace: "blog", rules: [rule] },
      },
    })
  const outside = (...places: string[]) =>
    places.map((place) =>
      expect.stringMatching(new RegExp(`^sources\\.cms\\.rules\\.0\\.${place}: lies outside`)),
    )

  it("is refused whose host lies outside of its namespace", () => {
    const urls = [
      "https://www.exmaple.com/{slug}",
      "https://www.example.com/{slug}",
      "https://www.exmaple.com/",
    ]
    const hosts = ["www.exmaple.com", "www.example.com", "{slug}.example.com"]
    const found = of({ urls, hosts, prefixes: ["{url}", "https://{slug}/x"] }, { hosts: ["www.example.com"] })
    expect(found).toEqual(outside("urls.0", "urls.2", "hosts.0"))
  })

  it("may go on to where a prefix begins, and not beside it", () => {
    const urls = [
      "https://www.example.com/{locale}/{slug}",
      "https://www.example.com/blog/a",
      "https://www.example.com/shop/{slug}",
    ]
    expect(of({ urls }, { prefixes: ["https://www.example.com/blog/"] })).toEqual(outside("urls.2"))
  })

  it("of a url is refused where the namespace has neither hosts nor prefixes", () => {
    expect(of({ tags: ["a"], urls: ["{url}"] }, {})).toEqual(outside("urls.0"))
  })
})

it("an origin is refused where no namespace of the target has a page", () => {
  const of = (origin: string, pattern: string) =>
    mistakes({
      namespaces: {
        blog: { hosts: ["www.example.com"] },
        shop: { prefixes: ["https://shop.example.com/eu/"] },
        api: {},
      },
      targets: { a: { ...print(pattern), verify: { origins: [origin] } } },
    })
  expect(of("https://www.example.com", "*")).toEqual([])
  expect(of("https://shop.example.com", "shop")).toEqual([])
  for (const [origin, pattern] of [
    ["https://www.exmaple.com", "*"],
    ["https://www.example.com", "shop"],
    ["https://www.example.com", "api"],
  ] as const) {
    expect(of(origin, pattern)).toEqual([expect.stringMatching(/^targets\.a\.verify\.origins\.0: /)])
  }
})

describe("did you mean", () => {
  it.for<[part: string, input: unknown, path: string, meant: string]>([
    ["a key of the file", { namespces: {} }, "namespces", "namespaces"],
    ["a key of a namespace", { namespaces: { blog: { hostes: [] } } }, "namespaces.blog.hostes", "hosts"],
    [
      "a key within a key",
      { relay: { resync: { onIdentiy: "report" } } },
      "relay.resync.onIdentiy",
      "onIdentity",
    ],
    [
      "a key of a type's own",
      { targets: { a: { type: "varnish", endpoint: "x", namespaces: ["*"], endpoits: [] } } },
      "targets.a.endpoits",
      "endpoints",
    ],
    [
      "a target's type",
      { targets: { a: { type: "cloudfare", namespaces: ["*"] } } },
      "targets.a.type",
      "cloudflare",
    ],
    ["a source's type", { sources: { a: { type: "contenful" } } }, "sources.a.type", "contentful"],
    ["a choice", { namespaces: { blog: { wholeBy: "tags" } } }, "namespaces.blog.wholeBy", "tag"],
    [
      "a choice of a type's own",
      { targets: { a: { type: "cloudflare", plan: "por" } } },
      "targets.a.plan",
      "pro",
    ],
    [
      "a word among lists",
      { targets: { a: { type: "varnish", endpoints: "dve" } } },
      "targets.a.endpoints",
      "dev",
    ],
    ["a scope", { tokens: [{ scopes: ["publsh:blog"] }] }, "tokens.0.scopes.0", "publish"],
    ["a scope that stands alone", { tokens: [{ scopes: ["oprate"] }] }, "tokens.0.scopes.0", "operate"],
    ["where a secret is", { sources: { a: { type: "json", auth: "beaer" } } }, "sources.a.auth", "bearer"],
    ["a variable", { sources: { a: { fields: { slgu: "/slug" } } } }, "sources.a.fields.slgu", "slug"],
    [
      "a namespace",
      { namespaces: { blog: {} }, targets: { a: print("blgo") } },
      "targets.a.namespaces.0",
      "blog",
    ],
    [
      "a rule's namespace",
      { namespaces: { blog: {} }, sources: { a: { namespace: "blog", rules: [{ namespace: "blgo" }] } } },
      "sources.a.rules.0.namespace",
      "blog",
    ],
    [
      "what a rule asks",
      { sources: { a: { rules: [{ when: { tpye: "post" } }] } } },
      "sources.a.rules.0.when.tpye",
      "type",
    ],
    [
      "a source's namespace",
      { namespaces: { blog: {} }, sources: { a: { namespace: "blgo" } } },
      "sources.a.namespace",
      "blog",
    ],
  ])("%s", ([, input, path, meant]) => {
    const found = mistakes(input).filter((text) => text.startsWith(`${path}: `))
    expect(found).toEqual([expect.stringMatching(new RegExp(`; did you mean ${meant}\\?$`))])
  })

  it("is not asked where nothing is near, and repeats no value", () => {
    const found = mistakes({ sesame: {}, targets: { a: { type: "sesame-open", namespaces: ["*"] } } })
    expect(found.join("\n")).not.toMatch(/did you mean|: .*sesame/)
  })

  it("is the nearest word, whichever way it was mistyped", () => {
    expect(nearest("TAG", ["tag", "host"])).toBe("tag")
    expect(nearest("tag", ["tag", "tags"])).toBeUndefined()
    const words = [
      "contentful",
      "contentstack",
      "standard-webhooks",
      "cloudflare-kv",
      "cloudflare",
      "namespaces",
    ]
    fc.assert(
      fc.property(
        fc.constantFrom(...words),
        fc.nat(),
        fc.constantFrom("drop", "swap", "add"),
        (word, at, how) => {
          const index = at % (word.length - 1)
          const [head, a = "", b = "", tail] = [
            word.slice(0, index),
            word[index],
            word[index + 1],
            word.slice(index + 2),
          ]
          const mistyped = {
            drop: head + b + tail,
            swap: head + b + a + tail,
            add: `${head}${a}x${b}${tail}`,
          }[how]
          expect(nearest(mistyped, words) ?? mistyped).toBe(word)
        },
      ),
    )
  })
})

it("a look at what rests is never more frequent than the poll", () => {
  expect(mistakes({ relay: { idle: "4s" } })).toEqual(["relay.idle: must be at least relay.poll"])
  expect(mistakes({ relay: { idle: "30s", poll: "1m" } })).toHaveLength(1)
  expect(mistakes({ relay: { idle: "5s" } })).toEqual([])
  // Left out, it follows a poll that is longer than its default.
  expect(mistakes({ relay: { poll: "1m" } })).toEqual([])
})

it("all mistakes are told at once, those of the form and those of names", () => {
  const paths = mistakes({
    surprise: true,
    namespaces: { blog: { hosts: ["https://www.example.com"] } },
    tokens: [{ name: "Deploy", sha256: "x", scopes: ["publish:blgo"] }],
    targets: { a: { type: "print", namespaces: ["blgo"] } },
  }).map((text) => text.split(": ")[0])
  expect(new Set(paths)).toEqual(
    new Set([
      "surprise",
      "namespaces.blog.hosts.0",
      "tokens.0.name",
      "tokens.0.sha256",
      "tokens.0.scopes.0",
      "targets.a.namespaces.0",
    ]),
  )
  expect(paths).toHaveLength(6)
})

it("what is taken is what the Worker reads", () => {
  const input: ConfigInput = {
    tokens: [{ name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] }],
    namespaces: {
      blog: { hosts: ["www.example.com"], prefixes: ["https://www.example.com/blog/"] },
    },
    targets: { a: { type: "print", namespaces: ["blog"] } },
  }
  expect(checkConfig(input)).toEqual(parseConfig(input))
})

it("anything at all is read or refused, and never thrown over", () => {
  const junk = fc.anything({ maxDepth: 4 })
  const section = fc.constantFrom("tokens", "namespaces", "tenants", "sources", "targets", "notify", "relay")
  const member = fc.constantFrom(
    "hosts",
    "prefixes",
    "namespaces",
    "tenants",
    "rules",
    "verify",
    "scopes",
    "type",
    "auth",
  )
  fc.assert(
    fc.property(
      fc.dictionary(section, fc.oneof(junk, fc.dictionary(fc.string(), fc.dictionary(member, junk)))),
      (input) => void mistakes(input),
    ),
  )
})
