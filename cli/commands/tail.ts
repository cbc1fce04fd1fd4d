import { type Command, Option } from "commander"
import type { InvalidationRecord } from "../../protocol/record.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import type { Connection } from "../http.ts"
import { type AddressOptions, addCommonOptions, connectionOf, parseCount, parsePattern } from "../options.ts"
import { print, printJson } from "../output.ts"
import { BEYOND, fetchPage } from "../record.ts"
import { entryLine } from "../record-view.ts"
import { repeatUntilInterrupted } from "../repeat.ts"

interface TailOptions extends AddressOptions {
  readonly ns?: string
  readonly lines: number
}

const DEFAULT_LINES = 10
const INTERVAL: Milliseconds = SECOND

/** `tidemark tail`: what is published, as it happens. */
export function addTail(program: Command): void {
  const command = program
    .command("tail")
    .summary("follow the log")
    .description(
      "Follows the log, one line an invalidation, until it is interrupted. Keeps on through restarts.",
    )
    .option("--ns <pattern>", "only of this namespace and those below it", parsePattern)
    .addOption(
      new Option("--lines <count>", "begin with the newest so many, 0 to 1000")
        .argParser(parseCount(0, 1_000))
        .default(DEFAULT_LINES),
    )
  addCommonOptions(command, "asks").action(exitsWith(tail))
  addHelp(command, {
    notes: ["--json prints one record a line, as it stood when it was read."],
    examples: [
      ["tidemark tail", "everything that the token may read"],
      ["tidemark tail --ns blog --json | jq -c '[.id, .tags]'", "for a script"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG", "NO_COLOR"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function tail(options: TailOptions): Promise<ExitCode> {
  const connection = connectionOf(options)
  const show = (record: InvalidationRecord) => (options.json ? printJson(record) : print(entryLine(record)))
  return repeatUntilInterrupted({
    interval: INTERVAL,
    first: (signal) => begin(connection, options, show, signal),
    again: (after, signal) => follow(connection, options.ns, after, show, signal),
  })
}

type Show = (record: InvalidationRecord) => void

/** Shows the newest, and says after which epoch to go on. */
async function begin(
  connection: Connection,
  { ns, lines }: TailOptions,
  show: Show,
  signal: AbortSignal,
): Promise<number> {
  const page = await fetchPage(connection, { before: BEYOND, ns, limit: String(Math.max(lines, 1)) }, signal)
  for (const record of lines === 0 ? [] : page.items.toReversed()) show(record)
  // Where none of the newest may be seen here, `next` is the oldest of them; without it they were the whole log.
  return page.items[0]?.epoch ?? page.next ?? 0
}

/** Shows what is new, page by page. */
async function follow(
  connection: Connection,
  ns: string | undefined,
  after: number,
  show: Show,
  signal: AbortSignal,
): Promise<number> {
  let last = after
  for (;;) {
    const page = await fetchPage(connection, { after: String(last), ns }, signal)
    for (const record of page.items) show(record)
    last = page.next ?? page.items.at(-1)?.epoch ?? last
    if (page.next === null) return last
  }
}
