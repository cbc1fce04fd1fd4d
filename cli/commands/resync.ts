import type { Command } from "commander"
import { isNamespace, NAMESPACE_RULE } from "../../protocol/namespace.ts"
import { parseAccepted, showOutcome } from "../accepted.ts"
import { addYesOption, confirm, type ConfirmOptions } from "../confirm.ts"
import { CliError, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { send } from "../http.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { tell } from "../output.ts"
import { type Wait, waitOption } from "../wait.ts"

interface ResyncOptions extends AddressOptions, ConfirmOptions {
  readonly wait?: Wait
}

/** `tidemark resync`: where what the caches hold is no longer known. */
export function addResync(program: Command): void {
  const command = program
    .command("resync")
    .summary("invalidate everything of a namespace, or all there is, everywhere")
    .description(
      "Invalidates everything of a namespace, or all there is, in every target and at request time: for when what\nthe caches hold is no longer known.",
    )
    .argument("[namespace]", "the namespace; left out for all there is")
    .addOption(waitOption("wait until every target is done"))
  addCommonOptions(addYesOption(command), "operates").action(exitsWith(resync))
  addHelp(command, {
    notes: ["The token needs the scope operate, with --wait also read:*."],
    examples: [
      ["tidemark resync blog --wait", "one namespace; ends when it is purged"],
      ["tidemark resync --yes", "all there is, in a script"],
    ],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

async function resync(namespace: string | undefined, options: ResyncOptions): Promise<ExitCode> {
  if (namespace !== undefined && !isNamespace(namespace)) {
    throw new CliError("usage", `a namespace is ${NAMESPACE_RULE}`)
  }
  const connection = connectionOf(options, "relay")
  const body = namespace === undefined ? {} : { namespace }
  const what = namespace === undefined ? "everything there is" : `everything of ${namespace}`
  await confirm(options, () => [
    `This invalidates ${what}, in every target that it concerns and at request time, by the relay at ${connection.url.href}.`,
    "Caches fill again from the origin, which has to bear that.",
  ])
  const answer = await send(connection, { method: "POST", path: "v1/resync", body })
  const accepted = parseAccepted(connection, answer)
  if (!options.json) {
    tell(`${what} is invalidated, in every target that it concerns and at request time`)
  }
  return showOutcome(connection, accepted, options)
}
