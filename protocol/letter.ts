import type { Epoch } from "./epoch.ts"
import { type EntryBody, type Mode, NO_SELECTORS, SELECTOR_LISTS, type Selectors } from "./invalidation.ts"
import type { Namespace } from "./namespace.ts"
import { parseJson } from "./receipt.ts"
import type { Milliseconds } from "./time.ts"

/**
 * What one target still owes: selectors of one namespace, as they were published and not as the vendor is told them,
 * so that a configuration mended meanwhile counts. Without selectors the whole namespace; null: everything.
 */
export interface Owed extends Selectors {
  readonly namespace: Namespace | null
  readonly mode: Mode
  /** The invalidations that asked for it, rising; the newest of them where they are very many. */
  readonly epochs: readonly Epoch[]
}

/**
 * An item of `due`, for its own time.
 *
 * - `replay` a dead letter that somebody put back
 * - `spread` a part of a resync, which is not to empty a cache in one instant
 * - `again`  what was found stale after it was purged
 * - `mirror` a mirror of epochs is written though nothing was published
 */
export interface DueItem extends Owed {
  readonly why: "replay" | "spread" | "again" | "mirror"
}

/** Given up on and kept for people. */
export interface DeadLetter extends Owed {
  /** The vendor's words, or ours. */
  readonly error: string
  readonly at: Milliseconds
  /** The node that did not take it, where its target stands for several. */
  readonly node?: string
  /** What stood in the log, where it could not be read. */
  readonly raw?: string
}

/** Most epochs that one item names: a backlog of 10^6 may repeat one tag as often. */
const MAX_EPOCHS = 1_000

/** Most dead letters that a target keeps. The oldest go first, and the lane says so. */
export const MAX_LETTERS = 10_000

/** The newest epochs, rising, each once. */
export const newestEpochs = (epochs: Iterable<Epoch>): Epoch[] =>
  [...new Set(epochs)].toSorted((a, b) => a - b).slice(-MAX_EPOCHS)

/** As a log entry has it, for planning and for showing. */
export const owedOf = ({ namespace, mode, tags, urls, prefixes, hosts }: EntryBody, epoch: Epoch): Owed => ({
  namespace,
  mode,
  epochs: [epoch],
  tags,
  urls,
  prefixes,
  hosts,
})

/** The text that Redis holds: empty lists are left out. */
export const encodeOwed = (owed: DueItem | DeadLetter): string =>
  JSON.stringify(owed, (key, value: unknown) =>
    key !== "epochs" && Array.isArray(value) && value.length === 0 ? undefined : value,
  )

const isTexts = (value: unknown): boolean =>
  value === undefined || (Array.isArray(value) && value.every((one) => typeof one === "string"))

/** Undefined for a text of another form, as an older or newer version may have written. */
function parseOwed(text: string | undefined): (Owed & Readonly<Record<string, unknown>>) | undefined {
  const read = parseJson<Readonly<Record<string, unknown>>>(text)
  if (read === undefined || read === null || typeof read !== "object") return undefined
  const { namespace, mode, epochs } = read
  const isOwed =
    (namespace === null || typeof namespace === "string") &&
    (mode === "invalidate" || mode === "purge") &&
    Array.isArray(epochs) &&
    epochs.every((epoch) => Number.isSafeInteger(epoch)) &&
    SELECTOR_LISTS.every((list) => isTexts(read[list]))
  return isOwed ? { ...NO_SELECTORS, ...(read as unknown as Owed) } : undefined
}

const REASONS: readonly unknown[] = ["replay", "spread", "again", "mirror"] satisfies DueItem["why"][]

export function parseDue(text: string | undefined): DueItem | undefined {
  const owed = parseOwed(text)
  return owed && REASONS.includes(owed["why"]) ? (owed as unknown as DueItem) : undefined
}

export function parseLetter(text: string | undefined): DeadLetter | undefined {
  const owed = parseOwed(text)
  return owed && typeof owed["error"] === "string" && typeof owed["at"] === "number"
    ? (owed as unknown as DeadLetter)
    : undefined
}
