import { describe, expect, it, vi } from "vitest"
import { memoryPages } from "./memory-pages.ts"

const page = (text: string, maxAge = 60) =>
  new Response(text, { headers: { "cache-control": `max-age=${maxAge}`, "x-own": "1" } })

const textOf = async (response: Response | undefined) => response?.text()

describe("pages in memory", () => {
  it("are found again, each time anew, under a url or a request for it", async () => {
    const pages = memoryPages()
    await pages.put("https://example.com/a", page("a"))
    expect(await textOf(await pages.match("https://example.com/a"))).toBe("a")
    const found = await pages.match(new Request("https://example.com/a"))
    expect([found?.status, found?.headers.get("x-own"), await found?.text()]).toEqual([200, "1", "a"])
    expect(await pages.match("https://example.com/b")).toBeUndefined()
  })

  it("are gone when they were deleted, or their max-age has passed", async () => {
    const now = vi.spyOn(Date, "now").mockReturnValue(0)
    const pages = memoryPages()
    await pages.put("https://example.com/a", page("a"))
    await pages.put("https://example.com/b", page("b"))
    expect(await pages.delete("https://example.com/a")).toBe(true)
    expect(await pages.delete("https://example.com/a")).toBe(false)
    now.mockReturnValue(59_999)
    expect(await pages.match("https://example.com/b")).toBeDefined()
    now.mockReturnValue(60_000)
    expect(await pages.match("https://example.com/b")).toBeUndefined()
    now.mockRestore()
  })

  it("make room for others, those first that were used longest ago; what is too large for all is not kept", async () => {
    const pages = memoryPages({ maxBytes: 3 * 1_124 })
    const text = "x".repeat(100)
    for (const name of ["a", "b", "c"]) await pages.put(`https://example.com/${name}`, page(text))
    await pages.match("https://example.com/a")
    await pages.put("https://example.com/d", page(text))
    await pages.put("https://example.com/d", page(text))
    await pages.put("https://example.com/large", page("x".repeat(3_000)))
    const kept = await Promise.all(
      ["a", "b", "c", "d", "large"].map((name) => pages.match(`https://example.com/${name}`)),
    )
    expect(kept.map((response) => response !== undefined)).toEqual([true, false, true, true, false])
  })
})
