import { sha256, toHex, utf8 } from "../protocol/bytes.ts"
import { holdKey, paceKey, paceNeverKey } from "../protocol/keys.ts"
import { holdScript, paceScript } from "../protocol/scripts.gen.ts"
import type { Store } from "../protocol/store.ts"
import { DAY, isoTime, type Milliseconds } from "../protocol/time.ts"
import type { Clock } from "./clock.ts"
import { drawsFrom } from "./limits.ts"
import type { Batch, Left, Pace } from "./targets/target.ts"

/** What became of asking for a turn: `spent` where a budget is used up, which no waiting mends soon. */
export type Turn = "taken" | "ended" | { readonly spent: string; readonly perMonth: number }

/** How often a vendor's limits may be used, whoever else uses them: they stand in Redis, together for an account. */
export interface Pacer {
  /** Waits for its turn; `ended` when the signal was aborted first. @throws {StoreError} */
  take(batch: Batch, signal: AbortSignal): Promise<Turn>
  /** Lets nobody of the account begin a call for so long, as the vendor asked. @throws {StoreError} */
  hold(length: Milliseconds): Promise<void>
  /** Believes a vendor that less is left than we think. @throws {StoreError} */
  correct(left: readonly Left[]): Promise<void>
}

export interface PacerOptions {
  readonly store: Store
  readonly clock: Clock
  /** Whoever shares the limits. */
  readonly account: string
  readonly paces: readonly Pace[]
  readonly onWait?: (length: Milliseconds) => void
}

/** One limit as the script is told it: its key, and four arguments. */
type Told = readonly [key: string, ...args: readonly [string, number, number, number]]

/** A month and a day over: what is used in one is never forgotten before it has ended. */
const BUDGET_LASTS: Milliseconds = 32 * DAY

export function createPacer({ store, clock, account, paces, onWait }: PacerOptions): Pacer {
  const shared = [holdKey(account), paceNeverKey(account)]
  /** What one call draws from one limit. */
  async function toldOf(pace: Pace, batch: Batch): Promise<Told[]> {
    const charged = batch.values.filter((value) => drawsFrom(pace, value))
    if (charged.length === 0) return []
    switch (pace.limit) {
      case "rate": {
        const wanted = pace.per === "value" ? charged.length : 1
        return [[paceKey(account, pace.bucket), "rate", pace.perSecond, pace.burst, wanted]]
      }
      case "inProgress": {
        const wanted = pace.per === "value" ? charged.length : 1
        return [[paceKey(account, pace.bucket), "inProgress", pace.lasting, pace.most, wanted]]
      }
      case "spacing":
        return Promise.all(
          charged.map(async ({ value }): Promise<Told> => {
            const name = toHex(await sha256(utf8(value))).slice(0, 32)
            return [paceKey(account, `${pace.bucket}:${name}`), "spacing", pace.each, 0, 0]
          }),
        )
      case "budget": {
        const month = isoTime(clock.now()).slice(0, "2026-11".length)
        return [
          [
            paceKey(account, `${pace.bucket}:${month}`),
            "budget",
            pace.perMonth,
            BUDGET_LASTS,
            charged.length,
          ],
        ]
      }
    }
  }

  return {
    async hold(length) {
      // Where a vendor publishes no limits nobody shares any: the lane that was asked waits by itself.
      if (paces.length > 0) await store.script(holdScript, shared, [String(Math.max(1, length))])
    },
    async correct(left) {
      const known = left.filter(({ bucket }) =>
        paces.some((pace) => pace.limit === "rate" && pace.bucket === bucket),
      )
      if (known.length === 0) return
      const keys = [...shared, ...known.map(({ bucket }) => paceKey(account, bucket))]
      await store.script(holdScript, keys, ["0", ...known.map(({ tokens }) => String(Math.max(0, tokens)))])
    },
    async take(batch, signal) {
      const told = (await Promise.all(paces.map((pace) => toldOf(pace, batch)))).flat()
      if (told.length === 0) return signal.aborted ? "ended" : "taken"
      const keys = [...shared, ...told.map(([key]) => key)]
      const args = told.flatMap(([, ...rest]) => rest.map(String))
      for (;;) {
        if (signal.aborted) return "ended"
        const wait = Number(await store.script(paceScript, keys, args))
        if (wait < 0) {
          const budget = paces.find((pace) => pace.limit === "budget")
          return { spent: budget?.bucket ?? "budget", perMonth: budget?.perMonth ?? 0 }
        }
        if (wait === 0) return signal.aborted ? "ended" : "taken"
        onWait?.(wait)
        await clock.sleep(wait, signal)
      }
    },
  }
}
