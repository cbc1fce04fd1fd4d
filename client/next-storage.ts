import type { Milliseconds, Seconds } from "../protocol/time.ts"

/** Where the handlers of Next.js keep entries, and what an entry is there. */

/** An entry as it is kept: plain data, and bytes. */
export interface StoredEntry {
  readonly value: Uint8Array
  readonly tags: readonly string[]
  /** `<generation>.<epoch>` from before it was made. It must come back as it was given. */
  readonly stamp: string
  /** When making it began (`use cache`), or it was handed over (ISR), by the clock of the process that made it. */
  readonly timestamp: Milliseconds
  /** For the browser's router. */
  readonly stale: Seconds
  /** After this it is never used. */
  readonly expire: Seconds
  /** After this it is made anew in the background. */
  readonly revalidate: Seconds
}

/**
 * Where entries are kept. Several processes may share one: what is in it is judged by its stamp, whoever put it there.
 * A rejection counts as having nothing, or as not having been kept, and so does no answer within `storageTimeout`.
 */
export interface EntryStorage {
  get(key: string): Promise<StoredEntry | undefined> | StoredEntry | undefined
  /** `keepFor` is how long the entry may be of use, in whole milliseconds and above 0. Nothing waits for it. */
  set(key: string, entry: StoredEntry, keepFor: Milliseconds): Promise<unknown> | void
}

/** A storage may bring what another version put there, or anybody else. */
export function isStoredEntry(entry: unknown): entry is StoredEntry {
  if (typeof entry !== "object" || entry === null) return false
  const { value, tags, stamp, stale, timestamp, expire, revalidate } = entry as Partial<StoredEntry>
  return (
    value instanceof Uint8Array &&
    Array.isArray(tags) &&
    tags.every((tag) => typeof tag === "string") &&
    typeof stamp === "string" &&
    [stale, timestamp, expire, revalidate].every((number) => Number.isFinite(number))
  )
}

/** Entries in memory, those used last at the end. */
export function memoryStorage(maxBytes: number): EntryStorage {
  const entries = new Map<string, StoredEntry>()
  const sizeOf = (key: string, { value, tags }: StoredEntry) =>
    value.byteLength + tags.reduce((length, tag) => length + tag.length, key.length)
  let bytes = 0
  const remove = (key: string) => {
    const entry = entries.get(key)
    if (entry) bytes -= sizeOf(key, entry)
    entries.delete(key)
  }
  return {
    get(key) {
      const entry = entries.get(key)
      if (entry && entries.delete(key)) entries.set(key, entry)
      return entry
    },
    set(key, entry) {
      remove(key)
      entries.set(key, entry)
      bytes += sizeOf(key, entry)
      for (const oldest of entries.keys()) {
        if (bytes <= maxBytes) break
        remove(oldest)
      }
    },
  }
}
