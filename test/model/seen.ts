import type { Epoch } from "../../protocol/epoch.ts"
import type { InvalidationInput, Mode, PassKind } from "../../protocol/invalidation.ts"
import type { DeadLetter } from "../../protocol/letter.ts"
import { NONE, type Pages, reached } from "./site.ts"

/** What is seen of a history from outside, for the judge. */

/** Counts what happens, one by one: a moment of a history. */
export type Tick = number

/** One entry of a log, with what it was asked for. */
export interface Entry {
  readonly tenant: string
  readonly epoch: Epoch
  readonly seq: number
  readonly generation: number
  readonly at: Tick
  readonly kind: "publish" | "pass" | "resync"
  readonly asked: InvalidationInput & { readonly mode: Mode }
  readonly isSettling: boolean
  /** Passes that are to follow it. */
  readonly passes: readonly PassKind[]
  readonly pass?: { readonly kind: PassKind; readonly of: Epoch }
  /** Whether its publisher was answered, now or when it asked again. */
  isAcknowledged: boolean
  /** Whether an epoch above it had been given out, and nothing that knew of it was left. */
  readonly isFallen: boolean
  /** When the log lost it. */
  lostAt?: Tick
}

/** A vendor's call that was taken. */
export interface Taken {
  readonly tenant: string
  readonly target: string
  readonly mode: Mode
  readonly pages: Pages
  /** When it was sent: what was published later is not in it, though it may have been taken later still. */
  readonly begun: Tick
}

/** A lane's commit that went through. */
export interface Commit {
  readonly tenant: string
  readonly target: string
  readonly at: Tick
  readonly readAt: Tick
  readonly to: Epoch
  readonly isResync: boolean
}

export interface Letter {
  readonly text: string
  readonly tenant: string
  readonly target: string
  readonly at: Tick
  readonly epochs: readonly Epoch[]
  readonly pages: Pages
}

export interface Publishing {
  readonly tenant: number
  readonly inputs: readonly InvalidationInput[]
  readonly key?: { readonly principal: string; readonly key: string }
  /** Whether the wake is refused by Redis. */
  readonly isMute: boolean
  /** Whether the publisher hears nothing of it. */
  readonly isAnswerLost: boolean
}

/** What a vendor is like for its next calls. */
export type Mood = "trouble" | "pause" | "unauthorised" | "unsupported" | "deaf" | "refusing"

/** Pages that a target was to be told of in vain. */
export function toldOf({ namespace, tags, urls, prefixes, hosts }: DeadLetter): Pages {
  const told = [
    ...tags.map((value) => reached("tag", value)),
    ...urls.map((value) => reached("url", value)),
    ...prefixes.map((value) => reached("prefix", value)),
    ...hosts.map((value) => reached("host", value)),
  ]
  if (told.length === 0)
    return namespace === null ? reached("everything", "*") : reached("namespace", namespace)
  return told.reduce((all, pages) => all | pages, NONE)
}

export const named = (namespace: string | null): InvalidationInput =>
  namespace === null ? { everything: true } : { namespace }

/** Lists that hold something. */
export const filled = (
  lists: Readonly<Record<"tags" | "urls" | "prefixes" | "hosts", readonly string[]>>,
): InvalidationInput => Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0))
