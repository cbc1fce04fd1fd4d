import { type Epoch, type Head, parseHead, type Position } from "../protocol/epoch.ts"
import { dueKey, headKey, logKey } from "../protocol/keys.ts"
import { type LogEntry, parseLogEntries } from "../protocol/log.ts"
import { readScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { LaneName } from "./commit.ts"

/** What a lane read: whether that is all can be told from head and entries. */
export interface Read {
  readonly head: Head | undefined
  readonly entries: readonly LogEntry[]
  /** When the first due item is to be tried. */
  readonly dueAt: Milliseconds | undefined
}

/** Why a lane could not prove that it saw every entry. */
export type ResyncReason = "generation" | "gap" | "missingEntries"

/** Redis does nothing else while it makes the reply: with what one step may add, some 5 ms. */
const MAX_ENTRIES = 500
const MAX_READ_BYTES = 1024 * 1024

/** Reads what follows an epoch, in one atomic step with the head. @throws {StoreError} */
export async function readLog(
  store: Store,
  { tenant, target }: LaneName,
  after: Epoch,
  limit: number = MAX_ENTRIES,
): Promise<Read> {
  const args = [String(after), String(limit), String(MAX_READ_BYTES)]
  const keys = [headKey(tenant), logKey(tenant), dueKey(tenant, target)]
  const [head, entries, dueAt] = asList(await store.script(readScript, keys, args))
  const due = asText(dueAt)
  return {
    head: parseHead(asText(head)),
    entries: parseLogEntries(entries),
    dueAt: due === undefined ? undefined : Number(due),
  }
}

/**
 * Reads on from an entry, page by page, as far as each continues the one before; what does not is left to the next
 * read, which can tell why. The next page is on its way while one is worked on.
 *
 * @throws {StoreError}
 */
export async function* readOn(
  store: Store,
  lane: LaneName,
  from: Position,
): AsyncGenerator<readonly LogEntry[]> {
  let last = from
  let asked = readLog(store, lane, last.epoch)
  for (;;) {
    const { head, entries } = await asked
    if (entries.length === 0 || gapIn(last, entries, 0)) return
    last = entries.at(-1) ?? last
    if (!head || last.epoch >= head.epoch) {
      yield entries
      return
    }
    asked = readLog(store, lane, last.epoch)
    // Whoever asks for no further page does not wait for it.
    asked.catch(() => {})
    yield entries
  }
}

/** Whether what was read continues the cursor; if not, why not (I4). */
export function gapOf(held: Position, head: Head, entries: readonly LogEntry[]): ResyncReason | undefined {
  if (entries.length === 0) return head.generation === held.generation ? "missingEntries" : "generation"
  return gapIn(held, entries, held.seq)
}

/**
 * Whether entries continue a position one by one, in its own generation. One that was refused and could not be taken
 * back stands in the log under the number of the one that was accepted next: numbers may repeat, above those that were
 * handled, and what they name is carried out; none may be left out.
 */
function gapIn(
  from: Position,
  entries: readonly LogEntry[],
  handled: number,
): "generation" | "gap" | undefined {
  let { seq } = from
  for (const entry of entries) {
    if (from.generation !== 0 && entry.generation !== from.generation) return "generation"
    if (entry.seq > seq + 1 || entry.seq <= handled) return "gap"
    seq = entry.seq
  }
  return undefined
}
