import { spawn } from "node:child_process"
import { mkdtemp, realpath, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { build } from "esbuild"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"

/**
 * Runtimes that a site may run on: this process's own Node, the oldest Node 20 that Next.js 16 runs on, Bun and Deno.
 * The latter three are those of test/frameworks/package.json. workerd has a project of its own, `--project workerd`.
 */
export type Runtime = "node" | "node20" | "bun" | "deno"

export const RUNTIMES: readonly Runtime[] = ["node", "node20", "bun", "deno"]

/** Longer than any script here takes: one that hangs ends with a sentence, and is not left behind. */
const DEADLINE_MS = 60_000

const require = createRequire(import.meta.url)

/**
 * Runs a script in a runtime, to its end. It is bundled first, as a site is, so it may import our sources, `tidemark/…`
 * and packages; what it imports of Node (`node:…`) is the runtime's.
 *
 * @param entry path of a `.ts` or `.js` module; it ends by itself, and says on standard output what became of it
 * @param args what follows the script on the command line. Default: nothing
 * @param env all of its environment, apart from `PATH`. Default: nothing
 * @returns the lines of its standard output, without empty ones
 * @throws {Error} with what it printed, when it ends with another status than 0 or runs for more than 60 s; and where the
 * script does not compile or this platform has no such runtime
 */
export async function runIn(
  runtime: Runtime,
  entry: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  // Outside of every package: the bundle has to have all that it needs.
  return inDirectory(async (directory) => {
    const file = join(directory, "script.mjs")
    await bundle(entry, file)
    return runBuilt(runtime, file, args, env)
  })
}

/**
 * Runs a script as it is, as `runIn` runs what it has bundled: what it imports lies in `node_modules` beside it.
 *
 * @param file path of a `.mjs` module
 */
export async function runBuilt(
  runtime: Runtime,
  file: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  return inDirectory((home) =>
    run(runtime, [...COMMANDS[runtime], file, ...args], {
      PATH: process.env["PATH"] ?? "",
      // Where they would keep things: nothing of the user's is read, and nothing stays.
      HOME: home,
      DENO_DIR: join(home, "deno"),
      DENO_NO_UPDATE_CHECK: "1",
      DO_NOT_TRACK: "1",
      ...env,
    }),
  )
}

async function inDirectory<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(join(await realpath(tmpdir()), "tidemark-runtime-"))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** What follows the program's name. */
const COMMANDS: Readonly<Record<Runtime, readonly string[]>> = {
  node: [],
  node20: [],
  bun: ["run", "--no-install"],
  deno: [
    "run",
    "--quiet",
    "--allow-all",
    "--no-config",
    "--no-lock",
    "--no-remote",
    "--node-modules-dir=manual",
  ],
}

/** The program, in the package for this platform: those are installed without their scripts, which would link it. */
export function programOf(runtime: Runtime): string {
  if (runtime === "node") return process.execPath
  const arm = process.arch === "arm64"
  const candidates = {
    node20: [`node20-${process.platform}-${process.arch}/bin/node`],
    bun: [`@oven/bun-${process.platform}-${arm ? "aarch64" : process.arch}/bin/bun`],
    deno: ["-glibc", ""].map((libc) => `@deno/${process.platform}-${process.arch}${libc}/deno`),
  }[runtime]
  for (const candidate of candidates) {
    const [, name = "", file = ""] = /^((?:@[^/]+\/)?[^/]+)\/(.+)$/.exec(candidate) ?? []
    try {
      return join(dirname(require.resolve(`${name}/package.json`)), file)
    } catch {
      // Not the one for this platform.
    }
  }
  throw new Error(`test/frameworks has no ${runtime} for ${process.platform}-${process.arch}`)
}

async function bundle(entry: string, outfile: string): Promise<void> {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: "esm",
    // What every one of them knows.
    target: "es2023",
    platform: "neutral",
    mainFields: ["module", "main"],
    external: ["node:*"],
    alias: { ...PACKAGE_EXPORTS },
    logLevel: "silent",
  })
}

function run(runtime: Runtime, args: readonly string[], env: Record<string, string>): Promise<string[]> {
  const child = spawn(programOf(runtime), args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: DEADLINE_MS,
    killSignal: "SIGKILL",
  })
  let [stdout, stderr] = ["", ""]
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
  return new Promise((resolve, reject) => {
    child.once("error", reject).once("close", (code, signal) => {
      if (code === 0) resolve(stdout.split(/\r?\n/).filter((line) => line !== ""))
      else reject(new Error(`${runtime} ended with ${signal ?? code}:\n${stdout}${stderr}`))
    })
  })
}
