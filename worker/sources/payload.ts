import { readOurBody } from "./our-body.ts"
import type { SourceAdapter } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"

/**
 * Payload CMS, which has no webhooks of its own: by our hooks of a collection (`examples/payload/`), signed by Standard
 * Webhooks. What an event is, is told in `our-body.ts`.
 */
export const payload: SourceAdapter = {
  type: "payload",
  verify: (delivery, context) => standardWebhooks.verify(delivery, context),
  read: readOurBody,
}
