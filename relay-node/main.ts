import { existsSync, readFileSync } from "node:fs"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { setFlagsFromString } from "node:v8"
import { serve } from "@hono/node-server"
import { partAddressProblem } from "../protocol/address.ts"
import { useDigests } from "../protocol/bytes.ts"
import { authenticate } from "../protocol/tokens.ts"
import { checkConfig, configWarnings } from "../protocol/config/checks.ts"
import { ConfigError, type Resolved, resolveSecrets, tenantsOf } from "../protocol/config/config.ts"
import { ALL_SCOPES, type Config } from "../protocol/config/schema.ts"
import { secretFaults } from "../protocol/config/secret-forms.ts"
import { nodeDigests } from "./digests.ts"
import { createEmitter } from "./emitter.ts"
import { isLoopback } from "./host.ts"
import { relayApp } from "./http.ts"
import { createLogger } from "./log.ts"
import { labelsOf, readLags } from "./lanes-view.ts"
import { createMetrics } from "./metrics.ts"
import { createProbeFetch } from "./probe-fetch.ts"
import { targetFaults } from "./lanes.ts"
import { readRedisEnvironment, RedisConfigError, type RedisEnvironment } from "./redis/environment.ts"
import { type OffTarget, startRelay } from "./relay.ts"
import { connectVendors, type Vendors } from "./vendor-fetch.ts"
import type { WorkerAddress } from "./worker-check.ts"

/** Wrong configuration or usage, as the command line's exit codes have it. */
const EXIT_MISCONFIGURED = 2

class Misconfigured extends Error {}

/**
 * `tidemark relay`: runs until SIGINT or SIGTERM, prints one JSON line when it is ready, and exits 0 when it has
 * drained. A missing secret or a configuration with mistakes is told on standard error: exit 2.
 */
export async function main(_argv: readonly string[]): Promise<void> {
  try {
    await run(process.env)
  } catch (error) {
    const isForeseen =
      error instanceof ConfigError || error instanceof Misconfigured || error instanceof RedisConfigError
    if (!isForeseen) throw error
    process.stderr.write(`tidemark relay: ${error.message}\n`)
    process.exitCode = EXIT_MISCONFIGURED
  }
}

async function run(env: NodeJS.ProcessEnv): Promise<void> {
  // Pages of a backlog outlive a young collection or two, from which V8 concludes that all like them live long: the old
  // generation would then fill with what is read and forgotten, and memory treble.
  setFlagsFromString("--no-allocation-site-pretenuring")
  useDigests(nodeDigests)
  const settings = readSettings(env)
  const log = createLogger("tidemark-relay", env.LOG_LEVEL)
  const metrics = createMetrics()
  const events = createEmitter(log, metrics)
  const file = checkConfig(await importConfig(settings.configPath))
  const { config, off, resolved, faults } = prepare(file, env, settings.devTokenHash)
  if (faults.length > 0) throw new Misconfigured(faults.join("; "))
  for (const { path, detail } of configWarnings(file)) log.warn({ path }, detail)
  const version = packageVersion()
  const vendors = vendorsOf(version, env)
  const probe = createProbeFetch()
  const worker = await workerOf(env, resolved.tokens)
  const stopped = Promise.withResolvers<void>()
  const drain = () => stopped.resolve()
  let unfit: string | undefined
  const relay = startRelay({
    ...(worker ? { worker } : {}),
    config,
    resolved,
    off,
    redisUrl: settings.redisUrl,
    redis: {
      tls: settings.redisTls,
      onUnfit(sentence) {
        unfit = sentence
        drain()
      },
    },
    events,
    version,
    fetch: vendors.fetch,
    probe: probe.fetch,
  })
  metrics.readLag(async () => {
    const lags = await Promise.all(
      tenantsOf(config).map(async (tenant) =>
        [...(await readLags(relay, tenant))].map(([lane, { ms }]) => ({
          labels: labelsOf(tenant, lane),
          lag: ms,
        })),
      ),
    )
    return lags.flat()
  })
  const server = serve({
    fetch: relayApp({ relay, metrics, tokens: resolved.tokens, host: settings.host, events, drain }).fetch,
    hostname: settings.host,
    port: settings.port,
  })
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, drain)
  try {
    const port = await listening(server, settings)
    const ready = await becomesReady(() => relay.unready(), stopped.promise)
    if (ready) announce(settings.host, port, env.TIDEMARK_TOKEN_FILE)
    await stopped.promise
  } finally {
    await relay.close()
    // What is still under way has had its time, and whoever keeps a connection open must not keep us.
    const closed = new Promise((done) => server.close(done))
    if ("closeAllConnections" in server) server.closeAllConnections()
    await closed
    await vendors.close()
    await probe.close()
  }
  if (unfit !== undefined) throw new Misconfigured(unfit)
}

/** By the proxies that the environment names, if any. */
function vendorsOf(version: string, env: NodeJS.ProcessEnv): Vendors {
  try {
    return connectVendors(version, env)
  } catch (error) {
    throw new Misconfigured(error instanceof TypeError ? error.message : "a proxy cannot be used")
  }
}

/** The Worker whose epochs are held against the log, where both are named. */
async function workerOf(
  { TIDEMARK_URL: url, TIDEMARK_TOKEN: token }: NodeJS.ProcessEnv,
  tokens: ReturnType<typeof prepare>["resolved"]["tokens"],
): Promise<WorkerAddress | undefined> {
  if (!url) return undefined
  const problem = partAddressProblem(url)
  if (problem !== undefined) throw new Misconfigured(`TIDEMARK_URL ${problem}: the Worker's address`)
  if (!token) return undefined
  try {
    return { url, token, principal: await authenticate(tokens, `Bearer ${token}`, Date.now()) }
  } catch (cause) {
    throw new Misconfigured("TIDEMARK_TOKEN is none of the configuration's tokens", { cause })
  }
}

interface Settings extends RedisEnvironment {
  readonly host: string
  readonly port: number
  readonly configPath: string
  readonly devTokenHash: string | undefined
}

function readSettings(env: NodeJS.ProcessEnv): Settings {
  const { TIDEMARK_HOST: host = "127.0.0.1" } = env
  const redis = readRedisEnvironment(env)
  const port = Number(env.TIDEMARK_RELAY_PORT ?? "8788")
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Misconfigured("TIDEMARK_RELAY_PORT must be 0 to 65535")
  const devTokenHash = env.TIDEMARK_DEV_TOKEN_SHA256
  if (devTokenHash !== undefined && !isLoopback(host)) {
    throw new Misconfigured("a development token is taken on loopback only: unset TIDEMARK_HOST")
  }
  return {
    ...redis,
    host,
    port,
    configPath: findConfig(env.TIDEMARK_CONFIG),
    devTokenHash,
  }
}

const FILE_NAMES = ["tidemark.config.ts", "tidemark.config.js", "tidemark.config.mjs"]

/** As the command line looks for it: what is named, else the first of the usual names that lies here. */
const findConfig = (named: string | undefined): string =>
  named
    ? resolve(named)
    : (FILE_NAMES.map((name) => resolve(name)).find((path) => existsSync(path)) ??
      resolve("tidemark.config.ts"))

async function importConfig(path: string): Promise<unknown> {
  try {
    return ((await import(pathToFileURL(path).href)) as { default?: unknown }).default
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : "unknown"
    throw new Misconfigured(`the configuration ${path} could not be read: ${detail}`, { cause })
  }
}

/**
 * Puts the secrets in. In development a target whose secret is missing is off, and one token of development's own is
 * added; else a missing secret is an error that names it.
 */
function prepare(file: Config, env: NodeJS.ProcessEnv, devTokenHash: string | undefined) {
  const isDev = devTokenHash !== undefined
  const { missing } = resolveSecrets(file, env)
  const lacks: Record<string, string[]> = {}
  const lacking: { readonly path: string; readonly text: string }[] = []
  for (const { path, name } of missing) {
    const [part, target = ""] = path.split(".")
    // Webhooks are verified at the edge: their secrets have no business here.
    if (part === "sources") continue
    if (part === "targets" && isDev) (lacks[target] ??= []).push(name)
    else if (!isDev) lacking.push({ path, text: `no ${name} (${path})` })
  }
  const faults =
    lacking.length > 0 ? [`${lacking.map(({ text }) => text).join(", ")} in the environment`] : []
  const targets = Object.entries(file.targets).flatMap(
    ([name, target]): [string, Config["targets"][string]][] => {
      if (target.type !== "varnish" || target.endpoints !== "dev") return [[name, target]]
      const url = env.TIDEMARK_VARNISH_URL
      if (url) return [[name, { ...target, endpoints: [url] }]]
      if (!isDev) faults.push(`targets.${name}.endpoints: "dev" is for tidemark dev only`)
      lacks[name] = ["Varnish"]
      return []
    },
  )
  const config: Config = {
    ...file,
    sources: {},
    tokens: isDev ? file.tokens.filter(({ name }) => name !== "dev") : file.tokens,
    targets: Object.fromEntries(targets.filter(([name]) => !Object.hasOwn(lacks, name))),
  }
  const { config: resolved } = resolveSecrets(config, env)
  const tokens = isDev
    ? [...resolved.tokens, { name: "dev", sha256: devTokenHash, scopes: ALL_SCOPES, tenant: "default" }]
    : resolved.tokens
  return {
    config: { ...config, sources: file.sources },
    off: Object.fromEntries(
      Object.entries(lacks).map(([name, names]): [string, OffTarget] => [
        name,
        { missing: names, tenants: file.targets[name]?.tenants ?? [] },
      ]),
    ),
    resolved: { ...resolved, tokens },
    faults: [...faults, ...wrongSecrets(config, env, resolved, lacking)],
  }
}

/** Secrets that cannot be right, by their names; then what drivers would not take of the other targets. */
function wrongSecrets(
  config: Config,
  env: NodeJS.ProcessEnv,
  resolved: Resolved<Config>,
  lacking: readonly { readonly path: string }[],
): string[] {
  const wrong = secretFaults(config, env)
  const told = [...wrong, ...lacking].map(({ path }) => path)
  const isTold = (fault: string) => told.some((path) => path.startsWith(`${fault.split(":")[0]}.`))
  return [
    ...wrong.map(({ path, name, detail }) => {
      const [, owner, option] = /^(.*)\.([a-z]\w*)(?:\.\d+)?$/i.exec(path) ?? []
      return `${owner}: ${option} ${detail} (${name})`
    }),
    ...targetFaults(resolved).filter((fault) => !isTold(fault)),
  ]
}

async function listening(server: ReturnType<typeof serve>, { host, port }: Settings): Promise<number> {
  await new Promise<void>((done, fail) => {
    server.once("listening", done)
    server.once("error", (error: NodeJS.ErrnoException) => {
      const taken = `port ${port} is taken: set TIDEMARK_RELAY_PORT to another, or to 0 for any free one`
      fail(
        new Misconfigured(
          error.code === "EADDRINUSE" ? taken : `cannot listen on ${host}:${port}: ${error.message}`,
        ),
      )
    })
  })
  const address = server.address()
  return typeof address === "object" && address ? address.port : port
}

/** Resolves true once nothing is amiss any more; false when it was told to stop before that. */
async function becomesReady(
  unready: () => Readonly<Record<string, string>>,
  stopped: Promise<void>,
): Promise<boolean> {
  const over = stopped.then(() => true)
  while (Object.keys(unready()).length > 0) {
    const pause = new Promise<false>((done) => setTimeout(() => done(false), 20))
    if (await Promise.race([over, pause])) return false
  }
  return true
}

function announce(host: string, port: number, tokenFile: string | undefined): void {
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`
  const line = { event: "ready", part: "relay", url, ...(tokenFile === undefined ? {} : { tokenFile }) }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function packageVersion(): string {
  // The package's own file lies above both the sources and what was built from them.
  for (const path of ["../package.json", "../../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")) as {
        name?: string
        version?: string
      }
      if (name === "tidemark" && version !== undefined) return version
    } catch {
      // Not there: the next one is.
    }
  }
  return "0.0.0"
}
