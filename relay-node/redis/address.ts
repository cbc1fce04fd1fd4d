import { readFileSync } from "node:fs"
import { domainToASCII } from "node:url"

/** Where Redis is, and how to be sure of it. */
export interface RedisAddress {
  /** `redis[s]://[[user][:password]@]host[:port][/database]` or `unix:///path[?db=n]`, as `redisUrlFault` takes it. */
  readonly url: string
  /** PEM texts: whom a `rediss:` server's certificate is to be signed by, and what this side shows of itself. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
}

/** Schemes of others, and what to write instead. */
const OTHERS: Readonly<Record<string, string>> = {
  valkey: "write redis://, which Valkey speaks too",
  valkeys: "write rediss://, which Valkey speaks too",
  "redis+tls": "write rediss://",
  "redis+ssl": "write rediss://",
  "redis+unix": "write unix:///path",
  "redis+socket": "write unix:///path",
  "redis+sentinel": "Sentinel is not asked: name the primary by an address that follows it",
  "redis-sentinel": "Sentinel is not asked: name the primary by an address that follows it",
  "redis+cluster": "a cluster is not supported: name one Redis",
}

/** The most databases that Redis can be told to have is a 32-bit number. */
const MAX_DATABASE = 2 ** 31 - 1

/**
 * What is wrong with the address of a Redis, as the rest of a sentence that begins with its name; undefined where nothing
 * is. Says no part of it, as it holds a password.
 */
export function redisUrlFault(text: string): string | undefined {
  if (/[\s\0]/.test(text)) return "has white space or a line end in it"
  const [whole, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text) ?? []
  if (whole === undefined) return "has no scheme: write redis://host:port"
  const known = scheme.toLowerCase()
  if (known === "unix") return unixFault(rest)
  if (/^https?$/.test(known) && /\.upstash\.io\b/i.test(rest))
    return "is Upstash's REST address: take the one that begins with rediss://"
  if (known !== "redis" && known !== "rediss") {
    const instead = OTHERS[known]
    return instead === undefined ? "is no redis:// or rediss:// URL" : `begins with ${known}://: ${instead}`
  }
  return serverFault(rest)
}

function unixFault(rest: string): string | undefined {
  const [path = "", query] = rest.split("?", 2)
  if (!/^\/[^/]/.test(path)) return "names no socket: write unix:///path/to/redis.sock"
  const db = /^db=(\d+)$/.exec(query ?? "db=0")?.[1]
  if (db === undefined || Number(db) > MAX_DATABASE)
    return "may end with the number of a database, ?db=2, and with nothing else"
  return undefined
}

/** How what stands for itself in a password is to be written. */
const ENCODED =
  "percent-encode what is no letter or digit of the password: @ is %40, : is %3A, / is %2F, # is %23, % is %25"

function serverFault(rest: string): string | undefined {
  const authority = /^[^/?#]*/.exec(rest)?.[0] ?? ""
  const at = authority.lastIndexOf("@")
  const [user, server] = [authority.slice(0, Math.max(0, at)), authority.slice(at + 1)]
  // Of a password that is not encoded some of it is taken for the host, the path or the fragment.
  if (rest.slice(authority.length).includes("@") || user.includes("@")) return `cannot be read: ${ENCODED}`
  if (/%(?![0-9a-f]{2})/i.test(user) || !isUtf8(user)) return `has a % that encodes nothing: ${ENCODED}`
  if (user.split(":").length > 2) return `has two colons before its host: ${ENCODED}`
  if (server.includes(",")) return "names several hosts: one is asked"
  const [, host = "", port] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(server) ?? []
  if (host === "") return "names no host: write redis://host:port"
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535))
    return "must have a port from 1 to 65535"
  const isName = host.startsWith("[") ? URL.canParse(`http://${host}/`) : domainToASCII(host) !== ""
  if (!isName) return "names a host that is none"
  const path = rest.slice(authority.length)
  if (path.includes("#")) return `has a # in it: ${ENCODED}`
  const database = /^\/?([^?]*)/.exec(path)?.[1] ?? ""
  if (database !== "" && !(/^\d+$/.test(database) && Number(database) <= MAX_DATABASE))
    return "must end with the number of a database, as /0"
  return undefined
}

function isUtf8(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

const FILES = { ca: "REDIS_CA_FILE", cert: "REDIS_CERT_FILE", key: "REDIS_KEY_FILE" } as const

/**
 * Reads `REDIS_URL`, and beside it `REDIS_CA_FILE`, `REDIS_CERT_FILE` and `REDIS_KEY_FILE`: paths of PEM files, for
 * `rediss://` only. A variable that is set but empty counts as not set.
 *
 * @param what this is, for the sentence that says that it is not set
 * @returns faults are sentences that each name a variable, and no value
 */
export function readRedisAddress(
  env: Readonly<Record<string, string | undefined>>,
  why: string,
): { readonly address: RedisAddress; readonly faults: readonly string[] } {
  const url = env["REDIS_URL"] ?? ""
  if (url === "") return { address: { url }, faults: [`REDIS_URL is not set: ${why}`] }
  const fault = redisUrlFault(url)
  if (fault !== undefined) return { address: { url }, faults: [`REDIS_URL ${fault}`] }
  const faults: string[] = []
  const tls: { ca?: string; cert?: string; key?: string } = {}
  for (const [option, name] of Object.entries(FILES) as [keyof typeof FILES, string][]) {
    const path = env[name]
    if (!path) continue
    const text = readPem(path)
    if (!/^rediss:/i.test(url)) faults.push(`${name} is for rediss:// only, which REDIS_URL is not`)
    else if (text === undefined) faults.push(`${name} is no file that can be read`)
    else if (!text.includes("-----BEGIN ")) faults.push(`${name} is no PEM file`)
    else tls[option] = text
  }
  if (faults.length === 0 && (tls.cert === undefined) !== (tls.key === undefined))
    faults.push(
      `${tls.cert === undefined ? FILES.cert : FILES.key} is not set: a certificate goes with its key`,
    )
  return { address: { url, ...(Object.keys(tls).length > 0 ? { tls } : {}) }, faults }
}

function readPem(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}
