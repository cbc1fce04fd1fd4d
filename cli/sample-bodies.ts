import { createHash } from "node:crypto"
import type { Milliseconds } from "../protocol/time.ts"
import type { SampleEvent } from "./source-samples.ts"

/** What each sender's body looks like when something was published. */
export type BodyMaker = (event: SampleEvent, now: Milliseconds) => Record<string, unknown>

/** Where a sample has one. */
export const LOCALE = "en-US"

const iso = (now: Milliseconds): string => new Date(now).toISOString()

/** A number that is the same for the same id, for senders that know nothing else. */
const numberOf = (id: string): number =>
  /^\d{1,15}$/.test(id) ? Number(id) : createHash("sha256").update(id).digest().readUInt32BE()

export const contentful: BodyMaker = ({ type, id, slug }, now) => ({
  sys: {
    type: "Entry",
    id,
    revision: now,
    contentType: { sys: { type: "Link", linkType: "ContentType", id: type } },
  },
  fields: { slug: { [LOCALE]: slug } },
})

export const standard: BodyMaker = ({ type, id, slug, url }, now) => ({
  type: `${type}.published`,
  timestamp: iso(now),
  data: { id, slug, url },
})

/** As the senders in `examples/` have it. */
export const ours: BodyMaker = ({ type, id, slug, url }, now) => ({
  type: `${type}.publish`,
  timestamp: iso(now),
  data: { kind: "publish", type, id, slug, url, tags: [] },
})

/** The plugin WP Webhooks. */
export const plugin: BodyMaker = ({ type, id, slug, url }, now) => ({
  post_id: id,
  post: {
    ID: id,
    post_type: type,
    post_status: "publish",
    post_name: slug,
    post_modified_gmt: iso(now).slice(0, 19).replace("T", " "),
  },
  post_permalink: url,
})

export const sanity: BodyMaker = ({ type, id, slug }) => ({
  _id: id,
  _type: type,
  operation: "update",
  slug: { current: slug },
})

export const hygraph: BodyMaker = ({ type, id, slug }) => ({
  operation: "publish",
  data: { __typename: type, id, slug, stage: "PUBLISHED" },
})

export const webflow: BodyMaker = ({ type, id, slug }, now) => ({
  triggerType: "collection_item_published",
  payload: {
    id,
    collectionId: type,
    lastPublished: iso(now),
    isDraft: false,
    isArchived: false,
    fieldData: { slug },
  },
})

export const kontentAi: BodyMaker = ({ type, id, slug }, now) => ({
  notifications: [
    {
      data: { system: { id, type, codename: slug, language: "default", last_modified: iso(now) } },
      message: { object_type: "content_item", action: "published", delivery_slot: "published" },
    },
  ],
})

export const ghost: BodyMaker = ({ id, slug, url }, now) => ({
  post: {
    current: { id, slug, url, status: "published", updated_at: iso(now) },
    previous: { status: "draft" },
  },
})

export const storyblok: BodyMaker = ({ id, slug }) => ({
  action: "published",
  story_id: numberOf(id),
  space_id: 1,
  full_slug: slug,
})

export const shopify: BodyMaker = ({ id, slug }, now) => ({
  id: numberOf(id),
  handle: slug,
  status: "active",
  published_at: iso(now),
  updated_at: iso(now),
})

export const github: BodyMaker = (_event, now) => ({
  deployment: { id: 1, sha: "0".repeat(40), environment: "production" },
  deployment_status: { state: "success", updated_at: iso(now) },
})

export const vercel: BodyMaker = ({ id, type }, now) => ({
  id,
  type: "deployment.succeeded",
  createdAt: now,
  payload: { target: "production", deployment: { id, name: type }, project: { id: type } },
})

export const netlify: BodyMaker = ({ id, type }, now) => ({
  id,
  name: type,
  state: "ready",
  context: "production",
  published_at: iso(now),
})

export const woocommerce: BodyMaker = ({ id, slug, url }, now) => ({
  id: numberOf(id),
  slug,
  permalink: url,
  status: "publish",
  date_modified_gmt: iso(now).slice(0, 19),
})

export const strapi: BodyMaker = ({ type, id, slug }, now) => ({
  event: "entry.publish",
  createdAt: iso(now),
  model: type,
  uid: `api::${type}.${type}`,
  entry: { id: numberOf(id), documentId: id, slug, publishedAt: iso(now) },
})

export const datocms: BodyMaker = ({ type, id, slug }, now) => ({
  webhook_call_id: String(now),
  event_triggered_at: iso(now),
  environment: "main",
  is_environment_primary: true,
  entity_type: "item",
  event_type: "publish",
  entity: {
    id,
    type: "item",
    attributes: { slug },
    relationships: { item_type: { data: { id: type, type: "item_type" } } },
    meta: { status: "published" },
  },
  related_entities: [{ id: type, type: "item_type", attributes: { api_key: type } }],
})

export const prismic: BodyMaker = ({ id }, now) => ({
  type: "api-update",
  domain: "example",
  masterRef: String(now),
  documents: [id],
})

export const directus: BodyMaker = ({ type, id, slug }) => ({
  event: `${type}.items.update`,
  collection: type,
  keys: [id],
  payload: { status: "published", slug },
})

export const builderIo: BodyMaker = ({ type, id, url }) => ({
  operation: "publish",
  modelName: type,
  newValue: { id, published: "published", data: { url: new URL(url).pathname } },
})

export const drupal: BodyMaker = ({ type, id }) => ({ tags: [`${type}:${id}`, `${type}_list`] })

/** Of one's own making: the configuration's `fields` say where everything stands. */
export const json: BodyMaker = ({ type, id, slug, url }) => ({ kind: "publish", type, id, slug, url })
