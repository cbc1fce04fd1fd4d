import type { Epoch } from "./epoch.ts"
import type { Milliseconds } from "./time.ts"

/**
 * What became of entries at one target. Most of it is said of whole ranges; what a range left out has a receipt of
 * its own, so that nothing is ever `done` for want of a record.
 */

/** One call to the vendor, as a record shows it. */
export interface CallReceipt {
  readonly status: number
  readonly vendorId?: string
}

/** Most calls that one receipt lists: a backlog of 10^6 is many. The count is always whole. */
export const MAX_LISTED_CALLS = 20

/** Of a range of the log, in `sent`. */
export interface RangeReceipt {
  /** When the last call was answered, ms since 1970. */
  readonly at: Milliseconds
  readonly attempts: number
  readonly calls: readonly CallReceipt[]
  readonly callCount: number
  /** Patterns of the namespaces that the target had then: what it was not concerned with, it did not purge. */
  readonly namespaces: readonly string[]
  /** Epochs in the range that were not sent with it: settling, retried, given up. See `LateReceipt`. */
  readonly ex: readonly Epoch[]
  /** What was sent instead, where that was wider or harder than asked: of the whole range, or of some epochs in it. */
  readonly as?: string
  readonly asOf?: Readonly<Record<string, readonly Epoch[]>>
  /** Set when the range was not read but widened: why. */
  readonly resync?: string
}

/** What was sent instead for one epoch of a range. */
export const sentAs = ({ as, asOf, resync }: RangeReceipt, epoch: Epoch): string | null =>
  as ??
  Object.entries(asOf ?? {}).find(([, epochs]) => epochs.includes(epoch))?.[0] ??
  (resync === undefined ? null : "resync")

export type LateState = "pending" | "settling" | "retrying" | "done" | "dead" | "not_supported"

/** Of one epoch, in `late`. */
export interface LateReceipt {
  readonly epoch: Epoch
  readonly state: LateState
  readonly at: Milliseconds
  readonly attempts: number
  readonly calls: readonly CallReceipt[]
  readonly as?: string
  readonly error?: string
  /** Items of `due` that it still waits for. */
  readonly waits?: readonly string[]
  /** How many dead letters it has; those that were put back are no longer counted. */
  readonly letters?: number
}

/** What a lane says of itself, for records and for people; where nobody said anything it is idle. */
export interface LaneStatus {
  readonly state: "idle" | "running" | "retrying" | "paused" | "off"
  readonly since: Milliseconds
  readonly attempts: number
  readonly error?: string
  /** When it asks the vendor again, ms since 1970. */
  readonly nextAt?: Milliseconds
  readonly missing?: string
}

/** Reads what this product itself wrote as JSON; undefined for a text that is none. The shape is the caller's word. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- a cast, said once
export function parseJson<T>(text: string | undefined): T | undefined {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as T
  } catch {
    return undefined
  }
}
