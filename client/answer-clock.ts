import { type Milliseconds, SECOND } from "../protocol/time.ts"

/** An answer that is older than this is a copy. Hosts whose clocks differ by less may answer in turns. Ours. */
const TOLERANCE: Milliseconds = SECOND

/** By how much two clocks may drift apart, beside what they count: more than any clock that is not being set. */
const DRIFT = 0.001

/** Answers that seem old, but keep step with our clock for so long, tell that the Worker's clock was set back. */
const STEADY: Milliseconds = 3 * SECOND

/**
 * Tells the copies of a cache in between from answers, by the Worker's clock as answers show it.
 *
 * An answer tells when it was made, by a clock that may be off by hours. But it was made before it was received: so
 * much the Worker's clock is ahead of ours at least. What was made earlier than it was asked for, by a clock that is so
 * far ahead, was not made for who asked. A copy that stands still is found after a second, one that is renewed now and
 * then as well; a clock that is set back counts as one for a few answers, until these are seen to keep step with ours.
 *
 * Of the first answer nothing can be told, as nothing is known of the clock.
 */
export class AnswerClock {
  /** By how much the Worker's clock is ahead of ours at least, as it was found at that time. */
  #ahead = -Infinity
  #at: Milliseconds = 0
  /** The first of those that seemed old and keep step with our clock, and how many did since. */
  #doubted: { readonly asOf: Milliseconds; readonly sentAt: Milliseconds; steps: number } | undefined

  /**
   * Takes in when an answer was made by the Worker's clock, and when it was asked for and received by ours, which only
   * goes forward.
   *
   * @returns how old it was when it was asked for, at least, where that shows that it is a copy; else 0
   */
  ageOf(asOf: Milliseconds, sentAt: Milliseconds, receivedAt: Milliseconds): Milliseconds {
    const ahead = this.#ahead - Math.max(0, sentAt - this.#at) * DRIFT
    const age = sentAt + ahead - asOf
    if (age > TOLERANCE && !this.#keepsStep(asOf, sentAt)) return age
    this.#ahead = age > TOLERANCE ? asOf - receivedAt : Math.max(ahead, asOf - receivedAt)
    this.#at = receivedAt
    this.#doubted = undefined
    return 0
  }

  #keepsStep(asOf: Milliseconds, sentAt: Milliseconds): boolean {
    const first = this.#doubted
    const passed = first ? sentAt - first.sentAt : 0
    if (!first || Math.abs(asOf - first.asOf - passed) > TOLERANCE) {
      this.#doubted = { asOf, sentAt, steps: 0 }
      return false
    }
    first.steps += 1
    return first.steps >= 2 && passed >= STEADY
  }
}
