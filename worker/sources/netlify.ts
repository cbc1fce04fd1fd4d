import {
  constantTimeEqual,
  fromBase64,
  parseJsonBytes,
  sha256,
  toBase64Url,
  toHex,
  utf8,
} from "../../protocol/bytes.ts"
import { find, text } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, unreadable } from "./checks.ts"
import type { SourceAdapter } from "./source.ts"

/**
 * Netlify: a JWS by HS256 whose claims name Netlify and the SHA-256 of the body.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `kind`         `deploy` for a deploy that is ready; what is still being built, failed or is a preview is ignored
 * - `type`         the site's name
 * - `id`           of the deploy
 * - `environment`  the context: `production`, `branch-deploy`, or as it is called
 * - `version`      the commit
 *
 * @see https://docs.netlify.com/site-deploys/notifications/#payload-signature
 */

/** States of a deploy that nobody is served yet, or never. Any other one may be live. */
const UNFINISHED = [
  "new",
  "pending_review",
  "accepted",
  "rejected",
  "enqueued",
  "building",
  "uploading",
  "uploaded",
  "preparing",
  "prepared",
  "processing",
  "processed",
  "error",
  "retrying",
]

const BASE64URL = /^[A-Za-z0-9_-]+$/

/** One part of a JWS as JSON; undefined for what is none. */
function decode(part: string): unknown {
  const padding = "=".repeat((4 - (part.length % 4)) % 4)
  const bytes = fromBase64(part.replaceAll("-", "+").replaceAll("_", "/") + padding)
  return bytes && parseJsonBytes(bytes)
}

export const netlify: SourceAdapter = {
  type: "netlify",

  async verify({ headers, body }, context) {
    const parts = (headers.get("x-webhook-signature") ?? "").split(".")
    const [header = "", claims = "", signature = ""] = parts
    if (parts.length !== 3 || !parts.every((part) => BASE64URL.test(part))) {
      return invalid("The signature is missing or no JWS.")
    }
    // The configuration chooses the algorithm, never the delivery.
    if (find(decode(header), "/alg")[0] !== "HS256") return invalid("The JWS is not by HS256.")
    if (!(await isSigned(signature, "SHA-256", utf8(`${header}.${claims}`), toBase64Url, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    const told = decode(claims)
    if (find(told, "/iss")[0] !== "netlify") return invalid("The JWS is not issued by Netlify.")
    const digest = toHex(await sha256(body))
    const [claimed] = find(told, "/sha256")
    if (typeof claimed !== "string" || !constantTimeEqual(digest, claimed)) {
      return invalid("The JWS is of another body.")
    }
    // No time is signed, and whether a deploy that is restored reads as it did before is not known.
    return { verdict: "verified", replay: "none" }
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const state = text(body, "/state")
    if (state === undefined) return unreadable("no state says what became of a deploy")
    if (UNFINISHED.includes(state)) return ignored(`the deploy is ${state}`)
    const context = text(body, "/context")
    if (context === "deploy-preview") return ignored("the deploy is a preview")
    return oneEvent({
      kind: "deploy",
      type: text(body, "/name"),
      id: text(body, "/id"),
      environment: context,
      version: text(body, "/commit_ref"),
    })
  },
}
