import { setImmediate } from "node:timers/promises"
import { describe, expect, it } from "vitest"
import { atOnce, inSlices, SLICE, type Steps, Turns } from "./slices.ts"

function* steps(count: number, cost: number): Steps<string> {
  for (let nth = 0; nth < count; nth += 1) yield cost
  return "done"
}

describe("work in slices", () => {
  it("comes to what it comes to at once", async () => {
    expect(atOnce(steps(10, SLICE))).toBe("done")
    expect(await inSlices(steps(10, SLICE), async () => {})).toBe("done")
  })

  it("lets others have their turn after each slice, and not where it is shorter than one", async () => {
    let turns = 0
    const turn = async () => {
      turns += 1
    }
    await inSlices(steps(100, SLICE / 100 - 1), turn)
    expect(turns).toBe(0)
    await inSlices(steps(1_000, SLICE / 100), turn)
    expect(turns).toBe(10)
  })
})

describe("turns", () => {
  it("go round the tenants, however many slices one has", async () => {
    const turns = new Turns(setImmediate)
    const order: string[] = []
    const work = async (tenant: string, slices: number) => {
      for (let nth = 0; nth < slices; nth += 1) {
        await turns.take(tenant)
        order.push(tenant)
      }
    }
    const lanes = Array.from({ length: 20 }, () => work("hostile", 10))
    await setImmediate()
    await Promise.all([...lanes, work("a", 3), work("b", 3)])
    // Between two of a quiet tenant there is one of each other.
    const places = order.flatMap((tenant, place) => (tenant === "a" ? [place] : []))
    expect(places[0]).toBeLessThanOrEqual(4)
    expect((places[2] ?? 0) - (places[0] ?? 0)).toBeLessThanOrEqual(6)
    expect(order).toHaveLength(206)
  })

  it("let the event loop go round before each", async () => {
    const turns = new Turns(setImmediate)
    let rounds = 0
    const counting = (async () => {
      while (rounds < 50) {
        await setImmediate()
        rounds += 1
      }
    })()
    for (let nth = 0; nth < 10; nth += 1) await turns.take("a")
    expect(rounds).toBeGreaterThanOrEqual(8)
    await counting
  })
})
