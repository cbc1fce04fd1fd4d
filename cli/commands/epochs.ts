import type { Command } from "commander"
import { type Epoch, epochToMs, formatStamp } from "../../protocol/epoch.ts"
import type { NamespaceEpochs } from "../../protocol/freshness.ts"
import { type Lookup, parseLookupJson } from "../../protocol/lookup.ts"
import { isNamespace, NAMESPACE_RULE } from "../../protocol/namespace.ts"
import { URL_TAG } from "../../protocol/selector.ts"
import { isoTime } from "../../protocol/time.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { send } from "../http.ts"
import { type AddressOptions, addCommonOptions, connectionOf, parseEpochText, repeated } from "../options.ts"
import { plain, print, printJson } from "../output.ts"
import { table } from "../table.ts"

interface EpochsOptions extends AddressOptions {
  readonly tag?: readonly string[]
  readonly url?: readonly string[]
  readonly after?: string
}

/** `tidemark epochs`: the look-up that readers judge their entries by. */
export function addEpochs(program: Command): void {
  const command = program
    .command("epochs")
    .summary("look up the epochs of a namespace, as code at request time does")
    .description("Looks up the epochs of a namespace and of some of its tags and urls.")
    .argument("<namespace>", "the namespace")
    .option("--tag <tag>", "a tag; may be repeated, as the next", repeated)
    .option("--url <url>", "a url (here not the Worker's address: see --worker)", repeated)
    .option("--after <epoch>", "also list what changed since", parseEpochText)
  addCommonOptions(command, "selects").action(exitsWith(epochs))
  addHelp(command, {
    notes: [
      "An entry is fresh when its stamp is of the same generation and not below the watermark, or not below the\nepoch and each of its tags.",
    ],
    examples: [["tidemark epochs blog --tag post-42", "of the namespace and one tag"]],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ["done", "failed", "usage", "refused", "unreachable"],
  })
}

async function epochs(namespace: string, options: EpochsOptions): Promise<ExitCode> {
  if (!isNamespace(namespace)) throw new CliError("usage", `a namespace is ${NAMESPACE_RULE}`)
  const { tag = [], url = [], after } = options
  const connection = connectionOf(options)
  const answer = await send(connection, {
    path: "v1/epochs",
    query: {
      ns: namespace,
      tag: tag.map((value) => `${namespace}:${value}`),
      url: url.map((value) => `${namespace}:${value}`),
      after,
    },
  })
  const lookup = parseLookupJson(answer)
  const row = lookup?.namespaces.get(namespace)
  if (!lookup || !row) {
    throw new CliError(
      "failed",
      `${connection.url.href} answered something that is no look-up: is that a Tidemark?`,
    )
  }
  if (options.json) printJson(answer)
  else for (const line of lookupLines(lookup, namespace, row, tag)) print(line)
  return EXIT.done
}

function lookupLines(
  lookup: Lookup,
  namespace: string,
  row: NamespaceEpochs,
  asked: readonly string[],
): string[] {
  const floor = asked.filter((tag) => !row.tags.has(tag))
  const lines = table([
    ["namespace", namespace],
    ["stamp", ...stampOf(lookup)],
    ["asked", isoTime(lookup.asOf)],
    ["epoch", ...told(row.epoch)],
    ["watermark", ...told(row.watermark)],
    ["hard", ...told(row.hard)],
    ["floor", ...told(row.floor)],
    ...[...row.tags].map(([tag, epoch]) => [nameOf(tag), ...told(epoch)]),
    ...floor.map((tag) => [nameOf(tag), ...told(row.floor), "not known singly: the floor"]),
  ])
  return [...lines, ...changedLines(lookup, namespace)]
}

function changedLines({ changed }: Lookup, namespace: string): string[] {
  const tags = changed?.get(namespace)
  if (tags === undefined) return []
  if (tags === null) return ["", "what changed since is not known, or is too much"]
  const rows = [...tags].map(([tag, epoch]) => [nameOf(tag), ...told(epoch)])
  return ["", rows.length === 0 ? "nothing changed singly since" : "changed since:", ...table(rows)]
}

function stampOf({ generation, last }: Lookup): string[] {
  return generation === 0
    ? ["none", "nothing was ever published: nothing is fresh"]
    : [formatStamp({ generation, epoch: last })]
}

const nameOf = (tag: string): string =>
  plain(tag.startsWith(URL_TAG) ? `url ${tag.slice(URL_TAG.length)}` : `tag ${tag}`)

const told = (epoch: Epoch): [string, string] => [
  String(epoch),
  epoch === 0 ? "never" : isoTime(epochToMs(epoch)),
]
