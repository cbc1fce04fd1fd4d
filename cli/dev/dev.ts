import { relative } from "node:path"
import { checkConfig } from "../../protocol/config/checks.ts"
import { loadConfigFileOrDemo } from "../config-file.ts"
import { CliError, EXIT } from "../exit.ts"
import type { CommonOptions } from "../options.ts"
import { paint, printJson, tell } from "../output.ts"
import { readPorts, type RunningDev, startDev } from "./start.ts"

/** Runs everything on this machine until SIGINT or SIGTERM. */
export async function runDev(options: CommonOptions): Promise<number> {
  const { env } = process
  if (env.TIDEMARK_HOST && !/^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/.test(env.TIDEMARK_HOST)) {
    throw new CliError(
      "usage",
      "tidemark dev listens on loopback only, as its token may do everything: unset TIDEMARK_HOST",
    )
  }
  const { path, config, directory } = await loadConfigFileOrDemo(options.config, checkConfig)
  const stopping = new AbortController()
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopping.abort())
  const stopped = new Promise<void>((stop) =>
    stopping.signal.addEventListener("abort", () => stop(), { once: true }),
  )
  let ports
  try {
    ports = readPorts(env)
  } catch (error) {
    throw new CliError("usage", error instanceof Error ? error.message : "wrong ports", { cause: error })
  }
  let dev: RunningDev | undefined
  try {
    dev = await startDev({
      config,
      configPath: path,
      directory,
      env,
      ports,
      signal: stopping.signal,
      onEvent: printJson,
      onMessage: tell,
    })
  } catch (error) {
    if (stopping.signal.aborted) return EXIT.done
    throw new CliError("failed", error instanceof Error ? error.message : "a part did not start", {
      cause: error,
    })
  }
  introduce(dev)
  await stopped
  await dev.stop()
  return EXIT.done
}

function introduce({ urls, environment }: RunningDev): void {
  const rows: [string, string | undefined][] = [
    ["publish to", urls.worker],
    ["relay", urls.relay],
    ["site, cached at the edge", urls.site],
    ["the same behind Varnish", urls.varnish],
    ["token", relative(process.cwd(), environment.tokenFile)],
  ]
  tell("")
  for (const [name, value] of rows)
    if (value !== undefined) tell(`  ${name.padEnd(26)}${paint("bold", value)}`)
  tell(`\n  ${paint("dim", "npx tidemark publish blog --tag post-hello --wait")}\n`)
}
