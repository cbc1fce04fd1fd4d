import { isIP } from "node:net"
import { createClient } from "redis"
import { parseRedisUrl } from "../../protocol/redis-url.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import type { RedisTls } from "./environment.ts"

/** A connection of node-redis, as this gateway sets it up. */
export type RedisConnection = ReturnType<typeof createConnection>

type ConnectionKind = "shared" | "subscriber" | "other"

/**
 * A connection that only listens cannot tell silence from a link that is dead at the other end, so it is made to say
 * something: a ping that stays unanswered for so long ends it.
 */
const SUBSCRIBER_PING: Milliseconds = 10 * SECOND
const SUBSCRIBER_SILENCE: Milliseconds = 25 * SECOND

const BASE_DELAY: Milliseconds = 50
const MAX_DELAY: Milliseconds = 1 * SECOND

/**
 * How long to wait before connecting again, after so many failed attempts. Ceilings: 50 ms, 100, 200, 400, 800, 1 s.
 * Full jitter below the ceiling, as every gateway loses its Redis in the same instant. Never gives up.
 */
export const reconnectDelay = (retries: number, random: () => number = Math.random): Milliseconds =>
  Math.floor(random() * Math.min(MAX_DELAY, BASE_DELAY * 2 ** Math.min(retries, 10)))

/** A connection that stood for so long was a good one: what it is lost by is the first failure of others. */
const GOOD_AFTER: Milliseconds = 5 * SECOND

/** node-redis begins to count anew once a connection stands, also where that ends at once, as without a certificate. */
function backOff(): (retries: number) => Milliseconds {
  let failures = 0
  let failedAt = -Infinity
  return (retries) => {
    failures = performance.now() - failedAt > GOOD_AFTER ? 0 : failures + 1
    failedAt = performance.now()
    return reconnectDelay(Math.max(retries, failures))
  }
}

/**
 * A connection that is not connected yet. Only the shared one comes back by itself when it is lost.
 *
 * @param tls for a `rediss://` address. Default: Node's own authorities, and no certificate of ours.
 * @throws {RedisUrlError}
 */
export function createConnection(redisUrl: string, kind: ConnectionKind, tls: RedisTls = {}) {
  const isSubscriber = kind === "subscriber"
  const { at, isTls, username, password, database } = parseRedisUrl(redisUrl)
  const socket = {
    reconnectStrategy: kind === "shared" ? backOff() : (false as const),
    ...(isSubscriber ? { socketTimeout: SUBSCRIBER_SILENCE } : {}),
  }
  return createClient({
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    database,
    // Upstash answers in the shapes of RESP2: a hash, or members with scores, as one flat list of strings.
    RESP: 2,
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: "disabled",
    // node-redis counts it until a command is written, not answered, and would take one out of a transaction's middle.
    commandOptions: { timeout: 0 },
    ...(isSubscriber ? { pingInterval: SUBSCRIBER_PING } : {}),
    socket: !("host" in at)
      ? { ...socket, ...at, tls: false }
      : isTls
        ? // Node names the host to the server only where it is told to, and an address is no name.
          { ...socket, ...at, tls: true, ...tls, ...(isIP(at.host) ? {} : { servername: at.host }) }
        : { ...socket, ...at, tls: false },
  })
}

/** Ends a connection for good, whatever state it is in. */
export function discard(connection: RedisConnection): void {
  // Destroying does not stop an attempt to connect that is under way, which would leave an open socket behind.
  connection.on("ready", () => connection.destroy())
  connection.destroy()
}
