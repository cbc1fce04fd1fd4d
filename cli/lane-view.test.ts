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

it("shows the nodes of a target below it", () => {
  const lag = { entries: 3, ms: 2_000 }
  const nodes = [
    { node: "10.0.0.1:6081", state: "idle", lag: { entries: 0, ms: 0 }, due: 0 },
    { node: "10.0.0.2:6081", state: "retrying", lag, due: 0, error: "10.0.0.2:6081 gave no answer" },
  ]
  const lines = laneLines([{ target: "www-varnish", state: "retrying", lag, due: 0, dead: 0, nodes }])
  expect(lines[1]).toMatch(/^www-varnish +retrying +3 +2 s /)
  expect(lines[2]).toMatch(/^ {2}10\.0\.0\.1:6081 +idle +0 +- /)
  expect(lines[3]).toMatch(/^ {2}10\.0\.0\.2:6081 +retrying +3 +2 s .*gave no answer/)
})
