import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { join } from "node:path"
import type * as Esbuild from "esbuild"
import type * as Miniflare from "miniflare"
import { packageRoot } from "../package-root.ts"
import { type FetchPlace, provision, type ProvisionOptions, type Recipe } from "../servers/provision.ts"
import { run } from "../servers/run.ts"

/**
 * What bundles and serves Workers on this machine. A clone has it from `npm ci`. An installed package does not bring it:
 * it is 190 MB that no site needs, and is fetched when `tidemark dev` first does.
 */
export interface DevTools {
  readonly esbuild: typeof Esbuild
  readonly miniflare: typeof Miniflare
}

export const DEV_TOOLS = ["esbuild", "miniflare"] as const satisfies (keyof DevTools)[]

/** Written by the build: the very versions that a clone runs, and theirs, with their digests. */
const LOCK = join(packageRoot, "dist/dev-tools.lock.json")

/** For all of them over a slow line, some 60 MB as they are downloaded. */
const NPM_TIMEOUT_MS = 300_000

/** Ends with an error unless both run here: a folder may be shared with another kind of machine, or have lost files. */
const PROBE = `
  require("esbuild").transformSync("")
  const { default: workerd } = require("node:module").createRequire(require.resolve("miniflare"))("workerd")
  require("node:child_process").execFileSync(workerd, ["--version"], { stdio: "ignore" })`

/**
 * The folder that the tools are to be loaded from: this package's own where it finds them in the versions that it is tried
 * with, or one in the user's cache directory, where npm puts them the first time. Safe to call from several processes at
 * once.
 *
 * @throws {Error} when there are none to be had, in one sentence that says what to do; `cause` has the details
 */
export function findDevTools(options: ProvisionOptions = {}): Promise<string> {
  const { devDependencies: pinned } = readJson(join(packageRoot, "package.json")) as {
    readonly devDependencies: Readonly<Record<string, string>>
  }
  const digest = existsSync(LOCK) ? createHash("sha256").update(readFileSync(LOCK)).digest("hex") : ""
  const recipe: Recipe<string> = {
    name: DEV_TOOLS.join(" and "),
    folder: `dev-tools-${digest.slice(0, 12)}`,
    advice: `see to it that npm runs and reaches its registry, or install ${DEV_TOOLS.map((name) => `${name}@${pinned[name]}`).join(" and ")} beside tidemark`,
    isShared: true,
    find: async () =>
      DEV_TOOLS.every((name) => versionIn(packageRoot, name) === pinned[name]) ? packageRoot : undefined,
    fetch: fetchTools,
    async getFromTree(tree) {
      await run(process.execPath, ["--input-type=commonjs", "--eval", PROBE], { cwd: tree })
      return tree
    },
  }
  return provision(recipe, options)
}

/** @param folder what `findDevTools` answered. Default: this package's own, which has them in a clone */
export const loadTool = <Name extends keyof DevTools>(
  name: Name,
  folder: string = packageRoot,
): DevTools[Name] => createRequire(join(folder, "package.json"))(name) as DevTools[Name]

async function fetchTools({ tree, path, onProgress, signal }: FetchPlace): Promise<void> {
  if (!existsSync(LOCK)) throw new Error("npm ci brings them")
  const lock = readJson(LOCK) as { readonly packages: { readonly "": object } }
  await mkdir(tree)
  await writeFile(join(tree, "package.json"), JSON.stringify(lock.packages[""]))
  await writeFile(join(tree, "package-lock.json"), JSON.stringify(lock))
  onProgress(`fetching ${DEV_TOOLS.join(" and ")} with npm (190 MB on disk, once) …`)
  // Whatever npm was told for the project that this is started in: its platform's binaries are what counts here.
  const settings = ["--no-global", "--no-dry-run", "--include=prod", "--include=optional"]
  // Two more tries, within seconds: whoever has no network is told so soon.
  const network = ["--prefer-offline", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
  await run("npm", ["ci", ...settings, ...network, ...quiet], {
    cwd: tree,
    env: { ...process.env, PATH: path },
    timeout: NPM_TIMEOUT_MS,
    signal,
  })
}

function versionIn(folder: string, name: string): string | undefined {
  try {
    const { version } = createRequire(join(folder, "package.json"))(`${name}/package.json`) as {
      readonly version: string
    }
    return version
  } catch {
    return undefined
  }
}

const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"))
