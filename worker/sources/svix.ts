import { signedByStandardWebhooks } from "./standard-webhooks.ts"

/**
 * Svix: Standard Webhooks under header names of its own, or under the standard ones where its customer asked for that.
 * What an event is, is told there.
 *
 * @see https://docs.svix.com/receiving/verifying-payloads/how-manual
 */
export const svix = signedByStandardWebhooks("svix", ["svix", "webhook"])
