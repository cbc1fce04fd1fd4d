import { type Command, Option } from "commander"
import { MAX_LETTERS } from "../../protocol/letter.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import type { Connection } from "../http.ts"
import { fetchLanes } from "../lane.ts"
import { checkLetterId, checkTarget, fetchLetters, type LetterPage, type LetterRange } from "../letter.ts"
import { letterTable } from "../letter-view.ts"
import { type AddressOptions, addCommonOptions, connectionOf, parseCount } from "../options.ts"
import { paint, print, printJson, tell } from "../output.ts"

interface ListOptions extends AddressOptions {
  readonly after?: string
  readonly limit: number
}

const DEFAULT_LIMIT = 100

/** `tidemark dead list`: what was given up on. */
export function addDeadList(parent: Command): void {
  const command = parent
    .command("list")
    .summary("list dead letters, oldest first")
    .description("Lists what a target gave up on, oldest first; without a target of every one that has any.")
    .argument("[target]", "the target's name")
    .addOption(
      new Option("--limit <count>", `how many of a target at most, 1 to ${MAX_LETTERS}`)
        .argParser(parseCount(1, MAX_LETTERS))
        .default(DEFAULT_LIMIT),
    )
    .option("--after <id>", "of a target, only newer ones than this")
  addCommonOptions(command, "operates").action(exitsWith(list))
  addHelp(command, {
    notes: [
      "The token needs the scope operate; without a target also read:*, which names the targets.",
      "--json prints {items, next} as the relay does; without a target {targets: {name: {items, next}}}.",
    ],
    examples: [
      ["tidemark dead list", "of every target"],
      ["tidemark dead list www-cloudflare --limit 1000", "more of one"],
    ],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function list(given: string | undefined, options: ListOptions): Promise<ExitCode> {
  const { after, limit, json } = options
  const range: LetterRange = { after: after === undefined ? undefined : checkLetterId(after), limit }
  if (given === undefined) {
    if (after !== undefined) throw new CliError("usage", "--after needs a target: ids are each target's own")
    return listAll(connectionOf(options, "relay"), range, json === true)
  }
  const target = checkTarget(given)
  const page = await fetchLetters(connectionOf(options, "relay"), target, range)
  if (json) printJson(page)
  else show(target, page)
  return EXIT.done
}

async function listAll(connection: Connection, range: LetterRange, json: boolean): Promise<ExitCode> {
  const lanes = await fetchLanes(connection)
  const pages: [target: string, page: LetterPage][] = []
  for (const { target, dead } of lanes.items) {
    if (typeof dead === "number" && dead > 0)
      pages.push([target, await fetchLetters(connection, target, range)])
  }
  if (json) {
    printJson({ targets: Object.fromEntries(pages) })
    return EXIT.done
  }
  if (pages.length === 0) tell("no target has dead letters")
  for (const [index, [target, page]] of pages.entries()) {
    if (index > 0) print("")
    print(paint("bold", target))
    show(target, page)
  }
  return EXIT.done
}

function show(target: string, { items, next }: LetterPage): void {
  if (items.length === 0) tell(`${target} has no dead letters here`)
  else for (const line of letterTable(items)) print(line)
  if (next !== null) tell(`there is more: tidemark dead list ${target} --after ${next}`)
}
