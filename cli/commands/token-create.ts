import { type Command, Option } from "commander"
import { ConfigError, parseConfig } from "../../protocol/config/config.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions, repeated } from "../options.ts"
import { print, printJson, tell, tellWarning } from "../output.ts"

interface TokenOptions extends CommonOptions {
  readonly scope: readonly string[]
  readonly tenant?: string
  readonly expires?: string
}

/** `tidemark token create`: makes one, and stores nothing. */
export function addTokenCreate(parent: Command): void {
  const command = parent
    .command("create")
    .summary("make a token, and the line for the configuration file")
    .description(
      "Makes a token. It is printed once, on standard output, and stored nowhere; the line for the configuration file, which holds only its hash, is printed on standard error.",
    )
    .argument("<name>", "what records and logs call it: lower-case letters, digits and '-'")
    .addOption(
      new Option("--scope <scope>", "what it may do; may be repeated")
        .argParser(repeated)
        .makeOptionMandatory(),
    )
    .option("--tenant <tenant>", "whose namespaces it is for (default: default)")
    .option("--expires <day>", 'the day on which it ends, at 00:00 UTC, such as "2027-01-31"')
  addCommonOptions(command, "makes").action(exitsWith(createToken))
  addHelp(command, {
    notes: [
      "Scopes: publish:<pattern>, read:<pattern>, epochs:<pattern>, events:<pattern>, everything, metrics, operate. A\npattern is '*', or a namespace and all below it. None implies another.",
      "To revoke a token, remove its line and deploy. To rotate it, let sha256 list both hashes for a while.",
    ],
    examples: [
      [
        "tidemark token create deploy --scope 'publish:*' --scope 'read:*' > deploy.token",
        "for a deploy script",
      ],
      ["tidemark token create site --scope epochs:blog", "for readers at request time"],
    ],
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
  if (options.json) printJson({ token, ...entry })
  else print(token)
  tell("add this to tokens in the configuration file, and deploy:")
  tell(`  ${lineOf(entry)}`)
  return EXIT.done
}

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
    ([key, value]) => `${key}: ${JSON.stringify(value).replaceAll('","', '", "')}`,
  )
  return `{ ${members.join(", ")} },`
}
