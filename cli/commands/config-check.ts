import type { Command } from "commander"
import { borderFaults, checkConfig, configWarnings } from "../../protocol/config/checks.ts"
import { ConfigError, type MissingSecret, resolveSecrets } from "../../protocol/config/config.ts"
import type { Config } from "../../protocol/config/schema.ts"
import { type SecretFault, secretFaults } from "../../protocol/config/secret-forms.ts"
import { type ConfigFile, findConfigFile, loadConfigFile } from "../config-file.ts"
import { heldVars } from "../dev/environment.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions } from "../options.ts"
import { paint, print, printJson, tellWarning } from "../output.ts"
import { table } from "../table.ts"

/** `tidemark config check`: every mistake at once, and what the configuration amounts to. */
export function addConfigCheck(parent: Command): void {
  const command = parent
    .command("check")
    .summary("report every mistake of the configuration at once")
    .description("Reads the configuration file, reports every mistake by its path, and sums up what it says.")
  addCommonOptions(command, "reads").action(exitsWith(check))
  addHelp(command, {
    notes: [
      "A secret that the environment and .dev.vars lack is a warning: the Worker and the relay may hold it where they\nrun. One that they hold, and that cannot be right, is a mistake.",
    ],
    examples: [["tidemark config check --config deploy/tidemark.config.ts", "another file"]],
    environment: ["TIDEMARK_CONFIG"],
    exits: ["done", "usage"],
  })
}

async function check({ config: given, json }: CommonOptions): Promise<ExitCode> {
  const file = await load(given)
  const held = heldVars(file.directory, process.env)
  refuseWrongSecrets(file, secretFaults(file.config, held))
  const missing = missingSecrets(resolveSecrets(file.config, held).missing)
  const warnings = configWarnings(file.config)
  if (json) {
    const told = warnings.length > 0 ? { warnings } : {}
    printJson({ ok: true, ...summary(file), missingSecrets: missing, ...told })
  } else for (const line of summaryLines(file)) print(line)
  for (const { path, detail } of warnings) tellWarning(`${path}: ${detail}`)
  for (const { name, paths } of missing) tellWarning(`the environment holds no ${name} (${paths.join(", ")})`)
  return EXIT.done
}

/** @throws {CliError} `usage`, by name and path, and without a value */
function refuseWrongSecrets({ path }: ConfigFile, found: readonly SecretFault[]): void {
  if (found.length === 0) return
  const lines = found.map((fault) => `  ${fault.path}: ${fault.name} ${fault.detail}`)
  const count = found.length === 1 ? "a secret that cannot be right" : "secrets that cannot be right"
  throw new CliError("usage", `${path}: the environment holds ${count}:`, {
    json: { ok: false, file: path, errors: found },
    lines,
  })
}

/** @throws {CliError} `usage` */
async function load(given: string | undefined): Promise<ConfigFile> {
  try {
    return await loadConfigFile(given, (input) => {
      const config = checkConfig(input)
      const crossed = borderFaults(config)
      if (crossed.length > 0) throw new ConfigError(crossed)
      return config
    })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const path = findConfigFile(given)
    const json = { ok: false, file: path, errors: error.faults }
    throw new CliError("usage", `${path}: ${error.message}`, { json, cause: error })
  }
}

interface MissingName {
  readonly name: string
  readonly paths: readonly string[]
}

/** One secret may be used in several places. */
function missingSecrets(missing: readonly MissingSecret[]): MissingName[] {
  const byName = Map.groupBy(missing, ({ name }) => name)
  return [...byName].map(([name, uses]) => ({ name, paths: uses.map(({ path }) => path) }))
}

function summary({ path, config }: ConfigFile) {
  const { tokens, sources, targets } = config
  return {
    file: path,
    namespaces: Object.keys(config.namespaces),
    ...(config.tenants
      ? {
          tenants: Object.fromEntries(
            Object.entries(config.tenants).map(([name, own]) => [name, Object.keys(own.namespaces)]),
          ),
        }
      : {}),
    sources: Object.fromEntries(
      Object.entries(sources).map(([name, { type, namespace }]) => [
        name,
        { type, namespace, webhook: webhookOf(name) },
      ]),
    ),
    targets: Object.fromEntries(
      Object.entries(targets).map(([name, { type, namespaces }]) => [name, { type, namespaces }]),
    ),
    tokens: tokens.map(({ name, scopes }) => ({ name, scopes })),
  }
}

const webhookOf = (source: string): string => `/v1/hooks/${source}`

function summaryLines({ path, config }: ConfigFile): string[] {
  const { tokens, sources, targets, tenants = {} } = config
  return [
    `${path} ${paint("green", "is valid")}`,
    ...part("namespaces", namespaceRows(config.namespaces)),
    ...Object.entries(tenants).flatMap(([name, own]) =>
      part(`namespaces of ${name}`, namespaceRows(own.namespaces)),
    ),
    ...part(
      "sources",
      Object.entries(sources).map(([name, { type, namespace }]) => [
        name,
        type,
        `POST ${webhookOf(name)}`,
        namespace,
      ]),
    ),
    ...part(
      "targets",
      Object.entries(targets).map(([name, { type, namespaces }]) => [name, type, namespaces.join(", ")]),
    ),
    ...part(
      "tokens",
      tokens.map(({ name, scopes }) => [name, scopes.join(", ")]),
    ),
  ]
}

const namespaceRows = (namespaces: Config["namespaces"]): string[][] =>
  Object.entries(namespaces).map(([name, { hosts = [], prefixes = [] }]) => [
    name,
    [...hosts, ...prefixes].join(", "),
  ])

const part = (title: string, rows: readonly (readonly string[])[]): string[] => [
  "",
  paint("bold", title),
  ...(rows.length === 0 ? ["  none"] : table(rows).map((line) => `  ${line}`)),
]
