/**
 * `npm run soak`: is anything lost? Changes pages, reads them through both kinds of cache while faults come and go, and
 * holds every answer against what was acknowledged before. Exit 1 when a cache served what it may not.
 */
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { findRedis, findVarnish } from "../../cli/servers/provision.ts"
import { plotOf } from "./plot.ts"
import { summaryOf, tableOf, writeResults } from "./report.ts"
import { type Break, soak } from "./soak.ts"

const HELP = `npm run soak -- [options]

  Changes pages and reads them through a Worker cache judged by epochs and through Varnish, while relays, Redis, the
  links to it and the way to Varnish fail. Ends with 1 when a cache served an older version than it may.

  --seconds N      how long faults come and go (300); looking whether all came right takes some more
  --seed N         draws faults, pages and pauses (a random one, which is printed)
  --readers N      visitors, each reads both caches (6)
  --writers N      editors, each has pages of its own (4)
  --relays N       relay processes: 1 or 2 (2)
  --pages N        pages (24)
  --no-faults      nothing fails
  --break WHAT     epoch: the Worker cache does not ask for epochs; purge: purges of Varnish are swallowed.
                   Must end with 1, naming the cache and the rule
  --results PATH   where soak.json and soak.svg are written (bench/results/soak)
  --logs           writes the relays' logs there too
  --help

  Exit: 0 nothing was violated, 1 something was, or a part did not start, 2 wrong usage, 130 interrupted.
`

const { values } = read()

function read() {
  try {
    return parseArgs({
      options: {
        seconds: { type: "string", default: "300" },
        seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
        readers: { type: "string", default: "6" },
        writers: { type: "string", default: "4" },
        relays: { type: "string", default: "2" },
        pages: { type: "string", default: "24" },
        "no-faults": { type: "boolean", default: false },
        break: { type: "string" },
        results: { type: "string", default: join(import.meta.dirname, "../../bench/results/soak") },
        logs: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    })
  } catch (error) {
    return refuse(error instanceof Error ? error.message : "wrong usage")
  }
}

function refuse(message: string): never {
  process.stderr.write(`${message}\n\n${HELP}`)
  process.exit(2)
}

function count(name: "seconds" | "seed" | "readers" | "writers" | "relays" | "pages", most: number): number {
  const value = Number(values[name])
  const least = name === "seed" ? 0 : 1
  if (!Number.isInteger(value) || value < least || value > most)
    refuse(`--${name} must be a whole number from ${least} to ${most}`)
  return value
}

function breakOf(value: string): Break {
  return value === "epoch" || value === "purge" ? value : refuse("--break must be epoch or purge")
}

if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}
const broken = values.break === undefined ? undefined : breakOf(values.break)

const options = {
  seconds: count("seconds", 1e7),
  seed: count("seed", 2 ** 32 - 1),
  readers: count("readers", 1_000),
  writers: count("writers", 100),
  relays: count("relays", 2),
  pages: count("pages", 10_000),
  faults: !values["no-faults"],
  ...(broken === undefined ? {} : { broken }),
  ...(values.logs ? { logs: values.results } : {}),
}
if (options.pages < options.writers)
  refuse("--pages must be at least --writers: each editor has pages of its own")

const tell = (text: string) => process.stderr.write(`${text}\n`)
const time = (elapsed: number) => `${(elapsed / 1_000).toFixed(1).padStart(7)} s`

const stopping = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopping.abort())

try {
  await mkdir(values.results, { recursive: true })
  await findRedis({ onProgress: tell })
  await findVarnish({ onProgress: tell })
  tell(`seed ${options.seed}: starting Redis, gateway, two Workers, Varnish and ${options.relays} relays …`)
  const result = await soak({
    ...options,
    signal: stopping.signal,
    onFault: ({ place, what, from, to }, elapsed) => {
      if (to === undefined) tell(`${time(elapsed)}  fault      ${place}: ${what}`)
      else if (to - from > 100) tell(`${time(elapsed)}  over       ${place}: ${what}, after ${to - from} ms`)
    },
    onViolation: ({ rule, cache, page, detail }, elapsed) =>
      tell(`${time(elapsed)}  VIOLATION  ${cache}, ${rule}: page ${page}: ${detail}`),
    onProgress: ({ elapsed, phase, reads, changes, faults, violations }) => {
      if (process.stderr.isTTY)
        tell(
          `${time(elapsed)}  ${phase.padEnd(9)}  ${reads} reads, ${changes} changes, ${faults} faults, ${violations} violations`,
        )
    },
  })
  const summary = summaryOf(result, options)
  await writeResults(values.results, summary, plotOf(result))
  process.stdout.write(tableOf(result, options, values.results))
  process.exitCode = result.violationCount > 0 ? 1 : result.interrupted ? 130 : 0
} catch (error) {
  tell(error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.exitCode = 1
}
// A pooled connection to a server that is gone keeps nothing else alive.
process.exit()
