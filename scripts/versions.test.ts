// docs/request-time.md says which versions are taken, and with which ones that was tried.
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"

const read = (path: string): string => readFileSync(join(import.meta.dirname, "..", path), "utf8")

/** Name and version of everything that is locked; an alias by what it stands for, and Node's by what they all bring. */
const locked = [
  "package-lock.json",
  "test/frameworks/package-lock.json",
  "test/types/package-lock.json",
].flatMap((path) => {
  const { packages } = JSON.parse(read(path)) as {
    readonly packages: Readonly<Record<string, { readonly name?: string; readonly version?: string }>>
  }
  return Object.entries(packages).map(([place, { name, version }]) => {
    const own = name ?? place.replace(/^.*node_modules\//, "")
    return `${own.replace(/^node-(?:bin-)?(?:linux|darwin)-\w+$/, "node")} ${version}`
  })
})

const [, section = ""] = /\n### Versions\n([^]*?)\n##/.exec(read("docs/request-time.md")) ?? []
const rows = [...section.matchAll(/^\| `([^`]+)` \| (.+?) \| (.+?) \|$/gm)].map(
  ([, name = "", taken = "", tried = ""]) => ({
    name,
    taken,
    tried: tried.split(", "),
  }),
)

it("names no version that nobody has", () => {
  expect(rows.length).toBeGreaterThan(10)
  for (const { name, tried } of rows)
    for (const version of tried) expect(locked).toContain(`${name} ${version}`)
})

it("says what package.json says", () => {
  const { engines, peerDependencies } = JSON.parse(read("package.json")) as {
    readonly engines: { readonly node: string }
    readonly peerDependencies: Readonly<Record<string, string>>
  }
  const takenOf = (name: string) => rows.find((row) => row.name === name)?.taken
  expect(takenOf("node")).toContain(`${engines.node.replace(">=", "")} and newer for the command line`)
  for (const [name, range] of Object.entries(peerDependencies)) {
    const [, major, minor] = /^>=(\d+)\.(\d+)\.0 <\d+$/.exec(range) ?? []
    expect(takenOf(name)).toMatch(new RegExp(`^${major}\\.${minor} and newer of ${major}: a peer dependency`))
    // The oldest one, too.
    expect(rows.find((row) => row.name === name)?.tried).toContain(`${major}.${minor}.0`)
  }
})
