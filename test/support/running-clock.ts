import { type Clock, systemClock } from "../../dispatch/clock.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/** The machine's clock, which can be set: what is slept is slept, but what it says jumps. */
export interface RunningClock extends Clock {
  jump(length: Milliseconds): void
}

export function runningClock(): RunningClock {
  let ahead = 0
  return {
    ...systemClock,
    now: () => systemClock.now() + ahead,
    jump(length) {
      ahead += length
    },
  }
}
