import { type Command, Option } from "commander"
import { type InvalidationInput, type Mode, parseInvalidation } from "../protocol/invalidation.ts"
import { CliError } from "./exit.ts"
import { repeated } from "./options.ts"

/** What commands that publish, or say what a publish would do, take alike. */
export interface InvalidationOptions {
  readonly tag?: readonly string[]
  readonly url?: readonly string[]
  readonly prefix?: readonly string[]
  readonly host?: readonly string[]
  readonly everything?: boolean
  readonly mode?: Mode
  readonly staleFor?: string
  readonly settle?: string
  readonly secondPass?: string
  readonly reason?: string
}

export const addInvalidationOptions = (command: Command): Command =>
  command
    .option("--tag <tag>", "a tag; may be repeated, as the next three", repeated)
    .option("--url <url>", "the page at this url (here not the Worker's address: see --worker)", repeated)
    .option("--prefix <url>", "all pages below this url", repeated)
    .option("--host <host>", "all pages of this host", repeated)
    .option("--everything", "every namespace of the tenant")
    .addOption(
      new Option("--mode <mode>", "mark stale, which is the default, or never serve again").choices([
        "invalidate",
        "purge",
      ]),
    )
    .option("--stale-for <duration>", "with invalidate: purge as well, after this time")
    .option("--settle <duration>", "purge only after this time, when the CMS is sure to be fresh")
    .option("--second-pass <duration>", "purge once more, so long after the first")
    .option("--reason <text>", "kept with the record, for people")

/** @throws {CliError} `usage`, with every fault that needs no configuration to be seen */
export function invalidationOf(
  namespace: string | undefined,
  options: InvalidationOptions,
): InvalidationInput {
  const { tag, url, prefix, host, everything, mode, staleFor, settle, secondPass, reason } = options
  const members = {
    namespace,
    tags: tag,
    urls: url,
    prefixes: prefix,
    hosts: host,
    everything,
    mode,
    staleFor,
    settle,
    secondPass,
    reason,
  }
  const body = Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
  const read = parseInvalidation(body)
  if ("value" in read) return body
  const message = "the request is not as it must be, and was not sent"
  throw new CliError("usage", message, {
    json: { code: "usage", detail: message, errors: read.errors },
    lines: read.errors.map((fault) => `  ${fault.pointer}: ${fault.detail}`),
  })
}
