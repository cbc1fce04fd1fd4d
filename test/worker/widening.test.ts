import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { SAMPLERS } from "../../cli/source-samples.ts"
import { parseConfig, resolveSecrets } from "../../protocol/config/config.ts"
import { SOURCE_TRAITS, type SourceType } from "../../protocol/config/source-options.ts"
import { derive } from "../../worker/routes/hooks.ts"
import { SOURCES } from "../../worker/sources/list.ts"

/** In doubt a rule widens: what it comes to never covers less than the record that it was derived from. */

const KINDS = ["publish", "update", "unpublish", "delete"] as const
/** Of senders whose bodies are what their owner makes them. */
const FIELDS: Partial<Record<SourceType, Record<string, string>>> = {
  json: { type: "/type", id: "/id", slug: "/slug" },
}
const SECRETS: Partial<Record<SourceType, string>> = { contentful: "a".repeat(64) }
const WHSEC = `whsec_${btoa("0123456789abcdef0123456789abcdef")}`
const STANDARD: readonly SourceType[] = ["payload", "standard-webhooks", "svix", "wordpress"]

/** Every place of a JSON value but the root, by its path. */
function placesOf(value: unknown, path: readonly string[] = []): string[][] {
  if (value === null || typeof value !== "object") return []
  return Object.entries(value).flatMap(([name, each]) => [
    [...path, name],
    ...placesOf(each, [...path, name]),
  ])
}

/** The same without what stands at a place. */
function without(value: unknown, [name = "", ...rest]: readonly string[], instead: unknown): unknown {
  if (value === null || typeof value !== "object" || !Object.hasOwn(value, name)) return value
  const entries = Object.entries(value).flatMap(([key, each]): [string, unknown][] => {
    if (key !== name) return [[key, each]]
    if (rest.length > 0) return [[key, without(each, rest, instead)]]
    return instead === undefined ? [] : [[key, instead]]
  })
  return Array.isArray(value) ? entries.map(([, each]) => each) : Object.fromEntries(entries)
}

async function sampleOf(type: SourceType, kind: (typeof KINDS)[number]) {
  const secret = SECRETS[type] ?? (STANDARD.includes(type) ? WHSEC : "a-secret-of-its-own")
  const auth = SOURCE_TRAITS[type].signed ? undefined : "bearer"
  const event = { kind, type: "post", id: "17", slug: "a", url: "https://www.example.com/a" }
  const request = {
    sourceType: type,
    event,
    fields: FIELDS[type] ?? {},
    secret,
    path: "/v1/hooks/cms",
    now: Date.now(),
  }
  return { secret, auth, sample: await SAMPLERS[type]?.({ ...request, ...(auth ? { auth } : {}) }) }
}

const types = SOURCES.map(({ type }) => type).filter((type) => SAMPLERS[type] !== undefined)

describe.each(types)("%s", (type) => {
  it.each(KINDS)("covers what a delivery is about, whatever is missing in it: %s", async (kind) => {
    const { secret, auth, sample } = await sampleOf(type, kind).catch(() => ({
      sample: undefined,
      secret: "",
      auth: "",
    }))
    // Of what its sender has no such event for.
    if (!sample) return
    const input = {
      namespaces: { blog: { hosts: ["www.example.com"] } },
      sources: {
        cms: {
          type,
          secret: { secret: "S" },
          namespace: "blog",
          ...(auth ? { auth } : {}),
          ...(FIELDS[type] ? { fields: FIELDS[type] } : {}),
          rules: [{ tags: ["item-{id}", "list"], urls: ["https://www.example.com/{slug?}"] }],
          otherwise: "namespace",
        },
      },
    }
    const config = parseConfig(input)
    const { config: resolved } = resolveSecrets(config, { S: secret })
    const adapter = SOURCES.find((one) => one.type === type)
    const source = resolved.sources["cms"]
    if (!adapter || !source) throw new Error("it is configured")
    const context = { config: source, now: () => Date.now(), fetch }
    const body: unknown = JSON.parse(sample.body)
    const places = placesOf(body)
    const come = (value: unknown) =>
      derive(
        config,
        "cms",
        adapter,
        {
          headers: new Headers(sample.headers),
          path: "/v1/hooks/cms",
          body: new TextEncoder().encode(JSON.stringify(value)),
        },
        context,
      )
    /** The whole namespace, or the page's own tag; or nothing at all, which the source says of itself. */
    const covers = (value: unknown): boolean => {
      const { invalidations, reading } = come(value)
      if (reading.reading === "ignored") return true
      return invalidations.some(
        ({ tags, urls, prefixes, hosts }) =>
          tags.length + urls.length + prefixes.length + hosts.length === 0 ||
          tags.some((tag) => tag.startsWith("item-")),
      )
    }
    expect(covers(body)).toBe(true)
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.nat(Math.max(0, places.length - 1)), fc.constantFrom(undefined, null, "", {}, [])),
          {
            maxLength: 6,
          },
        ),
        (cuts) => {
          const left = cuts.reduce<unknown>(
            (value, [place, instead]) => without(value, places[place] ?? [], instead),
            body,
          )
          return covers(left)
        },
      ),
      { numRuns: 150 },
    )
  })
})

it("numbers of any length keep their digits, from the body to the tag", () => {
  const shopify = SOURCES.find(({ type }) => type === "shopify")
  const config = parseConfig({
    namespaces: { blog: {} },
    sources: {
      shop: { type: "shopify", secret: { secret: "S" }, namespace: "blog", rules: [{ tags: ["p-{id}"] }] },
    },
  })
  const source = resolveSecrets(config, { S: "x" }).config.sources["shop"]
  if (!shopify || !source) throw new Error("it is configured")
  const digits = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.stringMatching(/^\d{0,39}$/))
  fc.assert(
    fc.property(digits, ([first, rest]) => {
      const { invalidations } = derive(
        config,
        "shop",
        shopify,
        {
          headers: new Headers({ "x-shopify-topic": "products/update" }),
          path: "/v1/hooks/shop",
          body: new TextEncoder().encode(`{"id":${first}${rest}}`),
        },
        { config: source, now: () => 0, fetch },
      )
      expect(invalidations.flatMap(({ tags }) => tags)).toEqual([`p-${first}${rest}`])
    }),
  )
})
