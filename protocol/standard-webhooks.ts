import { constantTimeEqual, fromBase64, hmac, toBase64, utf8 } from "./bytes.ts"
import { type Milliseconds, MINUTE, SECOND } from "./time.ts"

/**
 * Signing by Standard Webhooks v1: HMAC-SHA256 over `id.timestamp.body`, by a secret `whsec_<base64>`.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */

const PREFIX = "whsec_"

/** The bytes of a `whsec_` secret (the prefix may be missing); undefined when it is not base64 of 1 byte or more. */
export function parseWebhookSecret(secret: string): Uint8Array<ArrayBuffer> | undefined {
  const bytes = fromBase64(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret)
  return bytes && bytes.length > 0 ? bytes : undefined
}

/** The text that is signed, before the body's bytes follow. */
export const signedPrefix = (id: string, timestamp: string): string => `${id}.${timestamp}.`

/**
 * The headers of one delivery.
 *
 * @param secret as it is written, or as `parseWebhookSecret` read it
 * @param timestamp seconds since 1970, of this attempt
 * @throws {TypeError} when the secret is no `whsec_` secret
 */
export async function signWebhook(
  secret: string | Uint8Array<ArrayBuffer>,
  id: string,
  timestamp: number,
  body: string,
): Promise<Record<"webhook-id" | "webhook-timestamp" | "webhook-signature", string>> {
  const key = typeof secret === "string" ? parseWebhookSecret(secret) : secret
  if (!key) throw new TypeError("a webhook secret is whsec_ and base64")
  const seconds = String(Math.floor(timestamp))
  const signature = await hmac("SHA-256", key, utf8(signedPrefix(id, seconds) + body))
  return { "webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": `v1,${toBase64(signature)}` }
}

/** Ours: a signature costs a verification, and whoever sends it is not known yet. */
const MAX_SIGNATURES = 16

/**
 * Whether a delivery is signed by one of the secrets, within five minutes of now in either direction. A secret that is
 * none verifies nothing.
 *
 * @param body byte for byte as it came
 */
export async function verifyWebhook(
  secrets: readonly string[],
  headers: { get(name: string): string | null },
  body: string,
  now: Milliseconds,
): Promise<boolean> {
  const id = headers.get("webhook-id") ?? ""
  const timestamp = headers.get("webhook-timestamp") ?? ""
  if (id === "" || !/^[1-9]\d{0,11}$/.test(timestamp)) return false
  if (Math.abs(now - Number(timestamp) * SECOND) > 5 * MINUTE) return false
  const signatures = (headers.get("webhook-signature") ?? "")
    .split(" ", MAX_SIGNATURES)
    .flatMap((each) => (each.startsWith("v1,") ? (fromBase64(each.slice("v1,".length)) ?? []) : []))
  const signed = utf8(signedPrefix(id, timestamp) + body)
  for (const secret of secrets) {
    const key = parseWebhookSecret(secret)
    if (!key) continue
    const mac = await hmac("SHA-256", key, signed)
    if (signatures.some((bytes) => constantTimeEqual(bytes, mac))) return true
  }
  return false
}
