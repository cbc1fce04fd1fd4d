import { Command } from "commander"
import { ConfigError } from "../protocol/config/config.ts"
import { printJson, tell, tellError } from "./output.ts"

/** How the command ends: the one table, which the help prints. */
export const EXIT = { done: 0, failed: 1, usage: 2, late: 3, refused: 4, unreachable: 5 } as const

export type ExitName = keyof typeof EXIT
export type ExitCode = (typeof EXIT)[ExitName]

export const EXIT_MEANINGS: Readonly<Record<ExitName, string>> = {
  done: "done",
  failed: "failed",
  usage: "wrong usage or configuration",
  late: "accepted, but not done in time",
  refused: "refused: the token is not known, or may not do this",
  unreachable: "nothing answers at the address",
}

export interface CliErrorOptions {
  /** What `--json` prints: the HTTP answer, where there was one. */
  readonly json?: unknown
  /** Further lines for people, below the message. */
  readonly lines?: readonly string[]
  readonly cause?: unknown
}

/** An end that was foreseen: told in a sentence, without a stack. Its message never holds a token. */
export class CliError extends Error {
  readonly exit: ExitName
  readonly json: unknown
  readonly lines: readonly string[]

  constructor(exit: ExitName, message: string, { json, lines = [], cause }: CliErrorOptions = {}) {
    super(message, { cause })
    this.name = "CliError"
    this.exit = exit
    this.json = json ?? { code: exit, detail: message }
    this.lines = lines
  }
}

/** Tells why a command ended, and gives the code that it ends with. Anything unforeseen is thrown on. */
function reportFailure(error: unknown, json: boolean): ExitCode {
  if (error instanceof ConfigError) {
    const { message, faults } = error
    return reportFailure(
      new CliError("usage", message, { json: { code: "usage", detail: message, errors: faults } }),
      json,
    )
  }
  if (!(error instanceof CliError)) throw error
  if (json) printJson(error.json)
  tellError(error.message)
  for (const line of error.lines) tell(line)
  return EXIT[error.exit]
}

/** The last thing that an action is given is its command. */
const wantsJson = (command: unknown): boolean => command instanceof Command && command.opts()["json"] === true

/** An action whose result is the process's exit code, and whose foreseen failures are told in a sentence. */
export const exitsWith =
  <Given extends readonly unknown[]>(handler: (...given: Given) => Promise<number>) =>
  async (...given: Given): Promise<void> => {
    try {
      process.exitCode = await handler(...given)
    } catch (error) {
      process.exitCode = reportFailure(error, wantsJson(given.at(-1)))
    }
  }
