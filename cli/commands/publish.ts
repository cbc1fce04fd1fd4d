import { type Command, Option } from "commander"
import { type InvalidationInput, type Mode, parseInvalidation } from "../../protocol/invalidation.ts"
import { parseAccepted, showOutcome } from "../accepted.ts"
import { CliError, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { send } from "../http.ts"
import { type AddressOptions, addCommonOptions, connectionOf, repeated } from "../options.ts"
import { type Wait, waitOption } from "../wait.ts"

interface PublishOptions extends AddressOptions {
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
  readonly idempotencyKey?: string
  readonly wait?: Wait
}

/** `tidemark publish`: one invalidation, and with `--wait` what becomes of it. */
export function addPublish(program: Command): void {
  const command = program
    .command("publish")
    .summary("invalidate a namespace, or some tags, urls, prefixes or hosts of it")
    .description("Publishes one invalidation: a whole namespace, or what is selected of it.")
    .argument("[namespace]", "the namespace; left out with --everything")
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
    .option(
      "--idempotency-key <key>",
      "the same key and request is one invalidation, however often it is sent",
    )
    .addOption(waitOption("wait until every target is done"))
  addCommonOptions(command, "selects").action(exitsWith(publish))
  addHelp(command, {
    notes: [
      "Without a tag, url, prefix or host the whole namespace is meant. A duration is 500ms, 30s, 5m, 24h or 0.",
    ],
    examples: [
      ["tidemark publish blog --tag post-42 --tag type-post", "two tags"],
      [
        "tidemark publish blog --url https://www.example.com/blog/a --mode purge",
        "a page, never served again",
      ],
      ["tidemark publish blog --wait", "the whole namespace; ends when it is purged"],
      ["tidemark publish --everything --reason 'new layout'", "all there is"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

async function publish(namespace: string | undefined, options: PublishOptions): Promise<ExitCode> {
  const body = bodyOf(namespace, options)
  const { idempotencyKey: key } = options
  if (key !== undefined && !/^[\x20-\x7e]{1,255}$/.test(key)) {
    throw new CliError("usage", "--idempotency-key must be 1 to 255 printable ASCII characters")
  }
  const connection = connectionOf(options)
  const accepted = await send(connection, {
    method: "POST",
    path: "v1/invalidations",
    body,
    ...(key === undefined ? {} : { headers: { "idempotency-key": key } }),
  })
  return showOutcome(connection, parseAccepted(connection, accepted), options)
}

/** @throws {CliError} `usage`, with every fault that needs no configuration to be seen */
function bodyOf(namespace: string | undefined, options: PublishOptions): InvalidationInput {
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
