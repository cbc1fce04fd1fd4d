import { contentful } from "./contentful.ts"
import type { SourceAdapter } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"

/** Every source there is. */
export const SOURCES: readonly SourceAdapter[] = [contentful, standardWebhooks]
