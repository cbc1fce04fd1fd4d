import { existsSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { parseConfig } from "../protocol/config/config.ts"
import type { Config, ConfigInput } from "../protocol/config/schema.ts"
import { CliError } from "./exit.ts"
import { moduleFile } from "./package-root.ts"

const FILE_NAMES = ["tidemark.config.ts", "tidemark.config.js", "tidemark.config.mjs"]

export interface ConfigFile {
  readonly path: string
  /** Where `.tidemark/` and `.dev.vars` lie. */
  readonly directory: string
  /** As it was written. */
  readonly input: ConfigInput
  /** As it was read: defaults filled in, secrets still by name. */
  readonly config: Config
}

/**
 * Where the configuration is: the path that was given, else `TIDEMARK_CONFIG`, else one of the usual names in the
 * working directory. Undefined where nobody named one and none lies there; a path that was named need not exist.
 */
export function findConfigFile(given?: string): string | undefined {
  const named = given ?? process.env["TIDEMARK_CONFIG"]
  if (named) return resolve(named)
  return FILE_NAMES.map((name) => resolve(name)).find((path) => existsSync(path))
}

/** `parseConfig` for whoever looks something up; `checkConfig` for what is checked, started or deployed. */
type ConfigReader = (input: unknown) => Config

let loaded = 0

/**
 * Imports and reads the configuration; anew each time, so that a changed file is seen.
 *
 * @param given instead of what `findConfigFile` finds
 * @param read how strictly. Default: `parseConfig`
 * @throws {ConfigError} naming every mistake at once, by path, and no value
 * @throws {CliError} `usage`: there is no file, or it cannot be imported
 */
export async function loadConfigFile(given?: string, read: ConfigReader = parseConfig): Promise<ConfigFile> {
  const path = findConfigFile(given)
  if (path === undefined) {
    throw new CliError(
      "usage",
      `there is no configuration file: none of ${FILE_NAMES.join(", ")} lies here`,
      {
        lines: ["  name one by --config or TIDEMARK_CONFIG"],
      },
    )
  }
  if (!existsSync(path)) throw new CliError("usage", `there is no configuration file at ${path}`)
  const input = await importDefault(path)
  return { path, directory: dirname(path), input, config: read(input) }
}

/** The configuration that is named or lies here; else the demo's, and what `tidemark dev` writes lies here. */
export async function loadConfigFileOrDemo(
  given?: string,
  read: ConfigReader = parseConfig,
): Promise<ConfigFile> {
  if (findConfigFile(given) !== undefined) return loadConfigFile(given, read)
  return { ...(await loadConfigFile(moduleFile("tidemark.config"))), directory: process.cwd() }
}

async function importDefault(path: string): Promise<ConfigInput> {
  const url = pathToFileURL(path)
  // The module cache would answer with the file as it once was.
  url.search = `loaded=${process.pid}.${(loaded += 1)}`
  // Of this type only once it was read.
  let module: { readonly default?: ConfigInput }
  try {
    module = await import(url.href)
  } catch (error) {
    throw new CliError("usage", `${path} cannot be imported: ${reasonOf(error, url)}`, { cause: error })
  }
  if (module.default !== undefined) return module.default
  throw new CliError("usage", `${path} has no default export: export default defineConfig({ … })`)
}

/** The message and the line. Never the line's text, which the stack of a syntax error quotes: it may hold a secret. */
function reasonOf(error: unknown, url: URL): string {
  if (!(error instanceof Error)) return "it threw something that is no error"
  const place = /^:\d+(?::\d+)?/.exec((error.stack ?? "").split(url.search)[1] ?? "")?.[0]
  return place === undefined ? error.message : `${error.message} (line ${place.slice(1)})`
}
