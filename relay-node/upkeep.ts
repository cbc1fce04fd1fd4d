import { findBroken, setNamespaceAside } from "../dispatch/aside.ts"
import type { Clock } from "../dispatch/clock.ts"
import { sweepTags } from "../dispatch/sweep.ts"
import { declaredNamespaces, findNamespace } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import type { LogEntry } from "../protocol/log.ts"
import { type Namespace, ROOT } from "../protocol/namespace.ts"
import { raises } from "../protocol/publish.ts"
import { resync } from "../protocol/resync.ts"
import type { Store } from "../protocol/store.ts"
import { DAY, HOUR, MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import type { RelayEmitter } from "./events.ts"

export interface UpkeepOptions {
  readonly store: Store
  readonly config: Config
  readonly clock: Clock
  readonly relay: string
  readonly events: RelayEmitter
  /** Nothing more is begun. */
  readonly signal: AbortSignal
  /** Something was published by this relay itself. */
  readonly onPublished: (tenant: string) => void
  readonly onFailed: (error: unknown) => void
}

/** Ours: a namespace that is said to be broken is looked at once in so long, and no more at a time. */
const LOOK_EACH: Milliseconds = 10 * SECOND
const MAX_LOOKS = 100

/** Ours: tags that say nothing do no harm but the memory that they take. */
const SWEEP_EVERY: Milliseconds = DAY
/** After an invalidation of more than tags: once for many. */
const SWEEP_AFTER: Milliseconds = MINUTE

/** What keeps a tenant's keys in order beside the lanes: those that are none of ours, and those that say nothing any more. */
export class Upkeep {
  readonly #options: UpkeepOptions
  /** When a namespace was last looked at. */
  readonly #looks = new Map<string, Milliseconds>()
  readonly #sweepAt = new Map<string, Milliseconds>()
  readonly #sweeping = new Set<string>()

  constructor(options: UpkeepOptions) {
    this.#options = options
  }

  /** Looks at what the configuration names of a tenant, once. @throws {StoreError} */
  async begin(tenant: string): Promise<void> {
    const { store, config, clock } = this.#options
    // Not all relays at once, and not each one that is restarted every hour.
    this.#sweepAt.set(tenant, clock.now() + HOUR * (1 + clock.random()))
    const names = Object.keys(declaredNamespaces(config, tenant)).filter((name) => name !== "*")
    for (const name of await findBroken(store, tenant, [ROOT, ...names])) await this.#mend(tenant, name)
  }

  /** A publish was refused for a key of this namespace, or so somebody says. Never throws. */
  broken(tenant: string, namespace: Namespace): void {
    const { config, clock, onFailed, signal } = this.#options
    const now = clock.now()
    const key = `${tenant}/${namespace}`
    for (const [other, at] of this.#looks) if (Math.abs(now - at) >= LOOK_EACH) this.#looks.delete(other)
    // Of one that is not declared nothing can have been published.
    const isKnown = namespace === ROOT || findNamespace(config, tenant, namespace) !== undefined
    if (!isKnown || signal.aborted || this.#looks.has(key) || this.#looks.size >= MAX_LOOKS) return
    this.#looks.set(key, now)
    this.#mend(tenant, namespace).catch(onFailed)
  }

  /** What a lane passed may have made tags say nothing. */
  passed(tenant: string, entries: readonly LogEntry[]): void {
    if (!entries.some(({ body }) => raises(body) !== "tags")) return
    const soon = this.#options.clock.now() + SWEEP_AFTER
    this.#sweepAt.set(tenant, Math.min(soon, this.#sweepAt.get(tenant) ?? soon))
  }

  /** Sweeps where it is time. Never throws. */
  tick(tenant: string): void {
    const { store, config, clock, signal, onFailed } = this.#options
    const now = clock.now()
    if (signal.aborted || this.#sweeping.has(tenant) || now < (this.#sweepAt.get(tenant) ?? Infinity)) return
    this.#sweepAt.set(tenant, now + SWEEP_EVERY)
    this.#sweeping.add(tenant)
    sweepTags({ store, tenant, config, signal })
      .catch(onFailed)
      .finally(() => this.#sweeping.delete(tenant))
  }

  async #mend(tenant: string, namespace: Namespace): Promise<void> {
    const { store, config, clock, relay, events, onPublished } = this.#options
    const invalidate = (name: Namespace | null) =>
      resync(store, config, tenant, { namespace: name, by: { relay } })
    const keys = await setNamespaceAside(store, tenant, namespace, { now: clock.now(), invalidate })
    if (keys.length === 0) return
    events.emit("tenant:setAside", { tenant, namespace, keys })
    onPublished(tenant)
  }
}
