/**
 * Holds the deployed Worker to its budget: what `wrangler deploy` would upload, as wrangler prints it and as gzip
 * makes of what it wrote. Every cold start reads all of it.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"

const KIB = 1_024
const BUDGET = 64 * KIB

const root = join(import.meta.dirname, "..")

/** What wrangler would upload, and what it says about that. Nothing leaves this machine. */
function bundleInto(directory: string): string {
  const wrangler = join(root, "node_modules/wrangler/bin/wrangler.js")
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [wrangler, "deploy", "--dry-run", "--outdir", directory],
    {
      cwd: root,
      encoding: "utf8",
      env: {
        ...process.env,
        // The custom build is an npm script, and finds this Node.
        PATH: `${join(process.execPath, "..")}:${process.env["PATH"]}`,
        CLOUDFLARE_CF_FETCH_ENABLED: "false",
        WRANGLER_SEND_METRICS: "false",
        WRANGLER_HIDE_BANNER: "true",
      },
    },
  )
  if (status !== 0) throw new Error(`wrangler deploy --dry-run failed:\n${stdout}${stderr}`)
  return stdout
}

/** In bytes, from `Total Upload: 200.35 KiB / gzip: 59.15 KiB`. */
function printedSize(output: string): number {
  const [, size, unit] = /gzip: ([\d.]+) (KiB|MiB)/.exec(output) ?? []
  if (size === undefined) throw new Error(`wrangler printed no size:\n${output}`)
  return Math.round(Number(size) * (unit === "MiB" ? KIB * KIB : KIB))
}

function measuredSize(directory: string): number {
  const modules = readdirSync(directory).filter((name) => /\.(?:m?js|wasm)$/.test(name))
  if (modules.length === 0) throw new Error("wrangler wrote no module")
  return modules.reduce((sum, name) => sum + gzipSync(readFileSync(join(directory, name))).length, 0)
}

const directory = mkdtempSync(join(tmpdir(), "tidemark-bundle-"))
try {
  const printed = printedSize(bundleInto(directory))
  const measured = measuredSize(directory)
  const worst = Math.max(printed, measured)
  const verdict = worst > BUDGET ? "over the budget of" : "within"
  process.stdout.write(
    `Worker: ${(worst / KIB).toFixed(2)} KiB of gzip, ${verdict} ${BUDGET / KIB} KiB ` +
      `(${printed} bytes as wrangler prints it, ${measured} as measured)\n`,
  )
  if (worst > BUDGET) process.exitCode = 1
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
