import { expect, it } from "vitest"
import { Guard, TimedOut } from "./guard.ts"

const never = () => new Promise<never>(() => undefined)

it("hands on what a call gives, or throws", async () => {
  const guard = new Guard(1_000)
  expect(await guard.run(() => "now")).toBe("now")
  expect(await guard.run(async () => "later")).toBe("later")
  await expect(guard.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no")
  await expect(
    guard.run(() => {
      throw new Error("at once")
    }),
  ).rejects.toThrow("at once")
})

it("waits for a call no longer than its timeout, and then makes no more until it has rested", async () => {
  let time = 1_000_000
  let calls = 0
  const guard = new Guard(20, () => time)
  const hang = () => {
    calls += 1
    return never()
  }
  await expect(guard.run(hang)).rejects.toMatchObject({ name: "TimedOut", isRepeated: false })
  await expect(guard.run(hang)).rejects.toMatchObject({ name: "TimedOut", isRepeated: true })
  expect(calls).toBe(1)
  time += 5_000
  await expect(guard.run(hang)).rejects.toBeInstanceOf(TimedOut)
  expect(calls).toBe(2)
  // And where the clock went back, at once.
  time -= 3_600_000
  expect(await guard.run(() => "back")).toBe("back")
})

it("makes calls again as soon as the one that was too slow has settled", async () => {
  const slow = Promise.withResolvers<string>()
  const guard = new Guard(20)
  await expect(guard.run(() => slow.promise)).rejects.toThrow("within 20 ms")
  slow.resolve("late")
  await new Promise((resolve) => setTimeout(resolve, 0))
  expect(await guard.run(() => "next")).toBe("next")
})

it.each([0, -1, Number.NaN, Infinity])("refuses a timeout of %s", (timeout) => {
  expect(() => new Guard(timeout)).toThrow(RangeError)
})
