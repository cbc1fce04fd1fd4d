import { headKey } from "../protocol/keys.ts"
import { type Head, parseHead } from "../protocol/epoch.ts"
import { NAME } from "../protocol/namespace.ts"
import { asList, asText, type Command, type Reply } from "../protocol/store.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { settles } from "./patience.ts"
import { type EpochStore, StoreRefusal } from "./epoch-store.ts"
import { pipelineStore, type TenantOptions } from "./stores.ts"
import { TidemarkError } from "./trouble.ts"

/** As much of a connection of node-redis as is needed. */
export interface RedisConnection {
  /** False while it is not connected: nothing is sent then, and nothing queued. */
  readonly isReady: boolean
  sendCommand(
    command: readonly string[],
    options: { readonly abortSignal: AbortSignal; readonly typeMapping: object },
  ): Promise<unknown>
}

/** As much of its `createClientPool`: a look-up has one connection to itself. */
export interface RedisPool {
  execute<T>(work: (connection: RedisConnection) => Promise<T>): Promise<T>
}

/** As much of its `createCluster`: a look-up goes to the master of the tenant's slot, where all that it reads lies. */
export interface RedisCluster {
  readonly slots: readonly { readonly master: object }[]
  nodeClient(node: never): RedisConnection | Promise<RedisConnection>
  sendCommand(
    firstKey: string,
    isReadonly: boolean,
    command: string[],
    options: { readonly abortSignal: AbortSignal },
  ): Promise<unknown>
}

/** As much of its `createSentinel`. */
export interface RedisSentinel {
  readonly isReady: boolean
  getMasterNode(): unknown
  multi(): {
    addCommand(isReadonly: boolean, command: string[]): unknown
    execAsPipeline(): Promise<readonly unknown[]>
  }
}

/** As much of ioredis, its `Cluster` as well. */
export interface IoredisClient {
  /** Nothing is sent, and nothing queued, but while it is `ready`. One that waits to be used (`wait`) is connected. */
  readonly status: string
  readonly options: object
  connect(): Promise<unknown>
  pipeline(commands: unknown[][]): {
    exec(): Promise<[error: Error | null, result: unknown][] | null>
  }
}

/** A client of either package, in any of its forms. */
export type RedisClient = RedisConnection | RedisPool | RedisCluster | RedisSentinel | IoredisClient

export interface RedisStoreOptions extends TenantOptions {
  /** After this many milliseconds the store counts as away. Default 2,000; 0 is refused. */
  readonly timeout?: Milliseconds
  /** The clock, in milliseconds since 1970. Default `Date.now`. */
  readonly now?: () => Milliseconds
}

/** What a head and a namespace's row have in common. Nothing else is ever stored where they are read. */
const ROW = /^\d+ \d+ \d+ \S+$/

/**
 * Looks epochs up in Redis itself, in one pipeline over the user's own connection. It sends `MGET`, `ZMSCORE` and
 * `ZRANGEBYSCORE`, and so needs no right to write: the user `reader` of `infra/redis` will do.
 *
 * It cannot publish, as that needs the configuration; nor does it know which namespaces are declared: one that was never
 * published to is fresh for ever. A `workerStore` can publish, and the two go together:
 * `{ ...workerStore({ url, token }), ...redisStore(client) }`.
 *
 * @param client of node-redis (a client, a pool, a cluster or a sentinel), connected; or of ioredis (`Redis`, `Cluster`),
 *   without a `keyPrefix`
 * @throws {RangeError} when an option is out of range, naming it
 * @throws {TypeError} when the client is none of these
 */
export function redisStore(
  client: RedisClient,
  { tenant = "default", timeout = 2 * SECOND, now = Date.now }: RedisStoreOptions = {},
): EpochStore {
  checkTenant(tenant)
  if (!(timeout > 0 && timeout < Infinity)) throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
  const send = senderOf(client, headKey(tenant))
  const unanswered = new Set<Promise<unknown>>()
  return pipelineStore((commands) => exchange(send, commands, timeout, unanswered), tenant, now)
}

/**
 * How far a tenant's log has come; undefined where nothing was ever published.
 *
 * @throws as `exchange`
 */
export async function readHead(
  client: RedisConnection,
  tenant: string,
  timeout: Milliseconds,
): Promise<Head | undefined> {
  const [heads] = await exchange(overConnection(client), [["MGET", headKey(tenant)]], timeout)
  return parseHead(asText(asList(heads)[0]))
}

/** @throws {RangeError} */
export function checkTenant(tenant: string): void {
  if (!NAME.test(tenant)) throw new RangeError(`tenant must be a tenant's name, got ${tenant}`)
}

/** Redis gave no answer in time: the connection may be dead at the other end. */
export class NoAnswer extends Error {
  constructor(timeout: Milliseconds) {
    super(`the store did not answer within ${timeout} ms`)
    this.name = "NoAnswer"
  }
}

/** Which client it is, by what it can do; undefined for what is none that is known. */
export function kindOf(
  client: unknown,
): "ioredis" | "pool" | "cluster" | "sentinel" | "connection" | undefined {
  const { pipeline, status, execute, nodeClient, getMasterNode, sendCommand } = Object(client) as Partial<
    Record<string, unknown>
  >
  if (typeof pipeline === "function" && typeof status === "string") return "ioredis"
  if (typeof execute === "function") return "pool"
  if (typeof nodeClient === "function") return "cluster"
  if (typeof getMasterNode === "function") return "sentinel"
  return typeof sendCommand === "function" ? "connection" : undefined
}

/** Sends commands in one round trip, in order, and gives their replies. Sends nothing any more once it is aborted. */
type Send = (commands: readonly Command[], expiry: AbortSignal) => Promise<readonly unknown[]>

/** @throws {TypeError} */
function senderOf(client: RedisClient, key: string): Send {
  const kind = kindOf(client)
  switch (kind) {
    case "connection":
      return overConnection(client as RedisConnection)
    case "pool":
      return (commands, expiry) =>
        (client as RedisPool).execute((connection) => overConnection(connection)(commands, expiry))
    case "cluster":
      return overCluster(client as RedisCluster, key)
    case "sentinel":
      return overSentinel(client as RedisSentinel)
    case "ioredis":
      return overIoredis(client as IoredisClient)
    case undefined:
      throw new TypeError(
        "redisStore: client must be of node-redis (createClient, createClientPool, createCluster, createSentinel) or of ioredis (Redis, Cluster)",
      )
  }
}

const notConnected = () => new Error("Redis is not connected")

const overConnection =
  (connection: RedisConnection): Send =>
  async (commands, expiry) => {
    if (!connection.isReady || expiry.aborted) throw notConnected()
    // What is still unsent when the time is up would be sent once Redis is back, with nobody waiting for it. And
    // whatever types the user's client maps to, texts are what is read here.
    const options = { abortSignal: expiry, typeMapping: {} }
    return Promise.all(commands.map((command) => connection.sendCommand(command, options)))
  }

/**
 * Over the connection to one node: sent one by one through the cluster's client, commands that are redirected would
 * arrive out of order. Where the slot has moved, that client is asked for something small, whereby it learns where to.
 */
const overCluster =
  (cluster: RedisCluster, key: string): Send =>
  async (commands, expiry) => {
    const slot = slotOf(key)
    const once = async () => {
      const master = cluster.slots[slot]?.master
      if (!master) throw notConnected()
      return overConnection(await cluster.nodeClient(master as never))(commands, expiry)
    }
    try {
      return await once()
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith("MOVED"))) throw error
      await cluster.sendCommand(key, true, ["MGET", key], { abortSignal: expiry })
      return once()
    }
  }

const overSentinel =
  (sentinel: RedisSentinel): Send =>
  async (commands) => {
    if (!sentinel.isReady) throw notConnected()
    const pipeline = sentinel.multi()
    for (const command of commands) pipeline.addCommand(true, [...command])
    return pipeline.execAsPipeline()
  }

/** @throws {TypeError} */
function overIoredis(client: IoredisClient): Send {
  const { keyPrefix, redisOptions } = client.options as {
    readonly keyPrefix?: unknown
    readonly redisOptions?: { readonly keyPrefix?: unknown }
  }
  if (keyPrefix || redisOptions?.keyPrefix)
    throw new TypeError(
      'redisStore: this client puts its keyPrefix before every key, and epochs have none: give it one without, such as client.duplicate({ keyPrefix: "" })',
    )
  return async (commands, expiry) => {
    if (client.status === "wait") await client.connect()
    // Otherwise it would keep them until it is connected.
    if (client.status !== "ready" || expiry.aborted) throw notConnected()
    const replies = await client
      .pipeline(commands.map(([name = "", ...words]) => [name.toLowerCase(), ...words]))
      .exec()
    return (replies ?? []).map(([error, reply]) => {
      if (error) throw error
      return reply
    })
  }
}

/** By CRC16 of the part in braces. @see https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ */
function slotOf(key: string): number {
  const [, tagged = key] = /\{(.+?)\}/.exec(key) ?? []
  let crc = 0
  for (const byte of new TextEncoder().encode(tagged)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff
  }
  return crc % 16_384
}

/** So many look-ups may be under way though nobody waits for them any more. Ours. */
const MAX_UNANSWERED = 10

/**
 * Sends commands in one round trip and answers their replies in order, in the shapes of RESP2.
 *
 * @param unanswered what was given up waiting for and has not settled: some clients go on trying for as long as Redis
 *   is away
 * @throws {StoreRefusal} when Redis does not let this user read those keys
 * @throws {NoAnswer} after `timeout`
 * @throws whatever the client does
 */
async function exchange(
  send: Send,
  commands: readonly Command[],
  timeout: Milliseconds,
  unanswered = new Set<Promise<unknown>>(),
): Promise<Reply[]> {
  if (unanswered.size >= MAX_UNANSWERED) throw new NoAnswer(timeout)
  const expiry = new AbortController()
  const answered = send(commands, expiry.signal)
  if (!(await settles(answered, timeout))) {
    expiry.abort()
    unanswered.add(answered)
    const forget = () => void unanswered.delete(answered)
    answered.then(forget, forget)
    throw new NoAnswer(timeout)
  }
  try {
    const replies = await answered
    return commands.map(([name], index) => checkedReply(name, replies[index]))
  } catch (error) {
    const message = error instanceof Error ? error.message : ""
    if (message.startsWith("NOPERM")) throw new StoreRefusal(403, message)
    if (/^(NOAUTH|WRONGPASS)/.test(message)) throw new TidemarkError("unauthorized", message)
    throw error
  }
}

/** @throws {Error} for a row that nothing of ours wrote: taken for one that is missing, it would call entries fresh */
function checkedReply(command: string | undefined, reply: unknown): Reply {
  if (!Array.isArray(reply)) throw new Error("Redis answered with something else")
  if (command === "MGET") {
    const rows = reply.map(textOf)
    if (!rows.every(isRow)) throw new Error("Redis holds something else")
    return rows as Reply[]
  }
  // RESP3 has members with their scores in pairs.
  return reply.flat().map(textOf) as Reply[]
}

const UTF8 = new TextDecoder()

/** A client may be set up to give bytes. */
const textOf = (part: unknown): unknown => (part instanceof Uint8Array ? UTF8.decode(part) : part)

const isRow = (row: unknown): boolean => row === null || (typeof row === "string" && ROW.test(row))
