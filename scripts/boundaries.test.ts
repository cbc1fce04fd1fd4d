// The arrows between the rooms hold by two tools: the compiler, as a room's project lists what it refers to, and the
// linter, which also says why. Both are run here on a house of the same rooms with one import for each pair of them.
import { execFile } from "node:child_process"
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "..")

/** What each room may import of the others. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  dispatch: ["protocol"],
  worker: ["protocol", "dispatch"],
  "relay-node": ["protocol", "dispatch"],
  client: ["protocol"],
  cli: ["protocol"],
}

/** What a room's runtime lacks, or has no business with. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = {
  protocol: ["node:fs", "cloudflare:workers", "redis", "@upstash/redis", "hono", "undici"],
  dispatch: ["node:fs", "cloudflare:workers", "redis", "@upstash/redis", "hono", "undici"],
  worker: ["node:fs", "redis", "undici", "pino"],
  "relay-node": ["cloudflare:workers", "@upstash/redis"],
  client: ["node:fs", "redis", "@upstash/redis"],
  cli: ["redis", "@upstash/redis", "hono"],
}

const ROOMS = Object.keys(ARROWS)
const pairs = ROOMS.flatMap((from) =>
  ROOMS.filter((to) => to !== from).map((to): [string, string] => [from, to]),
)
const isAllowed = ([from, to]: readonly [string, string]) => ARROWS[from]?.includes(to) ?? false
const allowed = pairs.filter(isAllowed)
const forbidden = pairs.filter((pair) => !isAllowed(pair))
const foreign = ROOMS.flatMap((room) => (FOREIGN[room] ?? []).map((name): [string, string] => [room, name]))

const fileOf = (from: string, to: string) => `${from}/imports-${to.replaceAll(/\W/g, "-")}.ts`

let directory: string
/** What the tools say of a house that keeps the rules, */
let clean: { readonly compiler: string; readonly linter: readonly Complaint[] }
/** and then of one with every other import as well. */
let compiler: string
let linter: readonly Complaint[]

interface Complaint {
  readonly code: string
  readonly filename: string
  /** Our sentence. */
  readonly help: string
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-rooms-"))
  await symlink(join(root, "node_modules"), join(directory, "node_modules"))
  for (const file of ["tsconfig.base.json", ".oxlintrc.json", "package.json"]) {
    await cp(join(root, file), join(directory, file))
  }
  for (const room of ROOMS) {
    await mkdir(join(directory, room))
    await cp(join(root, room, "tsconfig.json"), join(directory, room, "tsconfig.json"))
    await writeFile(join(directory, room, "thing.ts"), `export const thing: string = "${room}"\n`)
  }
  await Promise.all(allowed.map(writePair))
  clean = { compiler: await run("tsc", ["-b", ...ROOMS]), linter: await lint() }
  await Promise.all(forbidden.map(writePair))
  // Room by room: `tsc -b` does not come to one where those that it refers to have errors.
  const compiled = await Promise.all(
    ROOMS.map((room) => run("tsc", ["-p", room, "--noEmit", "--pretty", "false"])),
  )
  compiler = compiled.join("")
  // After the compiler, which would read all the types of these packages.
  for (const [room, name] of foreign) {
    await writeImport(
      room,
      name,
      `import * as foreign from "${name}"\nexport const other: unknown = foreign\n`,
    )
  }
  linter = await lint()
}, 120_000)

afterAll(() => rm(directory, { recursive: true, force: true }))

const writeImport = (from: string, to: string, text: string) =>
  writeFile(join(directory, fileOf(from, to)), text)

const writePair = ([from, to]: readonly [string, string]) =>
  writeImport(from, to, `import { thing } from "../${to}/thing.ts"\nexport const other: string = thing\n`)

/** What a tool printed. Rejects where there is no such tool, which would have nothing to say either. */
function run(tool: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(join(root, "node_modules/.bin", tool), [...args], { cwd: directory }, (error, stdout) => {
      if (error && typeof error.code !== "number") reject(error)
      else resolve(stdout)
    })
  })
}

const lint = async () =>
  (JSON.parse(await run("oxlint", ["-f", "json"])) as { diagnostics: readonly Complaint[] }).diagnostics

/** The linter's sentence about the one import of a file; undefined: it has nothing against it. */
const sentenceOn = (file: string) =>
  linter.find(({ code, filename }) => filename === file && code === "eslint(no-restricted-imports)")?.help

describe("imports between rooms", () => {
  it("follow arrows that never point back", () => {
    for (const [from, to] of allowed) expect(isAllowed([to, from])).toBe(false)
  })

  it("compile and pass where there is an arrow", () => {
    expect(clean).toEqual({ compiler: "", linter: [] })
  })

  it.each(forbidden)(
    "from %s to %s are refused by both tools, with a sentence of that room's",
    (from, to) => {
      const file = fileOf(from, to)
      expect(
        compiler
          .split("\n")
          .filter((line) => line.startsWith(file))
          .join("\n"),
      ).toContain("error TS6307")
      expect(sentenceOn(file)).toContain(`${from}/ `)
    },
  )
})

describe("imports of what a room's runtime lacks", () => {
  it.each(foreign)("by %s of %s are refused", (room, name) => {
    expect(sentenceOn(fileOf(room, name))).toBeDefined()
  })
})
