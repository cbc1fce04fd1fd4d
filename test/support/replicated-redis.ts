import type { RunningServer } from "../../cli/servers/process.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { type Proxy, startProxy } from "./proxy.ts"
import { redisCommand } from "./redis-command.ts"

/** A primary, a replica that replicates through a link of ours, and an address that clients use for either. */
export interface ReplicatedRedis extends AsyncDisposable {
  readonly primary: RunningServer
  readonly replica: RunningServer
  /**
   * Between the two. Stalled, it keeps from the replica what the primary says; a replica that is stopped by a signal
   * is no such thing, as the kernel keeps the bytes and it catches up.
   */
  readonly replication: Proxy
  /** What clients connect to. Leads to the primary until `failOver`. */
  readonly front: Proxy
  /** Until the replica holds all that the primary was told so far. */
  caughtUp(): Promise<void>
  /** The primary's machine dies, with what the replica was not told; the replica is promoted, and clients find it. */
  failOver(): Promise<void>
  /** The replica goes on by itself, as after a promotion that nobody told of: it answers, and hears nothing. */
  detach(): Promise<void>
}

export async function startReplicatedRedis(): Promise<ReplicatedRedis> {
  await using stack = new AsyncDisposableStack()
  const primary = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] })
  stack.defer(() => primary.stop())
  const replication = stack.use(await startProxy(primary.url, { isRaw: true }))
  const replica = await startRedis({ args: ["--replicaof", "127.0.0.1", String(replication.port)] })
  stack.defer(() => replica.stop())
  const front = stack.use(await startProxy(primary.url))
  const offset = async ({ url }: RunningServer, field: string): Promise<number> =>
    Number(
      new RegExp(`^${field}:(\\d+)`, "m").exec(await redisCommand(url, "INFO", "replication"))?.[1] ?? -1,
    )
  const caughtUp = async () => {
    const told = await offset(primary, "master_repl_offset")
    while (
      !/^master_link_status:up/m.test(await redisCommand(replica.url, "INFO", "replication")) ||
      (await offset(replica, "slave_repl_offset")) < told
    )
      await nextTurn()
  }
  await caughtUp()
  const rest = stack.move()
  return {
    primary,
    replica,
    replication,
    front,
    caughtUp,
    async failOver() {
      process.kill(primary.pid, "SIGKILL")
      await primary.exited
      await redisCommand(replica.url, "REPLICAOF", "NO", "ONE")
      front.lead(replica.url)
      front.reset()
    },
    detach: async () => void (await redisCommand(replica.url, "REPLICAOF", "NO", "ONE")),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** A moment for the event loop: what is waited for is another process. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10))
