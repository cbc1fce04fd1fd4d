import { DAY, HOUR, type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import { isRecord } from "./json.ts"
import type { Lane } from "./lane.ts"
import { paint } from "./output.ts"
import { stateCell, text } from "./record-view.ts"
import { type Cell, table } from "./table.ts"

/** Lanes for people. Whatever a server said of itself goes through `plain`. */

const UNITS = [
  ["d", DAY],
  ["h", HOUR],
  ["min", MINUTE],
  ["s", SECOND],
] as const

/** `350 ms`, `12 s`, `4 min 10 s`, `3 d 2 h`: the two largest units that it takes. */
export function humanTime(ms: Milliseconds): string {
  const at = UNITS.findIndex(([, length]) => ms >= length)
  const [unit, length] = UNITS[at] ?? ["ms", 1]
  const [below, part] = (at < 0 ? undefined : UNITS[at + 1]) ?? [undefined, 1]
  const rest = below === undefined ? 0 : Math.floor((ms % length) / part)
  return `${Math.floor(ms / length)} ${unit}${rest > 0 ? ` ${rest} ${below}` : ""}`
}

const count = (value: unknown): string => (typeof value === "number" ? String(value) : "-")

const isSome = (value: unknown): boolean => typeof value === "number" && value > 0

function errorOf({ missing, error }: Lane): string {
  return Array.isArray(missing)
    ? `the environment holds no ${missing.map(text).join(", ")}`
    : text(error) || "-"
}

/** The nodes of a target of several, each as a lane. */
const nodesOf = ({ nodes }: Lane): Lane[] =>
  (Array.isArray(nodes) ? nodes.filter(isRecord) : []).map((node) => ({
    ...node,
    target: `  ${text(node["node"])}`,
    state: text(node["state"]),
  }))

function rowOf(lane: Lane): (string | Cell)[] {
  const { entries, ms } = isRecord(lane["lag"]) ? lane["lag"] : {}
  // Dead letters are the target's, whichever node they are of.
  const dead = count(lane["dead"])
  return [
    lane.target,
    stateCell(lane.state),
    count(entries),
    isSome(entries) && typeof ms === "number" ? humanTime(ms) : "-",
    count(lane["due"]),
    isSome(lane["dead"]) ? { text: dead, format: "red" } : dead,
    text(lane["owner"]) || "-",
    errorOf(lane),
  ]
}

const TROUBLES: Readonly<Record<string, string>> = {
  retrying: "is retrying",
  paused: "is paused",
  off: "is off",
}

/** What somebody should look at. */
function troublesOf({ target, state, dead, warnings }: Lane): string[] {
  const trouble = TROUBLES[state]
  return [
    ...(trouble === undefined ? [] : [`${target} ${trouble}`]),
    ...(isSome(dead) ? [`${target} has dead letters: tidemark dead list ${target}`] : []),
    ...(Array.isArray(warnings) ? warnings : []).map((warning) => `${target}: ${text(warning)}`),
  ]
}

/** How every target stands, and below it what is in trouble. */
export function laneLines(lanes: readonly Lane[]): string[] {
  if (lanes.length === 0) return ["no target is configured"]
  const troubles = lanes.flatMap(troublesOf)
  return [
    ...table(lanes.flatMap((lane) => [lane, ...nodesOf(lane)]).map(rowOf), [
      "TARGET",
      "STATE",
      "LAG",
      "BEHIND",
      "DUE",
      "DEAD",
      "OWNER",
      "ERROR",
    ]),
    ...(troubles.length === 0 ? [] : ["", ...troubles.map((line) => paint("yellow", line))]),
  ]
}
