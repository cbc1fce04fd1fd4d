// The files of test/types/user are what somebody writes who has installed the package: no compiler may complain.
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { exec, install, root } from "./support.ts"

const user = join(root, "test/types/user")

const COMPILERS = {
  "5.4": "test/types/node_modules/typescript-5.4",
  "5.9": "test/types/node_modules/typescript-5.9",
  "6": "test/types/node_modules/typescript-6",
  "7": "node_modules/typescript",
} as const

type Compiler = keyof typeof COMPILERS

/** The oldest that is taken, one in between, and the one that this repository has. */
const HONOS = [
  "test/types/node_modules/hono-oldest",
  "test/types/node_modules/hono-4.13.18",
  "node_modules/hono",
]

/** With the module format that goes with each. */
const RESOLUTIONS = { nodenext: "nodenext", node16: "node16", bundler: "esnext" } as const

/** What the plugs' types are held against, as it lies in test/frameworks. */
const FRAMEWORKS = ["@sveltejs/kit", "ocache"]

const versionOf = async (folder: string): Promise<string> =>
  (JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { readonly version: string }).version

let directory: string
/** One folder for each Hono; the last has all files. */
const sites: string[] = []

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-types-"))
  for (const hono of HONOS) {
    const version = await versionOf(join(root, hono))
    const site = join(directory, `hono-${version}`)
    await mkdir(site)
    const others = ["redis", "@types/node"].map(
      async (name) => `${name}@${await versionOf(join(root, "node_modules", name))}`,
    )
    await install(site, `hono@${version}`, ...(await Promise.all(others)))
    expect(await versionOf(join(site, "node_modules/hono"))).toBe(version)
    await cp(join(user, "hono.ts"), join(site, "hono.ts"))
    // Two packages of the same name and version are one to a compiler, whatever is beside each.
    const manifest = join(site, "node_modules/tidemark/package.json")
    await writeFile(
      manifest,
      (await readFile(manifest, "utf8")).replace(/("version": "[^"]+)"/, `$1-${version}"`),
    )
    sites.push(site)
  }
  const last = sites.at(-1) ?? ""
  await cp(user, last, { recursive: true })
  for (const name of FRAMEWORKS) {
    await mkdir(dirname(join(last, "node_modules", name)), { recursive: true })
    await symlink(join(root, "test/frameworks/node_modules", name), join(last, "node_modules", name))
  }
})

afterAll(() => rm(directory, { recursive: true, force: true }))

/** What a compiler says of files, a line each. */
async function complaints(
  compiler: Compiler,
  name: string,
  options: object,
  files: object,
): Promise<string[]> {
  const config = join(directory, `tsconfig.${name}.json`)
  const last = sites.at(-1) ?? ""
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    // The compiler's own.
    skipDefaultLibCheck: true,
    target: "es2022",
    types: ["node"],
    typeRoots: [join(last, "node_modules/@types")],
    ...options,
  }
  await writeFile(config, JSON.stringify({ compilerOptions, ...files }))
  const tsc = join(root, COMPILERS[compiler], "bin/tsc")
  const run = exec(process.execPath, [tsc, "-p", config, "--pretty", "false"], { cwd: directory })
  const said = await run.catch((error: Error) => error.message)
  const lines = said.split("\n").filter((line) => line.trim() !== "")
  // How it ended counts where it says nothing else.
  return lines.length > 1 ? lines.filter((line) => !line.includes(" ended with ")) : lines
}

describe.concurrent.for(Object.keys(COMPILERS) as Compiler[])("TypeScript %s", (compiler) => {
  it.for(Object.entries(RESOLUTIONS))("takes all of it by %s", async ([moduleResolution, module]) => {
    const options = { module, moduleResolution, lib: ["es2022", "dom", "dom.iterable"] }
    // How a module is found does not go by the version of Hono: the slower compilers look at each of them once.
    const isWhole = compiler === "7" || moduleResolution === "nodenext"
    const own = ["client.ts", "hono.ts", "config.ts", "worker.ts", "common.cts"]
    const include = isWhole ? ["hono-*/*"] : own.map((file) => join(sites.at(-1) ?? "", file))
    const files = { include, exclude: ["**/without-dom.ts"] }
    const lines = await complaints(compiler, `${compiler}-${moduleResolution}`, options, files)
    // Newer versions of Hono write their own types for TypeScript 5.7 and newer.
    const ours = compiler === "5.4" ? lines.filter((line) => !/node_modules\/hono\//.test(line)) : lines
    expect(ours).toEqual([])
  })

  it("takes what a server without the DOM's types imports", async () => {
    const options = { module: "nodenext", moduleResolution: "nodenext", lib: ["es2022"] }
    const files = { include: ["hono-*/without-dom.ts"] }
    expect(await complaints(compiler, `${compiler}-server`, options, files)).toEqual([])
  })
})

it("would see a fault", async () => {
  const last = sites.at(-1) ?? ""
  await writeFile(
    join(last, "fault.ts"),
    'import { withEpochCache } from "tidemark/fetch"\nwithEpochCache(1)\n',
  )
  const options = { module: "nodenext", moduleResolution: "nodenext", lib: ["es2022", "dom"] }
  const lines = await complaints("7", "fault", options, { files: [join(last, "fault.ts")] })
  expect(lines.join("\n")).toContain("fault.ts(2,1): error TS2554")
})
