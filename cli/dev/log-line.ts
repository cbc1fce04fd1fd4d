/** Members of a log line that a person in front of it has no use for. */
const HIDDEN = new Set(["level", "time", "name", "msg", "pid", "hostname", "head", "from", "to"])

/**
 * A part's log line for people: `relay  lane:stopped  target=www-cloudflare detail="429"`. Anything that is no such
 * line comes back as it is.
 */
export function readableLine(part: string, line: string): string {
  let entry: unknown
  try {
    entry = JSON.parse(line)
  } catch {
    return line
  }
  if (entry === null || typeof entry !== "object" || !("msg" in entry) || typeof entry.msg !== "string")
    return line
  const members = Object.entries(entry)
    .filter(([name]) => !HIDDEN.has(name))
    .map(
      ([name, value]) =>
        `${name}=${typeof value === "string" && /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value)}`,
    )
  return [part.padEnd(7), entry.msg, ...members].join("  ")
}
