import { expect, it } from "vitest"
import { humanTime, laneLines } from "./lane-view.ts"

it.for([
  [0, "0 ms"],
  [999, "999 ms"],
  [1_000, "1 s"],
  [59_999, "59 s"],
  [60_000, "1 min"],
  [250_999, "4 min 10 s"],
  [3_600_000, "1 h"],
  [3_630_000, "1 h"],
  [86_400_000 + 2 * 3_600_000, "1 d 2 h"],
] as const)("%i ms is %s", ([ms, text]) => {
  expect(humanTime(ms)).toBe(text)
})

it("shows what a relay warns of, below its table", () => {
  const lane = { target: "cdn", state: "idle", warnings: ["no response was seen that carries ns/blog"] }
  expect(laneLines([lane]).at(-1)).toContain("cdn: no response was seen that carries ns/blog")
})
