import { formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { dependsOn } from "./page.ts"
import type { ReadOptions, Tidemark } from "./tidemark.ts"

/** The mark that `tidemark/nitro` and `tidemark/nuxt` keep beside a value, and how it is judged. */

/** What is kept with a value: the stamp under which it was made, and what it depends on. */
export interface Stamped {
  readonly stamp: string
  readonly tags: readonly string[]
  readonly urls: readonly string[]
}

/** The mark for a value that was made under this stamp. Undefined without one: the value must not be kept. */
export const markOf = (
  stamp: Stamp | undefined,
  tags: readonly string[],
  urls: readonly string[] = [],
): Stamped | undefined => stamp && { stamp: formatStamp(stamp), tags, urls }

/**
 * How long ago something with this mark was softly invalidated, in milliseconds: below 0 where it is fresh, `Infinity`
 * where it must not be served, also where the mark is none.
 */
export async function staleFor(
  tidemark: Tidemark,
  namespace: Namespace,
  mark: unknown,
  how: ReadOptions,
): Promise<Milliseconds> {
  const { stamp } = (mark ?? {}) as { readonly stamp?: unknown }
  const parsed = typeof stamp === "string" ? parseStamp(stamp) : undefined
  const judgement = await tidemark.judge(parsed, namespace, dependsOn(mark), how)
  if (judgement.verdict === "fresh") return -1
  return judgement.verdict === "stale" ? judgement.staleFor : Infinity
}

export const readOptions = (waitUntil: WaitUntil | undefined): ReadOptions => (waitUntil ? { waitUntil } : {})

/** `stale`: it may be served while it is revalidated. */
export type Usable = "fresh" | "stale"

/** Whether what is stale for so long may be served. */
export const usableFor = (stale: Milliseconds, window: Milliseconds): Usable | undefined =>
  stale < 0 ? "fresh" : stale < window ? "stale" : undefined
