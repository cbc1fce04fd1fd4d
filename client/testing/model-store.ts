import type { Epoch, Generation } from "../../protocol/epoch.ts"
import { type Lookup, type LookupRequest, MAX_CHANGED } from "../../protocol/lookup.ts"
import { chain, isWithin, type Namespace } from "../../protocol/namespace.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { inParts } from "../in-parts.ts"
import { type EpochStore, type Publication, type Published, StoreRefusal } from "../epoch-store.ts"

/** An invalidation, or (`renewal`) a store that lost what it had and began another generation. */
export interface Event {
  readonly kind: "tags" | "urls" | "namespace" | "everything" | "renewal"
  readonly namespace: Namespace
  readonly values: readonly string[]
  readonly hard: boolean
  readonly generation: Generation
  readonly epoch: Epoch
  readonly at: Milliseconds
}

export type Happening = Pick<Event, "kind" | "namespace"> & Partial<Pick<Event, "values" | "hard">>

/** A clock that only tests move. */
export class Clock {
  time: Milliseconds = 1_800_000_000_000
  readonly now = (): Milliseconds => this.time
}

/**
 * The server as its documents describe it, written a second time: a list of events, and answers computed from as much
 * of the list as a replica has seen.
 */
export class ModelStore implements EpochStore {
  readonly #clock: Clock
  readonly events: Event[] = []
  generation: Generation = 0
  last: Epoch = 0
  /** How far the host's clock is ahead of everybody's; behind where negative. */
  skew: Milliseconds = 0
  /** Events that the replica that is asked has not seen yet. */
  lag = 0
  away = false
  /** Runs when a look-up was read, before it is answered. */
  onLookup: (version: number) => Promise<void> | void = () => undefined
  readonly refused = new Set<Namespace>()
  readonly requests: LookupRequest[] = []

  /** @param isEmpty whether it has no log yet. Default false: one was begun a moment ago */
  constructor(clock: Clock, isEmpty = false) {
    this.#clock = clock
    if (!isEmpty) this.renew(-1)
    this.skew = 0
  }

  get version(): number {
    return this.events.length
  }

  /** What a reader publishes through its store. */
  async publish({
    mode,
    ...what
  }: Publication & { readonly mode: "invalidate" | "purge" }): Promise<Published> {
    const hard = mode === "purge"
    for (const [name, list] of Object.entries(what))
      if (Array.isArray(list) && list.length === 0)
        throw new StoreRefusal(422, `/${name} must have at least 1 item`)
    if ("everything" in what) this.record({ kind: "everything", namespace: "", hard })
    else {
      const { namespace, tags = [], urls = [], prefixes = [], hosts = [] } = what
      if (tags.length > 0) this.record({ kind: "tags", namespace, values: tags, hard })
      if (urls.length > 0) this.record({ kind: "urls", namespace, values: urls, hard })
      // Prefixes and hosts cannot be asked for: they count as the whole.
      if (prefixes.length + hosts.length > 0 || tags.length + urls.length === 0)
        this.record({ kind: "namespace", namespace, hard })
    }
    return { id: String(this.last), epoch: this.last }
  }

  record({ kind, namespace, values = [], hard = false }: Happening): Event {
    const now = (this.#clock.time + this.skew) * 1_000
    this.last = Math.max(this.last + 1, now)
    if (this.generation === 0 || kind === "renewal") this.generation = this.last
    const { generation, last: epoch } = this
    const event = { kind, namespace, values, hard, generation, epoch, at: this.#clock.time }
    this.events.push(event)
    return event
  }

  /** The store lost everything, epochs included, and began again on a host whose clock is off by `skew`. */
  renew(skew: Milliseconds): Event {
    this.skew = skew
    // Were its number one that was used before, nobody could tell.
    const used = new Set(this.events.map((event) => event.generation))
    let first = (this.#clock.time + skew) * 1_000
    while (used.has(first)) first += 1
    this.last = first - 1
    return this.record({ kind: "renewal", namespace: "", hard: false })
  }

  /** As the Worker is asked: by parts that it takes, and of what it does not refuse. */
  readonly lookup: EpochStore["lookup"] = inParts((request, after) => this.#answer(request, after), {
    namespaces: 16,
    selectors: 256,
  })

  async #answer(request: LookupRequest, after?: Epoch): Promise<Lookup> {
    this.requests.push(request)
    const asOf = this.#clock.time
    if (this.away) throw new Error("the store is away")
    for (const namespace of request.keys()) {
      if (this.refused.has(namespace)) throw new StoreRefusal(422, "not declared")
    }
    const version = Math.max(0, this.version - this.lag)
    const seen = this.events.slice(0, version)
    const answer = { ...answerAt(seen, request, asOf), ...changesAt(seen, request, after) }
    await this.onLookup(version)
    return answer
  }
}

/** What a replica answers that has seen these events. */
export function answerAt(events: readonly Event[], request: LookupRequest, asOf: Milliseconds): Lookup {
  const generation = events.at(-1)?.generation ?? 0
  const seen = events.filter((event) => event.generation === generation)
  const last = seen.at(-1)?.epoch ?? asOf * 1_000
  const highest = (matches: (event: Event) => boolean): Epoch =>
    seen.reduce((epoch, event) => (matches(event) ? event.epoch : epoch), 0)
  const namespaces = new Map(
    Array.from(request, ([namespace, { tags, urls }]) => {
      const above = new Set(chain(namespace))
      const epoch = highest((event) => isWhole(event) && above.has(event.namespace))
      const own = highest((event) => event.namespace === namespace || event.namespace === "")
      const hard = highest((event) => event.hard && above.has(event.namespace))
      const of = (kind: "tags" | "urls", value: string) =>
        highest(
          (event) => event.kind === kind && event.namespace === namespace && event.values.includes(value),
        )
      const asked = [
        ...tags.map((tag): [string, Epoch] => [tag, of("tags", tag)]),
        ...urls.map((url): [string, Epoch] => [`u:${url}`, of("urls", url)]),
      ]
      const known = new Map(asked.filter(([, score]) => score > 0))
      return [namespace, { epoch, watermark: Math.max(own, epoch), hard, floor: 0, tags: known }] as const
    }),
  )
  return { tenant: "default", generation, last, asOf, namespaces: new Map(namespaces) }
}

/** What a replica that has seen these events tells of changes: nothing of before the first of its generation. */
function changesAt(events: readonly Event[], request: LookupRequest, after: Epoch | undefined) {
  if (after === undefined) return {}
  const generation = events.at(-1)?.generation ?? 0
  const since = events.filter((event) => event.generation === generation && event.epoch > after)
  const of = (namespace: Namespace) =>
    since
      .filter((event) => event.namespace === namespace && (event.kind === "tags" || event.kind === "urls"))
      .flatMap(({ kind, values, epoch }) =>
        values.map((value): [string, Epoch] => [kind === "urls" ? `u:${value}` : value, epoch]),
      )
  const changed = Array.from(request.keys(), (namespace): [Namespace, ReadonlyMap<string, Epoch> | null] => {
    const tags = new Map(of(namespace))
    return [namespace, after < generation || tags.size > MAX_CHANGED ? null : tags]
  })
  return { after, changed: new Map(changed) }
}

const isWhole = ({ kind }: Event): boolean =>
  kind === "namespace" || kind === "everything" || kind === "renewal"

/** Whether an event is about an entry of this namespace with these tags and this url. */
export function concerns(event: Event, namespace: Namespace, tags: readonly string[], url: string): boolean {
  if (event.kind === "renewal" || event.kind === "everything") return true
  if (event.kind === "namespace") return isWithin(namespace, event.namespace)
  if (namespace !== event.namespace) return false
  const own = event.kind === "tags" ? tags : [url]
  return event.values.some((value) => own.includes(value))
}
