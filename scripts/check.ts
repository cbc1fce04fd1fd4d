/**
 * `npm run check`: everything that can be held against the code without running it. Runs all of it and then fails, so
 * that one run tells all there is to mend.
 */
import { spawn } from "node:child_process"
import { delimiter, join } from "node:path"
import { styleText } from "node:util"

const root = join(import.meta.dirname, "..")

interface Check {
  readonly name: string
  readonly command: readonly [string, ...string[]]
  /** What to do about it, where the tool does not say. */
  readonly mend?: string
}

/** Whose types the plugs' tests and the benches are held against. Begun at once, as it mostly waits for the network. */
const APART: Check = { name: "apart", command: ["node", "scripts/apart.ts"] }

const CHECKS: readonly Check[] = [
  { name: "generated files", command: ["node", "scripts/generate.ts", "--check"] },
  { name: "format", command: ["oxfmt", "--check", "."], mend: "npm run format" },
  { name: "bundle size", command: ["node", "scripts/bundle-size.ts"] },
  { name: "client size", command: ["node", "scripts/client-size.ts"] },
  APART,
  { name: "types", command: ["tsc", "-b"] },
  { name: "lint", command: ["oxlint", "--type-aware", "--deny-warnings"] },
  { name: "unused", command: ["knip", "--no-progress", "--treat-config-hints-as-errors"] },
  // The two above refuse what crosses a border; this says that they do.
  { name: "boundaries", command: ["vitest", "run", "--project", "node", "scripts/boundaries.test.ts"] },
]

interface Outcome {
  readonly passed: boolean
  readonly output: string
  /** In milliseconds. */
  readonly took: number
}

/** Runs a check to its end. One that cannot be started has failed. */
function run({ command: [file, ...args] }: Check): Promise<Outcome> {
  const started = performance.now()
  const path = [join(root, "node_modules/.bin"), process.env["PATH"]].join(delimiter)
  // The output goes through a pipe, so tools would leave out the colours that the terminal behind it shows.
  const colours = process.stdout.isTTY && !process.env["NO_COLOR"] ? { FORCE_COLOR: "1" } : {}
  const child = spawn(file, args, {
    cwd: root,
    env: { ...process.env, ...colours, PATH: path },
    stdio: ["ignore", "pipe", "pipe"],
  })
  return new Promise((resolve) => {
    let output = ""
    const end = (passed: boolean) => resolve({ passed, output, took: performance.now() - started })
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (output += text))
    }
    child.once("error", (error) => {
      output += `${error.message}\n`
      end(false)
    })
    child.once("close", (code) => end(code === 0))
  })
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1_000).toFixed(1)} s`

const say = (line: string) => process.stdout.write(`${line}\n`)

const failed: string[] = []
const started = performance.now()
const installing = run(APART)
for (const check of CHECKS) {
  if (process.stdout.isTTY) process.stdout.write(`… ${check.name}`)
  const { passed, output, took } = await (check === APART ? installing : run(check))
  if (process.stdout.isTTY) process.stdout.write("\r\u001b[K")
  const mark = passed ? styleText("green", "ok    ") : styleText("red", "failed")
  say(`${mark}  ${check.name.padEnd(16)} ${seconds(took).padStart(6)}`)
  if (passed) {
    // A figure, where a check has one to tell.
    if (check.name.endsWith(" size")) say(output.trim().replace(/^/gm, " ".repeat(8)))
    continue
  }
  failed.push(check.name)
  say(`\n${output.trimEnd()}\n`)
  if (check.mend !== undefined) say(`To mend it: ${check.mend}\n`)
}
const verdict = failed.length === 0 ? "passed" : `failed (${failed.join(", ")})`
say(
  `${CHECKS.length - failed.length} of ${CHECKS.length} checks passed in ${seconds(performance.now() - started)}: ${verdict}`,
)
if (failed.length > 0) process.exitCode = 1
