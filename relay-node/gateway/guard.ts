import { createHash, timingSafeEqual } from "node:crypto"
import { createMiddleware } from "hono/factory"
import { isHostAllowed } from "../host.ts"
import type { GatewaySettings } from "./options.ts"
import { Refused } from "./request.ts"

/** What Upstash takes; PUT means POST and HEAD means GET. */
const METHODS = ["GET", "HEAD", "POST", "PUT"]

/**
 * Refuses what may not ask at all, before a byte of a body is read: 421 for a foreign `Host`, 405 for another method,
 * 401 without the token, as `Authorization: Bearer` or `?_token=`.
 */
export const guard = (settings: GatewaySettings) => {
  const expected = digest(settings.token)
  return createMiddleware(async function guarded(c, next) {
    if (!isHostAllowed(c.req.header("host"), settings)) {
      throw new Refused(421, "ERR this gateway does not answer to that Host")
    }
    if (!METHODS.includes(c.req.method)) {
      throw new Refused(405, "ERR method not allowed", { allow: METHODS.join(", ") })
    }
    const bearer = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1]
    if (!timingSafeEqual(digest(bearer ?? c.req.query("_token") ?? ""), expected)) {
      throw new Refused(401, "WRONGPASS invalid or missing auth token", { "www-authenticate": "Bearer" })
    }
    return next()
  })
}

/** Digests are of one length, which the comparison needs, and tell nothing of where two tokens differ. */
const digest = (token: string): Buffer => createHash("sha256").update(token).digest()
