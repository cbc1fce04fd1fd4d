import { parseArgs } from "node:util"
import { createLogger } from "../log.ts"
import { readGatewayEnvironment } from "./environment.ts"
import { GatewayConfigError, startGateway } from "./gateway.ts"

/** Wrong configuration or usage, as the command line's exit codes have it. */
const EXIT_MISCONFIGURED = 2

/**
 * `tidemark gateway [--all-commands]`: runs until SIGINT or SIGTERM, and prints one JSON line when it answers.
 * What is wrong with its environment is told at once on standard error: exit 2.
 */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { "all-commands": { type: "boolean", default: false } },
    })
    const options = readGatewayEnvironment(process.env)
    const stopped = Promise.withResolvers<void>()
    let unfit: string | undefined
    const gateway = await startGateway({
      ...options,
      onUnfit(sentence) {
        unfit = sentence
        stopped.resolve()
      },
      allCommands: values["all-commands"],
      log: createLogger("tidemark-gateway", process.env.LOG_LEVEL),
    })
    process.stdout.write(`${JSON.stringify({ event: "ready", part: "gateway", url: gateway.url })}\n`)
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopped.resolve())
    await stopped.promise
    await gateway.close()
    if (unfit !== undefined) throw new GatewayConfigError([unfit])
  } catch (error) {
    const isUsage =
      error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")
    if (!(error instanceof GatewayConfigError) && !isUsage) throw error
    process.stderr.write(`tidemark gateway: ${error.message}\n`)
    process.exitCode = EXIT_MISCONFIGURED
  }
}
