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

/** `stale`: it may be served while it is revalidated. */
export type Usable = "fresh" | "stale"

/** The mark for a value that was made under this stamp. Undefined without one: the value must not be kept. */
export const markOf = (
  stamp: Stamp | undefined,
  tags: readonly string[],
  urls: readonly string[] = [],
): Stamped | undefined => stamp && { stamp: formatStamp(stamp), tags, urls }

/**
 * Whether something with this mark may be served, undefined where it may not: also where the mark is none.
 *
 * @param window how long after a soft invalidation the old value may be served, in milliseconds
 */
export async function judgeMark(
  tidemark: Tidemark,
  namespace: Namespace,
  mark: unknown,
  window: Milliseconds,
  how: ReadOptions,
): Promise<Usable | undefined> {
  const { stamp } = (mark ?? {}) as { readonly stamp?: unknown }
  const parsed = typeof stamp === "string" ? parseStamp(stamp) : undefined
  const judgement = await tidemark.judge(parsed, namespace, dependsOn(mark), how)
  if (judgement.verdict === "fresh") return "fresh"
  return judgement.verdict === "stale" && judgement.staleFor < window ? "stale" : undefined
}

export const readOptions = (waitUntil: WaitUntil | undefined): ReadOptions => (waitUntil ? { waitUntil } : {})

/** Headers by which a response steers caches. */
export const STEERING = /cache-control$|^(?:expires|pragma)$|^surrogate-control/
