import { execFile } from "node:child_process"
import { lstat, mkdtemp, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inject, onTestFinished } from "vitest"

export const root = join(import.meta.dirname, "../..")

interface ExecOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** What a program printed on standard output. Rejects, with all that it printed, unless it exits with 0. */
export function exec(
  file: string,
  args: readonly string[],
  { cwd, env = process.env }: ExecOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { cwd, env, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${file} ${args.join(" ")} ended with ${error.code}:\n${stdout}${stderr}`))
    })
  })
}

/** A directory that goes when the test has ended. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-package-"))
  onTestFinished(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }))
  return directory
}

/** An empty folder in which the package, and others by `name@version`, were installed as a user does it. */
export async function install(directory: string, ...others: readonly string[]): Promise<void> {
  await writeFile(join(directory, "package.json"), '{ "name": "site", "private": true, "type": "module" }')
  // What `npm ci` has brought is not fetched once more.
  const args = ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
  await exec("npm", [...args, inject("tarball"), ...others], { cwd: directory })
}

/** Of a folder on disk, in bytes, by whole blocks: as `du` says. */
export async function diskUsage(path: string): Promise<number> {
  const { blocks } = await lstat(path)
  const entries = await readdir(path, { withFileTypes: true })
  const sizes = await Promise.all(
    entries.map(async (entry) => {
      const below = join(path, entry.name)
      return entry.isDirectory() ? diskUsage(below) : (await lstat(below)).blocks * 512
    }),
  )
  return sizes.reduce((sum, size) => sum + size, blocks * 512)
}
