/** Where a Redis is, and as whom it is spoken to: what `REDIS_URL` says. */
export interface RedisAddress {
  /** A name, an IPv4 or an IPv6 address without brackets, with its port; or the absolute path of a Unix socket. */
  readonly at: { readonly host: string; readonly port: number } | { readonly path: string }
  readonly isTls: boolean
  /** Default: none, which to Redis is `default`. */
  readonly username: string | undefined
  readonly password: string | undefined
  /** 0 unless another is named. */
  readonly database: number
}

/** What is wrong with a `REDIS_URL`, in a sentence that begins with the variable's name and holds nothing of its value. */
export class RedisUrlError extends Error {
  constructor(message: string) {
    super(message)
    this.name = "RedisUrlError"
  }
}

/** What the shape of one is, for whoever has to write another. */
export const REDIS_URL_SHAPE =
  "redis://[user:password@]host[:port][/database], rediss:// for TLS, or unix:///path"

const DEFAULT_PORT = 6379

/** Redis reads a database's number into 32 bits. How many there are is for its configuration to say. */
const MAX_DATABASE = 2 ** 31 - 1

/** What people write who have another program's address at hand, and what stands for it here. */
const OTHER_SCHEMES: Readonly<Record<string, string>> = {
  valkey: "write redis:// in place of valkey://",
  valkeys: "write rediss:// in place of valkeys://",
  "redis+tls": "write rediss:// in place of redis+tls://",
  "redis+ssl": "write rediss:// in place of redis+ssl://",
  tls: "write rediss:// in place of tls://",
  tcp: "write redis:// in place of tcp://",
  "redis+unix": "write unix:///path in place of redis+unix://",
  "redis+socket": "write unix:///path in place of redis+socket://",
  "redis-socket": "write unix:///path in place of redis-socket://",
  "redis-sentinel": "sentinels cannot be named: write redis:// and the address of the primary",
  "redis+sentinel": "sentinels cannot be named: write redis:// and the address of the primary",
  "rediss+sentinel": "sentinels cannot be named: write rediss:// and the address of the primary",
  sentinel: "sentinels cannot be named: write redis:// and the address of the primary",
  "redis-cluster": "a cluster cannot be named: write redis:// and the address of a Redis that is none",
  "redis+cluster": "a cluster cannot be named: write redis:// and the address of a Redis that is none",
  "rediss+cluster": "a cluster cannot be named: write rediss:// and the address of a Redis that is none",
  http: "an address of REST belongs to UPSTASH_REDIS_REST_URL: write redis:// or rediss://",
  https: "an address of REST belongs to UPSTASH_REDIS_REST_URL: write redis:// or rediss://",
}

const RAW =
  "percent-encode what stands in the user and the password: @ is %40, : %3A, / %2F, ? %3F, # %23, % %25"

/**
 * Reads `redis://`, `rediss://` and `unix://` addresses, and takes nothing for granted that it does not know: what
 * would be ignored is refused.
 *
 * @param name what the address is called where it is set. Default `REDIS_URL`.
 * @throws {RedisUrlError} in one sentence that names it and the mend
 */
export function parseRedisUrl(text: string, name = "REDIS_URL"): RedisAddress {
  const wrong = (what: string) => new RedisUrlError(`${name} ${what}`)
  if (text === "") throw wrong(`is empty: write ${REDIS_URL_SHAPE}`)
  if (text.trim() !== text) throw wrong("begins or ends with white space or a line end: remove it")
  if (/^["'`]/.test(text)) throw wrong("begins with a quotation mark: remove the quotation marks")
  // oxlint-disable-next-line no-control-regex
  if (/[\s\u0000-\u001f\u007f]/.test(text))
    throw wrong("has white space or a control character in it: remove it, or percent-encode it")
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text) ?? []
  switch (scheme?.toLowerCase()) {
    case undefined:
      throw wrong(`has no scheme: write ${REDIS_URL_SHAPE}`)
    case "redis":
      return ofNetwork(rest, false, wrong)
    case "rediss":
      return ofNetwork(rest, true, wrong)
    case "unix":
      return ofSocket(rest, wrong)
    default: {
      const known = scheme?.toLowerCase() ?? ""
      const other = Object.hasOwn(OTHER_SCHEMES, known) ? OTHER_SCHEMES[known] : undefined
      throw wrong(`has a scheme that is not known here: ${other ?? `write ${REDIS_URL_SHAPE}`}`)
    }
  }
}

type Wrong = (what: string) => RedisUrlError

function ofNetwork(rest: string, isTls: boolean, wrong: Wrong): RedisAddress {
  const [, authority = "", behind = ""] = /^([^/?#]*)(.*)$/.exec(rest) ?? []
  // Whatever ends an authority ends a password too that was not encoded, and the @ comes behind it.
  if (behind.includes("@") || authority.split("@").length > 2)
    throw wrong(`has more than one address in it, or a password that is not encoded: ${RAW}`)
  const [host = "", credentials] = authority.split("@").toReversed()
  const known = readCredentials(credentials, wrong)
  const at = readHost(host, wrong)
  if (/[?#]/.test(behind)) {
    throw wrong(
      "has a ? or # that nothing is read behind: write the database as /2, TLS as rediss://, and encode a password's own",
    )
  }
  return { at, isTls, ...known, database: readDatabase(behind.slice(1), wrong) }
}

function ofSocket(rest: string, wrong: Wrong): RedisAddress {
  const [, authority = "", path = "", behind = ""] = /^([^/?#]*)([^?#]*)(.*)$/.exec(rest) ?? []
  if (authority !== "" && !authority.endsWith("@")) {
    throw wrong(
      rest.includes("@")
        ? `has a password that is not encoded: ${RAW}`
        : "names a Unix socket without its absolute path: write unix:///run/redis.sock, with three slashes",
    )
  }
  if (authority.split("@").length > 2) throw wrong(`has a password that is not encoded: ${RAW}`)
  if (path.length < 2) throw wrong("names no Unix socket: write unix:///run/redis.sock, with three slashes")
  const [, database] = /^\?db=([^&#]*)$/.exec(behind) ?? []
  if (behind !== "" && database === undefined) {
    throw wrong("has more behind its path than ?db=2: nothing else is read there")
  }
  return {
    at: { path: decode(path, wrong) },
    isTls: false,
    ...readCredentials(authority === "" ? undefined : authority.slice(0, -1), wrong),
    database: readDatabase(database ?? "", wrong),
  }
}

function readCredentials(
  text: string | undefined,
  wrong: Wrong,
): Pick<RedisAddress, "username" | "password"> {
  if (text === undefined) return { username: undefined, password: undefined }
  const [user = "", password = "", ...more] = text.split(":")
  if (more.length > 0) throw wrong(`has a : in its password: ${RAW}`)
  // Redis would take the user for somebody without a password, and say no more than that it is the wrong one.
  if (password === "")
    throw wrong("has a user without a password: write redis://user:password@host, or leave out user and @")
  return { username: user === "" ? undefined : decode(user, wrong), password: decode(password, wrong) }
}

function decode(text: string, wrong: Wrong): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw wrong(`has a % that begins no character in it: ${RAW}`)
  }
}

function readHost(text: string, wrong: Wrong): { host: string; port: number } {
  if (text.includes(",")) throw wrong("names several hosts: name one, the primary")
  const [, bracketed, plain = "", port] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/.exec(text) ?? []
  const host = bracketed ?? plain
  if (bracketed === undefined && /:.*:/.test(text)) {
    throw wrong("names an IPv6 address without its brackets, or has a : too many: write redis://[::1]:6379")
  }
  if (host === "") throw wrong("names no host: write redis://host:6379")
  const isHost =
    bracketed === undefined ? /^[\w.-]+$/.test(host) : /:/.test(host) && URL.canParse(`http://[${host}]`)
  if (!isHost)
    throw wrong("names a host that can be none: a name, an IPv4 address, or an IPv6 address in brackets")
  if (port === undefined) return { host, port: DEFAULT_PORT }
  const number = /^\d{1,5}$/.test(port) ? Number(port) : 0
  if (number < 1 || number > 65_535) throw wrong("names a port that is no number from 1 to 65535")
  return { host, port: number }
}

function readDatabase(text: string, wrong: Wrong): number {
  if (text === "") return 0
  const number = /^\d{1,10}$/.test(text) ? Number(text) : MAX_DATABASE + 1
  if (number > MAX_DATABASE) {
    throw wrong(
      `names a database that is none: Redis numbers them, from 0 to 15 unless its "databases" says otherwise`,
    )
  }
  return number
}
