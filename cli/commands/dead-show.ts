import type { Command } from "commander"
import { EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { checkLetterId, checkTarget, fetchLetter } from "../letter.ts"
import { letterLines } from "../letter-view.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { print, printJson } from "../output.ts"

/** `tidemark dead show`: one dead letter, with all of what it names. */
export function addDeadShow(parent: Command): void {
  const command = parent
    .command("show")
    .summary("show everything of one dead letter")
    .description("Shows one dead letter: what was given up on, why, and which invalidations asked for it.")
    .argument("<target>", "the target's name")
    .argument("<id>", "as dead list shows it")
  addCommonOptions(command, "operates").action(exitsWith(show))
  addHelp(command, {
    notes: ["The token needs the scope operate."],
    examples: [["tidemark dead show www-cloudflare 1795272188595-0", "all of it"]],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function show(givenTarget: string, givenId: string, options: AddressOptions): Promise<ExitCode> {
  const target = checkTarget(givenTarget)
  const letter = await fetchLetter(connectionOf(options, "relay"), target, checkLetterId(givenId))
  if (options.json) printJson(letter)
  else for (const line of letterLines(target, letter)) print(line)
  return EXIT.done
}
