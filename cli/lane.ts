import { NAME } from "../protocol/namespace.ts"
import { CliError } from "./exit.ts"
import { type Connection, send } from "./http.ts"
import { isRecord } from "./json.ts"

/** How one target stands, as the relay answers it, as far as the command relies on it. */
export type Lane = Readonly<Record<string, unknown>> & { readonly target: string; readonly state: string }

export interface Lanes {
  readonly items: readonly Lane[]
  /** What Redis does not tell the relay, and somebody should know. */
  readonly notes?: Readonly<Record<string, string>>
}

const isLane = (value: unknown): value is Lane =>
  isRecord(value) &&
  typeof value["target"] === "string" &&
  NAME.test(value["target"]) &&
  typeof value["state"] === "string"

const textsOf = (record: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(record).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  )

/** @throws {CliError} as `send`; `failed` where the answer is no list of lanes */
export async function fetchLanes(connection: Connection, signal?: AbortSignal): Promise<Lanes> {
  const answer = await send(connection, { path: "v1/lanes", ...(signal ? { signal } : {}) })
  const items: unknown = isRecord(answer) ? answer["items"] : undefined
  const notes = isRecord(answer) && isRecord(answer["notes"]) ? textsOf(answer["notes"]) : undefined
  if (Array.isArray(items) && items.every(isLane)) return notes ? { items, notes } : { items }
  throw new CliError(
    "failed",
    `${connection.url.href} answered something that is no list of lanes: is that a Tidemark relay?`,
  )
}
