import { quantile } from "../../bench/support/statistics.ts"

/** As many as are held exactly; of more, each has the same chance to be among them. */
const MAX_HELD = 20_000

/** Numbers of which there may be any number, in bounded memory. The highest is always known. */
export class Samples {
  count = 0
  max = 0
  readonly #held: number[] = []

  add(value: number): void {
    this.count += 1
    this.max = Math.max(this.max, value)
    if (this.#held.length < MAX_HELD) this.#held.push(value)
    else {
      const place = Math.floor(Math.random() * this.count)
      if (place < MAX_HELD) this.#held[place] = value
    }
  }

  /** 0 of nothing. */
  quantile(share: number): number {
    return this.#held.length === 0 ? 0 : quantile(this.#held, share)
  }
}
