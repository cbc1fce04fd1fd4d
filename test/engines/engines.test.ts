import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { expect, it, onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { available } from "./available.ts"
import { engineOf, ENGINES, findEngine } from "./engines.ts"
import { tablesOf } from "./table.ts"
import { type Group, runTests } from "./tests.ts"

/**
 * Which engines npm test tries in short, `redis-sid,valkey-sid`: by default the newest Valkey of a release, beside the
 * Redis that all else runs on. All of it on all of them: `npm run engines`.
 */
const CHOSEN = (process.env["TIDEMARK_TEST_ENGINES"] ?? "valkey-trixie").split(",").map(engineOf)

/** What another engine may answer in another way: replies of scripts, a Worker's requests, a relay's. */
const SHORT: readonly Group[] = ["scripts", "path"]

/** Some 230 tests in a process of their own, which has no more of a busy machine than one test has. In ms. */
const LONGEST = 600_000

for (const engine of CHOSEN) {
  const binary = await available(() => findEngine(engine))

  it.skipIf(binary === undefined)(
    `${engine.name} runs with the libraries of its own suite alone`,
    async () => {
      const server = await startRedis({ path: dirname(binary?.file ?? "") })
      onTestFinished(() => server.stop())
      const maps = await readFile(`/proc/${server.pid}/maps`, "utf8")
      const files = new Set(maps.split("\n").flatMap((line) => /\s(\/.+)$/.exec(line)?.[1] ?? []))
      const tree = dirname(dirname(binary?.file ?? ""))
      expect([...files].some((file) => /\/libc\.so/.test(file))).toBe(true)
      expect([...files].filter((file) => !file.startsWith(tree))).toEqual([])
    },
  )

  it.skipIf(binary === undefined)(
    `scripts and the path on ${engine.name} pass their tests`,
    async () => {
      const { groups, failures } = await runTests({ ...(binary ? { engine: binary } : {}), groups: SHORT })
      expect(failures).toEqual([])
      expect(Object.keys(groups)).toEqual(SHORT)
    },
    LONGEST,
  )
}

it("names every engine once, and refuses a name that is none", () => {
  expect(new Set(ENGINES.map(({ name }) => name)).size).toBe(ENGINES.length)
  expect(() => engineOf("keydb")).toThrow(/^there is no engine keydb: redis-bookworm, /)
})

it.each([
  ["no apt-get", undefined, "apt-get is not on the PATH"],
  [
    "no mirror of Debian",
    "http://archive.ubuntu.com/ubuntu/",
    "the package sources of this system name no mirror of Debian",
  ],
  ["no network", "http://deb.debian.org/debian/", "apt-get says: Could not resolve 'deb.debian.org'"],
])("an engine is not to be had with %s, and says so in a sentence", async (_, uri, reason) => {
  const path = await mkdtemp(join(tmpdir(), "tidemark-engines-"))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  if (uri !== undefined) {
    const offline = "echo \"E: Could not resolve 'deb.debian.org'\" >&2; exit 100"
    const aptGet = `#!/bin/sh\ncase "$*" in *indextargets*) echo '${uri}' ;; *) ${offline} ;; esac\n`
    await writeFile(join(path, "apt-get"), aptGet, { mode: 0o755 })
    await writeFile(join(path, "apt-cache"), `#!/bin/sh\nexit 100\n`, { mode: 0o755 })
  }
  await expect(findEngine(engineOf("valkey-sid"), { path, cacheDirectory: path })).rejects.toThrow(
    `no valkey-sid found and none could be fetched (${reason}): it needs apt-get, and the mirror of Debian that this system is from`,
  )
})

it("a table says how many failed", () => {
  const counts = {
    groups: { scripts: { passed: 219, failed: 1 }, path: { passed: 1, failed: 0 } },
    failures: [],
  }
  const row = {
    name: "redis-sid",
    title: "Redis",
    version: "8.0.6",
    day: "2026-12-01",
    lua: "Lua 5.1",
    counts,
  }
  expect(tablesOf([row]).split("\n").at(-1)).toBe(
    "| Redis, `redis-sid` | 8.0.6 | Lua 5.1 | 2026-12-01 | **219 of 220** |  |  |  |  | 1 |",
  )
})
