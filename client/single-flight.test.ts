import { afterEach, describe, expect, it, vi } from "vitest"
import { settles } from "./patience.ts"
import { SingleFlight } from "./single-flight.ts"

afterEach(() => {
  vi.useRealTimers()
})

describe("SingleFlight", () => {
  it("tells what is under way, until it ends", async () => {
    const flights = new SingleFlight(1_000)
    expect(flights.running("a")).toBeUndefined()
    const { end } = flights.start("a")
    const running = flights.running("a")
    expect(running).toBeDefined()
    expect(flights.running("b")).toBeUndefined()
    end()
    end()
    await running
    expect(flights.running("a")).toBeUndefined()
  })

  it("forgets what was lost with its request", () => {
    vi.useFakeTimers()
    const flights = new SingleFlight(1_000)
    const lost = flights.start("a")
    vi.advanceTimersByTime(1_000)
    expect(flights.running("a")).toBeUndefined()
    const { done } = flights.start("a")
    lost.end()
    expect(flights.running("a")).toBe(done)
  })

  it("holds a bounded number", () => {
    const flights = new SingleFlight(1_000)
    for (let index = 0; index <= 1_000; index += 1) flights.start(String(index))
    expect(flights.running("0")).toBeUndefined()
    expect(flights.running("1")).toBeDefined()
  })
})

describe("settles", () => {
  it("tells whether it did in time, and leaves no timer behind", async () => {
    vi.useFakeTimers()
    expect(await settles(Promise.resolve(), 1_000)).toBe(true)
    expect(await settles(Promise.reject(new Error("no")), 1_000)).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
    const never = settles(new Promise(() => undefined), 1_000)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await never).toBe(false)
    expect(vi.getTimerCount()).toBe(0)
  })
})
