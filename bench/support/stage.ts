import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync } from "node:fs"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { createInterface } from "node:readline"
import { build, transform } from "esbuild"
import { createClient } from "redis"
import { bundleWorker } from "../../cli/dev/bundle.ts"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { workerEntry } from "../../cli/worker-entry.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { newToken } from "../../protocol/tokens.ts"
import { flameGraphsOf, isProfiling, profileBy, profileFlags } from "./profile.ts"
import { drawPlots } from "./results.ts"
import { line } from "./rounds.ts"
import { serveRaw, type ServedWorker } from "./workerd.ts"

export const root = join(import.meta.dirname, "../..")
const LAUNCHER = join(root, "cli/tidemark.js")

export interface Served {
  readonly url: string
  readonly token: string
}

/** A process of this bench, which has said that it is ready. */
export interface Part {
  readonly child: ChildProcess
  readonly pid: number
  /** The first line that it printed. */
  readonly said: string
  stop(signal?: NodeJS.Signals): Promise<void>
}

/** What a bench runs on: real servers in processes of their own, ended with it, whatever happens. */
export class Stage {
  readonly #closers: (() => unknown)[] = []
  /** The part of the bench that this is, by the name of its script. */
  readonly part = basename(process.argv[1] ?? "", ".ts")

  /** Has something ended with the stage, the last first. */
  onClose(close: () => unknown): void {
    this.#closers.push(close)
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).toReversed()) await close()
  }

  async directory(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), "tidemark-bench-"))
    this.onClose(() => rm(path, { recursive: true, force: true }))
    return path
  }

  async redis(args: readonly string[] = []): Promise<{ readonly url: string; readonly pid: number }> {
    const redis = await startRedis({ onProgress: line, args })
    this.onClose(() => redis.stop())
    return { url: redis.url, pid: redis.pid }
  }

  async client(url: string) {
    const client = createClient({ url, RESP: 2 })
    await client.connect()
    this.onClose(() => client.destroy())
    return client
  }

  /** Upstash's protocol in front of a Redis, in a process of its own: what a Worker speaks to. */
  async gateway(redisUrl: string): Promise<Served> {
    const token = newToken()
    const part = await this.node([LAUNCHER, "gateway", "--all-commands"], {
      REDIS_URL: redisUrl,
      UPSTASH_REDIS_REST_TOKEN: token,
      TIDEMARK_GATEWAY_PORT: "0",
      LOG_LEVEL: "error",
    })
    const { url } = JSON.parse(part.said) as { url: string }
    return { url, token }
  }

  /** Our Worker, bundled as a deployment is, on raw workerd. */
  async tidemarkWorker(
    config: ConfigInput,
    gateway: Served,
    secrets: Readonly<Record<string, string>> = {},
  ): Promise<ServedWorker> {
    const script = await bundleWorker(workerEntry(parseConfig(config)), join(root, "tidemark.config.mjs"))
    const { code } = await transform(script, { minify: true, format: "esm", target: "es2024" })
    const bindings = {
      UPSTASH_REDIS_REST_URL: gateway.url,
      UPSTASH_REDIS_REST_TOKEN: gateway.token,
      ...secrets,
    }
    const worker = await this.worker(isProfiling ? script : code, bindings, { isInspected: isProfiling })
    if (worker.inspector !== undefined)
      this.onClose(await profileBy(worker.inspector, this.part, "worker", script))
    return worker
  }

  async worker(
    script: string,
    bindings: Readonly<Record<string, string>>,
    options: Parameters<typeof serveRaw>[2] = {},
  ): Promise<ServedWorker> {
    const worker = await serveRaw(script, bindings, options)
    this.onClose(() => worker.stop())
    return worker
  }

  /** `tidemark relay`; resolves once it is ready. */
  async relay(
    config: ConfigInput,
    redisUrl: string,
    env: Readonly<Record<string, string>> = {},
    flags: readonly string[] = [],
  ): Promise<Part> {
    const directory = await this.directory()
    const path = join(directory, "tidemark.config.mjs")
    await writeFile(path, `export default ${JSON.stringify(config)}\n`)
    // As `infra/docker` starts it.
    const profiled = isProfiling ? profileFlags(this.part, "relay") : []
    return this.node(["--max-semi-space-size=8", ...profiled, ...flags, LAUNCHER, "relay"], {
      REDIS_URL: redisUrl,
      TIDEMARK_CONFIG: path,
      TIDEMARK_RELAY_PORT: "0",
      LOG_LEVEL: "error",
      ...env,
    })
  }

  /** A script of Node in a process of its own; resolves with its first line. */
  async node(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Part> {
    const child = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    })
    const exited = once(child, "exit")
    const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill(signal)
      await exited
    }
    this.onClose(() => stop())
    const lines = createInterface({ input: child.stdout })
    const [said] = (await Promise.race([
      once(lines, "line"),
      exited.then(([code]) => {
        throw new Error(`${args.join(" ")} ended with ${String(code)} before it was ready`)
      }),
    ])) as [string]
    return { child, pid: child.pid ?? 0, said, stop }
  }
}

/**
 * Runs a part of the bench on a stage, and ends the process, with the exit code that it set: nothing that is left open
 * holds it.
 */
export async function onStage(work: (stage: Stage) => Promise<void>): Promise<never> {
  const stage = new Stage()
  try {
    await work(stage)
  } catch (error) {
    await stage.close()
    console.error(error)
    process.exit(1)
  }
  await stage.close()
  if (isProfiling) await drawPlots(`${stage.part}-flame`, await flameGraphsOf(stage.part))
  process.exit()
}

/** One module of the bench's own, as a deployment would be bundled. */
export async function bundled(path: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(root, path)],
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    alias: { ...PACKAGE_EXPORTS },
  })
  return outputFiles[0]?.text ?? ""
}

export interface Usage {
  /** Resident, in megabytes, now and at its highest. */
  readonly rss: number
  readonly peak: number
  /** Seconds of processor, user and system. */
  readonly cpu: number
}

/** What a process has used so far, as Linux counts it. */
export async function usageOf(pid: number): Promise<Usage> {
  const [status, stat] = await Promise.all(
    ["status", "stat"].map((file) => readFile(`/proc/${pid}/${file}`, "utf8")),
  )
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status ?? "")?.[1] ?? Number.NaN)
  // What stands before it, the name in brackets, may hold spaces.
  const fields = (stat ?? "").slice((stat ?? "").lastIndexOf(")") + 2).split(" ")
  const [user, system] = [fields[11], fields[12]].map(Number)
  return {
    rss: kilobytes("VmRSS") / 1_000,
    peak: kilobytes("VmHWM") / 1_000,
    cpu: ((user ?? Number.NaN) + (system ?? Number.NaN)) / 100,
  }
}

/** The versions of packages that are compared, as they are installed for the benches or else for the product. */
export function versionsOf(...names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.map((name) => {
      const places = ["bench/node_modules", "node_modules"].map((place) =>
        join(root, place, name, "package.json"),
      )
      const found = places.find((place) => existsSync(place))
      if (found === undefined) throw new Error(`${name} is not installed`)
      return [name, (JSON.parse(readFileSync(found, "utf8")) as { version: string }).version]
    }),
  )
}
