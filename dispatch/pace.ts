import { holdKey, paceKey, paceNeverKey } from "../protocol/keys.ts"
import { paceScript } from "../protocol/scripts.gen.ts"
import type { Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { Clock } from "./clock.ts"
import type { Batch, Pace } from "./targets/target.ts"

/** How often a vendor's limits may be used, whoever else uses them: the buckets stand in Redis, one an account. */
export interface Pacer {
  /** Waits for its turn; false when the signal was aborted first. @throws {StoreError} */
  take(batch: Batch, signal: AbortSignal): Promise<boolean>
  /** Lets nobody of the account begin a call for so long, as the vendor asked. @throws {StoreError} */
  hold(length: Milliseconds): Promise<void>
}

export interface PacerOptions {
  readonly store: Store
  readonly clock: Clock
  /** Whoever shares the limits. */
  readonly account: string
  readonly paces: readonly Pace[]
  readonly onWait?: (length: Milliseconds) => void
}

export function createPacer({ store, clock, account, paces, onWait }: PacerOptions): Pacer {
  return {
    async hold(length) {
      // Where a vendor publishes no limits nobody shares any: the lane that was asked waits by itself.
      if (paces.length === 0) return
      await store.pipeline([["SET", holdKey(account), "1", "PX", String(Math.max(1, Math.ceil(length)))]])
    },
    async take(batch, signal) {
      for (const { bucket, perSecond, burst, per, kinds } of paces) {
        const charged = batch.values.filter(({ kind }) => kinds.includes(kind)).length
        if (charged === 0) continue
        const keys = [paceKey(account, bucket), holdKey(account), paceNeverKey(account)]
        const args = [String(perSecond), String(burst), String(per === "value" ? charged : 1)]
        for (;;) {
          if (signal.aborted) return false
          const wait = Number(await store.script(paceScript, keys, args))
          if (wait <= 0) break
          onWait?.(wait)
          await clock.sleep(wait, signal)
        }
      }
      return !signal.aborted
    },
  }
}
