import { type Command, Option } from "commander"
import { EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import type { Connection } from "../http.ts"
import {
  type AddressOptions,
  addCommonOptions,
  connectionOf,
  parseCount,
  parseEpochText,
  parsePattern,
} from "../options.ts"
import { print, printJson, tell } from "../output.ts"
import { BEYOND, fetchPage, type RecordPage } from "../record.ts"
import { logTable } from "../record-view.ts"

interface LogOptions extends AddressOptions {
  readonly ns?: string
  readonly limit: number
  readonly before?: string
  readonly after?: string
}

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1_000

/** A page is short where a namespace has few of its entries: so many are read for one answer. */
const MOST_PAGES = 20

/** `tidemark log`: what was published, newest last. */
export function addLog(program: Command): void {
  const command = program
    .command("log")
    .summary("list invalidations, newest last")
    .description("Lists what was published, newest last; without --before and --after the newest there are.")
    .option("--ns <pattern>", "only of this namespace and those below it", parsePattern)
    .addOption(
      new Option("--limit <count>", `how many at most, 1 to ${MAX_LIMIT}`)
        .argParser(parseCount(1, MAX_LIMIT))
        .default(DEFAULT_LIMIT),
    )
    .addOption(
      new Option("--before <epoch>", "only older ones than this")
        .argParser(parseEpochText)
        .conflicts("after"),
    )
    .option("--after <epoch>", "only newer ones than this, from the oldest on", parseEpochText)
  addCommonOptions(command, "asks").action(exitsWith(log))
  addHelp(command, {
    notes: [
      "--json prints {items, next} as the Worker does: newest first, but with --after. next is null at the end.",
    ],
    examples: [
      ["tidemark log --limit 20", "the newest twenty"],
      ["tidemark log --ns blog --after 1763672400000000", "of blog, since that epoch"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function log(options: LogOptions): Promise<ExitCode> {
  const { after } = options
  const page = await readLog(connectionOf(options), options)
  if (options.json) {
    printJson(page)
    return EXIT.done
  }
  const items = after === undefined ? page.items.toReversed() : page.items
  if (items.length === 0) tell("nothing was published here")
  else for (const line of logTable(items)) print(line)
  if (page.next !== null) tell(`there is more: ${after === undefined ? "--before" : "--after"} ${page.next}`)
  return EXIT.done
}

/** Pages until the limit is reached, as one answer. */
async function readLog(
  connection: Connection,
  { ns, limit, before, after }: LogOptions,
): Promise<RecordPage> {
  const direction = after === undefined ? "before" : "after"
  let from = after ?? before ?? BEYOND
  const items: RecordPage["items"][number][] = []
  for (let pages = 1; ; pages += 1) {
    const page = await fetchPage(connection, { [direction]: from, ns, limit: String(limit) })
    items.push(...page.items)
    if (items.length > limit) return { items: items.slice(0, limit), next: items[limit - 1]?.epoch ?? null }
    if (items.length === limit || page.next === null || pages === MOST_PAGES)
      return { items, next: page.next }
    from = String(page.next)
  }
}
