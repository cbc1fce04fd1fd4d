import { setTimeout as delay } from "node:timers/promises"
import type { Command } from "commander"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { addYesOption, confirm, type ConfirmOptions } from "../confirm.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { type Connection, send } from "../http.ts"
import { isRecord } from "../json.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { plain, print, printJson, progress, tell } from "../output.ts"
import { type Wait, waitOption, waitTime } from "../wait.ts"

interface DrainOptions extends AddressOptions, ConfirmOptions {
  readonly wait?: Wait
}

/** Short: whoever starts it again may do so at once, and between the two it must be seen gone. */
const PAUSE: Milliseconds = 100

/** `tidemark drain`: ends a relay, with nothing left half done. */
export function addDrain(program: Command): void {
  const command = program
    .command("drain")
    .summary("tell the relay to finish what is under way, and to end")
    .description(
      "Tells the relay at the address to finish what is under way, and to end. What is left waits in Redis for\nanother relay, or for its next start.",
    )
    .addOption(waitOption("wait until it is gone"))
  addCommonOptions(addYesOption(command), "operates").action(exitsWith(drain))
  addHelp(command, {
    notes: [
      "It has as long as relay.drain says. Whatever keeps relays running, as `tidemark dev` does, starts it again.",
      "The token needs the scope drain.",
    ],
    examples: [["tidemark drain --yes --wait=60", "before a machine is taken away"]],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

async function drain(options: DrainOptions): Promise<ExitCode> {
  const connection = connectionOf(options, "relay")
  await confirm(options, () => [
    `The relay at ${connection.url.href} finishes what is under way, and ends.`,
    "Where no other one runs, nothing is purged until one is started again.",
  ])
  const answer = await send(connection, { method: "POST", path: "v1/drain" })
  if (!isRecord(answer) || typeof answer["id"] !== "string" || answer["draining"] !== true) {
    throw new CliError(
      "failed",
      `${connection.url.href} answered something else than that it drains: is that a Tidemark relay?`,
    )
  }
  if (options.json) printJson(answer)
  else print(`relay ${plain(answer["id"])} is told to finish what is under way, and to end`)
  if (options.wait === undefined) return EXIT.done
  const wait = waitTime(options.wait)
  const gone = await waitUntilGone(connection, wait)
  if (!gone) tell(`still there after ${wait / SECOND} s`)
  else if (!options.json) print("it has ended: nothing answers there any more")
  return gone ? EXIT.done : EXIT.late
}

async function waitUntilGone(connection: Connection, wait: Milliseconds): Promise<boolean> {
  const began = performance.now()
  const elapsed = () => performance.now() - began
  const line = progress()
  try {
    for (;;) {
      if (!(await answers(connection, Math.max(wait - elapsed(), SECOND)))) return true
      const left = wait - elapsed()
      if (left <= 0) return false
      line.show(`${Math.round(elapsed() / SECOND)} s  still there`)
      await delay(Math.min(PAUSE, left))
    }
  } finally {
    line.clear()
  }
}

/** Whether anything is there, whatever it says. One that is too busy to answer in time has not ended. */
async function answers(connection: Connection, timeout: Milliseconds): Promise<boolean> {
  try {
    await send(connection, { path: "healthz", timeout })
    return true
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    return error.exit !== "unreachable" || isTimeout(error.cause)
  }
}

const isTimeout = (error: unknown): boolean => error instanceof DOMException && error.name === "TimeoutError"
