import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import type { Epoch, Head, Position } from "../protocol/epoch.ts"
import { type Mode, NO_SELECTORS } from "../protocol/invalidation.ts"
import { dueItemsKey, dueKey, lanesKey } from "../protocol/keys.ts"
import { type DeadLetter, type DueItem, parseDue } from "../protocol/letter.ts"
import type { LogEntry } from "../protocol/log.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { laneOf } from "../protocol/nodes.ts"
import {
  type CallReceipt,
  type LaneStatus,
  type LateReceipt,
  parseJson,
  type RangeReceipt,
} from "../protocol/receipt.ts"
import { asList, asText, type Store, StoreError } from "../protocol/store.ts"
import { HOUR, MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import { isWrongType, setAside } from "./aside.ts"
import { type CarriedOut, carryOut } from "./carry-out.ts"
import { backoff, type Clock, OVER } from "./clock.ts"
import { commit, type Committed, type LaneName, readLate } from "./commit.ts"
import type { DeliverContext, Stop } from "./deliver.ts"
import { type Held, Lease } from "./lease.ts"
import { afterItem, failuresOf, sentAsOf, spreadId, unreadableLetters } from "./outcome.ts"
import type { Pacer } from "./pace.ts"
import {
  type Plan,
  type PlanContext,
  planEntries,
  planOwed,
  planResync,
  Planning,
  resyncParts,
} from "./plan.ts"
import { whatToMend } from "./mend.ts"
import { gapOf, type Read, readLog, readOn, type ResyncReason } from "./reading.ts"
import { inSlices, type Turns } from "./slices.ts"
import { Takedowns } from "./takedowns.ts"
import type { Batch, Capabilities, Driver, Outcome } from "./targets/target.ts"

/** Everything worth knowing about a lane. Logs and metrics only listen. */
export interface LaneEvents {
  /** `what`: the first of what was said, each as `tag post-42`, and how many more there were. For people. */
  "lane:called": {
    kind: string
    mode: Mode
    values: number
    what: string
    outcome: Outcome["outcome"]
    status?: number
    detail?: string
    took: Milliseconds
  }
  "lane:committed": { entries: number; calls: number; epoch: Epoch; lag: Milliseconds }
  /** `isFirst`: nobody knows of this target to have read this log, which a new one has not. */
  "lane:resynced": { reason: ResyncReason; isFirst: boolean; from: Position; to: Position }
  "lane:stopped": { state: "retrying" | "paused"; detail: string; attempts: number; wait: Milliseconds }
  "lane:recovered": { attempts: number }
  "lane:lost": object
  "lane:deadLettered": { epochs: readonly Epoch[]; detail: string }
  /** There were more than a target keeps: the oldest are gone. */
  "lane:lettersDropped": { count: number }
  /** An item that was put back, or a part of a resync, came to its end. */
  "lane:repaid": { why: DueItem["why"]; epochs: readonly Epoch[]; calls: number; refused: number }
  /** Entries of the log that could not be read. */
  "lane:unreadable": { epochs: readonly Epoch[] }
  /** Keys that were none of ours in type, renamed. */
  "lane:setAside": { keys: readonly string[] }
  "lane:failed": { detail: string }
}

export type EmitLane = <K extends keyof LaneEvents>(event: K, payload: LaneEvents[K]) => void

export interface LaneOptions {
  readonly tenant: string
  readonly name: string
  /** Where the target stands for several caches: which of them. Its driver calls that one alone. */
  readonly node?: string | undefined
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
  /** Of all lanes that share the process. Default: there is no other. */
  readonly turns?: Turns
  /** Told after each commit, with the newest of what it passed: a second pass may wait for it. */
  readonly onCommit?: (entries: readonly LogEntry[]) => void
}

/**
 * Ours: a backlog is merged as a whole, as it is calls that a vendor limits; but no more of it than memory holds with
 * ease, and than a receipt can tell apart.
 */
const MAX_MERGED = {
  entries: 2_000_000,
  items: 250_000,
  length: 64 * 1024 * 1024,
  exceptions: 10_000,
} as const
/** Ours: of calls that need not be repeated, as many as a read of that size usually makes, and a bound for the rest. */
const MAX_ACCEPTED = 10_000
const MAX_RETRY_AFTER: Milliseconds = 5 * MINUTE
/** How often wrong credentials are tried again: nobody tells us when they are mended. */
const PAUSE: Milliseconds = 30 * SECOND

/** Of what nothing goes before. */
const NEVER = new AbortController().signal

/** Of a mirror's due items: one for each, however often they are put off. */
const HEARTBEAT = "mirror:heartbeat"
const MIRROR_IDS = [HEARTBEAT, "mirror:lease"] as const

/** What is to be done about what was read: now, and in parts over a while. */
interface Work {
  readonly plan: Plan
  readonly due: readonly { readonly at: Milliseconds; readonly id: string; readonly item: DueItem }[]
  /** Where the cursor moves to, and past how many entries. */
  readonly to: Position
  readonly count: number
  /** Those that were read first or, where it was read on, last. */
  readonly entries: readonly LogEntry[]
  readonly gap: ResyncReason | undefined
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
  readonly #suspects = new Set<string>()
  readonly #takedowns: Takedowns
  readonly #lease: Lease
  readonly #lane: LaneName
  #nudged = false
  #alarm = new AbortController()
  /** Whether the last thing done was a due item: log and due items take turns, so that neither waits for the other. */
  #hasRepaid = false
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
    const { store, clock, tenant, name, node, relay, config } = options
    this.#lane = { tenant, target: laneOf(name, node) }
    this.#lease = new Lease({ ...this.#lane, store, clock, relay, length: config.relay.lease })
    this.#takedowns = new Takedowns({ store, clock, lane: this.#lane, namespaces: options.target.namespaces })
    this.#status = { state: "idle", since: options.clock.now(), attempts: 0 }
  }

  get status(): LaneStatus {
    return this.#status
  }

  get tenant(): string {
    return this.#options.tenant
  }

  /** Of its target. */
  get name(): string {
    return this.#options.name
  }

  /** As keys and cursors have it. */
  get id(): string {
    return this.#lane.target
  }

  /** Whether this relay holds the lease, as far as it knows: while there is something to do, and for a lease after. */
  get holds(): boolean {
    return this.#lease.holds
  }

  /** Whether this relay had the lane last, as far as it knows. */
  get isOurs(): boolean {
    return this.#lease.isOurs
  }

  /** Whether it has come to the end of its log once, or to what keeps it from that. */
  get hasRead(): boolean {
    return this.#hasRead
  }

  /** There may be something to read. Cheap at any rate; never throws. A vendor in trouble is not asked any sooner. */
  nudge(): void {
    this.#nudged = true
    this.#takedowns.look()
    if (this.#working || this.#stopping.signal.aborted) return
    this.#working = this.#work().finally(() => {
      this.#working = undefined
      if (this.#nudged) this.nudge()
    })
  }

  /**
   * How the lane stands in Redis, as somebody saw who asked for all lanes of a tenant at once: it is nudged where it is
   * not at the end of the log, or an item is due. A lane of another relay too, which may be gone.
   *
   * @param cursor as it is stored; undefined where there is none
   */
  see(cursor: string | undefined, head: Head | undefined, dueAt: Milliseconds | undefined): void {
    // One that works finds out by itself.
    if (this.#working) return
    const [owner = "-", generation, epoch, seq] = (cursor ?? "- 0 0 0").split(" ")
    this.#lease.see(owner)
    const at = { generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
    const isDue = dueAt !== undefined && dueAt <= this.#options.clock.now()
    if (isDue || (head && !isAt(head, at))) this.nudge()
    else this.#wakeAt(dueAt)
  }

  /** Begins no further call; resolves when those under way have finished. */
  async close(): Promise<void> {
    this.#stopping.abort()
    this.#alarm.abort(OVER)
    await this.#working
    await this.#lease.release()
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
        this.#cursor = undefined
        if (isWrongType(error)) await this.#setAside()
        this.#emit("lane:failed", { detail: error instanceof Error ? error.message : "unknown" })
        if (!(error instanceof StoreError)) this.#setState("idle")
        const { clock, config } = this.#options
        const wait = backoff(failures, () => clock.random())
        // No longer than a poll: this is about our own Redis, and how late a purge may be counts from when it is back.
        await this.#sleep(Math.min(config.relay.poll, Math.max(50, wait)))
        this.#nudged = true
      }
    }
    if (this.#status.state === "running") this.#setState("idle")
  }

  async #step(): Promise<Step> {
    const { store, clock } = this.#options
    // Where the lease ran out, another relay may have had the lane in between, and its vendor in trouble.
    const isFresh = !this.#lease.holds
    const expected = isFresh ? undefined : this.#cursor
    this.#takedowns.read()
    // Sent in this order over one connection: what is read early was read under the lease. One that is young need not be
    // renewed for every read: were the cursor no longer as it was left, the commit would tell.
    const [held, told, early] = await Promise.all([
      expected && this.#lease.isYoung ? expected : this.#lease.take(),
      isFresh ? this.#readTold() : undefined,
      expected && readLog(store, this.#lane, expected.epoch),
    ])
    if (!held) {
      // Whoever holds it reads on; when it no longer renews its lease, it is gone. What it tells is its own.
      this.#hasTold = false
      this.#rest()
      return { wait: this.#lease.othersFor }
    }
    if (told) this.#hasTold = true
    this.#cursor = held
    const { head, entries, dueAt } =
      early && held.text === expected?.text ? early : await readLog(store, this.#lane, held.epoch)
    const isLevel = !head || (entries.length === 0 && isAt(head, held))
    const isDue = dueAt !== undefined && dueAt <= clock.now()
    if (isLevel && !isDue) {
      this.#rest()
      this.#wakeAt(dueAt)
      return "level"
    }
    const pause = told?.state === "retrying" ? this.#takeUp(told) : 0
    if (pause > 0) return { wait: pause }
    if (this.#status.state === "idle") this.#setState("running")
    this.#hasRepaid = isDue && (isLevel || !this.#hasRepaid)
    return this.#hasRepaid || !head ? this.#repay(held) : this.#advance(held, { head, entries, dueAt })
  }

  /** Carries out what was read, and moves the cursor past it. */
  async #advance(held: Held, { head, entries, dueAt }: Read & { readonly head: Head }): Promise<Step> {
    const renewal = this.#lease.keep(held)
    let work: Work
    let result: CarriedOut
    try {
      const began = this.#options.clock.now()
      work = await this.#workOf(held, head, entries, renewal.signal)
      const urgent = this.#takedowns.watch(work.to, this.#options.clock.now() - began)
      result = await this.#carryOut(work.plan, held, renewal.signal, urgent)
      // Nothing is lost: what was taken is remembered, and the log is read again from where it was.
      if (result.stop?.state === "ended" && urgent.aborted && this.#lease.covers(held)) return "again"
    } finally {
      this.#takedowns.rest()
      await renewal.stop()
    }
    if (result.stop) return this.#stop(result.stop)
    const committed = await this.#commitRange(held, work, result)
    if (committed.status !== "ok") return "again"
    const { gap, to } = work
    if (gap) {
      const { text: _, ...from } = held
      this.#emit("lane:resynced", {
        reason: gap,
        isFirst: held.generation === 0 && !this.#hasCommitted,
        from,
        to,
      })
    }
    this.#cursor = this.#lease.at(to)
    this.#hasCommitted = true
    this.#recovered()
    this.#options.onCommit?.(work.entries)
    const isDue =
      dueAt !== undefined || work.due.length > 0 || this.#options.capabilities.mirror !== undefined
    return committed.head && isAt(committed.head, to) && !isDue ? "level" : "again"
  }

  /** Carries out the first due item. The cursor stays. */
  async #repay(held: Held): Promise<Step> {
    const { store, clock, config } = this.#options
    const found = await this.#readDue()
    if (!found) return "again"
    const { id, item } = found
    const keepFrom = (clock.now() - config.log.keep) * 1000
    if (!item) {
      const letter: DeadLetter = {
        namespace: null,
        mode: "invalidate",
        epochs: [],
        ...NO_SELECTORS,
        error: "an item that was due could not be read",
        at: clock.now(),
        raw: found.text.slice(0, 4_096),
      }
      const finished = {
        held,
        to: held,
        finished: [id],
        letters: [letter],
        keepFrom,
        maxEntries: config.log.maxEntries,
      }
      const done = await commit(store, this.#lane, finished)
      this.#toldLetters([letter], done)
      if (done.status !== "ok") this.#lost()
      return "again"
    }
    const plan = planOwed(item, this.#plan)
    const renewal = this.#lease.keep(held)
    let result: CarriedOut
    try {
      result = await this.#carryOut(plan, held, renewal.signal)
    } finally {
      await renewal.stop()
    }
    if (result.stop) return this.#stop(result.stop)
    const about = { at: clock.now(), attempts: this.#attempts + 1 }
    const { letters, late } = failuresOf(plan, result, about)
    const isHeartbeat = id === HEARTBEAT
    const due = isHeartbeat ? this.#mirrorDue(about.at, [HEARTBEAT]) : []
    let committed: Committed
    do {
      const rows = await readLate(store, this.#lane, item.epochs)
      const receipts = item.epochs.map((epoch) => {
        const known = rows.get(epoch)
        const ended = { id, epoch, failed: late.get(epoch) }
        return {
          replaces: known,
          receipt: afterItem(known?.receipt, ended, { ...about, calls: result.calls }),
        }
      })
      committed = await commit(store, this.#lane, {
        held,
        to: held,
        due,
        finished: isHeartbeat ? [] : [id],
        late: receipts,
        letters,
        keepFrom,
        maxEntries: config.log.maxEntries,
      })
    } while (committed.status === "changed")
    this.#toldLetters(letters, committed)
    if (committed.status !== "ok") {
      this.#lost()
      return "again"
    }
    this.#emit("lane:repaid", {
      why: item.why,
      epochs: item.epochs,
      calls: result.callCount,
      refused: letters.length,
    })
    this.#recovered()
    return "again"
  }

  /** Another has the lane, or the cursor is no longer as it was: taking the lease again tells which. */
  #lost(): void {
    this.#cursor = undefined
    this.#emit("lane:lost", {})
  }

  #recovered(): void {
    if (this.#attempts > 0) this.#emit("lane:recovered", { attempts: this.#attempts })
    this.#attempts = 0
    this.#accepted.clear()
    this.#suspects.clear()
    this.#takedowns.forget()
    this.#setState("running")
  }

  /** The first item whose time has come, undefined where it could not be read. */
  async #readDue(): Promise<{ id: string; text: string; item: DueItem | undefined } | undefined> {
    const { store, clock } = this.#options
    const { tenant, target } = this.#lane
    const now = String(Math.floor(clock.now()))
    const [ids] = await store.pipeline([
      ["ZRANGEBYSCORE", dueKey(tenant, target), "-inf", now, "LIMIT", "0", "1"],
    ])
    const id = asText(asList(ids)[0])
    if (id === undefined) return undefined
    const [reply] = await store.pipeline([["HGET", dueItemsKey(tenant, target), id]])
    const text = asText(reply) ?? ""
    return { id, text, item: parseDue(text) }
  }

  /** When a mirror is to be written again though nothing is published: an owner that was late may have written last. */
  #mirrorDue(now: Milliseconds, ids: readonly string[]): Work["due"] {
    const { capabilities, config } = this.#options
    const { mirror } = capabilities
    if (!mirror) return []
    const after = (id: string) => (id === HEARTBEAT ? mirror.heartbeat : config.relay.lease)
    const item: DueItem = { why: "mirror", namespace: null, mode: "invalidate", epochs: [], ...NO_SELECTORS }
    return ids.map((id) => ({ at: now + after(id), id, item }))
  }

  /** What was read is merged with what follows it, unless something has to be resynced. */
  async #workOf(held: Held, head: Head, entries: readonly LogEntry[], signal: AbortSignal): Promise<Work> {
    const gap = gapOf(held, head, entries)
    const last = entries.at(-1)
    if (gap || !last || entries.some(isResync)) return this.#resyncWork(gap, head, entries)
    // A vendor in trouble is asked with one call, for which there is no need to read it all.
    const isMore = head.seq > last.seq && this.#attempts === 0 && !this.#takedowns.isReached(last.epoch)
    const planning = new Planning(this.#plan)
    planning.take(entries)
    let [newest, count] = [entries, entries.length]
    for await (const page of isMore ? readOn(this.#options.store, this.#lane, last) : []) {
      if (page.some(isResync)) break
      await this.#turn()
      planning.take(page)
      newest = page
      count += page.length
      const isEnough =
        this.#takedowns.isReached(newest.at(-1)?.epoch ?? last.epoch) ||
        count >= MAX_MERGED.entries ||
        planning.size >= MAX_MERGED.items ||
        planning.length >= MAX_MERGED.length ||
        planning.exceptions >= MAX_MERGED.exceptions
      if (isEnough || signal.aborted || this.#stopping.signal.aborted) break
    }
    const plan = await inSlices(planning.finish(), this.#turn)
    return { plan, due: [], to: newest.at(-1) ?? last, count, entries: newest, gap }
  }

  /** A resync may be told to take its time: its parts then become due one after the other. */
  #resyncWork(gap: ResyncReason | undefined, head: Head, entries: readonly LogEntry[]): Work {
    const { mode, spread } = this.#options.config.relay.resync
    const resyncs = entries.filter(isResync)
    const parts = spread > 0 ? resyncParts(this.#plan) : []
    // Also after a gap not to the head where the read was cut off: what follows may be harder than the resync.
    const read = { to: entries.at(-1) ?? head, count: entries.length, entries, gap }
    if (parts.length < 2) {
      const plan = gap ? planResync(mode, head.epoch, entries, this.#plan) : planEntries(entries, this.#plan)
      return { ...read, plan, due: [] }
    }
    const now = this.#options.clock.now()
    const asked = resyncs.map(({ body }) => body.mode)
    const epochs = resyncs.length > 0 ? resyncs.map(({ epoch }) => epoch) : [head.epoch]
    const due = parts.map((namespace: Namespace | null, index) => {
      const item: DueItem = {
        why: "spread",
        namespace,
        mode: (gap ? [mode, ...asked] : asked).includes("purge") ? "purge" : "invalidate",
        epochs,
        ...NO_SELECTORS,
      }
      return { at: now + (index * spread) / parts.length, id: spreadId(item), item }
    })
    const published = entries.filter((entry) => !isResync(entry))
    return { ...read, plan: planEntries(published, this.#plan), due }
  }

  /** @param leased aborted when the lane is another's */
  #carryOut(plan: Plan, held: Held, leased: AbortSignal, urgent: AbortSignal = NEVER): Promise<CarriedOut> {
    const { capabilities, driver, pacer, clock, target } = this.#options
    const delivery: DeliverContext = {
      ...this.#lane,
      capabilities,
      driver,
      pacer,
      timeout: target.timeout,
      signal: AbortSignal.any([leased, this.#stopping.signal]),
      urgent,
      mayBegin: () => this.#lease.covers(held),
      accepted: this.#accepted,
      suspects: this.#suspects,
      isProbing: this.#attempts > 0,
      now: () => clock.now(),
      turn: this.#turn,
      onCall: (batch, outcome, took) => this.#called(batch, outcome, took),
    }
    return carryOut(plan, this.#plan, delivery)
  }

  #called(batch: Batch, outcome: Outcome, took: Milliseconds): void {
    const kinds = new Set(batch.values.map(({ kind }) => kind))
    const kind = kinds.size === 1 ? [...kinds].join("") : "mixed"
    this.#emit("lane:called", {
      kind,
      mode: batch.mode,
      values: batch.values.length,
      what: whatOf(batch),
      outcome: outcome.outcome,
      ...("status" in outcome ? { status: outcome.status } : {}),
      ...("detail" in outcome ? { detail: outcome.detail } : {}),
      took,
    })
  }

  async #stop({ state, detail: said, retryAfter, mend }: Stop): Promise<Step> {
    if (state === "ended") {
      if (!this.#stopping.signal.aborted) this.#lost()
      return "again"
    }
    const { clock, name, target } = this.#options
    // A clock that is off is mended by no option.
    const detail = mend?.length ? `${said}; ${whatToMend(name, target, mend)}` : said
    if (this.#accepted.size > MAX_ACCEPTED) this.#accepted.clear()
    this.#attempts += 1
    const own = state === "paused" ? PAUSE : backoff(this.#attempts, () => clock.random())
    // A vendor that asks for no pause at all is not asked without one: that would be asking it all the time.
    const wait = Math.min(retryAfter || own, MAX_RETRY_AFTER)
    // What a vendor asks of one lane it asks of all that share the account.
    if (retryAfter) await this.#options.pacer.hold(wait).catch(() => {})
    this.#setState(state, detail, clock.now() + wait)
    this.#emit("lane:stopped", { state, detail, attempts: this.#attempts, wait })
    if (this.#lease.holds) await this.#tell()
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
    this.#suspects.clear()
    this.#takedowns.forget()
    if (this.#status.state !== "idle") this.#setState("idle")
  }

  async #commitRange(
    held: Held,
    { plan, due, to, count, entries, gap }: Work,
    result: CarriedOut,
  ): Promise<Committed> {
    const { store, clock, config, target } = this.#options
    const at = clock.now()
    const attempts = this.#attempts + 1
    const failures = failuresOf(plan, result, { at, attempts })
    const unreadable = unreadableLetters(entries, at)
    const late = new Map(failures.late)
    const waits = due.map(({ id }) => id)
    // Of the resyncs that stand in the log: a gap has no entry of its own.
    for (const epoch of due.length === 0 ? [] : resyncEpochs(entries)) {
      const waiting: LateReceipt = { epoch, state: "pending", at, attempts: 0, calls: [], waits }
      late.set(epoch, waiting)
    }
    const receipt: RangeReceipt = {
      at,
      attempts,
      calls: result.calls,
      callCount: result.callCount,
      namespaces: target.namespaces,
      ex: [...plan.settling, ...late.keys()],
      ...(gap && due.length === 0 ? { resync: gap } : sentAsOf(result.as, count)),
    }
    const letters = [...failures.letters, ...unreadable]
    const committed = await commit(store, this.#lane, {
      held,
      to,
      receipt,
      due: [...due, ...this.#mirrorDue(at, MIRROR_IDS)],
      late: [...late.values()].map((row) => ({ receipt: row })),
      letters,
      keepFrom: (at - config.log.keep) * 1000,
      maxEntries: config.log.maxEntries,
    })
    this.#toldLetters(letters, committed)
    if (committed.status !== "ok") {
      this.#lost()
      return committed
    }
    if (unreadable.length > 0) {
      this.#emit("lane:unreadable", { epochs: unreadable.flatMap(({ epochs }) => epochs) })
    }
    const lag = at - to.epoch / 1000
    this.#emit("lane:committed", { entries: count, calls: result.callCount, epoch: to.epoch, lag })
    return committed
  }

  /** Dead letters are told of once they are kept. */
  #toldLetters(letters: readonly DeadLetter[], committed: Committed): void {
    if (committed.status !== "ok") return
    for (const { epochs, error } of letters) this.#emit("lane:deadLettered", { epochs, detail: error })
    if (committed.droppedLetters > 0) {
      this.#emit("lane:lettersDropped", { count: committed.droppedLetters })
    }
  }

  /** Nobody publishes when an item becomes due. */
  #wakeAt(at: Milliseconds | undefined): void {
    this.#alarm.abort(OVER)
    if (at === undefined || this.#stopping.signal.aborted) return
    const alarm = (this.#alarm = new AbortController())
    const { clock } = this.#options
    // Not longer than timers can: whoever wakes too early asks again.
    void clock.sleep(Math.min(at - clock.now(), HOUR), alarm.signal).then(() => {
      if (!alarm.signal.aborted) this.nudge()
    })
  }

  async #setAside(): Promise<void> {
    const { store, clock } = this.#options
    const { tenant, target } = this.#lane
    const keys = await setAside(store, tenant, [target], clock.now()).catch(() => [])
    if (keys.length > 0) this.#emit("lane:setAside", { keys })
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
    const { store } = this.#options
    const { tenant, target } = this.#lane
    this.#hasTold = true
    try {
      await store.pipeline([["HSET", lanesKey(tenant), target, JSON.stringify(this.#status)]])
    } catch {
      // A full or absent Redis: the record then says `pending`, which is true as well.
    }
  }

  /** Records must not show a lane's trouble when it is over. */
  async #takeBack(): Promise<void> {
    const { store } = this.#options
    const { tenant, target } = this.#lane
    this.#hasTold = false
    try {
      await store.pipeline([["HDEL", lanesKey(tenant), target]])
    } catch {
      this.#hasTold = true
    }
  }

  /** What trouble the lane was last said to be in, by whichever relay had it. */
  async #readTold(): Promise<LaneStatus | undefined> {
    const { store } = this.#options
    const { tenant, target } = this.#lane
    const [text] = await store.pipeline([["HGET", lanesKey(tenant), target]])
    const status = parseJson<LaneStatus>(asText(text))
    return status?.state === "retrying" || status?.state === "paused" ? status : undefined
  }

  /** Lets all others have their turn, in the middle of something long. */
  #turn = (): Promise<void> => {
    const { turns, tenant } = this.#options
    return turns ? turns.take(tenant) : Promise.resolve()
  }

  /** Sleeps, unless the lane is closed. */
  #sleep(length: Milliseconds): Promise<void> {
    return this.#options.clock.sleep(length, this.#stopping.signal)
  }

  #emit: EmitLane = (event, payload) => this.#options.emit?.(event, payload)
}

const isAt = (head: Position, position: Position): boolean =>
  head.generation === position.generation && head.seq === position.seq && head.epoch === position.epoch

/** On one line there is room for so many values. */
const SHOWN = 3

function whatOf({ values }: Batch): string {
  const more = values.length - SHOWN
  const shown = values.slice(0, SHOWN).map(({ kind, value }) => (value === "*" ? kind : `${kind} ${value}`))
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "")
}

const isResync = ({ body }: LogEntry): boolean => body.kind === "resync"

const resyncEpochs = (entries: readonly LogEntry[]): Epoch[] =>
  entries.filter(isResync).map(({ epoch }) => epoch)
