import type { Clock } from "../../dispatch/clock.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/** A clock that stands still until it is told to go on. */
export interface ManualClock extends Clock {
  /** Goes on by so much, and wakes whoever has slept long enough, the earliest first. */
  advance(length: Milliseconds): void
  /** Goes on without waking anybody: what a process that was stopped sees when it is let go on. */
  jump(length: Milliseconds): void
  /** How long each sleeper still has to sleep. */
  readonly sleepers: readonly Milliseconds[]
}

interface Sleeper {
  readonly until: Milliseconds
  readonly wake: () => void
}

/**
 * @param start ms since 1970; by default the machine's own, as Redis stamps by that
 * @param random what `random()` says, always: 0.5 unless told
 */
export function manualClock(start: Milliseconds = Date.now(), random = 0.5): ManualClock {
  let now = start
  let salt = 0
  const sleepers = new Set<Sleeper>()
  const wakeDue = () => {
    const due = [...sleepers].filter(({ until }) => until <= now).toSorted((a, b) => a.until - b.until)
    for (const sleeper of due) sleeper.wake()
  }
  return {
    now: () => now,
    // Almost the same each time, so that names made of it still differ.
    random: () => random + 1e-9 * (salt = (salt + 1) % 1_000_000),
    sleep: (length, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) {
          resolve()
          return
        }
        const sleeper: Sleeper = {
          until: now + length,
          wake() {
            sleepers.delete(sleeper)
            signal?.removeEventListener("abort", sleeper.wake)
            resolve()
          },
        }
        sleepers.add(sleeper)
        signal?.addEventListener("abort", sleeper.wake)
      }),
    advance(length) {
      now += length
      wakeDue()
    },
    jump(length) {
      now += length
    },
    get sleepers() {
      return [...sleepers].map(({ until }) => until - now)
    },
  }
}
