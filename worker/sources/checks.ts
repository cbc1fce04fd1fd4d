import { SOURCE_TRAITS, type SourceTraits } from "../../protocol/config/source-options.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { constantTimeEqual, fromBase64, sha256, utf8 } from "../../protocol/bytes.ts"
import type { Delivery, Reading, Said, SourceContext, Verification, Verified } from "./source.ts"

/** What the verification of more than one source does. */

export const invalid = (detail: string): Verification => ({ verdict: "invalid", detail })

/** Every secret of a source. One that the environment lacks stands there empty: it must verify nothing. */
export const secretsOf = ({ config }: SourceContext): string[] =>
  [config.secret].flat().filter((secret) => secret !== "")

/** What a right signature is worth at its time: `verified` within the tolerance of now, both ways, else stale. */
export function timely(
  signedAt: Milliseconds,
  { config, now }: SourceContext,
  verified: Verified,
): Verification {
  const traits: SourceTraits = SOURCE_TRAITS[config.type]
  const tolerance = config.tolerance ?? traits.tolerance ?? 0
  const offset = now() - signedAt
  if (Math.abs(offset) <= tolerance) return verified
  return { verdict: "stale", detail: `It was signed too ${offset > 0 ? "long ago" : "far in the future"}.` }
}

/** The body as an object, or why it is none: what most senders send. */
export function objectOf({ body }: Said): Readonly<Record<string, unknown>> | undefined {
  return body !== null && typeof body === "object" && !Array.isArray(body)
    ? (body as Readonly<Record<string, unknown>>)
    : undefined
}

export const unreadable = (note = "the body is no JSON object"): Reading => ({ reading: "unreadable", note })

/** Texts of any length in constant time: by their digests, so that not even the length shows. */
async function isSameText(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([sha256(utf8(a)), sha256(utf8(b))])
  return constantTimeEqual(left, right)
}

/**
 * Whether a delivery that nobody signed carries one of the source's secrets where `auth` of the configuration says:
 * `bearer`, `basic` (the secret is `user:password`), `header:NAME`, `query:NAME`, or `body` (the member `secret`).
 */
export async function isAuthorised(delivery: Delivery, context: SourceContext): Promise<boolean> {
  const given = presented(delivery, context.config.auth ?? "")
  if (given === undefined || given === "") return false
  let isKnown = false
  // Every one is compared, whichever fits: how long it takes says nothing of which it was.
  for (const secret of secretsOf(context)) if (await isSameText(given, secret)) isKnown = true
  return isKnown
}

function presented({ headers, path, body }: Delivery, auth: string): string | undefined {
  const [kind, name = ""] = auth.split(":")
  const authorization = headers.get("authorization") ?? ""
  switch (kind) {
    case "bearer":
      return /^Bearer +(\S+)$/i.exec(authorization)?.[1]
    case "basic": {
      const bytes = fromBase64(/^Basic +(\S+)$/i.exec(authorization)?.[1] ?? "")
      return bytes && new TextDecoder().decode(bytes)
    }
    case "header":
      return headers.get(name) ?? undefined
    case "query":
      return new URLSearchParams(path.split("?")[1] ?? "").get(name) ?? undefined
    case "body":
      return secretInside(body)
    case undefined:
    default:
      return undefined
  }
}

function secretInside(body: Uint8Array<ArrayBuffer>): string | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body))
    const secret: unknown =
      value !== null && typeof value === "object" ? Reflect.get(value, "secret") : undefined
    return typeof secret === "string" ? secret : undefined
  } catch {
    return undefined
  }
}
