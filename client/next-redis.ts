import type { Milliseconds } from "../protocol/time.ts"
import { DEFAULT_TIMEOUT } from "./guard.ts"
import { pack, unpack } from "./next-bytes.ts"
import { type EntryStorage, isStoredEntry, type StoredEntry } from "./next-storage.ts"

/** `tidemark/next-redis`: entries of Next.js in Redis, where several processes share them. */
export type { EntryStorage, StoredEntry } from "./next-storage.ts"

const DEFAULT_PREFIX = "tidemark:next:"
const DEFAULT_MAX_ENTRY_BYTES = 5 * 2 ** 20

/** `RESP_TYPES.BLOB_STRING` of node-redis: how it says the type of what `GET` answers. */
const BLOB_STRING = 36

/** As much of node-redis as is needed, from version 5 on: of `createClient`, `createCluster` and `createSentinel`. */
export interface NodeRedisClient {
  /** False while it is not connected: nothing is sent then, and nothing queued. */
  readonly isReady: boolean
  withCommandOptions(options: {
    readonly abortSignal: AbortSignal
    readonly typeMapping: Readonly<Record<number, unknown>>
  }): {
    get(key: string): Promise<unknown>
    set(key: string, value: never, options: { readonly PX: Milliseconds }): Promise<unknown>
  }
}

/** As much of its `createClientPool`: a command has one connection to itself. */
export interface NodeRedisPool {
  execute<T>(work: (connection: NodeRedisClient) => Promise<T>): Promise<T>
}

/** As much of ioredis as is needed, from version 5 on: of `Redis`, also with sentinels, and of `Cluster`. */
export interface IoRedisClient {
  /** Anything but `ready` while it is not connected; `wait` before the first command where it connects by that. */
  readonly status: string
  getBuffer(key: string): Promise<Uint8Array | null>
  set(key: string, value: never, token: "PX", keepFor: Milliseconds): Promise<unknown>
}

export type RedisStorageClient = NodeRedisClient | NodeRedisPool | IoRedisClient

export interface RedisStorageOptions {
  /** Before each key. Default `tidemark:next:`. Apps that share a Redis need one each. */
  readonly prefix?: string
  /** Most bytes of one entry, as it is stored. A longer one is not kept, which is said. Default 5 MiB. */
  readonly maxEntryBytes?: number
  /**
   * A command that could not be sent within so many milliseconds is dropped, where the client can do that: node-redis.
   * For as long after the start, a client that has not connected yet has nothing, in silence. Default 2,000.
   */
  readonly timeout?: Milliseconds
}

/** One command each, over whichever client. */
interface Commands {
  get(key: string): Promise<unknown>
  set(key: string, value: Uint8Array, keepFor: Milliseconds): Promise<unknown>
}

/**
 * Keeps entries in Redis: one key each, which expires by itself. For the `storage` of `tidemark/next` and
 * `tidemark/next-isr`, which wait for it no longer than their `storageTimeout`. What is found there and is no entry, or
 * not the whole of one, counts as nothing.
 *
 * It sends `GET` and `SET`, nothing while the client is not connected. Have the client queue nothing then either: its
 * `disableOfflineQueue: true` (node-redis), or `enableOfflineQueue: false` (ioredis). Unlike the Redis of the Worker,
 * this one may evict.
 *
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     const redis = createClient({ url: process.env.REDIS_URL, disableOfflineQueue: true })
 *     redis.on("error", (error) => console.warn(error.message))
 *     redis.connect()
 *     export default createCacheHandler({ tidemark, namespace: "blog", storage: redisStorage(redis) })
 */
export function redisStorage(
  client: RedisStorageClient,
  {
    prefix = DEFAULT_PREFIX,
    maxEntryBytes = DEFAULT_MAX_ENTRY_BYTES,
    timeout = DEFAULT_TIMEOUT,
  }: RedisStorageOptions = {},
): EntryStorage {
  if (!(maxEntryBytes > 0)) throw new RangeError(`maxEntryBytes must be above 0, got ${maxEntryBytes}`)
  if (!(timeout > 0 && timeout < Infinity)) throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
  const send = runnerOf(client, timeout)
  const patience = performance.now() + timeout
  let hasConnected = false
  /** A client that is connecting for the first time, as when a process starts, is none that has failed. */
  async function run<T>(work: (commands: Commands) => Promise<T>): Promise<T | undefined> {
    try {
      const reply = await send(work)
      hasConnected = true
      return reply
    } catch (error) {
      if (error instanceof NotConnected && !hasConnected && performance.now() < patience) return undefined
      throw error
    }
  }
  return {
    async get(key) {
      const bytes = await run((commands) => commands.get(prefix + key))
      return bytes instanceof Uint8Array ? entryOf(bytes) : undefined
    },
    async set(key, { value, ...data }, keepFor) {
      const bytes = pack({ data, parts: [value] })
      if (bytes.byteLength > maxEntryBytes)
        throw new RangeError(`the entry has ${bytes.byteLength} bytes, and maxEntryBytes is ${maxEntryBytes}`)
      await run((commands) => commands.set(prefix + key, bytes, keepFor))
    },
  }
}

function entryOf(bytes: Uint8Array): StoredEntry | undefined {
  const { data, parts } = unpack(bytes) ?? {}
  const entry: unknown = { ...(data as object | undefined), value: parts?.[0] }
  return isStoredEntry(entry) ? entry : undefined
}

type Run = <T>(send: (commands: Commands) => Promise<T>) => Promise<T>

function runnerOf(client: RedisStorageClient, timeout: Milliseconds): Run {
  if ("getBuffer" in client) return async (send) => send(commandsOfIoRedis(client))
  if ("execute" in client)
    return (send) => client.execute(async (connection) => send(commandsOfNodeRedis(connection, timeout)))
  return async (send) => send(commandsOfNodeRedis(client, timeout))
}

/** @throws {NotConnected} */
function commandsOfNodeRedis(client: NodeRedisClient, timeout: Milliseconds): Commands {
  if (!client.isReady) throw new NotConnected()
  const { Buffer } = globalThis as unknown as NodeGlobals
  const typeMapping = { [BLOB_STRING]: Buffer }
  const sender = client.withCommandOptions({ abortSignal: AbortSignal.timeout(timeout), typeMapping })
  return {
    get: (key) => sender.get(key),
    set: (key, value, keepFor) => sender.set(key, bufferOf(value), { PX: keepFor }),
  }
}

/** @throws {NotConnected} */
function commandsOfIoRedis(client: IoRedisClient): Commands {
  if (client.status !== "ready" && client.status !== "wait") throw new NotConnected()
  return {
    get: (key) => client.getBuffer(key),
    set: (key, value, keepFor) => client.set(key, bufferOf(value), "PX", keepFor),
  }
}

class NotConnected extends Error {
  constructor() {
    super("Redis is not connected")
  }
}

/** Node's own, which both clients want instead of a `Uint8Array`: a view of the same bytes. */
interface NodeGlobals {
  readonly Buffer: { from(bytes: ArrayBufferLike, offset: number, length: number): never }
}

const bufferOf = ({ buffer, byteOffset, byteLength }: Uint8Array): never =>
  (globalThis as unknown as NodeGlobals).Buffer.from(buffer, byteOffset, byteLength)
