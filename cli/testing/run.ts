import { type ChildProcessByStdio, spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"

export const LAUNCHER = fileURLToPath(new URL("../tidemark.js", import.meta.url))

/** No output may ever hold it. */
export const TOKEN = "tm_this-is-the-token-that-no-output-may-hold-0"

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** Besides `PATH`; nothing else of this process's environment is handed on. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly launcher?: string
  readonly node?: string
  readonly nodeArgs?: readonly string[]
}

export interface Started {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  /** What it has written so far. */
  readonly output: { stdout: string; stderr: string }
  readonly finished: Promise<Finished>
}

/** Starts the command line as a process of its own. */
export function start(args: readonly string[], options: RunOptions = {}): Started {
  const { env = {}, cwd = tmpdir(), launcher = LAUNCHER, node = process.execPath, nodeArgs = [] } = options
  const child = spawn(node, [...nodeArgs, launcher, ...args], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const output = { stdout: "", stderr: "" }
  child.stdout.on("data", (chunk: Buffer) => (output.stdout += chunk.toString()))
  child.stderr.on("data", (chunk: Buffer) => (output.stderr += chunk.toString()))
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once("error", reject)
    child.once("close", (code) => resolve({ code, ...output }))
  })
  return { child, output, finished }
}

export const run = (args: readonly string[], options?: RunOptions): Promise<Finished> =>
  start(args, options).finished

/** An empty folder that goes away with the scope. */
export async function folder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "tidemark-cli-"))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
