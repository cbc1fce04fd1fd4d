import { isMainThread, parentPort, Worker } from "node:worker_threads"

/** Milliseconds of a clock that all threads share: `performance.now()` begins anew in each. */
const clock = () => Number(process.hrtime.bigint()) / 1e6

/** Given to a thread that may be a while in taking it up. */
const LEAD = 5

interface Beats {
  readonly from: number
  readonly every: number
  readonly count: number
}

/**
 * Calls back at a steady rate. A timer of Node's own is late by half a millisecond at the median, which is as much as
 * what is measured; a thread that sleeps to the microsecond is not, and takes no processor meanwhile.
 */
export interface Metronome {
  /**
   * @param each gets the beat's number and when it was due, as `performance.now()`. Beats that are late follow at once:
   *   none is left out
   * @returns once the last beat was given
   */
  beat(count: number, every: number, each: (beat: number, due: number) => void): Promise<void>
  stop(): Promise<unknown>
}

export function startMetronome(): Metronome {
  const thread = new Worker(new URL(import.meta.url))
  return {
    beat(count, every, each) {
      const from = clock() + LEAD
      const began = performance.now() + LEAD
      return new Promise((resolve) => {
        const heard = (beat: number) => {
          each(beat, began + beat * every)
          if (beat < count - 1) return
          thread.off("message", heard)
          resolve()
        }
        thread.on("message", heard)
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread is no window
        thread.postMessage({ from, every, count } satisfies Beats)
      })
    },
    stop: () => thread.terminate(),
  }
}

if (!isMainThread) {
  parentPort?.on("message", ({ from, every, count }: Beats) => {
    const never = new Int32Array(new SharedArrayBuffer(4))
    for (let beat = 0; beat < count; beat += 1) {
      const left = from + beat * every - clock()
      if (left > 0) Atomics.wait(never, 0, 0, left)
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- as above
      parentPort?.postMessage(beat)
    }
  })
}
