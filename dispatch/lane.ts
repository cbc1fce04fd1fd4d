import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import { type Epoch, type Head, parseHead, type Position } from "../protocol/epoch.ts"
import type { Mode } from "../protocol/invalidation.ts"
import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  lanesKey,
  lateKey,
  leaseKey,
  logKey,
  neverKey,
  sentKey,
} from "../protocol/keys.ts"
import { type LogEntry, parseLogEntries } from "../protocol/log.ts"
import {
  type CallReceipt,
  type LaneStatus,
  type LateReceipt,
  parseJson,
  type RangeReceipt,
} from "../protocol/receipt.ts"
import { acquireScript, commitScript, readScript, releaseScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store, StoreError } from "../protocol/store.ts"
import { MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import { backoff, type Clock } from "./clock.ts"
import { deliver, type Delivered, type DeliverContext, type Refusal, type Stop } from "./deliver.ts"
import type { Pacer } from "./pace.ts"
import { type Item, keyOf, type Plan, type PlanContext, planEntries, planResync, planWider } from "./plan.ts"
import type { Batch, Capabilities, Driver, Outcome } from "./targets/target.ts"

/** Everything worth knowing about a lane. Logs and metrics only listen. */
export interface LaneEvents {
  "lane:called": { kind: string; mode: Mode; values: number; outcome: Outcome["outcome"]; took: Milliseconds }
  "lane:committed": { entries: number; calls: number; epoch: Epoch; lag: Milliseconds }
  /** `isFirst`: nobody knows of this target to have read this log, which a new one has not. */
  "lane:resynced": { reason: ResyncReason; isFirst: boolean; from: Position; to: Position }
  "lane:stopped": { state: "retrying" | "paused"; detail: string; attempts: number; wait: Milliseconds }
  "lane:recovered": { attempts: number }
  "lane:lost": object
  "lane:deadLettered": { epochs: readonly Epoch[]; detail: string }
  "lane:failed": { detail: string }
}

/** Why a lane could not prove that it saw every entry. */
export type ResyncReason = "generation" | "gap" | "missingEntries"

export type EmitLane = <K extends keyof LaneEvents>(event: K, payload: LaneEvents[K]) => void

export interface LaneOptions {
  readonly tenant: string
  readonly name: string
  readonly config: Config
  readonly target: TargetConfig
  readonly capabilities: Capabilities
  readonly driver: Driver
  readonly pacer: Pacer
  readonly store: Store
  readonly clock: Clock
  /** This relay's id; each acquisition of the lease adds to it. */
  readonly relay: string
  readonly emit?: EmitLane
  /** Told after each commit: a second pass may wait for it. */
  readonly onCommit?: () => void
}

const MAX_ENTRIES = 10_000
const MAX_READ_BYTES = 4 * 1024 * 1024
/** Ours: of calls that need not be repeated, as many as a read of that size usually makes, and a bound for the rest. */
const MAX_ACCEPTED = 10_000
const MAX_RETRY_AFTER: Milliseconds = 5 * MINUTE
/** How often wrong credentials are tried again: nobody tells us when they are mended. */
const PAUSE: Milliseconds = 30 * SECOND

interface Held extends Position {
  /** The whole cursor as it was read, which a commit compares. */
  readonly text: string
}

/** What became of a plan, with what was sent instead for which epochs. */
interface CarriedOut extends Delivered {
  readonly as: ReadonlyMap<Epoch, string>
}

/** What a step came to. */
type Step = "again" | "level" | { readonly wait: Milliseconds }

/**
 * One tenant's log read for one target: taken when there is something to read, planned, called, committed.
 *
 * - `idle`     nothing unread that we know of, or another relay holds the lease
 * - `running`  reads, calls and commits; a nudge now asks for one more read
 * - `retrying` the vendor is in trouble: the cursor stays, the backlog waits in Redis
 * - `paused`   as `retrying`, for credentials that are refused
 * - `closed`   for good; what was under way has finished
 */
export class Lane {
  readonly #options: LaneOptions
  readonly #plan: PlanContext
  readonly #stopping = new AbortController()
  readonly #accepted = new Map<string, CallReceipt>()
  #owner = ""
  #leaseUntil: Milliseconds = 0
  #nudged = false
  #working: Promise<void> | undefined
  #attempts = 0
  /** Whether Redis may show that this lane is in trouble: said by this relay, or by one that had the lane before. */
  #hasTold = false
  /** The cursor as this relay last knew it: what the next read most likely starts from. */
  #cursor: Held | undefined
  #hasRead = false
  #hasCommitted = false
  #status: LaneStatus

  constructor(options: LaneOptions) {
    this.#options = options
    this.#plan = options
    this.#status = { state: "idle", since: options.clock.now(), attempts: 0 }
  }

  get status(): LaneStatus {
    return this.#status
  }

  get tenant(): string {
    return this.#options.tenant
  }

  get name(): string {
    return this.#options.name
  }

  /** Whether this relay holds the lease, as far as it knows. */
  get holds(): boolean {
    return this.#options.clock.now() < this.#leaseUntil
  }

  /** Whether it has come to the end of its log once, or to what keeps it from that. */
  get hasRead(): boolean {
    return this.#hasRead
  }

  /** There may be something to read. Cheap at any rate; never throws. A vendor in trouble is not asked any sooner. */
  nudge(): void {
    this.#nudged = true
    if (this.#working || this.#stopping.signal.aborted) return
    this.#working = this.#work().finally(() => {
      this.#working = undefined
      if (this.#nudged) this.nudge()
    })
  }

  /** Begins no further call; resolves when those under way have finished. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#working
    if (!this.holds) return
    const { store, tenant, name } = this.#options
    this.#leaseUntil = 0
    // Whoever is there takes over at once; where this fails, when the lease is over.
    await store.script(releaseScript, [leaseKey(tenant, name)], [this.#owner]).catch(() => {})
  }

  async #work(): Promise<void> {
    let failures = 0
    while (this.#nudged && !this.#stopping.signal.aborted) {
      this.#nudged = false
      const { window } = this.#options.target
      if (window > 0) await this.#sleep(window)
      try {
        let step: Step = "again"
        while (step === "again" && !this.#stopping.signal.aborted) step = await this.#step()
        failures = 0
        this.#hasRead = true
        if (typeof step === "object") {
          await this.#sleep(step.wait)
          this.#nudged = true
        }
      } catch (error) {
        failures += 1
        this.#emit("lane:failed", { detail: error instanceof Error ? error.message : "unknown" })
        if (!(error instanceof StoreError)) this.#setState("idle")
        await this.#sleep(
          Math.max(
            50,
            backoff(failures, () => this.#options.clock.random()),
          ),
        )
        this.#nudged = true
      }
    }
    if (this.#status.state === "running") this.#setState("idle")
  }

  async #step(): Promise<Step> {
    // Where the lease ran out, another relay may have had the lane in between, and its vendor in trouble.
    const isFresh = !this.holds
    const expected = isFresh ? undefined : this.#cursor
    // Sent in this order over one connection: what is read early was read under the lease.
    const [held, told, early] = await Promise.all([
      this.#hold(),
      isFresh ? this.#readTold() : undefined,
      expected && this.#read(expected),
    ])
    if (!held) {
      // Whoever holds it reads on; when it no longer renews its lease, it is gone. What it tells is its own.
      this.#hasTold = false
      this.#rest()
      return { wait: this.#options.config.relay.lease }
    }
    if (told) this.#hasTold = true
    this.#cursor = held
    const { head, entries } = early && held.text === expected?.text ? early : await this.#read(held)
    if (!head || (entries.length === 0 && isAt(head, held))) {
      this.#rest()
      return "level"
    }
    const pause = told?.state === "retrying" ? this.#takeUp(told) : 0
    if (pause > 0) return { wait: pause }
    if (this.#status.state === "idle") this.#setState("running")
    const gap = gapOf(held, head, entries)
    // Also after a gap not to the head where the read was cut off: what follows may be harder than the resync.
    const to: Position = entries.at(-1) ?? head
    const plan = gap
      ? planResync(this.#options.config.relay.resync.mode, head.epoch, entries, this.#plan)
      : planEntries(entries, this.#plan)
    const renewal = this.#keepLease(held)
    let result: CarriedOut
    try {
      result = await this.#carryOut(plan, held, renewal.signal)
    } finally {
      await renewal.stop()
    }
    if (result.stop) return this.#stop(result.stop)
    const committed = await this.#commit(held, to, entries, plan, result, gap)
    // Another has the lane, or the cursor is no longer as it was: taking the lease again tells which.
    if (committed === "lost") return "again"
    if (gap) {
      const { text: _, ...from } = held
      this.#emit("lane:resynced", {
        reason: gap,
        isFirst: held.generation === 0 && !this.#hasCommitted,
        from,
        to,
      })
    }
    if (this.#attempts > 0) this.#emit("lane:recovered", { attempts: this.#attempts })
    this.#cursor = { ...to, text: `${this.#owner} ${positionText(to)}` }
    this.#hasCommitted = true
    this.#attempts = 0
    this.#accepted.clear()
    this.#setState("running")
    this.#options.onCommit?.()
    return committed && isAt(committed, to) ? "level" : "again"
  }

  /** Takes or renews the lease. Undefined: another relay has it. */
  async #hold(): Promise<Held | undefined> {
    const { store, tenant, name, config, relay, clock } = this.#options
    // Unique per acquisition: an owner that slept through its lease must not take up its old cursor again.
    if (!this.holds) this.#owner = `${relay}.${Math.floor(clock.random() * 2 ** 48).toString(36)}`
    const asked = clock.now()
    const keys = [leaseKey(tenant, name), cursorKey(tenant), neverKey(tenant)]
    const text = asText(
      await store.script(acquireScript, keys, [name, this.#owner, String(config.relay.lease)]),
    )
    if (text === undefined) {
      this.#leaseUntil = 0
      return undefined
    }
    // From before the asking: our idea of the lease ends no later than Redis's.
    this.#leaseUntil = asked + config.relay.lease
    const [, generation, epoch, seq] = text.split(" ")
    return { text, generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
  }

  async #read(held: Held): Promise<{ head: Head | undefined; entries: LogEntry[] }> {
    const { store, tenant } = this.#options
    const args = [String(held.epoch), String(MAX_ENTRIES), String(MAX_READ_BYTES)]
    const [head, entries] = asList(await store.script(readScript, [headKey(tenant), logKey(tenant)], args))
    return { head: parseHead(asText(head)), entries: parseLogEntries(entries) }
  }

  /** Renews the lease while calls run; its signal is aborted when no further call may begin. */
  #keepLease(held: Held): { signal: AbortSignal; stop(): Promise<void> } {
    const { clock, config } = this.#options
    const finished = new AbortController()
    const ended = new AbortController()
    const renew = async (): Promise<void> => {
      for (;;) {
        await clock.sleep(config.relay.lease / 3, finished.signal)
        if (finished.signal.aborted) return
        const renewed = await this.#renew().catch(() => undefined)
        if (renewed === undefined ? !this.holds : renewed !== held.text) {
          ended.abort()
          return
        }
      }
    }
    const renewing = renew()
    return {
      signal: AbortSignal.any([ended.signal, this.#stopping.signal]),
      stop: async () => {
        finished.abort()
        await renewing
      },
    }
  }

  async #renew(): Promise<string> {
    return (await this.#hold())?.text ?? ""
  }

  /** Calls the vendor for a plan, and once more, wider, for what it refused by itself. */
  async #carryOut(plan: Plan, held: Held, signal: AbortSignal): Promise<CarriedOut> {
    const { tenant, name, capabilities, driver, pacer, clock, target } = this.#options
    const context: DeliverContext = {
      tenant,
      target: name,
      capabilities,
      driver,
      pacer,
      timeout: target.timeout,
      signal,
      mayBegin: () => this.holds && held.text.startsWith(`${this.#owner} `),
      accepted: this.#accepted,
      now: () => clock.now(),
      onCall: (batch, outcome, took) => this.#called(batch, outcome, took),
    }
    const first = await deliver(plan.items, context)
    const as = new Map(plan.as)
    if (first.stop || first.refused.length === 0 || target.onUnsupported === "skip") return { ...first, as }
    const retried = first.refused.map((refusal) => ({ refusal, wider: planWider(refusal.item, this.#plan) }))
    const refused = new Set(first.refused.map(({ item }) => keyOf(item.kind, item.value)))
    // Something must stand for all of it; and what is as wide as it gets, and was refused already, would be again.
    const usable = retried.filter(
      ({ wider: { items, impossible } }) =>
        items.length > 0 &&
        impossible.length === 0 &&
        !items.some(({ kind, value }) => refused.has(keyOf(kind, value))),
    )
    const second = await deliver(merge(usable.flatMap(({ wider }) => wider.items)), context)
    for (const { wider } of usable) {
      for (const [epoch, what] of wider.as) as.set(epoch, joined(as.get(epoch), what))
    }
    return {
      calls: [...first.calls, ...second.calls],
      callCount: first.callCount + second.callCount,
      refused: [
        ...retried.filter((one) => !usable.includes(one)).map(({ refusal }) => refusal),
        ...second.refused,
      ],
      ...(second.stop ? { stop: second.stop } : {}),
      as,
    }
  }

  #called(batch: Batch, outcome: Outcome, took: Milliseconds): void {
    const kinds = new Set(batch.values.map(({ kind }) => kind))
    const kind = kinds.size === 1 ? [...kinds].join("") : "mixed"
    this.#emit("lane:called", {
      kind,
      mode: batch.mode,
      values: batch.values.length,
      outcome: outcome.outcome,
      took,
    })
  }

  async #stop({ state, detail, retryAfter }: Stop): Promise<Step> {
    if (state === "ended") {
      if (!this.#stopping.signal.aborted) this.#emit("lane:lost", {})
      return "again"
    }
    const { clock } = this.#options
    if (this.#accepted.size > MAX_ACCEPTED) this.#accepted.clear()
    this.#attempts += 1
    const own = state === "paused" ? PAUSE : backoff(this.#attempts, () => clock.random())
    // A vendor that asks for no pause at all is not asked without one: that would be asking it all the time.
    const wait = Math.min(retryAfter || own, MAX_RETRY_AFTER)
    this.#setState(state, detail, clock.now() + wait)
    this.#emit("lane:stopped", { state, detail, attempts: this.#attempts, wait })
    if (this.holds) await this.#tell()
    return { wait }
  }

  /** Another relay left the lane with its vendor in trouble: this one goes on counting, and asks no sooner. */
  #takeUp({ attempts, error, nextAt = 0 }: LaneStatus): Milliseconds {
    this.#attempts = Math.max(this.#attempts, attempts)
    this.#setState("retrying", error, nextAt)
    return Math.min(nextAt - this.#options.clock.now(), MAX_RETRY_AFTER)
  }

  /** There is nothing to do, or another does it. */
  #rest(): void {
    this.#attempts = 0
    this.#accepted.clear()
    if (this.#status.state !== "idle") this.#setState("idle")
  }

  async #commit(
    held: Held,
    to: Position,
    entries: readonly LogEntry[],
    plan: Plan,
    result: CarriedOut,
    gap: ResyncReason | undefined,
  ): Promise<Head | undefined | "lost"> {
    const { store, tenant, name, clock, config } = this.#options
    const now = clock.now()
    const failures = failuresOf(plan, result.refused, now, this.#attempts + 1, result.calls)
    const receipt: RangeReceipt = {
      at: now,
      attempts: this.#attempts + 1,
      calls: result.calls,
      callCount: result.callCount,
      namespaces: this.#options.target.namespaces,
      ex: [...plan.settling, ...failures.late.map(({ epoch }) => epoch)],
      ...(gap ? { resync: gap } : sentAsOf(result.as, entries)),
    }
    const dead = failures.dead.map((letter) => JSON.stringify({ ...letter, tenant }))
    const keys = [
      cursorKey(tenant),
      sentKey(tenant, name),
      lateKey(tenant, name),
      dueKey(tenant, name),
      dueItemsKey(tenant, name),
      deadKey(tenant, name),
      logKey(tenant),
      headKey(tenant),
      neverKey(tenant),
    ]
    const [status, head] = asList(
      await store.script(commitScript, keys, [
        name,
        held.text,
        positionText(to),
        JSON.stringify(receipt),
        String((now - config.log.keep) * 1000),
        "0",
        "0",
        String(failures.late.length),
        ...failures.late.flatMap((late) => [String(late.epoch), JSON.stringify(late)]),
        String(dead.length),
        ...dead,
      ]),
    )
    if (status !== "ok") {
      this.#emit("lane:lost", {})
      return "lost"
    }
    for (const { epochs, error } of failures.dead) this.#emit("lane:deadLettered", { epochs, detail: error })
    const lag = now - to.epoch / 1000
    this.#emit("lane:committed", { entries: entries.length, calls: result.callCount, epoch: to.epoch, lag })
    return parseHead(asText(head))
  }

  #setState(state: LaneStatus["state"], error?: string, nextAt?: Milliseconds): void {
    this.#status = {
      state,
      since: state === this.#status.state ? this.#status.since : this.#options.clock.now(),
      attempts: this.#attempts,
      ...(error === undefined ? {} : { error }),
      ...(nextAt === undefined ? {} : { nextAt }),
    }
    if (this.#hasTold && (state === "running" || state === "idle")) void this.#takeBack()
  }

  /** Says in Redis what trouble the lane is in: records show it, and another relay that takes the lane heeds it. */
  async #tell(): Promise<void> {
    const { store, tenant, name } = this.#options
    this.#hasTold = true
    try {
      await store.pipeline([["HSET", lanesKey(tenant), name, JSON.stringify(this.#status)]])
    } catch {
      // A full or absent Redis: the record then says `pending`, which is true as well.
    }
  }

  /** Records must not show a lane's trouble when it is over. */
  async #takeBack(): Promise<void> {
    const { store, tenant, name } = this.#options
    this.#hasTold = false
    try {
      await store.pipeline([["HDEL", lanesKey(tenant), name]])
    } catch {
      this.#hasTold = true
    }
  }

  /** What trouble the lane was last said to be in, by whichever relay had it. */
  async #readTold(): Promise<LaneStatus | undefined> {
    const { store, tenant, name } = this.#options
    const [text] = await store.pipeline([["HGET", lanesKey(tenant), name]])
    const status = parseJson<LaneStatus>(asText(text))
    return status?.state === "retrying" || status?.state === "paused" ? status : undefined
  }

  /** Sleeps, unless the lane is closed. */
  #sleep(length: Milliseconds): Promise<void> {
    return this.#options.clock.sleep(length, this.#stopping.signal)
  }

  #emit: EmitLane = (event, payload) => this.#options.emit?.(event, payload)
}

const positionText = ({ generation, epoch, seq }: Position): string => `${generation} ${epoch} ${seq}`

const isAt = (head: Position, position: Position): boolean =>
  head.generation === position.generation && head.seq === position.seq && head.epoch === position.epoch

/** Whether the entries continue the cursor one by one in its own generation; if not, why not (I4). */
function gapOf(held: Position, head: Head, entries: readonly LogEntry[]): ResyncReason | undefined {
  if (entries.length === 0) return head.generation === held.generation ? "missingEntries" : "generation"
  for (const [index, entry] of entries.entries()) {
    if (held.generation !== 0 && entry.generation !== held.generation) return "generation"
    if (entry.seq !== held.seq + 1 + index) return "gap"
  }
  return undefined
}

/** What was sent instead, of both. */
const joined = (a: string | undefined, b: string): string =>
  [...new Set([...(a?.split(", ") ?? []), ...b.split(", ")])].toSorted().join(", ")

/** Items of several plans, the same one only once and as hard as the hardest. */
function merge(items: readonly Item[]): Item[] {
  const merged = new Map<string, Item>()
  for (const item of items) {
    const key = keyOf(item.kind, item.value)
    const known = merged.get(key)
    merged.set(key, {
      ...item,
      mode: known?.mode === "purge" ? "purge" : item.mode,
      namespaces: [...new Set([...(known?.namespaces ?? []), ...item.namespaces])],
      epochs: [...new Set([...(known?.epochs ?? []), ...item.epochs])],
    })
  }
  return [...merged.values()]
}

interface DeadLetter {
  readonly epochs: readonly Epoch[]
  readonly namespaces: readonly string[]
  readonly selector: { readonly kind: string; readonly value: string }
  readonly mode: Mode
  readonly error: string
  readonly at: Milliseconds
}

function failuresOf(
  plan: Plan,
  refused: readonly Refusal[],
  at: Milliseconds,
  attempts: number,
  calls: readonly CallReceipt[],
): { dead: DeadLetter[]; late: LateReceipt[] } {
  const dead = [
    ...refused.map(({ item, detail }): DeadLetter => ({
      epochs: item.epochs,
      namespaces: item.namespaces,
      selector: { kind: item.kind, value: item.meant },
      mode: item.mode,
      error: detail,
      at,
    })),
    ...plan.impossible.map((item): DeadLetter => ({
      epochs: item.epochs,
      namespaces: item.namespace === null ? [] : [item.namespace],
      selector: { kind: item.kind, value: item.meant },
      mode: item.mode,
      error: item.detail,
      at,
    })),
  ]
  const unsupported = new Set([
    ...plan.impossible.flatMap(({ epochs }) => epochs),
    ...refused.filter(({ state }) => state === "not_supported").flatMap(({ item }) => item.epochs),
  ])
  const late = new Map<Epoch, LateReceipt>()
  for (const { epochs, error } of dead) {
    for (const epoch of epochs) {
      late.set(epoch, {
        epoch,
        state: unsupported.has(epoch) ? "not_supported" : "dead",
        at,
        attempts,
        calls,
        error,
      })
    }
  }
  return { dead, late: [...late.values()] }
}

/** Said once where all entries share it, which is the usual case; else by epoch. */
function sentAsOf(
  as: ReadonlyMap<Epoch, string>,
  entries: readonly LogEntry[],
): Pick<RangeReceipt, "as" | "asOf"> {
  const kinds = new Set(as.values())
  if (kinds.size === 0) return {}
  if (kinds.size === 1 && as.size === entries.length) return { as: [...kinds].join("") }
  const asOf: Record<string, Epoch[]> = {}
  for (const [epoch, what] of as) (asOf[what] ??= []).push(epoch)
  return { asOf }
}
