import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import { folder, LAUNCHER, run } from "./testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const SENTENCE = /^tidemark needs Node 22\.19 or newer, and this is Node \d+\.\d+\.\d+\.\n$/

/** Node's own number as another; `registerHooks` taken away where asked. */
const asNode = (version: string): string[] => [
  "--import",
  `data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"${version}"}})`,
]

/** A Node that is too old, where this machine has one. */
function findOldNode(): string | undefined {
  return ["/usr/bin/node", "/usr/local/bin/node"].find((path) => {
    try {
      const version = execFileSync(path, ["--version"], { encoding: "utf8" })
      return Number(/^v(\d+)/.exec(version)?.[1]) < 22
    } catch {
      return false
    }
  })
}

describe("the Node version", () => {
  it.for(["20.19.0", "22.18.9", "18.0.0"])("refuses %s in one sentence", async (version) => {
    const { code, stdout, stderr } = await run(["--version"], { nodeArgs: asNode(version) })
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toMatch(SENTENCE)
  })

  it.for(["22.19.0", "23.5.0", "24.0.0"])("takes %s", async (version) => {
    expect(await run(["--version"], { nodeArgs: asNode(version) })).toMatchObject({ code: 0, stderr: "" })
  })

  it("refuses a real old one in one sentence", async (context) => {
    const node = findOldNode()
    if (node === undefined) {
      process.stderr.write("skipped: this machine has no Node older than 22\n")
      context.skip()
      return
    }
    for (const args of [["dev"], ["relay"], ["--help"]]) {
      const { code, stdout, stderr } = await run(args, { node })
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
      expect(stderr).toMatch(SENTENCE)
    }
  })
})

/** What its `exports` name, and where that lies. */
const ENTRIES = [
  ["tidemark/config", "protocol/config/define"],
  ["tidemark/worker", "worker/index"],
  ["tidemark/client", "client/index"],
  ["tidemark/hono", "client/hono"],
] as const

/** A package of stand-ins around the real launcher; each says who it is, and what it was given. */
function layOut(root: string, { built }: { built: boolean }): string {
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const module = (name: string, text: string) => put(built ? `dist/${name}.js` : `${name}.ts`, text)
  const program = (name: string, text: string) => module(built ? `programs/${name}` : name, text)
  const part = (name: string) =>
    `export async function main(args${built ? "" : ": readonly string[]"}) {
       process.stdout.write(JSON.stringify(["${name}", ...args]))
     }`
  const exports = Object.fromEntries(
    ENTRIES.map(([name, file]) => [name.replace("tidemark", "."), `./dist/${file}.js`]),
  )
  put("package.json", JSON.stringify({ name: "tidemark", type: "module", exports }))
  mkdirSync(join(root, "cli"))
  copyFileSync(LAUNCHER, join(root, "cli/tidemark.js"))
  program("relay-node/main", part("relay"))
  program("relay-node/gateway/main", part("gateway"))
  for (const [, file] of ENTRIES) module(file, `export const name = "${file}"`)
  program(
    "cli/main",
    `import { pathToFileURL } from "node:url"
     export async function main(args${built ? "" : ": readonly string[]"}, startPart) {
       if (args[0] === "break") throw new Error("it broke")
       if (args[0] === "import") await import(pathToFileURL(args[1]).href)
       else if (args[0] === "relay") await startPart("relay", ["--from-main"])
       else process.stdout.write(JSON.stringify(["main", ...args]))
     }`,
  )
  return join(root, "cli/tidemark.js")
}

describe.for([
  { layout: "a clone", built: false },
  { layout: "a published package", built: true },
])("in $layout", ({ built }) => {
  it.for([
    [["relay"], ["relay"]],
    [["gateway"], ["gateway"]],
    // With arguments the command line has a look first.
    [
      ["relay", "--help"],
      ["relay", "--from-main"],
    ],
    [
      ["publish", "relay"],
      ["main", "publish", "relay"],
    ],
    [[], ["main"]],
  ])("runs %j", async ([args = [], expected]) => {
    await using root = await folder()
    const launcher = layOut(root.path, { built })
    const { code, stdout, stderr } = await run(args, { launcher })
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(JSON.parse(stdout)).toEqual(expected)
  })

  it("resolves tidemark/… to itself, wherever the importing file lies", async () => {
    await using root = await folder()
    await using elsewhere = await folder()
    // Another tidemark is installed there: it is not the one that is running.
    const other = join(elsewhere.path, "node_modules/tidemark")
    mkdirSync(other, { recursive: true })
    writeFileSync(
      join(other, "package.json"),
      '{ "name": "tidemark", "exports": { "./config": "./config.js" } }',
    )
    writeFileSync(join(other, "config.js"), "throw new Error('the wrong one')")
    const file = join(elsewhere.path, "importing.mjs")
    const entries = ["config", "worker", "client", "hono"]
    writeFileSync(
      file,
      `const names = []
       for (const entry of ${JSON.stringify(entries)}) names.push((await import("tidemark/" + entry)).name)
       process.stdout.write(JSON.stringify(names))`,
    )
    const { code, stdout, stderr } = await run(["import", file], { launcher: layOut(root.path, { built }) })
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(JSON.parse(stdout)).toEqual([
      "protocol/config/define",
      "worker/index",
      "client/index",
      "client/hono",
    ])
  })

  it("tells a failure that nobody caught, and exits 1", async () => {
    await using root = await folder()
    const launcher = layOut(root.path, { built })
    expect(await run(["break"], { launcher })).toEqual({
      code: 1,
      stdout: "",
      stderr: "tidemark: it broke\n",
    })
  })
})
