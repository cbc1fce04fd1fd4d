/**
 * Holds the deployed Worker to its budget: what `wrangler deploy` would upload, as wrangler prints it and as gzip
 * makes of what it wrote. Every cold start reads all of it. Two Workers: that of a team with three CMSs, and the demo's.
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
function bundleInto(directory: string, config: string): string {
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
        TIDEMARK_CONFIG: join(root, config),
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

/** Whether the Worker of this configuration is within the budget; its size is said either way. */
function isWithin(config: string): boolean {
  const directory = mkdtempSync(join(tmpdir(), "tidemark-bundle-"))
  try {
    const printed = printedSize(bundleInto(directory, config))
    const measured = measuredSize(directory)
    const worst = Math.max(printed, measured)
    const verdict = worst > BUDGET ? "over the budget of" : "within"
    process.stdout.write(
      `${config}: ${(worst / KIB).toFixed(2)} KiB of gzip, ${verdict} ${BUDGET / KIB} KiB ` +
        `(${printed} bytes as wrangler prints it, ${measured} as measured)\n`,
    )
    return worst <= BUDGET
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

try {
  // The clone's own comes last: its entry, which both write, is what stays.
  const within = ["scripts/three-sources.config.ts", "tidemark.config.ts"].map(isWithin)
  if (within.includes(false)) process.exitCode = 1
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
