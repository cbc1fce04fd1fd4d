import { ErrorReply } from "redis"
import { troubleOf } from "../../protocol/store.ts"

/** The oldest Redis on which every promise holds: scripts are undone, and users may only read a key. */
const OLDEST = 7

/**
 * Why the Redis that says so in `INFO server` can never be worked with, as a sentence that names the variable; undefined
 * where nothing is certain. Others than Redis number their versions by themselves, and are not judged by them.
 */
export function unfitOf(info: string): string | undefined {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? ""
  if (field("redis_mode") === "sentinel")
    return "REDIS_URL names a sentinel, which holds no data: name the primary, by an address that follows it"
  const version = field("redis_version")
  const isOthers = /^(?!redis_|gcc_)\w+_version:|keydb/im.test(info)
  if (!isOthers && /^\d+\./.test(version) && Number.parseInt(version, 10) < OLDEST)
    return `REDIS_URL names Redis ${version}, which is too old: take ${OLDEST}.0 or newer, or Valkey`
  return undefined
}

/** Answers after which another server may be the primary, or this one may be it again: it is looked up anew. */
const LEAVE = /^-?(READONLY|MOVED|ASK|LOADING|MASTERDOWN|NOREPLICAS|CLUSTERDOWN)\b/

/** What an error that Redis answered says of Redis, or of what we are there. */
export interface Trouble {
  /** For people. */
  readonly text: string
  /** Whether it is worth asking again who is primary. */
  readonly isElsewhere: boolean
}

/** Undefined: it is about the command, and not about Redis. */
export function troubleIn(message: string): Trouble | undefined {
  const text = troubleOf(message) ?? (ours(message) || undefined)
  return text === undefined ? undefined : { text, isElsewhere: LEAVE.test(message) }
}

function ours(message: string): string {
  if (/^(WRONGPASS|NOAUTH)\b|^ERR AUTH\b|invalid password/i.test(message))
    return "Redis does not take the user or the password of REDIS_URL"
  if (/^NOPERM\b|^ERR The user executing the script/.test(message))
    return "Redis denies the user of REDIS_URL a right that is needed: see infra/redis/users.acl"
  if (/DB index is out of range/i.test(message))
    return "Redis has no database of the number that REDIS_URL ends with"
  if (/unknown command '?EVALSHA/i.test(message))
    return "REDIS_URL names a server that runs no scripts, as a sentinel: name the primary"
  return ""
}

/** Why no connection comes about, for people, without the address or the user that a message may hold. */
export function awayTextOf(error: unknown): string {
  if (error instanceof ErrorReply) return troubleIn(error.message)?.text ?? "Redis refuses the connection"
  const code = error instanceof Error && "code" in error ? String(error.code) : ""
  if (/CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|ALTNAME/.test(code))
    return `the certificate of Redis cannot be verified (${code}): REDIS_CA_FILE names whom it is signed by`
  return "Redis cannot be reached"
}
