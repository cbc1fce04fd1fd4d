import { setTimeout as delay } from "node:timers/promises"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { CliError, EXIT, type ExitCode } from "./exit.ts"
import { RefusedCall } from "./http.ts"
import { tell, tellWarning } from "./output.ts"

export interface Repeated<T> {
  readonly interval: Milliseconds
  /** Its failure ends it all: whoever mistyped the address is told at once. */
  readonly first: (signal: AbortSignal) => Promise<T>
  /** Is given what the time before gave; tried again where a restart or a store that is away is in its way. */
  readonly again: (before: T, signal: AbortSignal) => Promise<T>
}

/** Goes on until SIGINT or SIGTERM, which is how it is meant to end. @throws {CliError} what may not pass */
export async function repeatUntilInterrupted<T>({ interval, first, again }: Repeated<T>): Promise<ExitCode> {
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort()
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt)
  const { signal } = interrupted
  try {
    let before = await first(signal)
    for (let failures = 0; ;) {
      await delay(pauseAfter(failures, interval), undefined, { signal })
      try {
        before = await again(before, signal)
        if (failures > 0) tell("answers again")
        failures = 0
      } catch (error) {
        if (!mayPass(error)) throw error
        if (failures === 0) tellWarning(`${error.message}; trying again`)
        failures += 1
      }
    }
  } catch (error) {
    if (signal.aborted) return EXIT.done
    throw error
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt)
  }
}

/** After failures up to 15 s, jittered, as all who follow lose the part in the same instant. */
function pauseAfter(failures: number, interval: Milliseconds): Milliseconds {
  if (failures === 0) return interval
  return Math.min(interval * 2 ** (failures - 1), 15 * SECOND) * (0.5 + Math.random() / 2)
}

const mayPass = (error: unknown): error is CliError =>
  error instanceof RefusedCall
    ? error.status >= 500 || error.status === 429
    : error instanceof CliError && error.exit === "unreachable"
