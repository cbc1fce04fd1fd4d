import { ancestors, type Namespace } from "../protocol/namespace.ts"
import { checkTag } from "../protocol/selector.ts"
import { namespaceTag, TAG_RULES, type TagCache } from "../protocol/tags.ts"

export interface TagHeaderOptions {
  /** The cache in front, whose header, alphabet and limits count. Default `"cloudflare"`. */
  readonly inFront?: TagCache
  /** Another name of the header, as CloudFront lets you set one. */
  readonly header?: string
  /** Bytes that the header's value may have. Default: what the cache reads; 0 leaves every tag out. */
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
  { inFront = "cloudflare", header = TAG_RULES[inFront].header, budget }: TagHeaderOptions = {},
): LabelledHeaders {
  const { separator, maxBytes, maxLabels, codec } = TAG_RULES[inFront]
  const labels = new Set<string>()
  const dropped: string[] = []
  let bytes = 0
  const put = (tag: string) => {
    const label = codec.encode(tagPrefix + tag)
    if (labels.has(label)) return
    // Labels are ASCII: characters are bytes.
    const more = label.length + (labels.size > 0 ? separator.length : 0)
    if (bytes + more > (budget ?? maxBytes) || labels.size === maxLabels) {
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
