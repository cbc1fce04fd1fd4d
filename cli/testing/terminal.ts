import { type ChildProcess, spawn } from "node:child_process"
import { tmpdir } from "node:os"
import { LAUNCHER } from "./run.ts"

/** The command line on a terminal. */
export interface OnTerminal {
  readonly child: ChildProcess
  /** All that the terminal has shown so far, standard output and standard error alike. */
  readonly screen: () => string
  /** As typed: `\u0003` is Ctrl-C. */
  type(text: string): void
  /** The exit code, 128 and its number for a signal, as a shell has it. */
  readonly finished: Promise<number | null>
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`

/** Starts it on a pseudo terminal, by util-linux's `script`. */
export function startOnTerminal(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  cwd = tmpdir(),
): OnTerminal {
  const command = [process.execPath, LAUNCHER, ...args].map(quoted).join(" ")
  const child = spawn("script", ["--quiet", "--return", "--command", `exec ${command}`, "/dev/null"], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", SHELL: "/bin/sh", NO_COLOR: "1", ...env },
    stdio: ["pipe", "pipe", "inherit"],
  })
  let shown = ""
  child.stdout.on("data", (chunk: Buffer) => (shown += chunk.toString()))
  return {
    child,
    screen: () => shown.replaceAll("\r\n", "\n"),
    type: (text) => void child.stdin.write(text),
    finished: new Promise((ended, fail) => {
      child.once("error", fail)
      child.once("close", (code) => ended(code))
    }),
  }
}
