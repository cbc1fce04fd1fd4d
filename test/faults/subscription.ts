import { setTimeout as delay } from "node:timers/promises"
import { SECOND } from "../../protocol/time.ts"
import type { RelayProcess } from "../support/relay-process.ts"
import type { Counted, Scenario, ScenarioContext } from "./scenario.ts"
import { comesTrue, insist } from "./waiting.ts"
import { openWorld, type World, type WorldOptions } from "./world.ts"

const BEFORE = 10
const DURING = 50

/** A relay and a plain subscriber, both seen to work, and then a fault. */
const beside =
  (
    harm: (world: World, relay: RelayProcess, context: ScenarioContext) => Promise<void>,
    options: WorldOptions = {},
  ) =>
  async (context: ScenarioContext): Promise<Counted> => {
    await using world = await openWorld(context, { ...options, hasPlain: true })
    const relay = await world.relay()
    await world.publish(BEFORE)
    await world.level()
    await harm(world, relay, context)
    return await world.count()
  }

const lostIts = (relay: RelayProcess, reason?: string) => (): boolean =>
  relay.log("subscription:lost").some((line) => reason === undefined || line["reason"] === reason)

/** The relay's connections, and the plain subscriber's. */
const CONNECTIONS = 3

async function awayWhile(world: World, end: () => void, work: () => Promise<void>): Promise<void> {
  end()
  world.front.cut(true)
  await work()
  world.front.cut(false)
  world.over()
}

/** Bytes of a limit that a burst is over at once. */
const SMALL_BUFFER = 64 * 1024
const BURST = 500_000
const SHORT_BURST = 50_000

const ROUND = 10_000
/** At once, so that nobody's socket takes any of it meanwhile. */
const PUBLISH_MANY = `for _ = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', ARGV[2], 'x'); redis.call('PUBLISH', ARGV[3], 'x') end`

/** Wakes of nobody's publishes, and as many messages for the plain subscriber. */
async function burst(world: World, count: number): Promise<void> {
  for (let sent = 0; sent < count; sent += ROUND) {
    await world.command("EVAL", PUBLISH_MANY, "0", String(ROUND), "tm:v1:{default}:blog", "plain:noise")
  }
}

export const SUBSCRIPTION: readonly Scenario[] = [
  {
    name: "closed",
    title: "The connections to Redis are closed, and changes come before they are open again",
    isQuick: true,
    run: beside((world) =>
      awayWhile(
        world,
        () => world.front.close(),
        () => world.publish(DURING),
      ),
    ),
  },
  {
    name: "reset",
    title: "The connections to Redis are reset (RST), and changes come before they are open again",
    isQuick: false,
    run: beside((world) =>
      awayWhile(
        world,
        () => world.front.reset(),
        () => world.publish(DURING),
      ),
    ),
  },
  {
    name: "half-open",
    title: "The connections are open at the relay's end only: nobody is told",
    isQuick: true,
    run: beside(async (world, relay) => {
      await insist("all were connected", () => world.front.open === CONNECTIONS)
      world.front.freeze()
      await world.publish(DURING)
      world.over()
      await insist("the relay gave its subscription up", lostIts(relay))
    }),
  },
  {
    name: "stalled",
    title: "No byte passes between the relay and Redis for 60 s, then all at once",
    isQuick: false,
    run: beside(async (world, _, { isShort }) => {
      world.front.stall(true)
      await world.publish(DURING)
      await delay((isShort ? 8 : 60) * SECOND)
      await world.publish(DURING)
      world.front.stall(false)
      world.over()
    }),
  },
  {
    name: "pattern-lost",
    title: "The pattern subscription alone hands over nothing; TCP, PING and all else are well",
    isQuick: true,
    run: beside(async (world, relay) => {
      world.front.messages("dropPattern")
      await world.publish(DURING)
      await insist("the relay's probe did not come back", lostIts(relay, "probe"))
      world.front.messages("pass")
      world.over()
    }),
  },
  {
    name: "repeated",
    title: "Every message of Pub/Sub arrives twice, then in another order",
    isQuick: false,
    run: beside(async (world) => {
      world.front.messages("repeat")
      for (let round = 0; round < DURING; round += 1) await world.publish(1)
      world.front.messages("reorder")
      for (let round = 0; round < DURING; round += 1) await world.publish(1)
      world.front.messages("pass")
      world.over()
    }),
  },
  {
    name: "detached-replica",
    title: "The subscription is at a replica that was detached: it answers PING, and no message ever comes",
    isQuick: true,
    run: beside(
      async (world, relay) => {
        const { front, replicated } = world
        if (!replicated) throw new Error("there is no replica")
        front.leadSubscribers(replicated.replica.url)
        front.reset()
        await insist("all came back", () => front.open === CONNECTIONS)
        await insist("the relay hears by the replica", async () => (await relay.get("/readyz")).ok)
        await world.publish(BEFORE)
        await world.purged()
        const before = relay.log("subscription:lost").length
        await replicated.detach()
        await world.publish(DURING)
        await insist("the relay's probe did not come back", () =>
          relay
            .log("subscription:lost")
            .slice(before)
            .some(({ reason }) => reason === "probe"),
        )
        front.leadSubscribers(undefined)
        front.reset()
        world.over()
      },
      { isReplicated: true },
    ),
  },
  {
    name: "buffer-overflow",
    title: "A burst of 500,000 messages overflows the subscriber's output buffer, and Redis ends it",
    isQuick: true,
    run: beside(async (world, relay, { isShort }) => {
      await world.command("CONFIG", "SET", "client-output-buffer-limit", `pubsub ${SMALL_BUFFER} 0 0`)
      const over = new AbortController()
      const bursting = burst(world, isShort ? SHORT_BURST : BURST).finally(() => over.abort())
      for (let published = 0; published < DURING || !over.signal.aborted; published += 5)
        await world.publish(5)
      await bursting
      await insist("Redis ended the subscription", lostIts(relay, "closed"))
      world.over()
    }),
  },
  {
    name: "client-kill",
    title: "`CLIENT KILL TYPE pubsub`, again and again while changes come",
    isQuick: true,
    run: beside(async (world, relay) => {
      for (let round = 0; round < DURING; round += 1) {
        await world.command("CLIENT", "KILL", "TYPE", "pubsub")
        await world.publish(1)
      }
      await insist("the relay lost its subscription", lostIts(relay, "closed"))
      world.over()
    }),
  },
  {
    name: "script-flush",
    title: "`SCRIPT FLUSH`, again and again while changes come",
    isQuick: false,
    run: beside(async (world) => {
      for (let round = 0; round < DURING; round += 1) {
        await Promise.all([world.publish(1), world.command("SCRIPT", "FLUSH")])
      }
      await comesTrue(() => false, SECOND)
      world.over()
    }),
  },
]
