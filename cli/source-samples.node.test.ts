import { generateKeyPairSync, type KeyObject } from "node:crypto"
import { describe, expect, it } from "vitest"
import { parseConfig } from "../protocol/config/config.ts"
import { SOURCE_TRAITS, type SourceType } from "../protocol/config/source-options.ts"
import { utf8 } from "../protocol/bytes.ts"
import { deriveInvalidations } from "../worker/rules.ts"
import { contextOf } from "../worker/sources/conformance.ts"
import { SOURCES } from "../worker/sources/list.ts"
import type { EventKind } from "../worker/sources/source.ts"
import { SAMPLE_KINDS, type SampleKind, SAMPLERS } from "./source-samples.ts"

const NOW = 1_767_225_600_000
const PATH = "/v1/hooks/main"
const EVENT = {
  type: "post",
  id: "42",
  slug: "tides",
  url: "https://www.example.com/tides",
} as const
const BEFORE = { previousSlug: "ebb", previousUrl: "https://www.example.com/ebb" }

const OURS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

/** What each source makes of each kind of delivery that its sender has; the others are refused. */
const ITEM = { type: "post", id: "42" }
const deploys = { publish: { kind: "deploy" } }
const tags = { kind: "tags", tags: ["post:42", "post_list"] }
const whatever = { kind: "update", id: "42" }
const ofItem = (kind: EventKind, more: object = {}) => ({ kind, ...ITEM, ...more })
const PLAIN = {
  publish: ofItem("publish"),
  update: ofItem("update"),
  unpublish: ofItem("unpublish"),
  delete: ofItem("delete"),
}
const withoutUpdate = { publish: PLAIN.publish, unpublish: PLAIN.unpublish, delete: PLAIN.delete }
const renamed = ofItem("update", { slug: "tides", previousSlug: "ebb" })
const product = (kind: EventKind) => ({ kind, type: "product", id: "42" })
const ofProducts = {
  publish: product("publish"),
  update: product("update"),
  unpublish: product("unpublish"),
  delete: product("delete"),
}
const EXPECTED: Readonly<Record<SourceType, Readonly<Partial<Record<SampleKind, object>>> | undefined>> = {
  "adobe-io-events": undefined,
  "builder-io": { ...withoutUpdate, rename: ofItem("publish", { slug: "/tides", previousSlug: "/ebb" }) },
  contentful: withoutUpdate,
  contentstack: withoutUpdate,
  datocms: { ...PLAIN, rename: renamed },
  // What is published is an update of a field.
  directus: { ...PLAIN, publish: PLAIN.update },
  drupal: { publish: tags, update: tags, unpublish: tags, delete: tags, rename: tags },
  ghost: { ...PLAIN, rename: renamed },
  github: {
    ...deploys,
    update: { kind: "update", type: "post", slug: "tides" },
    delete: { kind: "delete", type: "post", slug: "tides" },
    rename: { kind: "publish", type: "post", slug: "tides" },
  },
  hygraph: PLAIN,
  // What stands where is said by `fields` alone.
  json: {
    publish: { kind: "update" },
    update: { kind: "update" },
    unpublish: { kind: "update" },
    delete: { kind: "update" },
    rename: { kind: "update" },
  },
  "kontent-ai": PLAIN,
  netlify: deploys,
  payload: { ...PLAIN, rename: { ...renamed, ...BEFORE } },
  prismic: { publish: whatever, update: whatever, unpublish: whatever, delete: whatever },
  sanity: { ...PLAIN, unpublish: PLAIN.delete, rename: renamed },
  shopify: ofProducts,
  "standard-webhooks": { ...PLAIN, rename: PLAIN.update },
  storyblok: {
    publish: { kind: "publish", type: "story", id: "42" },
    unpublish: { kind: "unpublish", type: "story", id: "42" },
    delete: { kind: "delete", type: "story", id: "42" },
    rename: { kind: "update", type: "story", id: "42" },
  },
  strapi: PLAIN,
  svix: { ...PLAIN, rename: PLAIN.update },
  vercel: deploys,
  webflow: PLAIN,
  woocommerce: ofProducts,
  wordpress: { ...PLAIN, rename: renamed },
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

const TYPES = Object.keys(SOURCE_TRAITS).filter((type): type is SourceType => Object.hasOwn(EXPECTED, type))

const cases = TYPES.filter((type) => EXPECTED[type]).flatMap((type) =>
  (SECRETS[type] ?? [OURS]).map((secret) => [type, secret] as const),
)

interface Asked {
  readonly fields?: Readonly<Record<string, string>>
  readonly kind?: SampleKind
  readonly key?: KeyObject
  readonly auth?: string
  readonly environment?: string
}

async function sampleOf(
  type: SourceType,
  secret: string,
  { fields = {}, kind = "publish", key, auth, environment }: Asked = {},
) {
  const adapter = SOURCES.find((source) => source.type === type)
  const signed: boolean = SOURCE_TRAITS[type].signed
  const carries = auth ?? (signed ? undefined : type === "prismic" ? "body" : "bearer")
  const own = carries === undefined ? {} : { auth: carries }
  const event = {
    ...EVENT,
    kind,
    ...(kind === "rename" ? BEFORE : {}),
    ...(environment === undefined ? {} : { environment }),
  }
  const sample = await SAMPLERS[type]?.({
    event,
    sourceType: type,
    fields,
    secret,
    path: PATH,
    now: NOW,
    ...own,
    ...(key ? { key } : {}),
  })
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

it("there is one of every source but those whose senders alone can sign", () => {
  expect(TYPES).toHaveLength(25)
  expect(TYPES.filter((type) => SAMPLERS[type] === undefined)).toEqual(
    TYPES.filter((type) => EXPECTED[type] === undefined),
  )
})

it.for(cases.flatMap((one) => SAMPLE_KINDS.map((kind) => [...one, kind] as const)))(
  "of %s with %s: %s is taken by its source for what happened, or its sender has no such delivery",
  async ([type, secret, kind]) => {
    const expected = EXPECTED[type]?.[kind]
    if (expected === undefined) {
      const failure = { exit: "usage", message: `${type} has no delivery of the kind ${kind}` }
      await expect(sampleOf(type, secret, { kind })).rejects.toMatchObject(failure)
      return
    }
    const { events } = await sampleOf(type, secret, { kind })
    expect(events[0]).toEqual(expect.objectContaining(expected))
    expect(events).toHaveLength(type === "github" && kind === "rename" ? 2 : 1)
  },
)

it.for(cases.filter(([type]) => !FIXED.includes(type)))(
  "of %s a rename is there where fields say that the former name is told",
  async ([type, secret]) => {
    const fields = { previousSlug: "/was/called" }
    const { body } = await sampleOf(type, secret, { kind: "rename", fields })
    expect(body).toMatchObject({ was: { called: "ebb" } })
  },
)

it.for(["sanity", "webflow", "contentstack"] as const)(
  "of %s it carries a secret where auth says so",
  async (type) => {
    const { events } = await sampleOf(type, OURS, { auth: "bearer" })
    expect(events).toHaveLength(1)
  },
)

it.for([
  "contentful",
  "contentstack",
  "datocms",
  "hygraph",
  "sanity",
  "kontent-ai",
  "vercel",
  "netlify",
] as const)("of %s it happened in the environment that the source asks for", async (type) => {
  const { events } = await sampleOf(type, type === "contentful" ? "a".repeat(64) : OURS, {
    environment: "stage",
  })
  expect(events).toMatchObject([{ environment: "stage" }])
})

describe("by a private key, whose public half is the source's secret", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 })
  const ed25519 = generateKeyPairSync("ed25519")
  const pem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString()
  const raw = Buffer.from(String(ed25519.publicKey.export({ format: "jwk" }).x), "base64url")
  const whpk = `whpk_${raw.toString("base64")}`

  it.for([
    ["contentstack", pem, rsa.privateKey],
    ["contentstack", pem.replaceAll("\n", String.raw`\n`), rsa.privateKey],
    ["contentstack", pem.replaceAll(/-----[A-Z ]+-----|\s/g, ""), rsa.privateKey],
    ["standard-webhooks", whpk, ed25519.privateKey],
    ["svix", whpk, ed25519.privateKey],
  ] as const)("of %s", async ([type, secret, key]) => {
    expect((await sampleOf(type, secret, { key })).events).toHaveLength(1)
    await expect(sampleOf(type, secret)).rejects.toMatchObject({
      exit: "usage",
      message: expect.stringContaining("a public key"),
      lines: expect.arrayContaining([expect.stringContaining("--key")]),
    })
  })

  it("must be of the kind that the sender signs by", async () => {
    const { privateKey: key } = ed25519
    await expect(sampleOf("contentstack", pem, { key })).rejects.toMatchObject({
      exit: "usage",
      message: "--key must hold a private key of the type rsa",
    })
  })
})

it.for(cases.filter(([type]) => !FIXED.includes(type)))(
  "a sample of %s holds what is read elsewhere, where that is",
  async ([type, secret]) => {
    const fields = { slug: "/deep/list/*/~1odd~0/@locale", id: "/other/id", url: "/link" }
    const { body, events, source } = await sampleOf(type, secret, { fields })
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
