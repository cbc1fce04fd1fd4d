import type { Command } from "commander"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions } from "../options.ts"
import { type StartPart, useConfig } from "../part.ts"

/** `tidemark relay`: its help and its options. The daemon itself is no part of the command line. */
export function addRelay(program: Command, startPart: StartPart): void {
  const command = program
    .command("relay")
    .summary("run the relay, which purges the targets")
    .description(
      "Runs the relay until SIGINT or SIGTERM. Standard output gets one JSON line when it is ready, standard error its log.",
    )
  addCommonOptions(command, "starts").action(async (options: CommonOptions) => {
    useConfig(options)
    await startPart("relay", [])
  })
  addHelp(command, {
    notes: ["The environment also holds every secret that the configuration names."],
    examples: [["REDIS_URL=redis://127.0.0.1:6379 tidemark relay", "beside a tidemark.config.ts"]],
    environment: [
      "REDIS_URL",
      "REDIS_CA_FILE",
      "REDIS_CERT_FILE",
      "REDIS_KEY_FILE",
      "TIDEMARK_CONFIG",
      "TIDEMARK_HOST",
      "TIDEMARK_RELAY_PORT",
    ],
    exits: ["done", "failed", "usage"],
  })
}
