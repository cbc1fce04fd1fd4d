import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { WorkerPartSettings } from "../../cli/dev/worker-part.ts"

const LAUNCHER = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))

const WORKER_PART = fileURLToPath(new URL("../../cli/dev/worker-part.ts", import.meta.url))

const OPEN = new Set<ChildProcess>()
// A frozen process ends by nothing else, and does not notice that we have.
process.once("exit", () => {
  for (const child of OPEN) child.kill("SIGKILL")
})

export interface PartOptions {
  readonly name: "relay" | "gateway" | "worker" | "site"
  readonly env: Readonly<Record<string, string>>
  /** What a Worker is told: it is served by a process of its own, as the library that does so ends its process at a SIGINT. */
  readonly worker?: WorkerPartSettings
  /** Told each line of its log. */
  readonly onLine?: (line: string) => void
}

/** A process of ours, which can be killed and frozen, and of whose output nothing is kept but the last line. */
export interface PartProcess {
  /** Where it answers, once it is ready. */
  readonly ready: Promise<string>
  readonly isRunning: boolean
  signal(name: NodeJS.Signals): void
  kill(): Promise<void>
  /** In order; killed where that takes too long. */
  stop(): Promise<void>
}

const GRACE_MS = 8_000

export function startPart({ name, env, worker, onLine }: PartOptions): PartProcess {
  const args = worker === undefined ? [LAUNCHER, name] : [WORKER_PART]
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
    // It ends with us: whoever started it holds the other end of its standard input.
    stdio: ["pipe", "pipe", "pipe"],
    // A group of its own: Ctrl-C in a terminal is for us, who then end it.
    detached: true,
    env: { PATH: process.env["PATH"], TMPDIR: process.env["TMPDIR"], TIDEMARK_END_WITH_STDIN: "1", ...env },
  })
  OPEN.add(child)
  child.stdin.on("error", () => {})
  if (worker !== undefined) child.stdin.write(`${JSON.stringify(worker)}\n`)
  let last = "it said nothing"
  createInterface({ input: child.stderr }).on("line", (line) => {
    last = line
    onLine?.(line)
  })
  const exited = new Promise<void>((done) => {
    child.once("exit", () => (OPEN.delete(child), done()))
    child.once("error", () => (OPEN.delete(child), done()))
  })
  const ready = Promise.withResolvers<string>()
  // Where nobody waits for it, an end before that is no reason to crash.
  ready.promise.catch(() => {})
  createInterface({ input: child.stdout }).on("line", (line) => {
    const event = JSON.parse(line) as { event?: string; url?: string }
    if (event.event === "ready" && event.url !== undefined) ready.resolve(event.url)
  })
  void exited.then(() => ready.reject(new Error(`the ${name} ended before it was ready: ${last}`)))
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal)
    const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS)
    await exited
    clearTimeout(timer)
  }
  return {
    ready: ready.promise,
    get isRunning() {
      return child.exitCode === null && child.signalCode === null
    },
    signal: (signal) => void child.kill(signal),
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
  }
}
