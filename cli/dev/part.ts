import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { isShown, readableLine } from "./log-line.ts"

/** One process of `dev`: it is kept running, and says where it answers each time that it starts. */
export interface PartOptions {
  readonly name: string
  /** Starts it once. The port is the one that it had before, so that others still find it. */
  readonly start: (port: number | undefined) => Promise<RunningPart>
  /** Told of each start, the first one too. */
  readonly onReady: (url: string) => void
  /** Told, in words for people, of a death and of a start that failed. */
  readonly onTrouble: (message: string) => void
}

export interface RunningPart {
  readonly url: string
  readonly exited: Promise<unknown>
  /** @param graceMs how long it may take to end before it is killed. Default: as long as it usually may */
  stop(graceMs?: number): Promise<void>
}

const MAX_BACKOFF_MS = 5_000

export interface Part {
  readonly url: string
  /** Ends it for good. @param graceMs as of `RunningPart` */
  stop(graceMs?: number): Promise<void>
}

/**
 * Starts a part and keeps it running: one that died is started again, after a pause that grows up to 5 s.
 *
 * @throws {Error} when the first start fails
 */
export async function keepRunning({ name, start, onReady, onTrouble }: PartOptions): Promise<Part> {
  const ending = new AbortController()
  let running = await start(undefined)
  const { url } = running
  onReady(url)
  const watch = async (): Promise<void> => {
    for (let pause = 100; ; pause = Math.min(pause * 2, MAX_BACKOFF_MS)) {
      const startedAt = Date.now()
      await running.exited
      if (ending.signal.aborted) return
      onTrouble(`${name} ended by itself and is started again`)
      // One that ran for a while had not failed to start.
      if (Date.now() - startedAt > MAX_BACKOFF_MS) pause = 100
      await new Promise<void>((done) => {
        const timer = setTimeout(done, pause)
        ending.signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true })
      })
      if (ending.signal.aborted) return
      try {
        running = await start(Number(new URL(url).port))
        if (ending.signal.aborted) await running.stop()
        else onReady(running.url)
      } catch (error) {
        onTrouble(`${name} did not start again: ${error instanceof Error ? error.message : "unknown"}`)
      }
    }
  }
  const watching = watch()
  return {
    url,
    async stop(graceMs) {
      ending.abort()
      await running.stop(graceMs)
      await watching
    },
  }
}

export interface NodePartOptions {
  readonly name: string
  /** A module, and what follows it on the command line. */
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** Said to it in one line on standard input, which nobody else can read. */
  readonly input?: string
  /** How long it may take to end after SIGTERM, before it is killed. */
  readonly graceMs: number
  /** Whether all that it logs is shown, or what `isShown` says. */
  readonly isVerbose: boolean
  /** Ends a start half-way. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Starts a part that is a process of Node and waits for its ready line. It ends with this process, however that ends:
 * its standard input is a pipe of ours, which then closes.
 *
 * It has a process group of its own: Ctrl-C in a terminal would else end it, and the children that it has, before
 * whoever keeps it running knows that all is to end.
 *
 * @throws {Error} with what it said on standard error, when it ends before it is ready; the signal's reason where that
 * ended the start
 */
export async function startNodePart({
  name,
  args,
  env,
  input,
  graceMs,
  isVerbose,
  signal,
}: NodePartOptions): Promise<RunningPart> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
    env: { ...env, TIDEMARK_END_WITH_STDIN: "1" },
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
  })
  child.stdin.on("error", () => {})
  if (input !== undefined) child.stdin.write(`${input}\n`)
  const exited = new Promise<void>((done) => {
    child.once("exit", () => done())
    child.once("error", () => done())
  })
  let last = ""
  createInterface({ input: child.stderr }).on("line", (text) => {
    // What it says of its end is nothing that whoever ended it has to know.
    if (signal?.aborted || !(isVerbose || isShown(text))) return
    last = readableLine(name, text)
    process.stderr.write(`${last}\n`)
  })
  const giveUp = () => killGroup(child)
  signal?.addEventListener("abort", giveUp, { once: true })
  if (signal?.aborted) giveUp()
  const url = await Promise.race([readyUrl(child, name), exited.then(() => undefined)])
  signal?.removeEventListener("abort", giveUp)
  signal?.throwIfAborted()
  if (url === undefined) throw new Error(`${name} did not start: ${last || "it said nothing"}`)
  return {
    url,
    exited,
    async stop(grace = graceMs) {
      child.kill("SIGTERM")
      const kill = setTimeout(() => killGroup(child), grace)
      await exited
      clearTimeout(kill)
    },
  }
}

/** With its children, which would outlive it: workerd and esbuild. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // Nobody left in the group.
  }
}

function readyUrl(child: ChildProcess, name: string): Promise<string> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: child.stdout ?? process.stdin })
    lines.on("line", (line) => {
      try {
        const event = JSON.parse(line) as { event?: string; part?: string; url?: string }
        if (event.event === "ready" && event.part === name && event.url !== undefined) resolve(event.url)
      } catch {
        // Only ready lines are ours to read here.
      }
    })
  })
}
