import { mkdir, readFile, writeFile } from "node:fs/promises"
import { cpus, platform, release } from "node:os"
import { join } from "node:path"
import type { TopLevelSpec } from "vega-lite"
import { isProfiling } from "./profile.ts"
import { figure } from "./statistics.ts"

const folder = join(import.meta.dirname, "../results")

/** What was aimed at, and what came of it. */
export interface Aim {
  readonly what: string
  readonly value: number
  readonly is: "at most" | "at least" | "below"
  readonly limit: number
}

export interface Table {
  readonly title: string
  readonly rows: readonly Readonly<Record<string, string | number>>[]
}

/** What one part of the bench found. */
export interface Results {
  readonly name: string
  /** What was compared, by name and version, and how it was set up. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly tables: readonly Table[]
  readonly aims: readonly Aim[]
  /** Vega-Lite specifications, by name; drawn into `<part>-<name>.svg`. */
  readonly plots?: Readonly<Record<string, TopLevelSpec>>
}

export interface StoredResults extends Omit<Results, "plots"> {
  readonly at: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly plots: readonly string[]
}

function isMet({ value, is, limit }: Aim): boolean {
  if (is === "at least") return value >= limit
  return is === "at most" ? value <= limit : value < limit
}

/** Prints what was found, and keeps it with the machine that it is of, as JSON and as plots, in `bench/results`. */
export async function writeResults({ name, settings, tables, aims, plots = {} }: Results): Promise<void> {
  for (const { title, rows } of tables) {
    console.log(`\n${title}\n`)
    console.table(rows)
  }
  if (aims.length > 0) {
    console.log("\naims\n")
    console.table(aims.map(aimRow))
  }
  if (isProfiling) {
    console.log("\nnot kept: figures that were taken under a profiler")
    return
  }
  const drawn = await drawPlots(name, plots)
  const stored: StoredResults = {
    name,
    at: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      system: `${platform()} ${release()}`,
      node: process.version,
    },
    settings,
    tables,
    aims,
    plots: drawn,
  }
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(stored, undefined, 2)}\n`)
  console.log(`\nwritten to bench/results/: ${[`${name}.json`, ...drawn].join(", ")}`)
}

export const aimRow = (aim: Aim) => ({
  aim: `${aim.what} ${aim.is} ${figure(aim.limit)}`,
  found: figure(aim.value),
  "": isMet(aim) ? "met" : "missed",
})

/** What a part found when it was last run; undefined where it never was. */
export async function readResults(name: string): Promise<StoredResults | undefined> {
  const text = await readFile(join(folder, `${name}.json`), "utf8").catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as StoredResults)
}

/** @returns the names of the files */
export async function drawPlots(
  name: string,
  plots: Readonly<Record<string, TopLevelSpec>>,
): Promise<readonly string[]> {
  await mkdir(folder, { recursive: true })
  const drawn: string[] = []
  for (const [plot, specification] of Object.entries(plots)) {
    const file = `${name}-${plot}.svg`
    await writeFile(join(folder, file), await draw(specification))
    drawn.push(file)
  }
  return drawn
}

async function draw(specification: TopLevelSpec): Promise<string> {
  const [{ compile }, { parse, View }] = await Promise.all([import("vega-lite"), import("vega")])
  const { spec } = compile({
    background: "white",
    config: { view: { stroke: null }, font: "system-ui, sans-serif", legend: { labelLimit: 0 } },
    ...specification,
  })
  const view = new View(parse(spec), { renderer: "none" })
  const svg = await view.toSVG()
  view.finalize()
  return svg
}
