import { afterEach, describe, expect, it, vi } from "vitest"
import { Flights } from "./flights.ts"
import { settles } from "./patience.ts"

afterEach(() => {
  vi.useRealTimers()
})

describe("Flights", () => {
  it("tell what is under way, until it ends", async () => {
    const flights = new Flights(1_000)
    expect(flights.running("a")).toBeUndefined()
    const { end } = flights.start("a")
    const running = flights.running("a")
    expect(running).toBeDefined()
    expect(flights.running("b")).toBeUndefined()
    end()
    end()
    await running?.landed
    expect(flights.running("a")).toBeUndefined()
  })

  it("forget what was lost with its request", () => {
    vi.useFakeTimers()
    const flights = new Flights(1_000)
    const lost = flights.start("a")
    vi.advanceTimersByTime(1_000)
    expect(flights.running("a")).toBeUndefined()
    flights.start("a")
    const running = flights.running("a")
    lost.end()
    expect(flights.running("a")).toBe(running)
  })

  it("have landed when any of a key has that still ran: who waits for the second has the first one's page", async () => {
    const flights = new Flights(1_000)
    const first = flights.start("a")
    const second = flights.start("a")
    const { landed } = flights.running("a") ?? {}
    first.end()
    await landed
    expect(flights.running("a")).toBeDefined()
    second.end()
    expect(flights.running("a")).toBeUndefined()
  })

  it("are of a bounded number", () => {
    const flights = new Flights(1_000)
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
