import { SELECTOR_LISTS, type SelectorList } from "../protocol/invalidation.ts"
import type { InvalidationRecord, TargetRecord } from "../protocol/record.ts"
import { isRecord } from "./json.ts"
import { type Format, paint, plain } from "./output.ts"
import { type Cell, table } from "./table.ts"

/** Records for people. Whatever a server said of itself goes through `plain`. */

const SINGULAR: Readonly<Record<SelectorList, string>> = {
  tags: "tag",
  urls: "url",
  prefixes: "prefix",
  hosts: "host",
}

const FORMATS: Readonly<Record<string, Format>> = {
  idle: "green",
  off: "yellow",
  done: "green",
  failed: "red",
  dead: "red",
  not_supported: "red",
  retrying: "yellow",
  paused: "yellow",
  unknown: "yellow",
}

export const stateCell = (state: string): Cell => ({ text: state, format: FORMATS[state] ?? "cyan" })

/** A member that should be text, for a terminal. */
export const text = (value: unknown): string => (typeof value === "string" ? plain(value) : "")

/** As a record and a dead letter have it. */
type Selected = Readonly<Record<string, unknown>>

/** What it selects, one by one: `tag post-1`. A whole namespace selects nothing singly. */
export const selectorsOf = (record: Selected): string[] =>
  SELECTOR_LISTS.flatMap((list) => {
    const values = record[list]
    return Array.isArray(values) ? values.map((value) => `${SINGULAR[list]} ${text(value)}`) : []
  })

/** On one line there is room for so many selectors. */
const SHOWN = 3

/** What it is about, on one line. */
export function subjectOf(record: Selected): string {
  if (record["resync"] === true) return "resync"
  if (record["everything"] === true) return "everything"
  const selectors = selectorsOf(record)
  if (selectors.length === 0) return "the whole namespace"
  const more = selectors.length - SHOWN
  return selectors.slice(0, SHOWN).join(", ") + (more > 0 ? ` and ${more} more` : "")
}

const namespaceOf = (record: InvalidationRecord): string => text(record["namespace"]) || "*"

/** `token deploy`, `source contentful-main`, `relay …`. */
function publisherOf(record: InvalidationRecord): string {
  const [by] = isRecord(record["by"]) ? Object.entries(record["by"]) : []
  return by ? plain(`${by[0]} ${text(by[1])}`) : ""
}

/** Entries of the log, one line each. */
export const logTable = (records: readonly InvalidationRecord[]): string[] =>
  table(
    records.map((record) => [
      text(record["acceptedAt"]),
      record.id,
      namespaceOf(record),
      text(record["mode"]),
      stateCell(record.state),
      publisherOf(record),
      subjectOf(record),
    ]),
    ["ACCEPTED", "ID", "NAMESPACE", "MODE", "STATE", "BY", "WHAT"],
  )

/** What an invalidation is about and whom it concerns, on one line: `blog  purge  tag post-1  → www-varnish`. */
export function entrySummary(record: InvalidationRecord): string {
  const targets = Object.keys(record.targets).map(plain)
  return [
    namespaceOf(record),
    text(record["mode"]),
    subjectOf(record),
    targets.length > 0 ? `→ ${targets.join(", ")}` : "→ no target",
  ].join("  ")
}

/** One entry of the log on a line by itself, as `tail` shows it. */
export function entryLine(record: InvalidationRecord): string {
  const reason = text(record["reason"])
  return [
    paint("dim", text(record["acceptedAt"])),
    plain(record.id),
    paint("bold", namespaceOf(record)),
    text(record["mode"]),
    subjectOf(record),
    paint("dim", `by ${publisherOf(record)}${reason && ` (${reason})`}`),
  ].join("  ")
}

/** Why what is pending stays so. */
export const NO_RELAY = "none is alive: nothing is purged until one runs"

export const hasNoRelay = (record: InvalidationRecord): boolean => record["noRelay"] === true

/** Everything that a record tells, over several lines. */
export function recordLines(record: InvalidationRecord): string[] {
  const { format, text: state } = stateCell(record.state)
  const fields: [string, string][] = [
    ["state", paint(format, plain(state))],
    ["namespace", namespaceOf(record)],
    ["mode", text(record["mode"])],
    ["accepted", `${text(record["acceptedAt"])} from ${publisherOf(record)}`],
    ["reason", text(record["reason"])],
    ["entity", isRecord(record["entity"]) ? plain(Object.values(record["entity"]).join(" ")) : ""],
    ["cause", text(record["cause"])],
    ["relay", hasNoRelay(record) ? paint("red", NO_RELAY) : ""],
    ...notesOf(record).map((note): [string, string] => ["note", plain(note)]),
    ...passLines(record).map((line): [string, string] => ["pass", line]),
  ]
  const selectors = selectorsOf(record)
  return [
    paint("bold", `invalidation ${plain(record.id)}`),
    ...fields.filter(([, value]) => value !== "").map(([name, value]) => `  ${name.padEnd(9)}  ${value}`),
    ...(selectors.length > 0 ? selectors : [subjectOf(record)]).map(
      (line) => `  ${"what".padEnd(9)}  ${line}`,
    ),
    "",
    ...targetLines(record),
  ]
}

const notesOf = (record: InvalidationRecord): string[] =>
  Array.isArray(record["notes"]) ? record["notes"].map(String) : []

function passLines(record: InvalidationRecord): string[] {
  const passes = Array.isArray(record["passes"]) ? (record["passes"] as unknown[]) : []
  return passes.filter(isRecord).map(({ kind, epoch, at }) => {
    const when = text(at)
    return `${text(kind)}${typeof epoch === "number" ? ` as ${epoch}` : " to come"}${when && ` at ${when}`}`
  })
}

function targetLines(record: InvalidationRecord): string[] {
  const targets = Object.entries(record.targets)
  if (targets.length === 0) return ["no target is concerned: readers at request time see the epoch"]
  return table(
    targets.flatMap(([name, target]) => [
      targetRow(name, target),
      ...Object.entries(target.nodes ?? {}).map(([node, own]) => targetRow(`  ${node}`, own)),
    ]),
    ["TARGET", "STATE", "AFTER", "CALLS", "SENT AS", "ERROR"],
  )
}

const targetRow = (name: string, target: Omit<TargetRecord, "verified" | "nodes">): (string | Cell)[] => [
  name,
  stateCell(target.state),
  target.ms === null ? "-" : `${target.ms} ms`,
  callsOf(target),
  target.as ?? "-",
  target.error ?? "-",
]

/** `200, 200`; after a failed attempt also how many there were. */
function callsOf({ calls, attempts }: Pick<TargetRecord, "calls" | "attempts">): string {
  const statuses = (Array.isArray(calls) ? calls : []).map(({ status, vendorId }) =>
    vendorId === undefined ? String(status) : `${status} ${vendorId}`,
  )
  const tries = attempts > 1 ? `attempt ${attempts}` : ""
  return [statuses.join(", "), tries].filter((part) => part !== "").join("; ") || "-"
}

/** How far it is, for a line that changes in place. */
export function progressOf(record: InvalidationRecord): string {
  const targets = Object.entries(record.targets)
  const attended = hasNoRelay(record) ? "; no relay is alive" : ""
  const waiting = targets
    .filter(([, { state }]) => state !== "done")
    .map(([name, { state }]) => `${name} ${state}`)
  return plain(
    `${targets.length - waiting.length} of ${targets.length} targets done: ${waiting.join(", ")}${attended}`,
  )
}
