import { readFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { type Command, InvalidArgumentError, Option } from "commander"
import { partAddressProblem } from "../protocol/address.ts"
import { parseEpoch } from "../protocol/epoch.ts"
import { isPattern, NAMESPACE_RULE } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { type FoundAddress, findDevAddress } from "./dev-address.ts"
import { CliError } from "./exit.ts"
import type { Connection } from "./http.ts"

/** What every command takes, whether or not it has a use for all of it. */
export interface CommonOptions {
  readonly json?: boolean
  readonly config?: string
  readonly tokenFile?: string
}

/** Of a command that asks the Worker or the relay. `url` is a list where it selects, and then no address. */
export interface AddressOptions extends CommonOptions {
  readonly url?: string | readonly string[]
  readonly worker?: string
}

/** Which of the common options a kind of command has a use for. */
const USES = {
  /** Asks the Worker at `--url`. */
  asks: { json: true, config: true, address: "--worker, --url <address>" },
  /** Asks the Worker at `--worker`; its `--url` selects. */
  selects: { json: true, config: true, address: "--worker <address>" },
  /** Asks the relay at `--url`. */
  operates: { json: true, config: true, address: "--url <address>", part: "relay" },
  /** Reads the configuration. */
  reads: { json: true, config: true },
  /** Starts parts, which speak JSON in any case. */
  starts: { json: false, config: true },
  /** Needs nothing but its own options. */
  makes: { json: true, config: false },
} as const

const GROUP = "Common options:"

/** Adds the common options. All commands take all of them; the help names those that the command has a use for. */
export function addCommonOptions(command: Command, kind: keyof typeof USES): Command {
  const uses = USES[kind]
  const address = "address" in uses ? uses.address : undefined
  const config = address
    ? "configuration file, beside which the token of `tidemark dev` lies (TIDEMARK_CONFIG)"
    : "configuration file (TIDEMARK_CONFIG, else ./tidemark.config.ts, .js or .mjs)"
  const options = [
    new Option("--json", "print one JSON object on standard output").hideHelp(!uses.json),
    new Option("--config <file>", config).hideHelp(!uses.config),
    new Option(
      address ?? "--worker, --url <address>",
      "part" in uses
        ? "where the relay answers (TIDEMARK_RELAY_URL)"
        : "where the Worker answers (TIDEMARK_URL)",
    ).hideHelp(!address),
    new Option("--token-file <file>", "file that holds the token (else TIDEMARK_TOKEN)").hideHelp(!address),
  ]
  for (const option of options) command.addOption(option.helpGroup(GROUP))
  return command.addHelpOption(new Option("-h, --help", "print this help").helpGroup(GROUP))
}

/** Parts with an address, and where it comes from. */
const ADDRESSES = {
  worker: { variable: "TIDEMARK_URL", fallback: "http://127.0.0.1:8787" },
  relay: { variable: "TIDEMARK_RELAY_URL", fallback: "http://127.0.0.1:8788" },
} as const

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Where a part answers, and with whose token it is asked: as it is given, else by the environment, else where a running
 * `tidemark dev` says that it does, else at its usual port here.
 *
 * @throws {CliError} `usage`: the address is none, or the token cannot be read. Neither is repeated.
 */
export function connectionOf(
  options: AddressOptions,
  part: keyof typeof ADDRESSES = "worker",
  env: Environment = process.env,
): Connection {
  const { variable, fallback } = ADDRESSES[part]
  const given = options.worker ?? (typeof options.url === "string" ? options.url : undefined)
  const named = given ?? (env[variable] || undefined)
  const dev = named === undefined ? findDev(options, env) : undefined
  const url = parseAddress(
    named ?? dev?.address?.urls[part] ?? fallback,
    given === undefined ? variable : "the address",
  )
  const token = findToken(options, url, env)
  return { url, ...(dev ? { urlNote: noteOf(dev) } : {}), ...token }
}

/** Told where nothing answers: why it was asked there. */
const noteOf = ({ path, address }: FoundAddress): string =>
  address
    ? `the address is the one that tidemark dev wrote to ${path}`
    : `the tidemark dev that wrote ${path} has ended`

/** Beside the configuration that is named, else here: where `tidemark dev` leaves its files. */
function devDirectories({ config }: CommonOptions, env: Environment): string[] {
  const named = config ?? env["TIDEMARK_CONFIG"]
  return [...(named ? [dirname(resolve(named))] : []), process.cwd()]
}

function findDev(options: CommonOptions, env: Environment): FoundAddress | undefined {
  const named = options.config ?? env["TIDEMARK_CONFIG"]
  const config = named ? resolve(named) : undefined
  const found = devDirectories(options, env).flatMap((directory) => findDevAddress(directory, config) ?? [])
  return found.find(({ address }) => address !== undefined) ?? found[0]
}

function parseAddress(text: string, name: string): URL {
  const problem = partAddressProblem(text)
  if (problem !== undefined) throw new CliError("usage", `${name} ${problem}`)
  const url = new URL(text)
  if (!url.pathname.endsWith("/")) url.pathname += "/"
  return url
}

interface Token {
  readonly token: string
  /** Told when it is refused: which of the places it came from. */
  readonly tokenFrom: string
}

function findToken(options: CommonOptions, url: URL, env: Environment): Token | undefined {
  if (options.tokenFile !== undefined) {
    const text = readIfThere(options.tokenFile)
    if (text === undefined) throw new CliError("usage", `the token file ${options.tokenFile} cannot be read`)
    return { token: checkToken(text, "the token file"), tokenFrom: "--token-file" }
  }
  const held = env["TIDEMARK_TOKEN"]
  if (held) return { token: checkToken(held, "TIDEMARK_TOKEN"), tokenFrom: "TIDEMARK_TOKEN" }
  // `tidemark dev` listens on loopback only, so its token is nothing that another machine should be shown.
  if (!isLoopback(url)) return undefined
  for (const directory of devDirectories(options, env)) {
    const path = join(directory, ".tidemark", "dev.token")
    const text = readIfThere(path)
    if (text !== undefined) return { token: checkToken(text, path), tokenFrom: path }
  }
  return undefined
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

/** Whatever cannot stand in a header is refused here: the HTTP client would repeat it in its message. */
function checkToken(text: string, name: string): string {
  const token = text.trim()
  if (!/^[\x21-\x7e]{1,512}$/.test(token)) throw new CliError("usage", `${name} holds no token`)
  return token
}

const isLoopback = (url: URL): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)

/** Collects an option that may be given again and again. */
export const repeated = (value: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  value,
]

/** @throws {InvalidArgumentError} */
export function parseSeconds(text: string): Milliseconds {
  const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : 0
  if (seconds > 0) return seconds * SECOND
  throw new InvalidArgumentError(
    "It must be a number of seconds. (A bare --wait goes last, or is written --wait=30.)",
  )
}

/** @throws {InvalidArgumentError} */
export function parseEpochText(text: string): string {
  if (parseEpoch(text) !== undefined) return text
  throw new InvalidArgumentError("It must be an epoch: up to 16 digits.")
}

/** @throws {InvalidArgumentError} */
export function parsePattern(text: string): string {
  if (isPattern(text)) return text
  throw new InvalidArgumentError(`It must be '*' or a namespace: ${NAMESPACE_RULE}.`)
}

/** @throws {InvalidArgumentError} */
export const parseCount =
  (least: number, most: number) =>
  (text: string): number => {
    const count = /^\d{1,6}$/.test(text) ? Number(text) : -1
    if (count >= least && count <= most) return count
    throw new InvalidArgumentError(`It must be ${least} to ${most}.`)
  }
