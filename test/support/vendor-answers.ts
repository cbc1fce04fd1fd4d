import { setTimeout as delay } from "node:timers/promises"
import type { FakeVendor, VendorAnswer } from "./fake-vendor.ts"

type Answer = FakeVendor["answer"]

/** Refuses a batch that holds one of these values, as a vendor does: without a word on which. */
export const poison =
  (...values: readonly string[]): Answer =>
  (call) =>
    call.values.some((value) => values.includes(value))
      ? { status: 400, message: "Invalid request" }
      : undefined

/** One of these answers to each of the next calls, and none to those after. */
export function inTrouble(answers: readonly VendorAnswer[]): {
  readonly answer: Answer
  readonly left: number
} {
  const rest = [...answers]
  return {
    answer: () => rest.shift(),
    get left() {
      return rest.length
    },
  }
}

/** Takes what comes, after a while. */
export const slow =
  (length: number): Answer =>
  async () => {
    await delay(length)
    return undefined
  }
