import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { ErrorReply, type RedisArgument, type TypeMapping } from "redis"
import { answerCode, mayBeElsewhere } from "../../protocol/store.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { createConnection, discard, type RedisConnection } from "./connection.ts"
import { ANSWER_WITHIN, toUpstreamError, UpstreamError, withinDeadline } from "./deadline.ts"
import type { RedisTls } from "./environment.ts"
import type { RedisCommand, RawReply, UpstreamLog } from "./types.ts"
import { lossWords, reasonOf, trouble, unfitAnswer, unfitWords, UNREACHABLE } from "./words.ts"

export interface UpstreamOptions {
  /** For a `rediss://` address. Default: Node's own authorities, and no certificate of ours. */
  readonly tls?: RedisTls
  /**
   * Told once why this Redis can never do, as when it is a sentinel or too old: a sentence that names `REDIS_URL`.
   * From then on everything fails by that sentence.
   */
  readonly onUnfit?: (sentence: string) => void
}

/** A Redis: one connection that all requests share, and some that one request has to itself. */
export interface Upstream {
  /** Resolves once the first attempt to connect has ended, either way, and Redis has said what it is. */
  readonly tried: Promise<void>
  /**
   * What is wrong now, a sentence for people without its full stop: there is no connection, or the one there is leads
   * to a node that is not, or no longer, the one to be at. Undefined while nothing is known to be.
   */
  readonly trouble: string | undefined
  /**
   * Whoever has seen that this node is not the primary, other than by an error that it answered, says so here, as a
   * sentence without its full stop: "Redis is a read-only replica". It is what `trouble` says until a new connection
   * leads to a node that takes writes. May be called as often as it is seen.
   */
  distrust(reason: string): void
  /**
   * Calls the listener each time that the trouble with a node is over: the connection for commands may be another one
   * since, and what was opened before may still be at the node that was left. Subscriptions that `open` gave out are
   * ended before.
   */
  onRecovered(listener: () => void): void
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

/** While a node goes on refusing, its address is looked at so often. */
const LOOK_EVERY: Milliseconds = 1 * SECOND

/** Where nothing proves that a node takes writes again, it is believed after it refused nothing for so long. */
const BELIEVED_AFTER: Milliseconds = 3 * SECOND

/** A node that is to be moved to has so long to be reached. */
const CONNECT_WITHIN: Milliseconds = 3 * SECOND

/**
 * Does nothing, and is refused wherever a script that writes would be: by a replica, by a primary with too few of
 * those, while data are loaded. That goes by its first line, which Redis knows since 7.0.
 *
 * @see https://redis.io/docs/latest/develop/programmability/eval-intro/#eval-flags
 */
const WOULD_WRITE = "#!lua\nreturn 1"

const SILENT = Symbol("silent")

/** Why the node that we are at is not the one to be at. */
interface Distrust {
  words: string
  /** Whether somebody said so, rather than the node itself: then its role has to be another one. */
  readonly isTold: boolean
  /** A key that it would not serve. */
  key: RedisArgument | undefined
  /** When it last refused something, by `performance.now()`. */
  lastAt: number
}

export function connectUpstream(
  redisUrl: string,
  log: UpstreamLog,
  { tls, onUnfit }: UpstreamOptions = {},
): Upstream {
  const opened = new Map<RedisConnection, "subscriber" | "other">()
  const closing = new AbortController()
  const listeners: (() => void)[] = []
  let lost: string | undefined
  /** What Redis said by that, as it writes codes: whoever is answered knows those. */
  let lostBy = "ERR"
  /** What the log was told last of a loss, since Redis last answered. */
  let said: string | undefined
  /** Whether the connection of now has answered anything. */
  let hasAnswered = true
  /** Whether there is no connection. */
  let isAway = true
  /** Whether connections come to stand and end before they answer anything. */
  let isFlapping = false
  let distrusted: Distrust | undefined
  let unfit: string | undefined
  let isKnown = false
  let isLooking = false
  let lookedAt = -Infinity
  /** Whether this user may run scripts, without which nothing can be tried. */
  let mayTry = true
  let isEnding = false
  let shared = createConnection(redisUrl, "shared", tls)
  const tried = Promise.race([once(shared, "ready"), once(shared, "error")])
    .then(
      () => {},
      () => {},
    )
    // After what `ready` itself begins.
    .then(() => knowing)
  let knowing: Promise<void> = Promise.resolve()
  attend(shared)
  // Rejects only when it is ended before it was ever ready; failed attempts are `error` events.
  shared.connect().catch(() => {})

  /** Follows what becomes of the connection that is shared. */
  function attend(connection: RedisConnection): void {
    connection.on("ready", () => {
      if (connection !== shared) return
      lost = undefined
      isAway = false
      // Else it comes and goes, and is told of once it has answered.
      if (!isFlapping) tellConnected()
      if (!isKnown || isFlapping) knowing = know(connection)
    })
    connection.on("error", (error: unknown) => {
      if (connection !== shared) return
      isFlapping ||= !isAway && !hasAnswered
      isAway = true
      // One that wants our certificate says so now and then, and often only ends the connection.
      const words = isFlapping && lossWords(error) === UNREACHABLE ? (said ?? UNREACHABLE) : lossWords(error)
      // Every attempt fails alike while Redis is away: said once.
      if (words !== said) log.warn(lossFields(reasonOf(error), words), "redis:lost")
      lost = said = words
      lostBy = (error instanceof ErrorReply && answerCode(error.message)) || "ERR"
      const never = unfitAnswer(error)
      if (never !== undefined && !isKnown) giveUp(never)
    })
  }

  function tellConnected(): void {
    said = undefined
    hasAnswered = false
    log.info({}, "redis:connected")
  }

  function answered(): void {
    if (isFlapping) tellConnected()
    isFlapping = false
    hasAnswered = true
  }

  /** Asks a Redis once what it is. One that does not say so is taken for fit. */
  async function know(connection: RedisConnection): Promise<void> {
    const info = await withinDeadline(connection.sendCommand<string>(["INFO", "server"])).catch(
      (error: unknown) => error,
    )
    if (connection === shared && (typeof info === "string" || info instanceof ErrorReply)) answered()
    if (typeof info !== "string") return
    isKnown = true
    const never = unfitWords(info)
    if (never !== undefined) giveUp(never)
  }

  function giveUp(sentence: string): void {
    if (unfit !== undefined) return
    unfit = sentence
    log.error({ detail: sentence }, "redis:unfit")
    onUnfit?.(sentence)
  }

  /** A link that is dead at the other end stays open here for ever, so it is not waited for but replaced. */
  function replace(stalled: RedisConnection): void {
    if (shared !== stalled) return
    log.warn({ waited: ANSWER_WITHIN }, "redis:stalled")
    lost = "Redis does not answer"
    lostBy = "ERR"
    isAway = true
    shared = createConnection(redisUrl, "shared", tls)
    attend(shared)
    shared.connect().catch(() => {})
    discard(stalled)
  }

  /** Looks through what a node answered for errors about itself. */
  function judge(commands: readonly RedisCommand[], replies: readonly RawReply[]): void {
    for (const [index, reply] of replies.entries()) {
      const error = errorIn(reply)
      const code = error && answerCode(error.message)
      if (!error || !code || !mayBeElsewhere(code)) continue
      const words = trouble(error.message) ?? code
      const key = keyOf(commands[index])
      if (distrusted) Object.assign(distrusted, { words, key, lastAt: performance.now() })
      else begin({ words, isTold: false, key, lastAt: performance.now() }, code)
    }
  }

  function begin(distrust: Distrust, reason: string): void {
    distrusted = distrust
    log.warn({ reason, detail: distrust.words }, "redis:refused")
    if (!isLooking) void lookAgain().catch(() => {})
  }

  /**
   * Connects anew, which looks the name up again, until that leads to a node that takes writes. Whoever waits for the
   * old connection has the answer from there, and who comes after has the new one.
   */
  async function lookAgain(): Promise<void> {
    isLooking = true
    try {
      while (distrusted && !closing.signal.aborted) {
        // The first time at once; after that also where it was over in between.
        const pause = lookedAt + LOOK_EVERY - performance.now()
        if (pause > 0) await sleep(pause, undefined, { signal: closing.signal })
        lookedAt = performance.now()
        const next = await reach()
        if (!next) continue
        const words = await tryOut(next, distrusted).catch((): typeof SILENT => SILENT)
        // One that does not answer is no better than the one that does.
        if (closing.signal.aborted || !next.isReady || words === SILENT) {
          discard(next)
          continue
        }
        const left = shared
        shared = next
        lost = said = undefined
        isAway = isFlapping = false
        hasAnswered = true
        retire(left)
        if (words !== undefined) distrusted.words = words
        else recover()
      }
    } finally {
      isLooking = false
    }
  }

  function recover(): void {
    distrusted = undefined
    log.info({}, "redis:recovered")
    for (const [connection, kind] of opened) if (kind === "subscriber") end(connection)
    for (const listener of listeners) listener()
  }

  /** A new connection that is ready, or nothing where it fails or takes too long. */
  async function reach(): Promise<RedisConnection | undefined> {
    const next = createConnection(redisUrl, "shared", tls)
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, closing.signal])
    const late = sleep(CONNECT_WITHIN, undefined, { signal })
    attend(next)
    next.connect().catch(() => {})
    try {
      // Rejects by its first error too: what follows would be other attempts at the same.
      await Promise.race([
        once(next, "ready", { signal }),
        late.then(() => Promise.reject(new Error("late"))),
      ])
      return next
    } catch {
      discard(next)
      return undefined
    } finally {
      over.abort()
      late.catch(() => {})
    }
  }

  /**
   * What is wrong with a node, or nothing where it takes writes, of the key that was refused.
   *
   * @throws {UpstreamError} where it does not answer
   */
  async function tryOut(next: RedisConnection, distrust: Distrust): Promise<string | undefined> {
    const ask = (command: readonly RedisArgument[]) =>
      withinDeadline(next.sendCommand<RawReply>(command).catch(errorAsReply))
    if (distrust.isTold) {
      const info = await ask(["INFO", "replication"])
      if (typeof info === "string" && /^role:slave/m.test(info)) return distrust.words
    }
    if (mayTry) {
      const keys = distrust.key === undefined ? ["0"] : ["1", distrust.key]
      const answer = await ask(["EVAL", WOULD_WRITE, ...keys])
      if (!(answer instanceof ErrorReply)) return undefined
      const refusal = answerCode(answer.message)
      if (refusal !== undefined && mayBeElsewhere(refusal)) return trouble(answer.message)
      if (refusal === "NOPERM" && distrust.key === undefined) mayTry = false
    }
    // It cannot be told, so it goes by what others are answered.
    return performance.now() - distrust.lastAt < BELIEVED_AFTER ? distrust.words : undefined
  }

  /** Lets a connection that was replaced answer what it still owes. */
  function retire(left: RedisConnection): void {
    if (left.isReady)
      void withinDeadline(left.close())
        .catch(() => {})
        .finally(() => discard(left))
    else discard(left)
  }

  async function exchange(
    commands: readonly RedisCommand[],
    types: TypeMapping,
  ): Promise<readonly RawReply[]> {
    const connection = shared
    if (unfit !== undefined) throw new UpstreamError(`ERR ${unfit}`)
    if (!connection.isReady)
      throw new UpstreamError(lost === undefined ? `ERR ${UNREACHABLE}` : `${lostBy} ${lost}`)
    const replies = commands.map((command) =>
      connection.sendCommand<RawReply>(command, { typeMapping: types }).catch(errorAsReply),
    )
    const replied = await withinDeadline(Promise.all(replies), () => replace(connection))
    // One that was replaced meanwhile says nothing of the node that we are at.
    if (connection === shared) {
      answered()
      judge(commands, replied)
    }
    return replied
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
    const connection = createConnection(redisUrl, kind, tls)
    opened.set(connection, kind)
    // The caller listens for what matters; without any listener an `error` event would end the process.
    connection.on("error", () => {})
    try {
      await withinDeadline(connection.connect())
    } catch (cause) {
      end(connection)
      throw new UpstreamError(`ERR ${lossWords(cause)}`, { cause })
    }
    return connection
  }

  function end(connection: RedisConnection): void {
    if (opened.delete(connection)) discard(connection)
  }

  function endOpened(): void {
    isEnding = true
    for (const connection of opened.keys()) end(connection)
  }

  return {
    tried,
    get trouble() {
      return unfit ?? lost ?? (isFlapping ? said : undefined) ?? distrusted?.words
    },
    distrust(reason) {
      if (distrusted) distrusted.lastAt = performance.now()
      else begin({ words: reason, isTold: true, key: undefined, lastAt: performance.now() }, "told")
    },
    onRecovered: (listener) => void listeners.push(listener),
    exchange,
    exchangeAlone,
    open,
    end,
    endOpened,
    close() {
      endOpened()
      closing.abort()
      discard(shared)
    },
  }
}

function errorAsReply(error: unknown): ErrorReply {
  if (error instanceof ErrorReply) return error
  throw toUpstreamError(error)
}

/** What is only that it cannot be reached, its reason says. */
const lossFields = (reason: string, detail: string): object =>
  detail === UNREACHABLE ? { reason } : { reason, detail }

/** The first error in a reply, also inside a list of it: of a transaction, or what a script caught and answered. */
function errorIn(reply: RawReply): ErrorReply | undefined {
  if (reply instanceof ErrorReply) return reply
  if (!Array.isArray(reply)) return undefined
  for (const one of reply as readonly RawReply[]) {
    const error = typeof one === "object" && one !== null ? errorIn(one) : undefined
    if (error) return error
  }
  return undefined
}

/** The first key of a command, where it is one of those that we send: a script's, or a plain command's. */
function keyOf(command: RedisCommand | undefined): RedisArgument | undefined {
  const [name = "", first, count] = command ?? []
  if (!/^EVAL(SHA)?$/i.test(name)) return first
  return Number(count) > 0 ? command?.[3] : undefined
}
