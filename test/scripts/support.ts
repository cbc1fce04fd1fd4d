import { createClient } from "redis"
import { afterAll, beforeAll, beforeEach, onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { type EntryBody, NO_SELECTORS, type Selectors } from "../../protocol/invalidation.ts"
import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  lateKey,
  leaseKey,
  logKey,
  neverKey,
  sentKey,
  WAKE_PATTERN,
} from "../../protocol/keys.ts"
import { type Head, parseHead } from "../../protocol/epoch.ts"
import { type LogEntry, parseLogEntries } from "../../protocol/log.ts"
import { type EntryPlan, publish, type PublishOutcome, type PublishRequest } from "../../protocol/publish.ts"
import type { LateReceipt, RangeReceipt } from "../../protocol/receipt.ts"
import { readHash } from "../../protocol/record.ts"
import { acquireScript, commitScript, readScript } from "../../protocol/scripts.gen.ts"
import { asList, asText, type Reply, type Store } from "../../protocol/store.ts"
import { DAY } from "../../protocol/time.ts"
import { connectUpstream, type Upstream } from "../../relay-node/redis/upstream.ts"
import { redisStore } from "../../relay-node/store.ts"
import { type Comparing, startComparing } from "../engines/comparing.ts"
import { findLua, type LuaVersion, startInterpreter } from "../engines/lua.ts"

/** What the tests of one file share: a Redis of its own, and the store over it that the relay uses. */
export interface Host {
  readonly url: string
  readonly store: Store
  /** Sends one command, as an administrator would. */
  command(...command: readonly string[]): Promise<Reply>
  /** Another store with a connection of its own, for this user if one is named. Ends with the file. */
  connect(user?: { readonly name: string; readonly password: string }): Promise<Store>
}

export const TENANT = "default"

/** `npm run engines -- lua-5.4`: each script of these tests runs in that Lua too, and must come to the same. */
const LUA = process.env["TIDEMARK_TEST_LUA"] as LuaVersion | undefined

const silent = { info: () => {}, warn: () => {}, error: () => {} }

/** Starts a Redis before the file's tests, empties it between them, and stops it at the end. */
export function useRedis(): Host {
  const opened: Upstream[] = []
  const stack = new AsyncDisposableStack()
  let comparing: Comparing | undefined
  let redis: Awaited<ReturnType<typeof startRedis>> | undefined
  let store: Store | undefined

  const started = <T>(value: T | undefined): T => {
    if (value === undefined) throw new Error("Redis is not started")
    return value
  }
  async function open(url: string): Promise<Store> {
    const upstream = connectUpstream(url, silent)
    opened.push(upstream)
    await upstream.tried
    // Of a user with fewer rights the interpreter knows nothing.
    return comparing && url === host.url ? comparing.over(redisStore(upstream)) : redisStore(upstream)
  }
  const host: Host = {
    get url() {
      return started(redis).url
    },
    get store() {
      return started(store)
    },
    async command(...command) {
      const [reply] = await host.store.pipeline([command])
      return reply ?? null
    },
    connect(user) {
      const url = new URL(host.url)
      if (user) Object.assign(url, { username: user.name, password: user.password })
      return open(url.href)
    },
  }

  beforeAll(async () => {
    redis = await startRedis()
    if (LUA !== undefined) {
      const interpreter = stack.use(await startInterpreter(await findLua(LUA), redis, 1))
      comparing = stack.use(await startComparing(redis.url, [interpreter]))
    }
    store = await open(redis.url)
  })
  beforeEach(async () => {
    await host.command("CONFIG", "SET", "maxmemory", "0")
    await host.command("FLUSHALL")
  })
  afterAll(async () => {
    for (const upstream of opened) upstream.close()
    await stack.disposeAsync()
    await redis?.stop()
  })
  return host
}

/** Everything that is heard on the channels of wakes until the test ends: the channel, and the message. */
export async function hearWakes(
  host: Host,
): Promise<readonly (readonly [channel: string, message: unknown])[]> {
  const heard: [string, unknown][] = []
  const subscriber = createClient({ url: host.url })
  subscriber.on("error", () => {})
  onTestFinished(() => subscriber.destroy())
  await subscriber.connect()
  await subscriber.pSubscribe(WAKE_PATTERN, (message, channel) => heard.push([channel, JSON.parse(message)]))
  return heard
}

/** An entry as publishing plans one: soft, of the namespace `blog`, unless it is said otherwise. */
export const plan = (
  { namespace = "blog", ...more }: Partial<EntryBody> = {},
  settings: Partial<EntryPlan["settings"]> = {},
  passes: EntryPlan["passes"] = [],
): EntryPlan => ({
  body: {
    kind: "invalidation",
    namespace,
    mode: "invalidate",
    by: { token: "deploy" },
    ...NO_SELECTORS,
    ...more,
  },
  settings: { maxCacheTtl: 30 * DAY, maxTags: 1_000_000, ...settings },
  passes,
})

/** Publishes, and insists that it was recorded. */
export async function record(
  store: Store,
  entries: readonly EntryPlan[],
  more: Partial<PublishRequest> = {},
): Promise<Extract<PublishOutcome, { readonly entries: unknown }>> {
  const outcome = await publish(store, { tenant: TENANT, entries, maxEntries: 1_000_000, ...more })
  if (!("entries" in outcome)) throw new Error(`not recorded: ${outcome.status}`)
  return outcome
}

/** Publishes one entry, and answers its epoch. */
export async function epochOf(
  store: Store,
  more: Partial<EntryBody> = {},
  request: Partial<PublishRequest> = {},
): Promise<number> {
  const { entries } = await record(store, [plan(more)], request)
  return entries[0]?.epoch ?? 0
}

export async function readLog(store: Store, tenant: string = TENANT): Promise<LogEntry[]> {
  const [reply] = await store.pipeline([["XRANGE", logKey(tenant), "-", "+"]])
  return parseLogEntries(reply)
}

export async function readHead(store: Store, tenant: string = TENANT): Promise<Head | undefined> {
  const [reply] = await store.pipeline([["GET", headKey(tenant)]])
  return parseHead(asText(reply))
}

/** All that Redis holds, key by key, to be compared as a whole. */
export async function snapshot(store: Store): Promise<Record<string, Reply>> {
  const [found] = await store.pipeline([["KEYS", "*"]])
  const keys = asList(found).map((key) => asText(key) ?? "")
  const types = await store.pipeline(keys.map((key) => ["TYPE", key]))
  // Of a hash the order of its fields says nothing.
  const values = await store.pipeline(
    keys.map((key, index) => [types[index] === "hash" ? "HGETALL" : "DUMP", key]),
  )
  return Object.fromEntries(
    keys.map((key, index) => [
      key,
      types[index] === "hash" ? [...readHash(values[index])].flat().toSorted() : (values[index] ?? null),
    ]),
  )
}

export const selectors = (more: Partial<Selectors>): Selectors => ({ ...NO_SELECTORS, ...more })

/** Takes or renews a lane's lease; the cursor as held, undefined where another holds it. */
export async function acquire(
  store: Store,
  target: string,
  owner: string,
  lease = 60_000,
): Promise<string | undefined> {
  const keys = [leaseKey(TENANT, target), cursorKey(TENANT), neverKey(TENANT)]
  const [held] = asList(await store.script(acquireScript, keys, [target, owner, String(lease)]))
  return asText(held) || undefined
}

/** What a lane reads after an epoch. */
export async function readAfter(
  store: Store,
  after: number,
  limit = 1_000,
  maxBytes = 1_000_000,
): Promise<{ head: Head | undefined; entries: LogEntry[] }> {
  const args = [after, limit, maxBytes].map(String)
  const keys = [headKey(TENANT), logKey(TENANT), dueKey(TENANT, "edge")]
  const [head, entries] = asList(await store.script(readScript, keys, args))
  return { head: parseHead(asText(head)), entries: parseLogEntries(entries) }
}

export interface Commit {
  readonly target: string
  readonly held: string
  readonly to: string
  readonly receipt?: Partial<RangeReceipt>
  readonly keep?: number
  /** Receipts, and rows beside them. */
  readonly most?: number
  readonly due?: readonly (readonly [at: number, id: string, item: string])[]
  readonly done?: readonly string[]
  readonly late?: readonly Partial<LateReceipt>[]
  readonly dead?: readonly string[]
}

/** Writes what became of a range, as a lane does. Answers `ok` or `lost`. */
export async function commit(
  store: Store,
  {
    target,
    held,
    to,
    receipt = {},
    keep = 0,
    most = 1_000,
    due = [],
    done = [],
    late = [],
    dead = [],
  }: Commit,
): Promise<string | undefined> {
  const whole: RangeReceipt = {
    at: 0,
    attempts: 1,
    calls: [],
    callCount: 0,
    namespaces: ["*"],
    ex: late.map(({ epoch }) => epoch ?? 0),
    ...receipt,
  }
  const keys = [
    cursorKey(TENANT),
    sentKey(TENANT, target),
    lateKey(TENANT, target),
    dueKey(TENANT, target),
    dueItemsKey(TENANT, target),
    deadKey(TENANT, target),
    logKey(TENANT),
    headKey(TENANT),
    neverKey(TENANT),
  ]
  const [status] = asList(
    await store.script(commitScript, keys, [
      target,
      held,
      to,
      JSON.stringify(whole),
      String(keep),
      "1000",
      String(most),
      String(due.length),
      ...due.flatMap(([at, id, item]) => [String(at), id, item]),
      String(done.length),
      ...done,
      String(late.length),
      ...late.flatMap((one) => [
        String(one.epoch),
        "",
        JSON.stringify({ state: "dead", at: 0, attempts: 1, calls: [], ...one }),
      ]),
      String(dead.length),
      ...dead,
    ]),
  )
  return asText(status)
}

/** The position as a commit writes it. */
export const positionOf = ({
  generation,
  epoch,
  seq,
}: Pick<LogEntry, "generation" | "epoch" | "seq">): string => `${generation} ${epoch} ${seq}`
