import type { Milliseconds } from "../protocol/time.ts"
import { Guard, TimedOut } from "./guard.ts"

/** As much of unstorage as is needed; Nitro's `useStorage()` gives one. */
export interface Unstorage {
  getItem(key: string): unknown
  setItem(key: string, value: any, options?: { ttl?: number }): Promise<void>
}

/**
 * Bounds the calls of a storage that the user gave, and tells an outage once: the first call that fails does so, and
 * after it calls of its kind give undefined until one succeeds.
 */
export class BoundedCalls {
  readonly #guard: Guard
  readonly #failing = new Set<string>()

  /** @throws {RangeError} when `timeout`, in milliseconds, is not above 0 */
  constructor(timeout: Milliseconds | undefined) {
    this.#guard = new Guard(timeout)
  }

  /**
   * @param kind what is called: reading may work where writing does not
   * @throws whatever the call does, once an outage; `TimedOut` where it did not settle in time
   */
  async run<T>(kind: "get" | "set", call: () => T | PromiseLike<T>): Promise<T | undefined> {
    try {
      const answer = await this.#guard.run(call)
      this.#failing.delete(kind)
      return answer
    } catch (error) {
      const isTold = this.#failing.has(kind) || (error instanceof TimedOut && error.isRepeated)
      this.#failing.add(kind)
      if (isTold) return undefined
      throw error instanceof TimedOut ? new Error(`The storage ${error.message}`, { cause: error }) : error
    }
  }
}
