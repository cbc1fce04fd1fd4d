import { createInterface } from "node:readline"
import type { Command } from "commander"
import { CliError } from "./exit.ts"
import { tell } from "./output.ts"

/** What a command that reaches far takes. */
export interface ConfirmOptions {
  readonly yes?: boolean
}

/** Adds `--yes` to a command that asks. */
export const addYesOption = (command: Command): Command =>
  command.option("-y, --yes", "do it without asking; needed where no terminal can be asked")

/**
 * Asks on the terminal whether a command may do what it would do. Nothing is asked with `--yes`.
 *
 * @param consequences what it would do, a sentence a line, for people
 * @throws {CliError} `usage` without `--yes` and without a terminal; `failed` for any answer but yes, and for none
 */
export async function confirm(
  { yes = false }: ConfirmOptions,
  consequences: () => readonly string[] | Promise<readonly string[]>,
): Promise<void> {
  if (yes) return
  const lines = await consequences()
  // The question goes to standard error: standard output may be piped into a program, and is asked nothing.
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new CliError(
      "usage",
      "without a terminal that could be asked it needs --yes, and nothing was done",
      {
        lines: lines.map((line) => `  ${line}`),
      },
    )
  }
  for (const line of lines) tell(line)
  if (/^\s*y(?:es)?\s*$/i.test(await ask("Go on? [y/N] "))) return
  throw new CliError("failed", "nothing was done")
}

/** One line from the terminal; empty where it was closed or interrupted instead. */
async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await new Promise<string>((answered) => {
      terminal
        .once("close", () => answered(""))
        // Without a listener Ctrl-C would only pause the terminal, and the process end with code 0.
        .once("SIGINT", () => {
          tell("")
          terminal.close()
        })
        .question(question, answered)
    })
  } finally {
    terminal.close()
  }
}
