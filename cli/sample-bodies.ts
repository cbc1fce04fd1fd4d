import { createHash } from "node:crypto"
import type { Milliseconds } from "../protocol/time.ts"
import type { SampleEvent, SampleKind } from "./source-samples.ts"

/**
 * What each sender's body looks like when something happened; undefined where it sends none of the kind. A rename is
 * there where the sender tells the name before, or has an event of its own for it.
 */
export type BodyMaker = (event: SampleEvent, now: Milliseconds) => Record<string, unknown> | undefined

/** Where a sample has one. */
export const LOCALE = "en-US"

const iso = (now: Milliseconds): string => new Date(now).toISOString()

/** A number that is the same for the same id, for senders that know nothing else. */
const numberOf = (id: string): number =>
  /^\d{1,15}$/.test(id) ? Number(id) : createHash("sha256").update(id).digest().readUInt32BE()

/** What one kind of event is called by a sender that has none for the others. */
type Names = Readonly<Partial<Record<SampleKind, string>>>

/** A body with the sender's own name for what happened. */
const named =
  (
    names: Names,
    make: (name: string, event: SampleEvent, now: Milliseconds) => Record<string, unknown>,
  ): BodyMaker =>
  (event, now) => {
    const name = names[event.kind]
    return name === undefined ? undefined : make(name, event, now)
  }

const isGone = (kind: SampleKind): boolean => kind === "unpublish" || kind === "delete"

/** What was changed is told as published once more. The topic stands in a header. */
export const CONTENTFUL: Names = { publish: "publish", unpublish: "unpublish", delete: "delete" }

export const contentful = named(CONTENTFUL, (name, { type, id, slug, environment }, now) => ({
  sys: {
    type: name === "publish" ? "Entry" : "DeletedEntry",
    id,
    revision: now,
    contentType: { sys: { type: "Link", linkType: "ContentType", id: type } },
    environment: { sys: { type: "Link", linkType: "Environment", id: environment ?? "master" } },
  },
  // A tombstone has none.
  ...(name === "publish" ? { fields: { slug: { [LOCALE]: slug } } } : {}),
}))

/** What was changed is only saved until it is published once more. */
export const contentstack = named(
  { publish: "publish", unpublish: "unpublish", delete: "delete" },
  (name, { type, id, slug, environment }, now) => ({
    module: "entry",
    api_key: "blt0000000000000000",
    event: name,
    triggered_at: iso(now),
    data: {
      entry: { uid: id, url: `/${slug}`, locale: LOCALE.toLowerCase(), _version: 1, tags: [] },
      content_type: { uid: type },
      environment: { name: environment ?? "production" },
      locale: LOCALE.toLowerCase(),
    },
  }),
)

export const standard = named(
  {
    publish: "published",
    update: "updated",
    unpublish: "unpublished",
    delete: "deleted",
    rename: "renamed",
  },
  (name, { type, id, slug, url, previousSlug, previousUrl }, now) => ({
    type: `${type}.${name}`,
    timestamp: iso(now),
    data: { id, slug, url, previous_slug: previousSlug, previous_url: previousUrl },
  }),
)

/** As the senders in `examples/` have it. */
export const ours = named(
  { publish: "publish", update: "update", unpublish: "unpublish", delete: "delete", rename: "update" },
  (name, { type, id, slug, url, previousSlug, previousUrl }, now) => ({
    type: `${type}.${name}`,
    timestamp: iso(now),
    data: {
      kind: name,
      type,
      id,
      slug,
      url,
      previous_slug: previousSlug,
      previous_url: previousUrl,
      tags: [],
    },
  }),
)

/** The trigger stands in a header. */
export const PLUGIN: Names = {
  publish: "post_create",
  update: "post_update",
  unpublish: "post_trash",
  delete: "post_delete",
  rename: "post_update",
}

/** The plugin WP Webhooks. */
export const plugin: BodyMaker = ({ kind, type, id, slug, url, previousSlug }, now) => ({
  post_id: id,
  post: {
    ID: id,
    post_type: type,
    post_status: kind === "unpublish" ? "trash" : "publish",
    post_name: kind === "unpublish" ? `${slug}__trashed` : slug,
    post_modified_gmt: iso(now).slice(0, 19).replace("T", " "),
  },
  ...(previousSlug === undefined
    ? {}
    : { post_before: { ID: id, post_status: "publish", post_name: previousSlug } }),
  post_permalink: kind === "unpublish" ? `${url}__trashed` : url,
})

/** To unpublish is to delete the published document. */
export const sanity = named(
  { publish: "create", update: "update", unpublish: "delete", delete: "delete", rename: "update" },
  (operation, { type, id, slug, previousSlug }) => ({
    _id: id,
    _type: type,
    operation,
    slug: { current: slug },
    ...(previousSlug === undefined ? {} : { previousSlug: { current: previousSlug } }),
  }),
)

export const hygraph = named(
  { publish: "publish", update: "update", unpublish: "unpublish", delete: "delete" },
  (operation, { type, id, slug }) => ({
    operation,
    data: { __typename: type, id, slug, stage: "PUBLISHED" },
  }),
)

export const webflow = named(
  {
    publish: "collection_item_published",
    update: "collection_item_changed",
    unpublish: "collection_item_unpublished",
    delete: "collection_item_deleted",
  },
  (triggerType, { type, id, slug }, now) => ({
    triggerType,
    payload: {
      id,
      collectionId: type,
      lastPublished: iso(now),
      isDraft: false,
      isArchived: false,
      fieldData: { slug },
    },
  }),
)

export const kontentAi = named(
  { publish: "published", update: "metadata_changed", unpublish: "unpublished", delete: "deleted" },
  (action, { type, id, slug, environment }, now) => ({
    notifications: [
      {
        data: { system: { id, type, codename: slug, language: "default", last_modified: iso(now) } },
        message: {
          object_type: "content_item",
          action,
          delivery_slot: "published",
          ...(environment === undefined ? {} : { environment_id: environment }),
        },
      },
    ],
  }),
)

export const ghost: BodyMaker = ({ kind, id, slug, url, previousSlug }, now) => {
  const record = { id, slug, url, status: "published", updated_at: iso(now) }
  switch (kind) {
    case "publish":
      return { post: { current: record, previous: { status: "draft" } } }
    case "update":
      return { post: { current: record, previous: { title: "As it was" } } }
    case "unpublish":
      return { post: { current: { ...record, status: "draft" }, previous: { status: "published" } } }
    case "delete":
      return { post: { current: {}, previous: record } }
    case "rename":
      return { post: { current: record, previous: { slug: previousSlug } } }
  }
}

/** What was changed is told as published once more. The topic stands in a header too. */
export const STORYBLOK: Names = {
  publish: "published",
  unpublish: "unpublished",
  delete: "deleted",
  rename: "moved",
}

export const storyblok = named(STORYBLOK, (action, { id, slug }) => ({
  action,
  story_id: numberOf(id),
  space_id: 1,
  full_slug: slug,
}))

/** The topic stands in a header. */
export const SHOPIFY: Names = {
  publish: "products/create",
  update: "products/update",
  unpublish: "products/update",
  delete: "products/delete",
}

export const shopify: BodyMaker = ({ kind, id, slug }, now) => {
  if (SHOPIFY[kind] === undefined) return undefined
  if (kind === "delete") return { id: numberOf(id) }
  const status = kind === "unpublish" ? "draft" : "active"
  return { id: numberOf(id), handle: slug, status, published_at: iso(now), updated_at: iso(now) }
}

/** A deploy for a publish, else a push to a branch, whose file it is. */
export const github: BodyMaker = ({ kind, type, slug, previousSlug = "", environment }, now) => {
  const sha = "0".repeat(40)
  if (kind === "unpublish") return undefined
  if (kind === "publish") {
    return {
      deployment: { id: 1, sha, environment: environment ?? "production" },
      deployment_status: { state: "success", updated_at: iso(now) },
    }
  }
  const file = `${slug}.${type}`
  const changes = {
    update: { added: [], modified: [file], removed: [] },
    delete: { added: [], modified: [], removed: [file] },
    rename: { added: [file], modified: [], removed: [`${previousSlug}.${type}`] },
  }
  return {
    ref: `refs/heads/${environment ?? "main"}`,
    after: sha,
    created: false,
    deleted: false,
    forced: false,
    commits: [{ id: sha, timestamp: iso(now), ...changes[kind] }],
  }
}

export const vercel = named({ publish: "deployment.succeeded" }, (topic, { id, type, environment }, now) => ({
  id,
  type: topic,
  createdAt: now,
  payload: {
    target: environment ?? "production",
    deployment: { id, name: type },
    project: { id: type },
  },
}))

export const netlify = named({ publish: "ready" }, (state, { id, type, environment }, now) => ({
  id,
  name: type,
  state,
  context: environment ?? "production",
  published_at: iso(now),
}))

/** The topic stands in a header. */
export const WOOCOMMERCE: Names = {
  publish: "product.created",
  update: "product.updated",
  unpublish: "product.updated",
  delete: "product.deleted",
}

export const woocommerce: BodyMaker = ({ kind, id, slug, url }, now) => {
  if (WOOCOMMERCE[kind] === undefined) return undefined
  if (kind === "delete") return { id: numberOf(id) }
  return {
    id: numberOf(id),
    slug,
    permalink: url,
    status: kind === "unpublish" ? "draft" : "publish",
    date_modified_gmt: iso(now).slice(0, 19),
  }
}

export const strapi = named(
  { publish: "entry.publish", update: "entry.update", unpublish: "entry.unpublish", delete: "entry.delete" },
  (topic, { kind, type, id, slug }, now) => ({
    event: topic,
    createdAt: iso(now),
    model: type,
    uid: `api::${type}.${type}`,
    entry: {
      id: numberOf(id),
      documentId: id,
      slug,
      publishedAt: isGone(kind) ? null : iso(now),
    },
  }),
)

export const datocms = named(
  { publish: "publish", update: "update", unpublish: "unpublish", delete: "delete", rename: "update" },
  (name, { kind, type, id, slug, previousSlug, environment }, now) => {
    const status = kind === "unpublish" ? "draft" : "published"
    const record = {
      id,
      type: "item",
      relationships: { item_type: { data: { id: type, type: "item_type" } } },
      meta: { status },
    }
    return {
      webhook_call_id: String(now),
      event_triggered_at: iso(now),
      environment: environment ?? "main",
      is_environment_primary: true,
      entity_type: "item",
      event_type: name,
      entity: { ...record, attributes: { slug } },
      ...(previousSlug === undefined
        ? {}
        : { previous_entity: { ...record, attributes: { slug: previousSlug } } }),
      related_entities: [{ id: type, type: "item_type", attributes: { api_key: type } }],
    }
  },
)

/** The same whatever happened, as what is no longer published is listed like what is. Names are not told. */
export const prismic: BodyMaker = ({ kind, id, environment }, now) =>
  kind === "rename"
    ? undefined
    : {
        type: "api-update",
        domain: environment ?? "example",
        masterRef: String(now),
        documents: [id],
      }

export const directus = named(
  { publish: "update", update: "update", unpublish: "update", delete: "delete" },
  (action, { kind, type, id, slug }) => {
    const status = { publish: "published", unpublish: "archived" }[kind as string]
    return {
      event: `${type}.items.${action}`,
      collection: type,
      keys: [id],
      ...(action === "delete" ? {} : { payload: { ...(status === undefined ? {} : { status }), slug } }),
    }
  },
)

/** What was changed is told as published once more. */
export const builderIo = named(
  { publish: "publish", unpublish: "unpublish", delete: "delete", rename: "publish" },
  (operation, { type, id, url, previousUrl }) => {
    const content = (address: string, published = "published") => ({
      id,
      published,
      data: { url: new URL(address).pathname },
    })
    const previous = previousUrl ?? (operation === "publish" ? undefined : url)
    return {
      operation,
      modelName: type,
      newValue: operation === "delete" ? null : content(url, operation === "unpublish" ? "draft" : undefined),
      ...(previous === undefined ? {} : { previousValue: content(previous) }),
    }
  },
)

/** The same whatever happened: the tags of what is stale. */
export const drupal: BodyMaker = ({ type, id }) => ({ tags: [`${type}:${id}`, `${type}_list`] })

/** Of one's own making: the configuration's `fields` say where everything stands. */
export const json: BodyMaker = ({ kind, type, id, slug, url, previousSlug, previousUrl }) => ({
  kind: kind === "rename" ? "update" : kind,
  type,
  id,
  slug,
  url,
  previousSlug,
  previousUrl,
})
