/**
 * Brings the frameworks of `test/frameworks`, which the plugs are tried against: apart from the package's own
 * dependencies, so that only who runs the tests or the checks waits for them.
 */
import { spawn } from "node:child_process"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../test/frameworks")
const lock = join(root, "package-lock.json")
/** What was installed, to its end. */
const marker = join(root, "node_modules/.installed")

/**
 * Installs them where that was not done, or for another lock file.
 *
 * @throws {Error} with npm's own words, when npm fails
 */
export async function installFrameworks(): Promise<void> {
  const wanted = readFileSync(lock, "utf8")
  if (existsSync(marker) && readFileSync(marker, "utf8") === wanted) return
  process.stderr.write("Installing the frameworks that the plugs are tried against (600 MB, once)…\n")
  rmSync(marker, { force: true })
  // Not `npm ci`: it refuses a lock file in which a binary for another platform is missing.
  const npm = spawn(
    "npm",
    ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    },
  )
  let output = ""
  for (const stream of [npm.stdout, npm.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text))
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    npm.once("error", reject).once("close", resolve)
  })
  if (code !== 0) throw new Error(`npm install in test/frameworks failed:\n${output}`)
  writeFileSync(marker, wanted)
}

if (import.meta.main) await installFrameworks()
