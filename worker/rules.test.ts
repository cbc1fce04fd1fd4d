import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { parseConfig, resolveSecrets } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import {
  countSelectors,
  type Invalidation,
  MAX_BODY_BYTES,
  MAX_SELECTORS,
  SELECTOR_LISTS,
} from "../protocol/invalidation.ts"
import { checkHost, checkPrefix, checkTag, checkUrl, hostWithin, urlWithin } from "../protocol/selector.ts"
import { matchesText } from "./rules/match.ts"
import { type Derived, deriveInvalidations, wholeNamespace } from "./rules.ts"
import { contextOf } from "./sources/conformance.ts"
import { contentful } from "./sources/contentful.ts"
import type { SourceEvent } from "./sources/source.ts"

type SourceInput = NonNullable<ConfigInput["sources"]>[string]

type Rule = NonNullable<SourceInput["rules"]>[number]

const TERRITORY = { hosts: ["www.example.com"], prefixes: ["https://cdn.example.com/blog/"] }

const told = (source: Partial<SourceInput>) => {
  const config = parseConfig({
    namespaces: { blog: TERRITORY, news: { hosts: ["news.example.com"] }, bare: {} },
    sources: {
      main: { type: "standard-webhooks", secret: { secret: "MAIN" }, namespace: "blog", ...source },
    },
  })
  const main = resolveSecrets(config, { MAIN: "whsec_AAAA" }).config.sources["main"]
  if (!main) throw new Error("the source is there")
  return { config, source: main, sourceName: "main" }
}

/** What a source with this configuration makes of events and their body. */
const derive = (
  source: Partial<SourceInput>,
  events: SourceEvent | readonly SourceEvent[],
  body: unknown = {},
): Derived => deriveInvalidations({ ...told(source), body, events: [events].flat() })

/** An invalidation of the namespace, all lists empty but those named. */
const blog = (more: Partial<Invalidation> = {}): Partial<Invalidation> => ({
  namespace: "blog",
  mode: "invalidate",
  tags: [],
  urls: [],
  prefixes: [],
  hosts: [],
  ...more,
})

const one = (derived: Derived): Partial<Invalidation> => {
  expect(derived.invalidations).toHaveLength(1)
  const { entity: _, notes: _notes, ...rest } = derived.invalidations[0] ?? {}
  return rest
}

const listOf = (length: number): string[] => Array.from({ length }, (_, index) => `v${index}`)

const POST: SourceEvent = { kind: "publish", type: "post", id: "42", slug: "tides" }

describe("without rules", () => {
  it.for(["prismic", "json"] as const)("a source that knows no types is known by its ids: %s", (type) => {
    const derived = derive({ type, auth: "bearer" }, { kind: "update", id: "42" })
    expect(one(derived)).toEqual(blog({ tags: ["id-42"] }))
    const typed = { type: "json", auth: "bearer", fields: { type: "/type" } } as const
    expect(one(derive(typed, { kind: "update", id: "42" }))).toEqual(blog())
  })

  it.for([
    ["a type and an id", POST, blog({ tags: ["post-42", "type-post"] })],
    ["no type, though the sender's records have one", { kind: "update", id: "42" }, blog()],
    [
      "a deletion",
      { kind: "delete", type: "post", id: "42" },
      blog({ mode: "purge", tags: ["post-42", "type-post"] }),
    ],
    ["an unpublish", { ...POST, kind: "unpublish" }, blog({ mode: "purge", tags: ["post-42", "type-post"] })],
    ["an empty id", { kind: "delete", type: "post", id: "" }, blog({ mode: "purge" })],
    ["an id that is no tag", { kind: "update", type: "post", id: "x".repeat(1_020) }, blog()],
    ["tags", { kind: "tags", tags: ["a", "b", "a"] }, blog({ tags: ["a", "b"] })],
    ["no id", { kind: "update", type: "post" }, blog()],
    ["nothing at all", { kind: "update" }, blog()],
    ["a deletion of no id", { kind: "delete", type: "post" }, blog({ mode: "purge" })],
    ["a deploy, whose id labels no page", { kind: "deploy", type: "site", id: "d1" }, blog()],
    ["tags of which none can be one", { kind: "tags", tags: ["ns/blog", "u:x", " "] }, blog()],
    ["tags of which some cannot", { kind: "tags", tags: ["ns/blog", "a"] }, blog()],
    ["tags that a cache would take for ours", { kind: "tags", tags: ["NS/shop", "a"] }, blog()],
    ["a tag that is too long among others", { kind: "tags", tags: ["x".repeat(1_025), "a"] }, blog()],
    ["more tags than can be listed", { kind: "tags", tags: listOf(1_001) }, blog()],
  ] satisfies [string, SourceEvent, Partial<Invalidation>][])("%s", ([, event, expected]) => {
    expect(one(derive({}, event))).toEqual(expected)
  })

  it("says why it widened, and what it dropped", () => {
    expect(derive({}, { kind: "update" }).notes).toEqual([
      "the delivery names no id: blog is invalidated as a whole",
    ])
    expect(derive({}, { kind: "tags", tags: ["ns/blog", "a"] }).notes).toHaveLength(1)
    expect(derive({}, POST).notes).toEqual([])
  })

  it("treats an empty list of rules as none", () => {
    expect(one(derive({ rules: [] }, POST))).toEqual(blog({ tags: ["post-42", "type-post"] }))
  })
})

const link = (id: string) => ({ sys: { type: "Link", id } })

describe("a Contentful blog", () => {
  const source: Partial<SourceInput> = {
    type: "contentful",
    fields: { slug: "/fields/slug/@locale" },
    rules: [
      {
        when: { type: "post" },
        tags: ["post-{id}", "type-post"],
        urls: ["https://www.example.com/{locale}/blog/{slug}"],
      },
    ],
  }
  const sys = {
    type: "Entry",
    id: "5Ks",
    contentType: link("post"),
    environment: link("master"),
    revision: 7,
  }
  const deliver = (
    body: Readonly<Record<string, unknown>>,
    topic: string,
    more: Partial<SourceInput> = {},
  ): Derived => {
    const headers = new Headers({ "x-contentful-topic": `ContentManagement.${topic}` })
    const reading = contentful.read({ body, headers, path: "/" }, contextOf("contentful", "-"))
    return derive({ ...source, ...more }, reading.reading === "events" ? reading.events : [], body)
  }

  it("publishes in two locales: one invalidation, a url for each", () => {
    const body = {
      sys,
      fields: { slug: { "en-US": "tides", "de-DE": "gezeiten & mehr" }, title: { fr: "-" } },
    }
    expect(deliver(body, "Entry.publish")).toEqual({
      invalidations: [
        {
          ...blog({ tags: ["post-5Ks", "type-post"] }),
          urls: [
            "https://www.example.com/en-US/blog/tides",
            "https://www.example.com/de-DE/blog/gezeiten%20%26%20mehr",
          ],
          entity: { type: "post", id: "5Ks", version: "7" },
        },
      ],
      notes: [],
      rules: [0],
    })
  })

  it("deletes by a tombstone: by tag, as no slug is told", () => {
    const tombstone = { sys: { ...sys, type: "DeletedEntry" } }
    const [rule] = source.rules ?? []
    const urls = ["https://www.example.com/{locale?}/blog/{slug?}"]
    const derived = deliver(tombstone, "Entry.delete", { rules: [{ ...rule, urls }] })
    expect(one(derived)).toEqual(blog({ mode: "purge", tags: ["post-5Ks", "type-post"] }))
    expect(derived.notes).toEqual([
      "rules.0: https://www.example.com/{locale?}/blog/{slug?}: {locale} has no value",
    ])
    expect(derived.invalidations[0]?.notes).toBeUndefined()
  })

  it("widens for a tombstone where a rule insists on what it does not tell", () => {
    const derived = deliver({ sys: { ...sys, type: "DeletedEntry" } }, "Entry.delete")
    expect(one(derived)).toEqual(blog({ mode: "purge" }))
    const note =
      "rules.0: https://www.example.com/{locale}/blog/{slug}: {locale} has no value: blog is invalidated as a whole"
    expect([derived.notes, derived.invalidations[0]?.notes]).toEqual([[note], [note]])
  })

  it("counts the environments that are named, and what names none", () => {
    const body = { sys, fields: {} }
    const derived = deliver(body, "Entry.publish", { environments: ["staging"] })
    expect(derived.invalidations).toEqual([])
    expect(derived.notes).toEqual(["the environment master is none of this source's environments"])
    expect(deliver(body, "Entry.publish", { environments: ["staging", "mas*"] }).invalidations).toHaveLength(
      1,
    )
    const { environment: _, ...nowhere } = sys
    expect(
      deliver({ sys: nowhere }, "Entry.publish", { environments: ["staging"] }).invalidations,
    ).toHaveLength(1)
  })
})

const byUrl = (url: string, fields: Record<string, string>): Partial<SourceInput> => ({
  fields,
  rules: [{ urls: [url] }],
})

describe("fields", () => {
  const PAGE = "https://www.example.com/{slug}"

  it.for([
    ["a member", "/data/path", { data: { path: "a" } }, ["a"]],
    ["a number", "/data/7", { data: { "7": 3 } }, ["3"]],
    ["an element", "/data/1", { data: ["a", "b"] }, ["b"]],
    ["escaped tokens", "/a~1b/~0", { "a/b": { "~": "x" } }, ["x"]],
    ["every element", "/data/*/slug", { data: [{ slug: "a" }, {}, { slug: "b" }] }, ["a", "b"]],
    ["every member", "/data/*", { data: { x: "a", y: "b" } }, ["a", "b"]],
    ["a list", "/data", { data: ["a", ["b"], null, { c: 1 }, "", false] }, ["a", "false"]],
  ] as const)("read %s", ([, pointer, body, slugs]) => {
    const urls = slugs.map((slug) => `https://www.example.com/${slug}`)
    expect(one(derive(byUrl(PAGE, { slug: pointer }), POST, body))).toEqual(blog({ urls }))
  })

  it.for([
    ["an absent member", "/nothing", {}],
    ["null", "/a", { a: null }],
    ["an empty text", "/a", { a: "" }],
    ["an object", "/a", { a: { b: "c" } }],
    ["an empty list", "/a", { a: [] }],
    ["a text that is no Unicode", "/a", { a: "\ud800" }],
    ["a prototype", "/constructor/name", {}],
    ["the length of a list", "/a/length", { a: ["b"] }],
    ["a locale where there is none", "/a/@locale", {}],
  ] as const)("have no value in %s, and never what the source read instead", ([, pointer, body]) => {
    const derived = derive(byUrl(PAGE, { slug: pointer }), POST, body)
    expect(one(derived)).toEqual(blog())
    expect(derived.notes).toEqual([`rules.0: ${PAGE}: {slug} has no value: blog is invalidated as a whole`])
  })

  it("split by every locale that any of them finds", () => {
    const fields = { slug: "/slug/@locale", previousSlug: "/old/@locale", locale: "/never" }
    const rules = [
      {
        urls: [
          "https://www.example.com/{locale}/{slug?}",
          "https://www.example.com/{locale}/{previousSlug?}",
        ],
      },
    ]
    const body = { slug: { en: "a" }, old: { en: "b", de: "c" } }
    expect(one(derive({ fields, rules }, POST, body))).toEqual(
      blog({
        urls: [
          "https://www.example.com/en/a",
          "https://www.example.com/en/b",
          "https://www.example.com/de/c",
        ],
      }),
    )
  })

  it("keep to the event's own locale where they find none", () => {
    const rules = [{ tags: ["{id}:{locale}:{field:/title/@locale}"] }]
    const event = { ...POST, locale: "en" }
    expect(one(derive({ rules }, event, { title: { en: "T", de: "-" } }))).toEqual(
      blog({ tags: ["42:en:T"] }),
    )
  })

  it("say the kind, and leave it as it was where they find none", () => {
    const source = { fields: { kind: "/event" }, rules: [{ when: { kind: "*" }, tags: ["{id}"] }] }
    expect(one(derive(source, POST, { event: "delete" }))).toEqual(blog({ mode: "purge", tags: ["42"] }))
    expect(one(derive(source, { ...POST, kind: "delete" }, {}))).toEqual(
      blog({ mode: "purge", tags: ["42"] }),
    )
  })

  it("count a delivery of several environments where one of them counts", () => {
    const source = { fields: { environment: "/*/in" }, environments: ["main"] }
    const body = [{ in: "sandbox" }, { in: "main" }]
    expect(derive(source, POST, body).invalidations).toHaveLength(1)
    expect(derive(source, POST, body.slice(0, 1)).invalidations).toEqual([])
  })

  it("give up on more locales than can be listed", () => {
    const locales = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`l${index}`, "a"]))
    expect(one(derive(byUrl(PAGE, { slug: "/slug/@locale" }), POST, { slug: locales }))).toEqual(blog())
  })
})

describe("when", () => {
  const body = { section: "sport", tags: ["tv", "news"], draft: false, nested: [{ k: "v" }] }

  it.for([
    [{ type: "post" }, true],
    [{ type: "page" }, false],
    [{ type: ["page", "post"] }, true],
    [{ type: "POST" }, false],
    [{ type: "p*t" }, true],
    [{ type: "*" }, true],
    [{ type: "post", kind: "publish" }, true],
    [{ type: "post", kind: ["delete", "unpublish"] }, false],
    [{ previousSlug: "*" }, false],
    [{ "field:/section": "sp*" }, true],
    [{ "field:/draft": "false" }, true],
    [{ "field:/tags": "news" }, true],
    [{ "field:/tags/*": "weather" }, false],
    [{ "field:/nested/*/k": "v" }, true],
    [{ "field:/nested": "*" }, false],
    [{}, true],
  ] as [Record<string, string | string[]>, boolean][])("%j holds: %s", ([when, holds]) => {
    const derived = derive({ rules: [{ when, tags: ["x"] }] }, POST, body)
    expect(derived.invalidations).toHaveLength(holds ? 1 : 0)
    expect(derived.rules).toEqual(holds ? [0] : [])
  })

  it.for([
    ["", "", true],
    ["", "a", false],
    ["a*", "a", true],
    ["*a", "ba", true],
    ["a*a", "a", false],
    ["a*a", "aa", true],
    ["*a*b*", "xaxbx", true],
    ["*a*b*", "xbxax", false],
    ["a*ab*b", "aab", false],
    ["a*ab*b", "aabb", true],
    ["**", "", true],
    [".*", "ab", false],
    ["(a+)+$", "(a+)+$", true],
  ] as const)("the pattern %j matches %j: %s", ([pattern, text, expected]) => {
    expect(matchesText(pattern, text)).toBe(expected)
  })

  it("is not slowed by a pattern made to be slow", () => {
    expect(matchesText(`${"*a".repeat(50)}b`, "a".repeat(100_000))).toBe(false)
  })
})

describe("rules", () => {
  it("apply one and all, and what is alike is merged", () => {
    const rules = [
      { tags: ["{id}"] },
      { when: { type: "post" }, tags: ["{id}", "posts"], urls: ["https://www.example.com/{slug}"] },
      { mode: "purge" as const, tags: ["home"] },
      { namespace: "news", tags: ["home"] },
      { settle: "10s", tags: ["slow"] },
      { when: { type: "page" }, tags: ["never"] },
    ]
    const derived = derive({ rules, secondPass: "1m" }, POST)
    const secondPass = 60_000
    const entity = { type: "post", id: "42" }
    expect(derived.invalidations).toEqual([
      blog({ tags: ["42", "posts"], urls: ["https://www.example.com/tides"], secondPass, entity }),
      blog({ mode: "purge", tags: ["home"], secondPass, entity }),
      blog({ namespace: "news", tags: ["home"], secondPass, entity }),
      blog({ tags: ["slow"], settle: 10_000, secondPass, entity }),
    ])
    expect(derived.rules).toEqual([0, 1, 2, 3, 4])
  })

  it("say an entity only where all of it is about one", () => {
    const derived = derive({}, [POST, { ...POST, id: "43" }])
    expect(derived.invalidations).toEqual([blog({ tags: ["post-42", "type-post", "post-43"] })])
  })

  it("mean the namespace where they name nothing", () => {
    const derived = derive({ rules: [{ when: { type: "post" } }] }, POST)
    expect(one(derived)).toEqual(blog())
    expect(derived.notes).toEqual([])
  })

  it("let the source say what passes follow, and the rule say otherwise", () => {
    const source = { settle: "5s", rules: [{ tags: ["a"] }, { tags: ["b"], settle: "0" }] }
    const { invalidations } = derive(source, { kind: "update" })
    expect(invalidations).toEqual([blog({ tags: ["a"], settle: 5_000 }), blog({ tags: ["b"], settle: 0 })])
  })

  it("ignore what none matches, or widen where that is configured", () => {
    const rules = [{ when: { type: "page" }, tags: ["x"] }]
    const why = "no rule of main matches: delete of post"
    const event: SourceEvent = { ...POST, kind: "delete" }
    expect(derive({ rules }, event)).toEqual({ invalidations: [], notes: [why], rules: [] })
    const derived = derive({ rules, otherwise: "namespace" }, event)
    expect(one(derived)).toEqual(blog({ mode: "purge" }))
    expect(derived.notes).toEqual([`${why}: blog is invalidated as a whole`])
  })

  it("come to the namespace for what says nothing usable", () => {
    const notes = ["the body is not JSON: blog is invalidated as a whole"]
    expect(wholeNamespace(told({ settle: "5s" }).source, "the body is not JSON")).toEqual({
      invalidations: [blog({ settle: 5_000, notes })],
      notes,
      rules: [],
    })
    expect(one(wholeNamespace(told({}).source, "no id", "unpublish"))).toEqual(blog({ mode: "purge" }))
  })
})

describe("a template without a value", () => {
  const url = "https://www.example.com/{previousSlug}"
  const optional = "https://www.example.com/{previousSlug?}"

  it.for([
    ["widens where no tag stands in", { urls: [url] }, blog()],
    ["widens although another url is there", { urls: [url, "https://www.example.com/{slug}"] }, blog()],
    ["widens beside a tag", { tags: ["{id}"], urls: [url] }, blog()],
    ["widens where it is one tag of several", { tags: ["{previousSlug}", "type-post"] }, blog()],
    ["widens as a prefix beside a tag", { tags: ["{id}"], prefixes: [url] }, blog()],
    ["widens as a host beside a tag", { tags: ["{id}"], hosts: ["{previousSlug}"] }, blog()],
    ["widens as hard as the rule asks", { tags: ["{version}", "x"], mode: "purge" }, blog({ mode: "purge" })],
    ["widens where it is itself the only tag", { tags: ["{previousSlug}"] }, blog()],
    [
      "yields nothing where it is optional",
      { urls: [optional, "https://www.example.com/{slug}"] },
      blog({ urls: ["https://www.example.com/tides"] }),
    ],
    ["widens where only another of its placeholders is optional", { urls: [`${url}/{url?}`] }, blog()],
  ] satisfies [string, Rule, Partial<Invalidation>][])("%s", ([, rule, expected]) => {
    expect(one(derive({ rules: [rule] }, POST))).toEqual(expected)
  })

  it("comes to nothing at all where everything is optional", () => {
    const derived = derive({ rules: [{ urls: [optional] }] }, POST)
    expect(derived.invalidations).toEqual([])
    expect(derived.rules).toEqual([0])
  })

  it("widens the rule's own namespace, not the source's", () => {
    expect(one(derive({ rules: [{ namespace: "news", urls: [url] }] }, POST))).toEqual(
      blog({ namespace: "news" }),
    )
  })
})

describe("a condition on what the sender left out", () => {
  const rules = (when: Record<string, string | string[]>) => [
    { when, namespace: "news", tags: ["news-{id}"] },
    { tags: ["all-{id}"] },
  ]
  const namespaces = (when: Record<string, string | string[]>, event: SourceEvent) =>
    derive({ rules: rules(when) }, event).invalidations.map(({ namespace, tags }) => [namespace, ...tags])

  it.for([
    [{ type: "post" }, { kind: "update", id: "1" }],
    [
      { type: ["page", "post"], kind: "update" },
      { kind: "update", id: "1" },
    ],
    [
      { environment: "master", type: "post" },
      { kind: "update", id: "1", type: "post" },
    ],
    [{ type: "post" }, { kind: "update", id: "1", type: "" }],
  ] satisfies [Record<string, string | string[]>, SourceEvent][])("widens: %j of %j", ([when, event]) => {
    expect(namespaces(when, event)).toEqual([["news"], ["blog", "all-1"]])
  })

  it.for([
    [{ type: "post" }, { kind: "update", id: "1", type: "page" }],
    [
      { type: "post", kind: "delete" },
      { kind: "update", id: "1" },
    ],
    [{ type: "*" }, { kind: "update", id: "1" }],
    [{ type: "post" }, { kind: "deploy", id: "1" }],
    [{ type: "post" }, { kind: "tags", id: "1", tags: ["a"] }],
    [{ slug: "a" }, { kind: "update", id: "1" }],
  ] satisfies [Record<string, string | string[]>, SourceEvent][])("is none: %j of %j", ([when, event]) => {
    expect(namespaces(when, event)).toEqual([["blog", "all-1"]])
  })

  it("widens where no other rule matches, whatever is done otherwise", () => {
    const derived = derive({ rules: [{ when: { type: "post" }, tags: ["x"] }] }, { kind: "delete", id: "1" })
    expect(one(derived)).toEqual(blog({ mode: "purge" }))
    expect(derived.rules).toEqual([0])
    expect(derived.notes[0]).toContain("rules.0: ")
  })
})

describe("what concerns the model, or cannot be read", () => {
  const rules: Rule[] = [
    { when: { type: "post" }, tags: ["post-{id}", "type-post"], mode: "purge" },
    { when: { type: "page", kind: "delete" }, namespace: "news", tags: ["{id}"], mode: "purge" },
  ]
  const model: SourceEvent = { kind: "update", isModel: true, type: "page" }

  it("is every namespace that the source speaks of, whatever the rules say", () => {
    const { invalidations, notes, rules: matched } = derive({ rules }, model)
    expect(invalidations.map(({ namespace, mode, tags }) => [namespace, mode, tags])).toEqual([
      ["blog", "invalidate", []],
      ["news", "invalidate", []],
    ])
    expect([notes.length, matched]).toEqual([2, []])
  })

  it("is as hard as its kind, or a rule that may be meant", () => {
    const hard = (source: Partial<SourceInput>, event: SourceEvent) =>
      derive(source, event).invalidations.map(({ mode }) => mode)
    expect(hard({ rules }, { ...model, type: "post" })).toEqual(["purge", "invalidate"])
    expect(hard({ rules }, { ...model, kind: "delete" })).toEqual(["purge", "purge"])
    expect(hard({}, { ...model, kind: "delete" })).toEqual(["purge"])
    const whole = (kind: "update" | "delete") =>
      wholeNamespace(told({ rules }).source, "-", kind).invalidations.map(({ namespace, mode }) => [
        namespace,
        mode,
      ])
    expect(whole("update")).toEqual([
      ["blog", "purge"],
      ["news", "invalidate"],
    ])
    expect(whole("delete")).toEqual([
      ["blog", "purge"],
      ["news", "purge"],
    ])
  })

  it("counts in the environments that are named", () => {
    const source = { rules, environments: ["master"] }
    expect(derive(source, { ...model, environment: "dev" }).invalidations).toEqual([])
    expect(derive(source, { ...model, environment: "master" }).invalidations).toHaveLength(2)
  })
})

describe("notes", () => {
  it("are kept with what they are about, few and on one line", () => {
    const event = {
      ...POST,
      environment: "a\u0000\r\nb\u202e".padEnd(500, "x"),
      url: "https://evil.example/",
    }
    const urls = Array.from({ length: 12 }, (_, n) => `{url?}${n}`)
    const { invalidations, notes } = derive({ rules: [{ tags: ["{id}"], urls }] }, event)
    expect([notes.length, invalidations[0]?.notes?.length]).toEqual([12, 8])
    expect(invalidations[0]?.notes?.at(-1)).toBe("and 5 more")
    const [ignored = ""] = derive({ environments: ["c"] }, event).notes
    expect(ignored).toMatch(/^the environment a {3}b x+ is none/)
    const long = derive({ rules: [{ tags: [`${"y".repeat(1_000)}{version}`] }] }, event)
    expect(long.invalidations[0]?.notes?.[0]?.length).toBeLessThanOrEqual(240)
  })

  it("tell what is optional and absent, but for what only a rename has", () => {
    const rules = [
      { tags: ["{id}", "{version?}"], urls: ["https://www.example.com/{previousSlug?}", "{previousUrl?}"] },
    ]
    const derived = derive({ rules }, POST)
    expect(one(derived)).toEqual(blog({ tags: ["42"] }))
    expect(derived.notes).toEqual(["rules.0: {version?}: {version} has no value"])
  })
})

describe("lists", () => {
  it("fan out to their product", () => {
    const rules = [{ tags: ["{field:/a}-{field:/b/*}"] }]
    expect(one(derive({ rules }, POST, { a: ["1", "2"], b: ["x", "y"] }))).toEqual(
      blog({ tags: ["1-x", "1-y", "2-x", "2-y"] }),
    )
  })

  it.for([
    [20, 50, 1_000],
    [33, 31, 0],
  ] as const)("of %i times %i are %i selectors", ([a, b, count]) => {
    const derived = derive({ rules: [{ tags: ["{field:/a}-{field:/b}"] }] }, POST, {
      a: listOf(a),
      b: listOf(b),
    })
    expect(one(derived).tags).toHaveLength(count)
    expect(derived.notes).toHaveLength(count === 0 ? 1 : 0)
  })

  it("widen beyond their product even where there is a tag", () => {
    const list = listOf(1_001)
    expect(
      one(
        derive({ rules: [{ tags: ["{id}"], urls: ["https://www.example.com/{field:/a}"] }] }, POST, {
          a: list,
        }),
      ),
    ).toEqual(blog())
  })

  it("widen together where each alone would do", () => {
    const list = listOf(600)
    const rules = [{ tags: ["{field:/a}"] }, { tags: ["b-{field:/a}"] }]
    expect(one(derive({ rules }, POST, { a: list }))).toEqual(blog())
    const apart = derive(
      { rules: [{ tags: ["{field:/a}"] }, { namespace: "news", tags: ["long-{field:/a}"] }] },
      POST,
      { a: list },
    )
    expect(apart.invalidations.map(({ namespace, tags }) => [namespace, tags.length])).toEqual([
      ["blog", 600],
      ["news", 0],
    ])
  })

  it("widen beyond what a request may weigh", () => {
    const list = Array.from({ length: 300 }, (_, index) => `${index}`.padEnd(1_000, "x"))
    expect(one(derive({ rules: [{ tags: ["{field:/a}"] }] }, POST, { a: list }))).toEqual(blog())
  })
})

describe("values", () => {
  it.for([
    ["https://www.example.com/{slug}", "a b", "https://www.example.com/a%20b"],
    ["https://www.example.com/{slug}", "a/b", "https://www.example.com/a%2Fb"],
    ["https://www.example.com/{+slug}", "a/b c", "https://www.example.com/a/b%20c"],
    ["https://www.example.com/{slug}", "caf\u00e9", "https://www.example.com/caf%C3%A9"],
    ["https://www.example.com/{slug}", "-._~", "https://www.example.com/-._~"],
    ["https://www.example.com/{slug}", "!'()*", "https://www.example.com/%21%27%28%29%2A"],
    ["https://www.example.com/?q={slug}", "a&b=c#d", "https://www.example.com/?q=a%26b%3Dc%23d"],
    ["https://www.example.com/{slug}", "%2e%2e", "https://www.example.com/%252e%252e"],
    ["https://www.example.com/{slug}", "../../admin", "https://www.example.com/..%2F..%2Fadmin"],
    ["https://www.example.com/{slug}", "a\r\nX-Evil: 1", "https://www.example.com/a%0D%0AX-Evil%3A%201"],
    [
      "https://www.example.com/{slug}",
      "http://169.254.169.254/",
      "https://www.example.com/http%3A%2F%2F169.254.169.254%2F",
    ],
    ["{url}", "https://www.example.com/a%20b?c=d", "https://www.example.com/a%20b?c=d"],
    ["https://www.example.com{url}", "/a/b", "https://www.example.com/a/b"],
    ["{previousUrl}", "HTTPS://WWW.example.com:443/a", "https://www.example.com/a"],
  ] as const)("of %s and %j come to %s", ([template, value, expected]) => {
    const event = { ...POST, slug: value, url: value, previousUrl: value }
    expect(one(derive({ rules: [{ urls: [template] }] }, event))).toEqual(blog({ urls: [expected] }))
  })

  it.for([
    ["https://www.example.com/blog/{slug}", ".."],
    ["https://www.example.com/blog/{slug}", "."],
    ["https://www.example.com/blog/.{slug}/x", "."],
    ["https://www.example.com/{+slug}", "../../admin"],
    ["https://www.example.com/{+slug}", "a/./b"],
    ["https://www.example.com/{+slug}", "a/.."],
    ["https://www.example.com{url}", "/blog/%2E%2e/admin"],
    ["https://www.example.com{url}", "/blog\\..\\admin"],
    ["https://www.example.com{url}", ".evil.example/"],
    ["https://www.example.com{url}", "@evil.example/"],
    ["https://www.example.com{+slug}", "@evil.example/"],
    ["https://www.example.com{slug}", ".evil.example"],
    ["https://{slug}/", "evil.example"],
    ["https://{slug}.example.com/", "evil"],
    ["{url}", "http://169.254.169.254/"],
    ["{url}", "https://www.example.com.evil.example/"],
    ["{url}", "https://user@www.example.com/"],
    ["{url}", "https://www.example.com/\r\nX-Evil: 1"],
    ["{url}", "https://www.example.com/#top"],
    ["{url}", "https://cdn.example.com/blogs/"],
    ["{url}", "javascript:alert(1)"],
    ["{url}", "//www.example.com/"],
    ["{url}", "/relative"],
    ["https://www.example.com/{slug}", "x".repeat(2_048)],
  ] as const)("never become a url: %s with %j", ([template, value]) => {
    const event = { ...POST, slug: value, url: value }
    expect(one(derive({ rules: [{ urls: [template] }] }, event))).toEqual(blog())
    const derived = derive({ rules: [{ tags: ["{id}"], urls: [template] }] }, event)
    expect(one(derived)).toEqual(blog())
    expect(derived.notes).toHaveLength(1)
  })

  it.for([
    ["tags", "{slug}", "a b/%20\u00e9", "a b/%20\u00e9"],
    ["hosts", "{slug}", "WWW.example.com", "www.example.com"],
    ["hosts", "{slug}", "www.example.com:8443", "www.example.com:8443"],
    ["prefixes", "https://cdn.example.com/blog/{slug}/", "a b", "https://cdn.example.com/blog/a%20b/"],
    ["tags", "{slug}", " a", undefined],
    ["tags", "{slug}", "a\nb", undefined],
    ["tags", "{slug}", "ns/blog", undefined],
    ["tags", "{slug}", "NS/shop", undefined],
    ["tags", "N{slug}", "s/shop", undefined],
    ["tags", "{slug}", "ns%2Fshop", undefined],
    ["tags", "u:{slug}", "x", undefined],
    ["tags", "U{slug}", ":x", undefined],
    ["tags", "{slug}", "x".repeat(1_025), undefined],
    ["hosts", "{slug}", "evil.example", undefined],
    ["hosts", "{slug}", "cdn.example.com", undefined],
    ["hosts", "{slug}", "169.254.169.254", undefined],
    ["hosts", "{slug}", "www.example.com/a", undefined],
    ["prefixes", "https://cdn.example.com/blog/{+slug}", "../", undefined],
    ["prefixes", "https://cdn.example.com/{slug}", "other", undefined],
    ["prefixes", "{url}", "https://cdn.example.com/blog/?a", undefined],
  ] as const)("in %s, %s with %j is %j", ([list, template, value, expected]) => {
    const event = { ...POST, slug: value, url: value }
    const derived = derive({ rules: [{ [list]: [template] }] }, event)
    expect(one(derived)).toEqual(expected === undefined ? blog() : blog({ [list]: [expected] }))
  })

  it("of an optional placeholder that come to nothing widen nothing", () => {
    const event = { ...POST, url: "http://169.254.169.254/" }
    const derived = derive({ rules: [{ urls: ["{url?}"] }] }, event)
    expect(derived.invalidations).toEqual([])
    expect(derived.notes).toEqual(["rules.0: {url?}: what it names lies outside the namespace"])
  })

  it("of an optional placeholder widen where they are a tag that cannot be one", () => {
    const event = { ...POST, tags: ["a", "x".repeat(1_025)] }
    expect(one(derive({ rules: [{ tags: ["{id}", "{tags?}"] }] }, event))).toEqual(blog())
  })

  it("name no url in a namespace that lies nowhere", () => {
    const rules = [{ namespace: "bare", urls: ["https://www.example.com/{slug}"] }]
    expect(one(derive({ rules }, POST))).toEqual(blog({ namespace: "bare" }))
  })
})

describe("whatever is sent", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 12 }),
    fc.constantFrom(
      "..",
      "../x",
      "https://evil.example/",
      "https://www.example.com/",
      "\r\n",
      "%2e%2e",
      "ns/a",
      "*",
      "@locale",
    ),
  )
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      text,
      fc.integer(),
      fc.constant(null),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(text, tie("value"), { maxKeys: 4 }),
    ),
  })).value
  const reference = fc.constantFrom(
    "id",
    "slug",
    "locale",
    "url",
    "tags",
    "field:/a",
    "field:/a/*",
    "field:/a/*/*",
    "field:/b/@locale",
  )
  const template = fc
    .tuple(
      fc.constantFrom("", "https://www.example.com/", "https://", "x-"),
      reference,
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom("", "/", "?q=1"),
    )
    .map(
      ([before, name, plus, optional, after]) =>
        `${before}{${plus ? "+" : ""}${name}${optional ? "?" : ""}}${after}`,
    )
  const templates = fc.option(fc.array(template, { minLength: 1, maxLength: 3 }), { nil: undefined })

  it("nothing leaves the namespace, nothing malformed passes, no limit breaks", () => {
    const rule = fc.record({ tags: templates, urls: templates, prefixes: templates, hosts: templates })
    const event = fc.record({
      kind: fc.constantFrom("publish" as const, "delete" as const),
      id: text,
      slug: text,
      url: text,
      tags: fc.array(text, { maxLength: 3 }),
    })
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 3 }),
        event,
        fc.record({ a: value, b: value }),
        (rules, happened, body) => {
          const source = { rules, fields: { locale: "/b/@locale" } } as Partial<SourceInput>
          const derived = derive(source, happened, body)
          expect(
            derived.invalidations.reduce((sum, each) => sum + countSelectors(each), 0),
          ).toBeLessThanOrEqual(MAX_SELECTORS)
          expect(JSON.stringify(derived.invalidations).length).toBeLessThan(4 * MAX_BODY_BYTES)
          for (const { tags, urls, prefixes, hosts } of derived.invalidations) {
            for (const tag of tags) expect(checkTag(tag)).toEqual({ value: tag })
            for (const url of urls)
              expect([checkUrl(url), urlWithin(url, TERRITORY)]).toEqual([{ value: url }, true])
            for (const prefix of prefixes)
              expect([checkPrefix(prefix), urlWithin(prefix, TERRITORY)]).toEqual([{ value: prefix }, true])
            for (const host of hosts)
              expect([checkHost(host), hostWithin(host, TERRITORY)]).toEqual([{ value: host }, true])
          }
          // An invalidation without selectors is the namespace: it never comes about unsaid.
          const silent =
            derived.invalidations.some((each) => countSelectors(each) === 0) && derived.notes.length === 0
          const named = rules.every((each) => SELECTOR_LISTS.some((list) => each[list] !== undefined))
          expect(silent && named && rules.length > 0).toBe(false)
        },
      ),
      { numRuns: 500 },
    )
  })
})
