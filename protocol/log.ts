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
    const body: unknown = JSON.parse(text)
    return isEntryBody(body) ? { ...NO_SELECTORS, ...body } : UNREADABLE
  } catch {
    return UNREADABLE
  }
}

/** As far as readers rely on it. A lane that met a body of another form would fail on it for ever. */
function isEntryBody(body: unknown): body is EntryBody {
  if (body === null || typeof body !== "object") return false
  const { kind, namespace, mode, ...rest } = body as Partial<Record<string, unknown>>
  return (
    (kind === "invalidation" || kind === "resync") &&
    (mode === "invalidate" || mode === "purge") &&
    (namespace === null || typeof namespace === "string") &&
    SELECTOR_LISTS.every((list) => rest[list] === undefined || Array.isArray(rest[list]))
  )
}

/** Reads one entry of XRANGE: `[id, [field, value, …]]`. Entries of a version to come are taken for a resync. */
export function parseLogEntry(reply: Reply): LogEntry | undefined {
  const [id, fieldsReply] = asList(reply)
  const fields = asList(fieldsReply)
  const field = (name: string): string | undefined => {
    for (let index = 0; index + 1 < fields.length; index += 2) {
      if (fields[index] === name) return asText(fields[index + 1])
    }
    return undefined
  }
  const epoch: Epoch = Number(asText(id)?.split("-")[0])
  const generation: Generation = Number(field("g"))
  const seq = Number(field("s"))
  if (![epoch, generation, seq].every((value) => Number.isSafeInteger(value))) return undefined
  const text = field("d") ?? ""
  const body = field("v") === VERSION ? decodeBody(text) : UNREADABLE
  return { epoch, generation, seq, body, ...(body === UNREADABLE ? { raw: text.slice(0, MAX_RAW) } : {}) }
}

export const parseLogEntries = (reply: Reply | undefined): LogEntry[] =>
  asList(reply).flatMap((item) => parseLogEntry(item) ?? [])
