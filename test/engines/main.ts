/** `npm run engines`: what of npm test is about Redis, on every engine that Debian has, for the table in docs/engines.md. */
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import { startRedis } from "../../cli/servers/redis.ts"
import { redisCommand } from "../support/redis-command.ts"
import { type Engine, ENGINES, findEngine } from "./engines.ts"
import { findLua, LUA_VERSIONS, type LuaVersion } from "./lua.ts"
import { printRow, type Row, tablesOf, writeTables } from "./table.ts"
import { type Group, GROUPS, runTests } from "./tests.ts"

const HELP = `npm run engines [-- <name> … <options>]

Runs the tests of scripts, lanes, relay and gateway, users and clients, and forty publishes through Worker, gateway
and relay to a CDN, on each engine; and the tests of the scripts once more for each Lua. Takes a minute or two each.
An engine is fetched from Debian by apt-get, without root, and run with the libraries of its own suite. What
was counted is kept in bench/results/engines.json, and once it has all of them the table of docs/engines.md is written.

  <name>          of ${[...ENGINES.map(({ name }) => name), ...LUA_VERSIONS.map((version) => `lua-${version}`)].join(", ").replaceAll(/(.{60,75}?), /g, "$1,\n                  ")};
                  all where none is named
  --only <group>  of ${Object.keys(GROUPS).join(", ")};
                  may be given several times. Nothing is kept then
  --optional      an engine that cannot be had is left out, and that is no failure
  --list          the names, and where each is from
  --help          this

Exit: 0 nothing failed, 1 a test failed or an engine could not be had, 2 wrong usage.
`

const EXIT_FAILED = 1
const EXIT_USAGE = 2

const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** One row to be. */
interface Candidate {
  readonly name: string
  readonly from: string
  run(groups: readonly Group[]): Promise<Row>
}

const onProgress = (line: string) => say(`  ${line}`)

const today = (): string => new Date().toISOString().slice(0, 10)

/** Where an engine, or a Lua, is not to be had: what was said of it. */
class NotToBeHad extends Error {}

const had = <Found>(finding: Promise<Found>): Promise<Found> =>
  finding.catch((error: unknown) => {
    throw new NotToBeHad(error instanceof Error ? error.message : String(error), { cause: error })
  })

const engineCandidate = (engine: Engine): Candidate => ({
  name: engine.name,
  from: `${engine.title}, Debian ${engine.suites[0]}`,
  async run(groups) {
    const binary = await had(findEngine(engine, { onProgress }))
    onProgress(`${engine.title} ${binary.version} …`)
    const server = await startRedis({ path: dirname(binary.file) })
    const lua = await redisCommand(server.url, "EVAL", "return _VERSION", "0")
    await server.stop()
    const counts = await runTests({ engine: binary, groups })
    return { name: engine.name, title: engine.title, version: binary.version, day: today(), lua, counts }
  },
})

const luaCandidate = (version: LuaVersion): Candidate => ({
  name: `lua-${version}`,
  from: `Lua ${version}, this system`,
  // Whatever groups are asked for: no other goes through comparing.ts.
  async run() {
    const binary = await had(findLua(version, { onProgress }))
    onProgress(`Lua ${binary.version} …`)
    const counts = await runTests({ lua: version, groups: ["scripts"] })
    return { name: this.name, title: "Lua", version: binary.version, day: today(), counts }
  },
})

const CANDIDATES: readonly Candidate[] = [...ENGINES.map(engineCandidate), ...LUA_VERSIONS.map(luaCandidate)]

const isGroup = (name: string): name is Group => Object.hasOwn(GROUPS, name)

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: "string", multiple: true, default: [] },
      optional: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  if (values.list) {
    for (const { name, from } of CANDIDATES) say(`${name.padEnd(28)}${from}`)
    return 0
  }
  const unknown = [
    ...positionals.filter((name) => !CANDIDATES.some((one) => one.name === name)),
    ...values.only.filter((name) => !isGroup(name)),
  ]
  if (unknown.length > 0) {
    process.stderr.write(`there is no ${unknown.join(", ")}; see --help\n`)
    return EXIT_USAGE
  }
  const groups = values.only.length === 0 ? (Object.keys(GROUPS) as Group[]) : values.only.filter(isGroup)
  const chosen = CANDIDATES.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  const rows: Row[] = []
  const missing: string[] = []
  const broken: string[] = []
  for (const [index, candidate] of chosen.entries()) {
    say(`${candidate.name} (${index + 1} of ${chosen.length}) …`)
    const began = performance.now()
    try {
      const row = await candidate.run(groups)
      rows.push(row)
      process.stdout.write(printRow(row))
      onProgress(`${Math.round((performance.now() - began) / 1_000)} s`)
    } catch (error) {
      const isMissing = error instanceof NotToBeHad
      const list = isMissing ? missing : broken
      list.push(candidate.name)
      const message = error instanceof Error ? error.message : String(error)
      say(`  ${isMissing ? "left out" : "could not be tried"}: ${message}`)
    }
  }
  if (rows.length > 0) say(`\n${tablesOf(rows)}\n`)
  const failed = [
    ...broken,
    ...rows.filter(({ counts }) => counts.failures.length > 0).map(({ name }) => name),
  ]
  if (failed.length > 0) say(`not as they should be: ${failed.join(", ")}`)
  if (missing.length > 0) say(`left out: ${missing.join(", ")}`)
  // Also where something failed: the table says how many.
  const names = CANDIDATES.map(({ name }) => name)
  if (values.only.length === 0 && (await writeTables(rows, names))) say("docs/engines.md is written")
  return failed.length > 0 || (missing.length > 0 && !values.optional) ? EXIT_FAILED : 0
}

process.exitCode = await main().catch((error: unknown) => {
  if (error instanceof TypeError && "code" in error) {
    process.stderr.write(`${error.message}\n\n${HELP}`)
    return EXIT_USAGE
  }
  throw error
})
