import { spawn } from "node:child_process"
import { glob, mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { delimiter, dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { findRedis, type Binary } from "../../cli/servers/provision.ts"
import type { LuaVersion } from "./lua.ts"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
const VITEST = join(ROOT, "node_modules/vitest/vitest.mjs")
const PROJECTS = ["node", "system", "whole"]

/** Of what vitest printed, where it ran no test, in characters. */
const KEPT_OUTPUT = 2_000

/** What of npm test is about Redis, by what it is called in the table. */
export const GROUPS = {
  scripts: ["test/scripts/**/*.test.ts"],
  lanes: ["dispatch/**/*.node.test.ts"],
  relay: ["relay-node/**/*.node.test.ts"],
  users: ["test/infra/acl.test.ts"],
  clients: ["test/client/**/*.test.ts"],
  path: ["test/path/publishes.test.ts"],
} as const
export type Group = keyof typeof GROUPS

export interface GroupCount {
  readonly passed: number
  readonly failed: number
}

export interface Counts {
  /** In the order of `GROUPS`, those that were asked for. */
  readonly groups: Readonly<Partial<Record<Group, GroupCount>>>
  /** Full names of the tests that failed, after their files'. */
  readonly failures: readonly string[]
}

export interface TestRun {
  /** The Redis of every test. Default: whatever is found first, as in npm test. */
  readonly engine?: Binary
  /** Runs each script of test/scripts in this Lua too: see comparing.ts. */
  readonly lua?: LuaVersion
  readonly groups: readonly Group[]
}

/** The little that we read of what vitest writes as JSON. */
interface Report {
  readonly testResults: readonly {
    readonly name: string
    /** Of a file that could not be loaded. */
    readonly message: string
    readonly status: string
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}

/**
 * Runs tests by vitest, in a process of its own.
 * @throws {Error} Where they could not be run at all, or would have run on another engine.
 */
export async function runTests({ engine, lua, groups }: TestRun): Promise<Counts> {
  const path = [...(engine ? [dirname(engine.file)] : []), process.env["PATH"] ?? ""].join(delimiter)
  // One that does not start, or is too old, would be passed over for the next in silence.
  if (engine && (await findRedis({ path })).file !== engine.file)
    throw new Error(`${engine.file} would not be used`)
  const files = new Map<string, Group>()
  for (const group of groups)
    for (const pattern of GROUPS[group])
      for await (const file of glob(pattern, { cwd: ROOT })) files.set(file, group)

  const directory = await mkdtemp(join(tmpdir(), "tidemark-engines-"))
  try {
    const output = join(directory, "report.json")
    const args = [
      ...PROJECTS.flatMap((name) => ["--project", name]),
      "--reporter=json",
      "--outputFile",
      output,
    ]
    const printed = await runVitest([...args, ...files.keys()], {
      PATH: path,
      ...(lua === undefined ? {} : { TIDEMARK_TEST_LUA: lua }),
    })
    const report = await readFile(output, "utf8").catch((cause: unknown) => {
      throw new Error(`vitest wrote no report: ${printed}`, { cause })
    })
    return count(JSON.parse(report) as Report, files)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** The end of what it printed. Whether tests failed stands in its report. */
function runVitest(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  // Those by which vitest tells its own workers apart would reach its grandchildren.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(VITEST|TINYPOOL|NODE_OPTIONS)/.test(name),
  )
  const child = spawn(process.execPath, [VITEST, "run", ...args], {
    cwd: ROOT,
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  })
  let kept = ""
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (kept = (kept + text).slice(-KEPT_OUTPUT)))
  return new Promise((resolve, reject) => {
    child.once("error", reject)
    child.once("close", () => resolve(kept.trim()))
  })
}

function count({ testResults }: Report, files: ReadonlyMap<string, Group>): Counts {
  const groups: Partial<Record<Group, { passed: number; failed: number }>> = {}
  for (const group of files.values()) groups[group] ??= { passed: 0, failed: 0 }
  const failures: string[] = []
  for (const { name, message, status, assertionResults } of testResults) {
    const file = relative(ROOT, name)
    const counted = groups[files.get(file) ?? "scripts"]
    if (!counted) continue
    for (const test of assertionResults) {
      if (test.status === "passed") counted.passed += 1
      else {
        counted.failed += 1
        failures.push(`${file}: ${test.fullName}${test.status === "failed" ? "" : ` (${test.status})`}`)
      }
    }
    if (status === "failed" && assertionResults.every((test) => test.status === "passed")) {
      counted.failed += 1
      failures.push(`${file}: ${message.split("\n", 1)[0]}`)
    }
  }
  for (const [group, { passed, failed }] of Object.entries(groups))
    if (passed + failed === 0) failures.push(`${group}: no test was run`)
  return { groups, failures }
}
