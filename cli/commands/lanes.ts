import type { Command } from "commander"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { fetchLanes } from "../lane.ts"
import { laneLines } from "../lane-view.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { frames, plain, tellWarning } from "../output.ts"
import { repeatUntilInterrupted } from "../repeat.ts"

interface LanesOptions extends AddressOptions {
  readonly watch?: boolean
}

const INTERVAL: Milliseconds = 2 * SECOND

/** `tidemark lanes`: how each target stands. */
export function addLanes(program: Command): void {
  const command = program
    .command("lanes")
    .summary("show how each target stands: its backlog, trouble and dead letters")
    .description(
      "Shows how each target stands: how far behind the log, what it owes and gave up on, and why.",
    )
    .option("--watch", "show it again, every 2 s, until interrupted")
  addCommonOptions(command, "operates").action(exitsWith(lanes))
  addHelp(command, {
    notes: [
      "LAG counts entries of the log that the target has not read, BEHIND is how old they are; DUE are items to be sent\nonce more. The exit code only says whether it could be read. The token needs the scope read:*.",
      "With --watch a terminal is drawn anew; elsewhere it is printed again when something changed.",
    ],
    examples: [
      ["tidemark lanes --watch", "while a vendor is in trouble"],
      ["tidemark lanes --json | jq '.items[] | select(.dead > 0).target'", "for a script"],
    ],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG", "NO_COLOR"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function lanes(options: LanesOptions): Promise<ExitCode> {
  const connection = connectionOf(options, "relay")
  const told = new Set<string>()
  const screen = frames({ redraws: options.watch === true && options.json !== true })
  const show = async (signal?: AbortSignal) => {
    const answer = await fetchLanes(connection, signal)
    for (const note of Object.values(answer.notes ?? {})) {
      if (!told.has(note)) tellWarning(plain(note))
      told.add(note)
    }
    screen.show(options.json ? [JSON.stringify(answer)] : laneLines(answer.items))
  }
  if (options.watch) {
    return repeatUntilInterrupted({ interval: INTERVAL, first: show, again: (_, signal) => show(signal) })
  }
  await show()
  return EXIT.done
}
