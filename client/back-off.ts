import { type Milliseconds, SECOND } from "../protocol/time.ts"

/** After its first failure a key rests for so long, after each that follows for twice as long, up to the second. */
const FIRST_REST: Milliseconds = SECOND
const LONGEST_REST: Milliseconds = 30 * SECOND

/** A rest is shorter by up to this part, at random: what failed in one moment is then not tried again in one. */
const JITTER = 0.25

/** Keys that rest, or rested and have not succeeded since; of more, the one that failed longest ago is forgotten. */
const MAX_KEYS = 1_000

interface Rest {
  readonly length: Milliseconds
  readonly until: Milliseconds
}

/**
 * Which work is let alone for a while, because it failed: without that, whatever fails is tried again by every request
 * that comes, which is the last thing that an origin in trouble needs.
 *
 * It only remembers, and asks nothing of its users but to look before they try, and to tell how that ended. It starts
 * no timer.
 */
export class BackOff {
  readonly #now: () => Milliseconds
  readonly #random: () => number
  readonly #rests = new Map<string, Rest>()

  /**
   * @param now in milliseconds since any moment. Default `Date.now`
   * @param random from 0 to 1, spreads rests. Default `Math.random`
   */
  constructor(now: () => Milliseconds = Date.now, random: () => number = Math.random) {
    this.#now = now
    this.#random = random
  }

  /** Whether work for a key failed a short while ago, and is not to be tried yet. */
  isResting(key: string): boolean {
    const rest = this.#rests.get(key)
    const left = rest ? rest.until - this.#now() : 0
    // One that is further off than it is long was set before the clock went back.
    return rest !== undefined && left > 0 && left <= rest.length
  }

  /** Work for a key failed. What failed while it rests, as it had begun before or had to be done, lengthens nothing. */
  failed(key: string): void {
    if (this.isResting(key)) return
    const before = this.#rests.get(key)
    const length = before ? Math.min(2 * before.length, LONGEST_REST) : FIRST_REST
    this.#rests.delete(key)
    this.#rests.set(key, { length, until: this.#now() + length * (1 - JITTER * this.#random()) })
    const [oldest = key] = this.#rests.keys()
    if (this.#rests.size > MAX_KEYS) this.#rests.delete(oldest)
  }

  /** Work for a key succeeded, or there is none to do any more: its failures are forgotten. */
  succeeded(key: string): void {
    this.#rests.delete(key)
  }
}
