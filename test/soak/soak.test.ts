import { execFile } from "node:child_process"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, onTestFinished, test } from "vitest"

const MAIN = join(import.meta.dirname, "main.ts")

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  readonly folder: string
}

/** Runs the checker as its user does. */
async function soak(...args: string[]): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-soak-results-"))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return new Promise((done) => {
    const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" }
    const all = [MAIN, "--results", folder, ...args]
    execFile(process.execPath, all, { env }, (error, stdout, stderr) => {
      done({ code: error ? Number(error.code) : 0, stdout, stderr, folder })
    })
  })
}

test("nothing is lost, and nothing is served too late, while parts fail", async () => {
  const { code, stdout, stderr, folder } = await soak("--seconds", "20", "--seed", "4")
  const result = JSON.parse(await readFile(join(folder, "soak.json"), "utf8"))
  expect(result.violations, stderr).toEqual([])
  expect(stdout).toContain("0 violations")
  expect(code).toBe(0)
  // It saw something: every change was acknowledged and its staleness is known, and parts did fail.
  expect(result.acknowledged).toBe(result.changes)
  const seen = result.staleness.map(({ changes }: { changes: number }) => changes)
  expect(seen.reduce((sum: number, one: number) => sum + one, 0)).toBe(2 * result.changes)
  expect(result.faults.length).toBeGreaterThan(5)
  expect(await readFile(join(folder, "soak.svg"), "utf8")).toMatch(/^<svg [^]*class="fault"[^]*<\/svg>\n$/)
})

test("it sees what is broken, and names the cache and the rule", async () => {
  const [epoch, purge] = await Promise.all(
    ["epoch", "purge"].map((part) => soak("--seconds", "20", "--seed", "5", "--no-faults", "--break", part)),
  )
  expect(epoch?.code).toBe(1)
  expect(epoch?.stdout).toMatch(/^ {2}Worker cache: bound +\d+$/m)
  expect(epoch?.stdout).not.toMatch(/^ {2}Varnish: \w+ +\d+$/m)
  expect(purge?.code).toBe(1)
  expect(purge?.stdout).toMatch(/^ {2}Varnish: purged +\d+$/m)
  expect(purge?.stdout).not.toMatch(/^ {2}Worker cache: \w+ +\d+$/m)
})
