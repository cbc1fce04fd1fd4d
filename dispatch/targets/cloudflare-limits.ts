/** What Cloudflare's purges share, whether of a zone or of a Worker's own cache. */

export type Plan = "free" | "pro" | "business" | "enterprise"

/**
 * Of urls, tags, hosts and prefixes alike, on every plan (urls: 500 on Enterprise, which is not used here).
 *
 * @see https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits
 */
export const MAX_ITEMS = 100

/**
 * Calls that name tags, hosts, prefixes or everything. An account's zones of one plan share them, and purging and
 * invalidating draw on the same.
 *
 * @see https://developers.cloudflare.com/cache/how-to/purge-cache/#hostname-tag-prefix-url-and-purge-everything-limits
 */
export const CALLS: Record<Plan, { readonly perSecond: number; readonly burst: number }> = {
  free: { perSecond: 5 / 60, burst: 25 },
  pro: { perSecond: 5, burst: 25 },
  business: { perSecond: 10, burst: 50 },
  enterprise: { perSecond: 50, burst: 500 },
}

/** "Under 150 ms" for half of them: https://blog.cloudflare.com/instant-purge/ */
export const PROPAGATION = 150
