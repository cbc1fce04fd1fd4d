/**
 * `npm run bench [-- part …]`: runs the parts of the bench one after the other, each in a process of its own, and tells
 * what was aimed at and what was found. With `--docs`, writes that into docs/performance.md.
 */
import { spawn } from "node:child_process"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Command } from "commander"
import { aimRow, readResults, type StoredResults } from "./support/results.ts"
import { line, ROUNDS } from "./support/rounds.ts"

const root = join(import.meta.dirname, "..")
const PARTS = [
  "path",
  "drain",
  "intake",
  "propagation",
  "lookup",
  "hits",
  "start",
  "bytes",
  "growth",
] as const
const PAGE = join(root, "docs/performance.md")
const [BEGIN, END] = ["<!-- bench: begin -->", "<!-- bench: end -->"]

interface Options {
  readonly docs: boolean
  readonly profile: boolean
  readonly run: boolean
}

const command = new Command("npm run bench --")
  .description("Measures Tidemark beside the floor and beside peers, in one run on one machine.")
  .argument("[parts...]", `of ${PARTS.join(", ")}; all where none is named`)
  .option("--docs", "write what was found into docs/performance.md, a chapter for each part", false)
  .option("--profile", "keep profiles and flame graphs of Tidemark's processes, instead of figures", false)
  .option("--no-run", "run nothing: tell what was found last")
  .addHelpText(
    "after",
    `
TIDEMARK_BENCH_ROUNDS=n  rounds that medians are of; now ${ROUNDS}
TIDEMARK_BENCH_QUICK=1   no backlog above 10,000, nobody is killed; growth ends at 100,000
All of it takes some 40 minutes. Results: bench/results/ (tables, JSON, plots; profiles/ of the relay and the
Worker as Chromium's developer tools open them, their flame graphs as <part>-flame-<what>.svg).`,
  )
  .parse()

const named = command.args
const wrong = named.filter((part) => !PARTS.some((known) => known === part))
if (wrong.length > 0)
  command.error(`there is no part ${wrong.join(", ")}: ${PARTS.join(", ")}`, { exitCode: 2 })
const parts = PARTS.filter((part) => named.length === 0 || named.includes(part))
const { docs, profile, run } = command.opts<Options>()
if (docs && profile)
  command.error("figures that were taken under a profiler are not for the docs", { exitCode: 2 })
if (profile) process.env["TIDEMARK_BENCH_PROFILE"] = "1"

const failed: string[] = []
for (const part of run ? parts : []) {
  const began = performance.now()
  line(`\n${part} …`)
  const child = spawn(process.execPath, [join(import.meta.dirname, `${part}.ts`)], { stdio: "inherit" })
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve))
  if (code !== 0) failed.push(part)
  line(`${part}: ${Math.round((performance.now() - began) / 1_000)} s${code === 0 ? "" : ", failed"}`)
}

if (!profile) await tell()
if (failed.length > 0) {
  console.error(`failed: ${failed.join(", ")}`)
  process.exitCode = 1
}

/** What was aimed at and what was found last, of every part that was named. */
async function tell(): Promise<void> {
  const found = (await Promise.all(parts.map(readResults))).filter((results) => results !== undefined)
  console.log("\naims\n")
  console.table(found.flatMap(({ name, aims }) => aims.map((aim) => ({ part: name, ...aimRow(aim) }))))
  if (docs) await writeDocs(found)
}

/** Replaces, between the two marks, the chapters of these parts; those of others stay as they are. */
async function writeDocs(results: readonly StoredResults[]): Promise<void> {
  const page = await readFile(PAGE, "utf8")
  const [before, rest] = page.split(BEGIN)
  const [written, after] = (rest ?? "").split(END)
  if (before === undefined || written === undefined || after === undefined)
    throw new Error(`docs/performance.md lacks ${BEGIN} or ${END}`)
  const chapters = new Map(
    written.split(/^(?=## )/m).map((chapter) => [/^## (.*)$/m.exec(chapter)?.[1], chapter.trim()]),
  )
  for (const one of results) chapters.set(one.name, chapterOf(one))
  const text = PARTS.flatMap((part) => chapters.get(part) ?? []).join("\n\n")
  await writeFile(PAGE, `${before}${BEGIN}\n\n${text}\n\n${END}${after}`)
  console.log("written to docs/performance.md")
}

function chapterOf({ name, at, machine, settings, aims, tables }: StoredResults): string {
  const facts = Object.entries({ ...machine, ...settings })
    .map(([key, value]) => `${key} ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("; ")
  return [
    `## ${name}`,
    `\`npm run bench -- ${name}\`, ${at.slice(0, 10)}: ${facts}.`,
    ...(aims.length > 0 ? [tableOf(aims.map(aimRow))] : []),
    ...tables.flatMap(({ title, rows }) => [`${title[0]?.toUpperCase()}${title.slice(1)}:`, tableOf(rows)]),
  ].join("\n\n")
}

function tableOf(rows: readonly Readonly<Record<string, string | number>>[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const cell = (value: string | number | undefined) => String(value ?? "").replaceAll("|", "\\|")
  return [columns, columns.map(() => "---"), ...rows.map((row) => columns.map((column) => cell(row[column])))]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n")
}
