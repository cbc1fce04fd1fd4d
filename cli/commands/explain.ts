import { readFileSync } from "node:fs"
import type { Command } from "commander"
import { findConfigFile, loadConfigFile } from "../config-file.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { send } from "../http.ts"
import { addInvalidationOptions, invalidationOf, type InvalidationOptions } from "../invalidation.ts"
import { isRecord } from "../json.ts"
import { type AddressOptions, addCommonOptions, connectionOf, repeated } from "../options.ts"
import { plain, print, printJson } from "../output.ts"
import { selectorsOf } from "../record-view.ts"
import { table } from "../table.ts"

interface ExplainOptions extends Omit<AddressOptions, "url">, InvalidationOptions {
  readonly source?: string
  readonly header?: readonly string[]
  readonly body?: string
}

/** `tidemark explain`: what a publish or a webhook would do, without doing it. */
export function addExplain(program: Command): void {
  const command = program
    .command("explain")
    .summary("say what a publish, or a webhook, would do")
    .description(
      "Says what a publish would do: calls, what is widened, cost, and how long the vendor's limits make it take.\nWith --source, what a webhook would: its body is read from a file or from standard input, and needs no signature. No Worker needs to run for that: where no address is given, the configuration that lies here is asked.",
    )
    .argument("[namespace]", "the namespace; left out with --everything and with --source")
  addInvalidationOptions(command)
    .option("--source <name>", "of a webhook to this source of the configuration")
    .option("--header <header>", "a header of that webhook, 'name: value'; may be repeated", repeated)
    .option("--body <file>", "the file that holds its body; default: standard input")
  addCommonOptions(command, "selects").action(exitsWith(explain))
  addHelp(command, {
    notes: [
      "Nothing is stored, and nobody is called. The token needs a publish scope, for a source publish:*; without an\naddress --source needs none.",
    ],
    examples: [
      ["tidemark explain blog --tag post-42", "what each target would be asked"],
      [
        "tidemark explain --source contentful-main --header 'x-contentful-topic: ContentManagement.Entry.publish' < body.json",
        "which rule matches, and what comes of it",
      ],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function explain(namespace: string | undefined, options: ExplainOptions): Promise<ExitCode> {
  const { source } = options
  const body =
    source === undefined
      ? { invalidation: invalidationOf(namespace, options) }
      : deliveryOf(source, namespace, options)
  const isNamed = options.worker !== undefined || Boolean(process.env["TIDEMARK_URL"])
  const isHere = source !== undefined && !isNamed && findConfigFile(options.config) !== undefined
  const answer = isHere ? await askHere(source, body, options.config) : await askWorker(body, options)
  if (options.json) printJson(answer)
  else for (const line of lines(answer, options.source !== undefined)) print(line)
  return EXIT.done
}

async function askWorker(body: object, options: ExplainOptions): Promise<Record<string, unknown>> {
  const connection = connectionOf(options)
  const answer = await send(connection, { method: "POST", path: "v1/explain", body })
  if (isRecord(answer) && isRecord(answer["targets"])) return answer
  const detail = `${connection.url.href} answered something that is no explanation: is that a Tidemark?`
  throw new CliError("failed", detail)
}

/** By the source's adapter and its rules, as they stand in the configuration here. @throws {CliError} `usage`, `failed` */
async function askHere(source: string, body: object, given?: string): Promise<Record<string, unknown>> {
  const { config, directory } = await loadConfigFile(given)
  const known = Object.keys(config.sources)
  if (!known.includes(source)) {
    throw new CliError("usage", `the configuration has no source ${JSON.stringify(source)}`, {
      lines: [known.length > 0 ? `  it has ${known.join(", ")}` : "  it has none at all"],
    })
  }
  const tenant = config.sources[source]?.tenant ?? "default"
  const { askLocalWorker } = await import("../local-worker.ts")
  const answer = await askLocalWorker({ config, directory, tenant, path: "v1/explain", body })
  if (isRecord(answer)) return answer
  throw new CliError("failed", "the Worker of this configuration answered something that is no explanation")
}

function deliveryOf(source: string, namespace: string | undefined, { header = [], body }: ExplainOptions) {
  if (namespace !== undefined) throw new CliError("usage", "a namespace and --source do not go together")
  const headers = header.map((one) => /^([^:\s]+):\s*(.*)$/.exec(one)?.slice(1))
  if (headers.includes(undefined)) throw new CliError("usage", "--header is a name, a colon and a value")
  return { source, headers: Object.fromEntries(headers as [string, string][]), body: readDelivery(body) }
}

function readDelivery(file: string | undefined): string {
  if (file === undefined && process.stdin.isTTY) {
    throw new CliError("usage", "give the webhook's body by --body, or on standard input")
  }
  try {
    return readFileSync(file ?? 0, "utf8")
  } catch (error) {
    const why = error instanceof Error && "code" in error ? String(error.code) : "it cannot be read"
    throw new CliError("usage", `the webhook's body cannot be read: ${why}`)
  }
}

const shown = (value: unknown): string =>
  typeof value === "string" || typeof value === "number" ? plain(String(value)) : ""

function lines(answer: Readonly<Record<string, unknown>>, isDelivery: boolean): string[] {
  const list = (value: unknown) => (Array.isArray(value) ? value.filter(isRecord) : [])
  const rules = Array.isArray(answer["rules"]) ? answer["rules"].map(String) : []
  const targets = Object.entries(isRecord(answer["targets"]) ? answer["targets"] : {})
  const widened = targets.flatMap(([name, one]) =>
    list(isRecord(one) ? one["widened"] : []).map((each) => [
      name,
      shown(each["selector"] ?? `all of ${shown(each["namespace"])}`),
      shown(each["as"]),
    ]),
  )
  const notes = Array.isArray(answer["notes"]) ? answer["notes"].map((note) => plain(String(note))) : []
  const matched = rules.length === 0 ? "no rule matches" : `rule ${rules.join(", ")}, counted from 0, matches`
  return [
    ...(isDelivery ? [matched] : []),
    ...table(
      list(answer["invalidations"]).map((one) => [
        shown(one["namespace"] ?? "everything"),
        shown(one["mode"]),
        selectorsOf(one).join(", ") || "all of it",
        list(one["passes"])
          .map(({ kind, seconds }) => `${shown(kind)} after ${shown(seconds)} s`)
          .join(", "),
      ]),
      ["NAMESPACE", "MODE", "WHAT", "PASSES"],
    ),
    "",
    ...table(
      targets.flatMap(([name, one]) =>
        isRecord(one)
          ? [
              [
                name,
                shown(one["calls"]),
                `${shown(one["seconds"])} s`,
                Number(one["cost"]) > 0 ? `$${shown(one["cost"])}` : "-",
              ],
            ]
          : [],
      ),
      ["TARGET", "CALLS", "TAKES", "COSTS"],
    ),
    ...(widened.length === 0 ? [] : ["", ...table(widened, ["TARGET", "SAID WIDER OR HARDER", "AS"])]),
    ...(notes.length === 0 ? [] : ["", ...notes]),
  ]
}
