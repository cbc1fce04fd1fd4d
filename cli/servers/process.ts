import { type ChildProcess, execFile, spawn } from "node:child_process"
import { rmSync } from "node:fs"
import { mkdtemp, realpath, rm } from "node:fs/promises"
import { createServer } from "node:net"
import { constants, tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"

const START_DEADLINE_MS = 20_000
const POLL_MS = 15
const TERM_GRACE_MS = 5_000

/** How often a start on "any free port" is tried before a run of lost races counts as an error. */
const PORT_ATTEMPTS = 5

/** The end of what a server printed is kept, to say why it did not start. In characters. */
const KEPT_OUTPUT = 4_000

/** A server that this process started. It does not outlive this process. */
export interface RunningServer {
  /** Where it answers: `redis://127.0.0.1:<port>` or `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Settles when the process has ended, asked to or not: its exit code, or null if a signal ended it. */
  readonly exited: Promise<number | null>
  /**
   * Ends it: SIGTERM, and SIGKILL after 5 s. Resolves when it is gone and its temporary directory too.
   * May be called again, and after it ended by itself.
   */
  stop(): Promise<void>
}

/** A program and the least environment it needs: it gets none of this process's variables but PATH and TMPDIR. */
interface ServerCommand {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** Where a server keeps its files. A `temporary` one is removed when the server has ended. */
interface ServerDirectory {
  readonly path: string
  readonly temporary: boolean
}

interface ServerOptions {
  /** For people: `redis`. */
  readonly name: string
  readonly command: ServerCommand
  readonly directory: ServerDirectory
  readonly url: string
  readonly port: number
  readonly portVariable: string
  /**
   * Asked again and again until it says yes. It must not be taken in by another server on the same port;
   * refused connections are a no. Must settle within a second or so, and never reject.
   */
  readonly answers: (pid: number) => Promise<boolean>
  /** Ends a start half-way. Default: nothing does. */
  readonly signal?: AbortSignal | undefined
}

/** What to do if this process exits without `stop()`: synchronous, as nothing else runs by then. */
const abandons = new Set<() => void>()

let pendingLifeline: Promise<readonly string[]> | undefined
let watchesExit = false

/**
 * Starts a server and waits until it answers.
 * @throws {Error} If it ends or stays silent for 20 s; with `code: "EADDRINUSE"` where its port was taken; the
 * signal's reason where that ended the start
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { name, command, directory, url, port, signal } = options
  const [file = command.file, ...args] = [...(await lifeline()), command.file, ...command.args]
  signal?.throwIfAborted()
  // A process group of its own: Ctrl-C in a terminal would else end the store before whoever still has to
  // write to it, and a SIGKILL can take a server's own children along.
  const child = spawn(file, args, {
    cwd: directory.path,
    detached: true,
    env: { ...pick(process.env, ["PATH", "TMPDIR"]), ...command.env },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const output = keepOutput(child)
  const abandon = () => {
    killGroup(child)
    if (directory.temporary) rmSync(directory.path, { recursive: true, force: true, maxRetries: 3 })
  }
  abandons.add(abandon)
  watchExit()

  const exited = new Promise<number | null>((resolve) => {
    child.once("exit", (code) => resolve(code))
    child.once("error", () => resolve(null)) // could not be spawned: there will be no "exit"
  })
  const closed = new Promise<void>((resolve) => {
    child.once("close", () => resolve())
    child.once("error", () => resolve())
  })
  const ended = exited.then(async () => {
    // The group, once more: a worker whose master was killed may need a moment to notice.
    killGroup(child)
    await closed
    abandons.delete(abandon)
    await removeDirectory(directory)
  })
  // Told to whoever calls stop(). Where nobody does, a directory left over is no reason to crash.
  ended.catch(() => undefined)
  const stop = async () => {
    child.kill("SIGTERM")
    const timer = setTimeout(() => killGroup(child), TERM_GRACE_MS)
    await ended
    clearTimeout(timer)
  }

  const giveUp = () => killGroup(child)
  signal?.addEventListener("abort", giveUp, { once: true })
  const ready = await isReady(child, options.answers)
  signal?.removeEventListener("abort", giveUp)
  if (ready === "silent") await stop()
  if (ready !== "answers") {
    await ended
    signal?.throwIfAborted()
    if (/address already in use/i.test(output())) throw portTaken(port, options.portVariable)
    const reason = ready === "silent" ? `did not answer within ${START_DEADLINE_MS / 1000} s` : "ended"
    throw new Error(`${name} ${reason} while starting on port ${port}: ${output() || "it printed nothing"}`)
  }
  return { url, port, pid: child.pid ?? 0, exited, stop }
}

/**
 * Calls `start` with a port: the one asked for, or for 0 a free one, again with another if that was lost to
 * someone else in between.
 * @throws {Error} `port N is taken: …`, with `code: "EADDRINUSE"`.
 */
export async function onPort<Result>(
  requested: number,
  portVariable: string,
  start: (port: number) => Promise<Result>,
): Promise<Result> {
  if (requested !== 0) {
    await freePort(requested).catch((error: unknown) => {
      throw isPortTaken(error) ? portTaken(requested, portVariable) : error
    })
    return start(requested)
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start(await freePort())
    } catch (error) {
      if (!isPortTaken(error) || attempt === PORT_ATTEMPTS) throw error
    }
  }
}

/**
 * Calls `start` with the directory its server works in: the caller's own, which must exist and is kept, or a
 * temporary one that goes when the server ends, or now if it does not start.
 */
export async function inDirectory<Result>(
  name: string,
  path: string | undefined,
  start: (directory: ServerDirectory) => Promise<Result>,
): Promise<Result> {
  if (path !== undefined) return start({ path: await realpath(path), temporary: false })
  const directory = {
    path: await mkdtemp(join(await realpath(tmpdir()), `tidemark-${name}-`)),
    temporary: true,
  }
  try {
    return await start(directory)
  } catch (error) {
    await removeDirectory(directory)
    throw error
  }
}

async function removeDirectory(directory: ServerDirectory): Promise<void> {
  if (directory.temporary) await rm(directory.path, { recursive: true, force: true, maxRetries: 3 })
}

/** A port on 127.0.0.1 that was free a moment ago: the one asked for, or any. Rejects if it is not. */
async function freePort(requested = 0): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const server = createServer()
  server.once("error", reject)
  server.listen(requested, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resolve(typeof address === "object" && address ? address.port : requested))
  })
  return promise
}

async function isReady(
  child: ChildProcess,
  answers: (pid: number) => Promise<boolean>,
): Promise<"answers" | "silent" | "ended"> {
  const deadline = performance.now() + START_DEADLINE_MS
  while (performance.now() < deadline) {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return "ended"
    if (await answers(child.pid)) return "answers"
    await delay(POLL_MS)
  }
  return "silent"
}

/** Keeps reading for as long as the server lives: a full pipe would stop it. */
function keepOutput(child: ChildProcess): () => string {
  let kept = ""
  const keep = (text: string) => {
    kept = (kept + text).slice(-KEPT_OUTPUT)
  }
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", keep)
  child.once("error", (error) => keep(error.message))
  return () => kept.trim()
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, "SIGKILL")
  } catch {
    // Nobody left in the group.
  }
}

/**
 * What to put before a command so that the kernel ends it when we are killed by SIGKILL, which no handler of
 * ours can see. Linux with util-linux only; elsewhere a killed parent leaves its servers running.
 * The signal comes when the *thread* that spawned ends, so servers started in a worker thread end with it.
 */
function lifeline(): Promise<readonly string[]> {
  const prefix = ["setpriv", "--pdeathsig", "TERM"]
  pendingLifeline ??= new Promise((resolve) => {
    execFile("setpriv", [...prefix.slice(1), "true"], (error) => resolve(error ? [] : prefix))
  })
  return pendingLifeline
}

/** For every end but SIGKILL. A program that handles a signal itself keeps the say over when it exits. */
function watchExit(): void {
  if (watchesExit) return
  watchesExit = true
  process.once("exit", () => {
    for (const abandon of abandons) abandon()
  })
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // First, so that a listener which is there once still counts.
    process.prependOnceListener(signal, () => {
      // This one is gone by now. If there is no other, it stood in the way of what the signal does by default.
      if (process.listenerCount(signal) === 0) process.exit(128 + constants.signals[signal])
    })
  }
}

function portTaken(port: number, variable: string): Error {
  const error = new Error(`port ${port} is taken: set ${variable} to another, or to 0`)
  return Object.assign(error, { code: "EADDRINUSE" })
}

function isPortTaken(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EADDRINUSE"
}

function pick(env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])))
}
