import { type CallReceipt, MAX_LISTED_CALLS } from "../protocol/receipt.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { type Bundle, cutting, halves, toBatch } from "./batches.ts"
import type { Pacer } from "./pace.ts"
import type { Item } from "./plan.ts"
import { inSlices } from "./slices.ts"
import type { Batch, Capabilities, Driver, Outcome } from "./targets/target.ts"

/**
 * Why not everything was asked; it is never about what was asked.
 *
 * - `retrying` the vendor is in trouble
 * - `paused`   it does not take the credentials, or a budget is used up
 * - `ended`    no further call might begin: `signal`, `urgent`, or `mayBegin`
 */
export interface Stop {
  readonly state: "retrying" | "paused" | "ended"
  readonly detail: string
  readonly retryAfter?: Milliseconds
  /** Options of the target that people may have to mend: those, or all that hold a secret. Default: it is none of them. */
  readonly mend?: readonly string[] | "secrets"
}

/** An item that the vendor would not take by itself. */
export interface Refusal {
  readonly item: Item
  readonly state: "dead" | "not_supported"
  readonly detail: string
}

export interface Delivered {
  readonly calls: readonly CallReceipt[]
  readonly callCount: number
  /** Calls that the vendor took just now, and not under this cursor before: it knows us. */
  readonly taken: number
  readonly refused: readonly Refusal[]
  /** Set when not everything was asked: nothing may be committed. */
  readonly stop?: Stop
}

export interface DeliverContext {
  readonly tenant: string
  readonly target: string
  readonly capabilities: Capabilities
  readonly driver: Driver
  readonly pacer: Pacer
  /** Of one call, from when it may begin to its answer. */
  readonly timeout: Milliseconds
  /** Aborted when no further call may begin: the lease is gone, or the relay drains. Calls under way are let finish. */
  readonly signal: AbortSignal
  /** Aborted when something that cannot wait is to go first: what was not asked yet is planned anew. */
  readonly urgent: AbortSignal
  /** Asked as each call begins: whoever slept through its lease has not heard of it yet. */
  readonly mayBegin: () => boolean
  /** Calls that were accepted under this cursor before, by batch id: they are not repeated after a failure. */
  readonly accepted: Map<string, CallReceipt>
  /** Items that were refused when all that was asked was, by `keyOf`: see `carry-out.ts`. */
  readonly suspects: Set<string>
  /** The vendor was in trouble: one call at a time, until it has taken one. */
  readonly isProbing: boolean
  /** Resolves when others had their turn, in the middle of something long. */
  readonly turn: () => Promise<void>
  readonly onCall?: (batch: Batch, outcome: Outcome, took: Milliseconds) => void
  readonly now: () => Milliseconds
}

/** Calls of one lane under way at once. Ours, not a vendor's: what paces them is the vendor's limit. */
const CONCURRENCY = 4

/**
 * Sends items in as few calls as the vendor's sizes allow, and cuts in two what it refuses. What is hard goes first, and
 * kinds that draw from limits of their own do not wait for each other. Never rejects.
 */
export async function deliver(items: readonly Item[], context: DeliverContext): Promise<Delivered> {
  const queues = queuesOf(await inSlices(cutting(items, context.capabilities), context.turn))
  const slots = new Slots(CONCURRENCY)
  const calls: CallReceipt[] = []
  const refused: Refusal[] = []
  let [callCount, taken] = [0, 0]
  const halted: { stop?: Stop } = {}
  const accept = (receipt: CallReceipt) => {
    callCount += 1
    if (calls.length < MAX_LISTED_CALLS) calls.push(receipt)
  }
  // Several calls are under way at once: of what they say, the worst counts, and the longest pause.
  const halt = (stop: Stop) => {
    halted.stop = halted.stop ? worse(halted.stop, stop) : stop
  }
  /** One bundle; whether the vendor took a call for it just now. */
  const next = async (bundle: Bundle, queue: Bundle[]): Promise<boolean> => {
    const batch = await toBatch(context.tenant, context.target, bundle)
    const known = context.accepted.get(batch.id)
    if (known) {
      accept(known)
      return false
    }
    const outcome = await attempt(batch, context, slots)
    switch (outcome.outcome) {
      case "accepted": {
        const { status, vendorId } = outcome
        const receipt = vendorId === undefined ? { status } : { status, vendorId }
        context.accepted.set(batch.id, receipt)
        accept(receipt)
        taken += 1
        return true
      }
      case "refused": {
        const { parts, atFault } = partsOf(bundle, outcome.at)
        queue.push(...parts)
        for (const item of atFault) refused.push({ item, state: "dead", detail: outcome.detail })
        return false
      }
      case "unsupported": {
        const { parts, atFault } = outcome.at
          ? partsOf(bundle, outcome.at)
          : { parts: [], atFault: bundle.items }
        queue.push(...parts)
        for (const item of atFault) refused.push({ item, state: "not_supported", detail: outcome.detail })
        return false
      }
      case "trouble":
        halt({ state: "retrying", detail: outcome.detail, ...pauseOf(outcome.retryAfter) })
        return false
      case "unauthorised":
        halt({ state: "paused", detail: outcome.detail, mend: outcome.mend ?? "secrets" })
        return false
      case "spent":
        halt({ state: "paused", detail: outcome.detail })
        return false
      case "ended":
        halt({ state: "ended", detail: "no further call might begin" })
        return false
    }
  }
  const work = async (queue: Bundle[], until: (isTaken: boolean) => boolean): Promise<boolean> => {
    for (let bundle = queue.shift(); bundle && !halted.stop; bundle = queue.shift()) {
      if (until(await next(bundle, queue))) return true
    }
    return false
  }
  for (const queue of context.isProbing ? queues : []) if (await work(queue, (isTaken) => isTaken)) break
  await Promise.all(
    queues.flatMap((queue) =>
      Array.from({ length: Math.min(CONCURRENCY, queue.length) }, () => work(queue, () => false)),
    ),
  )
  return { calls, callCount, taken, refused, ...halted }
}

/** Bundles by the kinds in them, as limits are a kind's; of each the hard ones first, and kinds with such first too. */
function queuesOf(bundles: readonly Bundle[]): Bundle[][] {
  const queues = new Map<string, Bundle[]>()
  const hardFirst = [...bundles.filter(isHard), ...bundles.filter((one) => !isHard(one))]
  for (const bundle of hardFirst) {
    const kinds = [...new Set(bundle.items.map(({ kind }) => kind))].toSorted().join()
    const queue = queues.get(kinds)
    if (queue) queue.push(bundle)
    else queues.set(kinds, [bundle])
  }
  return [...queues.values()]
}

const isHard = ({ mode }: Bundle): boolean => mode === "purge"

/** So many at once, in the order in which they asked. */
class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((turn) => this.#waiting.push(turn))
    try {
      return await work()
    } finally {
      const turn = this.#waiting.shift()
      if (turn) turn()
      else this.#free += 1
    }
  }
}

/** What is left to try of a bundle that was refused, and the items that nothing more can be done for. */
function partsOf(
  bundle: Bundle,
  at: readonly number[] = [],
): { readonly parts: readonly Bundle[]; readonly atFault: readonly Item[] } {
  const { items, mode } = bundle
  if (items.length === 1) return { parts: [], atFault: items }
  const isAtFault = new Set(at.filter((place) => place < items.length))
  if (isAtFault.size === 0) return { parts: halves(bundle), atFault: [] }
  const rest = items.filter((_, place) => !isAtFault.has(place))
  return {
    parts: rest.length === 0 ? [] : [{ mode, items: rest }],
    atFault: items.filter((_, place) => isAtFault.has(place)),
  }
}

const SEVERITY: readonly Stop["state"][] = ["retrying", "paused", "ended"]

function worse(a: Stop, b: Stop): Stop {
  const worst = SEVERITY.indexOf(b.state) > SEVERITY.indexOf(a.state) ? b : a
  const pauses = [a.retryAfter, b.retryAfter].filter((pause) => pause !== undefined)
  return { ...worst, ...pauseOf(pauses.length === 0 ? undefined : Math.max(...pauses)) }
}

const pauseOf = (retryAfter: Milliseconds | undefined) => (retryAfter === undefined ? {} : { retryAfter })

/** One attempt at one call, in its turn; `ended` where it might not begin any more. */
async function attempt(
  batch: Batch,
  context: DeliverContext,
  slots: Slots,
): Promise<Outcome | { readonly outcome: "ended" } | { readonly outcome: "spent"; readonly detail: string }> {
  const { pacer, signal, urgent } = context
  try {
    const turn = await pacer.take(batch, AbortSignal.any([signal, urgent]))
    if (typeof turn === "object") {
      const detail = `the budget of ${turn.perMonth} ${turn.spent} a month is used up`
      return { outcome: "spent", detail }
    }
    if (turn === "ended") return { outcome: "ended" }
  } catch {
    return { outcome: "trouble", detail: "the store did not answer" }
  }
  return slots.use(() => call(batch, context))
}

async function call(
  batch: Batch,
  { driver, pacer, signal, urgent, mayBegin, timeout, now, onCall }: DeliverContext,
): Promise<Outcome | { readonly outcome: "ended" }> {
  if (signal.aborted || urgent.aborted || !mayBegin()) return { outcome: "ended" }
  const began = now()
  // Not the lane's own signal: a call that has begun is let finish, as purges repeat harmlessly and half-calls tell nothing.
  const outcome = await ask(driver, batch, AbortSignal.timeout(timeout))
  onCall?.(batch, outcome, now() - began)
  // What a vendor tells of its limits only helps: where the store does not take it, the limits as published count.
  if ("left" in outcome && outcome.left) await pacer.correct(outcome.left).catch(() => {})
  return outcome
}

/** A driver promises not to reject. One that does must not leave the other calls without anybody who waits for them. */
async function ask(driver: Driver, batch: Batch, signal: AbortSignal): Promise<Outcome> {
  try {
    return await driver.purge(batch, signal)
  } catch (error) {
    // Its kind only: a message may hold the header that it is about, token and all.
    return {
      outcome: "trouble",
      detail: `the driver failed (${error instanceof Error ? error.name : "unknown"})`,
    }
  }
}
