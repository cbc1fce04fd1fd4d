import { toHex } from "../../protocol/bytes.ts"
import { find, text } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, unreadable } from "./checks.ts"
import type { SourceAdapter } from "./source.ts"

/**
 * Vercel: HMAC-SHA1 over the body, in hex.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        the body's whole `type`, such as `deployment.promoted`
 * - `kind`         `deploy` for what is live now; what is only built, failed or a preview is ignored; whatever else a
 *                  webhook can tell of is `update`
 * - `type`         the project's name
 * - `id`           of the deployment
 * - `environment`  the deployment's target; `production` for one that was promoted or rolled back to
 *
 * @see https://vercel.com/docs/webhooks/webhooks-api
 */

/** What gives the production domains to a deployment, whatever it was built for. */
const PROMOTED = ["deployment.promoted", "deployment.rollback"]

const BUILT = ["deployment.succeeded", "deployment.ready"]

const UNFINISHED = ["deployment.created", "deployment.error", "deployment.canceled"]

export const vercel: SourceAdapter = {
  type: "vercel",

  async verify({ headers, body }, context) {
    const signature = headers.get("x-vercel-signature") ?? ""
    if (!/^[0-9a-f]{40}$/.test(signature)) return invalid("The signature is missing or not 40 hex digits.")
    if (!(await isSigned(signature, "SHA-1", body, toHex, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    // The time of the event, which tells it from the next one of the same deployment.
    const tellsTime = /"createdAt"\s*:\s*\d/.test(new TextDecoder().decode(body))
    return { verdict: "verified", replay: tellsTime ? "body-hash" : "none" }
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/type")
    if (topic === undefined) return unreadable("no type says what happened")
    if (UNFINISHED.includes(topic)) return ignored(`${topic} changes nothing that is live`)
    const isBuilt = BUILT.includes(topic)
    // Present and null: one that is absent says nothing.
    if (isBuilt && find(body, "/payload/target")[0] === null) return ignored("the deployment is a preview")
    const isPromoted = PROMOTED.includes(topic)
    return oneEvent({
      kind: isBuilt || isPromoted ? "deploy" : "update",
      type: text(body, "/payload/deployment/name") ?? text(body, "/payload/project/name"),
      id: text(body, "/payload/deployment/id"),
      topic,
      environment: isPromoted ? "production" : text(body, "/payload/target"),
    })
  },
}
