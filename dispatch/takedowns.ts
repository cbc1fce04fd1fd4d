import { concerns } from "../protocol/concern.ts"
import type { Epoch } from "../protocol/epoch.ts"
import type { Store } from "../protocol/store.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { type Clock, OVER } from "./clock.ts"
import type { LaneName } from "./commit.ts"
import { readLog } from "./reading.ts"

export interface TakedownsOptions {
  readonly store: Store
  readonly clock: Clock
  readonly lane: LaneName
  /** Patterns of the target. */
  readonly namespaces: readonly string[]
}

/** Ours: how often a lane that is busy looks at what came meanwhile, and how much of it. */
const LOOK_EACH: Milliseconds = SECOND
const MAX_LOOKED_AT = 500
/** Ours: a backlog is read and planned anew each time, which is not to take more than a tenth of the time. */
const SHARE = 10
/** Ours: how often what was read may be put off, so that its cursor moves at last. */
const MAX_TIMES = 100

/**
 * A hard purge is not to wait for what was read before it, such as a bulk whose bucket is empty. While a lane makes its
 * calls, this looks at what was published since; where that takes something down, the lane reads again from its cursor,
 * merges it, and asks it first.
 */
export class Takedowns {
  readonly #options: TakedownsOptions
  #urgent: AbortController | undefined
  /** Aborted with the calls: nothing is looked at after them. */
  #over = new AbortController()
  #after: Epoch = 0
  #notBefore: Milliseconds = 0
  #isLooking = false
  #isAsked = false
  #times = 0
  /** Up to which the log is to be read, so that a range does not grow without end. */
  #until: Epoch | undefined

  constructor(options: TakedownsOptions) {
    this.#options = options
  }

  /** The log is about to be read: what was published before needs no look. */
  read(): void {
    this.#isAsked = false
  }

  /**
   * Calls begin for what was read up to a position.
   *
   * @param took to read and to plan it
   * @returns aborted when something is to go first
   */
  watch({ epoch }: { readonly epoch: Epoch }, took: Milliseconds): AbortSignal {
    const urgent = (this.#urgent = new AbortController())
    this.#over = new AbortController()
    this.#after = epoch
    this.#notBefore = this.#options.clock.now() + Math.max(LOOK_EACH, SHARE * took)
    // It may have been published while that was read.
    if (this.#isAsked) this.look()
    return urgent.signal
  }

  /** The calls have ended. */
  rest(): void {
    this.#urgent = undefined
    this.#over.abort(OVER)
  }

  /** The cursor has moved: what was put off is done. */
  forget(): void {
    this.#times = 0
    this.#until = undefined
  }

  /** Whether what goes first was read. */
  isReached(epoch: Epoch): boolean {
    return this.#until !== undefined && epoch >= this.#until
  }

  /** Something was published. Never throws. */
  look(): void {
    this.#isAsked = true
    if (this.#isLooking || !this.#urgent) return
    this.#isLooking = true
    void this.#look().finally(() => {
      this.#isLooking = false
    })
  }

  async #look(): Promise<void> {
    const { clock } = this.#options
    while (this.#isAsked && this.#urgent && this.#times < MAX_TIMES) {
      this.#isAsked = false
      const urgent = this.#urgent
      await clock.sleep(Math.max(0, this.#notBefore - clock.now()), this.#over.signal)
      // The calls may have ended meanwhile, and others begun.
      if (urgent !== this.#urgent) continue
      const found = await this.#find().catch(() => undefined)
      this.#notBefore = clock.now() + LOOK_EACH
      if (found === undefined || urgent !== this.#urgent) continue
      this.#times += 1
      this.#until = found
      urgent.abort(OVER)
    }
  }

  /** The newest of what was published since that takes something down here. @throws {StoreError} */
  async #find(): Promise<Epoch | undefined> {
    const { store, lane, namespaces } = this.#options
    const { entries } = await readLog(store, lane, this.#after, MAX_LOOKED_AT)
    return entries.findLast(
      ({ body }) => body.mode === "purge" && !body.settling && concerns(body, namespaces),
    )?.epoch
  }
}
