import { fromBase64, hmac, toBase64, utf8 } from "./bytes.ts"

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
 * @param timestamp seconds since 1970, of this attempt
 * @throws {TypeError} when the secret is no `whsec_` secret
 */
export async function signWebhook(
  secret: string,
  id: string,
  timestamp: number,
  body: string,
): Promise<Record<"webhook-id" | "webhook-timestamp" | "webhook-signature", string>> {
  const key = parseWebhookSecret(secret)
  if (!key) throw new TypeError("a webhook secret is whsec_ and base64")
  const seconds = String(Math.floor(timestamp))
  const signature = await hmac("SHA-256", key, utf8(signedPrefix(id, seconds) + body))
  return { "webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": `v1,${toBase64(signature)}` }
}
