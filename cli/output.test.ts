import { describe, expect, it } from "vitest"
import { frames, hasColours, plain, progress } from "./output.ts"
import { table } from "./table.ts"

describe("colours", () => {
  const terminal = { isTTY: true, hasColors: () => true }

  it.for([
    { screen: terminal, env: {}, expected: true },
    { screen: terminal, env: { NO_COLOR: "" }, expected: true },
    { screen: terminal, env: { NO_COLOR: "1" }, expected: false },
    { screen: terminal, env: { NO_COLOR: "1", FORCE_COLOR: "1" }, expected: false },
    { screen: { isTTY: true, hasColors: () => false }, env: {}, expected: false },
    { screen: {}, env: {}, expected: false },
    { screen: { isTTY: false, hasColors: () => true }, env: { FORCE_COLOR: "1" }, expected: false },
  ])("$env: $expected", ({ screen, env, expected }) => {
    expect(hasColours(screen, env)).toBe(expected)
  })
})

describe("plain", () => {
  it("leaves nothing that a terminal would obey", () => {
    expect(plain("a\u001b[2Jb\nc\u0085d\u202ee")).toBe("a\ufffd[2Jb\ufffdc\ufffdd\ufffde")
    expect(plain("Grüße, 東京 🌊")).toBe("Grüße, 東京 🌊")
  })
})

const screenOf = (isTTY: boolean, columns = 20) => {
  const written: string[] = []
  return { written, isTTY, columns, write: (text: string | Uint8Array) => written.push(String(text)) > 0 }
}

describe("progress", () => {
  it("is one line that changes, no wider than the terminal, and goes away", () => {
    const screen = screenOf(true)
    const line = progress(screen)
    line.show("first")
    line.show("a line that is far too long for this")
    line.clear()
    line.clear()
    expect(screen.written).toEqual(["first", "\r\u001b[2K", "a line that is far ", "\r\u001b[2K"])
  })

  it("is nothing where there is no terminal", () => {
    const screen = screenOf(false)
    const line = progress(screen)
    line.show("first")
    line.clear()
    expect(screen.written).toEqual([])
  })
})

describe("frames", () => {
  it("are drawn anew on a terminal", () => {
    const screen = screenOf(true)
    const view = frames({ redraws: true }, screen)
    view.show(["a", "b"])
    view.show(["a", "b"])
    expect(screen.written).toEqual(["\u001b[H\u001b[Ja\nb\n", "\u001b[H\u001b[Ja\nb\n"])
  })

  it.for([
    { isTTY: false, redraws: true },
    { isTTY: true, redraws: false },
  ])("are printed where they changed, and else nothing: %j", ({ isTTY, redraws }) => {
    const screen = screenOf(isTTY)
    const view = frames({ redraws }, screen)
    for (const lines of [["a"], ["a"], ["b"], ["a"]]) view.show(lines)
    expect(screen.written).toEqual(["a\n", "b\n", "a\n"])
  })
})

describe("table", () => {
  it("has columns as wide as what they hold", () => {
    const rows = [
      ["a", { text: "done", format: "green" as const }, "x\u001by"],
      ["longer", "p", ""],
    ]
    expect(table(rows, ["ONE", "TWO", "THREE"])).toEqual([
      "ONE     TWO   THREE",
      "a       done  x\ufffdy",
      "longer  p",
    ])
  })
})
