import { execFile } from "node:child_process"
import { basename } from "node:path"

const PROBE_TIMEOUT_MS = 10_000

/** Of what a program printed before it failed, in characters. */
const KEPT_OUTPUT = 2_000

interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  /** In milliseconds. Default 10 s. */
  readonly timeout?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Runs a program to its end, and answers what it printed on either stream.
 * @throws {Error} With the program's own last words, unless it exits with 0, in time.
 */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { cwd, env = process.env, timeout = PROBE_TIMEOUT_MS, signal } = options
  return new Promise((resolve, reject) => {
    const settings = { cwd, env, timeout, signal, killSignal: "SIGKILL", maxBuffer: 64 * 2 ** 20 } as const
    execFile(file, args, settings, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout + stderr)
      const printed = stderr.trim()
      const message = error.code === "ENOENT" ? "is not on the PATH" : (lastWords(printed) ?? "failed")
      // Not `error` itself: its message holds all that was printed, which may be pages of C.
      const cause = new Error(`${[file, ...args].join(" ")}\n${printed.slice(-KEPT_OUTPUT)}`)
      reject(new Error(`${basename(file)} ${error.killed ? "took too long" : message}`, { cause }))
    })
  })
}

/** Of apt and npm the first of their errors, as the later ones follow from it; of others the last line. */
function lastWords(printed: string): string | undefined {
  const [, first] =
    /^(?:E:|npm error(?! (?:code|errno|syscall|path) )) (?:network )?(.+)$/m.exec(printed) ?? []
  const words = first ?? printed.split("\n").at(-1)
  return words ? `says: ${words.replace(/\.$/, "")}` : undefined
}
