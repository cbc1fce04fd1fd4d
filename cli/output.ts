import { styleText } from "node:util"

/** Everything that the command writes goes through here. Results go to standard output, all else to standard error. */

export type Format = Parameters<typeof styleText>[0]

/** What a stream must tell of itself to be written to in colour. */
export interface Screen {
  readonly isTTY?: boolean
  hasColors?(): boolean
}

/**
 * Whether a stream is a terminal that shows colours, and `NO_COLOR` does not forbid them. `styleText` by itself is not
 * enough: `FORCE_COLOR` makes it colour a file, and overrules `NO_COLOR`.
 */
export const hasColours = (
  screen: Screen,
  env: Readonly<Record<string, string | undefined>> = process.env,
): boolean => !env["NO_COLOR"] && screen.isTTY === true && screen.hasColors?.() === true

/** Text for standard output, in colour where that shows any. */
export const paint = (format: Format, text: string): string =>
  hasColours(process.stdout) ? styleText(format, text, { validateStream: false }) : text

const paintError = (format: Format, text: string): string =>
  hasColours(process.stderr) ? styleText(format, text, { validateStream: false }) : text

/** A server's or a vendor's words without what a terminal would obey: control characters, and reversed direction. */
export const plain = (text: string): string =>
  text.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, "\ufffd")

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** One line, so that `tail --json` can be read line by line. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value))
}

/** A line for whoever sits in front of it. */
export function tell(line: string): void {
  process.stderr.write(`${line}\n`)
}

export function tellWarning(text: string): void {
  tell(`${paintError("yellow", "warning:")} ${text}`)
}

export function tellError(text: string): void {
  tell(`${paintError("red", "tidemark:")} ${text}`)
}

/** Takes away the line of progress that stands on the terminal, whoever wrote it. */
export function clearProgress(): void {
  standing?.()
}

let standing: (() => void) | undefined

export interface Progress {
  /** Replaces the line that stands there. */
  show(text: string): void
  /** Takes the line away; before anything else is written. */
  clear(): void
}

/** A line on standard error that changes in place; nothing at all where that is no terminal. */
export function progress(
  screen: Pick<NodeJS.WriteStream, "isTTY" | "columns" | "write"> = process.stderr,
): Progress {
  let shown = false
  const clear = () => {
    if (!shown) return
    screen.write("\r\u001b[2K")
    shown = false
    standing = undefined
  }
  return {
    show(text) {
      if (!screen.isTTY) return
      clear()
      // A line that wraps could not be taken away again.
      screen.write(text.slice(0, Math.max((screen.columns || 80) - 1, 0)))
      shown = true
      standing = clear
    },
    clear,
  }
}

export interface Frames {
  /** The whole of what is to be seen now. */
  show(lines: readonly string[]): void
}

/** A view that is shown again and again: drawn anew on a terminal, if it `redraws`; else printed where it changed. */
export function frames(
  { redraws }: { readonly redraws: boolean },
  screen: Pick<NodeJS.WriteStream, "isTTY" | "write"> = process.stdout,
): Frames {
  let shown: string | undefined
  return {
    show(lines) {
      const text = lines.map((line) => `${line}\n`).join("")
      if (redraws && screen.isTTY) screen.write(`\u001b[H\u001b[J${text}`)
      else if (text !== shown) screen.write(text)
      shown = text
    },
  }
}

/** Ends the process quietly when whoever reads it has gone: `tidemark tail | head`. */
export function endWithReader(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error
    process.exit(0)
  })
}
