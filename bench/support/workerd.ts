import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { createRequire } from "node:module"

/** A Worker served by workerd itself: the development proxy in front of it elsewhere would be what is measured. */
export interface ServedWorker {
  readonly url: string
  /** Where it is inspected, if it can be. */
  readonly inspector?: string
  stop(): Promise<void>
}

/** Its package is CommonJS with a default export of its own, which an import would not reach. */
const { default: workerd } = createRequire(import.meta.url)("workerd") as { default: string }

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  return typeof address === "object" && address ? address.port : 0
}

const CACHE_SERVICE = `(name = "cache", worker = (
      modules = [(name = "cache.js", esModule = embed "cache.js")],
      compatibilityDate = "2026-10-01",
    )),`

const text = (value: string): string => JSON.stringify(value)

export interface RawOptions {
  /** Whether it can be inspected, at the address that is answered. */
  readonly isInspected?: boolean
  /** A module that answers what the Cache API asks. Default: there is no Cache API. */
  readonly cache?: string
}

/** One that was spawned a moment ago, and may not listen yet. */
export interface SpawnedWorker extends ServedWorker {
  readonly child: ChildProcess
  /** `performance.now()` just before. */
  readonly spawnedAt: number
}

/** Starts one module with text bindings, which may call any address; resolves once it answers. */
export async function serveRaw(
  script: string,
  bindings: Readonly<Record<string, string>>,
  options: RawOptions = {},
): Promise<ServedWorker> {
  const { url, inspector, child, stop } = await spawnRaw(script, bindings, options)
  const over = Date.now() + 10_000
  for (;;) {
    const answered = await fetch(`${url}/healthz`).then(
      (response) => response.arrayBuffer().then(() => true),
      () => false,
    )
    if (answered) break
    if (child.exitCode !== null || Date.now() > over) throw new Error("workerd did not start")
    await delay(20)
  }
  return { url, ...(inspector !== undefined && { inspector }), stop }
}

/** As `serveRaw`, but does not wait until it answers. */
export async function spawnRaw(
  script: string,
  bindings: Readonly<Record<string, string>>,
  { cache, isInspected = false }: RawOptions = {},
): Promise<SpawnedWorker> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-bench-"))
  const port = await freePort()
  const inspector = isInspected ? `127.0.0.1:${await freePort()}` : undefined
  const list = Object.entries(bindings).map(
    ([name, value]) => `(name = ${text(name)}, text = ${text(value)})`,
  )
  await writeFile(join(directory, "worker.js"), script)
  if (cache !== undefined) await writeFile(join(directory, "cache.js"), cache)
  await writeFile(
    join(directory, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "2026-10-01",
      bindings = [${list.join(", ")}],
      globalOutbound = "net",
      ${cache === undefined ? "" : 'cacheApiOutbound = "cache",'}
    )),
    ${cache === undefined ? "" : CACHE_SERVICE}
    (name = "net", network = (allow = ["private", "public"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
`,
  )
  const spawnedAt = performance.now()
  const flags = inspector === undefined ? [] : [`--inspector-addr=${inspector}`]
  const child = spawn(workerd, ["serve", ...flags, join(directory, "config.capnp")], {
    stdio: ["ignore", "ignore", "inherit"],
  })
  return {
    url: `http://127.0.0.1:${port}`,
    ...(inspector !== undefined && { inspector: `http://${inspector}` }),
    child,
    spawnedAt,
    async stop() {
      child.kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
      await rm(directory, { recursive: true, force: true })
    },
  }
}
