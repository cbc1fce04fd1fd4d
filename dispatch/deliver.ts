import { type CallReceipt, MAX_LISTED_CALLS } from "../protocol/receipt.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { type Bundle, cut, halves, toBatch } from "./batches.ts"
import type { Pacer } from "./pace.ts"
import type { Item } from "./plan.ts"
import type { Batch, Capabilities, Driver, Outcome } from "./targets/target.ts"

/** Why a lane stops and asks again: it is about the vendor, not about what was asked. */
export interface Stop {
  readonly state: "retrying" | "paused"
  readonly detail: string
  readonly retryAfter?: Milliseconds
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
  /** Calls that were accepted under this cursor before, by batch id: they are not repeated after a failure. */
  readonly accepted: Map<string, CallReceipt>
  readonly onCall?: (batch: Batch, outcome: Outcome, took: Milliseconds) => void
  readonly now: () => Milliseconds
}

/** Calls of one lane under way at once. Ours, not a vendor's: what paces them is the vendor's limit. */
const CONCURRENCY = 4

/** Sends items in as few calls as the vendor's sizes allow, and cuts in two what it refuses. Never rejects. */
export async function deliver(items: readonly Item[], context: DeliverContext): Promise<Delivered> {
  const queue: Bundle[] = cut(items, context.capabilities)
  const calls: CallReceipt[] = []
  const refused: Refusal[] = []
  let callCount = 0
  let stop: Stop | undefined
  const accept = (receipt: CallReceipt) => {
    callCount += 1
    if (calls.length < MAX_LISTED_CALLS) calls.push(receipt)
  }
  const work = async (): Promise<void> => {
    for (let bundle = queue.shift(); bundle && !stop; bundle = queue.shift()) {
      const batch = await toBatch(context.tenant, context.target, bundle)
      const known = context.accepted.get(batch.id)
      if (known) {
        accept(known)
        continue
      }
      const outcome = await attempt(batch, context)
      switch (outcome.outcome) {
        case "accepted": {
          const { status, vendorId } = outcome
          const receipt = vendorId === undefined ? { status } : { status, vendorId }
          context.accepted.set(batch.id, receipt)
          accept(receipt)
          break
        }
        case "refused":
          if (bundle.items.length > 1) queue.push(...halves(bundle))
          else for (const item of bundle.items) refused.push({ item, state: "dead", detail: outcome.detail })
          break
        case "unsupported":
          for (const item of bundle.items) refused.push({ item, state: "not_supported", detail: outcome.detail })
          break
        case "trouble":
          stop = { state: "retrying", detail: outcome.detail, ...(outcome.retryAfter === undefined ? {} : { retryAfter: outcome.retryAfter }) }
          break
        case "unauthorised":
          stop = { state: "paused", detail: outcome.detail }
          break
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, queue.length) }, work))
  return { calls, callCount, refused, ...(stop ? { stop } : {}) }
}

/** One attempt at one call, in its turn. A halved batch may be left for a worker that has finished: see `deliver`. */
async function attempt(batch: Batch, context: DeliverContext): Promise<Outcome> {
  const { driver, pacer, signal, timeout, now } = context
  try {
    if (!(await pacer.take(batch, signal))) return { outcome: "trouble", detail: "stopped before the call began", retryAfter: 0 }
  } catch {
    return { outcome: "trouble", detail: "the store did not answer" }
  }
  const began = now()
  // Not the lane's own signal: a call that has begun is let finish, as purges repeat harmlessly and half-calls tell nothing.
  const outcome = await driver.purge(batch, AbortSignal.timeout(timeout))
  context.onCall?.(batch, outcome, now() - began)
  return outcome
}
