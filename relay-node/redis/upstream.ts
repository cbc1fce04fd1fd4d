import { once } from "node:events"
import { ErrorReply, type TypeMapping } from "redis"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import type { RedisAddress } from "./address.ts"
import { createConnection, discard, type RedisConnection } from "./connection.ts"
import { ANSWER_WITHIN, toUpstreamError, UpstreamError, withinDeadline } from "./deadline.ts"
import { awayTextOf, type Trouble, troubleIn, unfitOf } from "./fitness.ts"
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
  /** What is wrong with Redis, or with what we are there, for people: "Redis is a read-only replica". Else undefined. */
  readonly trouble: string | undefined
  /**
   * Somebody found out by other means that this is not the primary: it is connected to anew, which asks again where it
   * is, and `trouble` says so until `trust` is called.
   */
  distrust(text: string): void
  trust(): void
  /** Ends all connections and does not come back. What still waits for a reply fails. */
  close(): void
}

export interface UpstreamOptions {
  /** All goes over another connection than before, since the Redis of before was not the primary any more. */
  readonly onMoved?: () => void
  /** The Redis that was connected to can never be worked with; a sentence that names `REDIS_URL`. */
  readonly onUnfit?: (reason: string) => void
}

/** Ours: as often a Redis that is not the primary is asked for anew, while commands are refused there. */
const MOVE_EVERY: Milliseconds = 1 * SECOND

/** Of trouble that was found by other means than an answer. */
const TOLD = "told"

/** Ours, to stay bounded: each of these is a socket here and a client there. */
const MAX_OPENED = 1_000

export function connectUpstream(
  redis: string | RedisAddress,
  log: UpstreamLog,
  { onMoved, onUnfit }: UpstreamOptions = {},
): Upstream {
  const opened = new Set<RedisConnection>()
  let away: string | undefined
  let isEnding = false
  /** By which command it was met: the same one ends it. */
  let trouble: { readonly text: string; readonly by: string } | undefined
  let movedAt = Number.NEGATIVE_INFINITY
  /** Takes the shared one's place once it is connected. */
  let next: RedisConnection | undefined
  let shared = connectShared()
  const tried = Promise.race([once(shared, "ready"), once(shared, "error")]).then(
    () => {},
    () => {},
  )

  function connectShared(): RedisConnection {
    const connection = createConnection(redis, "shared")
    connection.on("ready", () => {
      if (connection === next) take(connection)
      away = undefined
      log.info({}, "redis:connected")
      if (onUnfit) void examine(connection)
    })
    connection.on("error", (error: unknown) => {
      if (connection !== shared) return
      // Every attempt fails alike while Redis is away: said once.
      if (away === undefined) log.warn({ reason: reasonOf(error) }, "redis:lost")
      away = awayTextOf(error)
    })
    // Rejects only when it is ended before it was ever ready; failed attempts are `error` events.
    connection.connect().catch(() => {})
    return connection
  }

  async function examine(connection: RedisConnection): Promise<void> {
    try {
      const reason = unfitOf(await connection.sendCommand<string>(["INFO", "server"]))
      if (reason !== undefined) onUnfit?.(reason)
    } catch {
      // Whoever may not ask is not judged.
    }
  }

  function take(connection: RedisConnection): void {
    const before = shared
    shared = connection
    next = undefined
    // What is under way there comes to its end.
    void withinDeadline(before.close())
      .catch(() => {})
      .finally(() => discard(before))
    onMoved?.()
  }

  /** Asks anew where the primary is. What is sent meanwhile goes to where it went: it may come right there too. */
  function move(): void {
    const now = performance.now()
    if (isEnding || next || now - movedAt < MOVE_EVERY) return
    movedAt = now
    next = connectShared()
  }

  function meet({ text, isElsewhere }: Trouble, by: string): void {
    if (trouble?.text !== text) log.warn({ detail: text }, "redis:refused")
    trouble = { text, by }
    if (isElsewhere) move()
  }

  function overcome(by: string): void {
    if (trouble?.by !== by) return
    trouble = undefined
    log.info({}, "redis:accepted")
  }

  /** What the answers say of Redis itself. */
  function judge(commands: readonly RedisCommand[], replies: readonly RawReply[]): void {
    for (const [index, reply] of replies.entries()) {
      const found = errorIn(reply)
      const met = found && troubleIn(found.message)
      if (!trouble && !met) continue
      const by = (commands[index] ?? []).slice(0, 2).join(" ")
      if (met) meet(met, by)
      else if (!found) overcome(by)
    }
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
    if (!connection.isReady) throw new UpstreamError(`ERR ${away ?? "Redis cannot be reached"}`)
    const pending = commands.map((command) =>
      connection.sendCommand<RawReply>(command, { typeMapping: types }).catch(errorAsReply),
    )
    const replies = await withinDeadline(Promise.all(pending), () => replace(connection))
    judge(commands, replies)
    return replies
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
    const connection = createConnection(redis, kind)
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
    get trouble() {
      return away ?? trouble?.text
    },
    distrust: (text) => meet({ text, isElsewhere: true }, TOLD),
    trust: () => overcome(TOLD),
    close() {
      endOpened()
      discard(shared)
      if (next) discard(next)
    },
  }
}

/** An error that Redis answered, also inside the reply to an EXEC. */
function errorIn(reply: RawReply): ErrorReply | undefined {
  if (reply instanceof ErrorReply) return reply
  if (!Array.isArray(reply)) return undefined
  for (const part of reply as readonly RawReply[]) {
    if (part instanceof ErrorReply) return part
  }
  return undefined
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
