import { expect, test } from "vitest"
import type { SourceType } from "../../protocol/config/source-options.ts"
import { contextOf } from "./conformance.ts"
import { SOURCES } from "./list.ts"
import type { EventKind } from "./source.ts"

/** What a header, a topic, the address or a member says of a delivery counts, though the rest of it says nothing. */

interface Case {
  readonly type: SourceType
  readonly headers?: Readonly<Record<string, string>>
  readonly path?: string
  readonly body?: unknown
  /** What is known of what happened; `ignored` for what is known to be of no account. */
  readonly comes: EventKind | "ignored" | undefined
}

const topic = (name: string) => ({ "x-contentful-topic": `ContentManagement.${name}` })

const CASES: readonly Case[] = [
  { type: "contentful", headers: topic("Entry.unpublish"), comes: "unpublish" },
  { type: "contentful", headers: topic("Entry.archive"), comes: "unpublish" },
  { type: "contentful", headers: topic("Entry.delete"), comes: "delete" },
  { type: "contentful", headers: topic("Asset.delete"), comes: "delete" },
  { type: "contentful", headers: topic("ContentType.delete"), comes: "delete" },
  { type: "contentful", headers: topic("Entry.publish"), comes: "publish" },
  { type: "contentful", headers: topic("Entry.auto_save"), comes: "ignored" },
  { type: "contentful", headers: topic("ReleaseEntry.save"), comes: "ignored" },
  { type: "contentful", headers: topic("Task.delete"), comes: "ignored" },
  { type: "sanity", headers: { "sanity-operation": "delete" }, comes: "delete" },
  { type: "sanity", headers: { "sanity-operation": "delete" }, body: "post-1", comes: "delete" },
  { type: "sanity", headers: { "sanity-operation": "delete" }, body: null, comes: "delete" },
  { type: "sanity", headers: { "sanity-operation": "delete" }, body: [], comes: "delete" },
  { type: "sanity", headers: { "sanity-operation": "delete" }, body: {}, comes: "delete" },
  { type: "shopify", headers: { "x-shopify-topic": "products/delete" }, comes: "delete" },
  { type: "shopify", headers: { "x-shopify-topic": "product_listings/remove" }, comes: "unpublish" },
  { type: "shopify", headers: { "x-shopify-topic": "product_publications/delete" }, comes: "unpublish" },
  { type: "shopify", headers: { "x-shopify-topic": "products/update" }, comes: undefined },
  { type: "shopify", headers: { "x-shopify-topic": "orders/delete" }, comes: "ignored" },
  { type: "shopify", headers: { "shopify-topic": "Product", "shopify-action": "delete" }, comes: "delete" },
  { type: "woocommerce", headers: { "x-wc-webhook-topic": "product.deleted" }, comes: "delete" },
  { type: "woocommerce", headers: { "x-wc-webhook-topic": "product.updated" }, comes: "update" },
  { type: "woocommerce", headers: { "x-wc-webhook-topic": "order.deleted" }, comes: "ignored" },
  { type: "wordpress", headers: { "x-wp-webhook-name": "post_delete" }, comes: "delete" },
  { type: "wordpress", headers: { "x-wp-webhook-name": "post_trash" }, comes: "unpublish" },
  {
    type: "wordpress",
    headers: { "x-wp-webhook-name": "post_trash" },
    body: { post_id: 7 },
    comes: "unpublish",
  },
  { type: "wordpress", headers: { "x-wp-webhook-name": "delete_attachment" }, comes: "delete" },
  { type: "wordpress", headers: { "x-wp-webhook-name": "post_untrashed" }, comes: undefined },
  { type: "strapi", headers: { "x-strapi-event": "entry.delete" }, comes: "delete" },
  { type: "strapi", headers: { "x-strapi-event": "entry.unpublish" }, comes: "unpublish" },
  { type: "strapi", headers: { "x-strapi-event": "media.delete" }, comes: "delete" },
  { type: "strapi", headers: { "x-strapi-event": "entry.delete" }, body: { entry: null }, comes: "delete" },
  { type: "strapi", headers: { "x-strapi-event": "component.delete" }, body: {}, comes: "delete" },
  { type: "strapi", headers: { "x-strapi-event": "trigger-test" }, comes: "ignored" },
  { type: "strapi", headers: { "x-strapi-event": "entry.draft-discard" }, comes: "ignored" },
  { type: "strapi", headers: { "x-strapi-event": "review-workflows.updateEntryStage" }, comes: "ignored" },
  { type: "storyblok", headers: { "x-storyblok-topic": "story.deleted" }, comes: "delete" },
  { type: "storyblok", headers: { "x-storyblok-topic": "story.unpublished" }, comes: "unpublish" },
  { type: "storyblok", headers: { "x-storyblok-topic": "asset.deleted" }, comes: "delete" },
  { type: "storyblok", headers: { "x-storyblok-topic": "datasource.entries_updated" }, comes: undefined },
  { type: "storyblok", headers: { "x-storyblok-topic": "user.removed" }, comes: "ignored" },
  { type: "storyblok", headers: { "x-storyblok-topic": "workflow.stage.changed" }, comes: "ignored" },
  { type: "storyblok", headers: { "x-storyblok-topic": "stage.changed" }, comes: "ignored" },
  { type: "storyblok", body: { action: "deleted" }, comes: "delete" },
  { type: "ghost", path: "/?event=post.deleted", comes: "delete" },
  { type: "ghost", path: "/?event=post.deleted", body: {}, comes: "delete" },
  { type: "ghost", path: "/?event=page.unpublished", body: {}, comes: "unpublish" },
  { type: "ghost", path: "/?event=tag.deleted", body: [], comes: "delete" },
  { type: "ghost", body: { event: "post.unpublished" }, comes: "unpublish" },
  { type: "ghost", path: "/?event=post.edited", body: {}, comes: "update" },
  { type: "ghost", path: "/?event=member.deleted", comes: "ignored" },
  { type: "kontent-ai", body: { message: { operation: "unpublish" } }, comes: "unpublish" },
  { type: "kontent-ai", body: { notifications: [{ message: { action: "deleted" } }] }, comes: "delete" },
  { type: "github", headers: { "x-github-event": "delete" }, comes: "delete" },
  { type: "github", headers: { "x-github-event": "push" }, body: { deleted: true }, comes: "delete" },
  {
    type: "github",
    headers: { "x-github-event": "push" },
    body: { ref: "refs/heads/main", commits: [{ removed: ["a.md"] }] },
    comes: "delete",
  },
  { type: "github", headers: { "x-github-event": "push" }, body: { forced: true }, comes: undefined },
  { type: "github", body: { action: "deleted" }, comes: "delete" },
  { type: "github", headers: { "x-github-event": "ping" }, comes: "ignored" },
  { type: "datocms", body: { entity_type: "of_tomorrow", event_type: "delete" }, comes: "delete" },
  { type: "datocms", body: { event_type: "unpublish" }, comes: "unpublish" },
  { type: "contentstack", body: { module: "of_tomorrow", event: "delete" }, comes: "delete" },
  { type: "contentstack", body: { event: "unpublish" }, comes: "unpublish" },
  { type: "hygraph", body: { operation: "delete" }, comes: "delete" },
  { type: "directus", body: { event: "items.delete" }, comes: "delete" },
  { type: "builder-io", body: { operation: "archive" }, comes: "unpublish" },
  { type: "webflow", body: { triggerType: "page_deleted" }, comes: "delete" },
]

test.for(CASES)("$type of $headers $path $body: $comes", ({ type, headers, path = "/", body, comes }) => {
  const adapter = SOURCES.find((source) => source.type === type)
  const reading = adapter?.read({ body, headers: new Headers(headers), path }, contextOf(type, "s3cret"))
  if (comes === "ignored") {
    expect(reading).toMatchObject({ reading: "ignored" })
    return
  }
  expect(reading).toMatchObject({ reading: "unreadable" })
  if (comes === undefined) expect(["publish", "update", undefined]).toContain(kindIn(reading))
  else expect(kindIn(reading)).toBe(comes)
})

const kindIn = (reading: unknown): unknown =>
  reading !== null && typeof reading === "object" && "kind" in reading ? reading.kind : undefined
