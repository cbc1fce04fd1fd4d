import { once } from "node:events"
import { ErrorReply, type TypeMapping } from "redis"
import { createConnection, discard, type RedisConnection } from "./connection.ts"
import { ANSWER_WITHIN, toUpstreamError, UpstreamError, withinDeadline } from "./deadline.ts"
import type { RedisCommand, RawReply, UpstreamLog } from "./types.ts"

/** A Redis: one connection that all requests share, and some that one request has to itself. */
export interface Upstream {
  /** Resolves once the first attempt to connect has ended, either way. */
  readonly tried: Promise<void>
  /**
   * Sends commands in one go, so that nothing of another request comes between them, and answers their replies in
   * order; an error that Redis answered is a reply. While Redis is away it fails at once and nothing is queued.
   *
   * @throws {UpstreamError} without Redis, or without its answer within 5 s
   */
  exchange(commands: readonly RedisCommand[], types: TypeMapping): Promise<readonly RawReply[]>
  /**
   * Sends one command over a connection of its own and waits for its reply as long as Redis and the signal let it.
   *
   * @throws {UpstreamError} without Redis, or when the signal aborts
   */
  exchangeAlone(command: RedisCommand, types: TypeMapping, signal: AbortSignal): Promise<RawReply>
  /**
   * Opens a connection for one caller, who gives it to `end`. It never reconnects, so that its caller learns of a loss
   * by its `end` or `error` event.
   *
   * @throws {UpstreamError} without Redis, with 1,000 of these open, or after `endOpened`
   */
  open(kind: "subscriber" | "other"): Promise<RedisConnection>
  end(connection: RedisConnection): void
  /** Ends every connection that `open` gave out, and gives out no more. */
  endOpened(): void
  /** Ends all connections and does not come back. What still waits for a reply fails. */
  close(): void
}

/** Ours, to stay bounded: each of these is a socket here and a client there. */
const MAX_OPENED = 1_000

export function connectUpstream(redisUrl: string, log: UpstreamLog): Upstream {
  const opened = new Set<RedisConnection>()
  let isAway = false
  let isEnding = false
  let shared = connectShared()
  const tried = Promise.race([once(shared, "ready"), once(shared, "error")]).then(
    () => {},
    () => {},
  )

  function connectShared(): RedisConnection {
    const connection = createConnection(redisUrl, "shared")
    connection.on("ready", () => {
      isAway = false
      log.info({}, "redis:connected")
    })
    connection.on("error", (error: unknown) => {
      // Every attempt fails alike while Redis is away: said once.
      if (!isAway) log.warn({ reason: reasonOf(error) }, "redis:lost")
      isAway = true
    })
    // Rejects only when it is ended before it was ever ready; failed attempts are `error` events.
    connection.connect().catch(() => {})
    return connection
  }

  /** A link that is dead at the other end stays open here for ever, so it is not waited for but replaced. */
  function replace(stalled: RedisConnection): void {
    if (shared !== stalled) return
    log.warn({ waited: ANSWER_WITHIN }, "redis:stalled")
    shared = connectShared()
    discard(stalled)
  }

  async function exchange(
    commands: readonly RedisCommand[],
    types: TypeMapping,
  ): Promise<readonly RawReply[]> {
    const connection = shared
    if (!connection.isReady) throw new UpstreamError("ERR Redis cannot be reached")
    const replies = commands.map((command) =>
      connection.sendCommand<RawReply>(command, { typeMapping: types }).catch(errorAsReply),
    )
    return withinDeadline(Promise.all(replies), () => replace(connection))
  }

  async function exchangeAlone(
    command: RedisCommand,
    types: TypeMapping,
    signal: AbortSignal,
  ): Promise<RawReply> {
    const connection = await open("other")
    const abort = () => end(connection)
    if (signal.aborted) abort()
    signal.addEventListener("abort", abort, { once: true })
    try {
      return await connection.sendCommand<RawReply>(command, { typeMapping: types }).catch(errorAsReply)
    } finally {
      signal.removeEventListener("abort", abort)
      end(connection)
    }
  }

  async function open(kind: "subscriber" | "other"): Promise<RedisConnection> {
    if (isEnding) throw new UpstreamError("ERR this gateway is going away")
    if (opened.size >= MAX_OPENED) throw new UpstreamError("ERR max concurrent connections exceeded")
    const connection = createConnection(redisUrl, kind)
    opened.add(connection)
    // The caller listens for what matters; without any listener an `error` event would end the process.
    connection.on("error", () => {})
    try {
      await withinDeadline(connection.connect())
    } catch (cause) {
      end(connection)
      throw new UpstreamError("ERR Redis cannot be reached", { cause })
    }
    return connection
  }

  function end(connection: RedisConnection): void {
    if (opened.delete(connection)) discard(connection)
  }

  function endOpened(): void {
    isEnding = true
    for (const connection of opened) end(connection)
  }

  return {
    tried,
    exchange,
    exchangeAlone,
    open,
    end,
    endOpened,
    close() {
      endOpened()
      discard(shared)
    },
  }
}

function errorAsReply(error: unknown): ErrorReply {
  if (error instanceof ErrorReply) return error
  throw toUpstreamError(error)
}

/** What a connection failed of, without the address or the user that a message may hold. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown"
  if (error instanceof ErrorReply) return error.message.split(" ", 1)[0] ?? error.name
  return "code" in error ? String(error.code) : error.constructor.name
}
