import { type Command, Option } from "commander"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { tellingLast } from "../interrupt.ts"
import { type AddressOptions, addCommonOptions, connectionOf, parseSeconds } from "../options.ts"
import { print, printJson, tell } from "../output.ts"
import { checkId, fetchRecord } from "../record.ts"
import { recordLines } from "../record-view.ts"
import { DEFAULT_WAIT, showWaited, waitForRecord } from "../wait.ts"

interface StatusOptions extends AddressOptions {
  readonly watch?: boolean
  readonly timeout: Milliseconds
}

/** `tidemark status`: what became of an invalidation at each target. */
export function addStatus(program: Command): void {
  const command = program
    .command("status")
    .summary("show what became of an invalidation at each target")
    .description("Shows one invalidation: what was asked, and its state at each target.")
    .argument("<id>", "as publish and log show it")
    .option("--watch", "wait until it is done or has failed")
    .addOption(
      new Option("--timeout <seconds>", "with --watch: how long")
        .argParser(parseSeconds)
        .default(DEFAULT_WAIT, String(DEFAULT_WAIT / SECOND)),
    )
  addCommonOptions(command, "asks").action(exitsWith(status))
  addHelp(command, {
    notes: [
      "Without --watch the exit code only says whether it could be read; with it 0 is done, 1 failed, 3 still pending.",
    ],
    examples: [
      ["tidemark status 1763672400000000", "as it stands"],
      ["tidemark status 1763672400000000 --watch --timeout 300", "until it is done, five minutes at most"],
      ["tidemark status 1763672400000000 --url http://127.0.0.1:8788", "asks the relay, which answers alike"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

async function status(text: string, options: StatusOptions): Promise<ExitCode> {
  const id = checkId(text)
  const connection = connectionOf(options)
  const json = options.json === true
  if (!options.watch) {
    const record = await fetchRecord(connection, id)
    if (json) printJson(record)
    else for (const line of recordLines(record)) print(line)
    return EXIT.done
  }
  const lost = () => tell(`${id} goes on; see: tidemark status ${id}`)
  const waited = await tellingLast(lost, () => waitForRecord(connection, id, options.timeout))
  // Nothing was ever read: that is why it ends, and not the time.
  if (!waited.record) throw waited.trouble ?? new CliError("late", "nothing could be read in time")
  const code = showWaited(waited, json)
  if (code === EXIT.late) tell(`still pending after ${options.timeout / SECOND} s`)
  return code
}
