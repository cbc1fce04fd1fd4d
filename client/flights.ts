import type { Milliseconds } from "../protocol/time.ts"

/** Work under way that is remembered; of more, what began first is forgotten, and may then be done twice. */
const MAX_FLIGHTS = 1_000

/** Work under way for a key. */
export interface Flight {
  readonly since: Milliseconds
  /** Settles when it has ended, or any that was begun for the same key before it and still ran. */
  readonly landed: Promise<void>
}

/**
 * What one isolate is doing already, by key. Only *that* it is done is shared, never what comes of it: a Worker may
 * not hand a body from one request to another.
 */
export class Flights {
  readonly #limit: Milliseconds
  readonly #flights = new Map<string, Flight>()

  /** Work that has not ended after `limit` was lost with its request, and counts as ended. */
  constructor(limit: Milliseconds) {
    this.#limit = limit
  }

  /** The newest work that is under way for a key; undefined where there is none. */
  running(key: string): Flight | undefined {
    const flight = this.#flights.get(key)
    return flight && Math.abs(Date.now() - flight.since) < this.#limit ? flight : undefined
  }

  /** Begins work for a key. `end` must be called however it ends; calling it twice is no harm. */
  start(key: string): { readonly done: Promise<void>; readonly end: () => void } {
    let settle = () => {}
    const done = new Promise<void>((resolve) => (settle = resolve))
    const before = this.running(key)
    const flight = { since: Date.now(), landed: before ? Promise.race([before.landed, done]) : done }
    this.#flights.delete(key)
    this.#flights.set(key, flight)
    const [oldest = key] = this.#flights.keys()
    if (this.#flights.size > MAX_FLIGHTS) this.#flights.delete(oldest)
    const end = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key)
      settle()
    }
    return { done, end }
  }
}
