import { randomBytes } from "node:crypto"
import { join } from "node:path"
import type { Config } from "../../protocol/config/schema.ts"
import { hashToken } from "../../protocol/tokens.ts"
import { moduleFile, packageRoot, programFile } from "../package-root.ts"
import { removeDevAddress, writeDevAddress } from "../dev-address.ts"
import { startRedis } from "../servers/redis.ts"
import type { RunningServer } from "../servers/process.ts"
import { findVarnish, type VarnishInstall } from "../servers/provision.ts"
import { startVarnish } from "../servers/varnish.ts"
import { workerEntry } from "../worker-entry.ts"
import { type DevEnvironment, prepareEnvironment } from "./environment.ts"
import { findDevTools } from "./tools.ts"
import { gatewayEnv, relayEnv, systemEnv, workerSecrets } from "./part-env.ts"
import { keepRunning, type Part, type RunningPart, startNodePart } from "./part.ts"
import { originVcl } from "./varnish-vcl.ts"
import type { WorkerPartSettings } from "./worker-part.ts"

/** The whole path on one machine: Redis, gateway, Worker, relay, Varnish and a site behind both kinds of cache. */

export type PartName = "redis" | "gateway" | "worker" | "relay" | "varnish" | "site"

export interface DevSettings {
  readonly config: Config
  readonly configPath: string
  /** Where `.tidemark/` and `.dev.vars` lie. */
  readonly directory: string
  readonly env: NodeJS.ProcessEnv
  readonly ports: Readonly<Record<PartName, number>>
  /** Lines for programs, as they stand on standard output. */
  readonly onEvent: (event: DevEvent) => void
  /** Lines for people. */
  readonly onMessage: (text: string) => void
  /** Stops the start where it is; what was started is stopped again. */
  readonly signal?: AbortSignal
  /** Whether a line for people is written for each publish, webhook and purge. Default: only trouble is told. */
  readonly isTelling?: boolean
  /** Extra bindings of the demo site. */
  readonly site?: Readonly<Record<string, string>>
  /** Where the relay is told that development's Varnish is, instead of where it is. */
  readonly purgeAt?: string
}

export type DevEvent =
  | { readonly event: "ready"; readonly part: PartName; readonly url: string; readonly tokenFile?: string }
  | { readonly event: "ready"; readonly part: "all" }
  | { readonly event: "skipped"; readonly part: PartName; readonly reason: string }

export interface RunningDev {
  readonly urls: Readonly<Partial<Record<PartName, string>>>
  readonly environment: DevEnvironment
  readonly gatewayToken: string
  /** @param graceMs how long each part may take before it is killed. Default: 30 s */
  stop(graceMs?: number): Promise<void>
}

const HOST = "127.0.0.1"
const GRACE_MS = 30_000

/**
 * Somebody waits for the end at a terminal: what a part was in is left half done, as a crash would leave it, and is
 * made good by the next start.
 */
export const HURRIED_MS = 800

const PORT_VARIABLES: Readonly<Record<PartName, string>> = {
  worker: "TIDEMARK_WORKER_PORT",
  relay: "TIDEMARK_RELAY_PORT",
  gateway: "TIDEMARK_GATEWAY_PORT",
  redis: "TIDEMARK_REDIS_PORT",
  varnish: "TIDEMARK_VARNISH_PORT",
  site: "TIDEMARK_SITE_PORT",
}

const DEFAULT_PORTS: Readonly<Record<PartName, number>> = {
  worker: 8787,
  relay: 8788,
  gateway: 8789,
  redis: 0,
  varnish: 0,
  site: 8790,
}

/** @throws {Error} naming every variable that holds no port */
export function readPorts(env: NodeJS.ProcessEnv): Record<PartName, number> {
  const names = Object.keys(PORT_VARIABLES) as PartName[]
  const ports = names.map((name): [PartName, number] => [
    name,
    Number(env[PORT_VARIABLES[name]] || DEFAULT_PORTS[name]),
  ])
  const wrong = ports.filter(([, port]) => !Number.isInteger(port) || port < 0 || port > 65_535)
  if (wrong.length > 0)
    throw new Error(`${wrong.map(([name]) => PORT_VARIABLES[name]).join(", ")} must be 0 to 65535`)
  return Object.fromEntries(ports) as Record<PartName, number>
}

/**
 * Starts every part, in the order in which they need one another, and keeps each running.
 *
 * @throws {Error} when one does not start; those that did are stopped again
 */
export async function startDev(settings: DevSettings): Promise<RunningDev> {
  const dev = new Dev(settings)
  try {
    await dev.start()
  } catch (error) {
    await dev.stop(settings.signal?.aborted ? HURRIED_MS : undefined)
    throw error
  }
  return dev
}

class Dev implements RunningDev {
  readonly urls: Partial<Record<PartName, string>> = {}
  readonly environment: DevEnvironment
  readonly gatewayToken: string
  readonly #settings: DevSettings
  readonly #parts: Part[] = []
  readonly #startedAt = Date.now()
  #tools = ""

  constructor(settings: DevSettings) {
    this.#settings = settings
    this.environment = prepareEnvironment(settings.config, settings.directory, settings.env)
    // What those left behind who were killed.
    removeDevAddress(settings.directory, process.pid)
    this.gatewayToken = settings.env.UPSTASH_REDIS_REST_TOKEN || randomBytes(24).toString("base64url")
  }

  /** What ends a start half-way. */
  get #ending(): { readonly signal?: AbortSignal } {
    const { signal } = this.#settings
    return signal ? { signal } : {}
  }

  async start(): Promise<void> {
    const { env, onMessage, signal } = this.#settings
    // Before anything runs that would have to be stopped again.
    this.#tools = await findDevTools({ onProgress: onMessage, ...(signal ? { signal } : {}) })
    const [install, redisUrl] = await Promise.all([this.#findVarnish(), this.#redis()])
    for (const [name, missing] of Object.entries(this.environment.off)) {
      onMessage(`target ${name} is off: no ${missing.join(", ")}`)
    }
    const { gatewayToken } = this
    const gateway = await this.#node("gateway", [join(packageRoot, "cli/tidemark.js"), "gateway"], {
      REDIS_URL: redisUrl,
      UPSTASH_REDIS_REST_TOKEN: gatewayToken,
    })
    const bindings = {
      ...workerSecrets(this.#settings.config, this.environment.vars),
      UPSTASH_REDIS_REST_URL: gateway,
      UPSTASH_REDIS_REST_TOKEN: gatewayToken,
    }
    const worker = await this.#worker(bindings)
    // The site tells Varnish where it lives, and Varnish is what the relay purges.
    const site = env.TIDEMARK_SITE_URL || (await this.#site(worker))
    const varnish = install && (await this.#varnish(site, install))
    await this.#node("relay", [join(packageRoot, "cli/tidemark.js"), "relay"], {
      REDIS_URL: redisUrl,
      TIDEMARK_CONFIG: this.#settings.configPath,
      TIDEMARK_DEV_TOKEN_SHA256: await hashToken(this.environment.token),
      TIDEMARK_TOKEN_FILE: this.environment.tokenFile,
      TIDEMARK_URL: worker,
      TIDEMARK_TOKEN: this.environment.token,
      TIDEMARK_VARNISH_URL: this.#settings.purgeAt ?? varnish ?? "",
    })
    this.#settings.onEvent({ event: "ready", part: "all" })
  }

  async stop(graceMs?: number): Promise<void> {
    removeDevAddress(this.#settings.directory, process.pid)
    const parts = this.#parts.splice(0)
    // The relay first: it drains, and needs the others for that.
    if (this.urls.relay !== undefined) await parts.pop()?.stop(graceMs)
    await Promise.all(parts.map((part) => part.stop(graceMs)))
  }

  async #redis(): Promise<string> {
    const { env, onMessage } = this.#settings
    if (env.REDIS_URL) {
      this.#ready("redis", withoutCredentials(env.REDIS_URL))
      return env.REDIS_URL
    }
    return this.#server("redis", (port) => startRedis({ port, onProgress: onMessage, ...this.#ending }))
  }

  /** Looked for first: without one, targets that mean it are off in every part. */
  async #findVarnish(): Promise<VarnishInstall | undefined> {
    const { onMessage, onEvent, config } = this.#settings
    try {
      return await findVarnish({ onProgress: onMessage, ...this.#ending })
    } catch (error) {
      this.#settings.signal?.throwIfAborted()
      onEvent({
        event: "skipped",
        part: "varnish",
        reason: error instanceof Error ? error.message : "unknown",
      })
      for (const [name, target] of Object.entries(config.targets)) {
        if ("endpoints" in target && target.endpoints === "dev") this.environment.off[name] = ["Varnish"]
      }
      return undefined
    }
  }

  #varnish(site: string, install: VarnishInstall): Promise<string> {
    const { hostname, port, host } = new URL(site)
    const backend = { host: hostname, port: Number(port || 80) }
    const vcl = originVcl(host)
    return this.#server("varnish", (at) => startVarnish({ port: at, backend, vcl, install, ...this.#ending }))
  }

  async #worker(bindings: Readonly<Record<string, string>>): Promise<string> {
    const { config, configPath } = this.#settings
    const { token, tokenFile, off, withoutHash } = this.environment
    const entry = workerEntry(config, {
      tokenSha256: await hashToken(token),
      off: Object.keys(off),
      withoutHash,
      hosts: [HOST, "localhost", "[::1]"],
      isTelling: this.#settings.isTelling ?? false,
    })
    return this.#workerd({ part: "worker", entry, from: configPath, bindings, tokenFile })
  }

  #site(worker: string): Promise<string> {
    const file = moduleFile("examples/demo/site")
    const bindings = { TIDEMARK_URL: worker, TIDEMARK_TOKEN: this.environment.token, ...this.#settings.site }
    return this.#workerd({
      part: "site",
      entry: `export { default } from ${JSON.stringify(file)}`,
      from: file,
      bindings,
    })
  }

  #workerd(
    settings: Pick<WorkerPartSettings, "entry" | "from" | "bindings" | "tokenFile"> & { part: PartName },
  ): Promise<string> {
    const { part } = settings
    return this.#keep(part, (port) => {
      const where = { host: HOST, port, portVariable: PORT_VARIABLES[part] }
      return startNodePart({
        name: part,
        args: [programFile("cli/dev/worker-part")],
        env: { ...systemEnv(this.#settings.env), ...QUIET },
        input: JSON.stringify({ ...settings, ...where, tools: this.#tools } satisfies WorkerPartSettings),
        graceMs: GRACE_MS,
        isVerbose: false,
        ...this.#ending,
      })
    })
  }

  #node(
    part: "gateway" | "relay",
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<string> {
    const { isTelling, env: given, config } = this.#settings
    return this.#keep(part, (port) =>
      startNodePart({
        name: part,
        args,
        env: {
          ...(part === "relay" ? relayEnv(config, given, this.environment.vars) : gatewayEnv(given)),
          // Purges are told at the level of what one debugs by; all else of that is left out again.
          LOG_LEVEL: given.LOG_LEVEL ?? (isTelling && part === "relay" ? "debug" : "warn"),
          ...env,
          [PORT_VARIABLES[part]]: String(port),
        },
        graceMs: GRACE_MS,
        isVerbose: given.LOG_LEVEL !== undefined,
        ...this.#ending,
      }),
    )
  }

  #server(part: "redis" | "varnish", start: (port: number) => Promise<RunningServer>): Promise<string> {
    return this.#keep(part, start)
  }

  async #keep(part: PartName, start: (port: number) => Promise<RunningPart>): Promise<string> {
    this.#settings.signal?.throwIfAborted()
    const running = await keepRunning({
      name: part,
      start: (port) => start(port ?? this.#settings.ports[part]),
      onReady: (url) => this.#ready(part, url),
      onTrouble: this.#settings.onMessage,
    })
    this.#parts.push(running)
    return running.url
  }

  #ready(part: PartName, url: string): void {
    this.urls[part] = url
    const { directory, configPath } = this.#settings
    const urls = this.urls
    writeDevAddress(directory, { pid: process.pid, config: configPath, urls, startedAt: this.#startedAt })
    const hasToken = part === "worker" || part === "relay"
    this.#settings.onEvent({
      event: "ready",
      part,
      url,
      ...(hasToken ? { tokenFile: this.environment.tokenFile } : {}),
    })
  }
}

/** The tools ask nobody, and tell nobody. */
const QUIET = { CLOUDFLARE_CF_FETCH_ENABLED: "false", WRANGLER_SEND_METRICS: "false" }

const withoutCredentials = (text: string): string => {
  const url = new URL(text)
  url.username = ""
  url.password = ""
  return url.href
}
