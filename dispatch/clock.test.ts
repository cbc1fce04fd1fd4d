import { describe, expect, it } from "vitest"
import { manualClock } from "../test/support/clock.ts"
import { backoff, systemClock } from "./clock.ts"

describe("backoff", () => {
  it("doubles its ceiling from half a second up to half a minute, and never gives up", () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7, 8, 5_000].map((retry) => backoff(retry, () => 1))
    expect(ceilings).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  })

  it("spreads the waits over all that lies below", () => {
    expect([0, 0.25, 0.999].map((random) => backoff(4, () => random))).toEqual([0, 1_000, 3_996])
  })

  it("waits whole milliseconds", () => {
    expect(backoff(1, () => 1 / 3)).toBe(166)
  })
})

describe("the machine's clock", () => {
  it("sleeps, and tells the time", async () => {
    const before = systemClock.now()
    await systemClock.sleep(1)
    expect(systemClock.now()).toBeGreaterThanOrEqual(before)
    const chance = systemClock.random()
    expect(chance >= 0 && chance < 1).toBe(true)
  })

  it("wakes at once when it is told to, before or while it sleeps", async () => {
    await systemClock.sleep(1_000_000, AbortSignal.abort())
    const stop = new AbortController()
    const asleep = systemClock.sleep(1_000_000, stop.signal)
    stop.abort()
    await asleep
  })

  it("leaves nothing behind at its signal", async () => {
    const signal = new AbortController().signal
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...given: Parameters<typeof add>) => {
      listeners += 1
      add(...given)
    }
    signal.removeEventListener = (...given: Parameters<typeof remove>) => {
      listeners -= 1
      remove(...given)
    }
    await systemClock.sleep(1, signal)
    expect(listeners).toBe(0)
  })
})

describe("the clock that tests set", () => {
  it("wakes whoever has slept long enough, in their order", async () => {
    const clock = manualClock(1_000)
    const woken: string[] = []
    const sleep = async (name: string, length: number) => {
      await clock.sleep(length)
      woken.push(name)
    }
    const all = [sleep("late", 30), sleep("soon", 10), sleep("never", 31)]
    clock.advance(9)
    expect(clock.sleepers).toEqual([21, 1, 22])
    clock.advance(21)
    await Promise.all(all.slice(0, 2))
    expect([woken, clock.now(), clock.sleepers]).toEqual([["soon", "late"], 1_030, [1]])
  })

  it("jumps without waking anybody", () => {
    const clock = manualClock(0)
    void clock.sleep(10)
    clock.jump(1_000)
    expect([clock.now(), clock.sleepers]).toEqual([1_000, [-990]])
  })
})
