import type { Clock } from "../../dispatch/clock.ts"
import type { Store } from "../../protocol/store.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { CLOCK, timed } from "./timed-scripts.ts"

/**
 * Time that goes by itself to where the next sleeper wakes, as soon as nobody does anything: hours of a vendor's pace
 * pass in a moment, and whoever asks for the time, Redis included, is told the same.
 */
export interface VirtualTime {
  readonly clock: Clock
  /** A store whose scripts live in this time. */
  storeOf(store: Store): Store
  /** Time stands still while this is under way. */
  during<T>(work: Promise<T>): Promise<T>
  stop(): void
}

interface Sleeper {
  readonly until: Milliseconds
  readonly wake: () => void
}

export function virtualTime(start: Milliseconds = Date.now()): VirtualTime {
  let now = start
  let busy = 0
  let isStopped = false
  let quiet = 0
  const sleepers = new Set<Sleeper>()

  const tick = () => {
    if (isStopped) return
    quiet = busy > 0 ? 0 : quiet + 1
    // A few turns: what was just answered is worked on first.
    if (quiet > 3 && sleepers.size > 0) {
      quiet = 0
      now = Math.max(now, Math.min(...[...sleepers].map(({ until }) => until)))
      for (const sleeper of sleepers) if (sleeper.until <= now) sleeper.wake()
    }
    setImmediate(tick)
  }
  setImmediate(tick)

  async function during<T>(work: Promise<T>): Promise<T> {
    busy += 1
    try {
      return await work
    } finally {
      busy -= 1
      quiet = 0
    }
  }

  return {
    during,
    clock: {
      now: () => now,
      random: Math.random,
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
    },
    storeOf: (store) => ({
      script: (script, keys, args) =>
        during(
          (async () => {
            const [s, us] = [Math.floor(now / 1_000), Math.round((now % 1_000) * 1_000)]
            // One connection: nothing comes between the two.
            const set = store.pipeline([["HSET", CLOCK, "s", String(s), "us", String(us)]])
            const [reply] = await Promise.all([store.script(timed(script), keys, args), set])
            return reply
          })(),
        ),
      pipeline: (commands) => during(store.pipeline(commands)),
    }),
    stop() {
      isStopped = true
    },
  }
}
