import type { Epoch, Stamp } from "../protocol/epoch.ts"
import { type Answer, askedTags, type HighWater } from "../protocol/freshness.ts"
import type { Asked, Lookup } from "../protocol/lookup.ts"
import { isNamespace, type Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, SECOND } from "../protocol/time.ts"
import { isAskable, requestOf } from "./asking.ts"
import type { EpochCache } from "./l2.ts"
import { ageOf, hold, Memory, missingTags, type Slot } from "./memory.ts"
import { settles } from "./patience.ts"
import { type EpochStore, MAX_NAMESPACES, MAX_SELECTORS, StoreRefusal } from "./store.ts"
import { Told } from "./told.ts"

/**
 * A store that failed, or lagged, is not asked again before this has passed; some wait up to twice as long, so that
 * isolates which lost their store in the same instant do not return in the same one.
 */
const RETRY_AFTER: Milliseconds = SECOND

/** A request that has not settled by then is lost: the Worker request that began it has ended. */
const PATIENCE: Milliseconds = 2.5 * SECOND

/**
 * A look-up joins what is under way, asks for the namespace, then for as many tags as one request may carry, and again
 * where more were asked or the watermark moved.
 */
const MAX_ROUNDS = 8

/** A reader that knows nothing yet asks what changed since then: entries filled later need no look-up of their tags. */
const LOOK_BACK: Milliseconds = DAY

/** Keeps a Worker alive until a promise has settled. */
export type WaitUntil = (promise: Promise<unknown>) => void

export interface EpochsOptions {
  readonly store: EpochStore
  readonly ttl: Milliseconds
  readonly maxStale: Milliseconds
  readonly onStoreFailure: "serve-stale" | "bypass"
  readonly l2: EpochCache | undefined
  readonly now: () => Milliseconds
  readonly random: () => number
}

/** What is to be judged. */
export interface Question {
  /** Tags are only asked where this stamp needs them; without one, never. */
  readonly stamp?: Stamp | undefined
  /** As `askedTags` gives them. */
  readonly tags: readonly string[]
  /** Answers that tell less than this are used for nothing but to say no. */
  readonly atLeast: Epoch
  readonly waitUntil: WaitUntil | undefined
}

/** What is known of a namespace, and what to hold it against. */
export interface View {
  readonly answer: Answer
  /** The reader's mark, or what was asked for, whichever is higher. */
  readonly high: HighWater
  /** The reader's mark: what an entry may be stamped with whose origin is read from now on. */
  readonly told: HighWater
  /** The question's tags, without those that nobody can invalidate because they are no tags. */
  readonly tags: readonly string[]
  /** Some of those tags could not be asked. */
  readonly tagsMissing: boolean
}

/** One round of asking: for everything that was wanted in the same tick. */
interface Flight {
  /** Counted from 1 when it is sent; 0 before. */
  number: number
  sentAt: Milliseconds
  readonly wants: Map<Namespace, Want>
  /** Whether somebody keeps it alive by waiting for it. One that nobody does may be lost with its request. */
  attended: boolean
  /** Settles when what it brought is held, and tells of which namespaces. Never rejects. */
  answered: Promise<readonly Namespace[]>
  /** Settles when the cache below has it too. Never rejects. */
  landed: Promise<unknown>
}

interface Want {
  readonly tags: Set<string>
  atLeast: Epoch
}

/**
 * Epochs as they were last heard: in memory, then in the cache of the data centre, then from the store.
 *
 * Every answer carries when the store was asked. Up to `ttl` it is used; up to twice that it is used while one refresh
 * runs; above that the look-up waits. Where the store does not answer, up to `maxStale`; then nothing is known.
 */
export class Epochs {
  readonly #options: EpochsOptions
  readonly #told: Told
  readonly #memory = new Memory()
  readonly #flying = new Set<Flight>()
  #next: Flight | undefined
  #sent = 0
  /** How many flights had been sent when the mark rose: only a later one was sent knowing of it. */
  #sentWhenRaised = 0
  #failing = false
  #retryAt: Milliseconds = 0
  #tenant: string | undefined
  /** What this reader published before it was told anything. */
  #wrote: Epoch = 0

  constructor(options: EpochsOptions) {
    // With a ttl of 0 no answer of a cache would ever do.
    this.#options = options.ttl > 0 ? options : { ...options, l2: undefined }
    this.#told = new Told(options.maxStale)
  }

  /** Somebody tells that the log has come further. What is held tells less then, and is asked anew when it is used. */
  heard(mark: HighWater): void {
    this.#tell(mark, false)
  }

  /** Whether a mark is believed. */
  #tell(mark: HighWater, isFirstHand: boolean): boolean {
    const { high } = this.#told
    const heard = this.#told.hear(mark, this.#options.now(), isFirstHand)
    if (heard === "renewed") this.#memory.forgetAnswers()
    // Of which generation it was is not known; if of the first that is told, it still counts.
    if (heard === "renewed" && high) this.#wrote = 0
    if (heard === "renewed" || heard === "risen") this.#sentWhenRaised = this.#sent
    return heard !== "ignored"
  }

  /** This reader's own publish was accepted. In which generation was not said: if in a new one, its first answer tells. */
  wrote(epoch: Epoch): void {
    const { high } = this.#told
    if (high) this.heard({ generation: high.generation, last: epoch })
    else this.#wrote = Math.max(this.#wrote, epoch)
  }

  /** What is known of a namespace, current enough to judge by; undefined where nothing is. Never rejects. */
  async read(namespace: Namespace, asked: Question): Promise<View | undefined> {
    if (!isNamespace(namespace)) return undefined
    const question = { ...asked, atLeast: Math.max(asked.atLeast, this.#wrote) }
    const { ttl, now } = this.#options
    const since = this.#sent
    const stamp = question.stamp?.epoch ?? 0
    let tags = question.tags
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const slot = this.#memory.use(namespace, now())
      const needsTags = this.#needsTags(slot, question)
      if (needsTags) tags = tags.filter((tag) => isAskable(tag))
      const missing = needsTags ? missingTags(slot, stamp, tags).slice(0, MAX_SELECTORS) : []
      const behind = this.#isBehind(slot, question.atLeast)
      const serves = slot.row !== undefined && missing.length === 0 && !behind
      const age = slot.row ? ageOf(slot.row, now()) : Infinity
      if (serves && (age < ttl * (1 + slot.jitter) || slot.gave > since)) break
      // While the store is let alone, only the cache below is asked, and only for what is not known at all.
      const lags = isAhead(slot.laggingUntil, now()) && (behind || (serves && age < 2 * ttl))
      const letAlone = lags || [this.#retryAt, slot.refusedUntil].some((until) => isAhead(until, now()))
      if (letAlone && (slot.row || !this.#options.l2 || round > 0)) break
      if ((serves && age < 2 * ttl) || (this.#failing && this.#isUsable(slot, since))) {
        this.#refresh(namespace, missing, question)
        break
      }
      await this.#ask(namespace, missing, question, since)
    }
    return this.#view(this.#memory.use(namespace, now()), question, tags, since)
  }

  #needsTags({ row }: Slot, { stamp, tags, atLeast }: Question): boolean {
    if (!row || !stamp || tags.length === 0 || this.#isBehind({ row }, atLeast)) return false
    return stamp.generation === row.generation && stamp.epoch >= row.epoch && stamp.epoch < row.watermark
  }

  #isBehind({ row }: Pick<Slot, "row">, atLeast: Epoch): boolean {
    return row !== undefined && row.last < Math.max(this.#told.high?.last ?? 0, atLeast)
  }

  #isUsable({ row, gave }: Slot, since: number): boolean {
    if (!row) return false
    const { ttl, maxStale, onStoreFailure, now } = this.#options
    // What the store itself had from elsewhere may be older than we asked: that much it lags, as a mirror does.
    const lag = row.askedAt - row.asOf
    const age = ageOf(row, now())
    if (age < 2 * ttl || (age + lag <= maxStale && onStoreFailure === "serve-stale")) return true
    // Asked for by this very look-up, it is the best there is.
    return gave > since
  }

  #view(slot: Slot, question: Question, tags: readonly string[], since: number): View | undefined {
    const { row } = slot
    const told = this.#told.high
    if (!row || !told || !this.#isUsable(slot, since)) return undefined
    const knowsAll = question.stamp !== undefined && question.stamp.epoch >= slot.knownSince
    return {
      // A tag that is not held is no younger than what is known of all: for this stamp, that is as good as never.
      answer: { ...row, floor: knowsAll ? 0 : row.floor, tags: slot.tags },
      high: { generation: told.generation, last: Math.max(told.last, question.atLeast) },
      told,
      tags,
      tagsMissing: !knowsAll && tags.some((tag) => !slot.tags.has(tag)),
    }
  }

  /** Sees to it that one refresh runs, and waits for nothing. */
  #refresh(namespace: Namespace, tags: readonly string[], { waitUntil }: Question): void {
    const now = this.#options.now()
    for (const flight of this.#flying) if (now - flight.sentAt >= PATIENCE) this.#flying.delete(flight)
    if ([...this.#flying].some((flight) => covers(flight, namespace, tags))) return
    const flight = this.#board(namespace, tags, 0)
    if (!waitUntil) return
    flight.attended = true
    waitUntil(flight.landed)
  }

  /** Waits for a flight that asks this: one under way, if somebody keeps it alive, or a new one. */
  async #ask(
    namespace: Namespace,
    tags: readonly string[],
    { atLeast, waitUntil }: Question,
    since: number,
  ): Promise<void> {
    const { ttl, now } = this.#options
    const joined = [...this.#flying].find(
      (flight) => flight.attended && now() - flight.sentAt < ttl && covers(flight, namespace, tags),
    )
    const flight = joined ?? this.#board(namespace, tags, atLeast)
    flight.attended = true
    waitUntil?.(flight.landed)
    if (!(await settles(flight.answered, PATIENCE))) {
      this.#flying.delete(flight)
      if (this.#next === flight) this.#next = undefined
      if (!joined) this.#fail()
      return
    }
    const slot = this.#memory.find(namespace)
    if (slot?.row && slot.row.last < atLeast && flight.number > since) slot.laggingUntil = this.#retryTime()
  }

  /** Puts a wish on the flight of this tick, or on another one where that is full. */
  #board(namespace: Namespace, tags: readonly string[], atLeast: Epoch): Flight {
    if (this.#next && !hasRoom(this.#next, namespace, tags.length)) this.#next = undefined
    const flight = (this.#next ??= this.#prepare())
    const want = flight.wants.get(namespace) ?? { tags: new Set(), atLeast: 0 }
    for (const tag of tags) want.tags.add(tag)
    want.atLeast = Math.max(want.atLeast, atLeast)
    flight.wants.set(namespace, want)
    return flight
  }

  #prepare(): Flight {
    const none = Promise.resolve([])
    const flight: Flight = {
      number: 0,
      sentAt: 0,
      wants: new Map(),
      attended: false,
      answered: none,
      landed: none,
    }
    flight.answered = this.#send(flight)
    flight.landed = flight.answered.then((asked) => this.#keep(asked))
    return flight
  }

  async #send(flight: Flight): Promise<readonly Namespace[]> {
    // What else is asked in this tick comes along.
    await Promise.resolve()
    if (this.#next === flight) this.#next = undefined
    const { now } = this.#options
    flight.number = this.#sent += 1
    flight.sentAt = now()
    this.#flying.add(flight)
    try {
      const wanted = await this.#askCache(flight)
      if (wanted.size === 0 || isAhead(this.#retryAt, now())) return []
      const inUse = this.#memory.usedSince(now() - 2 * this.#options.ttl)
      const along = inUse.filter((name) => !wanted.has(name)).slice(0, MAX_NAMESPACES - wanted.size)
      return await this.#askStore(wanted, along, flight.number)
    } finally {
      this.#flying.delete(flight)
    }
  }

  /** Asks the cache below, and returns what is left to ask of the store. */
  async #askCache({ wants }: Flight): Promise<Map<Namespace, string[]>> {
    const { l2, ttl, now } = this.#options
    if (l2) {
      await Promise.all(
        Array.from(wants.keys(), async (namespace) => {
          const found = await quietly(() => l2.get(namespace))
          if (!found || (this.#tenant !== undefined && found.tenant !== this.#tenant)) return
          const asOf = Math.min(found.asOf, now())
          this.#hear({ ...found, asOf }, new Map([[namespace, {}]]), { number: 0, askedAt: asOf })
        }),
      )
    }
    const left = new Map<Namespace, string[]>()
    for (const [namespace, want] of wants) {
      const slot = this.#memory.find(namespace)
      const missing = slot?.row ? [...want.tags].filter((tag) => !slot.tags.has(tag)) : [...want.tags]
      const isCurrent = slot?.row && ageOf(slot.row, now()) < ttl && !this.#isBehind(slot, want.atLeast)
      if (!isCurrent || missing.length > 0) left.set(namespace, missing)
    }
    return left
  }

  async #askStore(
    wanted: ReadonlyMap<Namespace, readonly string[]>,
    along: readonly Namespace[],
    request: number,
  ): Promise<readonly Namespace[]> {
    const { store, now } = this.#options
    const asking = requestOf(wanted, along)
    const askedAt = now()
    let lookup: Lookup
    try {
      lookup = await store.lookup(asking, this.#after(asking.keys(), askedAt))
      // The store's clock may be off by hours; only of a mirror is it the one thing to go by.
      const asOf = store.isMirror ? Math.min(lookup.asOf, askedAt) : askedAt
      if (!this.#hear({ ...lookup, asOf }, asking, { number: request, askedAt }))
        throw new Error("not believed")
    } catch (error) {
      if (error instanceof StoreRefusal) return this.#refused(wanted, along, request)
      this.#fail()
      return []
    }
    this.#tenant = lookup.tenant
    this.#failing = false
    this.#retryAt = 0
    return [...asking.keys()]
  }

  /** Since when it is to be told what changed: since what is held of all that are asked, so that all can be kept up. */
  #after(asked: Iterable<Namespace>, now: Milliseconds): Epoch {
    const held = Array.from(asked, (namespace) => this.#memory.find(namespace)?.row?.last ?? Infinity)
    const oldest = Math.min(...held)
    return oldest < Infinity ? oldest : Math.max(0, Math.floor((now - LOOK_BACK) * 1_000))
  }

  /** A namespace that may not be asked must not keep others from being answered: each is asked alone. */
  async #refused(
    wanted: ReadonlyMap<Namespace, readonly string[]>,
    along: readonly Namespace[],
    request: number,
  ): Promise<readonly Namespace[]> {
    for (const namespace of along) {
      const slot = this.#memory.find(namespace)
      if (slot) slot.along = false
    }
    const [only] = wanted.keys()
    if (wanted.size === 1 && along.length === 0 && only !== undefined) {
      this.#memory.use(only, this.#options.now()).refusedUntil = this.#retryTime()
      return []
    }
    const alone = Array.from(wanted, (one) => this.#askStore(new Map([one]), [], request))
    return (await Promise.all(alone)).flat()
  }

  /** Takes an answer in; its number is 0 where a cache had it. False where it is not to be believed. */
  #hear(
    lookup: Lookup,
    wanted: ReadonlyMap<Namespace, Partial<Asked>>,
    { number, askedAt }: { readonly number: number; readonly askedAt: Milliseconds },
  ): boolean {
    const now = this.#options.now()
    const { generation, last, asOf } = lookup
    // A mirror that nobody writes any more tells nothing.
    if (askedAt - asOf > this.#options.maxStale) return false
    if (!this.#tell({ generation, last }, number > 0)) return false
    const { after = Infinity } = lookup
    for (const [namespace, { tags: listed, ...told }] of lookup.namespaces) {
      // To be asked along is no use of its own: what nobody reads any more drops out.
      const slot =
        this.#memory.find(namespace) ?? (wanted.has(namespace) ? this.#memory.use(namespace, now) : undefined)
      if (!slot) continue
      if (number > 0) {
        slot.along = true
        // An answer may also tell less because it was asked for before the mark rose.
        const lags = last < (this.#told.high?.last ?? 0) && number > this.#sentWhenRaised
        slot.laggingUntil = lags ? this.#retryTime() : 0
      }
      slot.jitter = this.#options.random() / 10
      const row = { ...told, generation, last, asOf, askedAt }
      // A tag that was asked and is not listed counts as the floor.
      const unlisted = askedTags(wanted.get(namespace) ?? {}).map((tag): [string, Epoch] => [tag, told.floor])
      const tags = new Map([...unlisted, ...listed])
      const changed = lookup.changed?.get(namespace) ?? null
      hold(slot, row, { tags, changed, after }, { request: number, now, useUpTo: 2 * this.#options.ttl })
    }
    return true
  }

  /** Gives the cache below all that is held of what was asked: a cold isolate then knows as much as this one. */
  async #keep(asked: readonly Namespace[]): Promise<void> {
    const { l2, maxStale } = this.#options
    if (!l2) return
    const puts = asked.map((namespace) => {
      const slot = this.#memory.find(namespace)
      const lookup = slot && lookupOf(namespace, slot, this.#tenant ?? "")
      return lookup && quietly(() => l2.put(namespace, lookup, maxStale))
    })
    await Promise.all(puts)
  }

  #fail(): void {
    this.#failing = true
    this.#retryAt = this.#retryTime()
  }

  #retryTime(): Milliseconds {
    const { now, random } = this.#options
    return now() + RETRY_AFTER * (1 + random())
  }
}

/** Whether a time to retry is still to come. One further ahead than any is set was set before the clock went back. */
const isAhead = (until: Milliseconds, now: Milliseconds): boolean =>
  now < until && until - now <= 2 * RETRY_AFTER

const covers = ({ wants }: Flight, namespace: Namespace, tags: readonly string[]): boolean => {
  const want = wants.get(namespace)
  return want !== undefined && tags.every((tag) => want.tags.has(tag))
}

const hasRoom = ({ wants }: Flight, namespace: Namespace, tags: number): boolean => {
  const asked = [...wants.values()].reduce((sum, want) => sum + want.tags.size, tags)
  return asked <= MAX_SELECTORS && (wants.has(namespace) || wants.size < MAX_NAMESPACES)
}

/** What is held of a namespace, as an answer. */
function lookupOf(namespace: Namespace, { row, tags, knownSince: after }: Slot, tenant: string) {
  if (!row) return undefined
  const { generation, last, asOf, askedAt: _, ...told } = row
  const changed = new Map([...tags].filter(([, epoch]) => epoch > after))
  return {
    tenant,
    generation,
    last,
    asOf,
    namespaces: new Map([[namespace, { ...told, tags: new Map(tags) }]]),
    after,
    changed: new Map([[namespace, changed]]),
  }
}

/** A cache that fails is a cache that has nothing. */
async function quietly<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch {
    return undefined
  }
}
