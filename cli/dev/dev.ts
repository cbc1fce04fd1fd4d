import { relative } from "node:path"
import { checkConfig } from "../../protocol/config/checks.ts"
import type { Config } from "../../protocol/config/schema.ts"
import { parseRedisUrl } from "../../protocol/redis-url.ts"
import { loadConfigFileOrDemo } from "../config-file.ts"
import { CliError, EXIT } from "../exit.ts"
import type { CommonOptions } from "../options.ts"
import { moduleFile } from "../package-root.ts"
import { paint, printJson, tell } from "../output.ts"
import { devHints } from "./hints.ts"
import { HURRIED_MS, readPorts, type RunningDev, startDev } from "./start.ts"

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
  let isHurried = false
  process.on("SIGINT", () => {
    isHurried = true
    stopping.abort()
  })
  process.on("SIGTERM", () => stopping.abort())
  const stopped = new Promise<void>((stop) =>
    stopping.signal.addEventListener("abort", () => stop(), { once: true }),
  )
  let ports
  try {
    ports = readPorts(env)
    // By the gateway it would be told too, but only once everything before it runs.
    if (env.REDIS_URL) parseRedisUrl(env.REDIS_URL)
  } catch (error) {
    throw new CliError("usage", error instanceof Error ? error.message : "wrong environment", {
      cause: error,
    })
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
      isTelling: true,
    })
  } catch (error) {
    if (stopping.signal.aborted) return EXIT.done
    throw new CliError("failed", error instanceof Error ? error.message : "a part did not start", {
      cause: error,
    })
  }
  introduce(dev, config, path === moduleFile("tidemark.config"))
  await stopped
  await dev.stop(isHurried ? HURRIED_MS : undefined)
  return EXIT.done
}

/** @param isDemo whether it runs the demo's configuration, which is the one that the demo's site fits */
function introduce({ urls, environment }: RunningDev, config: Config, isDemo: boolean): void {
  const hasVarnish = Object.values(config.targets).some(
    (target) => target.type === "varnish" && target.endpoints === "dev",
  )
  const rows: (readonly [string, string | undefined])[] = [
    ["publish to", urls.worker],
    ["relay", urls.relay],
    ...(isDemo
      ? ([
          ["site, cached at the edge", urls.site],
          ["the same behind Varnish", urls.varnish],
        ] as const)
      : ([["Varnish", hasVarnish ? urls.varnish : undefined]] as const)),
    ["token", relative(process.cwd(), environment.tokenFile)],
  ]
  tell("")
  for (const [name, value] of rows)
    if (value !== undefined) tell(`  ${name.padEnd(26)}${paint("bold", value)}`)
  tell("")
  for (const hint of devHints(config, isDemo)) tell(`  ${paint("dim", hint)}`)
  tell("")
}
