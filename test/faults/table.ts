import { readFile, writeFile } from "node:fs/promises"
import { arch, cpus, platform } from "node:os"
import { fileURLToPath } from "node:url"
import { SECOND } from "../../protocol/time.ts"
import type { Counted, Scenario, Skipped } from "./scenario.ts"

export interface Row {
  readonly scenario: Scenario
  readonly outcome: Counted | Skipped | Error
}

const DOCUMENT = fileURLToPath(new URL("../../docs/guarantees.md", import.meta.url))
const BEGIN = "<!-- faults -->"
const END = "<!-- /faults -->"

const seconds = (length: number | undefined): string =>
  length === undefined ? "never" : `${(length / SECOND).toFixed(1)} s`

/** One scenario for people at a terminal. */
export function printRow({ outcome }: Row): string {
  if (outcome instanceof Error) return `  FAILED: ${outcome.message}\n`
  if ("skipped" in outcome) return `  skipped: ${outcome.skipped}\n`
  const { publishes, lost, twice, level, plainLost, faults } = outcome
  const plain = plainLost === undefined ? "" : `, a plain subscriber lost ${plainLost}`
  const line = `  ${publishes} publishes, ${lost} lost, ${twice} purged twice, level after ${seconds(level)}${plain}\n`
  return line + faults.map((fault) => `  ! ${fault}\n`).join("")
}

function cells({ scenario, outcome }: Row): string {
  const title = scenario.title
  if (outcome instanceof Error) return `| ${title} | failed | | | | |`
  if ("skipped" in outcome) return `| ${title} | skipped: ${outcome.skipped.replaceAll("|", "/")} | | | | |`
  const { publishes, lost, twice, level, plainLost } = outcome
  return `| ${title} | ${publishes} | **${lost}** | ${twice} | ${seconds(level)} | ${plainLost ?? ""} |`
}

/** Puts the table between its marks, with the day and the machine. */
export async function writeTable(rows: readonly Row[]): Promise<void> {
  const [cpu] = cpus()
  const day = new Date().toISOString().slice(0, 10)
  const machine = `${cpus().length} × ${cpu?.model.trim() ?? "unknown"}, ${platform()} ${arch()}, Node ${process.versions.node}`
  const text = [
    BEGIN,
    "",
    `Last run on ${day}: ${machine}.`,
    "",
    "| fault | publishes | lost | purged twice | level again after | a plain subscriber lost |",
    "| --- | --: | --: | --: | --: | --: |",
    ...rows.map(cells),
    "",
    END,
  ].join("\n")
  const document = await readFile(DOCUMENT, "utf8")
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`${DOCUMENT} has no ${BEGIN} … ${END}`)
  await writeFile(DOCUMENT, document.slice(0, from) + text + document.slice(to + END.length))
}
