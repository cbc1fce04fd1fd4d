import { createPrivateKey, X509Certificate } from "node:crypto"
import { readFileSync } from "node:fs"
import { createSecureContext } from "node:tls"
import { parseRedisUrl, REDIS_URL_SHAPE, type RedisAddress, RedisUrlError } from "../../protocol/redis-url.ts"

/** What TLS to Redis is done with, each in PEM. Left out: Node's own authorities, and no certificate of ours. */
export interface RedisTls {
  /** The authorities that are trusted, in place of Node's own. */
  readonly ca?: string
  /** Our certificate, with those between it and its authority. */
  readonly cert?: string
  /** Its key. */
  readonly key?: string
}

export interface RedisEnvironment {
  readonly redisUrl: string
  readonly redisTls: RedisTls
}

/** Everything that is wrong with how a Redis is named, a sentence each, without a single value. */
export class RedisConfigError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join("; "))
    this.name = "RedisConfigError"
    this.problems = problems
  }
}

/**
 * Reads `REDIS_URL`, and for `rediss://` `REDIS_CA_FILE`, `REDIS_CERT_FILE` and `REDIS_KEY_FILE`, files in PEM. A
 * variable that is set but empty counts as not set.
 *
 * @throws {RedisConfigError} naming every variable that is missing or wrong, and no value
 */
export function readRedisEnvironment(env: Readonly<Record<string, string | undefined>>): RedisEnvironment {
  const problems: string[] = []
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof RedisUrlError)) throw error
      problems.push(error.message)
      return undefined
    }
  }
  const redisUrl = env["REDIS_URL"] ?? ""
  let address: RedisAddress | undefined
  if (redisUrl === "") problems.push(`REDIS_URL is not set: write ${REDIS_URL_SHAPE}`)
  else address = attempt(() => parseRedisUrl(redisUrl))
  const ca = attempt(() => readPem(env, "REDIS_CA_FILE", "certificates"))
  const cert = attempt(() => readPem(env, "REDIS_CERT_FILE", "certificates"))
  const key = attempt(() => readPem(env, "REDIS_KEY_FILE", "key"))
  const [hasCert, hasKey] = [env["REDIS_CERT_FILE"], env["REDIS_KEY_FILE"]].map(Boolean)
  if (hasCert && !hasKey) problems.push("REDIS_KEY_FILE is not set: REDIS_CERT_FILE needs its key beside it")
  if (hasKey && !hasCert)
    problems.push("REDIS_CERT_FILE is not set: REDIS_KEY_FILE needs its certificate beside it")
  if (cert !== undefined && key !== undefined && !belongTogether(cert, key))
    problems.push("REDIS_KEY_FILE is not the key of the first certificate in REDIS_CERT_FILE")
  if (address && !address.isTls) {
    for (const name of ["REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"]) {
      // It would come to nothing, and what was meant to be protected would go in the clear.
      if (env[name]) problems.push(`${name} is for TLS only: write REDIS_URL as rediss://, or unset ${name}`)
    }
  }
  if (problems.length > 0) throw new RedisConfigError(problems)
  return {
    redisUrl,
    redisTls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
  }
}

function readPem(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  kind: "certificates" | "key",
): string | undefined {
  const path = env[name]
  if (!path) return undefined
  let text: string
  try {
    text = readFileSync(path, "utf8")
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown"
    throw new RedisUrlError(`${name} names a file that cannot be read (${code})`)
  }
  if (kind === "key" && /ENCRYPTED/.test(text))
    throw new RedisUrlError(
      `${name} holds a key with a passphrase, which nobody is there to type: store it without`,
    )
  try {
    if (kind === "key") createPrivateKey(text)
    else checkCertificates(text)
  } catch {
    throw new RedisUrlError(
      kind === "key"
        ? `${name} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)`
        : `${name} holds no certificates in PEM (-----BEGIN CERTIFICATE-----), or a broken one`,
    )
  }
  return text
}

/** @throws {Error} unless there is one at least, and none is broken */
function checkCertificates(text: string): void {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  const begun = text.match(/-----BEGIN [A-Z ]*CERTIFICATE-----/g) ?? []
  if (blocks.length === 0 || blocks.length !== begun.length) throw new Error("not PEM")
  for (const block of blocks) void new X509Certificate(block)
}

function belongTogether(cert: string, key: string): boolean {
  try {
    createSecureContext({ cert, key })
    return true
  } catch {
    return false
  }
}
