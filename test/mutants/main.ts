/**
 * `npm run mutants`: breaks the code in one named way after the other, in a copy, and runs the test that must notice.
 * Writes the table of `docs/guarantees.md`; exits 1 where a test did not fail, or fails on the code as it is.
 */
import { execFileSync, spawn } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { parseArgs } from "node:util"
import { GUARANTEES, replaceBetween } from "../support/docs.ts"
import { type Mutant, MUTANTS } from "./list.ts"

const root = join(import.meta.dirname, "../..")

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    list: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  },
})

if (values.help) {
  process.stdout.write(`Usage: npm run mutants [-- --only <text>] [--list]

Breaks the code in one named way after the other, in a copy of the repository, and runs the one test that must fail.

  --only <text>  those whose name or invariant holds it; may be given again
  --list         print their names
  -h, --help     print this help

Exit: 0 every test failed as it must, 1 not so.
`)
  process.exit()
}

const chosen = MUTANTS.filter(
  ({ name, invariant }) =>
    !values.only || values.only.some((text) => name.includes(text) || invariant === text),
)
if (values.list) {
  for (const { name, invariant } of chosen) process.stdout.write(`${invariant}  ${name}\n`)
  process.exit()
}

type Verdict = "failed" | "passed" | "did not run"

const copy = mkdtempSync(join(tmpdir(), "tidemark-mutants-"))
process.once("exit", () => rmSync(copy, { recursive: true, force: true }))
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
})
for (const file of files.split("\0").filter(Boolean)) {
  mkdirSync(dirname(join(copy, file)), { recursive: true })
  cpSync(join(root, file), join(copy, file))
}
symlinkSync(join(root, "node_modules"), join(copy, "node_modules"))

function run(command: string, args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const path = [join(root, "node_modules/.bin"), process.env["PATH"]].join(delimiter)
  const child = spawn(command, args, {
    cwd: copy,
    env: { ...process.env, PATH: path, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  })
  let output = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text))
  }
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, output })))
}

/** A title as a pattern: of a table's tests, all. */
const patternOf = (title: string): string =>
  title.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll(/%[sdj]/g, ".*")

async function judge({ test }: Mutant): Promise<Verdict> {
  await run("node", ["scripts/generate.ts"])
  const { project, file, title } = test
  const { output } = await run("vitest", ["run", "--project", project, file, "-t", patternOf(title)])
  const [, passed, failed] = /(\d+) passed, (\d+) failed, \d+ skipped\s*$/.exec(output) ?? []
  if (Number(failed) > 0) return "failed"
  return Number(passed) > 0 ? "passed" : "did not run"
}

const rows: string[] = []
let wrong = 0
for (const [index, mutant] of chosen.entries()) {
  const { name, invariant, file, find, replace, test } = mutant
  process.stdout.write(`${index + 1}/${chosen.length}  ${invariant}  ${name} … `)
  const whole = await judge(mutant)
  const path = join(copy, file)
  const text = readFileSync(path, "utf8")
  if (text.split(find).length !== 2) throw new Error(`${name}: what it replaces stands not once in ${file}`)
  writeFileSync(
    path,
    text.replace(find, () => replace),
  )
  const broken = await judge(mutant)
  writeFileSync(path, text)
  const isSeen = whole === "passed" && broken === "failed"
  if (!isSeen) wrong += 1
  process.stdout.write(isSeen ? "seen\n" : `NOT SEEN (whole: ${whole}, broken: ${broken})\n`)
  rows.push(
    `| ${invariant} | ${name} | \`${file}\` | ${test.title} (\`${test.file}\`) | ${isSeen ? "seen" : "**not seen**"} |`,
  )
}

const table = ["| | broken | in | the test that fails then | |", "| --- | --- | --- | --- | --- |", ...rows]
if (!values.only) replaceBetween(GUARANTEES, "mutants", table.join("\n"))
process.stdout.write(`${chosen.length - wrong} of ${chosen.length} were seen\n`)
process.exitCode = wrong === 0 ? 0 : 1
