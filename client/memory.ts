import type { Epoch } from "../protocol/epoch.ts"
import type { Answer } from "../protocol/freshness.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Namespaces that one reader holds; of more, those used longest ago are forgotten, and asked again when needed. */
export const MAX_HELD_NAMESPACES = 64

/** Tags and urls that are held of one namespace, likewise. With ordinary tags, some 5 MB in all at the very most. */
const MAX_HELD_TAGS = 1_024

/** What an answer told of one namespace, without its tags, and when the store was asked. */
export interface Row extends Omit<Answer, "tags"> {
  readonly asOf: Milliseconds
  /** When we asked: not before `asOf`, and much later where the store had it from elsewhere. */
  readonly askedAt: Milliseconds
}

/**
 * How long ago the store was asked. One that was asked in the future was asked before our clock went back, nobody
 * knows when: it is as old as can be, or it would be used for as long as the clock went back.
 */
export const ageOf = ({ asOf }: Pick<Row, "asOf">, now: Milliseconds): Milliseconds =>
  asOf > now ? Number.POSITIVE_INFINITY : now - asOf

/** What a reader holds of one namespace. */
export interface Slot {
  row: Row | undefined
  /** Number of the request that gave `row`; 0 for one that a cache had. */
  gave: number
  /**
   * Epochs of tags as they were read under the watermark of `row`. They need no age of their own: while the watermark
   * stands, nothing in the namespace was invalidated.
   */
  readonly tags: Map<string, Epoch>
  /** The store said no to this namespace, and is not asked for it before. */
  refusedUntil: Milliseconds
  /** The store told less than is known. Before this, it is not asked again for what would only say no. */
  laggingUntil: Milliseconds
  usedAt: Milliseconds
  /** Whether requests for other namespaces may ask this one along. */
  along: boolean
}

/** What a reader holds, bounded. */
export class Memory {
  /** In the order of their last use. */
  readonly #slots = new Map<Namespace, Slot>()

  /** The slot of a namespace, made where there is none. */
  use(namespace: Namespace, now: Milliseconds): Slot {
    const slot = this.#slots.get(namespace) ?? emptySlot()
    slot.usedAt = now
    this.#slots.delete(namespace)
    this.#slots.set(namespace, slot)
    const [oldest] = this.#slots.keys()
    if (this.#slots.size > MAX_HELD_NAMESPACES && oldest !== undefined) this.#slots.delete(oldest)
    return slot
  }

  /** The slot of a namespace, without counting as a use. */
  find(namespace: Namespace): Slot | undefined {
    return this.#slots.get(namespace)
  }

  /** Namespaces used since, latest first, that may be asked along with others. */
  usedSince(since: Milliseconds): Namespace[] {
    return [...this.#slots]
      .filter(([, slot]) => slot.along && slot.usedAt >= since)
      .map(([namespace]) => namespace)
      .toReversed()
  }

  /** Forgets every answer: another generation has begun. Not who may not be asked. */
  forgetAnswers(): void {
    for (const slot of this.#slots.values()) {
      slot.row = undefined
      slot.gave = 0
      slot.tags.clear()
      slot.laggingUntil = 0
    }
  }
}

const emptySlot = (): Slot => ({
  row: undefined,
  gave: 0,
  tags: new Map(),
  refusedUntil: 0,
  laggingUntil: 0,
  usedAt: 0,
  along: false,
})

/**
 * Takes an answer in where it is better than what is held: it tells more of the log, or as much and later. One that
 * tells less takes its place only once that has aged past `useUpTo`, when all there is to do is to say no.
 */
export function hold(
  slot: Slot,
  row: Row,
  tags: Iterable<readonly [string, Epoch]>,
  {
    request,
    now,
    useUpTo,
  }: { readonly request: number; readonly now: Milliseconds; readonly useUpTo: Milliseconds },
): void {
  const held = slot.row
  const better =
    held === undefined ||
    held.asOf > now ||
    row.last > held.last ||
    (row.last === held.last && row.asOf >= held.asOf) ||
    (request > 0 && row.asOf >= held.asOf && now - held.asOf >= useUpTo)
  if (better) slot.row = row
  if (better || row.last === held.last) slot.gave = Math.max(slot.gave, request)
  if (better && row.watermark !== held?.watermark) slot.tags.clear()
  if (slot.row?.watermark !== row.watermark) return
  for (const [tag, epoch] of tags) keepTag(slot, tag, epoch)
}

/** Those of an entry's tags that are not held; the others count as just used, so that they stay until it is judged. */
export function missingTags(slot: Slot, tags: readonly string[]): string[] {
  return tags.filter((tag) => {
    const epoch = slot.tags.get(tag)
    if (epoch !== undefined) keepTag(slot, tag, epoch)
    return epoch === undefined
  })
}

function keepTag({ tags }: Slot, tag: string, epoch: Epoch): void {
  tags.delete(tag)
  tags.set(tag, epoch)
  const [oldest] = tags.keys()
  if (tags.size > MAX_HELD_TAGS && oldest !== undefined) tags.delete(oldest)
}
