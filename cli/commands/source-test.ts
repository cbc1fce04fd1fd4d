import { createPrivateKey, type KeyObject } from "node:crypto"
import { readFileSync } from "node:fs"
import { type Command, Option } from "commander"
import { findNamespace } from "../../protocol/config/config.ts"
import type { Config, SourceConfig } from "../../protocol/config/schema.ts"
import { tellAccepted } from "../accepted.ts"
import { loadConfigFileOrDemo } from "../config-file.ts"
import { heldVars } from "../dev/environment.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { type Connection, RefusedCall, send } from "../http.ts"
import { tellingLast } from "../interrupt.ts"
import { isRecord } from "../json.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { plain, print, printJson, tell, tellError } from "../output.ts"
import { entrySummary } from "../record-view.ts"
import { isPublicKey, SAMPLE_KINDS, type SampleEvent, type SampleKind, SAMPLERS } from "../source-samples.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { showWaited, type Wait, waitForRecord, waitOption, waitTime } from "../wait.ts"

interface SourceTestOptions extends AddressOptions {
  readonly event: SampleKind
  readonly key?: string
  readonly type?: string
  readonly id: string
  readonly slug: string
  readonly wait?: Wait
}

/** `tidemark source test`: a delivery as the CMS would send it, before the CMS is touched. */
export function addSourceTest(parent: Command): void {
  const command = parent
    .command("test")
    .summary("send a signed sample of a webhook, and show what comes of it")
    .description(
      "Sends what the CMS of a source would send when something is published, changed, taken back, deleted or renamed there, rightly signed, and shows what was invalidated by it. It is taken for real: what the source's rules make of it is purged.",
    )
    .argument("<name>", "the source, as the configuration names it")
    .addOption(
      new Option("--event <kind>", "what happened there").choices([...SAMPLE_KINDS]).default("publish"),
    )
    .option(
      "--type <type>",
      "the content type (default: the first that a rule of the source names, else post)",
    )
    .option("--id <id>", "whose id it has", "tidemark-test")
    .option("--slug <slug>", "the slug", "tidemark-test")
    .option(
      "--key <file>",
      "a private key in PEM, where the source's secret is the public key that belongs to it",
    )
    .addOption(waitOption("wait until every target is done, and show the records"))
  addCommonOptions(command, "asks").action(exitsWith(testSource))
  addHelp(command, {
    notes: [
      `Samples there are of ${typesOfSamples()}.\nNot every sender has every kind of event: what it has not is said, and nothing is sent.`,
      "What was invalidated is shown with the token's scope read:, a line each; --wait also shows what became of it.",
      "The source's secret comes from the environment, then .dev.vars, then .tidemark/dev.vars beside the configuration,\nas `tidemark dev` finds it.",
    ],
    examples: [
      ["tidemark source test contentful-main --event delete", "what a deletion there invalidates"],
      ["tidemark source test contentful-main --wait", "from the webhook to the purge"],
      ["tidemark source test contentful-main --type author --id 42", "what comes of another type"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

const typesOfSamples = (): string =>
  Object.entries(SAMPLERS)
    .flatMap(([type, sampler]) => (sampler ? [type] : []))
    .join(", ")

/** What is said to have happened. */
const HAPPENED: Readonly<Record<SampleKind, string>> = {
  publish: "was published",
  update: "was changed",
  unpublish: "was taken back",
  delete: "was deleted",
  rename: "was renamed",
}

async function testSource(name: string, options: SourceTestOptions): Promise<ExitCode> {
  const { config, directory } = await loadConfigFileOrDemo(options.config)
  const source = sourceOf(config, name)
  const sampler = SAMPLERS[source.type]
  if (!sampler) {
    throw new CliError(
      "usage",
      `there is no sample of ${source.type}: it is signed by keys that its sender alone holds, and whose public halves the Worker takes from that sender only`,
      {
        lines: [
          `  tidemark explain --source ${name} says what a body of it would do`,
          `  there are samples of ${typesOfSamples()}`,
        ],
      },
    )
  }
  const connection = connectionOf(options)
  const event = eventOf(config, source, options)
  const path = `v1/hooks/${name}`
  const key = options.key === undefined ? undefined : readKey(options.key)
  const { headers, body, query } = await sampler({
    event,
    sourceType: source.type,
    ...(key ? { key } : {}),
    fields: source.fields ?? {},
    secret: secretOf(source, heldVars(directory, process.env)),
    ...(source.auth === undefined ? {} : { auth: source.auth }),
    path: new URL(path, connection.url).pathname,
    now: Date.now(),
  })
  if (!options.json) {
    print(
      `sends to ${connection.url.href}${path}, as ${source.type} would: ${event.type} ${event.id} ${HAPPENED[event.kind]}`,
    )
  }
  // Without the token: a webhook's sender has none.
  const answer = await send(
    { url: connection.url },
    {
      method: "POST",
      path,
      text: body,
      headers,
      ...(query === undefined ? {} : { query: Object.fromEntries(new URLSearchParams(query)) }),
    },
  ).catch((error: unknown) => {
    throw error instanceof RefusedCall ? explained(error, source) : error
  })
  return show(connection, parseTaken(connection, answer), options)
}

/** @throws {CliError} `usage` */
function sourceOf({ sources }: Config, name: string): SourceConfig {
  const source = Object.hasOwn(sources, name) ? sources[name] : undefined
  if (source) return source
  const known = Object.keys(sources)
  throw new CliError("usage", `the configuration has no source ${JSON.stringify(name)}`, {
    lines: [known.length > 0 ? `  it has ${known.join(", ")}` : "  it has none at all"],
  })
}

/** @throws {CliError} `usage` */
function readKey(file: string): KeyObject {
  try {
    return createPrivateKey(readFileSync(file, "utf8"))
  } catch (cause) {
    // Its message may quote what it read.
    throw new CliError("usage", `the file ${file} of --key holds no private key in PEM, or cannot be read`, {
      cause,
    })
  }
}

/** The first that is there and can sign: while a secret is rotated, either is taken. @throws {CliError} `usage` */
function secretOf({ secret }: SourceConfig, held: Readonly<Record<string, string>>): string {
  const names = [secret].flat().map((one) => one.secret)
  const there = names.flatMap((name) => held[name] || [])
  const usable = there.find((one) => !isPublicKey(one)) ?? there[0]
  if (usable !== undefined) return usable
  throw new CliError("usage", `neither the environment nor .dev.vars holds ${names.join(" or ")}`)
}

function eventOf(
  config: Config,
  source: SourceConfig,
  { event: kind, type, id, slug }: SourceTestOptions,
): SampleEvent {
  const named = (source.rules ?? []).flatMap(({ when }) => [when?.["type"] ?? []].flat())
  const { prefixes = [], hosts = [] } = findNamespace(config, source.tenant, source.namespace) ?? {}
  const within = prefixes[0] ?? `https://${hosts[0] ?? "www.example.com"}/`
  const environment = source.environments?.find((one) => !one.includes("*"))
  const before = `${slug}-before`
  const urlOf = (name: string) => within + encodeURIComponent(name)
  return {
    kind,
    ...(kind === "rename" ? { previousSlug: before, previousUrl: urlOf(before) } : {}),
    ...(environment === undefined ? {} : { environment }),
    type: type ?? named.find((one) => !one.includes("*")) ?? "post",
    id,
    slug,
    url: urlOf(slug),
  }
}

/** A refusal in words that help here: the token, which `send` speaks of, has nothing to do with it. */
function explained(error: RefusedCall, { secret }: SourceConfig): CliError {
  const code = isRecord(error.json) ? error.json["code"] : undefined
  const names = [secret].flat().map((one) => one.secret)
  const HINTS: Readonly<Record<string, string>> = {
    invalid_signature: `the Worker holds another ${names.join(" or ")} than this machine does`,
    stale_signature: "the clocks of this machine and the Worker's differ",
    unknown_source: "the Worker was deployed from a configuration without this source",
    misconfigured: "the Worker lacks a secret or the store's address",
  }
  const hint = typeof code === "string" && Object.hasOwn(HINTS, code) ? HINTS[code] : undefined
  const { exit, message, json, lines } = error
  return new CliError(exit, message, {
    json,
    lines: hint === undefined ? lines : [`  ${hint}`],
    cause: error,
  })
}

/** What a webhook is answered, as far as the command relies on it. */
interface Taken {
  readonly answer: Readonly<Record<string, unknown>>
  readonly epochs: readonly string[]
  readonly notes: readonly string[]
}

/** @throws {CliError} `failed`: the answer is none of ours */
function parseTaken({ url }: Connection, answer: unknown): Taken {
  if (isRecord(answer) && Array.isArray(answer["epochs"]) && Array.isArray(answer["notes"])) {
    return {
      answer,
      epochs: answer["epochs"].map(String),
      notes: answer["notes"].map((note) => plain(String(note))),
    }
  }
  throw new CliError("failed", `${url.href} answered something that is no receipt: is that a Tidemark?`)
}

async function show(
  connection: Connection,
  { answer, epochs, notes }: Taken,
  { json = false, wait }: SourceTestOptions,
): Promise<ExitCode> {
  if (!json) {
    if (epochs.length === 0) print("accepted, and nothing is invalidated")
    else if (wait === undefined) await showInvalidated(connection, epochs)
    else print(`accepted ${epochs.map(plain).join(", ")}`)
    for (const note of notes) print(`  ${note}`)
  }
  if (epochs.length === 0) {
    if (json) printJson(answer)
    tell("no rule made anything of it: see the notes, and tidemark explain --source")
    return EXIT.failed
  }
  if (wait === undefined) {
    if (json) printJson(answer)
    return EXIT.done
  }
  const lost = () => {
    if (json) printJson(answer)
    tellAccepted(epochs)
  }
  return tellingLast(lost, () => waitForAll(connection, answer, epochs, waitTime(wait), json))
}

/** How many are shown; a delivery may come to a thousand. */
const SHOWN = 20

/** A replica may lag behind what was just accepted. */
const LAG: Milliseconds = SECOND

/** What was invalidated, a line each. Where that may not be read, no more than that it was accepted. */
async function showInvalidated(connection: Connection, epochs: readonly string[]): Promise<void> {
  let why: string | undefined
  for (const epoch of epochs.slice(0, SHOWN)) {
    const { record, trouble } =
      why === undefined ? await waitForRecord(connection, epoch, LAG, { isOver: () => true }) : {}
    why ??= trouble?.message
    print(`accepted ${plain(epoch)}${record ? `  ${entrySummary(record)}` : ""}`)
  }
  if (epochs.length > SHOWN) print(`and ${epochs.length - SHOWN} more; see: tidemark log`)
  if (why !== undefined) tell(`what they invalidate cannot be shown: ${why}`)
}

/** Waits for each, within one time for all; the worst end counts. */
async function waitForAll(
  connection: Connection,
  answer: Taken["answer"],
  epochs: readonly string[],
  time: number,
  json: boolean,
): Promise<ExitCode> {
  const began = performance.now()
  const records: unknown[] = []
  const codes = new Set<ExitCode>()
  for (const epoch of epochs) {
    const waited = await waitForRecord(connection, epoch, Math.max(0, time - (performance.now() - began)))
    if (waited.record) records.push(waited.record)
    if (json) {
      if (waited.trouble) tellError(waited.trouble.message)
      codes.add(codeOf(waited.record?.state))
    } else {
      print("")
      codes.add(showWaited(waited, false))
    }
  }
  if (json) printJson({ ...answer, records })
  return codes.has(EXIT.failed) ? EXIT.failed : codes.has(EXIT.late) ? EXIT.late : EXIT.done
}

const codeOf = (state: string | undefined): ExitCode =>
  state === "done" ? EXIT.done : state === "failed" ? EXIT.failed : EXIT.late
