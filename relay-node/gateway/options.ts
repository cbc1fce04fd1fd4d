import { isLoopback } from "../host.ts"
import { parseRedisUrl, RedisUrlError } from "../../protocol/redis-url.ts"
import type { RedisTls } from "../redis/environment.ts"
import type { UpstreamLog } from "../redis/types.ts"

/** A request that was let through, told before Redis is asked. Names only, as arguments may be anybody's data. */
export interface GatewayRequest {
  /** The route without its arguments: `/`, `/pipeline`, `/multi-exec`, `/get`, `/subscribe`. */
  readonly path: string
  /** Upper case, in the order in which they are sent. */
  readonly commands: readonly string[]
}

export interface GatewayOptions {
  /**
   * The one Redis behind this gateway: `redis[s]://[[user]:password@]host[:port][/database]`, or
   * `unix://[[user]:password@]/path[?db=database]`.
   */
  readonly redisUrl: string
  /** For `rediss://`. Default: Node's own authorities, and no certificate of ours. */
  readonly redisTls?: RedisTls
  /** What every request has to bring. Shorter than 32 characters is good for a loopback address only. */
  readonly token: string
  /** The address to listen on. @default "127.0.0.1" */
  readonly host?: string
  /** 0 takes any free one. @default 8789 */
  readonly port?: number
  /**
   * Lets every command through but those that would upset the shared connection. For tests: on loopback only.
   *
   * @default false
   */
  readonly allCommands?: boolean
  /**
   * Values of the `Host` header to answer to beside loopback names and the bound address: `name` for any port, or
   * `name:port`. Left out, an address that is not loopback answers to whatever it is called by.
   */
  readonly allowedHosts?: readonly string[]
  /** Told of Redis coming and going, and of faults of ours. Never sees a token, an argument or a reply. */
  readonly log?: UpstreamLog
  /**
   * Told where the Redis turns out later to be one that can never do, by a sentence that names `REDIS_URL`: everything
   * is answered 503 from then on.
   */
  onUnfit?(sentence: string): void
  /** Called once for each request that is about to ask Redis: tests and metrics count round trips with it. */
  onRequest?(request: GatewayRequest): void
}

/** The options, checked and complete. */
export interface GatewaySettings {
  readonly redisUrl: string
  readonly redisTls: RedisTls
  readonly token: string
  readonly host: string
  readonly port: number
  readonly allCommands: boolean
  readonly allowedHosts: readonly string[] | undefined
  readonly log: UpstreamLog
  readonly onUnfit: (sentence: string) => void
  readonly onRequest: (request: GatewayRequest) => void
}

/** Everything that is wrong with how a gateway is set up, at once and without a single value. */
export class GatewayConfigError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join("; "))
    this.name = "GatewayConfigError"
    this.problems = problems
  }
}

export const DEFAULT_HOST = "127.0.0.1"
export const DEFAULT_PORT = 8789

/** Below this a token could be guessed over a network. Ours, not Upstash's: theirs are longer. */
export const MIN_TOKEN_LENGTH = 32

const silent: UpstreamLog = { info: () => {}, warn: () => {}, error: () => {} }

/** @throws {GatewayConfigError} naming every option that is wrong, and no value. */
export function checkGatewayOptions(options: GatewayOptions): GatewaySettings {
  const { token, redisUrl, host = DEFAULT_HOST, port = DEFAULT_PORT, allCommands = false } = options
  const problems: string[] = []
  try {
    parseRedisUrl(redisUrl, "redisUrl")
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error
    problems.push(error.message)
  }
  if (!isPort(port)) problems.push("port is no number from 0 to 65535")
  if (token === "") problems.push("token is empty")
  if (!isLoopback(host)) {
    if (token.length < MIN_TOKEN_LENGTH) {
      problems.push(`token has fewer than ${MIN_TOKEN_LENGTH} characters, which only a loopback host allows`)
    }
    if (allCommands) problems.push("allCommands is for tests: only a loopback host allows it")
  }
  if (problems.length > 0) throw new GatewayConfigError(problems)
  return {
    redisUrl,
    redisTls: options.redisTls ?? {},
    token,
    host,
    port,
    allCommands,
    allowedHosts: options.allowedHosts,
    log: options.log ?? silent,
    onUnfit: (sentence) => options.onUnfit?.(sentence),
    onRequest: (request) => options.onRequest?.(request),
  }
}

export const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65_535
