import type { Epoch, Head, Position } from "../protocol/epoch.ts"
import { parseHead } from "../protocol/epoch.ts"
import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  lateKey,
  logKey,
  neverKey,
  sentKey,
} from "../protocol/keys.ts"
import { type DeadLetter, type DueItem, encodeOwed, MAX_LETTERS } from "../protocol/letter.ts"
import { nodeOf, targetOf } from "../protocol/nodes.ts"
import { type LateReceipt, parseJson, type RangeReceipt } from "../protocol/receipt.ts"
import { commitScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { type Held, positionText } from "./lease.ts"

/** Which lane. */
export interface LaneName {
  readonly tenant: string
  /** `<target>`, or `<target>@<node>`: see `protocol/nodes.ts`. */
  readonly target: string
}

/** A row of `late` as it was read, so that a commit can tell whether it still is. */
export interface LateRow {
  readonly text: string
  readonly receipt: LateReceipt
}

/** What became of what a lane read, to be written in one step with its cursor. */
export interface Commit {
  readonly held: Held
  /** The held position itself where no cursor moves. */
  readonly to: Position
  readonly receipt?: RangeReceipt
  readonly due?: readonly { readonly at: Milliseconds; readonly id: string; readonly item: DueItem }[]
  /** Ids of due items that are finished. */
  readonly finished?: readonly string[]
  /** `replaces` is the row as it was read; without it whatever there is goes. */
  readonly late?: readonly { readonly replaces?: LateRow | undefined; readonly receipt: LateReceipt }[]
  readonly letters?: readonly DeadLetter[]
  /** Epochs below this may go. */
  readonly keepFrom: Epoch
  /** Of the log: of receipts and of rows beside them no more are kept. */
  readonly maxEntries: number
}

/**
 * - `lost`    the cursor is not as it was read: another has the lane
 * - `changed` a row is not as it was read: a dead letter was put back meanwhile
 *
 * Of these two nothing was written.
 */
export type Committed =
  | { readonly status: "ok"; readonly head: Head | undefined; readonly droppedLetters: number }
  | { readonly status: "lost" | "changed" }

/** Ours: some 4 ms inside Redis, which does nothing else meanwhile. */
const MAX_ITEMS = 300

/**
 * Moves a lane's cursor and writes what became of what it passed, in one step; of more than 300 items, in several, the
 * cursor by the last. Where it ends half-way, what it had passed is carried out again.
 *
 * @throws {StoreError}
 */
export async function commit(store: Store, lane: LaneName, what: Commit): Promise<Committed> {
  let rest = what
  let droppedLetters = 0
  for (;;) {
    const [part, more] = cut(rest)
    const committed = await commitOnce(store, lane, part)
    if (committed.status !== "ok") return committed
    droppedLetters += committed.droppedLetters
    if (!more) return { ...committed, droppedLetters }
    rest = more
  }
}

/** What can be written at once, and what is left: rows first, as only they may turn out to have changed. */
function cut(what: Commit): [part: Commit, rest: Commit | undefined] {
  const { held, keepFrom, maxEntries, late = [], due = [], letters = [], finished = [] } = what
  if (late.length + due.length + letters.length + finished.length <= MAX_ITEMS) return [what, undefined]
  let room = MAX_ITEMS
  const split = <Item>(list: readonly Item[]): [now: readonly Item[], then: readonly Item[]] => {
    const now = list.slice(0, room)
    room -= now.length
    return [now, list.slice(now.length)]
  }
  const [rows, laterRows] = split(late)
  const [items, laterItems] = split(due)
  const [dead, laterDead] = split(letters)
  const [done, laterDone] = split(finished)
  return [
    { held, to: held, keepFrom, maxEntries, late: rows, due: items, letters: dead, finished: done },
    { ...what, late: laterRows, due: laterItems, letters: laterDead, finished: laterDone },
  ]
}

async function commitOnce(store: Store, { tenant, target }: LaneName, what: Commit): Promise<Committed> {
  const { held, to, receipt, due = [], finished = [], late = [], letters = [], keepFrom, maxEntries } = what
  const node = nodeOf(target)
  const keys = [
    cursorKey(tenant),
    sentKey(tenant, target),
    lateKey(tenant, target),
    dueKey(tenant, target),
    dueItemsKey(tenant, target),
    // One list for all nodes of a target: people look there by its name.
    deadKey(tenant, targetOf(target)),
    logKey(tenant),
    headKey(tenant),
    neverKey(tenant),
  ]
  const args = [
    target,
    held.text,
    positionText(to),
    receipt ? JSON.stringify(receipt) : "",
    String(keepFrom),
    String(MAX_LETTERS),
    String(maxEntries),
    String(due.length),
    ...due.flatMap(({ at, id, item }) => [String(Math.ceil(at)), id, encodeOwed(item)]),
    String(finished.length),
    ...finished,
    String(late.length),
    ...late.flatMap(({ replaces, receipt: row }) => [
      String(row.epoch),
      replaces?.text ?? "",
      JSON.stringify(row),
    ]),
    String(letters.length),
    ...letters.map((letter) => encodeOwed(node === undefined ? letter : { ...letter, node })),
  ]
  const [status, head, trimmed] = asList(await store.script(commitScript, keys, args))
  if (status !== "ok") return { status: status === "changed" ? status : "lost" }
  return { status, head: parseHead(asText(head)), droppedLetters: Number(trimmed ?? 0) }
}

/** The rows of some epochs. @throws {StoreError} */
export async function readLate(
  store: Store,
  { tenant, target }: LaneName,
  epochs: readonly Epoch[],
): Promise<Map<Epoch, LateRow>> {
  const [first, last] = [epochs[0], epochs.at(-1)]
  if (first === undefined || last === undefined) return new Map()
  const [rows] = await store.pipeline([
    ["ZRANGEBYSCORE", lateKey(tenant, target), String(first), String(last)],
  ])
  const wanted = new Set(epochs)
  return new Map(
    asList(rows).flatMap((row): [Epoch, LateRow][] => {
      const text = asText(row) ?? ""
      const receipt = parseJson<LateReceipt>(text)
      return receipt && wanted.has(receipt.epoch) ? [[receipt.epoch, { text, receipt }]] : []
    }),
  )
}
