import { describe, expect, it } from "vitest"
import { reconnectDelay } from "./connection.ts"

describe("reconnectDelay", () => {
  it("doubles its ceiling up to a second, and never gives up", () => {
    const ceilings = [0, 1, 2, 3, 4, 5, 6, 1_000_000].map((retries) => reconnectDelay(retries, () => 1))
    expect(ceilings).toEqual([50, 100, 200, 400, 800, 1_000, 1_000, 1_000])
  })

  it("spreads the delays below it", () => {
    expect([reconnectDelay(6, () => 0), reconnectDelay(6, () => 0.25)]).toEqual([0, 250])
  })
})
