import { type CacheNode, startCacheNode } from "../support/cache-node.ts"
import { startNameServer } from "../support/name-server.ts"
import type { Counted, Scenario, ScenarioContext } from "./scenario.ts"
import { insist } from "./waiting.ts"
import { openWorld, type World } from "./world.ts"

const BEFORE = 10
const BACKLOG = 100

/** What was emptied at nodes that had no part in the fault. */
const bansOf = (nodes: readonly CacheNode[]): number =>
  nodes.flatMap(({ taken }) => taken.filter(({ isBan }) => isBan)).length

/** Publishes while it lasts, and counts what healthy nodes lost, or were emptied for nothing. */
async function publishAndCount(world: World, healthy: readonly CacheNode[]): Promise<Counted> {
  const before = bansOf(healthy)
  for (let published = 0; published < BACKLOG; published += 10) await world.publish(10)
  world.over()
  const counted = await world.count()
  const emptied = bansOf(healthy) - before
  const letters = await world.deadLetters()
  return {
    ...counted,
    faults: [
      ...counted.faults,
      ...(emptied > 0 ? [`healthy nodes were emptied ${emptied} times`] : []),
      ...(letters > 0 ? [`${letters} dead letters`] : []),
    ],
  }
}

const withThird = (harm: (third: CacheNode) => Promise<unknown>) =>
  async function run(context: ScenarioContext): Promise<Counted> {
    await using first = await startCacheNode()
    await using second = await startCacheNode()
    await using third = await startCacheNode()
    const healthy = [first, second]
    const endpoints = [first, second, third].map(({ url }) => url)
    const down = [third.address]
    await harm(third)
    await using world = await openWorld(context, { endpoints, nodes: healthy, down })
    await world.relay()
    await world.publish(BEFORE)
    await world.level()
    return await publishAndCount(world, healthy)
  }

export const NODES: readonly Scenario[] = [
  {
    name: "node-down",
    title: "One of three nodes of a target is down all the while; the other two are counted",
    isQuick: true,
    run: withThird((third) => third.stop()),
  },
  {
    name: "node-odd",
    title: "One of three nodes answers 405, as one that has no VCL of ours; the other two are counted",
    isQuick: true,
    run: withThird(async (third) => Object.assign(third, { status: 405, isMarked: false })),
  },
  {
    name: "node-addresses",
    title: "The addresses behind a target's name come and go while changes pass",
    isQuick: true,
    async run(context) {
      await using stays = await startCacheNode("127.0.0.1")
      const port = Number(new URL(stays.url).port)
      await using goes = await startCacheNode("127.0.0.2", port)
      await using comes = await startCacheNode("127.0.0.3", port)
      const name = "varnish.cache.svc"
      await using names = await startNameServer({ addresses: { [name]: ["127.0.0.1", "127.0.0.2"] } })
      const endpoints = `dns://${names.address}/${name}:${port}`
      await using world = await openWorld(context, { endpoints, nodes: [stays] })
      const relay = await world.relay()
      await world.publish(BEFORE)
      await world.level()
      const before = bansOf([stays])
      const changes = relay.log("target:nodes").length
      names.zone.addresses[name] = ["127.0.0.1", "127.0.0.3"]
      await goes.stop()
      await insist("the relay has heard of it", async () => {
        await world.publish(5)
        return relay.log("target:nodes").length > changes
      })
      // What came is to lose nothing from then on, nor of what was published before.
      world.nodes.push(comes)
      await world.publish(BACKLOG)
      world.over()
      const counted = await world.count()
      const emptied = bansOf([stays]) - before
      return {
        ...counted,
        faults: [...counted.faults, ...(emptied > 0 ? ["the node that stays was emptied"] : [])],
      }
    },
  },
]
