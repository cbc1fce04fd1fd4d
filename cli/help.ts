import type { Command } from "commander"
import { EXIT, EXIT_MEANINGS, type ExitName } from "./exit.ts"

/** What the environment can say; each command's help names those that matter to it. */
const VARIABLES = {
  TIDEMARK_URL: "where the Worker answers (else where `tidemark dev` runs it, else http://127.0.0.1:8787)",
  TIDEMARK_RELAY_URL:
    "where the relay answers (else where `tidemark dev` runs it, else http://127.0.0.1:8788)",
  TIDEMARK_TOKEN: "the token; without it .tidemark/dev.token, which `tidemark dev` writes",
  TIDEMARK_CONFIG: "the configuration file (default ./tidemark.config.ts, .js or .mjs)",
  TIDEMARK_HOST: "the address to listen on (default 127.0.0.1)",
  TIDEMARK_WORKER_PORT: "port of the Worker (default 8787; 0: any free one)",
  TIDEMARK_RELAY_PORT: "port of the relay (default 8788; 0: any free one)",
  TIDEMARK_GATEWAY_PORT: "port of the gateway (default 8789; 0: any free one)",
  TIDEMARK_REDIS_PORT: "port of the Redis that is started (default 0: any free one)",
  TIDEMARK_VARNISH_PORT: "port of the Varnish that is started (default 0: any free one)",
  TIDEMARK_SITE_PORT: "port of the demo site (default 8790; 0: any free one)",
  TIDEMARK_SITE_URL: "the site behind the Varnish that is started (default: the demo's)",
  REDIS_URL: "the Redis: redis://[user:password@]host[:port][/database], rediss:// or unix:///path",
  REDIS_CA_FILE: "for rediss://, a file of the authorities to trust, in PEM (default: Node's own)",
  REDIS_CERT_FILE: "for rediss://, a file of our certificate, in PEM (default: none)",
  REDIS_KEY_FILE: "for rediss://, the file of its key, in PEM",
  UPSTASH_REDIS_REST_TOKEN: "the token that the gateway asks for",
  NO_COLOR: "no colours, also on a terminal",
} as const

export type Variable = keyof typeof VARIABLES

export interface HelpText {
  /** Paragraphs below the options. */
  readonly notes?: readonly string[]
  /** A command and what it does. */
  readonly examples?: readonly (readonly [command: string, does: string])[]
  readonly environment?: readonly Variable[]
  readonly exits?: readonly ExitName[]
}

function section(title: string, rows: readonly (readonly [string, string])[]): string[] {
  if (rows.length === 0) return []
  const width = Math.max(...rows.map(([term]) => term.length))
  return ["", `${title}:`, ...rows.map(([term, text]) => `  ${term.padEnd(width)}  ${text}`)]
}

/** Adds what commander does not write by itself to a command's help. */
export function addHelp(
  command: Command,
  { notes = [], examples = [], environment = [], exits = [] }: HelpText,
): void {
  const lines = [
    ...notes.flatMap((note) => ["", note]),
    ...section("Examples", examples),
    ...section(
      "Environment",
      environment.map((name) => [name, VARIABLES[name]] as const),
    ),
    ...section(
      "Exit codes",
      exits.map((name) => [String(EXIT[name]), EXIT_MEANINGS[name]] as const),
    ),
  ]
  command.addHelpText("after", lines.join("\n"))
}

/** Every exit code, in order. */
export const ALL_EXITS = [
  "done",
  "failed",
  "usage",
  "late",
  "refused",
  "unreachable",
] as const satisfies ExitName[]
