import type { Milliseconds } from "../protocol/time.ts"

/** Work under way that is remembered; of more, what began first is forgotten, and may then be done twice. */
const MAX_FLIGHTS = 1_000

/**
 * What one isolate is doing already, by key. Only *that* it is done is shared, never what comes of it: a Worker may
 * not hand a body from one request to another.
 */
export class SingleFlight {
  readonly #limit: Milliseconds
  readonly #flights = new Map<string, { readonly since: Milliseconds; readonly done: Promise<void> }>()

  /** Work that has not ended after `limit` was lost with its request, and counts as ended. */
  constructor(limit: Milliseconds) {
    this.#limit = limit
  }

  /** Settles when the work that is under way for a key ends; undefined where none is. */
  running(key: string): Promise<void> | undefined {
    const flight = this.#flights.get(key)
    return flight && Math.abs(Date.now() - flight.since) < this.#limit ? flight.done : undefined
  }

  /** Begins work for a key. `end` must be called however it ends; calling it twice is no harm. */
  start(key: string): { readonly done: Promise<void>; readonly end: () => void } {
    let resolve = () => {}
    const done = new Promise<void>((settle) => (resolve = settle))
    const flight = { since: Date.now(), done }
    this.#flights.delete(key)
    this.#flights.set(key, flight)
    const [oldest = key] = this.#flights.keys()
    if (this.#flights.size > MAX_FLIGHTS) this.#flights.delete(oldest)
    const end = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key)
      resolve()
    }
    return { done, end }
  }
}
