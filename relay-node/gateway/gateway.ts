import { once } from "node:events"
import { createServer, type Server } from "node:http"
import { getRequestListener } from "@hono/node-server"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { createApp } from "./app.ts"
import { checkGatewayOptions, GatewayConfigError, type GatewayOptions } from "./options.ts"
import { createSyncToken } from "./sync-token.ts"
import { connectUpstream } from "../redis/upstream.ts"
import { reasonOf } from "../redis/words.ts"

export type { GatewayOptions, GatewayRequest } from "./options.ts"
export { GatewayConfigError } from "./options.ts"

export interface Gateway {
  /** Where it listens, for `UPSTASH_REDIS_REST_URL`. Without a slash at its end. */
  readonly url: string
  /** The port that was bound. */
  readonly port: number
  /**
   * Takes no more requests, lets those under way end, ends every stream of events, and leaves neither socket nor timer
   * behind. Takes at most the 6 s after which an answer would be too late anyway. May be called twice.
   */
  close(): Promise<void>
}

/** A request under way has its answer within 5 s, of Redis or of our own; the rest is for sending it. */
const CLOSE_WITHIN: Milliseconds = 6 * SECOND

/** How soon a client that vanished without a word is looked for, so that its stream does not stay open. */
const KEEP_ALIVE: Milliseconds = 30 * SECOND

/**
 * Serves the Upstash REST protocol from any Redis. Resolves once it listens and has tried Redis once: it starts without
 * Redis, too, answers 503 until Redis is there, and never stops trying.
 *
 * @throws {GatewayConfigError} naming every option that is wrong, or saying that the port is taken, or that this Redis
 * can never do.
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const settings = checkGatewayOptions(options)
  let unfit: string | undefined
  let isStarted = false
  const upstream = connectUpstream(settings.redisUrl, settings.log, {
    tls: settings.redisTls,
    onUnfit(sentence) {
      unfit = sentence
      if (isStarted) settings.onUnfit(sentence)
    },
  })
  let isClosing = false
  const app = createApp({
    settings,
    upstream,
    syncToken: createSyncToken(),
    isClosing: () => isClosing,
  })
  const serverOptions = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE }
  const listener = getRequestListener(app.fetch)
  let underWay = 0
  const server = createServer(serverOptions, (incoming, outgoing) => {
    underWay++
    outgoing.on("close", () => {
      underWay--
      endIdle()
    })
    void listener(incoming, outgoing)
  })
  // Node takes a connection that never carried a request for a busy one, and some clients open such in advance.
  const endIdle = () => {
    if (isClosing && underWay === 0) server.closeAllConnections()
  }

  let port: number
  try {
    port = await listen(server, settings.port, settings.host)
  } catch (error) {
    upstream.close()
    throw error
  }
  // Such as too many open files: one connection is not accepted, and the others go on.
  server.on("error", (error) => settings.log.error({ reason: reasonOf(error) }, "gateway:acceptFailed"))
  await upstream.tried
  isStarted = true

  const close = async () => {
    isClosing = true
    const closed = once(server, "close")
    server.close()
    upstream.endOpened()
    endIdle()
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN)
    await closed
    clearTimeout(timer)
    upstream.close()
  }
  let closed: Promise<void> | undefined
  // What can never do is told at once, where it was there to be asked.
  if (unfit !== undefined) {
    await close()
    throw new GatewayConfigError([unfit])
  }
  const name = settings.host.includes(":") ? `[${settings.host}]` : settings.host
  settings.log.info({ host: settings.host, port }, "gateway:started")
  return { url: `http://${name}:${port}`, port, close: () => (closed ??= close()) }
}

async function listen(server: Server, port: number, host: string): Promise<number> {
  server.listen(port, host)
  try {
    await once(server, "listening")
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE")) throw cause
    throw new GatewayConfigError([
      `port ${port} is taken: set TIDEMARK_GATEWAY_PORT to another, or 0 for any free one`,
    ])
  }
  const address = server.address()
  return typeof address === "object" && address ? address.port : port
}
