import { epochToMs } from "../../protocol/epoch.ts"
import { MAX_BODY_BYTES, MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { parseWebhookSecret, signWebhook } from "../../protocol/standard-webhooks.ts"
import { PORTABLE_CODEC } from "../../protocol/tags.ts"
import { isoTime, SECOND } from "../../protocol/time.ts"
import { address, ask, byStatus } from "./answer.ts"
import type { Batch, Capabilities, Kind, KindCapability, TargetConfigOf, TargetDriver } from "./target.ts"

/** Ours: what stands around the values (at most 200 names and times), and the quotes and comma of each. */
const ENVELOPE_BYTES = 1_024
const QUOTES_BYTES = 2

const ANY: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_SELECTORS }

const CAPABILITIES: Capabilities = {
  kinds: { tag: ANY, url: ANY, prefix: ANY, host: ANY, namespace: ANY, everything: ANY },
  mixed: true,
  // JSON writes `"` and `\` as two bytes: were a value nothing else, it would double.
  maxBytes: Math.floor((MAX_BODY_BYTES - ENVELOPE_BYTES - MAX_SELECTORS * QUOTES_BYTES) / 2),
  tags: PORTABLE_CODEC,
  isIdempotent: true,
}

/**
 * Anything that takes a signed webhook: an invalidation is delivered as it is, by Standard Webhooks, and the receiver
 * does what its cache needs. `endpoint`, where given, stands in for `url`.
 */
export const http: TargetDriver<TargetConfigOf<"http">> = {
  type: "http",
  capabilities: () => CAPABILITIES,
  pace: () => [],
  create(config, surroundings) {
    const { href, host } =
      config.endpoint === undefined ? address("url", config.url) : address("endpoint", config.endpoint)
    const { secret } = config
    if (!secret.startsWith("whsec_") || !parseWebhookSecret(secret))
      throw new TypeError("secret is not whsec_ and base64")
    return {
      async purge(batch, signal) {
        const body = JSON.stringify(payloadOf(batch))
        const signature = await signWebhook(secret, batch.id, surroundings.now() / SECOND, body)
        const headers = { "content-type": "application/json", ...signature }
        const answer = await ask(surroundings, host, href, { method: "POST", headers, body }, signal)
        return "outcome" in answer ? answer : byStatus(host, answer, surroundings.now())
      },
    }
  },
}

/** What is delivered. Every list is always there; `namespaces` holds those that are invalidated as a whole. */
interface Payload {
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

function payloadOf({ tenant, mode, values, epochs }: Batch): Payload {
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
