import { setTimeout as delay } from "node:timers/promises"
import { cursorKey } from "../../protocol/keys.ts"
import { HOUR, type Milliseconds, MINUTE, SECOND } from "../../protocol/time.ts"
import { manualClock } from "../support/clock.ts"
import { runningClock } from "../support/running-clock.ts"
import type { RelayProcess } from "../support/relay-process.ts"
import type { Counted, Scenario, ScenarioContext } from "./scenario.ts"
import { insist } from "./waiting.ts"
import { openWorld, type World } from "./world.ts"

const BEFORE = 10
const BACKLOG = 30

/** A relay is killed at some step of a publish's way, and another one started. */
const killed =
  (atStep: (world: World, relay: RelayProcess) => Promise<void>) =>
  async (context: ScenarioContext): Promise<Counted> => {
    await using world = await openWorld(context)
    const relay = await world.relay()
    await world.publish(BEFORE)
    await world.level()
    await atStep(world, relay)
    world.over()
    await world.relay()
    return await world.count()
  }

/** How far the CDN's lane has got by what is stored: its last word is the sequence number. */
const stored = async (world: World): Promise<number> =>
  Number((await world.command("HGET", cursorKey("default"), "www-cloudflare")).split(" ").at(-1))

/** Two relays, of which the one that is in a call is stopped for longer than its lease lasts. */
async function frozen(context: ScenarioContext): Promise<Counted> {
  await using world = await openWorld(context)
  const relays = [await world.relay(), await world.relay()] as const
  await world.publish(BEFORE)
  await world.level()
  const letGo = world.vendor.hold()
  await world.publish(BACKLOG)
  await insist("a call was under way", () => world.vendor.underWay > 0)
  const { items } = (await relays[0].json("/v1/lanes")) as { items: { target: string; owner: string }[] }
  const owner = items.find(({ target }) => target === "www-cloudflare")?.owner ?? ""
  const { items: fleet } = (await relays[0].json("/v1/relays")) as {
    items: { id: string; startedAt: string }[]
  }
  const oldest = fleet.toSorted((a, b) => a.startedAt.localeCompare(b.startedAt))
  const holder = relays[oldest.findIndex(({ id }) => owner.startsWith(id))]
  if (!holder) throw new Error(`nobody knows who ${owner} is`)
  const other = relays.find((one) => one !== holder)
  holder.signal("SIGSTOP")
  const asked = world.vendor.calls.length
  letGo()
  await world.publish(BACKLOG)
  await insist("the other relay took the lane", () => world.vendor.calls.length > asked)
  await delay((context.isShort ? 4 : 60) * SECOND)
  await world.purged()
  await world.publish(BACKLOG)
  holder.signal("SIGCONT")
  world.over()
  const counted = await world.count()
  await insist("the other relay lives", () => other?.isRunning ?? false)
  return counted
}

const SMALL_STEP: Milliseconds = 20
const LARGE_STEP: Milliseconds = 200

/** A vendor that is away for ten minutes of the relay's time, which pass in a moment. */
async function vendorAway(context: ScenarioContext): Promise<Counted> {
  await using world = await openWorld(context)
  const clock = manualClock()
  const relay = world.relayWith(clock)
  const driven = new AbortController()
  // Steps so small that Redis, which lives by the real clock, answers within any deadline of the relay's.
  let step = SMALL_STEP
  const driving = (async () => {
    while (!driven.signal.aborted) {
      clock.advance(step)
      await delay(5)
    }
  })()
  try {
    await insist("the relay was ready", () => relay.isReady)
    await world.publish(BEFORE)
    await world.level()
    world.vendor.answer = () => ({ status: 503 })
    await world.publish(BACKLOG)
    const back = clock.now() + 10 * MINUTE
    step = LARGE_STEP
    await insist("the lane asked in vain", () => world.vendor.calls.some(({ status }) => status === 503))
    await insist("ten minutes passed", () => clock.now() > back)
    step = SMALL_STEP
    await world.publish(BACKLOG)
    world.vendor.answer = () => undefined
    world.over()
    return await world.count()
  } finally {
    await relay.close()
    driven.abort()
    await driving
  }
}

async function clockBack(context: ScenarioContext): Promise<Counted> {
  await using world = await openWorld(context)
  const clock = runningClock()
  const relay = world.relayWith(clock)
  await insist("the relay was ready", () => relay.isReady)
  await world.publish(BEFORE)
  await world.level()
  const letGo = world.vendor.hold()
  await world.publish(BACKLOG)
  await insist("a call was under way", () => world.vendor.underWay > 0)
  clock.jump(-HOUR)
  letGo()
  world.over()
  await world.publish(BACKLOG)
  return await world.count()
}

/** The classic one. */
async function off(context: ScenarioContext): Promise<Counted> {
  await using world = await openWorld(context, { hasPlain: true })
  const relay = await world.relay()
  await world.publish(BEFORE)
  await world.level()
  await relay.stop()
  world.front.cut(true)
  // One a second for ten minutes. How fast they come makes no difference to a log.
  for (let change = 0; change < 600; change += 1) await world.publish(1)
  world.front.cut(false)
  world.over()
  await world.relay()
  return await world.count()
}

export const RELAYS: readonly Scenario[] = [
  {
    name: "relay-off",
    title: "The relay is off for ten minutes of changes (600), then on",
    isQuick: true,
    run: off,
  },
  {
    name: "killed-before-the-call",
    title: "The relay is killed (`kill -9`) after it was woken and before it calls",
    isQuick: false,
    run: killed(async (world, relay) => {
      relay.signal("SIGSTOP")
      await world.publish(BACKLOG)
      await relay.kill()
    }),
  },
  {
    name: "killed-during-the-call",
    title: "The relay is killed while its call is under way, and the CDN makes nothing of it",
    isQuick: true,
    run: killed(async (world, relay) => {
      const { vendor } = world
      const letGo = vendor.hold()
      // What it was asked it forgets: taken and not written down is the next scenario's.
      vendor.answer = () => "cut"
      await world.publish(BACKLOG)
      await insist("a call was under way", () => vendor.underWay > 0)
      await relay.kill()
      letGo()
      await insist("no call was under way", () => vendor.underWay === 0)
      vendor.answer = () => undefined
    }),
  },
  {
    name: "killed-before-the-commit",
    title: "The relay is killed after the CDN took its call, and before it wrote that down",
    isQuick: true,
    run: killed(async (world, relay) => {
      const before = await stored(world)
      // From its call on it is heard by nobody but the CDN.
      world.vendor.answer = () => {
        world.front.stall(true)
        return undefined
      }
      await world.publish(1)
      await insist("it tried to write that down", () => world.front.held.includes('"calls"'))
      const { vendor, front } = world
      await relay.kill()
      front.reset()
      vendor.answer = () => undefined
      await insist("its connections were gone", () => front.open === 0)
      front.stall(false)
      if ((await stored(world)) !== before) throw new Error("it was written down")
    }),
  },
  {
    name: "killed-after-the-commit",
    title: "The relay is killed right after it wrote down what the CDN took",
    isQuick: false,
    run: killed(async (world, relay) => {
      const before = await stored(world)
      await world.publish(1)
      await insist("it was written down", async () => (await stored(world)) > before)
      await relay.kill()
      await world.publish(BACKLOG)
    }),
  },
  {
    name: "frozen",
    title: "Two relays; the one that is in a call is stopped for a minute, then goes on",
    isQuick: true,
    run: frozen,
  },
  {
    name: "clock-back",
    title: "The relay's clock goes back an hour while a call is under way",
    isQuick: false,
    run: clockBack,
  },
  {
    name: "vendor-away",
    title: "The CDN answers 503 for ten minutes (of the relay's clock)",
    isQuick: false,
    run: vendorAway,
  },
]
