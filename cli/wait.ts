import { setTimeout as delay } from "node:timers/promises"
import type { InvalidationRecord } from "../protocol/record.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { CliError, EXIT, type ExitCode } from "./exit.ts"
import { type Connection, RefusedCall } from "./http.ts"
import { printJson, print, progress, tell, tellError } from "./output.ts"
import { fetchRecord } from "./record.ts"
import { progressOf, recordLines } from "./record-view.ts"

/** How long `publish --wait` and `status --watch` wait where nobody says. */
export const DEFAULT_WAIT: Milliseconds = 30 * SECOND

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

/** Reads a record until it is done or has failed, or the time is over. Shows how far it is. */
export async function waitForRecord(connection: Connection, id: string, wait: Milliseconds): Promise<Waited> {
  const began = performance.now()
  const elapsed = () => performance.now() - began
  const line = progress()
  let waited: Waited = {}
  try {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE)) {
      try {
        // A last look is taken when the time is over: it too must end.
        const record = await fetchRecord(connection, id, Math.max(wait - elapsed(), SECOND))
        waited = { record }
        if (record.state !== "pending") return waited
      } catch (error) {
        if (!(error instanceof CliError)) throw error
        waited = { ...waited, trouble: error }
        if (!mayPass(error, elapsed())) return waited
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
function mayPass(error: CliError, elapsed: Milliseconds): boolean {
  if (!(error instanceof RefusedCall)) return error.exit === "unreachable"
  return error.status >= 500 || error.status === 429 || (error.status === 404 && elapsed < LAG)
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
