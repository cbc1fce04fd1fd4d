import { contentful } from "./contentful.ts"
import { json } from "./json.ts"
import type { SourceAdapter } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"

/** Every source there is. */
export const SOURCES: readonly SourceAdapter[] = [contentful, json, standardWebhooks]
