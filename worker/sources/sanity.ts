import { concatBytes, toBase64Url, utf8 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, text, texts } from "../rules/pointer.ts"
import {
  ignored,
  invalid,
  isSigned,
  isTagList,
  objectOf,
  timely,
  unreadable,
  verifyCarried,
} from "./checks.ts"
import type {
  EventKind,
  Reading,
  Said,
  SourceAdapter,
  SourceContext,
  SourceEvent,
  Verified,
} from "./source.ts"

/**
 * Sanity: HMAC-SHA256 over `t.body`. The body is whatever the webhook's projection makes of a document.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `id`, `type`    `_id` and `_type`. Documents below `drafts.` and `versions.` are ignored: only the published one
 *                   has an id without a prefix
 * - `kind`, `topic` the member `operation`, else the header `sanity-operation`; to unpublish is to delete the published
 *                   document
 * - `slug`          `slug` or `slug.current`; `previousSlug` likewise, where it is another one. Of what was deleted the
 *                   slug that it had
 * - `version`       `_rev`
 * - `locale`, `tags` the members of that name
 * - `environment`   the member `dataset`, else the header `sanity-dataset`
 *
 * A body of nothing but `tags` or `syncTags` is of kind `tags`; one with lists of `ids`, as webhooks sent before they
 * had projections, is an event each.
 *
 * @see https://github.com/sanity-io/webhook-toolkit/blob/main/src/signature.ts
 */

/** Milliseconds since September 2001, and the one way of writing 32 bytes in base64url. */
const SIGNATURE = /^t=([1-9]\d{12}),v1=([A-Za-z0-9_-]{43})$/

const IDEMPOTENCY_KEY = "idempotency-key"

const KINDS: Readonly<Record<string, EventKind>> = {
  create: "publish",
  update: "update",
  delete: "delete",
}

const kindOf = (operation: string | undefined): EventKind =>
  (operation !== undefined && Object.hasOwn(KINDS, operation) ? KINDS[operation] : undefined) ?? "update"

const UNPUBLISHED = "drafts and versions change nothing published"

/** Whether only somebody who previews sees the document. */
const isUnpublished = (id: string): boolean => id.startsWith("drafts.") || id.startsWith("versions.")

type Body = Readonly<Record<string, unknown>>

/** The sync tags that a function of Sanity passes on, where they are all that there is. */
function syncTagsOf(body: Body): readonly string[] | undefined {
  const [name, ...others] = Object.keys(body)
  if (others.length > 0 || (name !== "tags" && name !== "syncTags")) return undefined
  const tags = body[name]
  return isTagList(tags) ? tags : undefined
}

/** A slug as a projection gives it, or as it stands in a document. */
const slugAt = (body: Body, pointer: string): string | undefined =>
  text(body, pointer) ?? text(body, `${pointer}/current`)

/** The events of the body that the first webhooks had: nothing but ids, by what became of them. */
function listedEvents(body: Body, environment: string | undefined): SourceEvent[] {
  const told = (list: string, kind: EventKind) =>
    texts(find(body, `/ids/${list}`)).map((id) => compact({ kind, id, environment }))
  const events = [...told("created", "publish"), ...told("updated", "update"), ...told("deleted", "delete")]
  return events.length > 0 ? events : told("all", "update")
}

function readListed(body: Body, environment: string | undefined): Reading {
  const events = listedEvents(body, environment)
  if (events.length === 0) return unreadable("its lists of ids name nothing")
  const published = events.filter(({ id }) => id === undefined || !isUnpublished(id))
  return published.length > 0 ? { reading: "events", events: published } : ignored(UNPUBLISHED)
}

function readDocument(body: Body, { headers }: Said, environment: string | undefined): SourceEvent {
  const topic = text(body, "/operation") ?? headers.get("sanity-operation") ?? undefined
  const kind = kindOf(topic)
  const slug = slugAt(body, "/slug")
  const previousSlug = slugAt(body, "/previousSlug")
  const tags = texts(find(body, "/tags"))
  return compact({
    kind,
    type: text(body, "/_type"),
    id: text(body, "/_id"),
    locale: text(body, "/locale"),
    slug: slug ?? (kind === "delete" ? previousSlug : undefined),
    previousSlug: previousSlug === slug ? undefined : previousSlug,
    version: text(body, "/_rev"),
    environment,
    topic,
    tags: tags.length > 0 ? tags : undefined,
  })
}

export const sanity: SourceAdapter = {
  type: "sanity",

  async verify(delivery, context) {
    if (context.config.auth !== undefined) return verifyCarried(delivery, context)
    const header = delivery.headers.get("sanity-webhook-signature") ?? ""
    const [, timestamp, signature] = SIGNATURE.exec(header) ?? []
    if (timestamp === undefined || signature === undefined) {
      return invalid(
        "The signature is missing, or not a time in milliseconds and 43 characters of base64url.",
      )
    }
    const signed = concatBytes(utf8(`${timestamp}.`), delivery.body)
    // As texts: decoded leniently, two of them would be the same bytes.
    if (!(await isSigned(signature, "SHA-256", signed, toBase64Url, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    const key = delivery.headers.get(IDEMPOTENCY_KEY) ?? ""
    // The key is not signed, and a projection may read the same for two changes: only both together say that it is the
    // same one.
    const verified: Verified =
      key === ""
        ? { verdict: "verified", deliveryId: signature, replay: "delivery-id" }
        : { verdict: "verified", deliveryId: key, replay: "body-hash" }
    return timely(Number(timestamp), context, verified)
  },

  read(said, { config }: SourceContext) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const tags = syncTagsOf(body)
    if (tags) return { reading: "events", events: [{ kind: "tags", tags }] }
    const environment = text(body, "/dataset") ?? said.headers.get("sanity-dataset") ?? undefined
    if (find(body, "/ids/all").length > 0) return readListed(body, environment)
    const event = readDocument(body, said, environment)
    if (event.id !== undefined && isUnpublished(event.id)) {
      return ignored(UNPUBLISHED)
    }
    if (event.id === undefined && event.type === undefined && config.fields === undefined) {
      return unreadable("the projection gives neither _id nor _type", event.kind)
    }
    return { reading: "events", events: [event] }
  },
}
