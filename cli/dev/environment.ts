import { randomBytes } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { parseEnv } from "node:util"
import { type MissingSecret, resolveSecrets } from "../../protocol/config/config.ts"
import type { Config } from "../../protocol/config/schema.ts"
import { newToken } from "../../protocol/tokens.ts"
import { makeOwnFolder } from "../token-file.ts"
import { writePrivate } from "../private-file.ts"

/** The secrets of development: the environment's, then `.dev.vars`, then those that `dev` made up itself. */
export interface DevEnvironment {
  readonly vars: Readonly<Record<string, string>>
  readonly token: string
  readonly tokenFile: string
  /** Targets that miss a secret, with the names of those. */
  readonly off: Record<string, readonly string[]>
  /** Tokens whose hashes are nowhere. */
  readonly withoutHash: readonly string[]
}

/** Where `dev` keeps the secrets that it made up. */
const OWN_VARS = join(".tidemark", "dev.vars")

const readVars = (path: string): Record<string, string> =>
  existsSync(path) ? { ...(parseEnv(readFileSync(path, "utf8")) as Record<string, string>) } : {}

/** What a directory and the environment hold of variables: the environment's, then `.dev.vars`, then `dev`'s own. */
export function heldVars(directory: string, env: NodeJS.ProcessEnv): Record<string, string> {
  const given = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return {
    ...readVars(join(directory, OWN_VARS)),
    ...readVars(join(directory, ".dev.vars")),
    ...Object.fromEntries(given),
  }
}

/** A secret in the form that a source's sender would have made it. */
export const newSourceSecret = (type: string): string =>
  ["payload", "standard-webhooks", "wordpress"].includes(type)
    ? `whsec_${randomBytes(32).toString("base64")}`
    : // Contentful's have exactly 64 characters; no other sender minds.
      randomBytes(48).toString("base64url")

/**
 * Collects what development runs with, in `directory`, where the configuration lies. Makes up a secret for each
 * source that has none, and a token where there is none, and keeps both for the next start.
 */
export function prepareEnvironment(
  config: Config,
  directory: string,
  env: NodeJS.ProcessEnv,
): DevEnvironment {
  const folder = makeOwnFolder(directory)
  const ownPath = join(directory, OWN_VARS)
  const own = readVars(ownPath)
  const vars = heldVars(directory, env)
  const { missing } = resolveSecrets(config, vars)
  const of = (part: string): MissingSecret[] => missing.filter(({ path }) => path.startsWith(`${part}.`))
  const made: Record<string, string> = {}
  for (const { path, name } of of("sources")) {
    made[name] ??= newSourceSecret(config.sources[path.split(".")[1] ?? ""]?.type ?? "")
  }
  if (Object.keys(made).length > 0) {
    const lines = Object.entries({ ...own, ...made }).map(([name, value]) => `${name}="${value}"\n`)
    writePrivate(ownPath, `# Made up by tidemark dev; no deployed part knows them.\n${lines.join("")}`)
  }
  const off: Record<string, string[]> = {}
  for (const { path, name } of of("targets")) (off[path.split(".")[1] ?? ""] ??= []).push(name)
  const withoutHash = of("tokens").flatMap(
    ({ path }) => config.tokens[Number(path.split(".")[1])]?.name ?? [],
  )
  const tokenFile = join(folder, "dev.token")
  return {
    vars: { ...vars, ...made },
    token: devToken(tokenFile, env.TIDEMARK_TOKEN),
    tokenFile,
    off,
    withoutHash,
  }
}

/** The token of development: as given, else the one that an earlier start left, which another may be using. */
function devToken(file: string, given: string | undefined): string {
  const kept = existsSync(file) ? readFileSync(file, "utf8").trim() : ""
  const token = given || kept || newToken()
  if (token !== kept) writePrivate(file, `${token}\n`)
  return token
}
