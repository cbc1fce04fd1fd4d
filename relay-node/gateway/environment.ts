import { isLoopback } from "../host.ts"
import { readRedisEnvironment, RedisConfigError, type RedisEnvironment } from "../redis/environment.ts"
import {
  DEFAULT_HOST,
  DEFAULT_PORT,
  GatewayConfigError,
  type GatewayOptions,
  isPort,
  MIN_TOKEN_LENGTH,
} from "./options.ts"

/**
 * Reads what `readRedisEnvironment` does, and `UPSTASH_REDIS_REST_TOKEN`, `TIDEMARK_HOST` (127.0.0.1) and
 * `TIDEMARK_GATEWAY_PORT` (8789, 0 for any free one). A variable that is set but empty counts as not set.
 *
 * @throws {GatewayConfigError} naming every variable that is missing or wrong, and no value.
 */
export function readGatewayEnvironment(env: Readonly<Record<string, string | undefined>>): GatewayOptions {
  const token = env["UPSTASH_REDIS_REST_TOKEN"] ?? ""
  const host = env["TIDEMARK_HOST"] || DEFAULT_HOST
  const portText = env["TIDEMARK_GATEWAY_PORT"] || String(DEFAULT_PORT)
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : Number.NaN

  const problems: string[] = []
  let redis: RedisEnvironment | undefined
  try {
    redis = readRedisEnvironment(env)
  } catch (error) {
    if (!(error instanceof RedisConfigError)) throw error
    problems.push(...error.problems)
  }
  if (token === "") problems.push("UPSTASH_REDIS_REST_TOKEN is not set: the gateway asks it of every request")
  else if (token.length < MIN_TOKEN_LENGTH && !isLoopback(host)) {
    problems.push(
      `UPSTASH_REDIS_REST_TOKEN must have ${MIN_TOKEN_LENGTH} characters or more where TIDEMARK_HOST is not loopback`,
    )
  }
  if (!isPort(port)) problems.push("TIDEMARK_GATEWAY_PORT is no number from 0 to 65535")
  if (problems.length > 0 || !redis) throw new GatewayConfigError(problems)
  return { ...redis, token, host, port }
}
