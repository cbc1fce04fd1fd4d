import { describe, expect, it } from "vitest"
import { Mark } from "./mark.ts"

const MAX_STALE = 60_000

describe("what a reader was told", () => {
  it("rises within a generation, and never falls", () => {
    const told = new Mark(MAX_STALE)
    expect(told.hear({ generation: 100, last: 120 }, 0)).toBe("renewed")
    expect(told.hear({ generation: 100, last: 150 }, 1)).toBe("known")
    expect(told.hear({ generation: 100, last: 130 }, 2)).toBe("known")
    expect(told.high).toEqual({ generation: 100, last: 150 })
  })

  it("believes a higher generation at once, though its epochs be lower", () => {
    const told = new Mark(MAX_STALE)
    told.hear({ generation: 100, last: 900 }, 0)
    expect(told.hear({ generation: 500, last: 500 }, 1)).toBe("renewed")
    expect(told.high).toEqual({ generation: 500, last: 500 })
  })

  it("takes a lower generation for an unreachable store until maxStale has passed, and then believes it", () => {
    const told = new Mark(MAX_STALE)
    told.hear({ generation: 500, last: 500 }, 0)
    expect(told.hear({ generation: 100, last: 100 }, 10)).toBe("ignored")
    expect(told.hear({ generation: 100, last: 101 }, 10 + MAX_STALE)).toBe("ignored")
    expect(told.high).toEqual({ generation: 500, last: 500 })
    expect(told.hear({ generation: 100, last: 102 }, 11 + MAX_STALE)).toBe("renewed")
    expect(told.high).toEqual({ generation: 100, last: 102 })
  })

  it("counts from the last word of the present generation, not from an idle reader's last question", () => {
    const told = new Mark(MAX_STALE)
    told.hear({ generation: 500, last: 500 }, 0)
    expect(told.hear({ generation: 100, last: 100 }, 10 * MAX_STALE)).toBe("ignored")
    told.hear({ generation: 500, last: 500 }, 10 * MAX_STALE + 1)
    expect(told.hear({ generation: 100, last: 100 }, 11 * MAX_STALE + 1)).toBe("ignored")
  })

  it("never again believes a generation that it was told has ended", () => {
    const told = new Mark(MAX_STALE)
    told.hear({ generation: 100, last: 190 }, 0)
    told.hear({ generation: 500, last: 500 }, 1)
    for (const at of [2, MAX_STALE, 3 * MAX_STALE]) {
      expect(told.hear({ generation: 100, last: 190 }, at)).toBe("ignored")
    }
    expect(told.high).toEqual({ generation: 500, last: 500 })
  })

  it("counts a generation that it gave up for a lower one from where it was, should it return", () => {
    const told = new Mark(0)
    told.hear({ generation: 500, last: 590 }, 0)
    told.hear({ generation: 100, last: 100 }, 1)
    expect(told.hear({ generation: 100, last: 100 }, 2)).toBe("renewed")
    expect(told.hear({ generation: 500, last: 520 }, 3)).toBe("renewed")
    expect(told.high).toEqual({ generation: 500, last: 590 })
  })

  it("holds nothing against a log that begins after there was none, by whatever clock", () => {
    const told = new Mark(MAX_STALE)
    expect(told.hear({ generation: 0, last: 900 }, 0)).toBe("ignored")
    expect(told.high).toBeUndefined()
    expect(told.hear({ generation: 850, last: 851 }, 1)).toBe("renewed")
    expect(told.hear({ generation: 0, last: 2_000 }, 2 * MAX_STALE)).toBe("ignored")
    expect(told.hear({ generation: 0, last: 3_000 }, 4 * MAX_STALE)).toBe("ignored")
    expect(told.high).toEqual({ generation: 850, last: 851 })
  })

  it("learns nothing of a lower generation from a cache, however long it says so", () => {
    const told = new Mark(MAX_STALE)
    told.hear({ generation: 500, last: 500 }, 0)
    told.hear({ generation: 100, last: 100 }, 1)
    expect(told.hear({ generation: 100, last: 100 }, 2 * MAX_STALE, false)).toBe("ignored")
  })
})
