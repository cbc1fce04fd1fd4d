import type { Position } from "../protocol/epoch.ts"
import { cursorKey, leaseKey, neverKey } from "../protocol/keys.ts"
import { acquireScript, releaseScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { type Clock, OVER } from "./clock.ts"

/** A lane's cursor under a lease. */
export interface Held extends Position {
  /** The whole cursor as it was read, which a commit compares. */
  readonly text: string
}

export interface LeaseOptions {
  readonly store: Store
  readonly clock: Clock
  readonly tenant: string
  readonly target: string
  /** Who asks; each acquisition adds to it. */
  readonly relay: string
  readonly length: Milliseconds
}

/**
 * The right to read one lane, for a while. It keeps two relays from doing the same work; what keeps a lane right is
 * that a commit compares the whole cursor, owner and all.
 */
export class Lease {
  readonly #options: LeaseOptions
  #owner = ""
  #until: Milliseconds = 0
  #othersFor: Milliseconds = 0
  #isOurs = false

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  /** Whether it is ours, as far as we know. */
  get holds(): boolean {
    return this.#options.clock.now() < this.#until
  }

  /** Whether this relay had it last, as far as it knows: at rest nobody renews a lease, and whoever comes may take it. */
  get isOurs(): boolean {
    return this.#isOurs
  }

  /** The owner that the cursor names was seen. */
  see(owner: string): void {
    this.#isOurs = owner.startsWith(`${this.#options.relay}.`)
  }

  /** Whether it was taken so lately that it need not be renewed yet. */
  get isYoung(): boolean {
    const { clock, length } = this.#options
    const left = this.#until - clock.now()
    // No more than it was taken for: a clock that was set back would make it young for as long.
    return left > length / 2 && left <= length
  }

  /** For how long it is another's, unless they renew it; as Redis said when it was last refused. */
  get othersFor(): Milliseconds {
    return this.#othersFor
  }

  /** Whether a call may begin for what was read under this cursor. */
  covers(held: Held): boolean {
    return this.holds && held.text.startsWith(`${this.#owner} `)
  }

  /**
   * Takes or renews it. Undefined: another has it.
   *
   * @throws {StoreError}
   */
  async take(): Promise<Held | undefined> {
    const { store, tenant, target, relay, clock, length } = this.#options
    // Unique per acquisition: an owner that slept through its lease must not take up its old cursor again.
    if (!this.holds) this.#owner = `${relay}.${Math.floor(clock.random() * 2 ** 48).toString(36)}`
    const asked = clock.now()
    const keys = [leaseKey(tenant, target), cursorKey(tenant), neverKey(tenant)]
    const [cursor, left] = asList(
      await store.script(acquireScript, keys, [target, this.#owner, String(length)]),
    )
    const text = asText(cursor) ?? ""
    this.#isOurs = text !== ""
    if (text === "") {
      this.#until = 0
      this.#othersFor = Math.min(length, Math.max(1, Number(left ?? length)))
      return undefined
    }
    // From before the asking: our idea of the lease ends no later than Redis's.
    this.#until = asked + length
    const [, generation, epoch, seq] = text.split(" ")
    return { text, generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
  }

  /** Renews it while calls run; the signal is aborted when no further call may begin. */
  keep(held: Held): { readonly signal: AbortSignal; stop(): Promise<void> } {
    const { clock, length } = this.#options
    const finished = new AbortController()
    const ended = new AbortController()
    const renew = async (): Promise<void> => {
      for (;;) {
        await clock.sleep(length / 3, finished.signal)
        if (finished.signal.aborted) return
        const renewed = await this.take().then(
          (now) => now?.text ?? "",
          () => undefined,
        )
        if (renewed === undefined ? !this.holds : renewed !== held.text) {
          ended.abort(OVER)
          return
        }
      }
    }
    const renewing = renew()
    return {
      signal: ended.signal,
      stop: async () => {
        finished.abort(OVER)
        await renewing
      },
    }
  }

  /** Gives it back, so that whoever is there takes over at once; where that fails, when it is over. */
  async release(): Promise<void> {
    if (!this.holds) return
    const { store, tenant, target } = this.#options
    this.#until = 0
    await store.script(releaseScript, [leaseKey(tenant, target)], [this.#owner]).catch(() => {})
  }

  /** The cursor after a commit, as the next read most likely finds it. */
  at(position: Position): Held {
    return { ...position, text: `${this.#owner} ${positionText(position)}` }
  }
}

/** A position as a cursor has it. */
export const positionText = ({ generation, epoch, seq }: Position): string => `${generation} ${epoch} ${seq}`
