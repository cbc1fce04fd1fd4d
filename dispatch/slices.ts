/**
 * Work that may be long, told step by step: each step yields what it cost, in about the bytes that it went over, and the
 * last returns what came of it. Who runs it decides whether others have a turn in between.
 */
export type Steps<T> = Generator<number, T, void>

/**
 * How much is done in one go: some milliseconds of a processor, in which a process answers nobody. No step costs more
 * than the longest value that there may be.
 */
export const SLICE = 256 * 1024

/** Does it all at once: what one request can ask for is no more than a slice. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Does it in slices. @param turn resolves when the next may begin */
export async function inSlices<T>(steps: Steps<T>, turn: () => Promise<void>): Promise<T> {
  let cost = 0
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
    cost += value
    if (cost < SLICE) continue
    cost = 0
    await turn()
  }
}

/**
 * Whose slice comes next, where tenants share a process: each of them in turn, however much work one has. So a slice waits
 * for no more than one of every other tenant, and what came in over the network is answered between two.
 */
export class Turns {
  readonly #pause: () => Promise<void>
  /** In the order in which tenants are served. */
  readonly #waiting = new Map<string, (() => void)[]>()
  #isServing = false

  /** @param pause resolves after a turn of the event loop: timers, such as a lease's, and all connections come first */
  constructor(pause: () => Promise<void>) {
    this.#pause = pause
  }

  /** Resolves when it is this tenant's turn. Never rejects. */
  take(tenant: string): Promise<void> {
    return new Promise((resolve) => {
      const own = this.#waiting.get(tenant)
      if (own) own.push(resolve)
      else this.#waiting.set(tenant, [resolve])
      if (!this.#isServing) void this.#serve()
    })
  }

  async #serve(): Promise<void> {
    this.#isServing = true
    while (this.#waiting.size > 0) {
      await this.#pause()
      for (const [tenant, own] of this.#waiting) {
        // Behind all others, unless nothing of it waits any more.
        this.#waiting.delete(tenant)
        const next = own.shift()
        if (own.length > 0) this.#waiting.set(tenant, own)
        next?.()
        break
      }
    }
    this.#isServing = false
  }
}
