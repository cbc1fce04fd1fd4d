import { setTimeout as delay } from "node:timers/promises"
import { Option } from "commander"
import type { Epoch } from "../protocol/epoch.ts"
import type { InvalidationRecord } from "../protocol/record.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { CliError, EXIT, type ExitCode } from "./exit.ts"
import { type Connection, RefusedCall } from "./http.ts"
import { parseSeconds } from "./options.ts"
import { printJson, print, progress, tell, tellError, tellWarning } from "./output.ts"
import { fetchRecord } from "./record.ts"
import { hasNoRelay, NO_RELAY, progressOf, recordLines } from "./record-view.ts"

/** How long `publish --wait` and `status --watch` wait where nobody says. */
export const DEFAULT_WAIT: Milliseconds = 30 * SECOND

/** What `--wait` says; `true` without a value. */
export type Wait = Milliseconds | true

export const waitOption = (description: string): Option =>
  new Option(
    "--wait [seconds]",
    `${description}; ${DEFAULT_WAIT / SECOND} s where nothing is said`,
  ).argParser(parseSeconds)

export const waitTime = (wait: Wait): Milliseconds => (wait === true ? DEFAULT_WAIT : wait)

const FIRST_PAUSE: Milliseconds = 100
const LONGEST_PAUSE: Milliseconds = SECOND

/** A replica may lag behind the publish: until then an unknown id is no answer yet. */
const LAG: Milliseconds = 5 * SECOND

/** Progress that nobody has the time to read is not shown. */
const SHOW_AFTER: Milliseconds = SECOND

/** What was read last, and why no more was, where something was in the way. */
export interface Waited {
  readonly record?: InvalidationRecord
  readonly trouble?: CliError
}

export interface WaitOptions {
  /** What is waited for. @default the record is done or has failed */
  readonly isOver?: (record: InvalidationRecord) => boolean
  /** How long an unknown id is no answer yet. */
  readonly lag?: Milliseconds
}

/** Reads a record until it is done or has failed, or the time is over. Shows how far it is. */
export async function waitForRecord(
  connection: Connection,
  id: string,
  wait: Milliseconds,
  { isOver = ({ state }) => state !== "pending", lag = LAG }: WaitOptions = {},
): Promise<Waited> {
  const began = performance.now()
  const elapsed = () => performance.now() - began
  const line = progress()
  let waited: Waited = {}
  let isWarned = false
  try {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE)) {
      try {
        // A last look is taken when the time is over: it too must end.
        const record = await fetchRecord(connection, id, Math.max(wait - elapsed(), SECOND))
        waited = { record }
        if (isOver(record)) return waited
        // At once, and not when the time is over: whoever waits can start one.
        if (hasNoRelay(record) && !isWarned) {
          line.clear()
          tellWarning(`of relays ${NO_RELAY} (tidemark relay)`)
          isWarned = true
        }
      } catch (error) {
        if (!(error instanceof CliError)) throw error
        waited = { ...waited, trouble: error }
        if (!mayPass(error, elapsed() < lag)) return waited
      }
      const left = wait - elapsed()
      if (left <= 0) return waited
      if (elapsed() > SHOW_AFTER) line.show(`${Math.round(elapsed() / SECOND)} s  ${told(waited)}`)
      await delay(Math.min(pause, left))
    }
  } finally {
    line.clear()
  }
}

const told = ({ record, trouble }: Waited): string =>
  trouble ? trouble.message : record ? progressOf(record) : "nothing known yet"

/** Whether asking again may help: a restart, a store that is away, a replica that lags. */
function mayPass(error: CliError, mayLag: boolean): boolean {
  if (!(error instanceof RefusedCall)) return error.exit === "unreachable"
  return error.status >= 500 || error.status === 429 || (error.status === 404 && mayLag)
}

/** Shows what a wait came to. */
export function showWaited({ record, trouble }: Waited, json: boolean, accepted?: unknown): ExitCode {
  if (json) printJson(record ?? accepted ?? trouble?.json ?? null)
  else if (record) for (const line of recordLines(record)) print(line)
  if (record?.state === "done") return EXIT.done
  if (record?.state === "failed") return EXIT.failed
  if (trouble) {
    tellError(trouble.message)
    for (const line of trouble.lines) tell(line)
  }
  return EXIT.late
}

/**
 * What became of an invalidation at one target. `dead` is any end but a good one; `unknown`: no record or receipt of it
 * is left.
 */
export type Fate = "done" | "dead" | "pending" | "unknown"

export function fateOf(record: InvalidationRecord | undefined, target: string): Fate {
  const state = record?.targets[target]?.state ?? "unknown"
  if (state === "done" || state === "unknown") return state
  return state === "dead" || state === "not_supported" ? "dead" : "pending"
}

/** What was read last of each invalidation that was asked for, and why no more was. */
export interface TargetWaited {
  readonly records: ReadonlyMap<Epoch, InvalidationRecord>
  /** Of those in `records`, or still to be asked for, some are not yet over. */
  readonly trouble?: CliError
}

/** Reads records until they are over at one target, or the time is. */
export async function waitForTarget(
  connection: Connection,
  target: string,
  epochs: readonly Epoch[],
  wait: Milliseconds,
): Promise<TargetWaited> {
  const began = performance.now()
  const records = new Map<Epoch, InvalidationRecord>()
  const isOver = (record: InvalidationRecord) => fateOf(record, target) !== "pending"
  for (const epoch of epochs) {
    const left = Math.max(0, wait - (performance.now() - began))
    // A relay reads no replica: what it does not know was trimmed.
    const waited = await waitForRecord(connection, String(epoch), left, { isOver, lag: 0 })
    if (waited.record) records.set(epoch, waited.record)
    if (waited.trouble && !isGone(waited.trouble)) return { records, trouble: waited.trouble }
  }
  return { records }
}

const isGone = (error: CliError): boolean => error instanceof RefusedCall && error.status === 404
