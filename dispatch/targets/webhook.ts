import { epochToMs } from "../../protocol/epoch.ts"
import { MAX_BODY_BYTES, MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { parseWebhookSecret, signWebhook } from "../../protocol/standard-webhooks.ts"
import { isoTime, SECOND } from "../../protocol/time.ts"
import { address, type Answer, ask, type Trouble } from "./answer.ts"
import type { Batch, Kind, Surroundings } from "./target.ts"

/** An invalidation as a signed webhook, for the targets whose receiver is the user's own. */

/** Ours: what stands around the values (at most 200 names and times), and the quotes and comma of each. */
const ENVELOPE_BYTES = 1_024
const QUOTES_BYTES = 2

/**
 * Most bytes that the values of one delivery may have. JSON writes `"` and `\` as two bytes: were a value nothing else,
 * it would double.
 */
export const MAX_VALUE_BYTES = Math.floor(
  (MAX_BODY_BYTES - ENVELOPE_BYTES - MAX_SELECTORS * QUOTES_BYTES) / 2,
)

export interface WebhookOptions {
  readonly url: string
  /** Stands in for `url`. */
  readonly endpoint?: string | undefined
  /** `whsec_` and base64. */
  readonly secret: string
}

export interface Webhook {
  /** Whom to name in a detail: the address may hold a secret. */
  readonly host: string
  /** Delivers once, signed by Standard Webhooks. Never rejects. */
  deliver(batch: Batch, signal: AbortSignal): Promise<Answer | Trouble>
}

/** @throws {TypeError} naming the option that is not usable, and no value */
export function webhook({ url, endpoint, secret }: WebhookOptions, surroundings: Surroundings): Webhook {
  const { href, host } = endpoint === undefined ? address("url", url) : address("endpoint", endpoint)
  const key = secret.startsWith("whsec_") ? parseWebhookSecret(secret) : undefined
  if (!key) throw new TypeError("secret is not whsec_ and base64")
  return {
    host,
    async deliver(batch, signal) {
      const body = JSON.stringify(payloadOf(batch))
      const signature = await signWebhook(key, batch.id, surroundings.now() / SECOND, body)
      const headers = { "content-type": "application/json", ...signature }
      return ask(surroundings, host, href, { method: "POST", headers, body }, signal)
    },
  }
}

/** What a receiver may not like of us, whatever it is. */
export const MEND = { keys: ["secret"], place: ["url"] }

/** What is delivered. Every list is always there; `namespaces` holds those that are invalidated as a whole. */
export interface Payload {
  readonly type: "tidemark.invalidation"
  readonly timestamp: string
  readonly data: {
    readonly tenant: string
    readonly mode: Batch["mode"]
    readonly namespaces: readonly string[]
    readonly tags: readonly string[]
    readonly urls: readonly string[]
    readonly prefixes: readonly string[]
    readonly hosts: readonly string[]
    readonly everything: boolean
    readonly epochs: Batch["epochs"]
  }
}

export function payloadOf({ tenant, mode, values, epochs }: Batch): Payload {
  const of = (kind: Kind): string[] => values.filter((each) => each.kind === kind).map(({ value }) => value)
  return {
    type: "tidemark.invalidation",
    // When the last of it was accepted, not when it is sent: a retry carries the same body.
    timestamp: isoTime(epochToMs(epochs.last)),
    data: {
      tenant,
      mode,
      namespaces: of("namespace"),
      tags: of("tag"),
      urls: of("url"),
      prefixes: of("prefix"),
      hosts: of("host"),
      everything: values.some(({ kind }) => kind === "everything"),
      epochs: { first: epochs.first, last: epochs.last },
    },
  }
}
