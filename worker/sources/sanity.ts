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
import { slugPairs } from "./slugs.ts"
import type { EventKind, Reading, SourceAdapter, SourceContext, SourceEvent, Verified } from "./source.ts"

/**
 * Sanity: HMAC-SHA256 over `t.body`. The body is whatever the webhook's projection makes of a document.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `id`, `type`    `_id`, else the header `sanity-document-id`, and `_type`. Documents below `drafts.` and `versions.`
 *                   are ignored: only the published one has an id without a prefix
 * - `kind`, `topic` the member `operation`, else the header `sanity-operation`; to unpublish is to delete the published
 *                   document
 * - `slug`          `slug` or `slug.current`; `previousSlug` likewise, where it is another one. Of what was deleted the
 *                   slug that it had. A document with several, as one for each language, is an event for each
 * - `version`       `_rev`
 * - `locale`, `tags` the members of that name
 * - `environment`   the member `dataset`, else the header `sanity-dataset`
 *
 * A body of nothing but `tags` or `syncTags` is of kind `tags`; one with lists of `ids`, as webhooks sent before they
 * had projections, is an event each.
 *
 * @see https://github.com/sanity-io/webhook-toolkit/blob/main/src/signature.ts
 */

/**
 * Milliseconds since September 2001, and the one way of writing 32 bytes in base64url. Between them as in the library of
 * Sanity: what joins the parts of a header anew puts a blank there.
 */
const SIGNATURE = /^t=([1-9]\d{12})[, ]+v1=([A-Za-z0-9_-]{43})$/

const IDEMPOTENCY_KEY = "idempotency-key"

const KINDS: Readonly<Record<string, EventKind>> = {
  create: "publish",
  update: "update",
  delete: "delete",
}

/** By the first of some words that is an operation of Sanity. */
function kindOf(...operations: readonly (string | null | undefined)[]): EventKind {
  const known = operations.find((operation) => Object.hasOwn(KINDS, operation ?? ""))
  return KINDS[known ?? ""] ?? "update"
}

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

/** Where a slug may stand: as a projection gives it, in a document, or in one that has it in several languages. */
const SLUGS = ["", "/current", "/*/current", "/*/value", "/*/value/current"]

const slugsAt = (body: Body, member: string): string[] =>
  texts(SLUGS.flatMap((at) => find(body, `/${member}${at}`)))

/** The events of the body that the first webhooks had: nothing but ids, by what became of them. */
function listedEvents(body: Body, kind: EventKind, environment: string | undefined): SourceEvent[] {
  const told = (list: string, became: EventKind) =>
    texts(find(body, `/ids/${list}`)).map((id) => compact({ kind: became, id, environment }))
  const events = [...told("created", "publish"), ...told("updated", "update"), ...told("deleted", "delete")]
  return events.length > 0 ? events : told("all", kind)
}

function readListed(body: Body, kind: EventKind, environment: string | undefined): Reading {
  const events = listedEvents(body, kind, environment)
  if (events.length === 0) return unreadable("its lists of ids name nothing", kind)
  const published = events.filter(({ id }) => id === undefined || !isUnpublished(id))
  return published.length > 0 ? { reading: "events", events: published } : ignored(UNPUBLISHED)
}

/** One document; several events where it has several slugs. */
function readDocument(body: Body, told: Partial<SourceEvent> & Pick<SourceEvent, "kind">): SourceEvent[] {
  const tags = texts(find(body, "/tags"))
  const pairs = slugPairs(slugsAt(body, "slug"), slugsAt(body, "previousSlug"))
  return pairs.map(({ slug, previousSlug }) =>
    compact({
      ...told,
      locale: text(body, "/locale"),
      slug: slug ?? (told.kind === "delete" ? previousSlug : undefined),
      previousSlug,
      version: text(body, "/_rev"),
      tags: tags.length > 0 ? tags : undefined,
    }),
  )
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
    const { headers } = said
    const body = objectOf(said)
    const operation = text(body, "/operation")
    const header = headers.get("sanity-operation") ?? undefined
    const kind = kindOf(operation, header)
    const ownId = text(body, "/_id")
    const id = ownId ?? headers.get("sanity-document-id") ?? undefined
    // Lists of ids say of each whether it is published.
    const isListed = find(body, "/ids/all").length > 0
    if (!isListed && id !== undefined && isUnpublished(id)) return ignored(UNPUBLISHED)
    if (!body) return unreadable(undefined, kind)
    const tags = syncTagsOf(body)
    // Tags are only ever marked stale: of what a webhook says was deleted, more must go.
    if (tags && kind !== "delete") return { reading: "events", events: [{ kind: "tags", tags }] }
    const environment = text(body, "/dataset") ?? headers.get("sanity-dataset") ?? undefined
    if (isListed) return readListed(body, kind, environment)
    const type = text(body, "/_type")
    // The id alone, of a header, would be no tag that pages have without rules.
    if (ownId === undefined && type === undefined && config.fields === undefined) {
      return unreadable("the projection gives neither _id nor _type", kind)
    }
    const told = compact({ kind, type, id, environment, topic: operation ?? header })
    return { reading: "events", events: readDocument(body, told) }
  },
}
