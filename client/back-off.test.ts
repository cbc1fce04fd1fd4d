import { expect, it } from "vitest"
import { BackOff } from "./back-off.ts"

/** How long a key rests from now on, in whole seconds; the clock is left where it began. */
function restOf(backOff: BackOff, key: string, clock: { time: number }): number {
  const began = clock.time
  while (backOff.isResting(key)) clock.time += 1_000
  const rest = (clock.time - began) / 1_000
  clock.time = began
  return rest
}

it("lets a key rest for 1 s after it failed, then for twice as long each time, up to 30 s", () => {
  const clock = { time: 1_000_000 }
  const backOff = new BackOff(
    () => clock.time,
    () => 0,
  )
  expect(backOff.isResting("a")).toBe(false)
  const rests = Array.from({ length: 8 }, () => {
    backOff.failed("a")
    const rest = restOf(backOff, "a", clock)
    clock.time += rest * 1_000
    return rest
  })
  expect(rests).toEqual([1, 2, 4, 8, 16, 30, 30, 30])
  expect(backOff.isResting("b")).toBe(false)
})

it("forgets what failed once it has succeeded", () => {
  const clock = { time: 0 }
  const backOff = new BackOff(
    () => clock.time,
    () => 0,
  )
  backOff.failed("a")
  clock.time += 1_000
  backOff.failed("a")
  backOff.succeeded("a")
  expect(backOff.isResting("a")).toBe(false)
  backOff.failed("a")
  expect(restOf(backOff, "a", clock)).toBe(1)
})

it("counts failures of one moment once", () => {
  const clock = { time: 0 }
  const backOff = new BackOff(
    () => clock.time,
    () => 0,
  )
  for (let index = 0; index < 100; index += 1) backOff.failed("a")
  expect(restOf(backOff, "a", clock)).toBe(1)
})

it("shortens a rest by up to a quarter, at random", () => {
  let time = 0
  const backOff = new BackOff(
    () => time,
    () => 1,
  )
  backOff.failed("a")
  time = 749
  expect(backOff.isResting("a")).toBe(true)
  time = 750
  expect(backOff.isResting("a")).toBe(false)
})

it("lets no key rest for longer because the clock went back", () => {
  let time = 3_600_000
  const backOff = new BackOff(
    () => time,
    () => 0,
  )
  backOff.failed("a")
  time = 0
  expect(backOff.isResting("a")).toBe(false)
})

it("remembers 1,000 keys, and forgets the one that failed longest ago", () => {
  const backOff = new BackOff(
    () => 0,
    () => 0,
  )
  for (let index = 0; index <= 1_000; index += 1) backOff.failed(String(index))
  expect(backOff.isResting("0")).toBe(false)
  expect(backOff.isResting("1")).toBe(true)
  expect(backOff.isResting("1000")).toBe(true)
})
