import { describe, expect, it } from "vitest"
import { cookie, language } from "./vary.ts"

describe("language", () => {
  const pick = language(["en", "de", "pt-BR"])

  it.each([
    [null, "en"],
    ["", "en"],
    ["de", "de"],
    ["de-AT", "de"],
    ["de-DE,de;q=0.9", "de"],
    ["fr, de;q=0.5, en;q=0.4", "de"],
    ["en;q=0.4, de;q=0.5", "de"],
    ["de;q=0, fr", "en"],
    ["PT-br", "pt-BR"],
    ["pt", "en"],
    ["de-at-1996", "de"],
    ["*", "en"],
    [";;q=,,=;q=x", "en"],
    ["de;q=nothing, pt-BR", "pt-BR"],
  ])("of %j is %s", (value, expected) => {
    expect(pick(value)).toBe(expected)
  })

  it("wants one to offer", () => {
    expect(() => language([])).toThrow(RangeError)
  })
})

describe("cookie", () => {
  it.each([
    [null, ""],
    ["sid=alice", ""],
    ["sid=alice; theme=dark", "theme=dark"],
    [" theme = light ;sid=1", "theme=light"],
    ["theme=dark; theme=light", "theme=dark"],
    ["theme=<script>", ""],
    ["mytheme=dark", ""],
    ["theme", ""],
  ])("of %j is %j", (header, expected) => {
    expect(cookie("theme", ["dark", "light"])(header)).toBe(expected)
  })

  it("takes any value where none are named", () => {
    expect(cookie("theme")("theme=a=b")).toBe("theme=a=b")
  })
})
