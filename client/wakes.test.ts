import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import type { Stamp } from "../protocol/epoch.ts"
import type { Sweepable } from "./local-cache.ts"
import { followWakes, type FollowWakesOptions, type RedisSubscriber, type WakeEvent } from "./wakes.ts"

/** A client of node-redis as far as it is needed: what it is told to do, and what a test makes it say. */
class Subscriber implements RedisSubscriber {
  isOpen = false
  isReady = false
  /** What the head is, or an error; undefined for no answer at all. */
  head: string | null | Error | undefined = "10 40 4 -"
  #asked = Promise.withResolvers<never>()
  readonly calls: string[] = []
  readonly listeners = { ready: new Set<() => void>(), error: new Set<(error?: unknown) => void>() }
  #listener: ((message: string, channel: string) => unknown) | undefined

  async connect() {
    this.calls.push("connect")
    this.isOpen = true
  }

  destroy() {
    this.calls.push("destroy")
    this.isOpen = this.isReady = false
    this.#asked.promise.catch(() => undefined)
    this.#asked.reject(new Error("disconnected"))
    this.#asked = Promise.withResolvers()
  }

  async pSubscribe(pattern: string, listener: (message: string, channel: string) => unknown) {
    this.calls.push(`psubscribe ${pattern}`)
    this.#listener = listener
  }

  async sendCommand([name]: readonly string[]) {
    this.calls.push(name ?? "")
    if (this.head === undefined) return this.#asked.promise
    if (this.head instanceof Error) throw this.head
    return [this.head]
  }

  on(event: "ready" | "error", listener: (error?: unknown) => void) {
    this.listeners[event].add(listener)
  }

  off(event: "ready" | "error", listener: (error?: unknown) => void) {
    this.listeners[event].delete(listener)
  }

  ready() {
    this.isOpen = this.isReady = true
    for (const listener of this.listeners.ready) listener()
  }

  lose() {
    this.isReady = false
    for (const listener of this.listeners.error) listener(new Error("socket closed"))
  }

  hear(message: unknown, channel = "tm:v1:{default}:blog") {
    this.#listener?.(typeof message === "string" ? message : JSON.stringify(message), channel)
  }

  wake(seq: number, namespace = "blog", generation = 10) {
    this.hear({ v: 1, g: generation, e: seq * 10, s: seq }, `tm:v1:{default}:${namespace}`)
  }
}

/** A cache that tells what is done to it. */
class Cache implements Sweepable {
  readonly namespace: string
  sweeps = 0
  clears = 0
  until: Promise<void> = Promise.resolve()

  constructor(namespace: string) {
    this.namespace = namespace
  }

  async sweep() {
    this.sweeps += 1
    await this.until
  }

  clear() {
    this.clears += 1
  }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => {
  // Nothing is left running.
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

/** Follows until the test ends, and is done with its start. */
async function follow(options: Partial<FollowWakesOptions> = {}) {
  const subscriber = new Subscriber()
  const heard: Stamp[] = []
  const events: WakeEvent[] = []
  const caches = ["blog", "blog/news", "shop"].map((name) => new Cache(name))
  const wakes = followWakes({
    tidemark: { hear: (mark) => void heard.push(mark) },
    subscriber,
    caches,
    checkEvery: 0,
    onEvent: (event) => void events.push(event),
    ...options,
  })
  subscriber.ready()
  await vi.advanceTimersByTimeAsync(100)
  const sweeps = () => caches.map((cache) => cache.sweeps)
  /** What happened since it was asked last. */
  const since = async (time = 100) => {
    await vi.advanceTimersByTimeAsync(time)
    const counted = { sweeps: sweeps(), clears: caches.map((cache) => cache.clears) }
    for (const cache of caches) cache.sweeps = cache.clears = 0
    return { ...counted, events: events.splice(0), heard: heard.splice(0), calls: subscriber.calls.splice(0) }
  }
  return { subscriber, wakes, caches, events, heard, since }
}

describe("followWakes", () => {
  it("subscribes, then reads the head, and has everything judged by it", async () => {
    const { wakes, since } = await follow({ tenant: "acme" })
    expect(await since()).toEqual({
      calls: ["connect", "psubscribe tm:v1:{acme}:*", "MGET"],
      heard: [{ generation: 10, epoch: 40 }],
      sweeps: [1, 1, 1],
      clears: [0, 0, 0],
      events: [{ type: "resync", reason: "start", entries: "judged" }, { type: "following" }],
    })
    await wakes.close()
  })

  it("goes on where its listener throws", async () => {
    const { wakes, since, subscriber } = await follow({
      onEvent() {
        throw new Error("the log is full")
      },
    })
    subscriber.wake(5)
    expect((await since()).heard).toContainEqual({ generation: 10, epoch: 50 })
    await wakes.close()
  })

  it("uses a connection that is open already, and opens none twice", async () => {
    for (const state of ["ready", "connecting"] as const) {
      const subscriber = new Subscriber()
      subscriber.isOpen = true
      subscriber.isReady = state === "ready"
      const wakes = followWakes({ tidemark: { hear: () => undefined }, subscriber, checkEvery: 0 })
      if (state === "connecting") subscriber.ready()
      await vi.advanceTimersByTimeAsync(0)
      expect(subscriber.calls).toEqual(["psubscribe tm:v1:{default}:*", "MGET"])
      await wakes.close()
    }
  })

  it.each([
    ["blog", [1, 1, 0]],
    ["blog/news", [0, 1, 0]],
    ["blog/newsletter", [0, 0, 0]],
    ["", [1, 1, 1]],
  ])("tells the reader, and sweeps what lies within %j", async (namespace, sweeps) => {
    const { subscriber, wakes, since } = await follow()
    await since()
    subscriber.wake(5, namespace)
    expect(await since()).toMatchObject({ heard: [{ generation: 10, epoch: 50 }], sweeps, events: [] })
    await wakes.close()
  })

  it("sweeps everything where numbers are missing, once", async () => {
    const { subscriber, wakes, since } = await follow()
    await since()
    subscriber.wake(7, "shop")
    expect(await since()).toMatchObject({
      sweeps: [1, 1, 1],
      events: [{ type: "resync", reason: "gap", entries: "judged" }],
    })
    // Late, or again: it is judged, and that is all.
    for (const seq of [6, 5, 7]) subscriber.wake(seq)
    expect(await since()).toMatchObject({ sweeps: [2, 2, 0], clears: [0, 0, 0], events: [] })
    subscriber.wake(8)
    expect(await since()).toMatchObject({ sweeps: [1, 1, 0], events: [] })
    subscriber.wake(3, "blog", 11)
    expect(await since()).toMatchObject({ sweeps: [1, 1, 1], events: [{ reason: "gap" }] })
    await wakes.close()
  })

  it.each([
    "",
    "garbage",
    "null",
    "[]",
    '"text"',
    { v: 2, g: 10, e: 50, s: 5 },
    { v: 1, g: 10, e: 50 },
    { v: 1, g: "10", e: 50, s: 5 },
    { v: 1, g: 10, e: 9, s: 5 },
    { v: 1, g: 10, e: 50.5, s: 5 },
    { v: 1, g: 10, e: 1e300, s: 5 },
    { v: 1, g: 10, e: -50, s: 5 },
    { v: 1, g: 0, e: 0, s: 0 },
  ])("ignores what is no wake, and counts it: %j", async (message) => {
    const { subscriber, wakes, since } = await follow()
    await since()
    subscriber.hear(message)
    subscriber.hear(message, "tm:v1:probe:relay")
    expect(await since()).toEqual({
      heard: [],
      sweeps: [0, 0, 0],
      clears: [0, 0, 0],
      calls: [],
      events: [
        { type: "unreadable", count: 1 },
        { type: "unreadable", count: 2 },
      ],
    })
    await wakes.close()
  })

  it("tells the reader once more, and sweeps once more, of any number of wakes that come in a sweep", async () => {
    const { subscriber, wakes, caches, since } = await follow()
    await since()
    const swept = Promise.withResolvers<void>()
    for (const cache of caches) cache.until = swept.promise
    for (let seq = 5; seq < 10_005; seq += 1) subscriber.wake(seq)
    expect(await since()).toMatchObject({ heard: [{ epoch: 50 }], sweeps: [1, 1, 0] })
    swept.resolve()
    // It took 100 ms, and rests four times as long.
    expect(await since(399)).toMatchObject({ heard: [], sweeps: [0, 0, 0] })
    expect(await since()).toMatchObject({ heard: [{ epoch: 100_040 }], sweeps: [1, 1, 0] })
    expect(await since(1_000)).toMatchObject({ heard: [], sweeps: [0, 0, 0] })
    await wakes.close()
  })

  it("tells the reader of the newest, whatever the order in which they came", async () => {
    const { subscriber, wakes, since } = await follow()
    await since()
    for (const [seq, generation] of [
      [5, 10],
      [9, 10],
      [7, 10],
      [4, 11],
      [99, 10],
    ] as const)
      subscriber.wake(seq, "shop", generation)
    expect((await since()).heard).toEqual([
      { generation: 10, epoch: 50 },
      { generation: 11, epoch: 40 },
    ])
    await wakes.close()
  })

  it("sweeps no more often than twenty times a second", async () => {
    const { subscriber, wakes, since } = await follow()
    await since()
    for (let seq = 5; seq < 1_005; seq += 1) {
      subscriber.wake(seq)
      await vi.advanceTimersByTimeAsync(1)
    }
    const { sweeps } = await since()
    expect(sweeps[0]).toBeGreaterThan(10)
    expect(sweeps[0]).toBeLessThanOrEqual(22)
    await wakes.close()
  })

  it("drops nothing after a reconnect where the log has not moved", async () => {
    const { subscriber, wakes, since } = await follow()
    subscriber.wake(5)
    subscriber.head = "10 50 5 -"
    await since()
    subscriber.lose()
    subscriber.lose()
    subscriber.ready()
    expect(await since()).toMatchObject({
      sweeps: [0, 0, 0],
      clears: [0, 0, 0],
      events: [{ type: "lost" }, { type: "following" }],
    })
    await wakes.close()
  })

  it.each(["10 60 6 -", "99 99 2 -", null])("has everything judged where it has: head %j", async (head) => {
    const { subscriber, wakes, since } = await follow()
    await since()
    subscriber.lose()
    subscriber.head = head
    subscriber.ready()
    const { heard, ...rest } = await since()
    expect(rest).toMatchObject({
      sweeps: [1, 1, 1],
      clears: [0, 0, 0],
      events: [
        { type: "lost" },
        { type: "resync", reason: "behind", entries: "judged" },
        { type: "following" },
      ],
    })
    expect(heard).toHaveLength(head === null ? 0 : 1)
    await wakes.close()
  })

  it("drops everything where it cannot be told", async () => {
    const { subscriber, wakes, since } = await follow()
    await since()
    subscriber.lose()
    subscriber.head = new Error("ERR Can't execute 'mget': only (P|S)SUBSCRIBE")
    subscriber.ready()
    expect(await since()).toMatchObject({
      sweeps: [0, 0, 0],
      clears: [1, 1, 1],
      events: [
        { type: "lost" },
        { type: "resync", reason: "unknown", entries: "dropped" },
        { type: "following" },
      ],
    })
    await wakes.close()
  })

  it("compares the head every so often, in case the subscription is deaf", async () => {
    const { subscriber, wakes, since } = await follow({ checkEvery: 5_000 })
    await since()
    expect((await since(5_000)).sweeps).toEqual([0, 0, 0])
    subscriber.head = "10 70 7 -"
    expect(await since(5_000)).toMatchObject({
      heard: [{ generation: 10, epoch: 70 }],
      sweeps: [1, 1, 1],
      events: [{ type: "resync", reason: "behind" }],
    })
    // What cannot be asked is no reason to drop anything: nothing says that the connection was lost.
    subscriber.head = new Error("ERR")
    expect(await since(10_000)).toMatchObject({ clears: [0, 0, 0], events: [] })
    await wakes.close()
  })

  it("opens a connection anew that gives no answer", async () => {
    const { subscriber, wakes, since } = await follow({ checkEvery: 5_000 })
    await since()
    subscriber.head = undefined
    expect(await since(7_000)).toMatchObject({
      calls: ["MGET", "destroy", "connect"],
      events: [{ type: "lost" }],
    })
    subscriber.head = "10 40 4 -"
    subscriber.ready()
    expect(await since()).toMatchObject({ clears: [0, 0, 0], events: [{ type: "following" }] })
    await wakes.close()
  })

  it("is told of the end of every connection attempt, and survives it", async () => {
    const subscriber = new Subscriber()
    subscriber.connect = () => Promise.reject(new Error("given up"))
    const events: WakeEvent[] = []
    const wakes = followWakes({
      tidemark: { hear: () => undefined },
      subscriber,
      onEvent: (event) => void events.push(event),
    })
    await vi.advanceTimersByTimeAsync(0)
    expect(events).toEqual([{ type: "lost", error: new Error("given up") }])
    await wakes.close()
  })

  it("ends everything when it is closed, at any moment", async () => {
    const { subscriber, wakes, caches, since } = await follow({ checkEvery: 1_000 })
    await since()
    const swept = Promise.withResolvers<void>()
    for (const cache of caches) cache.until = swept.promise
    subscriber.wake(5)
    let isClosed = false
    const closed = Promise.all([wakes.close(), wakes.close()]).then(() => (isClosed = true))
    await vi.advanceTimersByTimeAsync(100)
    expect(isClosed).toBe(false)
    swept.resolve()
    await closed
    // An attempt to connect that was under way comes to its end.
    subscriber.ready()
    subscriber.lose()
    subscriber.wake(6)
    const { calls, events, sweeps } = await since()
    expect([calls, events, sweeps]).toEqual([["destroy", "destroy"], [], [1, 1, 0]])
  })

  it("ends while the head is awaited", async () => {
    const { subscriber, wakes } = await follow()
    subscriber.head = undefined
    subscriber.lose()
    subscriber.ready()
    await vi.advanceTimersByTimeAsync(100)
    await wakes.close()
  })

  it("refuses options that make no sense", () => {
    for (const options of [{ tenant: "*" }, { checkEvery: -1 }, { checkEvery: Infinity }]) {
      const subscriber = new Subscriber()
      const tidemark = { hear: () => undefined }
      expect(() => followWakes({ tidemark, subscriber, ...options })).toThrow(RangeError)
      expect(subscriber.calls).toEqual([])
    }
  })
})
