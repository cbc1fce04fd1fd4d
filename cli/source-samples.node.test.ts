import { expect, it } from "vitest"
import { parseConfig } from "../protocol/config/config.ts"
import { SOURCE_TRAITS, type SourceType } from "../protocol/config/source-options.ts"
import { utf8 } from "../protocol/bytes.ts"
import { deriveInvalidations } from "../worker/rules.ts"
import { contextOf } from "../worker/sources/conformance.ts"
import { SOURCES } from "../worker/sources/list.ts"
import { SAMPLERS } from "./source-samples.ts"

const NOW = 1_767_225_600_000
const PATH = "/v1/hooks/main"
const EVENT = { type: "post", id: "42", slug: "tides", url: "https://www.example.com/tides" }

const OURS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
/** Those whose events are about something else than what was asked for: a deploy, or what has no type. */
const OTHERS: Partial<Record<SourceType, object>> = {
  drupal: { kind: "tags", tags: ["post:42", "post_list"] },
  github: { kind: "deploy" },
  // What stands where is said by `fields` alone.
  json: { kind: "update" },
  netlify: { kind: "deploy" },
  prismic: { kind: "update", id: "42" },
  sanity: { kind: "update", type: "post", id: "42" },
  shopify: { kind: "update", type: "product", id: "42" },
  storyblok: { kind: "publish", type: "story", id: "42" },
  vercel: { kind: "deploy" },
  woocommerce: { kind: "update", type: "product", id: "42" },
  directus: { kind: "update", type: "post", id: "42" },
}
/** Bodies whose variables stand in lists or cannot be planted. */
const FIXED: readonly SourceType[] = [
  "drupal",
  "kontent-ai",
  "netlify",
  "vercel",
  "github",
  "datocms",
  "ghost",
]

const SECRETS: Partial<Record<SourceType, readonly string[]>> = {
  contentful: ["a".repeat(64)],
  wordpress: [OURS, "a secret of WP Webhooks"],
}

const cases = Object.keys(SAMPLERS).flatMap((type) =>
  (SECRETS[type as SourceType] ?? [OURS]).map((secret) => [type as SourceType, secret] as const),
)

async function sampleOf(type: SourceType, secret: string, fields: Readonly<Record<string, string>> = {}) {
  const adapter = SOURCES.find((source) => source.type === type)
  const signed: boolean = SOURCE_TRAITS[type].signed
  const own = signed ? {} : { auth: type === "prismic" ? "body" : "bearer" }
  const sample = await SAMPLERS[type]?.({ event: EVENT, fields, secret, path: PATH, now: NOW, ...own })
  if (!adapter || !sample) throw new Error(`there is no ${type}`)
  const headers = new Headers(sample.headers)
  const context = contextOf(type, secret, { at: NOW, ...own })
  const delivery = { method: "POST", path: PATH, headers, body: utf8(sample.body) }
  expect(await adapter.verify(delivery, context)).toMatchObject({ verdict: "verified" })
  const body: unknown = JSON.parse(sample.body)
  const reading = adapter.read({ body, headers, path: PATH }, context)
  if (reading.reading !== "events") throw new Error(reading.note)
  return { body, events: reading.events, source: context.config }
}

it.for(cases)("a sample of %s is taken by its source for what was published", async ([type, secret]) => {
  const { events } = await sampleOf(type, secret)
  const kind = type === "wordpress" && secret !== OURS ? "update" : "publish"
  expect(events).toEqual([expect.objectContaining(OTHERS[type] ?? { kind, type: "post", id: "42" })])
})

it.for(cases.filter(([type]) => !FIXED.includes(type)))(
  "a sample of %s holds what is read elsewhere, where that is",
  async ([type, secret]) => {
    const fields = { slug: "/deep/list/*/~1odd~0/@locale", id: "/other/id", url: "/link" }
    const { body, events, source } = await sampleOf(type, secret, fields)
    const rules = [{ tags: ["{id} {slug} {locale}"], urls: ["{url}"] }]
    const config = parseConfig({ namespaces: { blog: { hosts: ["www.example.com"] } } })
    const derived = deriveInvalidations({
      events,
      body,
      sourceName: "main",
      source: { ...source, fields, rules },
      config,
    })
    expect(derived.invalidations).toMatchObject([{ tags: ["42 tides en-US"], urls: [EVENT.url] }])
  },
)

it.for([
  ["whpk_MCowBQYDK2VwAyEA", "a public key"],
  ["no base64!", "whsec_"],
] as const)("none can be made by %s", async ([secret, reason]) => {
  await expect(sampleOf("standard-webhooks", secret)).rejects.toMatchObject({
    exit: "usage",
    message: expect.stringContaining(reason),
  })
})
