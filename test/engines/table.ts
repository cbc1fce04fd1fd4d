import { mkdir, readFile, writeFile } from "node:fs/promises"
import { arch, cpus, platform } from "node:os"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { type Counts, type Group, GROUPS, type GroupCount } from "./tests.ts"

/** What became of one engine, or of one Lua. */
export interface Row {
  /** As it is named to the command. */
  readonly name: string
  /** For people. */
  readonly title: string
  readonly version: string
  /** When it was tried, `2026-12-01`. */
  readonly day: string
  /** Of an engine: what it runs scripts by, as it says itself. */
  readonly lua?: string
  readonly counts: Counts
}

const DOCUMENT = fileURLToPath(new URL("../../docs/engines.md", import.meta.url))
const RESULTS = fileURLToPath(new URL("../../bench/results/engines.json", import.meta.url))
const BEGIN = "<!-- engines -->"
const END = "<!-- /engines -->"

/** For people at a terminal. */
export function printRow({ counts: { groups, failures } }: Row): string {
  const told = Object.entries(groups).map(([group, counted]) => `${group} ${figure(counted)}`)
  return `  ${told.join(", ")}\n${failures.map((failure) => `  ! ${failure}\n`).join("")}`
}

const figure = ({ passed, failed }: GroupCount): string =>
  failed === 0 ? `${passed}` : `**${passed} of ${passed + failed}**`

/** Both tables, of engines and of Luas, those that were run. */
export function tablesOf(rows: readonly Row[]): string {
  const groups = Object.keys(GROUPS) as Group[]
  const counted = ({ counts }: Row, group: Group) => {
    const found = counts.groups[group]
    return found === undefined ? "" : figure(found)
  }
  const engines = rows.filter(({ lua }) => lua !== undefined)
  const luas = rows.filter(({ lua }) => lua === undefined)
  const tables: string[][] = []
  if (engines.length > 0)
    tables.push([
      `| engine | version | scripts run by | tried on | ${groups.join(" | ")} |`,
      `| --- | --- | --- | --- | ${groups.map(() => "--:").join(" | ")} |`,
      ...engines.map(
        (row) =>
          `| ${row.title}, \`${row.name}\` | ${row.version} | ${row.lua} | ${row.day} | ${groups.map((group) => counted(row, group)).join(" | ")} |`,
      ),
    ])
  if (luas.length > 0)
    tables.push([
      "| each script by EVAL, and then by | tried on | tests of scripts |",
      "| --- | --- | --: |",
      ...luas.map(
        (row) => `| ${row.title} ${row.version}, \`${row.name}\` | ${row.day} | ${counted(row, "scripts")} |`,
      ),
    ])
  return tables.map((lines) => lines.join("\n")).join("\n\n")
}

/**
 * Keeps rows in bench/results, beside those of before, and writes all of them between the marks of docs/engines.md once
 * there is one of each name.
 * @returns whether the document was written
 */
export async function writeTables(rows: readonly Row[], names: readonly string[]): Promise<boolean> {
  const known = new Map([...(await readRows()), ...rows].map((row) => [row.name, row]))
  const kept = names.flatMap((name) => known.get(name) ?? [])
  await mkdir(dirname(RESULTS), { recursive: true })
  await writeFile(RESULTS, `${JSON.stringify(kept, undefined, 2)}\n`)
  if (kept.length < names.length) return false

  const [cpu] = cpus()
  const machine = `${cpus().length} × ${cpu?.model.trim() ?? "unknown"}, ${platform()} ${arch()}, Node ${process.versions.node}`
  const text = [BEGIN, "", `Tried on ${machine}.`, "", tablesOf(kept), "", END].join("\n")
  const document = await readFile(DOCUMENT, "utf8")
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`${DOCUMENT} has no ${BEGIN} … ${END}`)
  await writeFile(DOCUMENT, document.slice(0, from) + text + document.slice(to + END.length))
  return true
}

async function readRows(): Promise<readonly Row[]> {
  const text = await readFile(RESULTS, "utf8").catch(() => "[]")
  return JSON.parse(text) as readonly Row[]
}
