import type { Command } from "commander"
import { addYesOption, confirm, type ConfirmOptions } from "../confirm.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { send } from "../http.ts"
import { checkLetterId, checkTarget, fetchLetter, letterPath } from "../letter.ts"
import { letterLines } from "../letter-view.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { print, printJson } from "../output.ts"

interface DeleteOptions extends AddressOptions, ConfirmOptions {}

/** `tidemark dead delete`: forgets one dead letter. */
export function addDeadDelete(parent: Command): void {
  const command = parent
    .command("delete")
    .summary("forget one dead letter, for good")
    .description("Forgets one dead letter for good. What it names stays as it is at the target.")
    .argument("<target>", "the target's name")
    .argument("<id>", "as dead list shows it")
  addCommonOptions(addYesOption(command), "operates").action(exitsWith(forget))
  addHelp(command, {
    notes: ["The token needs the scope operate. The record of the invalidation keeps saying dead."],
    examples: [["tidemark dead delete www-cloudflare 1795272188595-0 --yes", "one, without being asked"]],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function forget(givenTarget: string, givenId: string, options: DeleteOptions): Promise<ExitCode> {
  const target = checkTarget(givenTarget)
  const id = checkLetterId(givenId)
  const connection = connectionOf(options, "relay")
  await confirm(options, async () => [
    ...(process.stdin.isTTY ? letterLines(target, await fetchLetter(connection, target, id)) : []),
    `This forgets dead letter ${id} of ${target} for good: nothing of it is purged there, and it cannot be replayed.`,
  ])
  const answer = await send(connection, { method: "DELETE", path: letterPath(target, id) })
  if (answer !== undefined) {
    throw new CliError(
      "failed",
      `${connection.url.href} answered something to a deletion: is that a Tidemark relay?`,
    )
  }
  if (options.json) printJson({ id, target, deleted: true })
  else print(`deleted ${id} of ${target}`)
  return EXIT.done
}
