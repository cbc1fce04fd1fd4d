import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const COMMAND = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))

/** `tidemark dev` as its user starts it, with all ports 0, in a directory of its own. */
export interface DevProcess {
  readonly child: ChildProcess
  readonly directory: string
  /** By part, from the ready lines. */
  readonly urls: Readonly<Record<string, string>>
  /** Every line of standard output, parsed. */
  readonly lines: readonly DevLine[]
  /** As read from the file that a ready line names. */
  readonly token: string
  /** What it has told people so far. */
  readonly said: () => string
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>
}

export interface DevLine {
  readonly event: string
  readonly part: string
  readonly url?: string
  readonly tokenFile?: string
}

export interface DevProcessOptions {
  /** Default: a fresh one, removed at the end. */
  readonly directory?: string
  readonly env?: Readonly<Record<string, string>>
  /** Whether it leads a process group of its own, as what a shell starts does. Default false. */
  readonly isGroup?: boolean
}

/** The environment of a new user: nothing but what finds the programs. */
const plainEnv = (): Record<string, string> => ({
  PATH: process.env.PATH ?? "",
  HOME: process.env.HOME ?? "",
  TIDEMARK_WORKER_PORT: "0",
  TIDEMARK_RELAY_PORT: "0",
  TIDEMARK_GATEWAY_PORT: "0",
  TIDEMARK_SITE_PORT: "0",
})

export async function startDevProcess({
  directory,
  env = {},
  isGroup = false,
}: DevProcessOptions = {}): Promise<DevProcess> {
  const own = directory === undefined ? await mkdtemp(join(tmpdir(), "tidemark-dev-")) : undefined
  const cwd = directory ?? own ?? tmpdir()
  const child = spawn(process.execPath, [COMMAND, "dev"], {
    cwd,
    env: { ...plainEnv(), ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: isGroup,
  })
  let said = ""
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()))
  const exited = once(child, "exit") as Promise<[number | null]>
  const lines: DevLine[] = []
  const urls: Record<string, string> = {}
  await new Promise<void>((ready, fail) => {
    createInterface({ input: child.stdout }).on("line", (text) => {
      const line = JSON.parse(text) as DevLine
      lines.push(line)
      if (line.url !== undefined) urls[line.part] = line.url
      if (line.part === "all") ready()
    })
    void exited.then(([code]) =>
      fail(new Error(`dev ended with ${code} before it was ready: ${said.slice(-4_000)}`)),
    )
  })
  const tokenFile = lines.find((line) => line.tokenFile !== undefined)?.tokenFile ?? ""
  return {
    child,
    directory: cwd,
    urls,
    lines,
    token: (await readFile(tokenFile, "utf8")).trim(),
    said: () => said,
    async stop() {
      child.kill("SIGTERM")
      const [code] = await exited
      if (own !== undefined) await rm(own, { recursive: true, force: true })
      return code
    },
  }
}
