import { compact, MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { find, text } from "../rules/pointer.ts"
import { ignored, objectOf, oneEvent, unreadable, verifyCarried } from "./checks.ts"
import type { SourceAdapter } from "./source.ts"

/**
 * Prismic. Nothing is signed: the body's own `secret` is the secret, by `auth: "body"`. It is taken out of the body
 * before any rule sees that.
 *
 * What an event is, one for each document, unless `fields` say otherwise:
 *
 * - `topic`        `type`: `api-update`
 * - `kind`         `update`, always: a document that is no longer published is listed like one that is
 * - `id`           the document's. Neither its type nor its language nor its name in urls is told. A change of a type, or
 *                  of an experiment, has none: it concerns everything
 * - `version`      the ref under which it is published now
 * - `environment`  the repository
 *
 * @see https://prismic.io/docs/webhooks
 * @see https://github.com/prismicio/prismic-client/tree/main/src/types/webhook
 */

/** What every delivery has, whatever changed. */
const ALWAYS = new Set(["type", "domain", "apiUrl", "secret"])

/** What may change without a new ref of what is published: all that is read by a ref stays as it is. */
const BESIDE = new Set(["releases", "tags"])

/** What decides how documents look, whichever of them are listed besides. */
const MODELS = ["/masks/*/*", "/experiments/*/*"]

const isFilled = (value: unknown): boolean =>
  value !== null && (typeof value !== "object" || Object.keys(value).length > 0)

export const prismic: SourceAdapter = {
  type: "prismic",

  verify: (delivery, context) => verifyCarried(delivery, context),

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/type")
    if (topic === "test-trigger") return ignored("test-trigger only tries the address")
    const { documents } = body
    if (topic !== "api-update" || !Array.isArray(documents)) return unreadable("it lists no documents")
    const changed = Object.keys(body).filter((name) => !ALWAYS.has(name) && isFilled(body[name]))
    if (changed.length > 0 && changed.every((name) => BESIDE.has(name))) {
      return ignored("releases and tags alone show nothing")
    }
    const told = compact({ topic, version: text(body, "/masterRef"), environment: text(body, "/domain") })
    if (MODELS.some((at) => find(body, at).length > 0)) {
      return oneEvent({ kind: "update", isModel: true, ...told })
    }
    const ids = documents.filter((id) => typeof id === "string" && id !== "")
    if (ids.length === 0 || ids.length < documents.length) {
      return unreadable("something changed, and not every document is named")
    }
    if (ids.length > MAX_SELECTORS) return unreadable("it lists too many documents")
    return { reading: "events", events: ids.map((id: string) => ({ kind: "update", id, ...told })) }
  },
}
