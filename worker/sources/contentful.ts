import { concatBytes, constantTimeEqual, hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { matchesText } from "../rules/match.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { ignored, invalid, objectOf, oneEvent, secretsOf, timely, unreadable } from "./checks.ts"
import type { Delivery, EventKind, SourceAdapter, SourceContext, Verified } from "./source.ts"

/**
 * Contentful: HMAC-SHA256 over a canonical request of method, path, chosen headers and body.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        the header `X-Contentful-Topic`, such as `ContentManagement.Entry.publish`
 * - `kind`         by its action; drafts (create, save, auto_save, unarchive) and whatever is neither content nor
 *                  its model (releases, tasks, comments …) are ignored, as the Delivery API shows none of it
 * - `type`         the id of the content type; `asset` for assets
 * - `id`           of the entry or asset. A change of the model itself has none: it concerns everything, as does an
 *                  alias that was pointed elsewhere
 * - `version`      `sys.revision`
 * - `environment`  of the content, by the body or the header `X-Contentful-CRN`: the one of the two may name an alias
 *                  and the other what it stands for, so that it is the one that counts here, if either does. The alias
 *                  itself where an alias was pointed elsewhere
 * - `tags`         the ids of `metadata.tags`
 *
 * @see https://github.com/contentful/node-apps-toolkit/blob/main/src/requests/verify-request.ts
 */

const SIGNATURE = "x-contentful-signature"
const SIGNED_HEADERS = "x-contentful-signed-headers"
const TIMESTAMP = "x-contentful-timestamp"
const IDEMPOTENCY_KEY = "x-contentful-idempotency-key"

/** Milliseconds since 2001. A header that came twice is joined by a comma, and is none. */
const MILLISECONDS = /^[1-9]\d{12,14}$/

/** No white space: a list that came twice is joined by `, `, and is none. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/

/** Sorted; undefined for a list that is not one, that repeats a name or lacks one of the two that must be signed. */
function parseSignedHeaders(list: string | null): string[] | undefined {
  const names = (list ?? "").split(",")
  const distinct = new Set(names)
  const wanted = distinct.size === names.length && distinct.has(SIGNED_HEADERS) && distinct.has(TIMESTAMP)
  return wanted && names.every((name) => HEADER_NAME.test(name)) ? names.toSorted() : undefined
}

/** The query is escaped as one text, and then what came of it once more together with the path. */
function canonicalPath(path: string): string {
  const at = path.indexOf("?")
  const query = at < 0 ? "" : encodeURIComponent(path.slice(at + 1))
  return encodeURI((at < 0 ? path : path.slice(0, at)) + (query === "" ? "" : `?${query}`))
}

function canonicalRequest(delivery: Delivery, names: readonly string[]): Uint8Array<ArrayBuffer> | undefined {
  if (!delivery.path.isWellFormed()) return undefined
  const lines: string[] = []
  for (const name of names) {
    const value = delivery.headers.get(name)
    if (value === null) return undefined
    // Signed as the sorted list, in whatever order it was sent.
    lines.push(`${name}:${name === SIGNED_HEADERS ? names.join(",") : value.trim()}`)
  }
  const head = [delivery.method, canonicalPath(delivery.path), lines.join(";"), ""].join("\n")
  return concatBytes(utf8(head), delivery.body)
}

/**
 * How a repeated delivery is known. The key is the sender's word only where it is signed; else it counts together
 * with the body. Without a key the body alone says which state it tells of, unless somebody's payload template left
 * that out: two publishes of one entry then read the same, and only the very same signature is a repetition.
 */
function identify(
  { headers, body }: Delivery,
  signature: string,
  signed: readonly string[],
): Pick<Verified, "deliveryId" | "replay"> {
  const deliveryId = headers.get(IDEMPOTENCY_KEY) ?? ""
  if (deliveryId !== "") {
    return { deliveryId, replay: signed.includes(IDEMPOTENCY_KEY) ? "delivery-id" : "body-hash" }
  }
  const tellsState = /"(?:revision|updatedAt|deletedAt)"\s*:/.test(new TextDecoder().decode(body))
  return tellsState ? { replay: "body-hash" } : { deliveryId: signature, replay: "delivery-id" }
}

/** What an action makes visible. undefined: nothing, it happens to drafts. An action of tomorrow counts as update. */
function kindOf(action: string): EventKind | undefined {
  switch (action) {
    case "create":
    case "save":
    case "auto_save":
    case "unarchive":
      return undefined
    case "publish":
    case "unpublish":
    case "delete":
      return action
    case "archive":
      return "unpublish"
    default:
      return "update"
  }
}

/** What the Delivery API shows, or is shown by. */
const SHOWN = ["Entry", "Asset", "ContentType", "EnvironmentAlias"]

const TOPIC = /^ContentManagement\.(\w+)\.(\w+)$/

/** What the delivery concerns, and what became of it; where no topic says so, only a tombstone speaks for itself. */
function readTopic(topic: string | undefined, body: unknown): { entity: string; action: string } | undefined {
  const [, entity, action] = TOPIC.exec(topic ?? "") ?? []
  if (entity !== undefined && action !== undefined) return { entity, action }
  const [, deleted] = /^Deleted(Entry|Asset)$/.exec(text(body, "/sys/type") ?? "") ?? []
  return deleted === undefined ? undefined : { entity: deleted, action: "delete" }
}

/** `crn:contentful:::content:spaces/<space>/environments/<environment>/entries/<id>` */
const CRN = /\/environments\/([\w.-]+)(?:\/|$)/

/**
 * The environment that the content is in: by the body, or by the header where that is the one that counts here.
 *
 * @see https://www.contentful.com/developers/docs/concepts/environment-aliases/
 */
function environmentOf(
  body: unknown,
  headers: Headers,
  { config: { environments } }: SourceContext,
): string | undefined {
  const [, named] = CRN.exec(headers.get("x-contentful-crn") ?? "") ?? []
  const told = texts([text(body, "/sys/environment/sys/id"), named])
  return told.find((one) => environments?.some((pattern) => matchesText(pattern, one))) ?? told[0]
}

export const contentful: SourceAdapter = {
  type: "contentful",

  async verify(delivery, context) {
    const { headers } = delivery
    const signature = headers.get(SIGNATURE) ?? ""
    if (!/^[0-9a-f]{64}$/.test(signature)) return invalid("The signature is missing or not 64 hex digits.")
    const timestamp = headers.get(TIMESTAMP) ?? ""
    if (!MILLISECONDS.test(timestamp)) return invalid("The timestamp is missing or not in milliseconds.")
    const names = parseSignedHeaders(headers.get(SIGNED_HEADERS))
    if (!names) return invalid("The list of signed headers is missing or not whole.")
    const request = canonicalRequest(delivery, names)
    if (!request) return invalid("A signed header is missing.")
    for (const secret of secretsOf(context)) {
      const mac = toHex(await hmac("SHA-256", utf8(secret), request))
      if (constantTimeEqual(mac, signature)) {
        return timely(Number(timestamp), context, {
          verdict: "verified",
          ...identify(delivery, signature, names),
        })
      }
    }
    return invalid(
      "The signature is by no secret of this source, or the url was not the one that was called.",
    )
  },

  read(said, context) {
    const { headers } = said
    const body = objectOf(said)
    const topic = headers.get("x-contentful-topic") ?? undefined
    const { entity, action } = readTopic(topic, body) ?? { entity: undefined, action: "" }
    // An alias has no drafts.
    const kind = entity === "EnvironmentAlias" ? "update" : kindOf(action)
    if (entity !== undefined && (!kind || !SHOWN.includes(entity)))
      return ignored(`${entity}.${action} changes nothing published`)
    if (!body) return unreadable(undefined, kind)
    if (!entity) return unreadable("neither a topic nor a tombstone says what happened")
    const id = text(body, "/sys/id")
    const environment = environmentOf(body, headers, context)
    const told = { kind: kind ?? "update", topic }
    if (entity === "ContentType") return oneEvent({ ...told, isModel: true, type: id, environment })
    if (entity === "EnvironmentAlias") return oneEvent({ ...told, isModel: true, environment: id })
    const tags = texts(find(body, "/metadata/tags/*/sys/id"))
    return oneEvent({
      ...told,
      type: entity === "Asset" ? "asset" : text(body, "/sys/contentType/sys/id"),
      id,
      version: text(body, "/sys/revision"),
      environment,
      tags: tags.length > 0 ? tags : undefined,
    })
  },
}
