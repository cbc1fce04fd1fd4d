import { type Command, Option } from "commander"
import { type InvalidationInput, type Mode, parseInvalidation } from "../../protocol/invalidation.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { type Connection, send } from "../http.ts"
import { isRecord } from "../json.ts"
import { type AddressOptions, addCommonOptions, connectionOf, parseSeconds, repeated } from "../options.ts"
import { plain, print, printJson, tell, tellWarning } from "../output.ts"
import { showWaited, DEFAULT_WAIT, waitForRecord } from "../wait.ts"

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
  /** `true` without a value. */
  readonly wait?: Milliseconds | true
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
    .option(
      "--wait [seconds]",
      `wait until every target is done; ${DEFAULT_WAIT / SECOND} s where nothing is said`,
      parseSeconds,
    )
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
  if (!isRecord(accepted) || typeof accepted["id"] !== "string") {
    throw new CliError(
      "failed",
      `${connection.url.href} answered something else than an id: is that a Tidemark?`,
    )
  }
  for (const warning of textsOf(accepted["warnings"])) tellWarning(warning)
  if (options.wait !== undefined) return waitFor(connection, accepted["id"], accepted, options)
  if (options.json) printJson(accepted)
  else showAccepted(accepted["id"], accepted)
  return EXIT.done
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

const textsOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.map((item) => plain(String(item))) : []

function showAccepted(id: string, accepted: Readonly<Record<string, unknown>>): void {
  const targets = textsOf(accepted["targets"])
  print(
    `accepted ${plain(id)}${accepted["duplicate"] === true ? ", as before: the key was used already" : ""}`,
  )
  print(
    targets.length > 0
      ? `goes to ${targets.join(", ")}`
      : "no target is concerned: readers at request time see it",
  )
}

async function waitFor(
  connection: Connection,
  id: string,
  accepted: unknown,
  options: PublishOptions,
): Promise<ExitCode> {
  const wait = typeof options.wait === "number" ? options.wait : DEFAULT_WAIT
  const waited = await waitForRecord(connection, id, wait)
  const code = showWaited(waited, options.json === true, accepted)
  if (code === EXIT.late) {
    tell(`accepted as ${plain(id)}, but not known to be done; see: tidemark status ${plain(id)} --watch`)
  }
  return code
}
