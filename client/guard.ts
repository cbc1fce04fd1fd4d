import { type Milliseconds, SECOND } from "../protocol/time.ts"

/** How long a page waits, by default, for something that the user gave: a storage, a cache. Ours. */
export const DEFAULT_TIMEOUT: Milliseconds = 2 * SECOND

/** After a call that did not settle in time, none is made before this has passed, or that call has settled after all. */
const REST: Milliseconds = 5 * SECOND

/** A call did not settle in time, or was not made, because one before it had not. */
export class TimedOut extends Error {
  /** No call was made: the one that this is about has been told of. */
  readonly isRepeated: boolean

  constructor(timeout: Milliseconds, isRepeated: boolean) {
    super(`did not answer within ${timeout} ms`)
    this.name = "TimedOut"
    this.isRepeated = isRepeated
  }
}

/**
 * Calls what the user gave, and waits no longer than `timeout` for it: pages wait for the answer, and a client whose
 * server is down may queue for ever. One that did not answer is let alone for a while, so that not every page waits.
 */
export class Guard {
  readonly #timeout: Milliseconds
  readonly #now: () => Milliseconds
  #restsUntil = 0

  /** @throws {RangeError} when `timeout` is not above 0 */
  constructor(timeout: Milliseconds = DEFAULT_TIMEOUT, now: () => Milliseconds = Date.now) {
    if (!(timeout > 0 && timeout < Infinity))
      throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
    this.#timeout = timeout
    this.#now = now
  }

  /**
   * @param within less than the timeout, where a page has waited already
   * @throws {TimedOut} when it did not settle in time, or rests; at once where it rests
   * @throws whatever the call does
   */
  async run<T>(call: () => T | PromiseLike<T>, within = this.#timeout): Promise<T> {
    const rest = this.#restsUntil - this.#now()
    // One that is further off than any was set before the clock went back.
    if (rest > 0 && rest <= REST) throw new TimedOut(this.#timeout, true)
    let timer: ReturnType<typeof setTimeout> | undefined
    const limit = Math.min(within, this.#timeout)
    const expiry = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#restsUntil = this.#now() + REST
        reject(new TimedOut(limit, false))
      }, limit)
    })
    // Also where it throws before it gives a promise.
    const answer = (async () => call())()
    // Late as it is, it shows that there is somebody.
    const isBack = () => (this.#restsUntil = 0)
    void answer.then(isBack, isBack)
    try {
      return await Promise.race([answer, expiry])
    } finally {
      clearTimeout(timer)
    }
  }
}
