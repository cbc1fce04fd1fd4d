import type { Command } from "commander"
import { exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions } from "../options.ts"

/** `tidemark dev`: everything on this machine. */
export function addDev(program: Command): void {
  const command = program
    .command("dev")
    .summary("start everything on this machine")
    .description(
      "Starts a Redis, the gateway, the Worker, the relay, a Varnish and a demo site, each as a process of its own, until it is interrupted. Standard output gets one JSON line for each part, standard error is for people.",
    )
  addCommonOptions(command, "starts").action(
    exitsWith(async (options: CommonOptions) => {
      // It brings what no other command needs.
      const { runDev } = await import("../dev/dev.ts")
      return runDev(options)
    }),
  )
  addHelp(command, {
    notes: [
      "Secrets come from the environment, then .dev.vars, then .tidemark/dev.vars, which it writes. Its token stands in\n.tidemark/dev.token, where the other commands find it.",
    ],
    environment: [
      "TIDEMARK_CONFIG",
      "TIDEMARK_TOKEN",
      "REDIS_URL",
      "UPSTASH_REDIS_REST_TOKEN",
      "TIDEMARK_WORKER_PORT",
      "TIDEMARK_RELAY_PORT",
      "TIDEMARK_GATEWAY_PORT",
      "TIDEMARK_REDIS_PORT",
      "TIDEMARK_VARNISH_PORT",
      "TIDEMARK_SITE_PORT",
      "TIDEMARK_SITE_URL",
    ],
    exits: ["done", "failed", "usage"],
  })
}
