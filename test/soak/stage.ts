import { createWriteStream } from "node:fs"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { createClient } from "redis"
import type { WorkerPartSettings } from "../../cli/dev/worker-part.ts"
import type { RunningServer } from "../../cli/servers/process.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { startVarnish } from "../../cli/servers/varnish.ts"
import { workerEntry } from "../../cli/worker-entry.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import { type Proxy, startProxy } from "../support/proxy.ts"
import type { Origin } from "./origin.ts"
import { type PartProcess, startPart } from "./part.ts"
import { type Purge, PurgeProxy } from "./purge-proxy.ts"
import { type CacheName, type Settings, SITE_ORIGIN } from "./settings.ts"

export interface StageOptions {
  readonly settings: Settings
  readonly origin: Origin
  readonly relays: number
  readonly onPurge: (purge: Purge) => void
  /** Where the relays' logs are written; nowhere by default. */
  readonly logs?: string
  /** The reader asks for epochs once an hour: what `--break epoch` is. */
  readonly breaksEpochs?: boolean
}

/** All the parts, as in production but for their settings: nothing here knows what they say to one another. */
export interface Stage {
  readonly worker: string
  readonly caches: Readonly<Record<CacheName, string>>
  readonly token: string
  readonly hookSecret: string
  /** Between the relays and Redis, and between the Worker's gateway and Redis. */
  readonly links: { readonly relays: Proxy; readonly gateway: Proxy }
  readonly purges: PurgeProxy
  readonly relays: readonly Relay[]
  /** Straight to Redis; an error where it is away. */
  command(...words: readonly string[]): Promise<unknown>
  /** Ends Redis in order, keeps its data, and starts it with them again after a while. */
  restartRedis(away: Milliseconds): Promise<void>
  stop(): Promise<void>
}

export interface Relay {
  readonly isRunning: boolean
  signal(name: NodeJS.Signals): void
  kill(): Promise<void>
  start(): void
}

/** A page is kept under its public name, and said to be stale where it is past its time. */
const vcl = (grace: Milliseconds): string => `
sub vcl_recv {
  unset req.http.soak-stale;
  if (req.method != "PURGE" && req.method != "BAN") { set req.http.Host = "${new URL(SITE_ORIGIN).host}"; }
}
include "tidemark.vcl";
sub vcl_hit { if (obj.ttl <= 0s) { set req.http.soak-stale = "1"; } }
sub vcl_backend_response { set beresp.grace = ${grace}ms; }
sub vcl_deliver { if (req.http.soak-stale) { set resp.http.soak-stale = "1"; } }
`

const OFFLINE = { CLOUDFLARE_CF_FETCH_ENABLED: "false", WRANGLER_SEND_METRICS: "false" }

const SITE = fileURLToPath(new URL("./site.ts", import.meta.url))

/** @throws {Error} when a part does not start; those that did are stopped again */
export async function startStage(options: StageOptions): Promise<Stage> {
  const closers: (() => unknown)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) await close()
  }
  try {
    return await start(options, closers, stop)
  } catch (error) {
    await stop()
    throw error
  }
}

async function start(
  { settings, origin, relays: relayCount, onPurge, logs, breaksEpochs = false }: StageOptions,
  closers: (() => unknown)[],
  stop: () => Promise<void>,
): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-soak-"))
  closers.push(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }))
  const data = join(directory, "redis")
  await mkdir(data)
  const redisArgs = ["--appendonly", "yes", "--appendfsync", "everysec"]
  let redis: RunningServer = await startRedis({ directory: data, args: redisArgs })
  closers.push(() => redis.stop())
  const { port, url: redisUrl } = redis
  const links = { relays: await startProxy(redisUrl), gateway: await startProxy(redisUrl) }
  closers.push(
    () => links.relays[Symbol.asyncDispose](),
    () => links.gateway[Symbol.asyncDispose](),
  )
  const admin = createClient({ url: redisUrl, RESP: 2, disableOfflineQueue: true })
  admin.on("error", () => {})
  await admin.connect()
  closers.push(() => admin.destroy())

  await origin.start()
  closers.push(() => origin.stop())
  const varnish = await startVarnish({
    backend: { host: "127.0.0.1", port: Number(new URL(origin.url).port) },
    vcl: vcl(settings.grace),
  })
  closers.push(() => varnish.stop())
  const purges = new PurgeProxy(varnish.url, onPurge)
  await purges.start()
  closers.push(() => purges.stop())

  const restToken = newToken()
  const token = newToken()
  const hookSecret = `whsec_${Buffer.from(newToken().slice(3, 35)).toString("base64")}`
  const config = await configOf(settings, purges.url, token)
  const configPath = join(directory, "tidemark.config.mjs")
  await writeFile(configPath, `export default ${JSON.stringify(config)}\n`)

  const log = logs === undefined ? undefined : createWriteStream(join(logs, "relays.log"))
  closers.push(() => void log?.end())
  const relays = Array.from({ length: relayCount }, (_, index) => {
    const launch = (): PartProcess =>
      startPart({
        name: "relay",
        env: {
          REDIS_URL: links.relays.url,
          TIDEMARK_CONFIG: configPath,
          TIDEMARK_RELAY_PORT: "0",
          LOG_LEVEL: log === undefined ? "error" : "info",
        },
        onLine: (line) => void log?.write(`${index + 1} ${line}\n`),
      })
    let process = launch()
    closers.push(() => process.kill())
    return {
      get isRunning() {
        return process.isRunning
      },
      ready: process.ready,
      signal: (name: NodeJS.Signals) => process.signal(name),
      kill: () => process.kill(),
      start() {
        process = launch()
      },
    }
  })

  const gateway = startPart({
    name: "gateway",
    env: {
      REDIS_URL: links.gateway.url,
      UPSTASH_REDIS_REST_TOKEN: restToken,
      TIDEMARK_GATEWAY_PORT: "0",
      LOG_LEVEL: "error",
    },
  })
  closers.push(() => gateway.stop())
  const serve = (part: "worker" | "site", what: Pick<WorkerPartSettings, "entry" | "from" | "bindings">) => {
    const settingsOf = { part, host: "127.0.0.1", port: 0, portVariable: "-", ...what }
    const process = startPart({ name: part, env: OFFLINE, worker: settingsOf })
    closers.push(() => process.stop())
    return process.ready.then((url) => url.replace(/\/$/, ""))
  }
  const worker = await serve("worker", {
    entry: workerEntry(parseConfig(config)),
    from: configPath,
    bindings: {
      CMS_SECRET: hookSecret,
      UPSTASH_REDIS_REST_URL: await gateway.ready,
      UPSTASH_REDIS_REST_TOKEN: restToken,
    },
  })
  const ttl = breaksEpochs ? 3_600_000 : settings.ttl
  const site = await serve("site", {
    entry: `export { default } from ${JSON.stringify(SITE)}`,
    from: SITE,
    bindings: {
      TIDEMARK_URL: worker,
      TIDEMARK_TOKEN: token,
      ORIGIN_URL: origin.url,
      SITE_ORIGIN,
      TTL_MS: String(ttl),
      MAX_STALE_MS: String(Math.max(settings.maxStale, 2 * ttl)),
      SWR_MS: String(settings.swr),
    },
  })

  await Promise.all(relays.map(({ ready }) => ready))

  return {
    worker,
    caches: { "Worker cache": site, Varnish: varnish.url },
    token,
    hookSecret,
    links,
    purges,
    relays,
    command: (...words) => admin.sendCommand([...words]),
    async restartRedis(away) {
      await redis.stop()
      await new Promise((done) => setTimeout(done, away))
      redis = await startRedis({ directory: data, args: redisArgs, port })
    },
    stop,
  }
}

type SourceInput = NonNullable<ConfigInput["sources"]>[string]

async function configOf(settings: Settings, varnish: string, token: string): Promise<ConfigInput> {
  const ms = (length: Milliseconds): string => `${length}ms`
  const source = {
    type: "standard-webhooks",
    secret: { secret: "CMS_SECRET" },
    namespace: "blog",
    rules: [{ when: { type: "page" }, tags: ["page-{id}"] }],
    secondPass: ms(settings.secondPass),
  } satisfies SourceInput
  return {
    tokens: [{ name: "soak", sha256: await hashToken(token), scopes: ["publish:*", "read:*", "epochs:*"] }],
    namespaces: { blog: { hosts: [new URL(SITE_ORIGIN).host], wholeBy: "tag" } },
    sources: { cms: source, "lagging-cms": { ...source, settle: ms(settings.settle) } },
    targets: {
      varnish: {
        type: "varnish",
        endpoints: [varnish],
        namespaces: ["*"],
        allowEverything: true,
        timeout: "2s",
      },
    },
    // Shorter than by default, so that a run of minutes sees each of them many times.
    relay: { lease: "1s", poll: "1s", drain: "2s" },
  }
}
