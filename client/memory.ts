import type { Epoch } from "../protocol/epoch.ts"
import type { Answer } from "../protocol/freshness.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Namespaces that one reader holds; of more, the one used longest ago is forgotten, and asked again when needed. */
export const MAX_HELD_NAMESPACES = 64

/**
 * Tags and urls that are held of one namespace; of more, those told first are forgotten. With ordinary tags, some 5 MB
 * in all at the very most.
 */
export const MAX_HELD_TAGS = 1_024

/** What an answer told of one namespace, and when the store was asked. */
export interface Row extends Answer {
  /** Epochs of tags as they are under this row: what it tells has changed since is kept up with. */
  readonly tags: Map<string, Epoch>
  readonly asOf: Milliseconds
  /** When we asked: not before `asOf`, and much later where the store had it from elsewhere. */
  readonly askedAt: Milliseconds
}

/** An answer before its tags are joined with those that are held. */
export interface Told extends Omit<Row, "tags"> {
  /** Those that were asked, in the form of `askedTags`. */
  readonly asked: Iterable<readonly [string, Epoch]>
  /** All that changed after an epoch; null where the store could not say. */
  readonly changed: ReadonlyMap<string, Epoch> | null
  readonly after: Epoch
}

/**
 * How long ago we asked. What was asked in the future was asked before our clock went back, nobody knows when: it is as
 * old as can be, or it would be used for as long as the clock went back.
 */
export const ageOf = ({ askedAt }: Row, now: Milliseconds): Milliseconds =>
  askedAt > now ? Infinity : now - askedAt

/** What a reader holds of one namespace. */
export interface Slot {
  row?: Row
  /** Number of the request that gave `row`; 0 for one that a cache had, -1 where the store has refused this namespace since. */
  gave: number
  /** A tag that is not held was not invalidated after this. */
  knownSince: Epoch
  /** The store said no to this namespace, and is not asked for it before. */
  refusedUntil: Milliseconds
  /** The store told less than is known. Before this, it is not asked again for what would only say no. */
  laggingUntil: Milliseconds
  usedAt: Milliseconds
  /** From 0 to 0.1: the part of a ttl by which its refresh is put off, so that isolates do not all ask at once. */
  jitter: number
}

export type Memory = Map<Namespace, Slot>

/** The slot of a namespace that is used, made where there is none. */
export function slotOf(memory: Memory, namespace: Namespace, usedAt: Milliseconds): Slot {
  let slot = memory.get(namespace)
  if (!slot) {
    slot = { gave: 0, knownSince: 0, refusedUntil: 0, laggingUntil: 0, usedAt, jitter: 0 }
    memory.set(namespace, slot)
    const [oldest] = [...memory].toSorted(([, one], [, other]) => one.usedAt - other.usedAt)
    if (memory.size > MAX_HELD_NAMESPACES && oldest) memory.delete(oldest[0])
  }
  slot.usedAt = usedAt
  return slot
}

/**
 * Takes an answer in where it is better than what is held: it tells more of the log, or as much and later. One that
 * tells less takes its place only once that has aged past `useUpTo`, when all there is to do is to say no.
 */
export function hold(
  slot: Slot,
  { asked, changed, after, ...told }: Told,
  request: number,
  now: Milliseconds,
  useUpTo: Milliseconds,
): void {
  const held = slot.row
  const isLater = !held || told.askedAt >= held.askedAt
  const isBetter =
    !held ||
    held.askedAt > now ||
    told.last > held.last ||
    (isLater && (told.last === held.last || (request > 0 && ageOf(held, now) >= useUpTo)))
  const isSame = told.watermark === held?.watermark
  if (isBetter) {
    // Where it cannot be said what changed in between, nothing that was known of tags counts any more.
    const continues = held && (isSame || (changed && after <= held.last))
    const tags = continues ? held.tags : new Map<string, Epoch>()
    if (!continues) slot.knownSince = changed ? after : told.last
    // A tag that is not held is no younger than that, whatever else is not known of it.
    slot.row = { ...told, floor: Math.min(told.floor, slot.knownSince), tags }
    for (const [tag, epoch] of changed ?? []) keepTag(slot, tags, tag, epoch)
  }
  if (isBetter || told.last === held.last) slot.gave = Math.max(slot.gave, request)
  const { row } = slot
  if (row?.watermark === told.watermark) for (const [tag, epoch] of asked) keepTag(slot, row.tags, tag, epoch)
}

function keepTag(slot: Slot, tags: Map<string, Epoch>, tag: string, epoch: Epoch): void {
  tags.set(tag, Math.max(epoch, tags.get(tag) ?? 0))
  if (tags.size <= MAX_HELD_TAGS) return
  const [[oldest, dropped]] = tags as Iterable<[string, Epoch]> as [[string, Epoch]]
  tags.delete(oldest)
  slot.knownSince = Math.max(slot.knownSince, dropped)
}
