import { createHash, createHmac, randomUUID } from "node:crypto"
import type { SourceType } from "../../protocol/config/source-options.ts"
import { signWebhook } from "../../protocol/standard-webhooks.ts"
import { SECOND, type Milliseconds } from "../../protocol/time.ts"

/** Any body, signed or let in as each type's sender would: bytes that senders did not make themselves are signed too. */

export interface Sent {
  readonly secret: string
  /** Where a delivery carries the secret, of senders that sign nothing; as in the configuration. */
  readonly auth?: string
  /** Path and query of the address that it is sent to. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** As it goes over the wire. */
  readonly body: Uint8Array<ArrayBuffer>
  /** What the signature is over, where that is not what goes over the wire. Default: `body`. */
  readonly signed?: Uint8Array<ArrayBuffer>
  readonly now: Milliseconds
}

/** A request as it goes over the wire; its path may hold the secret. */
export interface SignedRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array<ArrayBuffer>
}

type Headers = Readonly<Record<string, string>>

const mac = (
  hash: string,
  secret: string | Uint8Array,
  form: "hex" | "base64" | "base64url",
  ...parts: readonly (string | Uint8Array)[]
): string => {
  const made = createHmac(hash, secret)
  for (const part of parts) made.update(part)
  return made.digest(form)
}

/** Signs as Contentful does, every header that was given included. */
function contentful(secret: string, path: string, own: Headers, signed: Uint8Array, now: number): Headers {
  const stamped: Record<string, string> = {
    ...own,
    "x-contentful-signed-headers": "",
    "x-contentful-timestamp": String(now),
  }
  const names = Object.keys(stamped).toSorted()
  stamped["x-contentful-signed-headers"] = names.join(",")
  const lines = names.map((name) => `${name}:${stamped[name]}`).join(";")
  return {
    ...stamped,
    "x-contentful-signature": mac("sha256", secret, "hex", `POST\n${path}\n${lines}\n`, signed),
  }
}

async function standard(secret: string, signed: Uint8Array, now: number, own: Headers): Promise<Headers> {
  const id = own["webhook-id"] ?? `msg_${randomUUID()}`
  return { ...(await signWebhook(secret, id, Math.floor(now / SECOND), new TextDecoder().decode(signed))) }
}

function netlify(secret: string, signed: Uint8Array): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const sha256 = createHash("sha256").update(signed).digest("hex")
  const claims = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iss: "netlify", sha256 })}`
  return `${claims}.${mac("sha256", secret, "base64url", claims)}`
}

/** The headers by which a sender proves that it sent this; undefined of one whose deliveries carry a secret. */
async function signatureOf(type: SourceType, sent: Sent, own: Headers): Promise<Headers | undefined> {
  const { secret, now, path } = sent
  const body = sent.signed ?? sent.body
  switch (type) {
    case "contentful":
      return contentful(secret, path, own, body, now)
    case "contentstack": {
      const at = Math.floor(now / SECOND)
      return { "x-contentstack-hmac-signature": `t=${at},v1=${mac("sha256", secret, "hex", `${at}.`, body)}` }
    }
    case "ghost":
      return { "x-ghost-signature": `sha256=${mac("sha256", secret, "hex", body, String(now))}, t=${now}` }
    case "github":
      return {
        "x-github-delivery": randomUUID(),
        ...own,
        "x-hub-signature-256": `sha256=${mac("sha256", secret, "hex", body)}`,
      }
    case "hygraph": {
      const text = new TextDecoder().decode(body)
      const signed = `{"Body":${JSON.stringify(text)},"EnvironmentName":"master","TimeStamp":${now}}`
      return { "gcms-signature": `sign=${mac("sha256", secret, "base64", signed)}, env=master, t=${now}` }
    }
    case "kontent-ai":
      return { "x-kontent-ai-signature": mac("sha256", secret, "base64", body) }
    case "netlify":
      return { "x-webhook-signature": netlify(secret, body) }
    case "payload":
    case "standard-webhooks":
    case "svix":
      return standard(secret, body, now, own)
    case "sanity":
      return {
        "sanity-webhook-signature": `t=${now},v1=${mac("sha256", secret, "base64url", `${now}.`, body)}`,
      }
    case "shopify":
      return {
        "x-shopify-event-id": randomUUID(),
        ...own,
        "x-shopify-hmac-sha256": mac("sha256", secret, "base64", body),
      }
    case "storyblok":
      return { "webhook-signature": mac("sha1", secret, "hex", body) }
    case "vercel":
      return { "x-vercel-signature": mac("sha1", secret, "hex", body) }
    case "webflow":
      return {
        "x-webflow-timestamp": String(now),
        "x-webflow-signature": mac("sha256", secret, "hex", `${now}:`, body),
      }
    case "woocommerce":
      return {
        "x-wc-webhook-delivery-id": randomUUID(),
        ...own,
        "x-wc-webhook-signature": mac("sha256", secret, "base64", body),
      }
    case "wordpress":
      return secret.startsWith("whsec_")
        ? standard(secret, body, now, own)
        : { "x-wp-webhook-signature": mac("sha256", secret, "base64", body) }
    case "adobe-io-events":
      throw new Error("Adobe alone has the key that signs")
    case "builder-io":
    case "datocms":
    case "directus":
    case "drupal":
    case "json":
    case "prismic":
    case "strapi":
      return undefined
  }
}

/** A delivery as the sender of this type makes it; its own headers are those given, in small letters. */
export async function send(type: SourceType, sent: Sent): Promise<SignedRequest> {
  const { path, secret, body } = sent
  const own = { "content-type": "application/json", ...sent.headers }
  const signed = await signatureOf(type, sent, own)
  if (signed) return { path, headers: { ...own, ...signed }, body }
  const [kind, name = ""] = (sent.auth ?? "").split(":")
  switch (kind) {
    case "bearer":
      return { path, headers: { ...own, authorization: `Bearer ${secret}` }, body }
    case "basic":
      return { path, headers: { ...own, authorization: `Basic ${btoa(secret)}` }, body }
    case "header":
      return { path, headers: { ...own, [name]: secret }, body }
    case "query":
      return { path: `${path}${path.includes("?") ? "&" : "?"}${name}=${secret}`, headers: own, body }
    case "body": {
      const told = JSON.parse(new TextDecoder().decode(body)) as object
      const carrying = new TextEncoder().encode(JSON.stringify({ ...told, secret }))
      return { path, headers: own, body: carrying }
    }
    case undefined:
    default:
      throw new Error(`${type} carries its secret where auth says`)
  }
}
