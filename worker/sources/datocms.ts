import { parseJsonBytes } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, localesAt, text, texts } from "../rules/pointer.ts"
import { ignored, isTagList, objectOf, oneEvent, unreadable, verifyCarried } from "./checks.ts"
import type { EventKind, Reading, SourceAdapter, SourceEvent } from "./source.ts"

/**
 * DatoCMS. Nothing is signed: Basic authentication, or a header that the webhook was told to send, carries the secret.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        `entity_type` and `event_type`, such as `item.publish`
 * - `kind`         of a record by its event. What was saved and not published is ignored; a record that is a draft now
 *                  and was not told to be one before is `unpublish`. `tags` for cache tags, `deploy` for a build
 * - `type`         the model's `api_key`, else its id; `asset` for an upload
 * - `id`           of the record or upload. A change of a model has none: it concerns everything, as does an environment
 *                  that was promoted
 * - `slug`, `previousSlug`  `attributes.slug` now and before. Where it is localised, one event for each locale
 * - `locale`       of that slug
 * - `version`      `meta.current_version`
 * - `environment`  of the content
 * - `tags`         of cache tags
 *
 * @see https://www.datocms.com/docs/content-management-api/resources/webhook-call
 * @see https://www.datocms.com/docs/content-delivery-api/cache-tags-invalidation
 */

type Body = Readonly<Record<string, unknown>>

/** The id that DatoCMS gives a call. Someone's own payload need not have it. */
const callIdIn = (body: Uint8Array<ArrayBuffer>): string | undefined =>
  text(parseJsonBytes(body), "/webhook_call_id")

/** What became of a record, as it is seen by those who are shown no drafts; undefined: nothing. */
function kindOf(event: string, body: Body): EventKind | undefined {
  switch (event) {
    case "publish":
    case "unpublish":
    case "delete":
      return event
    default:
      break
  }
  switch (text(body, "/entity/meta/status")) {
    // Published, and saved since: https://www.datocms.com/docs/general-concepts/draft-published
    case "updated":
      return undefined
    case "draft":
      return event === "create" || text(body, "/previous_entity/meta/status") === "draft"
        ? undefined
        : "unpublish"
    case undefined:
    default:
      return "update"
  }
}

/** How rules call the record's model: by what people call it, where that is told. */
function modelOf(body: Body): string | undefined {
  const id = text(body, "/entity/relationships/item_type/data/id")
  const model = find(body, "/related_entities/*").find(
    (entity) => text(entity, "/type") === "item_type" && text(entity, "/id") === id,
  )
  return text(model, "/attributes/api_key") ?? id
}

const SLUG = "/entity/attributes/slug"
const PREVIOUS_SLUG = "/previous_entity/attributes/slug"
const LOCALE = "@locale"

/** The locales that the slug of a record has, or had; one of no name where it is not localised. */
function localesOf(body: Body): (string | undefined)[] {
  const locales = [SLUG, PREVIOUS_SLUG].flatMap((pointer) => localesAt(body, `${pointer}/${LOCALE}`))
  return locales.length > 0 ? [...new Set(locales)] : [undefined]
}

function readRecord(body: Body, event: string, told: Pick<SourceEvent, "topic" | "environment">): Reading {
  const kind = kindOf(event, body)
  if (!kind) return ignored("a draft was saved: nothing published changed")
  const id = text(body, "/entity/id")
  if (id === undefined) return unreadable("the record that it is about is missing", kind)
  const version = text(body, "/entity/meta/current_version")
  const events = localesOf(body).map((locale): SourceEvent => {
    const at = locale === undefined ? "" : `/${LOCALE}`
    const slug = texts(find(body, SLUG + at, locale))[0]
    const previousSlug = texts(find(body, PREVIOUS_SLUG + at, locale))[0]
    return compact({
      kind,
      type: modelOf(body),
      id,
      locale,
      slug,
      previousSlug: previousSlug === slug ? undefined : previousSlug,
      version,
      ...told,
    })
  })
  return { reading: "events", events }
}

function readTags(body: Body, told: Pick<SourceEvent, "topic" | "environment">): Reading {
  const [tags] = find(body, "/entity/attributes/tags")
  if (!isTagList(tags)) return unreadable("the list of cache tags is missing")
  return { reading: "events", events: [{ kind: "tags", tags, ...told }] }
}

export const datocms: SourceAdapter = {
  type: "datocms",

  async verify(delivery, context) {
    const verification = await verifyCarried(delivery, context)
    if (verification.verdict !== "verified") return verification
    const deliveryId = callIdIn(delivery.body)
    // Whether an automatic retry keeps the id is not documented: it counts together with the body, in which it stands.
    return deliveryId === undefined ? verification : { ...verification, deliveryId, replay: "body-hash" }
  },

  read(said, { config: { environments } }) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const entity = text(body, "/entity_type")
    const event = text(body, "/event_type")
    const hard = event === "unpublish" || event === "delete" ? event : undefined
    if (entity === undefined || event === undefined)
      return unreadable("neither an entity nor an event is told", hard)
    const topic = `${entity}.${event}`
    if (entity === "environment") {
      // Everything is another environment's now. It names none itself, or `environments` might not know the new one.
      return event === "promote"
        ? oneEvent({ kind: "update", isModel: true, topic })
        : ignored("an environment that is not promoted shows nothing")
    }
    if (body["is_environment_primary"] === false && environments === undefined) {
      return ignored("it happened outside the primary environment")
    }
    const told = compact({ topic, environment: text(body, "/environment") })
    switch (entity) {
      case "item":
        return readRecord(body, event, told)
      case "upload": {
        const kind = event === "delete" ? event : "update"
        const id = text(body, "/entity/id")
        if (id === undefined) return unreadable("the upload that it is about is missing", kind)
        return oneEvent({ kind, type: "asset", id, ...told })
      }
      case "item_type":
        if (event === "create") return ignored("a new model shows nothing")
        return oneEvent({
          kind: event === "delete" ? event : "update",
          isModel: true,
          type: text(body, "/entity/attributes/api_key") ?? text(body, "/entity/id"),
          ...told,
        })
      case "cda_cache_tags":
        return readTags(body, told)
      case "build_trigger":
        return event === "deploy_succeeded"
          ? oneEvent({ kind: "deploy", ...told })
          : ignored("a build that did not succeed changes nothing")
      case "maintenance_mode":
      case "sso_user":
        return ignored("it is not about content")
      default:
        return unreadable("it is no event that DatoCMS documents", hard)
    }
  },
}
