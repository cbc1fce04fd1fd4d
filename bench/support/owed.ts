import type { Commit } from "../../dispatch/commit.ts"
import type { Epoch } from "../../protocol/epoch.ts"
import { NO_SELECTORS } from "../../protocol/invalidation.ts"
import type { DeadLetter, DueItem } from "../../protocol/letter.ts"
import type { Namespace } from "../../protocol/namespace.ts"
import type { LateReceipt, RangeReceipt } from "../../protocol/receipt.ts"
import { MINUTE } from "../../protocol/time.ts"
import { textOf } from "./redis.ts"

/** Of a range that one call covered. */
export const receiptOf = (ex: readonly Epoch[] = []): RangeReceipt => ({
  at: Date.now(),
  attempts: 1,
  calls: [{ status: 200, vendorId: "0123456789abcdef" }],
  callCount: 1,
  namespaces: ["*"],
  ex,
})

/** Of one entry. @param at what tells it from the row that it replaces, as the time does */
export const lateReceiptOf = (epoch: Epoch, at = Date.now()): LateReceipt => ({
  epoch,
  state: "retrying",
  at,
  attempts: 1,
  calls: [{ status: 503 }],
  waits: [`${epoch}`],
})

export type Owing = Required<Pick<Commit, "late" | "letters" | "due" | "finished">>

/**
 * As many each of late rows, dead letters and due items; those of the commit before are replaced, and finished.
 *
 * @param nth of the commit, from 0
 * @param epoch of the newest of the rows
 */
export function owingOf(namespace: Namespace, nth: number, epoch: Epoch, count: number): Owing {
  const ids = (commit: number) => Array.from({ length: count }, (_, one) => `${commit}:${one}`)
  const owed = { ...NO_SELECTORS, namespace, mode: "invalidate", epochs: [epoch] } as const
  const tags = (one: number) => [textOf(one, 12)]
  const item = (one: number): DueItem => ({ ...owed, tags: tags(one), why: "spread" })
  const error = "the vendor answered 400: a tag has at most 10 characters"
  const letter = (one: number): DeadLetter => ({ ...owed, tags: tags(one), error, at: Date.now() })
  return {
    due: ids(nth).map((id, one) => ({ at: Date.now() + MINUTE, id, item: item(one) })),
    finished: nth === 0 ? [] : ids(nth - 1),
    late: ids(nth).map((_, one) => {
      const before = lateReceiptOf(epoch - one, nth - 1)
      const replaces = nth === 0 ? undefined : { text: JSON.stringify(before), receipt: before }
      return { replaces, receipt: lateReceiptOf(epoch - one, nth) }
    }),
    letters: ids(nth).map((_, one) => letter(one)),
  }
}
