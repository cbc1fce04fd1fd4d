import type { RedisCommand } from "../redis/types.ts"
/** What only reads: it is let through, and it leaves the sync token as it is. */
const READS: ReadonlySet<string> = new Set([
  // Look-up: the head, the root, and the rows of the namespaces and their ancestors.
  "MGET",
  // Look-up: the epochs of the asked tags and urls.
  "ZMSCORE",
  // Look-up with `after`: what changed since. Records: receipts that came late.
  "ZRANGEBYSCORE",
  // Look-up of the head alone. Records: the answer that a pass left behind.
  "GET",
  // Records and pages, oldest first: the log, receipts, dead letters.
  "XRANGE",
  // Pages, newest first.
  "XREVRANGE",
  // Records and lanes: every target's cursor and state.
  "HGETALL",
  // The same of one target.
  "HGET",
  // The same of some targets.
  "HMGET",
  // Records: when a pass is due.
  "ZSCORE",
  // Lanes: the items to be tried again.
  "HVALS",
  // Lanes: when they are to be.
  "ZRANGE",
  // Lanes: how many of them there are.
  "ZCARD",
  // Lanes: how many entries and dead letters there are.
  "XLEN",
  // Records: whether a tenant has a log at all.
  "EXISTS",
  // Health: whether Redis answers.
  "PING",
  // Health: whether it answers what was asked.
  "ECHO",
])

/** What Tidemark writes with: everything is a script, and PUBLISH is sent by scripts only. */
const SCRIPTS: ReadonlySet<string> = new Set([
  // Publish, adopt, lane and drain scripts that the server has forgotten.
  "EVAL",
  // The same by digest.
  "EVALSHA",
])

/** What is answered as a stream of events, by its own routes only. */
const STREAMS: ReadonlySet<string> = new Set([
  // Wakes of the namespaces that a reader names.
  "SUBSCRIBE",
  // Wakes of every namespace of a tenant.
  "PSUBSCRIBE",
])

/**
 * What would change the one connection that all requests share, or take its replies out of step. Refused even where
 * everything else is let through; transactions and subscriptions have routes of their own.
 */
const CONNECTION_STATE: ReadonlySet<string> = new Set(
  `ASKING AUTH HELLO PSYNC QUIT READONLY READWRITE REPLCONF RESET SELECT SYNC
  DISCARD EXEC MULTI UNWATCH WATCH
  MONITOR PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE`.split(/\s+/),
)

/** What waits inside Redis and would hold up everybody else's commands: it gets a connection of its own. */
const BLOCKING: ReadonlySet<string> = new Set(
  "BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF".split(" "),
)

export const commandName = (command: RedisCommand): string => command[0].toUpperCase()

/** Whether a command may be sent over the connection that all requests share, or over one of its own if it blocks. */
export function isCommandAllowed(command: RedisCommand, allCommands: boolean): boolean {
  const name = commandName(command)
  if (!allCommands) return READS.has(name) || SCRIPTS.has(name)
  if (name === "CLIENT") return !/^(?:REPLY|TRACKING|CACHING)$/i.test(String(command[1] ?? ""))
  return !CONNECTION_STATE.has(name)
}

/** Whether events may be streamed by this command: `SUBSCRIBE`, `PSUBSCRIBE` and, for tests, `MONITOR`. */
export const isStreamAllowed = (name: string, allCommands: boolean): boolean =>
  STREAMS.has(name) || (allCommands && name === "MONITOR")

/** Whether a command may have written. What is not known to read counts as a write. */
export const mayWrite = (command: RedisCommand): boolean => !READS.has(commandName(command))

export function isBlocking(command: RedisCommand): boolean {
  const name = commandName(command)
  if (BLOCKING.has(name)) return true
  return /^XREAD(?:GROUP)?$/.test(name) && command.some((arg) => /^BLOCK$/i.test(String(arg)))
}

/** Redis's own manner of saying no, for a command that this gateway does not pass on. */
export const refusal = (name: string): string =>
  // A name is as long as whoever sent it made it.
  `ERR command '${name.slice(0, 64)}' is not allowed by this gateway`
