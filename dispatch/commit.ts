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

/** Moves a lane's cursor and writes what became of what it passed. @throws {StoreError} */
export async function commit(store: Store, { tenant, target }: LaneName, what: Commit): Promise<Committed> {
  const { held, to, receipt, due = [], finished = [], late = [], letters = [], keepFrom } = what
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
