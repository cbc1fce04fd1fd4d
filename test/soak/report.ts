import { writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import type { SoakOptions, SoakResult } from "./soak.ts"
import { CACHES } from "./settings.ts"

type Told = Pick<
  SoakOptions,
  "seconds" | "seed" | "readers" | "writers" | "relays" | "pages" | "faults" | "broken"
>

const SHARES = [
  ["p50", 0.5],
  ["p90", 0.9],
  ["p99", 0.99],
] as const

/** By cache and by how prompt the CMS reads: from a publish's acknowledgement to the last stale byte, in ms. */
function stalenessRows({ staleness }: SoakResult) {
  return CACHES.flatMap((cache) =>
    (["prompt", "lagging"] as const).map((cms) => {
      const samples = staleness[cache][cms]
      return {
        cache,
        cms,
        changes: samples.count,
        ...Object.fromEntries(SHARES.map(([name, share]) => [name, samples.quantile(share)])),
        max: samples.max,
      }
    }),
  )
}

/** What `soak.json` holds. */
export function summaryOf(result: SoakResult, options: Told): object {
  const { staleness: _, points: __, ...rest } = result
  const { seconds, seed, readers, writers, relays, pages, faults, broken } = options
  return {
    options: { seconds, seed, readers, writers, relays, pages, faults, broken: broken ?? null },
    ok: result.violationCount === 0,
    staleness: stalenessRows(result),
    ...rest,
    startedAt: new Date(result.startedAt).toISOString(),
  }
}

export async function writeResults(folder: string, summary: object, plot: string): Promise<void> {
  await writeFile(join(folder, "soak.json"), `${JSON.stringify(summary, undefined, 2)}\n`)
  await writeFile(join(folder, "soak.svg"), plot)
}

function table(rows: readonly (readonly (string | number)[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [index, cell] of row.entries())
      widths[index] = Math.max(widths[index] ?? 0, String(cell).length)
  return rows
    .map((row) => {
      const cells = row.map((cell, index) =>
        typeof cell === "number" || /^[\d.]+$/.test(cell)
          ? String(cell).padStart(widths[index] ?? 0)
          : cell.padEnd(widths[index] ?? 0),
      )
      return `  ${cells.join("  ")}`.trimEnd()
    })
    .join("\n")
}

/** For people. */
export function tableOf(result: SoakResult, { seed, broken }: Told, folder: string): string {
  const { reads, faultCounts, violationCounts, violationCount, interrupted } = result
  const faults = Object.entries(faultCounts).toSorted(([a], [b]) => a.localeCompare(b))
  const violations = Object.entries(violationCounts)
  const head = [
    `seed ${seed}, ${(result.took / 1_000).toFixed(1)} s`,
    ...(broken === undefined ? [] : [`with ${broken} broken`]),
    ...(interrupted ? ["interrupted"] : []),
  ].join(", ")
  const staleness = stalenessRows(result).map((row) => Object.values(row)) as (string | number)[][]
  return `
${head}

${table([
  ["reads", "all", "fresh", "stale", "fetched", "bypassed", "failed"],
  ...CACHES.map((cache) => {
    const { reads: all, fresh, stale, fetched, bypassed, failed } = reads[cache]
    return [cache, all, fresh, stale, fetched, bypassed, failed]
  }),
])}

${table([
  ["changes", "acknowledged", "attempts", "races", "held answers", "purges"],
  [result.changes, result.acknowledged, result.attempts, result.races, result.heldAnswers, result.purges],
])}

  from a publish's acknowledgement to the last stale byte, in ms
${table([["cache", "cms", "changes", "p50", "p90", "p99", "max"], ...staleness])}

${faults.length === 0 ? "  no faults" : table([["faults", "times"], ...faults])}

${violationCount === 0 ? "  0 violations" : table([["violations", "times"], ...violations])}
${result.violations
  .slice(0, 10)
  .map(
    ({ at, cache, rule, page, detail }) =>
      `  ${((at - result.startedAt) / 1_000).toFixed(1)} s  ${cache}, ${rule}: page ${page}: ${detail}\n`,
  )
  .join("")}
  written to ${relative(process.cwd(), folder) || "."}/soak.json and soak.svg
`
}
