import { ErrorReply } from "redis"
import { answerCode, answerWords } from "../../protocol/store.ts"

/** What a connection failed of, without the address or the user that a message may hold. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown"
  if (error instanceof ErrorReply) return error.message.split(" ", 1)[0] ?? error.name
  return "code" in error ? String(error.code) : error.constructor.name
}

/** Of a loss about which no more is known: there is no server, no name or no way. */
export const UNREACHABLE = "Redis cannot be reached"

/** Errors of TLS by their codes, and what mends them. @see https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const OF_TLS: readonly (readonly [code: RegExp, words: string])[] = [
  [
    /SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_UNTRUSTED|INVALID_CA/,
    "Redis has a certificate of an authority that is not known here: name its file in REDIS_CA_FILE",
  ],
  [/ALTNAME/, "Redis has a certificate for another name than the one in REDIS_URL"],
  [/CERT_HAS_EXPIRED|CERT_NOT_YET_VALID/, "Redis has a certificate that is not valid today"],
  [
    /ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE|ALERT_BAD_CERTIFICATE|ALERT_UNKNOWN_CA|ALERT_CERTIFICATE_UNKNOWN/,
    "Redis does not take our certificate: mend REDIS_CERT_FILE and REDIS_KEY_FILE",
  ],
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH|EPROTO/,
    "Redis does not speak TLS at that port: write redis:// in REDIS_URL, or the port that does",
  ],
]

/** What Redis says while a connection is begun, by its words, and what mends it. */
const OF_REDIS: readonly (readonly [message: RegExp, words: string])[] = [
  [
    /DB index/i,
    "Redis has no database of that number: mend the one in REDIS_URL, or how many Redis has (databases)",
  ],
  [
    /SELECT is not allowed in cluster/i,
    "Redis is a node of a cluster, which has database 0 only: mend the one in REDIS_URL",
  ],
  [/without any password configured/, "Redis has no password set: take the one out of REDIS_URL, or set it"],
  [/^DENIED/, "Redis takes nobody from elsewhere without a password: set one, and put it into REDIS_URL"],
  [/max number of clients/, "Redis takes no more clients (maxclients)"],
  [/^(NOAUTH|WRONGPASS)/, "Redis refuses us: mend the user and the password in REDIS_URL"],
  [/^NOPERM/, "Redis gives too few rights: mend those of the user in REDIS_URL"],
]

/** Why there is no connection, in a sentence for people. */
export function lossWords(error: unknown): string {
  if (error instanceof ErrorReply) {
    const { message } = error
    return OF_REDIS.find(([said]) => said.test(message))?.[1] ?? answerWords(message) ?? UNREACHABLE
  }
  const reason = reasonOf(error)
  return OF_TLS.find(([code]) => code.test(reason))?.[1] ?? UNREACHABLE
}

/** What Redis answered of itself on a connection that stands, with what mends it where that lies with `REDIS_URL`. */
export function trouble(message: string): string | undefined {
  const words = answerWords(message)
  const mend = MENDS[answerCode(message) ?? ""]
  return words && mend ? `${words}: ${mend}` : words
}

const CLUSTER = "REDIS_URL has to name a Redis that is no cluster"
const MENDS: Readonly<Record<string, string>> = {
  READONLY: "REDIS_URL has to name the primary",
  MASTERDOWN: "REDIS_URL has to name the primary",
  MOVED: CLUSTER,
  ASK: CLUSTER,
  CLUSTERDOWN: CLUSTER,
  NOAUTH: "put the user and the password into REDIS_URL",
  NOPERM: "mend those of the user in REDIS_URL",
}

/**
 * Why a Redis can never do, by the section `server` of its INFO; undefined where that is not certain. A Redis before
 * 7.0 is refused by its version, 6.2 at the newest: KeyDB, which keeps the promises, calls itself 6.3. Whoever has a
 * version of its own beside that of Redis, as Dragonfly or Kvrocks, is let in: what it says of Redis is a disguise.
 */
export function unfitWords(info: string): string | undefined {
  const fields = new Map(
    [...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name = "", value = ""]) => [name, value]),
  )
  if (fields.get("redis_mode") === "sentinel")
    return "REDIS_URL names a sentinel: write the address of the primary itself"
  const isDisguise = [...fields.keys()].some(
    (name) => name.endsWith("_version") && !/^(redis|gcc)_/.test(name),
  )
  const [, major, minor] = /^(\d+)\.(\d+)\./.exec(fields.get("redis_version") ?? "") ?? []
  if (isDisguise || major === undefined || minor === undefined) return undefined
  const isTooOld = Number(major) < 6 || (Number(major) === 6 && Number(minor) <= 2)
  return isTooOld
    ? `REDIS_URL names a Redis ${major}.${minor}, on which not every promise holds: take 7.0 or newer, or Valkey`
    : undefined
}

/** The same, by what it answered while a connection was begun. Every Redis knows SELECT, and a sentinel does not. */
export const unfitAnswer = (error: unknown): string | undefined =>
  error instanceof ErrorReply && /unknown command .?SELECT/i.test(error.message)
    ? "REDIS_URL names a sentinel, or a proxy without databases: write the address of the primary itself"
    : undefined
