import { type Epoch, type Head, parseHead, type Position } from "../protocol/epoch.ts"
import { dueKey, headKey, logKey } from "../protocol/keys.ts"
import { type LogEntry, parseLogEntries } from "../protocol/log.ts"
import { readScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Reply, type Store } from "../protocol/store.ts"
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

const MAX_ENTRIES = 1_000
const MAX_READ_BYTES = 4 * 1024 * 1024
/** Most entries of a page that is read on; where they are large, so many that it has about `MAX_READ_BYTES`. */
const MAX_PAGE = 500
const MIN_PAGE = 64

/** Reads what follows an epoch, in one atomic step with the head. @throws {StoreError} */
export async function readLog(store: Store, { tenant, target }: LaneName, after: Epoch): Promise<Read> {
  const args = [String(after), String(MAX_ENTRIES), String(MAX_READ_BYTES)]
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
 * atomic read, which can tell why. The next page is on its way while one is worked on.
 *
 * @throws {StoreError}
 */
export async function* readOn(
  store: Store,
  tenant: string,
  from: Position,
): AsyncGenerator<readonly LogEntry[]> {
  const ask = async (after: Epoch, count: number) => {
    const [reply] = await store.pipeline([
      ["XRANGE", logKey(tenant), `${after}-1`, "+", "COUNT", String(count)],
    ])
    return asList(reply)
  }
  let [last, count] = [from, MIN_PAGE]
  let asked = ask(last.epoch, count)
  for (;;) {
    const reply = await asked
    const entries = parseLogEntries(reply)
    if (entries.length === 0 || gapIn(last, entries)) return
    last = entries.at(-1) ?? last
    if (reply.length < count) {
      yield entries
      return
    }
    count = Math.min(MAX_PAGE, 2 * count, Math.ceil((MAX_READ_BYTES * reply.length) / bytesOf(reply)))
    asked = ask(last.epoch, count)
    // Whoever asks for no further page does not wait for it.
    asked.catch(() => {})
    yield entries
  }
}

/** About: their bodies are most of it. */
const bytesOf = (reply: readonly Reply[]): number =>
  reply.reduce<number>((sum, entry) => sum + (asText(asList(asList(entry)[1]).at(-1)) ?? "").length, 1)

/** Whether what was read continues the cursor; if not, why not (I4). */
export function gapOf(held: Position, head: Head, entries: readonly LogEntry[]): ResyncReason | undefined {
  if (entries.length === 0) return head.generation === held.generation ? "missingEntries" : "generation"
  return gapIn(held, entries)
}

/** Whether entries continue a position one by one, in its own generation. */
function gapIn(from: Position, entries: readonly LogEntry[]): "generation" | "gap" | undefined {
  for (const [index, entry] of entries.entries()) {
    if (from.generation !== 0 && entry.generation !== from.generation) return "generation"
    if (entry.seq !== from.seq + 1 + index) return "gap"
  }
  return undefined
}
