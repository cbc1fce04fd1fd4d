import { headKey } from "../protocol/keys.ts"
import { type Head, parseHead } from "../protocol/epoch.ts"
import { NAME } from "../protocol/namespace.ts"
import { asList, asText, type Command, type Reply } from "../protocol/store.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { settles } from "./patience.ts"
import { type EpochStore, StoreRefusal } from "./epoch-store.ts"
import { pipelineStore, type TenantOptions } from "./stores.ts"

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
 * @param client of node-redis, connected. Not of a cluster or a sentinel; on a cluster, the node of the tenant's slot
 * @throws {RangeError} when an option is out of range, naming it
 */
export function redisStore(
  client: RedisConnection | RedisPool,
  { tenant = "default", timeout = 2 * SECOND, now = Date.now }: RedisStoreOptions = {},
): EpochStore {
  checkTenant(tenant)
  if (!(timeout > 0 && timeout < Infinity)) throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
  return pipelineStore((commands) => exchange(client, commands, timeout), tenant, now)
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
  const [heads] = await exchange(client, [["MGET", headKey(tenant)]], timeout)
  return parseHead(asText(asList(heads)[0]))
}

/** @throws {RangeError} */
export function checkTenant(tenant: string): void {
  if (!NAME.test(tenant)) throw new RangeError(`tenant must be a tenant's name, got ${tenant}`)
}

/** Redis gave no answer in time: the connection may be dead at the other end. */
export class NoAnswer extends Error {
  constructor(timeout: Milliseconds) {
    super(`Redis did not answer within ${timeout} ms`)
    this.name = "NoAnswer"
  }
}

/**
 * Sends commands in one round trip and answers their replies in order, in the shapes of RESP2.
 *
 * @throws {StoreRefusal} when Redis does not let this user read those keys
 * @throws {NoAnswer} after `timeout`
 * @throws whatever the client does
 */
async function exchange(
  client: RedisConnection | RedisPool,
  commands: readonly Command[],
  timeout: Milliseconds,
): Promise<Reply[]> {
  // What is still unsent when the time is up would be sent once Redis is back, with nobody waiting for it.
  const expiry = new AbortController()
  const send = async (connection: RedisConnection): Promise<readonly unknown[]> => {
    if (!connection.isReady) throw new Error("Redis is not connected")
    // Whatever types the user's client maps to, texts are what is read here.
    const options = { abortSignal: expiry.signal, typeMapping: {} }
    return Promise.all(commands.map((command) => connection.sendCommand(command, options)))
  }
  const answered = "execute" in client ? client.execute(send) : send(client)
  if (!(await settles(answered, timeout))) {
    expiry.abort()
    throw new NoAnswer(timeout)
  }
  try {
    const replies = await answered
    return commands.map(([name], index) => checkedReply(name, replies[index]))
  } catch (error) {
    const message = error instanceof Error ? error.message : ""
    throw message.startsWith("NOPERM") ? new StoreRefusal(403, message) : error
  }
}

/** @throws {Error} for a row that nothing of ours wrote: taken for one that is missing, it would call entries fresh */
function checkedReply(command: string | undefined, reply: unknown): Reply {
  if (!Array.isArray(reply)) throw new Error("Redis answered with something else")
  if (command === "MGET" && !reply.every((row) => row === null || ROW.test(asText(row) ?? "")))
    throw new Error("Redis holds something else")
  // RESP3 has members with their scores in pairs.
  return reply.flat() as Reply[]
}
