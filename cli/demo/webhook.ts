import { createHmac } from "node:crypto"

export interface SignedWebhook {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * What Contentful sends when an entry is published, signed as its own toolkit signs: HMAC-SHA256, in hex, over method,
 * path, the named headers and the body.
 *
 * @see https://www.contentful.com/developers/docs/extensibility/webhooks/secrets/
 */
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
  const signed: Record<string, string> = {
    "content-type": "application/vnd.contentful.management.v1+json",
    "x-contentful-signed-headers":
      "content-type,x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic",
    "x-contentful-timestamp": String(now),
    "x-contentful-topic": "ContentManagement.Entry.publish",
  }
  const lines = Object.entries(signed).map(([name, value]) => `${name}:${value}`)
  const canonical = ["POST", path, lines.join(";"), body].join("\n")
  const signature = createHmac("sha256", secret).update(canonical).digest("hex")
  return { headers: { ...signed, "x-contentful-signature": signature }, body }
}
