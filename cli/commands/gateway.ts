import type { Command } from "commander"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions } from "../options.ts"
import { type StartPart, useConfig } from "../part.ts"

interface GatewayOptions extends CommonOptions {
  readonly allCommands?: boolean
}

/** `tidemark gateway`: its help and its options. The server itself is no part of the command line. */
export function addGateway(program: Command, startPart: StartPart): void {
  const command = program
    .command("gateway")
    .summary("serve the Upstash REST protocol in front of any Redis")
    .description(
      "Serves the Upstash REST protocol in front of any Redis, so that the Worker runs on a self-hosted one. Until SIGINT or SIGTERM; standard output gets one JSON line when it is ready.",
    )
    .option("--all-commands", "let every command through, on loopback only: for tests")
  addCommonOptions(command, "starts").action(async (options: GatewayOptions) => {
    useConfig(options)
    await startPart("gateway", options.allCommands ? ["--all-commands"] : [])
  })
  addHelp(command, {
    examples: [
      ["REDIS_URL=redis://127.0.0.1:6379 UPSTASH_REDIS_REST_TOKEN=… tidemark gateway", "on 127.0.0.1:8789"],
    ],
    environment: [
      "REDIS_URL",
      "REDIS_CA_FILE",
      "REDIS_CERT_FILE",
      "REDIS_KEY_FILE",
      "UPSTASH_REDIS_REST_TOKEN",
      "TIDEMARK_HOST",
      "TIDEMARK_GATEWAY_PORT",
    ],
    exits: ["done", "failed", "usage"],
  })
}
