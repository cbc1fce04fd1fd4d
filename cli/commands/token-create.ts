import { type Command, Option } from "commander"
import { ConfigError, parseConfig } from "../../protocol/config/config.ts"
import { isSecret } from "../../protocol/config/secret.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import { type ConfigFile, findConfigFile, loadConfigFile } from "../config-file.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions, repeated } from "../options.ts"
import { print, printJson, tell, tellWarning } from "../output.ts"
import { type NewToken, shown, writeToken } from "../token-file.ts"

interface TokenOptions extends CommonOptions {
  readonly scope: readonly string[]
  readonly tenant?: string
  readonly expires?: string
  readonly write?: boolean
}

/** `tidemark token create`: makes one, and stores nothing unless it is told to. */
export function addTokenCreate(parent: Command): void {
  const command = parent
    .command("create")
    .summary("make a token, and the line for the configuration file")
    .description(
      "Makes a token. It is printed once, on standard output, and stored nowhere; the line for the configuration file, which holds only its hash, is printed on standard error. Where the configuration reads the hash by secret(…), that is the line for the environment.",
    )
    .argument("<name>", "what records and logs call it: lower-case letters, digits and '-'")
    .addOption(
      new Option("--scope <scope>", "what it may do; may be repeated")
        .argParser(repeated)
        .makeOptionMandatory(),
    )
    .option("--tenant <tenant>", "whose namespaces it is for (default: default)")
    .option("--expires <day>", 'the day on which it ends, at 00:00 UTC, such as "2027-01-31"')
    .option(
      "--write",
      "keep the token in .tidemark/<name>.token and its hash in .dev.vars, and print neither",
    )
  addCommonOptions(command, "reads").action(exitsWith(createToken))
  addHelp(command, {
    notes: [
      "Scopes: publish:<pattern>, read:<pattern>, epochs:<pattern>, events:<pattern>, everything, metrics, operate,\ndrain, fleet. A pattern is '*', or a namespace and all below it. None implies another.",
      "With --write standard output has the path of the token's file. Only its owner can read it, and it is not written\nwhere git would not ignore it. The hash is no secret; .dev.vars is where `wrangler dev`, `wrangler secret bulk` and\n`tidemark dev` read it.",
      "To revoke a token, remove its line and deploy. To rotate it, let sha256 list both hashes for a while.",
    ],
    examples: [
      ["tidemark token create deploy --scope 'publish:*' --scope 'read:*' --write", "for a deploy script"],
      ["tidemark token create site --scope epochs:blog", "for readers at request time"],
    ],
    environment: ["TIDEMARK_CONFIG"],
    exits: ["done", "usage"],
  })
}

async function createToken(name: string, options: TokenOptions): Promise<ExitCode> {
  const { scope, tenant, expires } = options
  const token = newToken()
  const entry = {
    name,
    sha256: await hashToken(token),
    scopes: scope,
    ...(tenant === undefined ? {} : { tenant }),
    ...(expires === undefined ? {} : { expires }),
  }
  checkEntry(entry)
  if (expires !== undefined && Date.parse(expires) <= Date.now())
    tellWarning("that day is over: nobody will take it")
  const file = await configurationOf(options)
  const variables = variablesOf(file, name)
  const own = file?.config.tokens.find((each) => each.name === name)
  if (own && !hasSameScopes(own.scopes, scope))
    tellWarning(`the configuration gives ${name} other scopes, and those count: ${own.scopes.join(", ")}`)
  if (options.write) {
    const directory = file?.directory ?? process.cwd()
    const [first = `${name.replaceAll("-", "_").toUpperCase()}_TOKEN_SHA256`, ...others] = variables
    keep(
      { directory, name, variables: [first, ...others], token, sha256: entry.sha256 },
      entry,
      options,
      file,
    )
    return EXIT.done
  }
  if (options.json) printJson({ token, ...entry })
  else print(token)
  if (variables.length > 0) {
    tell("the configuration reads its hash by name; give it to the Worker and the relay as that:")
    tell(`  ${variables[0]}=${entry.sha256}`)
  } else {
    tell("add this to tokens in the configuration file, and deploy:")
    tell(`  ${lineOf(entry)}`)
  }
  return EXIT.done
}

/** Writes both files, and tells where they are and what the configuration still lacks. @throws {CliError} `usage` */
function keep(
  made: NewToken,
  entry: { readonly name: string; readonly sha256: string },
  { json }: TokenOptions,
  file: ConfigFile | undefined,
): void {
  const written = writeToken(made)
  const { tokenFile, varsFile, variable } = written
  if (json) printJson({ ...entry, ...written })
  else print(shown(tokenFile))
  tell(`the token is in ${shown(tokenFile)}, which only you can read and git ignores`)
  tell(`its hash is in ${shown(varsFile)}, as ${variable}`)
  if (variablesOf(file, entry.name).includes(variable)) return
  tell("add this to tokens in the configuration file, in place of any of that name, and deploy:")
  tell(`  ${lineOf({ ...entry, sha256: { secret: variable } })}`)
}

/**
 * The configuration, where one is named or lies here. What is printed needs none: one with mistakes is no reason to make
 * no token.
 *
 * @throws {ConfigError | CliError} of one that is to be written for
 */
async function configurationOf({ config, write }: TokenOptions): Promise<ConfigFile | undefined> {
  if (findConfigFile(config) === undefined) return undefined
  try {
    return await loadConfigFile(config)
  } catch (error) {
    if (write || !(error instanceof ConfigError || error instanceof CliError)) throw error
    return undefined
  }
}

/** The names by which the configuration reads the hashes of a token. */
function variablesOf(file: ConfigFile | undefined, name: string): string[] {
  const own = file?.config.tokens.find((token) => token.name === name)
  return [own?.sha256 ?? []].flat().flatMap((hash) => (isSecret(hash) ? [hash.secret] : []))
}

const hasSameScopes = (one: readonly string[], other: readonly string[]): boolean =>
  one.every((scope) => other.includes(scope)) && other.every((scope) => one.includes(scope))

/** @throws {CliError} `usage`: what the configuration's own schema would say of it */
function checkEntry(entry: object): void {
  try {
    parseConfig({ tokens: [entry] })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const faults = error.faults.map(({ path, detail }) => ({
      path: path.replace(/^tokens\.0\.?/, ""),
      detail,
    }))
    const message = "no token was made"
    throw new CliError("usage", message, {
      json: { code: "usage", detail: message, errors: faults },
      lines: faults.map(({ path, detail }) => `  ${path}: ${detail}`),
    })
  }
}

/** As a person writes it: members without quotes. */
function lineOf(entry: Readonly<Record<string, unknown>>): string {
  const members = Object.entries(entry).map(
    ([key, value]) =>
      `${key}: ${isSecret(value) ? `secret("${value.secret}")` : JSON.stringify(value).replaceAll('","', '", "')}`,
  )
  return `{ ${members.join(", ")} },`
}
