import type { Epoch, Stamp } from "../protocol/epoch.ts"
import { type Answer, askedTags, type HighWater } from "../protocol/freshness.ts"
import type { Asked, Lookup } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, SECOND } from "../protocol/time.ts"
import { requestOf } from "./asking.ts"
import type { EpochStore, StoreAnswer, StoreRefusal } from "./epoch-store.ts"
import type { EpochCache } from "./l2.ts"
import { Mark } from "./mark.ts"
import { ageOf, hold, type Memory, type Slot, slotOf } from "./memory.ts"
import { giveUpAfter, settles } from "./patience.ts"
import { TidemarkError } from "./trouble.ts"

/**
 * A store that failed, or lagged, is not asked again before this has passed; some wait up to twice as long, so that
 * isolates which lost their store in the same instant do not return in the same one.
 */
const RETRY_AFTER: Milliseconds = SECOND

/**
 * A look-up waits for no longer than this in all, whatever does not answer. A request that has not settled by then is
 * lost: the store hangs, or the Worker request that began it has ended.
 */
const PATIENCE: Milliseconds = 2 * SECOND

/** A part of that is for the cache below: one that is slower than this is no help. */
const CACHE_PATIENCE: Milliseconds = SECOND / 2

/** A look-up joins what is under way, asks for the namespace, then for tags, and again where the watermark moved. */
const MAX_ROUNDS = 4

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
  /** Is told why nothing could be looked up, and of which namespaces. Each time: how often that is said is its affair. */
  readonly tell: (error: unknown, namespaces: readonly Namespace[]) => void
  readonly now: () => Milliseconds
  readonly random: () => number
}

/** What is to be judged. */
export interface Question {
  /** Tags are only asked where this stamp needs them; without one, never. */
  readonly stamp?: Stamp | undefined
  /** As `askedTags` gives them. */
  readonly tags: () => readonly string[]
  /** Answers that tell less than this are used for nothing but to say no. */
  readonly atLeast: Epoch
  readonly waitUntil: WaitUntil | undefined
}

/** What is known of a namespace, and what to hold it against. */
export interface View {
  readonly answer: Answer
  /** The reader's mark when it was asked, or what was asked for, whichever is higher. */
  readonly high: HighWater
  /** The reader's mark: what an entry may be stamped with whose origin is read from now on. */
  readonly told: HighWater
  /** Some of the question's tags had to be asked, and could not be. */
  readonly isBlind: boolean
}

/** One round of asking: for everything that was wanted in the same tick. */
interface Flight {
  /** Counted from 1 when it is sent; 0 before. */
  number: number
  sentAt: Milliseconds
  readonly wants: Map<Namespace, Set<string>>
  /** What somebody who waits for it needs to be told of at least. */
  atLeast: Epoch
  /** Whether somebody keeps it alive by waiting for it. One that nobody does may be lost with its request. */
  attended: boolean
  /** Settles when what it brought is held, and tells of which namespaces. Never rejects. */
  answered: Promise<readonly Namespace[]>
  /** Settles when the cache below has it too. Never rejects. */
  landed: Promise<unknown>
}

/**
 * Epochs as they were last heard: in memory, then in the cache of the data centre, then from the store.
 *
 * Every answer carries when the store was asked. Up to `ttl` it is used; up to twice that it is used while one refresh
 * runs; above that the look-up waits. Where the store does not answer, up to `maxStale`; then nothing is known.
 */
export class Epochs {
  readonly #options: EpochsOptions
  readonly #now: () => Milliseconds
  readonly #mark: Mark
  readonly #memory: Memory = new Map()
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
    this.#options = options
    this.#now = options.now
    this.#mark = new Mark(options.maxStale)
  }

  /** Somebody tells that the log has come as far as this. Whether they are believed. */
  hear(mark: HighWater, isFirstHand = false): boolean {
    const { high } = this.#mark
    const heard = this.#mark.hear(mark, this.#now(), isFirstHand)
    if (heard === "renewed") {
      for (const slot of this.#memory.values()) delete slot.row
      // Of which generation it was is not known; if of the first that is told, it still counts.
      if (high) this.#wrote = 0
    }
    if (this.#mark.high !== high) this.#sentWhenRaised = this.#sent
    return heard !== "ignored"
  }

  /** This reader's own publish was accepted. In which generation was not said: if in a new one, its first answer tells. */
  wrote(last: Epoch): void {
    const { high } = this.#mark
    if (high) this.hear({ ...high, last })
    else this.#wrote = Math.max(this.#wrote, last)
  }

  /** What is known of a namespace, where that is current enough to judge by without asking or waiting. */
  peek(namespace: Namespace, question: Question): View | undefined {
    const slot = this.#memory.get(namespace)
    const least = this.#least(question)
    if (!slot?.row || !this.#isCurrent(slot) || isBehind(slot, least)) return undefined
    if (missingTags(slot, question).length > 0) return undefined
    slot.usedAt = this.#now()
    return this.#view(slot, question, this.#sent, least)
  }

  /** What is known of a namespace, current enough to judge by; undefined where nothing is. Never rejects. */
  async read(namespace: Namespace, question: Question): Promise<View | undefined> {
    const { ttl, l2 } = this.#options
    const since = this.#sent
    const until = performance.now() + PATIENCE
    // What was known when it was asked: held against what is told meanwhile, no answer would ever be new enough.
    const least = this.#least(question)
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const slot = this.#use(namespace)
      const behind = isBehind(slot, least)
      const missing = behind ? [] : missingTags(slot, question)
      const serves = slot.row && !behind && missing.length === 0
      if (serves && (this.#isCurrent(slot) || slot.gave > since)) break
      const mayRefresh = serves && ageOf(slot.row!, this.#now()) < 2 * ttl
      // While the store is let alone, only the cache below is asked, and only for what is not known at all.
      const lags = this.#isAhead(slot.laggingUntil) && (behind || mayRefresh)
      const letAlone = lags || this.#isAhead(this.#retryAt) || this.#isAhead(slot.refusedUntil)
      if (letAlone && (slot.row || !l2 || round > 0)) break
      if (mayRefresh || (this.#failing && this.#isUsable(slot, since))) {
        this.#fly(namespace, missing, question, false)
        break
      }
      const left = until - performance.now()
      if (left < 0) break
      await this.#wait(namespace, missing, { ...question, atLeast: least }, since, left)
    }
    return this.#view(this.#use(namespace), question, since, least)
  }

  #use(namespace: Namespace): Slot {
    return slotOf(this.#memory, namespace, this.#now())
  }

  #isCurrent({ row, jitter }: Slot): boolean {
    return row !== undefined && ageOf(row, this.#now()) < this.#options.ttl * (1 + jitter)
  }

  /** What has to be told of at least, so as to be used for more than to say no. */
  #least({ atLeast }: Question): Epoch {
    return Math.max(this.#mark.high?.last ?? 0, atLeast, this.#wrote)
  }

  #isUsable({ row, gave }: Slot, since: number): boolean {
    if (!row) return false
    const { ttl, maxStale, onStoreFailure } = this.#options
    const age = ageOf(row, this.#now())
    // What the store itself had from elsewhere may be older than we asked: that much it lags, as a mirror does.
    const mayServe = onStoreFailure === "serve-stale" && age + row.askedAt - row.asOf <= maxStale
    // Asked for by this very look-up, it is the best there is.
    return age < 2 * ttl || mayServe || gave > since
  }

  #view(slot: Slot, question: Question, since: number, last: Epoch): View | undefined {
    const told = this.#mark.high
    if (!slot.row || !told || !this.#isUsable(slot, since)) return undefined
    return {
      answer: slot.row,
      high: last === told.last ? told : { ...told, last },
      told,
      isBlind: !isBehind(slot, last) && missingTags(slot, question).length > 0,
    }
  }

  /** Whether a time to retry is still to come. One further ahead than any is set was set before the clock went back. */
  #isAhead(until: Milliseconds): boolean {
    const left = until - this.#now()
    return left > 0 && left <= 2 * RETRY_AFTER
  }

  /**
   * Sees to it that a flight asks this: one under way, or that of this tick.
   *
   * @param waits then one under way counts only if somebody keeps it alive, and if it was sent not long ago
   * @param atLeast what whoever waits needs to be told of
   */
  #fly(namespace: Namespace, tags: readonly string[], { waitUntil }: Question, waits: boolean, atLeast = 0) {
    const now = this.#now()
    for (const flight of this.#flying) if (now - flight.sentAt >= PATIENCE) this.#flying.delete(flight)
    const joined = [...this.#flying].find(
      ({ wants, attended, sentAt }) =>
        (!waits || (attended && now - sentAt < this.#options.ttl)) &&
        wants.has(namespace) &&
        tags.every((tag) => wants.get(namespace)?.has(tag)),
    )
    const flight = joined ?? (this.#next ??= this.#prepare())
    if (joined && !waits) return { joined, flight }
    flight.wants.set(namespace, new Set([...(flight.wants.get(namespace) ?? []), ...tags]))
    flight.atLeast = Math.max(flight.atLeast, atLeast)
    flight.attended ||= waits || waitUntil !== undefined
    waitUntil?.(flight.landed)
    return { joined, flight }
  }

  async #wait(
    namespace: Namespace,
    tags: readonly string[],
    question: Question,
    since: number,
    patience: Milliseconds,
  ): Promise<void> {
    const { joined, flight } = this.#fly(namespace, tags, question, true, question.atLeast)
    if (!(await settles(flight.answered, patience))) {
      this.#flying.delete(flight)
      if (this.#next === flight) this.#next = undefined
      if (!joined) this.#fail(`the store did not answer within ${PATIENCE} ms`, [namespace])
      return
    }
    const slot = this.#use(namespace)
    if (slot.row && slot.row.last < question.atLeast && flight.number > since)
      slot.laggingUntil = this.#retryTime()
  }

  #prepare(): Flight {
    const answered = Promise.resolve([])
    const flight: Flight = {
      number: 0,
      sentAt: 0,
      wants: new Map(),
      atLeast: 0,
      attended: false,
      answered,
      landed: answered,
    }
    flight.answered = this.#send(flight)
    flight.landed = flight.answered.then((asked) => this.#keep(asked))
    return flight
  }

  async #send(flight: Flight): Promise<readonly Namespace[]> {
    // What else is asked in this tick comes along.
    await Promise.resolve()
    if (this.#next === flight) this.#next = undefined
    flight.number = this.#sent += 1
    flight.sentAt = this.#now()
    this.#flying.add(flight)
    try {
      const wanted = await this.#askCache(flight)
      if (wanted.size === 0 || this.#isAhead(this.#retryAt)) return []
      return await this.#askStore(wanted, flight.number)
    } finally {
      this.#flying.delete(flight)
    }
  }

  /** Asks the cache below, and returns what is left to ask of the store. */
  async #askCache({ wants, atLeast }: Flight): Promise<Map<Namespace, string[]>> {
    const { l2 } = this.#options
    const left = new Map<Namespace, string[]>()
    await Promise.all(
      Array.from(wants, async ([namespace, tags]) => {
        // What it cannot do is ignored, and so is what it does not do in time, or what is not believed.
        if (l2) await giveUpAfter(CACHE_PATIENCE, () => this.#find(l2, namespace))
        const slot = this.#memory.get(namespace)
        const missing = [...tags].filter((tag) => !slot?.row?.tags.has(tag))
        if (!slot || !this.#isCurrent(slot) || isBehind(slot, atLeast) || missing.length > 0)
          left.set(namespace, missing)
      }),
    )
    return left
  }

  async #find(l2: EpochCache, namespace: Namespace): Promise<void> {
    const found = await l2.find(namespace, this.#tenant)
    if (!found) return
    const asOf = Math.min(found.asOf, this.#now())
    this.#hold({ ...found, asOf }, new Map([[namespace, {}]]), 0, asOf)
  }

  /** Asks the store, and along with what is wanted all that is in use: what a reader holds is then of one point of the log. */
  async #askStore(
    wanted: ReadonlyMap<Namespace, readonly string[]>,
    request: number,
  ): Promise<readonly Namespace[]> {
    const { store, ttl } = this.#options
    const askedAt = this.#now()
    const along = [...this.#memory].filter(
      ([name, { row, gave, usedAt }]) => row && gave >= 0 && usedAt >= askedAt - 2 * ttl && !wanted.has(name),
    )
    const asking = requestOf(wanted, along)
    const names = [...asking.keys()]
    let told: StoreAnswer | undefined
    let refusal: Partial<StoreRefusal> = { message: "the store did not answer" }
    try {
      const after = this.#after(names, askedAt)
      const lookup = { after, ...(await store.lookup(asking, after)) }
      // The store's clock may be off by hours; only of a mirror is it the one thing to go by.
      const asOf = store.isMirror ? Math.min(lookup.asOf, askedAt) : askedAt
      this.#hold({ ...lookup, asOf }, asking, request, askedAt)
      this.#tenant = lookup.tenant
      this.#failing = false
      this.#retryAt = 0
      told = lookup
    } catch (error) {
      // By its name: a store may be of another copy of this package.
      if ((error as Error | undefined)?.name !== "StoreRefusal") {
        this.#fail(error, names)
        return []
      }
      refusal = error as StoreRefusal
    }
    const isTold = (name: Namespace) => told?.namespaces.has(name)
    for (const name of names) {
      if (isTold(name)) continue
      const slot = this.#memory.get(name)
      if (slot) Object.assign(slot, { gave: -1, refusedUntil: this.#retryTime() })
      const { message } = (told ?? refusal).refused?.get(name) ?? refusal
      this.#options.tell(new TidemarkError("refused", `namespace ${name}: ${message}`), [name])
    }
    return names.filter(isTold)
  }

  /** Since when it is to be told what changed: since what is held of all that are asked, so that all can be kept up. */
  #after(asked: readonly Namespace[], now: Milliseconds): Epoch {
    const held = asked.map((namespace) => this.#memory.get(namespace)?.row?.last ?? Infinity)
    const oldest = Math.min(...held)
    return oldest < Infinity ? oldest : Math.floor((now - LOOK_BACK) * 1_000)
  }

  /**
   * Takes an answer in; its number is 0 where a cache had it.
   *
   * @throws {TidemarkError} where it is not to be believed
   */
  #hold(
    { generation, last, asOf, after = Infinity, changed, namespaces }: Lookup,
    wanted: ReadonlyMap<Namespace, Partial<Asked>>,
    request: number,
    askedAt: Milliseconds,
  ): void {
    const { ttl, maxStale, random } = this.#options
    // A mirror that nobody writes any more tells nothing.
    if (askedAt - asOf > maxStale || !this.hear({ generation, last }, request > 0))
      throw generation === 0
        ? new TidemarkError("empty", "nothing was ever published")
        : new TidemarkError("not-believed", "the store tells of an older log, or is an old mirror")
    for (const [namespace, { tags, ...row }] of namespaces) {
      // To be asked along is no use of its own: what nobody reads any more drops out.
      const slot = this.#memory.get(namespace) ?? (wanted.has(namespace) ? this.#use(namespace) : undefined)
      if (!slot) continue
      if (request > 0) {
        // An answer may also tell less because it was asked for before the mark rose.
        const lags = last < (this.#mark.high?.last ?? 0) && request > this.#sentWhenRaised
        slot.laggingUntil = lags ? this.#retryTime() : 0
      }
      slot.jitter = random() / 10
      // A tag that was asked and is not listed counts as the floor.
      const unlisted = askedTags(wanted.get(namespace) ?? {}).map((tag) => [tag, row.floor] as const)
      const told = {
        ...row,
        generation,
        last,
        asOf,
        askedAt,
        after,
        changed: changed?.get(namespace) ?? null,
      }
      hold(slot, { ...told, asked: [...unlisted, ...tags] }, request, this.#now(), 2 * ttl)
    }
  }

  /** Gives the cache below what is held of what was asked. */
  async #keep(asked: readonly Namespace[]): Promise<void> {
    const { l2, maxStale } = this.#options
    await Promise.all(
      asked.map(async (namespace) => {
        const slot = this.#memory.get(namespace)
        if (slot && l2)
          await giveUpAfter(PATIENCE, () => l2.keep(namespace, slot, this.#tenant ?? "", maxStale))
      }),
    )
  }

  #fail(error: unknown, asked: readonly Namespace[]): void {
    this.#failing = true
    this.#retryAt = this.#retryTime()
    this.#options.tell(error, asked)
  }

  #retryTime(): Milliseconds {
    return this.#now() + RETRY_AFTER * (1 + this.#options.random())
  }
}

/** Whether what is held tells less of the log than this. */
const isBehind = ({ row }: Slot, least: Epoch): boolean => row !== undefined && row.last < least

/** Those of a question's tags that have to be asked: they are not held, and its stamp is older than what is known of all. */
function missingTags({ row, knownSince }: Slot, { stamp, tags }: Question): string[] {
  if (!row || stamp?.generation !== row.generation) return []
  const isByTags = stamp.epoch >= row.epoch && stamp.epoch < row.watermark && stamp.epoch < knownSince
  return isByTags ? tags().filter((tag) => !row.tags.has(tag)) : []
}
