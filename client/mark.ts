import type { Epoch, Generation } from "../protocol/epoch.ts"
import type { HighWater } from "../protocol/freshness.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Generations that are remembered beside the present one. More than a few in one reader's life is a broken store. */
const MAX_REMEMBERED = 16

/**
 * What became of an answer that a reader was given.
 *
 * - `ignored` it is not believed: for this reader the store did not answer
 * - `known`   it is of the present generation; the mark rose, if it tells more of the log than the reader knew
 * - `renewed` another generation has begun for this reader, and nothing that it held counts any more
 */
export type Heard = "ignored" | "known" | "renewed"

/**
 * The mark of a reader: the highest (generation, last) that a reader was ever told, and the rule by which it changes generations.
 *
 * A higher generation is believed at once, and ends the one before for good: an answer that still tells of that one
 * comes from a replica that lags, or from a primary that was replaced.
 *
 * A lower generation is most likely told by such a one too; but it may be the truth, where a store lost everything on
 * a host whose clock is behind. It counts as an unreachable store until `patience` has passed with no word from the
 * present generation, and then is believed.
 */
export class Mark {
  readonly #patience: Milliseconds
  /** Undefined until it was told anything. Only ever set here. */
  high: HighWater | undefined
  /**
   * Marks of generations before the present one. Given up for a lower one, a generation counts from there, should it
   * return; `Infinity` for those that have ended, which are never believed again.
   */
  readonly #past = new Map<Generation, Epoch>()
  #lowerSince: Milliseconds | undefined

  constructor(patience: Milliseconds) {
    this.#patience = patience
  }

  /**
   * Takes in an answer. One that a cache had (`firstHand` false) proves nothing of the store as it is now; one of
   * generation 0 tells of no log at all, and how far it has come is only what the clock says.
   */
  hear(answer: HighWater, now: Milliseconds, firstHand = true): Heard {
    const { high } = this
    if (!(answer.generation > 0)) return "ignored"
    if (high === undefined) return this.#renew(answer)
    if (answer.generation === high.generation) {
      if (firstHand) this.#lowerSince = undefined
      if (answer.last > high.last) this.high = { ...high, last: answer.last }
      return "known"
    }
    const isHigher = answer.generation > high.generation
    if (this.#past.get(answer.generation) === Infinity || !(isHigher || firstHand)) return "ignored"
    if (!isHigher) {
      // Where our clock went back, it is counted anew.
      if (this.#lowerSince === undefined || this.#lowerSince > now) this.#lowerSince = now
      if (now - this.#lowerSince <= this.#patience) return "ignored"
    }
    this.#past.set(high.generation, isHigher ? Infinity : high.last)
    const [oldest] = this.#past.keys()
    if (this.#past.size > MAX_REMEMBERED && oldest !== undefined) this.#past.delete(oldest)
    return this.#renew(answer)
  }

  #renew({ generation, last }: HighWater): Heard {
    this.#lowerSince = undefined
    this.high = { generation, last: Math.max(last, this.#past.get(generation) ?? 0) }
    return "renewed"
  }
}
