import type { Milliseconds } from "../../protocol/time.ts"

/** Many ticks of `Date.now`: at one of them nothing came between it and the finer clock. */
const LOOK_FOR: Milliseconds = 50

/**
 * The system's clock, which Redis takes its epochs from, to some microseconds. Made anew for each load:
 * `performance.timeOrigin` does not know by how much the clock was set since the process began.
 */
export function wallClock(): () => Milliseconds {
  let origin = 0
  // Each look is at most true: the milliseconds are cut off, and time may pass before the finer clock is read.
  for (const over = performance.now() + LOOK_FOR; performance.now() < over;)
    origin = Math.max(origin, Date.now() - performance.now())
  return () => origin + performance.now()
}
