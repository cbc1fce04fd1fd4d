import { member, tidy } from "./answer.ts"
import type { Reading } from "./answer.ts"

/** Cloudflare's errors, as its purges, its KV and all else of its API have them. It publishes no list of them. */

/**
 * About who asks. What was seen:
 *
 * - 6003 "Invalid request headers", by 400, with 6103 and 6111 below it: a key or token of no form
 *   (https://github.com/cloudflare/cloudflare-go/issues/643,
 *   https://github.com/jakejarvis/cloudflare-purge-action/issues/1)
 * - 9103, 9106, 9107, 9109: a key or token that is missing, unknown or over, by 400 or 403, in logs of wrangler
 * - 10000 "Authentication error" and 10001: it may not do that (https://github.com/favonia/cloudflare-ddns/issues/897)
 */
const KEYS = /^(?:6003|61\d\d|91\d\d|10000|10001)$/

/**
 * About what is asked for:
 *
 * - 7000 to 7003: no such route, method or object, by 404 or 400: an account's id or a zone's name where its id should
 *   be (https://github.com/lukesUbuntu/cloudflare-api/issues/4, https://github.com/putyourlightson/craft-cloudflare/issues/90)
 * - 1107 "Only enterprise zones can purge by tag." (https://github.com/cloudflare/cloudflare-php/pull/25)
 * - 1136: no purge by URL in that environment (the types of the npm package `cloudflare`)
 * - 10013 "namespace not found", of KV (https://github.com/cloudflare/wrangler-legacy/pull/458)
 */
const PLACE = /^(?:700\d|1107|1136|10013)$/

/** The same in words, for codes that nobody wrote down. No value has a space in it. */
const PLACE_WORDS =
  /\b(?:zone|object|account) identifier\b|\bonly enterprise\b|\bnot entitled\b|\b(?:zone|account) (?:is |has been )?(?:not active|inactive|suspended|locked|deactivated)\b/i

/**
 * What the body of a rate-limited purge says is not documented; older answers said this, and not always by a 429.
 * Taken for a refusal it would be cut into ever more calls.
 *
 * @see https://github.com/danielpigott/cloudflare-cli/issues/15
 */
const RATE_LIMITED = /\brate limit (?:reached|enforced)\b/i

export interface CloudflareErrors extends Pick<Reading, "about"> {
  /** Codes and messages. */
  readonly said: string
  /** The codes alone. */
  readonly codes: string
}

/** What its errors say, and whose matter that is. About values are 1016, 1082, 1100, 1315, and whatever else there is. */
export function cloudflareErrors(body: unknown, token: string): CloudflareErrors {
  const errors = member(body, "errors")
  const all = (Array.isArray(errors) ? errors : []).map((each: unknown) => ({
    code: String(member(each, "code")),
    message: String(member(each, "message")),
  }))
  const said = tidy(all.map(({ code, message }) => `${code} ${message}`).join("; "), [token])
  const codes = tidy(all.map(({ code }) => code).join(", "), [token])
  const has = (known: RegExp) => all.some(({ code }) => known.test(code))
  const aboutOf = (): Reading["about"] => {
    if (RATE_LIMITED.test(said)) return "vendor"
    if (has(KEYS)) return "keys"
    return has(PLACE) || PLACE_WORDS.test(said) ? "place" : undefined
  }
  return { said, codes, about: aboutOf() }
}
