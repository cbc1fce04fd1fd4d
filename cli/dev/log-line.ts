import { plain } from "../output.ts"

/** Members of a log line that a person in front of it has no use for. */
const HIDDEN = new Set(["level", "time", "name", "msg", "pid", "hostname", "head", "from", "to"])

/** What pino gives the levels. */
const INFO = 30
const WARN = 40

type Entry = Readonly<Record<string, unknown>> & { readonly msg: string }

function entryOf(line: string): Entry | undefined {
  try {
    const entry: unknown = JSON.parse(line)
    return entry !== null && typeof entry === "object" && "msg" in entry && typeof entry.msg === "string"
      ? (entry as Entry)
      : undefined
  } catch {
    return undefined
  }
}

/** A target of type `print` has what it would purge as its message. */
const isPrinted = ({ level, msg, target }: Entry): boolean =>
  level === INFO && typeof target === "string" && msg.startsWith("{")

/**
 * Whether `dev` shows a line where nobody asked for a level: trouble, what happened to an invalidation, and whatever is
 * no log line, such as a stack trace.
 */
export function isShown(line: string): boolean {
  const entry = entryOf(line)
  if (!entry) return true
  const { level, msg, told } = entry
  const isLoud = typeof level !== "number" || level >= WARN
  return isLoud || msg === "lane:called" || Array.isArray(told) || isPrinted(entry)
}

/**
 * A part's log line for people: `relay    purge    www-varnish  tag post-42  200  12 ms`, and of what has no form of
 * its own `relay    lane:stopped  target=www-cloudflare  detail="429"`. Anything that is no such line comes back as it is.
 */
export function readableLine(part: string, line: string): string {
  const entry = entryOf(line)
  if (!entry) return line
  return [part.padEnd(7), ...(wordsOf(entry) ?? membersOf(entry))].map(plain).join("  ")
}

/** As it is shown of what one looks for most; undefined for any other line. */
function wordsOf(entry: Entry): string[] | undefined {
  const { msg, target, told, what, status, outcome, detail, took } = entry
  const named = (name: string) => name.padEnd(7)
  if (Array.isArray(told)) return [named(msg), ...told.map(String)]
  if (isPrinted(entry)) return [named("print"), String(target), msg]
  if (msg !== "lane:called" || typeof what !== "string") return undefined
  return [
    named("purge"),
    String(target),
    what,
    typeof status === "number" ? String(status) : String(outcome),
    ...(typeof took === "number" ? [`${Math.round(took)} ms`] : []),
    ...(typeof detail === "string" ? [detail] : []),
  ]
}

const membersOf = (entry: Entry): string[] => [
  entry.msg,
  ...Object.entries(entry)
    .filter(([name]) => !HIDDEN.has(name))
    .map(
      ([name, value]) =>
        `${name}=${typeof value === "string" && /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value)}`,
    ),
]
