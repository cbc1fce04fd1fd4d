import { byteLength } from "../protocol/bytes.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { isTag } from "../protocol/selector.ts"
import type { Publication } from "./epoch-store.ts"

/** Lists of selectors of any length, cut to what one publish takes. */

/** Selectors in one publish. Theirs: `MAX_SELECTORS` of protocol/invalidation.ts. */
const MAX_SELECTORS = 1_000

/** Bytes of selectors in one publish. Ours: the Worker takes a body of 256 KiB, and all else in it is short. */
const MAX_SELECTOR_BYTES = 240 * 1024

const LISTS = ["tags", "urls", "prefixes", "hosts"] as const

/** What is invalidated within one namespace. A list may be empty, and as long as you like. */
export type SelectorLists = Readonly<Partial<Record<(typeof LISTS)[number], readonly string[]>>>

/**
 * What is to be published for these selectors, each of them once: as many publications as it takes for each to be
 * accepted by its count and its bytes; none where there are no selectors. A tag that Tidemark has no name for stands for
 * its whole namespace. Whether a url, prefix or host is a good one is for the store to say.
 */
export function publicationsOf(namespace: Namespace, lists: SelectorLists): Publication[] {
  if (lists.tags?.every(isTag) === false) return [{ namespace }]
  const parts: { readonly lists: Partial<Record<keyof SelectorLists, string[]>> }[] = []
  let count = MAX_SELECTORS
  let bytes = 0
  for (const name of LISTS)
    for (const value of new Set(lists[name])) {
      // As it stands in the body, with the comma behind it.
      const size = byteLength(JSON.stringify(value)) + 1
      if (count >= MAX_SELECTORS || bytes + size > MAX_SELECTOR_BYTES) {
        parts.push({ lists: {} })
        count = 0
        bytes = 0
      }
      const last = parts.at(-1)
      if (last) (last.lists[name] ??= []).push(value)
      count += 1
      bytes += size
    }
  return parts.map((part) => ({ namespace, ...part.lists }))
}

/**
 * Publishes all of them: one that fails keeps no other from being recorded.
 *
 * @throws what the first that failed was rejected with, once all have been tried
 */
export async function publishEach<What>(
  publications: readonly What[],
  publish: (what: What) => Promise<unknown>,
): Promise<void> {
  const outcomes = await Promise.allSettled(publications.map((what) => publish(what)))
  const failed = outcomes.find((outcome) => outcome.status === "rejected")
  if (failed) throw failed.reason
}
