/**
 * Brings what lies apart from the package's own dependencies, in folders with a lock file of their own, so that only who
 * runs the tests, the checks or the benches waits for it.
 */
import { spawn } from "node:child_process"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")

/** By folder: what is told while it is being installed. */
const APART = {
  "test/frameworks": "the frameworks and runtimes that the plugs are tried against (1.2 GB, once)",
  "test/types": "the compilers that the package's types are tried with (85 MB, once)",
  bench: "what the benches compare with and draw by (40 MB, once)",
} as const

/**
 * Installs what a folder's lock file names, where that was not done, or for another lock file.
 *
 * @throws {Error} with npm's own words, when npm fails
 */
export async function installApart(folder: keyof typeof APART): Promise<void> {
  const directory = join(root, folder)
  const wanted = readFileSync(join(directory, "package-lock.json"), "utf8")
  /** What was installed, to its end. */
  const marker = join(directory, "node_modules/.installed")
  if (existsSync(marker) && readFileSync(marker, "utf8") === wanted) return
  process.stderr.write(`Installing ${APART[folder]}…\n`)
  rmSync(marker, { force: true })
  // Not `npm ci`: it refuses a lock file in which a binary for another platform is missing.
  const npm = spawn(
    "npm",
    ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    { cwd: directory, stdio: ["ignore", "pipe", "pipe"] },
  )
  let output = ""
  for (const stream of [npm.stdout, npm.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text))
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    npm.once("error", reject).once("close", resolve)
  })
  if (code !== 0) throw new Error(`npm install in ${folder} failed:\n${output}`)
  writeFileSync(marker, wanted)
}

/** Those that are named, or all. */
if (import.meta.main) {
  const asked = process.argv.slice(2)
  const folders = Object.keys(APART) as (keyof typeof APART)[]
  // One after the other: npm shares a cache, and mostly waits for the network.
  for (const folder of folders) if (asked.length === 0 || asked.includes(folder)) await installApart(folder)
}
