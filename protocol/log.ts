import type { Epoch, Generation, Position } from "./epoch.ts"
import { type EntryBody, NO_SELECTORS, SELECTOR_LISTS } from "./invalidation.ts"
import { asList, asText, type Reply } from "./store.ts"

/** One entry of a tenant's log. */
export interface LogEntry extends Position {
  readonly body: EntryBody
  /** Of an entry that could not be read: its text, cut to 4 KiB. Its body is a resync, the wider thing. */
  readonly raw?: string
}

const MAX_RAW = 4_096

const VERSION = "1"

/** A body that could not be read is taken for a resync: the wider thing, never nothing. */
const UNREADABLE: EntryBody = {
  kind: "resync",
  namespace: null,
  mode: "invalidate",
  by: { relay: "unknown" },
  cause: "unreadable",
  ...NO_SELECTORS,
}

/** The body as the log holds it: empty lists are left out. */
export const encodeBody = (body: EntryBody): string =>
  JSON.stringify(body, (_key, value: unknown) =>
    Array.isArray(value) && value.length === 0 ? undefined : value,
  )

export function decodeBody(text: string): EntryBody {
  try {
    return asEntryBody(JSON.parse(text)) ?? UNREADABLE
  } catch {
    return UNREADABLE
  }
}

/**
 * As far as readers rely on it. A lane that met a body of another form would fail on it for ever. The lists that were
 * left out are put into the body itself, and not into a copy: a backlog has a million of these.
 */
function asEntryBody(value: unknown): EntryBody | undefined {
  if (value === null || typeof value !== "object") return undefined
  const body = value as Partial<Record<keyof EntryBody, unknown>>
  const { kind, namespace, mode } = body
  for (const list of SELECTOR_LISTS) {
    if (body[list] === undefined) body[list] = NO_SELECTORS[list]
    else if (!Array.isArray(body[list])) return undefined
  }
  const isBody =
    (kind === "invalidation" || kind === "resync") &&
    (mode === "invalidate" || mode === "purge") &&
    (namespace === null || typeof namespace === "string")
  return isBody ? (body as EntryBody) : undefined
}

function fieldOf(fields: readonly Reply[], name: string): string | undefined {
  for (let at = 0; at + 1 < fields.length; at += 2) if (fields[at] === name) return asText(fields[at + 1])
  return undefined
}

/** Reads one entry of XRANGE: `[id, [field, value, …]]`. Entries of a version to come are taken for a resync. */
export function parseLogEntry(reply: Reply): LogEntry | undefined {
  const [id, fieldsReply] = asList(reply)
  const fields = asList(fieldsReply)
  // A backlog has a million of these: no lists are made here.
  const epoch: Epoch = Number.parseInt(asText(id) ?? "", 10)
  const generation: Generation = Number(fieldOf(fields, "g"))
  const seq = Number(fieldOf(fields, "s"))
  if (!Number.isSafeInteger(epoch) || !Number.isSafeInteger(generation) || !Number.isSafeInteger(seq))
    return undefined
  const text = fieldOf(fields, "d") ?? ""
  const body = fieldOf(fields, "v") === VERSION ? decodeBody(text) : UNREADABLE
  const entry = { epoch, generation, seq, body }
  return body === UNREADABLE ? { ...entry, raw: text.slice(0, MAX_RAW) } : entry
}

export function parseLogEntries(reply: Reply | undefined): LogEntry[] {
  const entries: LogEntry[] = []
  for (const item of asList(reply)) {
    const entry = parseLogEntry(item)
    if (entry) entries.push(entry)
  }
  return entries
}
