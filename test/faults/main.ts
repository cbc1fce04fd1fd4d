/** `npm run faults`: every fault in its long form, for the table in docs/guarantees.md. */
import { parseArgs } from "node:util"
import { startVarnishEnd } from "../support/varnish-log.ts"
import { SCENARIOS } from "./list.ts"
import { SLOW_KERNEL } from "./network.ts"
import type { Counted, Skipped } from "./scenario.ts"
import { printRow, type Row, writeTable } from "./table.ts"

const HELP = `npm run faults [-- <options>]

Makes every fault for real, counts at the receiving ends what was lost, and writes the table into docs/guarantees.md.

  --only <name>   this scenario; may be given several times. Nothing is written then
  --short         the short forms, as npm test runs them. Nothing is written then
  --list          the scenarios, by name
  --help          this

Exit: 0 nothing was lost, 1 something was or a scenario failed, 2 wrong usage.
`

const EXIT_LOST = 1
const EXIT_USAGE = 2

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true, default: [] },
      short: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      // For a scenario that runs itself in another network: it prints what it counted, and nothing else.
      inside: { type: "string" },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  if (values.list) {
    for (const { name, title } of SCENARIOS) process.stdout.write(`${name.padEnd(26)}${title}\n`)
    return 0
  }
  if (values.inside !== undefined) {
    await using varnish = await startVarnishEnd()
    const context = { name: SLOW_KERNEL.name, isShort: values.short, varnish }
    process.stdout.write(JSON.stringify(await SLOW_KERNEL.run(context)))
    return 0
  }
  const unknown = values.only.filter((name) => !SCENARIOS.some((one) => one.name === name))
  if (unknown.length > 0) {
    process.stderr.write(`there is no scenario ${unknown.join(", ")}; see --list\n`)
    return EXIT_USAGE
  }
  const chosen = SCENARIOS.filter(({ name }) => values.only.length === 0 || values.only.includes(name))
  const rows: Row[] = []
  await using varnish = await startVarnishEnd()
  for (const scenario of chosen) {
    process.stdout.write(`${scenario.name} …\n`)
    const outcome: Counted | Skipped | Error = await scenario
      .run({ name: scenario.name, isShort: values.short, varnish })
      .catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))))
    const row = { scenario, outcome }
    rows.push(row)
    process.stdout.write(printRow(row))
  }
  const isWhole = values.only.length === 0 && !values.short
  const bad = rows.filter(
    ({ outcome }) =>
      outcome instanceof Error ||
      (!("skipped" in outcome) && (outcome.lost > 0 || outcome.faults.length > 0)),
  )
  if (isWhole && bad.length === 0) await writeTable(rows)
  if (bad.length > 0)
    process.stdout.write(`not as promised: ${bad.map(({ scenario }) => scenario.name).join(", ")}\n`)
  return bad.length === 0 ? 0 : EXIT_LOST
}

process.exitCode = await main().catch((error: unknown) => {
  if (error instanceof TypeError && "code" in error) {
    process.stderr.write(`${error.message}\n\n${HELP}`)
    return EXIT_USAGE
  }
  throw error
})
