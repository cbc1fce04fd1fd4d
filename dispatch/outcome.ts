import type { Epoch } from "../protocol/epoch.ts"
import { NO_SELECTORS, type Selectors } from "../protocol/invalidation.ts"
import { type DeadLetter, type DueItem, newestEpochs, owedOf } from "../protocol/letter.ts"
import type { LogEntry } from "../protocol/log.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { LateReceipt, LateState, RangeReceipt } from "../protocol/receipt.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { CarriedOut } from "./carry-out.ts"
import type { Refusal } from "./deliver.ts"
import type { Plan } from "./plan.ts"
import type { Kind } from "./targets/target.ts"

/** What a plan came to where it did not come to all that was asked: what is told of it, and what people get. */
export interface Failures {
  readonly letters: readonly DeadLetter[]
  /** Of each epoch in them. */
  readonly late: ReadonlyMap<Epoch, LateReceipt>
}

const LIST_OF: Partial<Record<Kind, keyof Selectors>> = {
  tag: "tags",
  url: "urls",
  prefix: "prefixes",
  host: "hosts",
}

/** One value, as it was published. */
const selectorsOf = (kind: Kind, meant: string): Selectors => {
  const list = LIST_OF[kind]
  return list === undefined ? NO_SELECTORS : { ...NO_SELECTORS, [list]: [meant] }
}

/** What was refused and what could not be said, as dead letters: one a value and namespace. */
export function failuresOf(
  plan: Plan,
  { refused, calls }: CarriedOut,
  { at, attempts }: { readonly at: Milliseconds; readonly attempts: number },
): Failures {
  interface Failure {
    readonly kind: Kind
    readonly meant: string
    readonly mode: DeadLetter["mode"]
    readonly namespaces: readonly (Namespace | null)[]
    readonly epochs: readonly Epoch[]
    readonly detail: string
    readonly state: "dead" | "not_supported"
  }
  const failures: Failure[] = [
    ...eachAddressOnce(refused).map(({ item, detail, state }) => ({
      ...item,
      namespaces: item.kind === "everything" || item.namespaces.length === 0 ? [null] : item.namespaces,
      detail,
      state,
    })),
    ...plan.impossible.map((one) => ({
      ...one,
      namespaces: [one.kind === "everything" ? null : one.namespace],
      state: "not_supported" as const,
    })),
  ]
  const letters: DeadLetter[] = []
  const late = new Map<Epoch, LateReceipt>()
  for (const { kind, meant, mode, namespaces, epochs, detail, state } of failures) {
    for (const namespace of namespaces) {
      letters.push({
        namespace,
        mode,
        epochs: newestEpochs(epochs),
        ...selectorsOf(kind, meant),
        error: detail,
        at,
      })
    }
    for (const epoch of epochs) {
      const known = late.get(epoch)
      late.set(epoch, {
        epoch,
        state: known?.state === "not_supported" ? known.state : state,
        at,
        attempts,
        calls,
        error: detail,
        letters: (known?.letters ?? 0) + namespaces.length,
      })
    }
  }
  return { letters, late }
}

/** Of an address that was refused in each of its spellings one is told: put back, it goes out in all of them again. */
function eachAddressOnce(refused: readonly Refusal[]): readonly Refusal[] {
  const found = new Map<string, Refusal>()
  for (const refusal of refused) {
    const { kind, meant, value, mode, namespaces, epochs } = refusal.item
    const what = kind === "url" || kind === "prefix" ? meant : value
    const key = [kind, mode, what, meant, ...namespaces].join("\n")
    const known = found.get(key)?.item.epochs ?? []
    found.set(key, { ...refusal, item: { ...refusal.item, epochs: [...new Set([...known, ...epochs])] } })
  }
  return [...found.values()]
}

/** Entries that could not be read: what they stand for is purged as everything, and what they were is kept. */
export const unreadableLetters = (entries: readonly LogEntry[], at: Milliseconds): DeadLetter[] =>
  entries
    .filter(({ raw }) => raw !== undefined)
    .map(({ epoch, body, raw = "" }) => ({
      ...owedOf(body, epoch),
      error: "the log entry could not be read; all that the target stands for was purged instead",
      at,
      raw,
    }))

/** What a receipt says was sent instead: once where all entries share it, which is the usual case; else by epoch. */
export function sentAsOf(as: ReadonlyMap<Epoch, string>, entries: number): Pick<RangeReceipt, "as" | "asOf"> {
  const kinds = new Set(as.values())
  if (kinds.size === 0) return {}
  if (kinds.size === 1 && as.size === entries) return { as: [...kinds].join("") }
  const asOf: Record<string, Epoch[]> = {}
  for (const [epoch, what] of as) (asOf[what] ??= []).push(epoch)
  return { asOf }
}

/** What stands of an epoch once one of the items that it waited for has come to its end. */
export function afterItem(
  known: LateReceipt | undefined,
  {
    id,
    epoch,
    failed,
  }: { readonly id: string; readonly epoch: Epoch; readonly failed: LateReceipt | undefined },
  { at, attempts, calls }: Pick<LateReceipt, "at" | "attempts" | "calls">,
): LateReceipt {
  const waits = (known?.waits ?? []).filter((one) => one !== id)
  const letters = (known?.letters ?? 0) + (failed?.letters ?? 0)
  const error = failed?.error ?? (letters > 0 ? known?.error : undefined)
  const ended: LateState = letters === 0 ? "done" : (failed?.state ?? "dead")
  return {
    epoch,
    state: waits.length > 0 ? "pending" : ended,
    at,
    attempts: (known?.attempts ?? 0) + attempts,
    calls,
    letters,
    ...(waits.length > 0 ? { waits } : {}),
    ...(error === undefined ? {} : { error }),
  }
}

/** The name of a part of a resync among due items: the same for the same part, however often it is planned. */
export const spreadId = (item: DueItem): string => `spread:${item.epochs.join("+")}:${item.namespace ?? "*"}`
