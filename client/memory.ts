import type { Epoch } from "../protocol/epoch.ts"
import type { Answer } from "../protocol/freshness.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Namespaces that one reader holds; of more, those used longest ago are forgotten, and asked again when needed. */
export const MAX_HELD_NAMESPACES = 64

/** Tags and urls that are held of one namespace, likewise. With ordinary tags, some 5 MB in all at the very most. */
export const MAX_HELD_TAGS = 1_024

/** What an answer told of one namespace, without its tags, and when the store was asked. */
export interface Row extends Omit<Answer, "tags"> {
  readonly asOf: Milliseconds
  /** When we asked: not before `asOf`, and much later where the store had it from elsewhere. */
  readonly askedAt: Milliseconds
}

/** What an answer told of tags and urls, in the form of `askedTags`. */
export interface ToldTags {
  /** Those that were asked. */
  readonly tags: Iterable<readonly [string, Epoch]>
  /** All that changed after an epoch; null where the store could not say. */
  readonly changed: ReadonlyMap<string, Epoch> | null
  readonly after: Epoch
}

/**
 * How long ago we asked. What was asked in the future was asked before our clock went back, nobody knows when: it is as
 * old as can be, or it would be used for as long as the clock went back.
 */
export const ageOf = ({ askedAt }: Row, now: Milliseconds): Milliseconds =>
  askedAt > now ? Number.POSITIVE_INFINITY : now - askedAt

/** What a reader holds of one namespace. */
export interface Slot {
  row: Row | undefined
  /** Number of the request that gave `row`; 0 for one that a cache had. */
  gave: number
  /** Epochs of tags as they are under `row`: what it tells has changed since is kept up with. */
  readonly tags: Map<string, Epoch>
  /** A tag that is not in `tags` was not invalidated after this. */
  knownSince: Epoch
  /** The store said no to this namespace, and is not asked for it before. */
  refusedUntil: Milliseconds
  /** The store told less than is known. Before this, it is not asked again for what would only say no. */
  laggingUntil: Milliseconds
  usedAt: Milliseconds
  /** From 0 to 0.1: the part of a ttl by which its refresh is put off, so that isolates do not all ask at once. */
  jitter: number
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
    touch(this.#slots, namespace, slot, MAX_HELD_NAMESPACES)
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

  /** Forgets every answer: another generation has begun. */
  forgetAnswers(): void {
    for (const slot of this.#slots.values()) slot.row = undefined
  }
}

const emptySlot = (): Slot => ({
  row: undefined,
  gave: 0,
  tags: new Map(),
  knownSince: 0,
  refusedUntil: 0,
  laggingUntil: 0,
  usedAt: 0,
  jitter: 0,
  along: false,
})

/**
 * Takes an answer in where it is better than what is held: it tells more of the log, or as much and later. One that
 * tells less takes its place only once that has aged past `useUpTo`, when all there is to do is to say no.
 */
export function hold(
  slot: Slot,
  row: Row,
  { tags, changed, after }: ToldTags,
  {
    request,
    now,
    useUpTo,
  }: { readonly request: number; readonly now: Milliseconds; readonly useUpTo: Milliseconds },
): void {
  const held = slot.row
  const better =
    held === undefined ||
    held.askedAt > now ||
    row.last > held.last ||
    (row.last === held.last && row.askedAt >= held.askedAt) ||
    (request > 0 && row.askedAt >= held.askedAt && now - held.askedAt >= useUpTo)
  if (better) slot.row = row
  if (better || row.last === held.last) slot.gave = Math.max(slot.gave, request)
  if (better && row.watermark !== held?.watermark) {
    // Where it cannot be said what changed in between, nothing that was known of tags counts any more.
    if (!held || !changed || after > held.last) {
      slot.tags.clear()
      slot.knownSince = changed ? after : row.last
    }
    for (const [tag, epoch] of changed ?? []) keepTag(slot, tag, epoch)
  }
  if (slot.row?.watermark === row.watermark) for (const [tag, epoch] of tags) keepTag(slot, tag, epoch)
}

/**
 * Those of an entry's tags that have to be asked: they are not held, and the entry is older than what is known of all.
 * Those that are held count as just used, so that they stay until it is judged.
 */
export function missingTags(slot: Slot, stamp: Epoch, tags: readonly string[]): string[] {
  return tags.filter((tag) => {
    const epoch = slot.tags.get(tag)
    if (epoch !== undefined) touch(slot.tags, tag, epoch, MAX_HELD_TAGS)
    return epoch === undefined && stamp < slot.knownSince
  })
}

function keepTag(slot: Slot, tag: string, epoch: Epoch): void {
  const dropped = touch(slot.tags, tag, Math.max(epoch, slot.tags.get(tag) ?? 0), MAX_HELD_TAGS)
  slot.knownSince = Math.max(slot.knownSince, dropped ?? 0)
}

/** Puts a member last, and drops the first where there are more than may be. Returns what that was. */
function touch<K, V>(map: Map<K, V>, key: K, value: V, most: number): V | undefined {
  map.delete(key)
  map.set(key, value)
  if (map.size <= most) return undefined
  const [[oldest, dropped]] = map as Iterable<[K, V]> as [[K, V]]
  map.delete(oldest)
  return dropped
}
