import type { Epoch, Generation, Stamp } from "./epoch.ts"
import { URL_TAG } from "./selector.ts"

/**
 * Whether a cache entry may still be served, judged from what the store answered. One rule for every client, proven
 * against a model of what a reader was told (freshness.test.ts).
 */

/** One namespace as a look-up answers it: root and ancestors are folded into `epoch` and `hard`. */
export interface NamespaceEpochs {
  /** Last invalidation of the whole namespace, an ancestor, or everything; prefixes and hosts count as whole. */
  readonly epoch: Epoch
  /** Not below `epoch`. A stamp not below it is fresh whatever tags the entry has. */
  readonly watermark: Epoch
  /** Last *hard* invalidation of anything in the chain. */
  readonly hard: Epoch
  /** Below it, tags are no longer known singly: what a tag that is not listed counts as. */
  readonly floor: Epoch
  /** Epochs of the asked tags, and of urls under `u:<url>`; one that is missing counts as `floor`. */
  readonly tags: ReadonlyMap<string, Epoch>
}

/** What a look-up tells of one namespace, with the head it was read under. */
export interface Answer extends NamespaceEpochs {
  readonly generation: Generation
  readonly last: Epoch
}

/** The highest (generation, last) that a reader was ever told. */
export interface HighWater {
  readonly generation: Generation
  readonly last: Epoch
}

/** The stamp for an entry whose origin is read *after* this answer was given. */
export const stampOf = (answer: { readonly generation: Generation; readonly last: Epoch }): Stamp => ({
  generation: answer.generation,
  epoch: answer.last,
})

/**
 * Whether a stamp and an answer are of one log. By equality: after a loss, a clock behind would otherwise revive entries
 * of the generation before. And without a log nobody knows what was invalidated.
 */
const isOfOneLog = (stamp: Stamp, { generation }: HighWater): boolean =>
  generation > 0 && stamp.generation === generation

/** The higher of two marks. A new generation replaces the old one, whatever its size. */
export const raise = (high: HighWater | undefined, seen: HighWater): HighWater =>
  high === undefined || high.generation !== seen.generation || seen.last > high.last
    ? { generation: seen.generation, last: seen.last }
    : high

/** Tags as they are kept: a url is the tag `u:<url>`. */
export const askedTags = (asked: {
  readonly tags?: readonly string[] | undefined
  readonly urls?: readonly string[] | undefined
}): string[] => [...(asked.tags ?? []), ...(asked.urls ?? []).map((url) => URL_TAG + url)]

/**
 * Whether an entry may be served as fresh.
 *
 * @param tags what the entry depends on, as `askedTags` gives it; each must have been asked in the answer
 * @param high the reader's own high-water mark
 */
export function isFresh(stamp: Stamp, answer: Answer, tags: readonly string[], high?: HighWater): boolean {
  if (!isOfOneLog(stamp, answer)) return false
  if (high && high.generation !== answer.generation) return false
  // It tells less than the reader knew, as a lagging replica does: it is used for nothing but to say no.
  if (high && answer.last < high.last) return stamp.epoch >= high.last
  if (stamp.epoch < answer.epoch) return false
  if (stamp.epoch >= answer.watermark) return true
  return tags.every((tag) => stamp.epoch >= (answer.tags.get(tag) ?? answer.floor))
}

/** Whether an entry that is not fresh may be served while it is revalidated: no hard invalidation came after it. */
export function isServable(stamp: Stamp, answer: Answer, high?: HighWater): boolean {
  if (!isOfOneLog(stamp, answer)) return false
  if (high && (high.generation !== answer.generation || answer.last < high.last)) return false
  return stamp.epoch >= answer.hard
}
