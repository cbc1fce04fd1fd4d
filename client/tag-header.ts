import { ancestors, type Namespace } from "../protocol/namespace.ts"
import { isTag } from "../protocol/selector.ts"
import type { TagRules } from "../protocol/tag-rules.ts"
import { namespaceTag, overflowTag } from "../protocol/tags.ts"

/**
 * What passes servers in between by their defaults. nginx has the least room: all headers of a response, and where it
 * caches its own notes too, in one page of memory, 4 KiB on most machines; 502 where they have more. Half of it is left
 * for the other headers.
 *
 * @see https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffer_size
 */
const PASSES: number = 2 * 1_024

export interface LabelOptions {
  /** Another name of the header, as CloudFront lets you set one. */
  readonly header?: string
  /**
   * Bytes that the header's value may have. Default 2,048, or what the cache reads where that is less; 0 leaves every
   * tag out. Servers in between refuse a response whose headers are too large, which takes the page down.
   */
  readonly budget?: number
  /**
   * Put before every tag, `ns/` tags included, as the namespace's `tagPrefix` in the configuration says; look-ups are
   * not concerned. Default `""`: none.
   */
  readonly tagPrefix?: string
}

export interface Labels {
  /** One header, or none where nothing fitted. */
  readonly headers: Readonly<Record<string, string>>
  /** What parts two labels in it. */
  readonly separator: string
  /**
   * What is not in it: tags that did not fit, or are no tags. The labels of its namespaces are put in first, then
   * `ns/<name>/+` where some tag had no room: by those the cache in front still purges the response, the latter with
   * any tag of the namespace unless its `overflowTag` is `false`.
   */
  readonly dropped: readonly string[]
}

/**
 * Labels a response of a namespace with its tags, for the cache in front: writes into its headers, behind what is there.
 *
 * @returns what did not fit, as in `Labels`
 */
export type Labeller = (headers: Headers, namespace: Namespace, tags: readonly string[]) => readonly string[]

/**
 * The labeller for a cache: `labelsFor(cloudflare)` writes `Cache-Tag`.
 *
 * @param inFront the cache, whose header, alphabet and limits count
 */
export const labelsFor =
  (inFront: TagRules, options?: LabelOptions): Labeller =>
  (headers, namespace, tags) => {
    const { header = inFront.header } = options ?? {}
    const present = headers.get(header) ?? ""
    const labels = labelled(namespace, tags, inFront, options, present)
    for (const [name, value] of Object.entries(labels.headers))
      headers.set(name, present ? present + labels.separator + value : value)
    return labels.dropped
  }

const budgetOf = ({ maxBytes }: TagRules): number => Math.min(PASSES, maxBytes)

/** The header that labels a response for the cache in front, so that it can be purged by what it was labelled with. */
export const tagHeader = (
  namespace: Namespace,
  tags: readonly string[],
  inFront: TagRules,
  options?: LabelOptions,
): Labels => labelled(namespace, tags, inFront, options, "")

/** @param present what the header says already */
function labelled(
  namespace: Namespace,
  tags: readonly string[],
  inFront: TagRules,
  { header = inFront.header, budget = budgetOf(inFront), tagPrefix = "" }: LabelOptions = {},
  present: string,
): Labels {
  const { separator, maxLabels, codec } = inFront
  const taken = present === "" ? 0 : present.length + separator.length
  const takenLabels = present === "" ? 0 : present.split(separator.trim() || " ").length
  const own = [namespace, ...ancestors(namespace)].map(namespaceTag)
  const overflow = overflowTag(namespace)
  // These go in whatever else is there: by them all of a namespace can be purged, and what had no room.
  const always = new Set([...own, overflow])
  const put = (asked: readonly string[]): { labels: ReadonlySet<string>; left: readonly string[] } => {
    const labels = new Set<string>()
    const left: string[] = []
    let bytes = 0
    for (const tag of asked) {
      const label = codec.encode(tagPrefix + tag)
      if (labels.has(label)) continue
      // Labels are ASCII: characters are bytes.
      const more = label.length + (labels.size > 0 ? separator.length : 0)
      const [most, room] = always.has(tag) ? [maxLabels, budget] : [maxLabels - takenLabels, budget - taken]
      if (bytes + more > room || labels.size >= most) {
        left.push(tag)
      } else {
        labels.add(label)
        bytes += more
      }
    }
    return { labels, left }
  }
  const distinct = [...new Set(tags)]
  const valid = distinct.filter(isTag)
  const all = put([...own, ...valid])
  const { labels, left } = all.left.length === 0 ? all : put([...own, overflow, ...valid])
  const isIn = new Set([...own, ...valid])
  for (const tag of left) isIn.delete(tag)
  const dropped = [...own, ...distinct].filter((tag) => !isIn.has(tag))
  return { headers: labels.size > 0 ? { [header]: [...labels].join(separator) } : {}, separator, dropped }
}
