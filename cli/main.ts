import { Command, CommanderError } from "commander"
import { addConfigCheck } from "./commands/config-check.ts"
import { addDeadDelete } from "./commands/dead-delete.ts"
import { addDeadList } from "./commands/dead-list.ts"
import { addDeadReplay } from "./commands/dead-replay.ts"
import { addDeadShow } from "./commands/dead-show.ts"
import { addDemo } from "./commands/demo.ts"
import { addDev } from "./commands/dev.ts"
import { addDrain } from "./commands/drain.ts"
import { addEpochs } from "./commands/epochs.ts"
import { addExplain } from "./commands/explain.ts"
import { addGateway } from "./commands/gateway.ts"
import { addLanes } from "./commands/lanes.ts"
import { addLog } from "./commands/log.ts"
import { addPublish } from "./commands/publish.ts"
import { addRelay } from "./commands/relay.ts"
import { addResync } from "./commands/resync.ts"
import { addSourceTest } from "./commands/source-test.ts"
import { addStatus } from "./commands/status.ts"
import { addTail } from "./commands/tail.ts"
import { addTokenCreate } from "./commands/token-create.ts"
import { EXIT } from "./exit.ts"
import { ALL_EXITS, addHelp } from "./help.ts"
import { endWithReader } from "./output.ts"
import type { StartPart } from "./part.ts"
import { packageVersion } from "./version.ts"

/**
 * The command line. Sets `process.exitCode` and lets the process end by itself.
 *
 * @param args what stands behind `tidemark`
 * @param startPart starts the relay or the gateway, which the launcher knows how to find
 */
export async function main(args: readonly string[], startPart: StartPart): Promise<void> {
  endWithReader()
  const program = createProgram(startPart)
  try {
    await program.parseAsync(withoutVainHelp(program, args), { from: "user" })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Help and version that were asked for; everything else that commander ends with is wrong usage.
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage
  }
}

/**
 * The arguments without the wish for help, where what they name is no command: commander would answer `foo --help` and
 * `help foo` with the general help, and not say a word of foo.
 */
function withoutVainHelp(program: Command, args: readonly string[]): readonly string[] {
  const asked = args[0] === "help" ? args.slice(1) : args
  const isAsked = asked.length < args.length || asked.some(isHelpFlag)
  let at = program
  for (const arg of isAsked ? asked : []) {
    // What follows a command without commands of its own are its arguments.
    if (arg.startsWith("-") || at.commands.length === 0) break
    const next = at.commands.find((command) => command.name() === arg)
    if (!next) return asked.filter((each) => !isHelpFlag(each))
    at = next
  }
  return args
}

const isHelpFlag = (arg: string): boolean => arg === "--help" || arg === "-h"

/** Every command with its options and help; also what a generator of documentation walks through. */
export function createProgram(startPart: StartPart): Command {
  const program = new Command("tidemark")
    .description("Keeps edge caches true: records an invalidation, raises its epoch, and purges every CDN.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .showHelpAfterError("(tidemark --help, or a command's --help, tells more)")
    .exitOverride()

  program.commandsGroup("Run:")
  addDev(program)
  addDemo(program)
  addRelay(program, startPart)
  addGateway(program, startPart)
  program.commandsGroup("Use:")
  addPublish(program)
  addStatus(program)
  addLog(program)
  addTail(program)
  addExplain(program)
  addEpochs(program)
  program.commandsGroup("Operate:")
  addLanes(program)
  addDead(program.command("dead").description("list, show, replay and delete what targets gave up on"))
  addResync(program)
  addDrain(program)
  program.commandsGroup("Set up:")
  addTokenCreate(program.command("token").description("make tokens"))
  addSourceTest(program.command("source").description("try sources of webhooks"))
  addConfigCheck(program.command("config").description("look at the configuration"))
  program.helpCommand("help [command]", "print a command's help")

  addHelp(program, {
    examples: [
      ["tidemark dev", "start everything here, then in another terminal:"],
      ["tidemark publish blog --tag post-42 --wait", "invalidate a tag, and wait until it is purged"],
      ["tidemark tail", "follow what is published"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG", "NO_COLOR"],
    exits: ALL_EXITS,
  })
  return program
}

function addDead(dead: Command): void {
  addDeadList(dead)
  addDeadShow(dead)
  addDeadReplay(dead)
  addDeadDelete(dead)
}
