import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { cursorKey, headKey, logKey, namespaceKey, RELAYS_KEY } from "../../protocol/keys.ts"
import { SECOND } from "../../protocol/time.ts"
import type { RelayProcess } from "../support/relay-process.ts"
import type { Counted, Scenario, ScenarioContext } from "./scenario.ts"
import { insist } from "./waiting.ts"
import { NAMESPACE, openWorld, type World, type WorldOptions } from "./world.ts"

const TENANT = "default"
const BEFORE = 10
const BACKLOG = 30

/** A relay that has done some work, and then a fault. */
const after =
  (
    harm: (world: World, relay: RelayProcess, context: ScenarioContext) => Promise<void>,
    options: WorldOptions = {},
  ) =>
  async (context: ScenarioContext): Promise<Counted> => {
    await using world = await openWorld(context, options)
    const relay = await world.relay()
    await world.publish(BEFORE)
    await world.level()
    await harm(world, relay, context)
    return await world.count()
  }

/** With a backlog, and nobody there who could remember what was. */
const withBacklog = (
  harm: (world: World, context: ScenarioContext) => Promise<void>,
  options?: WorldOptions,
) =>
  after(async (world, relay, context) => {
    await relay.kill()
    await world.publish(BACKLOG)
    await harm(world, context)
    world.over()
    await world.relay()
  }, options)

/** The key is gone, and no publish follows that could show it. */
const deleted = (what: string, key: string, isQuick: boolean): Scenario => ({
  name: `${what}-deleted`,
  title: `The ${what} is deleted from Redis under a backlog, without a publish afterwards`,
  isQuick,
  run: withBacklog(async (world) => {
    if ((await world.command("DEL", key)) !== "1") throw new Error(`there was no ${key}`)
  }),
})

const replicaOf = ({ replicated }: World) => {
  if (!replicated) throw new Error("there is no replica")
  return replicated
}

/** The relay writes by scripts, and by few commands besides. */
const WRITES = /^(EVAL|EVALSHA|FCALL|SET|DEL|[HZX]\w+|EXPIRE|INCR\w*)$/
const READS = /^(HGET\w*|HMGET|HVALS|ZRANGE\w*|ZSCORE|ZMSCORE|ZCARD|XRANGE|XREVRANGE|XLEN|XREAD)$/
const isWrite = (command: string): boolean => WRITES.test(command) && !READS.test(command)

/** What it says of the one, Redis says at its end: a primary that became a replica, or one that still loads. */
const refusing = (error: string, refuses?: (command: string) => boolean) =>
  after(async (world, relay, { isShort }) => {
    world.front.refuse(error, refuses)
    if (refuses === undefined) world.front.close()
    await world.publish(BACKLOG)
    await insist("the relay met the error", () =>
      relay
        .log()
        .some(({ msg }) => msg === "poll:failed" || msg === "lane:failed" || msg === "subscription:lost"),
    )
    await delay((isShort ? 2 : 20) * SECOND)
    world.front.refuse(undefined)
    world.over()
  })

async function withKeptData(context: ScenarioContext): Promise<Counted> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-kept-"))
  const redis = { directory, args: ["--appendonly", "yes", "--appendfsync", "always"] }
  try {
    return await after(
      async (world, relay) => {
        relay.signal("SIGSTOP")
        await world.publish(BACKLOG)
        await world.restart(redis)
        await world.publish(BACKLOG)
        relay.signal("SIGCONT")
        world.over()
      },
      { redis },
    )(context)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Most of what Redis holds is then the log. */
const LONG_REASON = "x".repeat(200)

/** Redis has 2 MB more than it needs, takes publishes until it refuses, and is left no room for anything. */
async function fill(world: World): Promise<void> {
  const used = async (): Promise<number> =>
    Number(/used_memory:(\d+)/.exec(await world.command("INFO", "memory"))?.[1])
  const limit = async (bytes: number) => world.command("CONFIG", "SET", "maxmemory", String(bytes))
  await limit((await used()) + 2_000_000)
  for (let round = 0; ; round += 1) {
    if (round === 1_000) throw new Error("Redis never refused")
    try {
      await world.publish(100, LONG_REASON)
    } catch (error) {
      if (/OOM|full|memory/i.test(String(error))) break
      throw error
    }
  }
  // What was refused was held in memory as well, and is free again.
  await limit((await used()) - 700_000)
  const answer = await world.command("SET", "anything", "1").catch(String)
  if (!answer.includes("OOM")) throw new Error("Redis is not full")
}

export const STORE: readonly Scenario[] = [
  {
    name: "restart-with-data",
    title: "Redis is restarted with its data (AOF) under a backlog",
    isQuick: false,
    run: withKeptData,
  },
  {
    name: "restart-empty",
    title: "Redis is restarted empty under a backlog, and a publish comes before the relay is back",
    isQuick: true,
    run: withBacklog(async (world) => {
      await world.restart()
      await world.publish(1)
    }),
  },
  {
    name: "failover-alive",
    title: "Redis fails over to a replica that missed writes; the relay lives, and was cut off meanwhile",
    isQuick: false,
    run: after(
      async (world) => {
        const replicated = replicaOf(world)
        await replicated.caughtUp()
        world.front.stall(true)
        replicated.replication.stall(true)
        await world.publish(BACKLOG)
        await replicated.failOver()
        world.front.stall(false)
        world.over()
        await world.follow(replicated.replica)
      },
      { isReplicated: true },
    ),
  },
  {
    name: "failover-dead",
    title: "Redis fails over to a replica that missed writes, and no relay ran while they were lost",
    isQuick: true,
    run: after(
      async (world, relay) => {
        const replicated = replicaOf(world)
        await replicated.caughtUp()
        await relay.kill()
        replicated.replication.stall(true)
        await world.publish(BACKLOG)
        await replicated.failOver()
        await world.follow(replicated.replica)
        // As many as were lost hide the loss from whoever only counts.
        await world.publish(BACKLOG)
        world.over()
        await world.relay()
      },
      { isReplicated: true },
    ),
  },
  {
    name: "failover-untold",
    title:
      "The same of a Redis that shows no replication id: only what the relay wrote last tells, as it saw none of the lost writes",
    isQuick: true,
    run: after(
      async (world) => {
        const replicated = replicaOf(world)
        await replicated.caughtUp()
        replicated.replication.stall(true)
        const beat = async () =>
          Number((await world.command("ZRANGE", RELAYS_KEY, "0", "0", "WITHSCORES")).split(",").at(-1))
        const before = await beat()
        await insist("the relay said that it lives", async () => (await beat()) > before)
        world.front.stall(true)
        await world.publish(BACKLOG)
        await replicated.failOver()
        world.front.stall(false)
        world.over()
        await world.follow(replicated.replica)
      },
      { isReplicated: true, isUntold: true },
    ),
  },
  {
    name: "demoted",
    title:
      "The primary is demoted and goes on as a replica; 20 s later its address leads to the new one, and no connection is ended",
    isQuick: false,
    run: after(
      async (world, relay, { isShort }) => {
        const replicated = replicaOf(world)
        await replicated.caughtUp()
        await replicated.detach()
        await world.command("REPLICAOF", "127.0.0.1", String(replicated.replica.port))
        await world.follow(replicated.replica)
        await world.publish(BACKLOG)
        await insist("the relay met the refusal", () => relay.log("redis:refused").length > 0)
        await delay((isShort ? 2 : 20) * SECOND)
        world.front.lead(replicated.replica.url)
        world.over()
      },
      { isReplicated: true },
    ),
  },
  deleted("log", logKey(TENANT), true),
  deleted("head", headKey(TENANT), true),
  deleted("cursor", cursorKey(TENANT), true),
  {
    name: "deleted-under-a-call",
    title: "Log, head and cursor are deleted one after another while the relay waits for the CDN",
    isQuick: false,
    run: after(async (world) => {
      for (const key of [logKey(TENANT), headKey(TENANT), cursorKey(TENANT)]) {
        const letGo = world.vendor.hold()
        await world.publish(1)
        await insist("a call was under way", () => world.vendor.underWay > 0)
        await world.publish(BACKLOG)
        if ((await world.command("DEL", key)) !== "1") throw new Error(`there was no ${key}`)
        letGo()
        await world.purged()
      }
      world.over()
    }),
  },
  {
    name: "trimmed",
    title: "The log is trimmed past the cursor under a backlog",
    isQuick: false,
    run: withBacklog(async (world) => {
      if (Number(await world.command("XTRIM", logKey(TENANT), "MAXLEN", "1")) < 1)
        throw new Error("nothing was trimmed")
    }),
  },
  {
    name: "refused-in-a-script",
    title:
      "Redis refuses publishes in their middle, as the namespace's row is of another type; nobody mends it by hand",
    isQuick: true,
    run: after(async (world, relay) => {
      const row = namespaceKey(TENANT, NAMESPACE)
      await world.command("DEL", row)
      await world.command("RPUSH", row, "somebody's")
      let refused = 0
      await insist("publishes were taken again", async () => {
        try {
          await world.publish(1)
          return true
        } catch {
          refused += 1
          return false
        }
      })
      if (refused === 0) throw new Error("nothing was refused")
      await insist("the relay set it aside", () => relay.log("tenant:setAside").length === 1)
      await world.publish(BACKLOG)
      world.over()
    }),
  },
  {
    name: "full",
    title:
      "Redis is full under a backlog; the lanes alone empty it (`log.keep` 1 ms: by default read entries stay)",
    isQuick: true,
    run: after(
      async (world, relay) => {
        await relay.kill()
        await fill(world)
        world.over()
        await world.relay()
      },
      { config: { log: { keep: "1ms" } } },
    ),
  },
  {
    name: "readonly",
    title: "Redis answers READONLY to the relay's writes for 20 s",
    isQuick: false,
    run: refusing("READONLY You can't write against a read only replica.", isWrite),
  },
  {
    name: "loading",
    title: "Redis answers LOADING to everything for 20 s",
    isQuick: false,
    run: refusing("LOADING Redis is loading the dataset in memory"),
  },
]
