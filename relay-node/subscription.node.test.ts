import { createClient } from "redis"
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest"
import { startRedis } from "../cli/servers/redis.ts"
import { probeChannel, wakeChannel } from "../protocol/keys.ts"
import { type ManualClock, manualClock } from "../test/support/clock.ts"
import { type Proxy, startProxy } from "../test/support/proxy.ts"
import { Subscription, type SubscriptionEvents, type SubscriptionOptions } from "./subscription.ts"

// A slow machine may have to fetch a Redis first; nothing here is about how long anything takes.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 })

let redis: Awaited<ReturnType<typeof startRedis>>
let admin: ReturnType<typeof createClient>

beforeAll(async () => {
  redis = await startRedis()
  admin = createClient({ url: redis.url, RESP: 2 })
  admin.on("error", () => {})
  await admin.connect()
})

afterAll(async () => {
  admin.destroy()
  await redis.stop()
})

const poll = <T>(read: () => T) => expect.poll(read, { timeout: 20_000, interval: 5 })

const subscribers = async (): Promise<number> =>
  (await admin.sendCommand<string>(["CLIENT", "LIST", "TYPE", "pubsub"]))
    .split("\n")
    .filter((line) => line !== "").length

interface Heard {
  readonly subscription: Subscription
  readonly clock: ManualClock
  readonly proxy: Proxy
  readonly wakes: string[]
  readonly events: (keyof SubscriptionEvents)[]
  readonly reasons: string[]
  readonly times: { subscribed: number }
}

async function listen(rest: Partial<SubscriptionOptions> = {}): Promise<Heard> {
  const proxy = await startProxy(redis.url)
  const clock = manualClock()
  const heard: Omit<Heard, "subscription"> = {
    clock,
    proxy,
    wakes: [],
    events: [],
    reasons: [],
    times: { subscribed: 0 },
  }
  const subscription = new Subscription({
    redisUrl: proxy.url,
    relay: "relay-a",
    clock,
    poll: 5_000,
    publish: async (channel, message) => void (await admin.publish(channel, message)),
    onWake: (tenant, namespace) => heard.wakes.push(`${tenant} ${namespace}`),
    onSubscribed: () => (heard.times.subscribed += 1),
    emit(event, payload) {
      heard.events.push(event)
      if ("reason" in payload) heard.reasons.push(payload.reason)
    },
    ...rest,
  })
  onTestFinished(async () => {
    await subscription.close()
    // Whatever happened, nothing sleeps on and no link is left.
    expect(clock.sleepers).toEqual([])
    await poll(() => proxy.open).toBe(0)
    await poll(subscribers).toBe(0)
    expect(warnings).toEqual([])
    await proxy[Symbol.asyncDispose]()
  })
  return { ...heard, subscription }
}

/** Lets time go on in steps, as long as it takes until something is so. */
async function until(clock: ManualClock, isSo: () => boolean): Promise<void> {
  await poll(() => {
    if (!isSo()) clock.advance(500)
    return isSo()
  }).toBe(true)
}

/** Until what was asked of Redis is answered, and the subscription sleeps. @returns PINGs of its own */
async function quiet(clock: ManualClock, orElse = (): boolean => false): Promise<number> {
  let own = 0
  await poll(async () => {
    const before = clock.sleepers
    for (let trips = 0; trips < 3; trips += 1) await admin.ping()
    own += 3
    if (orElse()) return true
    return before.length === 1 && before.join() === clock.sleepers.join()
  }).toBe(true)
  return own
}

/** How often Redis was asked for something, by whomever. */
async function commandCalls(name: string): Promise<number> {
  const stats = await admin.info("commandstats")
  return Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
}

const warnings: string[] = []
const onWarning = (warning: Error) => void warnings.push(warning.message)
beforeAll(() => void process.on("warning", onWarning))
afterAll(() => void process.off("warning", onWarning))

describe("a subscription", () => {
  it("is proven by a message that came back, and by nothing less", async () => {
    const { subscription, events, times } = await listen()
    expect(subscription.isProven).toBe(false)
    await poll(() => events).toEqual(["subscription:subscribed", "subscription:proven"])
    expect([subscription.isProven, times.subscribed]).toEqual([true, 1])
  })

  it("hears wakes of every tenant and namespace, and neither probes nor what is foreign", async () => {
    const { wakes, subscription } = await listen()
    await poll(() => subscription.isProven).toBe(true)
    await admin.publish(probeChannel("relay-b"), "1")
    await admin.publish(probeChannel("relay-a"), "a stranger's")
    await admin.publish("tm:v1:nonsense", "{}")
    await admin.publish("other", "{}")
    await admin.publish(wakeChannel("default", ""), "not even JSON")
    await admin.publish(wakeChannel("t-2", "catalog/products"), "{}")
    await poll(() => wakes).toEqual(["default ", "t-2 catalog/products"])
  })

  it("proves itself again and again", async () => {
    const { subscription, clock, events } = await listen()
    await poll(() => subscription.isProven).toBe(true)
    for (let seconds = 0; seconds < 60; seconds += 1) {
      // The probe that is due by then must come back before the next one.
      await quiet(clock)
      clock.advance(1_000)
      await poll(() => subscription.isProven).toBe(true)
    }
    expect(events).toEqual(["subscription:subscribed", "subscription:proven"])
  })

  it("is not blamed for probes that could not be published, and not believed either", async () => {
    const { subscription, clock, events } = await listen({ publish: () => Promise.reject(new Error("away")) })
    await poll(() => events).toEqual(["subscription:subscribed"])
    for (let seconds = 0; seconds < 30; seconds += 1) {
      await quiet(clock)
      clock.advance(1_000)
    }
    expect([subscription.isProven, events]).toEqual([false, ["subscription:subscribed"]])
  })

  it.each([
    [
      "hands over no messages",
      "probe",
      (proxy: Proxy) => proxy.muffle(true),
      (proxy: Proxy) => proxy.muffle(false),
    ],
    ["is open at our end only", "ping", (proxy: Proxy) => proxy.freeze(), () => {}],
    ["is closed", "closed", (proxy: Proxy) => proxy.cut(true), (proxy: Proxy) => proxy.cut(false)],
  ])("that %s is given up, and made anew", async (_, reason, harm, mend) => {
    // Where a dead link is to be found by its PING, no probe must be what finds it.
    const publish = reason === "ping" ? () => Promise.reject(new Error("away")) : undefined
    const one = await listen(publish ? { publish } : {})
    await poll(() => one.times.subscribed).toBe(1)
    if (!publish) await poll(() => one.subscription.isProven).toBe(true)
    harm(one.proxy)
    await until(one.clock, () => one.reasons.includes(reason))
    expect(one.subscription.isProven).toBe(false)
    mend(one.proxy)
    // Whatever was published meanwhile is lost: whoever listens is told to read.
    await until(one.clock, () => one.times.subscribed >= 2)
    if (!publish) await until(one.clock, () => one.subscription.isProven)
    await admin.publish(wakeChannel("default", "blog"), "{}")
    await poll(() => one.wakes).toContain("default blog")
  })

  it.each([
    ["hands over no messages", 5_000, 12_000, (proxy: Proxy) => proxy.muffle(true)],
    ["is open at our end only", 5_000, 12_000, (proxy: Proxy) => proxy.freeze()],
    ["stands still", 5_000, 12_000, (proxy: Proxy) => proxy.stall(true)],
    ["hands over no messages", 1_000, 4_000, (proxy: Proxy) => proxy.muffle(true)],
    ["hands over no messages", 600_000, 12_000, (proxy: Proxy) => proxy.muffle(true)],
  ])(
    "that %s is found out, with a poll of %i ms, within %i ms of its clock",
    async (_, every, within, harm) => {
      const one = await listen({ poll: every })
      await poll(() => one.subscription.isProven).toBe(true)
      harm(one.proxy)
      const began = one.clock.now()
      const isLost = () => one.reasons.length > 0
      for (; !isLost(); one.clock.advance(isLost() ? 0 : 500)) await quiet(one.clock, isLost)
      expect(one.clock.now() - began).toBeLessThanOrEqual(within)
      expect(one.subscription.isProven).toBe(false)
      one.proxy.stall(false)
    },
  )

  it("that is dead together with the connection for commands is found out by a PING, within 14 s", async () => {
    const silent = Promise.withResolvers<never>()
    let isSilent = false
    const one = await listen({
      publish: async (channel, message) =>
        isSilent ? silent.promise : void (await admin.publish(channel, message)),
    })
    await poll(() => one.subscription.isProven).toBe(true)
    isSilent = true
    one.proxy.freeze()
    const began = one.clock.now()
    const isLost = () => one.reasons.length > 0
    for (; !isLost(); one.clock.advance(isLost() ? 0 : 500)) await quiet(one.clock, isLost)
    expect(one.clock.now() - began).toBeLessThanOrEqual(14_000)
    expect(one.reasons).toEqual(["ping"])
  })

  it("sends six probes a minute while nothing happens, and no PING", async () => {
    const sent: string[] = []
    const { subscription, clock } = await listen({
      async publish(channel, message) {
        sent.push(message)
        await admin.publish(channel, message)
      },
    })
    await poll(() => subscription.isProven).toBe(true)
    const before = await commandCalls("ping")
    sent.length = 0
    let own = 0
    for (let seconds = 0; seconds < 60; seconds += 1) {
      own += await quiet(clock)
      clock.advance(1_000)
    }
    own += await quiet(clock)
    expect(sent).toHaveLength(6)
    expect((await commandCalls("ping")) - before).toBe(own)
  })

  it("is proven by a wake as well, and then needs no probe", async () => {
    let probes = 0
    const { subscription, clock, events, wakes } = await listen({
      publish: async () => void (probes += 1),
    })
    await poll(() => events).toEqual(["subscription:subscribed"])
    await admin.publish(wakeChannel("default", "blog"), "{}")
    await poll(() => events).toEqual(["subscription:subscribed", "subscription:proven"])
    for (let seconds = 0; seconds < 30; seconds += 1) {
      await quiet(clock)
      clock.advance(1_000)
      await admin.publish(wakeChannel("default", "blog"), "{}")
      await poll(() => wakes.length).toBe(seconds + 2)
    }
    expect([probes, subscription.isProven]).toEqual([1, true])
  })

  it("never gives up, and gathers nothing on the way", async () => {
    const { clock, times, reasons } = await listen()
    for (let losses = 1; losses <= 15; losses += 1) {
      await until(clock, () => times.subscribed === losses)
      await poll(subscribers).toBe(1)
      await admin.sendCommand(["CLIENT", "KILL", "TYPE", "pubsub"])
      await poll(() => reasons.length).toBe(losses)
    }
    await until(clock, () => times.subscribed === 16)
    expect(new Set(reasons)).toEqual(new Set(["closed"]))
  })

  it("goes on where it is refused, until it is not", async () => {
    await admin.sendCommand(["ACL", "SETUSER", "deaf", "on", ">pw", "~*", "+@all", "resetchannels"])
    const { clock, reasons, times } = await listen({
      redisUrl: redis.url.replace("redis://", "redis://deaf:pw@"),
    })
    await until(clock, () => reasons.length >= 3)
    expect([new Set(reasons), times.subscribed]).toEqual([new Set(["refused"]), 0])
    await admin.sendCommand(["ACL", "SETUSER", "deaf", "&tm:v1:*"])
    await until(clock, () => times.subscribed === 1)
  })

  it("does not wait for ever for a Redis that takes the connection and says nothing", async () => {
    const { createServer } = await import("node:net")
    const sockets = new Set<{ destroy(): void }>()
    const mute = createServer((socket) => {
      sockets.add(socket)
      socket.on("error", () => socket.destroy())
    })
    await new Promise<void>((listening) => mute.listen(0, "127.0.0.1", listening))
    const address = mute.address()
    const port = typeof address === "object" && address ? address.port : 0
    const { clock, reasons } = await listen({ redisUrl: `redis://127.0.0.1:${port}` })
    await until(clock, () => reasons.length >= 2)
    expect(new Set(reasons)).toEqual(new Set(["refused"]))
    for (const socket of sockets) socket.destroy()
    await new Promise((closed) => mute.close(closed))
  })

  it.each(["at once", "once subscribed", "while Redis is away"])(
    "is closed %s, without a word of alarm",
    async (when) => {
      const { subscription, events, times, proxy } = await listen(
        when === "while Redis is away" ? { redisUrl: "redis://127.0.0.1:1" } : {},
      )
      if (when === "once subscribed") await poll(() => times.subscribed).toBe(1)
      if (when === "while Redis is away") await poll(() => events.length).toBeGreaterThan(0)
      const before = events.filter((event) => event === "subscription:lost").length
      await Promise.all([subscription.close(), subscription.close()])
      expect(events.filter((event) => event === "subscription:lost")).toHaveLength(before)
      await poll(() => proxy.open).toBe(0)
      expect(subscription.isProven).toBe(false)
    },
  )
})
