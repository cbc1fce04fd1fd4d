import { SOURCE_TRAITS, type SourceTraits } from "../../protocol/config/source-options.ts"
import { compact } from "../../protocol/invalidation.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { constantTimeEqual, fromBase64, hmac, sha256, utf8 } from "../../protocol/bytes.ts"
import { parseBody } from "./body.ts"
import type {
  Delivery,
  EventKind,
  Reading,
  Said,
  SourceContext,
  SourceEvent,
  Verification,
  Verified,
} from "./source.ts"

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

/** @param kind what happened, where that much is known: what must no longer be seen is purged as a whole too */
export const unreadable = (note = "the body is no JSON object", kind?: EventKind): Reading => ({
  reading: "unreadable",
  note,
  ...(kind && { kind }),
})

export const ignored = (note: string): Reading => ({ reading: "ignored", note })

/** A list that names something: one that is empty, or holds an empty one, tells nobody what changed. */
export const isTagList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.length > 0 && value.every((tag) => typeof tag === "string" && tag !== "")

/** One event, of whose members those are left out that have no value. */
export const oneEvent = (
  event: { [K in keyof SourceEvent]: SourceEvent[K] | undefined } & Pick<SourceEvent, "kind">,
): Reading => ({ reading: "events", events: [compact(event)] })

/** Whether what was given, as the sender writes it, is the MAC of these bytes by any secret of the source. */
export async function isSigned(
  given: string,
  hash: "SHA-1" | "SHA-256",
  signed: Uint8Array<ArrayBuffer>,
  write: (mac: Uint8Array) => string,
  context: SourceContext,
): Promise<boolean> {
  let isKnown = false
  // Every one is compared, whichever fits: how long it takes says nothing of which it was.
  for (const secret of secretsOf(context)) {
    const mac = write(await hmac(hash, utf8(secret), signed))
    if (constantTimeEqual(mac, given)) isKnown = true
  }
  return isKnown
}

/** Where a body carries its secret, by `auth: "body"`. */
const SECRET_MEMBER = "secret"

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

/** The verdict over a delivery that nobody signed: by the secret that it carries, and by nothing else. */
export async function verifyCarried(delivery: Delivery, context: SourceContext): Promise<Verification> {
  if (await isAuthorised(delivery, context)) return { verdict: "verified", replay: "none" }
  return invalid("Where the source's auth says, there is none of its secrets.")
}

/** A body without the member in which it may carry a secret: no rule and no pointer can reach it then. */
export function withoutSecret(body: unknown): unknown {
  if (body === null || typeof body !== "object" || Array.isArray(body)) return body
  return Object.fromEntries(Object.entries(body).filter(([name]) => name !== SECRET_MEMBER))
}

function presented(delivery: Delivery, auth: string): string | undefined {
  const { headers, path } = delivery
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
      return secretInside(delivery)
    case undefined:
    default:
      return undefined
  }
}

function secretInside(delivery: Delivery): string | undefined {
  const value = parseBody(delivery)
  const secret: unknown =
    value !== null && typeof value === "object" ? Reflect.get(value, SECRET_MEMBER) : undefined
  return typeof secret === "string" ? secret : undefined
}
