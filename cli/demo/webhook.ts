import { createHmac } from "node:crypto"

export interface SignedWebhook {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What Contentful sends when an entry is published. */
export function contentfulPublish(
  secret: string,
  path: string,
  id: string,
  revision: number,
  now: number,
): SignedWebhook {
  const body = JSON.stringify({
    sys: {
      type: "Entry",
      id,
      revision,
      contentType: { sys: { type: "Link", linkType: "ContentType", id: "post" } },
    },
    fields: { title: { "en-US": `Revision ${revision}` } },
  })
  return signContentful(secret, path, body, now)
}

/**
 * Signs as Contentful's own toolkit does: HMAC-SHA256, in hex, over method, path, the named headers and the body.
 *
 * @see https://www.contentful.com/developers/docs/extensibility/webhooks/secrets/
 */
export function signContentful(
  secret: string,
  path: string,
  body: string,
  now: number,
  { topic = "ContentManagement.Entry.publish" }: { readonly topic?: string } = {},
): SignedWebhook {
  const signed: Record<string, string> = {
    "content-type": "application/vnd.contentful.management.v1+json",
    "x-contentful-signed-headers":
      "content-type,x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic",
    "x-contentful-timestamp": String(now),
    "x-contentful-topic": topic,
  }
  const lines = Object.entries(signed).map(([name, value]) => `${name}:${value}`)
  const canonical = ["POST", path, lines.join(";"), body].join("\n")
  const signature = createHmac("sha256", secret).update(canonical).digest("hex")
  return { headers: { ...signed, "x-contentful-signature": signature }, body }
}
