import { describe, expect, it } from "vitest"
import { utf8 } from "../../protocol/bytes.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { RuleConfig } from "../../protocol/config/schema.ts"
import { derive } from "../routes/hooks.ts"
import { contextOf, describeSource } from "./conformance.ts"
import { json } from "./json.ts"
import { unsigned } from "./testing/unsigned.ts"

describeSource(json, unsigned)

const config = parseConfig({ namespaces: { blog: { hosts: ["www.example.com"] } } })

/** What a body invalidates: what `fields` come to is only seen together with rules. */
const invalidates = (
  body: unknown,
  fields: Record<string, string>,
  rules: RuleConfig[] = [],
  auth = "bearer",
) => {
  const context = contextOf("json", "s3cret", { fields, rules, auth })
  const bytes = utf8(typeof body === "string" ? body : JSON.stringify(body))
  const delivery = { headers: new Headers(), path: "/v1/hooks/cms", body: bytes }
  const { invalidations, notes } = derive(config, "cms", json, delivery, context)
  return { invalidations: invalidations.map(({ mode, tags, urls }) => ({ mode, tags, urls })), notes }
}

const FIELDS = {
  kind: "/what",
  type: "/record/model",
  id: "/record/id",
  slug: "/record/slug",
  previousSlug: "/before/slug",
  locale: "/record/lang",
  tags: "/record/labels",
}
const RECORD = { model: "post", id: 42, slug: "tides", lang: "de", labels: ["coast", "moon"] }
const RULES = [
  {
    when: { type: "post" },
    tags: ["post-{id}", "{tags?}"],
    urls: ["https://www.example.com/{locale}/{slug}", "https://www.example.com/{locale}/{previousSlug?}"],
  },
]

describe("an object", () => {
  it("says what the fields point at", () => {
    expect(
      invalidates({ what: "publish", record: RECORD, before: { slug: "waves" } }, FIELDS, RULES),
    ).toEqual({
      invalidations: [
        {
          mode: "invalidate",
          tags: ["post-42", "coast", "moon"],
          urls: ["https://www.example.com/de/tides", "https://www.example.com/de/waves"],
        },
      ],
      notes: [],
    })
  })

  it.for([
    ["publish", "invalidate"],
    ["update", "invalidate"],
    ["unpublish", "purge"],
    ["delete", "purge"],
    ["a word of its own", "invalidate"],
    [undefined, "invalidate"],
  ] as const)("whose kind is %s is asked for by %s", ([what, mode]) => {
    expect(invalidates({ what, record: RECORD }, FIELDS).invalidations).toEqual([
      { mode, tags: ["post-42", "type-post"], urls: [] },
    ])
  })

  it("whose kind is missing tells of an update", () => {
    const rules = [{ when: { kind: "update" }, tags: ["{id}"] }]
    expect(invalidates({ record: RECORD }, FIELDS, rules).invalidations).toMatchObject([{ tags: ["42"] }])
  })

  it("is the namespace where no fields say what it is of", () => {
    const whole = [{ mode: "invalidate", tags: [], urls: [] }]
    expect(invalidates({ id: 42, slug: "tides", type: "post" }, {}).invalidations).toEqual(whole)
    expect(invalidates({ other: "shape" }, FIELDS).invalidations).toEqual(whole)
  })

  it("keeps the secret that it carries from every rule", () => {
    const body = { secret: "s3cret", record: { secret: "not ours" } }
    const rules = [{ tags: ["{field:/secret?}", "{field:/*/secret}", "{field:/*?}"] }]
    const { invalidations, notes } = invalidates(body, { slug: "/secret", tags: "/*" }, rules, "body")
    expect(JSON.stringify([invalidations, notes])).not.toContain("s3cret")
    expect(invalidations).toMatchObject([{ tags: ["not ours"] }])
  })
})

describe("a list", () => {
  const LISTED = { kind: "/*/what", type: "/*/model", id: "/*/id" }

  it("says each of its elements", () => {
    const body = [
      { model: "post", id: 1 },
      { model: "post", id: 2 },
    ]
    expect(invalidates(body, LISTED).invalidations).toEqual([
      { mode: "invalidate", tags: ["post-1", "type-post", "post-2"], urls: [] },
    ])
  })

  it("is as hard as each of its elements", () => {
    const body = [
      { model: "post", id: 1, what: "publish" },
      { model: "post", id: 2, what: "delete" },
    ]
    expect(invalidates(body, LISTED).invalidations).toMatchObject([
      { mode: "invalidate", tags: ["post-1", "type-post"] },
      { mode: "purge", tags: ["post-2", "type-post"] },
    ])
  })

  it("may hold the ids themselves", () => {
    expect(invalidates(["a", "b"], { id: "/*" }).invalidations).toMatchObject([{ tags: ["id-a", "id-b"] }])
    expect(invalidates({ ids: [1, 2] }, { id: "/ids" }).invalidations).toMatchObject([
      { tags: ["id-1", "id-2"] },
    ])
  })

  it("is the namespace where an element has no id, or no type", () => {
    const note = "not every element of the list says which it is: blog is invalidated as a whole"
    const whole = (mode: string) => ({ invalidations: [{ mode, tags: [], urls: [] }], notes: [note] })
    expect(invalidates([{ id: 1 }, { model: "post" }], LISTED)).toEqual(whole("invalidate"))
    expect(invalidates([{ id: 1, what: "delete" }, {}], LISTED)).toEqual(whole("purge"))
    expect(invalidates([{ id: 1 }, { id: null }], { id: "/*/id" })).toEqual(whole("invalidate"))
    expect(invalidates([{ id: 1, model: "post" }, { id: 2 }], LISTED)).toEqual(whole("invalidate"))
    const nested = { id: "/changes/*/records/*/id" }
    const records = (of: unknown) => ({ changes: [{ records: [{ id: 1 }] }, { records: of }] })
    expect(invalidates(records([{ id: 2 }]), nested).invalidations).toMatchObject([
      { tags: ["id-1", "id-2"] },
    ])
    for (const of of [undefined, "x", [{ id: 2 }, {}]]) {
      expect(invalidates(records(of), nested)).toEqual(whole("invalidate"))
    }
  })

  it("is the namespace where it is empty", () => {
    expect(invalidates([], LISTED).invalidations).toEqual([{ mode: "invalidate", tags: [], urls: [] }])
  })
})

it.for(["null", "42", '"post-42"', "no JSON", ""])("has no use for %j", (body) => {
  expect(invalidates(body, FIELDS, [{ when: { type: "nothing" }, tags: ["x"] }])).toEqual({
    invalidations: [{ mode: "invalidate", tags: [], urls: [] }],
    notes: ["the body is neither a JSON object nor a list: blog is invalidated as a whole"],
  })
})

describe("a list of records of several types", () => {
  const LISTED = { type: "/items/*/type", id: "/items/*/id", kind: "/items/*/what" }
  const rules = [{ when: { type: "post" }, tags: ["post-{id}", "type-post"] }]
  const mixed = {
    items: [
      { type: "post", id: 1 },
      { type: "siteSettings", id: 2 },
    ],
  }

  it("pairs each id with its own type, and says of each what no rule matches", () => {
    expect(invalidates(mixed, LISTED, rules)).toEqual({
      invalidations: [{ mode: "invalidate", tags: ["post-1", "type-post"], urls: [] }],
      notes: ["no rule of cms matches: update of siteSettings"],
    })
  })

  it("is as hard as each of them", () => {
    const items = [
      { type: "post", id: 1, what: "delete" },
      { type: "post", id: 2, what: "update" },
    ]
    expect(invalidates({ items }, LISTED, rules).invalidations).toEqual([
      { mode: "purge", tags: ["post-1", "type-post"], urls: [] },
      { mode: "invalidate", tags: ["post-2", "type-post"], urls: [] },
    ])
  })

  it("keeps what stands beside the list, for all of them", () => {
    const fields = { type: "/model", id: "/items/*/id" }
    expect(invalidates({ model: "post", ...mixed }, fields, rules).invalidations).toEqual([
      { mode: "invalidate", tags: ["post-1", "type-post", "post-2"], urls: [] },
    ])
  })

  it("may be the body itself, or lie deeper", () => {
    const tags = (body: unknown, fields: Record<string, string>) =>
      invalidates(body, fields, rules).invalidations.flatMap((one) => one.tags)
    expect(tags(mixed.items, { type: "/*/type", id: "/*/id" })).toEqual(["post-1", "type-post"])
    const deep = { "a/b": { c: mixed.items } }
    expect(tags(deep, { type: "/a~1b/c/*/type", id: "/a~1b/c/*/id" })).toEqual(["post-1", "type-post"])
  })

  it("that is too long, or stands among too much, is read as one", () => {
    const members = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`m${at}`, at]))
    expect(invalidates({ ...members, ...mixed }, LISTED, rules).invalidations[0]?.tags).toContain("post-2")
  })
})
