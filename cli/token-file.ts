import { spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { parseEnv } from "node:util"
import { CliError } from "./exit.ts"

/** Files that hold what may do something: only their owner reads them, and git never sees them. */

const OWNER_ONLY = 0o600

/** `.tidemark/` beside a configuration, which ignores itself: not every repository has a line for it. */
export function makeOwnFolder(directory: string): string {
  const folder = join(directory, ".tidemark")
  mkdirSync(folder, { recursive: true })
  const ignore = join(folder, ".gitignore")
  if (!existsSync(ignore)) writeFileSync(ignore, "*\n")
  return folder
}

export interface NewToken {
  /** Where the configuration lies. */
  readonly directory: string
  readonly name: string
  /** Under which name the configuration reads the hash, the first of them that is not held yet. */
  readonly variables: readonly [string, ...string[]]
  readonly token: string
  readonly sha256: string
}

export interface WrittenToken {
  /** Path of the file with the token. */
  readonly tokenFile: string
  /** Path of the file with the hash, and its name there. */
  readonly varsFile: string
  readonly variable: string
}

/**
 * Writes a token to `.tidemark/<name>.token` and its hash to `.dev.vars`, both for their owner alone.
 *
 * @throws {CliError} `usage`, and neither is written: one of them is there already, or git would not ignore it
 */
export function writeToken({ directory, name, variables, token, sha256 }: NewToken): WrittenToken {
  if (name === "dev") throw refusal("dev.token is that of tidemark dev: give the token another name")
  const tokenFile = join(makeOwnFolder(directory), `${name}.token`)
  const varsFile = join(directory, ".dev.vars")
  const vars = existsSync(varsFile) ? readFileSync(varsFile, "utf8") : ""
  const held = parseEnv(vars)
  const variable = variables.find((each) => !held[each])
  if (existsSync(tokenFile)) {
    throw refusal(`${shown(tokenFile)} is there already: move it away, as somebody may be using its token`)
  }
  if (variable === undefined) {
    throw refusal(
      `${shown(varsFile)} holds ${variables.join(" and ")} already: take it out, or let sha256 list a second secret("…") while both count`,
    )
  }
  for (const file of [tokenFile, varsFile]) requireIgnored(file)
  // A file that appeared meanwhile is somebody's token too.
  writeFileSync(tokenFile, `${token}\n`, { mode: OWNER_ONLY, flag: "wx" })
  try {
    const before = vars === "" || vars.endsWith("\n") ? vars : `${vars}\n`
    writeFileSync(varsFile, `${before}${variable}=${sha256}\n`, { mode: OWNER_ONLY })
    // The mode counts for a new file only.
    chmodSync(varsFile, OWNER_ONLY)
  } catch (error) {
    rmSync(tokenFile)
    throw error
  }
  return { tokenFile, varsFile, variable }
}

const refusal = (message: string): CliError => new CliError("usage", `no token was made: ${message}`)

/** As one would type it. */
export const shown = (file: string): string => relative(process.cwd(), file)

/** @throws {CliError} `usage` */
function requireIgnored(file: string): void {
  if (!isInRepository(dirname(file))) return
  // With the index: what is tracked is committed again, whatever any .gitignore says.
  const { status } = spawnSync("git", ["check-ignore", "--quiet", file], {
    cwd: dirname(file),
    stdio: "ignore",
  })
  if (status === 0) return
  throw refusal(
    status === 1
      ? `git would not ignore ${shown(file)}: add it to .gitignore, or stop tracking it`
      : `git does not tell whether it ignores ${shown(file)}`,
  )
}

function isInRepository(directory: string): boolean {
  if (existsSync(join(directory, ".git"))) return true
  const above = dirname(directory)
  return above !== directory && isInRepository(above)
}
