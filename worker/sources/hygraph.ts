import { toBase64, utf8 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, text } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, timely, unreadable } from "./checks.ts"
import type { EventKind, SourceAdapter, SourceEvent } from "./source.ts"

/**
 * Hygraph: HMAC-SHA256 over a JSON text that holds the body, as a string, the environment and the time.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `kind`, `topic` `operation`. `create` and `update` in the stage `DRAFT` are ignored: what they save is published by
 *                   an operation of its own
 * - `type`, `id`    `data.__typename` and `data.id`
 * - `locale`        one event for each of `data.localizations`
 * - `slug`          of the localization, else `data.slug`
 * - `environment`   `env` in the signature
 *
 * @see https://github.com/hygraph/hygraph-utils/blob/main/index.js
 */

const SIGNATURE_HEADER = "gcms-signature"

/** The one way of writing 32 bytes in base64, and milliseconds since September 2001. */
const SIGNATURE = /^sign=([A-Za-z0-9+/]{43}=), *env=([^,]+), *t=([1-9]\d{12})$/

interface Signature {
  readonly mac: string
  readonly environment: string
  readonly timestamp: number
}

function parseSignature(headers: Headers): Signature | undefined {
  const [, mac, environment, timestamp] = SIGNATURE.exec(headers.get(SIGNATURE_HEADER) ?? "") ?? []
  if (mac === undefined || environment === undefined || timestamp === undefined) return undefined
  return { mac, environment, timestamp: Number(timestamp) }
}

/** What is signed, member for member in this order; undefined where the body is no UTF-8, which nobody signs so. */
function signedText(body: Uint8Array, { environment, timestamp }: Signature): string | undefined {
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
    return JSON.stringify({
      Body: decoder.decode(body),
      EnvironmentName: environment,
      TimeStamp: timestamp,
    })
  } catch {
    return undefined
  }
}

/** What an operation makes visible. undefined: nothing, as drafts are published by an operation of their own. */
function kindOf(operation: string, stage: string | undefined): EventKind | undefined {
  switch (operation) {
    case "publish":
    case "unpublish":
    case "delete":
      return operation
    case "create":
    case "update":
      return stage === "DRAFT" ? undefined : "update"
    default:
      return "update"
  }
}

export const hygraph: SourceAdapter = {
  type: "hygraph",

  async verify({ headers, body }, context) {
    const signature = parseSignature(headers)
    if (!signature) return invalid("The signature is missing, or not sign, env and t in this order.")
    const signed = signedText(body, signature)
    if (signed === undefined) return invalid("The body is no UTF-8.")
    if (!(await isSigned(signature.mac, "SHA-256", utf8(signed), toBase64, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    // A delivery has no id, and without its payload one publish reads like the next.
    const verified = { verdict: "verified", deliveryId: signature.mac, replay: "delivery-id" } as const
    return timely(signature.timestamp, context, verified)
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/operation")
    const type = text(body, "/data/__typename")
    const id = text(body, "/data/id")
    if (topic === undefined) return unreadable("the body names no operation")
    const kind = kindOf(topic, text(body, "/data/stage"))
    if (type === undefined && id === undefined) return unreadable("the body names neither model nor id", kind)
    if (!kind) return ignored(`${topic} of a draft changes nothing published`)
    const environment = parseSignature(said.headers)?.environment
    const told = (locale: string | undefined, slug: string | undefined): SourceEvent =>
      compact({ kind, type, id, locale, slug, environment, topic })
    const slug = text(body, "/data/slug")
    const localized = find(body, "/data/localizations/*").map((localization) =>
      told(text(localization, "/locale"), text(localization, "/slug") ?? slug),
    )
    return { reading: "events", events: localized.length > 0 ? localized : [told(undefined, slug)] }
  },
}
