import type { Mode } from "../../protocol/invalidation.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import type { Pacer } from "../../dispatch/pace.ts"
import type { Batch, Capabilities, Driver, Kind, Outcome } from "../../dispatch/targets/target.ts"

const BOTH: readonly Mode[] = ["invalidate", "purge"]
const HUNDRED = { modes: BOTH, batch: 100 }

/** As Cloudflare has it: each kind alone, a hundred a call. */
export const FAKE_CAPABILITIES: Capabilities = {
  kinds: { tag: HUNDRED, url: HUNDRED, prefix: HUNDRED, host: HUNDRED, everything: { ...HUNDRED, batch: 1 } },
  mixed: false,
  tags: PORTABLE_CODEC,
}

/** What a fake answers to its `nth` call, counted from 1; nothing for "accepted". */
export type Answer = (batch: Batch, nth: number) => Outcome | undefined | Promise<Outcome | undefined>

export interface FakeDriver extends Driver {
  /** Every attempt, in the order in which they began. */
  readonly attempts: readonly Batch[]
  /** Batches that were accepted. */
  readonly accepted: readonly Batch[]
  /** What was accepted, as `mode kind value`. */
  readonly purged: readonly string[]
  /** Attempts that have begun and not ended. */
  readonly underWay: number
  /** What a lane must never do, seen done. */
  readonly complaints: readonly string[]
  answer: Answer
  /** Forgets what was seen so far, but for complaints. */
  forget(): void
}

export const accepted: Outcome = { outcome: "accepted", status: 200 }
export const refused = (detail = "bad value"): Outcome => ({ outcome: "refused", status: 400, detail })
export const trouble = (detail = "503", retryAfter?: Milliseconds): Outcome =>
  retryAfter === undefined
    ? { outcome: "trouble", status: 503, detail }
    : { outcome: "trouble", status: 429, detail, retryAfter }
export const unauthorised: Outcome = { outcome: "unauthorised", status: 403, detail: "no such token" }

/** Of a vendor that has no limits. */
export const freePacer: Pacer = {
  take: async (_, signal) => (signal.aborted ? "ended" : "taken"),
  hold: async () => {},
  correct: async () => {},
}

/** Answers that wait until they are let go, the first that was asked first. */
export function gate(): { readonly answer: Answer; readonly waiting: number; open(outcome?: Outcome): void } {
  const turns: ((outcome: Outcome) => void)[] = []
  return {
    answer: () => new Promise<Outcome>((resolve) => turns.push(resolve)),
    get waiting() {
      return turns.length
    },
    open: (outcome = accepted) => turns.splice(0).forEach((turn) => turn(outcome)),
  }
}

/** Refuses a batch that holds one of these values, as a vendor does: without a word on which. */
export const refusing =
  (...poisoned: readonly string[]): Answer =>
  ({ values }) =>
    values.some(({ value }) => poisoned.includes(value)) ? refused() : undefined

const saidOf = ({ mode, values }: Batch): string[] =>
  values.map(({ kind, value }) => `${mode} ${kind} ${value}`)

/** A driver in this process that insists on what the contract promises it, and answers as it is told. */
export function fakeDriver(
  capabilities: Capabilities = FAKE_CAPABILITIES,
  answer: Answer = () => undefined,
): FakeDriver {
  const attempts: Batch[] = []
  const taken: Batch[] = []
  const complaints: string[] = []
  const contents = new Map<string, string>()
  let underWay = 0
  const judge = (batch: Batch): string[] => {
    const { id, mode, values, epochs } = batch
    const kinds = new Set<Kind>(values.map(({ kind }) => kind))
    const limits = [...kinds].map((kind) => capabilities.kinds[kind]?.batch ?? 0)
    const content = JSON.stringify([batch.tenant, mode, values, epochs])
    const known = contents.get(id)
    contents.set(id, content)
    const bytes = values.reduce((sum, { value }) => sum + new TextEncoder().encode(value).length + 1, 0)
    return [
      values.length === 0 ? "an empty batch" : "",
      kinds.size > 1 && !capabilities.mixed ? `several kinds in one batch: ${[...kinds].join(" ")}` : "",
      values.length > Math.min(...limits) ? `${values.length} values in one batch` : "",
      [...kinds].every((kind) => capabilities.kinds[kind]?.modes.includes(mode))
        ? ""
        : `${mode} is not in its capabilities`,
      new Set(values.map(({ kind, value }) => `${kind}\n${value}`)).size < values.length
        ? "a value twice in one batch"
        : "",
      values.length > 1 && bytes > (capabilities.maxBytes ?? Number.POSITIVE_INFINITY)
        ? `${bytes} bytes in one batch`
        : "",
      known !== undefined && known !== content ? `the id ${id} for two batches` : "",
      epochs.first > epochs.last ? "epochs the wrong way round" : "",
    ].filter((complaint) => complaint !== "")
  }
  return {
    attempts,
    accepted: taken,
    complaints,
    answer,
    forget() {
      attempts.length = 0
      taken.length = 0
    },
    get purged() {
      return taken.flatMap(saidOf)
    },
    get underWay() {
      return underWay
    },
    async purge(batch, signal) {
      if (signal.aborted) complaints.push("an attempt that was aborted before it began")
      complaints.push(...judge(batch))
      attempts.push(batch)
      underWay += 1
      try {
        const outcome = (await this.answer(batch, attempts.length)) ?? accepted
        if (outcome.outcome === "accepted") taken.push(batch)
        return outcome
      } finally {
        underWay -= 1
      }
    },
  }
}
