import { describe, expect, it } from "vitest"
import { DAY, HOUR, MINUTE, SECOND } from "../time.ts"
import { ConfigError, findNamespace, parseConfig, resolveSecrets, servesTenant, tenantsOf } from "./config.ts"
import { defineConfig, secret } from "./define.ts"
import { SOURCE_TRAITS } from "./source-options.ts"

/** As the documentation has it. */
const EXAMPLE = defineConfig({
  tokens: [{ name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] }],
  namespaces: { blog: { hosts: ["www.example.com"], prefixes: ["https://www.example.com/blog/"] } },
  sources: {
    "contentful-main": {
      type: "contentful",
      secret: secret("CONTENTFUL_SECRET"),
      namespace: "blog",
      fields: { slug: "/fields/slug/@locale" },
      rules: [
        {
          when: { type: "post" },
          tags: ["post-{id}", "type-post"],
          urls: ["https://www.example.com/{locale}/blog/{slug}"],
        },
      ],
    },
  },
  targets: {
    "www-varnish": { type: "varnish", endpoints: ["http://127.0.0.1:6081"], namespaces: ["blog"] },
    "www-cloudflare": {
      type: "cloudflare",
      zone: "023e105f4ecef8ad9ca31a8372d0c353",
      token: secret("CLOUDFLARE_PURGE_TOKEN"),
      plan: "pro",
      namespaces: ["*"],
    },
  },
})

/** All that is wrong with a configuration. */
function mistakes(input: unknown): ConfigError {
  try {
    parseConfig(input)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error("nothing is wrong with it")
}

const pathsOf = (input: unknown): string[] => mistakes(input).faults.map(({ path }) => path)

const messagesOf = (input: unknown): string => mistakes(input).message

const token = { name: "deploy", sha256: "0".repeat(64), scopes: ["read:*"] }
const source = { type: "contentful", secret: secret("CONTENTFUL_SECRET"), namespace: "blog" }
const varnish = { type: "varnish", endpoints: ["http://127.0.0.1:6081"], namespaces: ["*"] }
const http = { type: "http", url: "https://a.test/", secret: secret("HOOK"), namespaces: ["*"] }
const namespaces = { blog: {} }
const withSource = (more: object) => ({ namespaces, sources: { cms: { ...source, ...more } } })
const withRule = (rule: object) => withSource({ rules: [rule] })
const withTarget = (more: object) => ({ targets: { cdn: { ...varnish, ...more } } })

describe("the example", () => {
  const config = parseConfig(EXAMPLE)

  it("has every default filled in", () => {
    expect(config.tokens[0]).toEqual({
      name: "deploy",
      sha256: { secret: "DEPLOY_TOKEN_SHA256" },
      scopes: ["publish:*", "read:*"],
      tenant: "default",
    })
    expect(config.sources["contentful-main"]).toMatchObject({ tenant: "default", otherwise: "ignore" })
    expect(config.targets["www-varnish"]).toEqual({
      type: "varnish",
      endpoints: ["http://127.0.0.1:6081"],
      namespaces: ["blog"],
      tenants: ["default"],
      allowEverything: false,
      onUnsupported: "widen",
      window: 0,
      timeout: 10 * SECOND,
    })
    expect(config.log).toEqual({ keep: 7 * DAY, maxEntries: 1_000_000 })
    expect(config.relay).toEqual({
      cors: [],
      publicMetrics: false,
      drain: 25 * SECOND,
      lease: 5 * SECOND,
      poll: 5 * SECOND,
      resync: { onIdentity: "resync", mode: "invalidate", spread: 0 },
    })
  })

  it("has a namespace with every default filled in", () => {
    expect(findNamespace(config, "default", "blog")).toEqual({
      hosts: ["www.example.com"],
      prefixes: ["https://www.example.com/blog/"],
      maxCacheTtl: 30 * DAY,
      maxTags: 1_000_000,
      wholeBy: "prefix",
      tagPrefix: "",
      overflowTag: undefined,
      settle: undefined,
      secondPass: undefined,
    })
  })

  it("is plain data, which comes back as it was given", () => {
    expect(JSON.parse(JSON.stringify(EXAMPLE))).toEqual(EXAMPLE)
    expect(parseConfig(JSON.parse(JSON.stringify(EXAMPLE)))).toEqual(config)
  })

  it("may be empty: every part then has its defaults", () => {
    expect(parseConfig({})).toMatchObject({ tokens: [], namespaces: {}, sources: {}, targets: {} })
  })
})

describe("mistakes", () => {
  it("are all told at once, by path, whatever their kind", () => {
    const { faults, message } = mistakes({
      tokens: [token, { ...token, sha256: "tm_hunter2" }],
      namespaces: { blog: { maxCacheTtl: "hunter2 days", colour: "hunter2" } },
      sources: {
        cms: { ...source, secret: "hunter2", namespace: "shop", rules: [{ tags: ["post-{hunter2}"] }] },
      },
      targets: { cdn: { ...http, secret: "whsec_hunter2" } },
    })
    expect(new Set(faults.map(({ path }) => path))).toEqual(
      new Set([
        "tokens.1.name",
        "tokens.1.sha256",
        "namespaces.blog.maxCacheTtl",
        "namespaces.blog.colour",
        "sources.cms.secret",
        "sources.cms.namespace",
        "sources.cms.rules.0.tags.0",
        "targets.cdn.secret",
      ]),
    )
    expect(message).toContain("8 mistakes")
    for (const { path, detail } of faults) expect(message).toContain(`  ${path}: ${detail}`)
    expect(message + JSON.stringify(faults)).not.toContain("hunter2")
  })

  it.each([
    ["the file", { colour: 1 }, "colour"],
    ["a token", { tokens: [{ ...token, colour: 1 }] }, "tokens.0.colour"],
    ["a namespace", { namespaces: { "a/b": { colour: 1 } } }, "namespaces.a/b.colour"],
    ["a tenant", { tenants: { acme: { namespaces: {}, colour: 1 } } }, "tenants.acme.colour"],
    [
      "a tenant's namespace",
      { tenants: { acme: { namespaces: { a: { colour: 1 } } } } },
      "tenants.acme.namespaces.a.colour",
    ],
    ["a source", withSource({ colour: 1 }), "sources.cms.colour"],
    ["a rule", withRule({ tags: ["a"], colour: 1 }), "sources.cms.rules.0.colour"],
    ["a target", withTarget({ colour: 1 }), "targets.cdn.colour"],
    ["another type's target", withTarget({ zone: "0".repeat(32) }), "targets.cdn.zone"],
    [
      "escalate",
      withTarget({ escalate: { selectors: 5, to: "namespace", colour: 1 } }),
      "targets.cdn.escalate.colour",
    ],
    ["rate", withTarget({ rate: { perSecond: 5, burst: 5, colour: 1 } }), "targets.cdn.rate.colour"],
    [
      "verify",
      withTarget({ verify: { origins: ["https://a.test"], colour: 1 } }),
      "targets.cdn.verify.colour",
    ],
    [
      "notify",
      { notify: { a: { url: "https://a.test", secret: secret("A"), events: ["a"], colour: 1 } } },
      "notify.a.colour",
    ],
    ["log", { log: { colour: 1 } }, "log.colour"],
    ["relay", { relay: { colour: 1 } }, "relay.colour"],
    ["resync", { relay: { resync: { colour: 1 } } }, "relay.resync.colour"],
  ])("are unknown keys of %s", (_, input, path) => expect(pathsOf(input)).toEqual([path]))

  it.each([
    ["a duration that is a number", { log: { keep: 7 } }, "log.keep"],
    ["a duration without a unit", { log: { keep: "7" } }, "log.keep"],
    ["a duration in words", withTarget({ window: "a while" }), "targets.cdn.window"],
    ["a window above an hour", withTarget({ window: "2h" }), "targets.cdn.window"],
    ["a pass after more than a day", { namespaces: { blog: { settle: "2d" } } }, "namespaces.blog.settle"],
    // Redis refuses a lease of no length, and a poll of none would never rest.
    ["a lease of no length", { relay: { lease: "0" } }, "relay.lease"],
    ["a poll of no length", { relay: { poll: "0s" } }, "relay.poll"],
    ["a timeout of no length", withTarget({ timeout: "0" }), "targets.cdn.timeout"],
    [
      "a template with an unknown name",
      withRule({ tags: ["ok", "post-{ident}"] }),
      "sources.cms.rules.0.tags.1",
    ],
    [
      "a template that is not closed",
      withRule({ urls: ["https://a.test/{id"] }),
      "sources.cms.rules.0.urls.0",
    ],
    [
      "a template by a relative pointer",
      withRule({ hosts: ["{field:host}"] }),
      "sources.cms.rules.0.hosts.0",
    ],
    ["an empty list of templates", withRule({ prefixes: [] }), "sources.cms.rules.0.prefixes"],
    [
      "a condition on an unknown variable",
      withRule({ when: { colour: "red" } }),
      "sources.cms.rules.0.when.colour",
    ],
    ["an unknown field", withSource({ fields: { colour: "/colour" } }), "sources.cms.fields.colour"],
    ["a field that is no pointer", withSource({ fields: { slug: "slug" } }), "sources.cms.fields.slug"],
    ["an undeclared namespace of a source", withSource({ namespace: "shop" }), "sources.cms.namespace"],
    ["an undeclared namespace of a rule", withRule({ namespace: "shop" }), "sources.cms.rules.0.namespace"],
    ["a secret in the file itself", withSource({ secret: "hunter2" }), "sources.cms.secret"],
    ["no secret", { namespaces, sources: { cms: { ...source, secret: undefined } } }, "sources.cms.secret"],
    ["an unknown type of source", withSource({ type: "wordpress2" }), "sources.cms.type"],
    ["a type by the name of a prototype", withSource({ type: "constructor" }), "sources.cms.type"],
    ["an unknown kind of auth", withSource({ auth: "magic" }), "sources.cms.auth"],
    ["an unknown type of target", withTarget({ type: "akamai2" }), "targets.cdn.type"],
    ["a target of no namespace", withTarget({ namespaces: [] }), "targets.cdn.namespaces"],
    ["a pattern that is none", withTarget({ namespaces: ["blog/*"] }), "targets.cdn.namespaces.0"],
    [
      "credentials sent in the clear",
      { targets: { cdn: { ...http, url: "http://a.test/" } } },
      "targets.cdn.url",
    ],
    [
      "an endpoint with a user",
      withTarget({ endpoint: "https://hunter2@h.example/" }),
      "targets.cdn.endpoint",
    ],
    [
      "a node with a password",
      withTarget({ endpoints: ["http://a:hunter2@10.0.0.1:6081"] }),
      "targets.cdn.endpoints",
    ],
    ["an endpoint in the clear", withTarget({ endpoint: "http://10.0.0.1/" }), "targets.cdn.endpoint"],
    ["a rate of nothing", withTarget({ rate: { perSecond: 0, burst: 1 } }), "targets.cdn.rate.perSecond"],
    ["four hashes", { tokens: [{ ...token, sha256: Array(4).fill("0".repeat(64)) }] }, "tokens.0.sha256"],
    ["no hash", { tokens: [{ ...token, sha256: [] }] }, "tokens.0.sha256"],
    ["a token for a hash", { tokens: [{ ...token, sha256: "tm_hunter2" }] }, "tokens.0.sha256"],
    ["no scope", { tokens: [{ ...token, scopes: [] }] }, "tokens.0.scopes"],
    ["a scope without its pattern", { tokens: [{ ...token, scopes: ["read"] }] }, "tokens.0.scopes.0"],
    [
      "a scope with a pattern too many",
      { tokens: [{ ...token, scopes: ["operate:*"] }] },
      "tokens.0.scopes.0",
    ],
    ["a scope of no kind", { tokens: [{ ...token, scopes: ["write:*"] }] }, "tokens.0.scopes.0"],
    ["a day that there is not", { tokens: [{ ...token, expires: "2027-02-30" }] }, "tokens.0.expires"],
    ["a day with a time", { tokens: [{ ...token, expires: "2027-01-31T00:00:00Z" }] }, "tokens.0.expires"],
    ["a name twice", { tokens: [token, token] }, "tokens.1.name"],
    ["a name in upper case", { tokens: [{ ...token, name: "Deploy" }] }, "tokens.0.name"],
    ["a tenant in upper case", { tenants: { Acme: { namespaces: {} } } }, "tenants.Acme"],
    ["a target's name with a dot", { targets: { "c.dn": varnish } }, "targets.c.dn"],
    ["a namespace that is none", { namespaces: { "blog/": {} } }, "namespaces.blog/"],
    [
      "a host that is a url",
      { namespaces: { blog: { hosts: ["https://a.test"] } } },
      "namespaces.blog.hosts.0",
    ],
    [
      "a prefix with a query",
      { namespaces: { blog: { prefixes: ["https://a.test/?b"] } } },
      "namespaces.blog.prefixes.0",
    ],
    [
      "a tag prefix with a space",
      { namespaces: { blog: { tagPrefix: "a b" } } },
      "namespaces.blog.tagPrefix",
    ],
    [
      "a tag prefix that is ours",
      { namespaces: { blog: { tagPrefix: "NS/" } } },
      "namespaces.blog.tagPrefix",
    ],
    ["no room for any tag", { namespaces: { blog: { maxTags: 0 } } }, "namespaces.blog.maxTags"],
    [
      "a policy that there is not",
      { relay: { resync: { onIdentity: "ignore" } } },
      "relay.resync.onIdentity",
    ],
    ["no configuration", undefined, ""],
    ["a list", [], ""],
  ])("are %s", (_, input, path) => {
    expect(pathsOf(input)).toEqual([path])
    expect(mistakes(input).message).not.toContain("hunter2")
  })

  it.each<[string, unknown, string]>([
    ["is missing", withSource({ namespace: undefined }), "must be given (string)"],
    ["is of another type", { tokens: 7 }, "must be of type array"],
    ["is none of the values", { namespaces: { blog: { wholeBy: "magic" } } }, 'must be "tag" or "'],
    ["is too short", withRule({ tags: [] }), "must have at least 1 item"],
    [
      "is none of several types",
      withRule({ when: { type: 7 }, tags: ["a"] }),
      "must be a text, or a list of texts",
    ],
    ["names no type", withTarget({ type: "abacus" }), "must be one of varnish, "],
  ])("say what is allowed where something %s", (_, input, words) =>
    expect(messagesOf(input)).toContain(words),
  )

  it("of a name say what a name is", () => {
    const { faults } = mistakes({ targets: { "c.dn": varnish }, namespaces: { "a//b": {} } })
    expect(faults.map(({ detail }) => detail).join(" ")).toMatch(/lower-case.*segments|segments.*lower-case/)
  })

  it("of a file that is none are told of the file", () => {
    expect(mistakes(null).message).toMatch(/1 mistake:\n {2}\(the file\): /)
  })

  it("are a source that is neither signed nor asks for a secret of its caller", () => {
    const unsigned = Object.entries(SOURCE_TRAITS).filter(([, traits]) => !traits.signed)
    for (const [type] of unsigned) {
      expect(pathsOf(withSource({ type }))).toEqual(["sources.cms.auth"])
      expect(parseConfig(withSource({ type, auth: "bearer" })).sources["cms"]?.auth).toBe("bearer")
    }
    for (const [type] of Object.entries(SOURCE_TRAITS).filter(([, traits]) => traits.signed)) {
      expect(parseConfig(withSource({ type })).sources["cms"]?.type).toBe(type)
    }
  })
})

describe("what is right", () => {
  it.each([
    ["a namespace below one that is declared", withSource({ namespace: "blog/posts" })],
    ["any namespace, where all are declared", { namespaces: { "*": {} }, sources: { cms: source } }],
    [
      "a tenant's own namespaces, for its sources",
      {
        tenants: { acme: { namespaces: { shop: {} } } },
        sources: { cms: { ...source, tenant: "acme", namespace: "shop" } },
      },
    ],
    [
      "three hashes, while rotating",
      { tokens: [{ ...token, sha256: ["0".repeat(64), secret("A"), "F".repeat(64)] }] },
    ],
    ["two secrets, while rotating", withSource({ secret: [secret("A"), secret("B")] })],
    ["http on loopback", { targets: { cdn: { ...http, url: "http://127.0.0.1:9999/" } } }],
    ["Varnish of development", withTarget({ endpoints: "dev" })],
    ["a condition on a value of the body", withRule({ when: { "field:/sys/env": ["a", "b"] } })],
    ["auth by a header", withSource({ auth: "header:X-Token" })],
  ])("%s", (_, input) => expect(() => parseConfig(input)).not.toThrow())

  it("a tenant with namespaces of its own does not have the shared ones", () => {
    const input = {
      namespaces,
      tenants: { acme: { namespaces: { shop: {} } } },
      sources: { cms: { ...source, tenant: "acme" } },
    }
    expect(pathsOf(input)).toEqual(["sources.cms.namespace"])
  })

  it("hosts are lower-cased, durations are milliseconds", () => {
    const config = parseConfig({ namespaces: { blog: { hosts: ["WWW.Example.com"], maxCacheTtl: "2h" } } })
    expect(config.namespaces["blog"]).toEqual({ hosts: ["www.example.com"], maxCacheTtl: 2 * HOUR })
  })
})

describe("a namespace", () => {
  const config = parseConfig({
    namespaces: {
      "*": { maxCacheTtl: "1d", secondPass: "1m", maxTags: 100 },
      shop: { hosts: ["shop.example.com"], tagPrefix: "s-", maxTags: 10 },
      "shop/cart": { maxTags: 5, hosts: [], settle: "0" },
      magazine: { prefixes: ["https://www.example.com/m/"], wholeBy: "tag" },
    },
  })
  const found = (name: string) => findNamespace(config, "default", name)

  it("takes what it does not say from its nearest ancestor, at last from '*'", () => {
    expect(found("shop/cart/items")).toEqual({
      hosts: [],
      prefixes: [],
      maxCacheTtl: DAY,
      maxTags: 5,
      wholeBy: "tag",
      tagPrefix: "s-",
      overflowTag: undefined,
      settle: 0,
      secondPass: MINUTE,
    })
    expect(found("shop")).toMatchObject({ maxTags: 10, settle: undefined, wholeBy: "host" })
    expect(found("magazine/issues")).toMatchObject({
      wholeBy: "tag",
      prefixes: ["https://www.example.com/m/"],
    })
    expect(found("elsewhere")).toMatchObject({ maxCacheTtl: DAY, maxTags: 100, tagPrefix: "" })
  })

  it("that is not declared is none", () => {
    const strict = parseConfig({ namespaces: { shop: {}, "a/b": {} } })
    expect(
      ["shop", "shop/cart", "a/b", "a/b/c"].map(
        (name) => findNamespace(strict, "default", name) !== undefined,
      ),
    ).toEqual([true, true, true, true])
    for (const name of ["a", "shopping", "constructor", "toString"]) {
      expect(findNamespace(strict, "default", name)).toBeUndefined()
    }
  })

  it("of a tenant with its own list is looked for there alone", () => {
    const own = parseConfig({ namespaces: { blog: {} }, tenants: { acme: { namespaces: { shop: {} } } } })
    expect(findNamespace(own, "acme", "shop")).toBeDefined()
    expect(findNamespace(own, "acme", "blog")).toBeUndefined()
    expect(findNamespace(own, "constructor", "blog")).toBeDefined()
  })
})

describe("tenants", () => {
  it("are all that are named, each once", () => {
    const config = parseConfig({
      tokens: [{ ...token, tenant: "b" }],
      namespaces,
      tenants: { d: { namespaces } },
      sources: { cms: { ...source, tenant: "c" } },
      targets: { one: { ...varnish, tenants: ["a", "*"] }, two: { ...varnish, tenants: ["b"] } },
    })
    expect(tenantsOf(config)).toEqual(["a", "b", "c", "d"])
  })

  it("are served by a target that names them, or all", () => {
    expect(servesTenant({ tenants: ["a"] }, "a")).toBe(true)
    expect(servesTenant({ tenants: ["a"] }, "b")).toBe(false)
    expect(servesTenant({ tenants: ["*"] }, "b")).toBe(true)
  })
})

describe("secrets", () => {
  const config = parseConfig(EXAMPLE)

  it("take the place of their names, and those that are missing are listed", () => {
    const environment = {
      DEPLOY_TOKEN_SHA256: "0".repeat(64),
      CONTENTFUL_SECRET: "",
      CLOUDFLARE_PURGE_TOKEN: 5,
    }
    const { config: resolved, missing } = resolveSecrets(config, environment)
    expect(resolved.tokens[0]?.sha256).toBe("0".repeat(64))
    expect(resolved.targets["www-varnish"]).toEqual(config.targets["www-varnish"])
    expect(missing).toEqual([
      { path: "sources.contentful-main.secret", name: "CONTENTFUL_SECRET" },
      { path: "targets.www-cloudflare.token", name: "CLOUDFLARE_PURGE_TOKEN" },
    ])
  })

  it("leave the configuration as it was, without any of them", () => {
    const before = JSON.stringify(config)
    resolveSecrets(config, { DEPLOY_TOKEN_SHA256: "hunter2", CONTENTFUL_SECRET: "hunter2" })
    expect(JSON.stringify(config)).toBe(before)
  })

  it("are found in lists too, and a namespace may have that name", () => {
    const rotating = parseConfig({
      tokens: [{ ...token, sha256: ["0".repeat(64), secret("NEXT")] }],
      namespaces: { secret: { tagPrefix: "s-" } },
    })
    const { config: resolved, missing } = resolveSecrets(rotating, { NEXT: "1".repeat(64) })
    expect(resolved.tokens[0]?.sha256).toEqual(["0".repeat(64), "1".repeat(64)])
    expect(resolved.namespaces).toEqual({ secret: { tagPrefix: "s-" } })
    expect(missing).toEqual([])
  })

  it.each(["", "lower", "1A", "A-B", "A B", "A".repeat(129), "tm_hunter2"])("are not named %j", (name) => {
    expect(() => secret(name)).toThrow(TypeError)
    expect(() => secret(name)).not.toThrow(/hunter2/)
  })
})
