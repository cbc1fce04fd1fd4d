import { describe, expect, it } from "vitest"
import { withEpochCache } from "./fetch.ts"
import { memoryPages } from "./memory-pages.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

const URL = "https://www.example.com/a"

describe("memoryPages", () => {
  it("gives back what was put, as often as it is asked", async () => {
    const pages = memoryPages()
    const headers = { "content-type": "text/plain", "x-own": "1" }
    await pages.put(URL, new Response("body", { status: 203, headers }))
    for (let time = 0; time < 2; time += 1) {
      const page = await pages.match(URL)
      expect(page?.status).toBe(203)
      expect(page?.headers.get("x-own")).toBe("1")
      expect(await page?.text()).toBe("body")
    }
    expect(await pages.match(`${URL}?page=2`)).toBeUndefined()
    expect(await pages.delete(URL)).toBe(true)
    expect(await pages.delete(URL)).toBe(false)
    expect(await pages.match(URL)).toBeUndefined()
  })

  it("keeps bytes as they are, also where there are none, and what was read of them changes nothing", async () => {
    const pages = memoryPages()
    const bytes = new Uint8Array([0, 255, 10, 13])
    await pages.put(URL, new Response(bytes))
    const first = new Uint8Array((await (await pages.match(URL))?.arrayBuffer()) ?? [])
    expect(first).toEqual(bytes)
    first.fill(7)
    expect(new Uint8Array((await (await pages.match(URL))?.arrayBuffer()) ?? [])).toEqual(bytes)
    await pages.put(URL, new Response(null, { status: 204 }))
    expect((await pages.match(URL))?.status).toBe(204)
  })

  it("keeps a page for its max-age", async () => {
    let now = 1_000
    const pages = memoryPages({ now: () => now })
    await pages.put(URL, new Response("a", { headers: { "cache-control": "public, max-age=60" } }))
    now += 60_000
    expect(await pages.match(URL)).toBeDefined()
    now += 1
    expect(await pages.match(URL)).toBeUndefined()
    await pages.put(URL, new Response("a"))
    await pages.put(URL, new Response("b", { headers: { "cache-control": "max-age=0" } }))
    expect(await pages.match(URL)).toBeUndefined()
  })

  it("holds no more than it may, and tells where a page by itself is more than that", async () => {
    const pages = memoryPages({ maxBytes: 1_000 })
    const page = () => new Response(new Uint8Array(400))
    for (const name of ["a", "b", "c"]) await pages.put(`https://www.example.com/${name}`, page())
    expect(await pages.match("https://www.example.com/a")).toBeUndefined()
    expect(await pages.match("https://www.example.com/c")).toBeDefined()
    const url = "https://www.example.com/c"
    await expect(pages.put(url, new Response(new Uint8Array(2_000)))).rejects.toThrow(RangeError)
    expect(await pages.match(url)).toBeUndefined()
    await expect(
      pages.put(url, new Response("", { headers: { "x-long": "x".repeat(2_000) } })),
    ).rejects.toThrow(RangeError)
  })

  it("reads no page that does not end", async () => {
    let cancelled = false
    const endless = new ReadableStream<Uint8Array>({
      pull: (stream) => stream.enqueue(new Uint8Array(100)),
      cancel: () => void (cancelled = true),
    })
    await expect(memoryPages({ maxBytes: 1_000 }).put(URL, new Response(endless))).rejects.toThrow(RangeError)
    expect(cancelled).toBe(true)
  })

  it("refuses a bound that makes no sense", () => {
    expect(() => memoryPages({ maxBytes: 0 })).toThrow(RangeError)
  })

  it("keeps the pages of a plug, and serves none that was purged", async () => {
    const clock = new Clock()
    const store = new ModelStore(clock)
    store.record({ kind: "everything", namespace: "" })
    let version = 1
    const site = withEpochCache(
      () => new Response(`v${version}`, { headers: { "cache-control": "public, max-age=60" } }),
      {
        tidemark: createTidemark({ store, now: clock.now }),
        namespace: "blog",
        cache: memoryPages({ now: clock.now }),
      },
    )
    const visit = async () => (await site(new Request(URL), undefined, {})).text()
    expect(await visit()).toBe("v1")
    version = 2
    await expect.poll(visit).toBe("v1")
    store.record({ kind: "urls", namespace: "blog", values: [URL], hard: true })
    clock.time += 10_000
    expect([await visit(), await visit()]).toEqual(["v2", "v2"])
  })
})
