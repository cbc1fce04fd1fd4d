import type { InvalidationRecord } from "../protocol/record.ts"
import { CliError } from "./exit.ts"
import { type Connection, send } from "./http.ts"
import { isRecord } from "./json.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** An id as `publish` answers it: decimal digits. */
const ID = /^\d{1,16}$/

/** @throws {CliError} `usage` */
export function checkId(text: string): string {
  if (ID.test(text)) return text
  throw new CliError("usage", "an id is what publish and log show: up to 16 digits")
}

/** Whether a value is a record, as far as the command relies on it. */
const isInvalidationRecord = (value: unknown): value is InvalidationRecord =>
  isRecord(value) &&
  typeof value["id"] === "string" &&
  typeof value["epoch"] === "number" &&
  typeof value["state"] === "string" &&
  isRecord(value["targets"]) &&
  Object.values(value["targets"]).every(isRecord)

/** @throws {CliError} as `send`; `failed` where the answer is no record */
export async function fetchRecord(
  connection: Connection,
  id: string,
  timeout?: Milliseconds,
): Promise<InvalidationRecord> {
  const path = `v1/invalidations/${id}`
  const answer = await send(connection, timeout === undefined ? { path } : { path, timeout })
  if (isInvalidationRecord(answer)) return answer
  throw new CliError(
    "failed",
    `${connection.url.href} answered something that is no record: is that a Tidemark?`,
  )
}

export interface RecordPage {
  readonly items: readonly InvalidationRecord[]
  readonly next: number | null
}

/** Above every epoch: `before` it stands the whole log, newest first. */
export const BEYOND = String(Number.MAX_SAFE_INTEGER)

/** One page of the log. @throws {CliError} as `fetchRecord` */
export async function fetchPage(
  connection: Connection,
  query: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<RecordPage> {
  const answer = await send(connection, { path: "v1/invalidations", query, ...(signal ? { signal } : {}) })
  const { items, next } = isRecord(answer) ? answer : {}
  if (
    !Array.isArray(items) ||
    !items.every(isInvalidationRecord) ||
    (next !== null && typeof next !== "number")
  ) {
    throw new CliError(
      "failed",
      `${connection.url.href} answered something that is no log: is that a Tidemark?`,
    )
  }
  return { items, next }
}
