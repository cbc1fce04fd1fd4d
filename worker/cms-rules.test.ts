import { describe, expect, it } from "vitest"
import { parseConfig, resolveSecrets } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import type { SourceType } from "../protocol/config/source-options.ts"
import { SELECTOR_LISTS } from "../protocol/invalidation.ts"
import { utf8 } from "../protocol/bytes.ts"
import { derive } from "./routes/hooks.ts"
import { SOURCES } from "./sources/list.ts"

/** What a blog's rules make of what its CMS sends, in the words of the sender: delivery in, selectors out. */

type Rules = NonNullable<NonNullable<ConfigInput["sources"]>[string]["rules"]>

interface Case {
  readonly name: string
  readonly type: SourceType
  readonly body?: unknown
  /** The body as it is sent, where it is not what JavaScript makes of `body`. */
  readonly text?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly path?: string
  readonly fields?: Readonly<Record<string, string>>
  readonly rules?: Rules
  /** As `mode namespace: selector …`, one an invalidation; a whole namespace has none. */
  readonly comes: readonly string[]
  readonly notes?: number
}

const SITE = "https://www.example.com"
const PAGE: Rules = [
  { tags: ["{type}-{id}", "type-{type}"], urls: [`${SITE}/{slug?}`, `${SITE}/{previousSlug?}`] },
]

const CONTENTFUL: Rules = [
  { when: { type: "post" }, tags: ["post-{id}", "type-post"], urls: [`${SITE}/{locale?}/blog/{slug?}`] },
]
const entry = {
  sys: {
    id: "p1",
    type: "Entry",
    contentType: { sys: { id: "post" } },
    environment: { sys: { id: "master" } },
  },
}
const topic = (action: string) => ({ "x-contentful-topic": `ContentManagement.Entry.${action}` })

const CASES: readonly Case[] = [
  {
    name: "Contentful publishes in two locales",
    type: "contentful",
    headers: topic("publish"),
    body: { ...entry, fields: { slug: { "en-US": "hello", de: "hallo" } } },
    fields: { slug: "/fields/slug/@locale" },
    rules: CONTENTFUL,
    comes: [
      `invalidate blog: tag post-p1 tag type-post url ${SITE}/en-US/blog/hello url ${SITE}/de/blog/hallo`,
    ],
  },
  {
    name: "Contentful deletes by a tombstone, which names no slug",
    type: "contentful",
    headers: topic("delete"),
    body: { sys: { ...entry.sys, type: "DeletedEntry" } },
    fields: { slug: "/fields/slug/@locale" },
    rules: CONTENTFUL,
    comes: ["purge blog: tag post-p1 tag type-post"],
    notes: 1,
  },
  {
    name: "Sanity renames",
    type: "sanity",
    body: { _id: "d1", _type: "post", operation: "update", slug: "new-name", prevSlug: "old-name" },
    fields: { previousSlug: "/prevSlug" },
    rules: PAGE,
    comes: [`invalidate blog: tag post-d1 tag type-post url ${SITE}/new-name url ${SITE}/old-name`],
  },
  {
    name: "Sanity creates",
    type: "sanity",
    body: { _id: "d2", _type: "post", operation: "create", slug: "fresh" },
    rules: PAGE,
    comes: [`invalidate blog: tag post-d2 tag type-post url ${SITE}/fresh`],
  },
  {
    name: "Sanity saves a draft",
    type: "sanity",
    body: { _id: "drafts.d2", _type: "post", operation: "update", slug: "fresh" },
    rules: PAGE,
    comes: [],
    notes: 1,
  },
  {
    name: "DatoCMS tells cache tags",
    type: "datocms",
    body: {
      entity_type: "cda_cache_tags",
      event_type: "invalidate",
      entity: {
        id: "cda_cache_tags",
        type: "cda_cache_tags",
        attributes: { tags: ["N*r;L", "6-KZ@", "t#k[uP"] },
      },
    },
    comes: ["invalidate blog: tag N*r;L tag 6-KZ@ tag t#k[uP"],
  },
  {
    name: "Shopify changes a product",
    type: "shopify",
    headers: { "x-shopify-topic": "products/update", "x-shopify-shop-domain": "shop.myshopify.com" },
    // As Shopify's own sample has it: an integer that JavaScript cannot hold.
    text: `{"id":788032119674292922,"handle":"a-shirt","status":"active","published_at":"2026-01-01T00:00:00Z"}`,
    rules: [
      {
        when: { "field:/id": "788032119674292922" },
        tags: ["product-{id}", "{field:/id}"],
        urls: [`${SITE}/products/{slug}`],
      },
    ],
    comes: [
      `invalidate blog: tag product-788032119674292922 tag 788032119674292922 url ${SITE}/products/a-shirt`,
    ],
  },
  {
    name: "Shopify deletes a product, of which no more than the id is told",
    type: "shopify",
    headers: { "x-shopify-topic": "products/delete" },
    body: { id: 42 },
    rules: [{ tags: ["product-{id}"], urls: [`${SITE}/products/{slug?}`] }],
    comes: ["purge blog: tag product-42"],
    notes: 1,
  },
  {
    name: "Shopify deletes a product, of which a rule wants to know more than the id",
    type: "shopify",
    headers: { "x-shopify-topic": "products/delete" },
    body: { id: 42 },
    rules: [{ tags: ["product-{id}"], urls: [`${SITE}/products/{slug}`] }],
    comes: ["purge blog:"],
    notes: 1,
  },
  {
    name: "Sanity's guide projects no id: the page of the document is not told",
    type: "sanity",
    body: { _type: "post", slug: "hello" },
    rules: [{ when: { type: "post" }, tags: ["post-{id}", "type-post"] }],
    comes: ["invalidate blog:"],
    notes: 1,
  },
  {
    name: "Shopify takes a product back to draft",
    type: "shopify",
    headers: { "x-shopify-topic": "products/update" },
    body: { id: 42, handle: "a-shirt", status: "draft" },
    rules: [{ tags: ["product-{id}"], urls: [`${SITE}/products/{slug}`] }],
    comes: [`purge blog: tag product-42 url ${SITE}/products/a-shirt`],
  },
  {
    name: "WordPress updates a post with its categories, by WP Webhooks",
    type: "wordpress",
    headers: { "x-wp-webhook-name": "post_update" },
    body: {
      post_id: 17,
      post: { ID: 17, post_type: "post", post_status: "publish", post_name: "ebb" },
      post_permalink: `${SITE}/ebb/`,
      taxonomies: { category: { news: { term_id: 3 }, tides: { term_id: 5 } } },
    },
    rules: [{ tags: ["post-{id}", "{tags}"], urls: ["{url}"] }],
    comes: [`invalidate blog: tag post-17 tag term-3 tag term-5 url ${SITE}/ebb/`],
  },
  {
    name: "Storyblok publishes by its full slug",
    type: "storyblok",
    headers: { "x-storyblok-topic": "story.published" },
    body: {
      action: "published",
      story_id: 123,
      space_id: 1,
      full_slug: "en/blog/hello/",
      text: "by somebody",
    },
    rules: [{ tags: ["story-{id}"], urls: [`${SITE}/{+slug}`] }],
    comes: [`invalidate blog: tag story-123 url ${SITE}/en/blog/hello`],
  },
  {
    name: "a path that climbs out of its place is encoded, not followed",
    type: "storyblok",
    headers: { "x-storyblok-topic": "story.published" },
    body: { action: "published", story_id: 5, full_slug: "../../admin" },
    rules: [{ tags: ["story-{id}"], urls: [`${SITE}/blog/{slug}`] }],
    comes: [`invalidate blog: tag story-5 url ${SITE}/blog/..%2F..%2Fadmin`],
  },
  {
    name: "an address of somebody else's network is dropped, and the namespace stands for it",
    type: "json",
    body: { kind: "publish", id: "7", url: "http://169.254.169.254/latest/meta-data/" },
    fields: { id: "/id", url: "/url" },
    rules: [{ urls: ["{url}"] }],
    comes: ["invalidate blog:"],
    notes: 1,
  },
  {
    name: "an address outside the namespace is dropped where it is optional, and said so",
    type: "json",
    body: { id: "7", url: "https://evil.example/" },
    fields: { id: "/id", url: "/url" },
    rules: [{ tags: ["post-{id}"], urls: ["{url?}"] }],
    comes: ["invalidate blog: tag post-7"],
    notes: 1,
  },
]

function comes({
  type,
  body,
  text = JSON.stringify(body),
  headers = {},
  path = "/v1/hooks/cms",
  fields,
  rules,
}: Case) {
  const config = parseConfig({
    namespaces: { blog: { hosts: ["www.example.com"] } },
    sources: {
      cms: {
        type,
        secret: { secret: "SECRET" },
        namespace: "blog",
        auth: "bearer",
        ...(fields ? { fields } : {}),
        ...(rules ? { rules } : {}),
      },
    },
  })
  const source = resolveSecrets(config, { SECRET: "s3cret" }).config.sources["cms"]
  const adapter = SOURCES.find((one) => one.type === type)
  if (!source || !adapter) throw new Error(`there is a source ${type}`)
  const delivery = { headers: new Headers(headers), path, body: utf8(text) }
  const context = { config: source, now: () => 0, fetch }
  const { invalidations, notes } = derive(config, "cms", adapter, delivery, context)
  const said = invalidations.map((one) => {
    const selectors = SELECTOR_LISTS.flatMap((list) =>
      one[list].map((value) => `${list === "prefixes" ? "prefix" : list.slice(0, -1)} ${value}`),
    )
    return `${one.mode} ${one.namespace}: ${selectors.join(" ")}`.trim()
  })
  return { said, notes }
}

describe("what a blog's rules make of a delivery", () => {
  it.each(CASES)("$name", (each) => {
    const { said, notes } = comes(each)
    expect(said).toEqual(each.comes)
    expect(notes).toHaveLength(each.notes ?? 0)
  })
})
