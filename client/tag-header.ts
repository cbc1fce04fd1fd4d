import { ancestors, type Namespace } from "../protocol/namespace.ts"
import { checkTag } from "../protocol/selector.ts"
import { namespaceTag, PORTABLE_CODEC, TAG_HEADERS, type TagHeader } from "../protocol/tags.ts"

/**
 * What each cache reads of its header, less a little; the rest it cuts or ignores, without a word.
 *
 * - `cache-tag` 16 KiB, 1,000 tags (Cloudflare); `surrogate-key` 16 KiB (Fastly)
 * - `xkey` the longest header line that Varnish takes by default, 8 KiB
 * - `edge-cache-tag` 128 tags (Akamai); `cdn-tag` 1 KiB (Bunny)
 * - `netlify-cache-tag` 500 tags; `vercel-cache-tag` 128 tags
 */
const BUDGETS: Readonly<Record<TagHeader, { readonly bytes: number; readonly labels: number }>> = {
  "cache-tag": { bytes: 16_000, labels: 1_000 },
  "surrogate-key": { bytes: 16_000, labels: 1_000 },
  xkey: { bytes: 8_000, labels: 1_000 },
  "edge-cache-tag": { bytes: 8_000, labels: 128 },
  "cdn-tag": { bytes: 1_000, labels: 128 },
  "netlify-cache-tag": { bytes: 16_000, labels: 500 },
  "vercel-cache-tag": { bytes: 16_000, labels: 128 },
}

export interface TagHeaderOptions {
  /** The header that the cache in front reads. Default `cache-tag`. */
  readonly header?: TagHeader
  /** Bytes that the header's value may have. Default: what the header's cache reads; 0 leaves every tag out. */
  readonly budget?: number
}

export interface LabelledHeaders {
  /** One header, or none where nothing fitted. */
  readonly headers: Readonly<Record<string, string>>
  /**
   * What is not in it: tags that did not fit, or are no tags. The cache in front cannot purge a response by these; by
   * its namespace it still can, as those labels are put in first, unless they stand here too.
   */
  readonly dropped: readonly string[]
}

/** The header that labels a response for the cache in front, so that it can be purged by what it was labelled with. */
export function tagHeader(
  namespace: Namespace,
  tags: readonly string[],
  tagPrefix: string,
  { header = "cache-tag", budget = BUDGETS[header].bytes }: TagHeaderOptions = {},
): LabelledHeaders {
  const separator = TAG_HEADERS[header]
  const labels = new Set<string>()
  const dropped: string[] = []
  let bytes = 0
  const put = (tag: string) => {
    const label = PORTABLE_CODEC.encode(tagPrefix + tag)
    if (label !== undefined && labels.has(label)) return
    // Labels are ASCII: characters are bytes.
    const more = (label?.length ?? 0) + (labels.size > 0 ? separator.length : 0)
    if (label === undefined || bytes + more > budget || labels.size === BUDGETS[header].labels) {
      dropped.push(tag)
      return
    }
    labels.add(label)
    bytes += more
  }
  for (const name of [namespace, ...ancestors(namespace)]) put(namespaceTag(name))
  for (const tag of new Set(tags)) {
    if ("value" in checkTag(tag)) put(tag)
    else dropped.push(tag)
  }
  return { headers: labels.size > 0 ? { [header]: [...labels].join(separator) } : {}, dropped }
}
