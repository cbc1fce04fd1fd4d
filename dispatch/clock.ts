import type { Milliseconds } from "../protocol/time.ts"

/** Time and chance, from outside: thousands of histories then run in a minute without sleeping. */
export interface Clock {
  /** ms since 1970. */
  now(): Milliseconds
  /** Resolves after `length`, or at once when the signal is aborted. Never rejects. */
  sleep(length: Milliseconds, signal?: AbortSignal): Promise<void>
  /** 0 to 1, exclusive. */
  random(): number
}

/** Why a sleep ends early. Given once, as a signal that is aborted without a reason makes an error with a stack each time. */
export const OVER = "over"

/** Of the machine that this runs on. */
export const systemClock: Clock = {
  now: () => Date.now(),
  random: () => Math.random(),
  sleep: (length, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) {
        resolve()
        return
      }
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener("abort", done)
        resolve()
      }
      const timer = setTimeout(done, length)
      signal?.addEventListener("abort", done)
    }),
}

const BASE: Milliseconds = 500
const CEILING: Milliseconds = 30_000

/**
 * How long to wait before retry `retry`, counted from 1. Ceilings: 500 ms, 1 s, 2, 4, 8, 16, 30, 30 …
 * Full jitter below the ceiling, as every lane of a vendor fails in the same instant and must not return in the same.
 */
export const backoff = (retry: number, random: () => number): Milliseconds =>
  Math.floor(random() * Math.min(CEILING, BASE * 2 ** (retry - 1)))
