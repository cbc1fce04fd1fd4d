import { once } from "node:events"
import { rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { createApp, heard, pause, startWorker, TTL } from "./next-site.ts"

/** An app with the other cache of Next.js: pages (ISR), `fetch` and `unstable_cache`, in several processes. */

const SLOW = 300
const RACES = 3
const SITE = "https://www.example.com"

let worker: Awaited<ReturnType<typeof startWorker>>
let app: ReturnType<typeof createApp>
/** What the pages show from now on, and what the origin answers. */
let content = ""
const origin = createServer((_, response) => response.end(content))

type App = Awaited<ReturnType<ReturnType<typeof createApp>["start"]>>
/** They share nothing but Tidemark. */
let ours: [App, App]
let stock: [App, App]

function write(text: string) {
  content = text
  app.write(text)
}

/** Every page shows this, in both processes. */
async function settle(text: string, paths: readonly string[]) {
  write(text)
  await worker.publish("purge", {})
  await heard()
  for (const path of paths)
    for (const one of ours) {
      await expect.poll(() => one.read(path), { message: path }).toBe(text)
      // From the cache, and so this Next.js has been seen to look at how long it lives.
      expect(await one.read(path)).toBe(text)
    }
}

beforeAll(async () => {
  worker = await startWorker()
  await once(origin.listen(0, "127.0.0.1"), "listening")
  app = createApp("next-isr-app", join(import.meta.dirname, "next-isr"), {
    TIDEMARK_URL: worker.url,
    TIDEMARK_TOKEN: "test",
    TIDEMARK_TTL: String(TTL),
    ORIGIN: `http://127.0.0.1:${(origin.address() as AddressInfo).port}`,
  })
  write("built")
  await app.build()
  ours = [await app.start({}, "/static"), await app.start({}, "/static")]
  stock = [await app.start({ CACHE: "next" }, "/static"), await app.start({ CACHE: "next" }, "/static")]
})

afterAll(async () => {
  await app.close()
  worker.close()
  origin.close()
})

const PATHS = ["/isr/built", "/isr/asked", "/static", "/unstable", "/fetched", "/old/page"]

describe("what Next.js keeps in its other cache", () => {
  it.each(PATHS)("is kept: %s", async (path) => {
    await settle("v1", [path])
    write("v2")
    await heard()
    for (const one of ours) expect(await one.read(path)).toBe("v1")
  })

  it.each([
    ["/static", { tag: "post-1" }],
    ["/unstable", { tag: "post-1" }],
    ["/fetched", { tag: "post-1" }],
    ["/isr/built", { path: "/isr/built" }],
    ["/isr/asked", { path: "/isr/asked" }],
    ["/old/page", { path: "/old/page" }],
    ["/unstable", { path: "/unstable" }],
  ])("is new in every process, wherever it was revalidated: %s by %j", async (path, what) => {
    await settle("v1", [path])
    const [one, other] = ours
    write("v2")
    expect((await one.post("/api/revalidate", what)).status).toBe(200)
    await expect.poll(() => one.read(path)).toBe("v2")
    await heard()
    expect(await other.read(path)).toBe("v2")
    write("v3")
    await heard()
    expect(await other.read(path)).toBe("v2")
  })

  it("with what Next.js brings stays old in the process that was not asked", async () => {
    const [one, other] = stock
    write("v1")
    for (const process of stock) {
      await process.post("/api/revalidate", { tag: "post-1" })
      await expect.poll(() => process.read("/unstable")).toBe("v1")
    }
    write("v2")
    await one.post("/api/revalidate", { tag: "post-1" })
    await expect.poll(() => one.read("/unstable")).toBe("v2")
    await heard()
    expect(await other.read("/unstable")).toBe("v1")
  })

  it.each([
    ["/isr/asked", { urls: [`${SITE}/isr/asked`] }],
    ["/old/page", { urls: [`${SITE}/old/page`] }],
    ["/static", { tags: ["post-1"] }],
    ["/fetched", {}],
  ])("is new when it was published elsewhere: %s by %j", async (path, what) => {
    await settle("v1", [path])
    write("v2")
    await worker.publish("purge", { tags: ["another"] })
    await heard()
    for (const one of ours) expect(await one.read(path)).toBe("v1")
    await worker.publish("purge", what)
    await heard()
    for (const one of ours) expect(await one.read(path)).toBe("v2")
  })

  it.each(PATHS)("is shown old until it was made anew, where that will do: %s", async (path) => {
    await settle("v1", [path])
    write("v2")
    await worker.publish("invalidate", {})
    await heard()
    for (const one of ours) {
      expect(await one.read(path)).toBe("v1")
      await expect.poll(() => one.read(path)).toBe("v2")
    }
  })

  it.each(["purge", "invalidate"] as const)("never shows as fresh what was read before: %s", async (mode) => {
    const path = `/unstable?slow=${SLOW}`
    const [one] = ours
    for (let race = 0, attempt = 0; race < RACES; attempt += 1) {
      write(`old ${attempt}`)
      await worker.publish("purge", {})
      await heard()
      const reading = one.read(path)
      await pause(SLOW / 2)
      write(`new ${attempt}`)
      await worker.publish(mode)
      // On a busy machine it may have begun only now, which is no race.
      if ((await reading) !== `old ${attempt}`) continue
      race += 1
      await heard()
      const then = await one.read(path)
      if (mode === "invalidate") expect(then).toBe(`old ${attempt}`)
      else expect(then).toBe(`new ${attempt}`)
      await expect.poll(() => one.read(path)).toBe(`new ${attempt}`)
    }
  })

  it("is old for a while where it cannot be made anew, and is new once it can", async () => {
    const path = "/isr/asked"
    await settle("v1", [path])
    const [one] = ours
    rmSync(join(app.folder, "content/post-1.txt"))
    await worker.publish("invalidate", {})
    await heard()
    const failures = () => one.output().match(/ENOENT/g)?.length ?? 0
    const before = failures()
    for (let visit = 0; visit < 50; visit += 1) expect(await one.read(path)).toBe("v1")
    await expect.poll(failures).toBeGreaterThan(before)
    // Two in the log each: not at every visit.
    expect(failures() - before).toBeLessThan(20)
    expect(one.output()).toContain("tidemark: revalidation-failed: A page could not be made anew")
    for (let visit = 0; visit < 50; visit += 1) expect(await one.read(path)).toBe("v1")
    write("v2")
    await expect.poll(() => one.read(path)).toBe("v2")
  })
})

describe("a route handler", () => {
  it("learns of a refusal by publishTags, and by revalidateTag nothing: that is in the log", async () => {
    await settle("v1", ["/unstable"])
    const [one] = ours
    worker.refuse({ status: 403, detail: "The token has no scope for this." })
    const revalidated = await one.post("/api/revalidate", { tag: "post-1" })
    expect([revalidated.status, await revalidated.json()]).toEqual([200, { done: true }])
    await expect
      .poll(() => one.output())
      .toContain("tidemark: publish-failed: What the app revalidated was not published.")
    expect(one.output()).toContain("The token has no scope for this.")
    const refused = await one.post("/api/publish", { tag: "post-1" })
    expect([refused.status, await refused.json()]).toEqual([
      502,
      { error: "the publish was answered with status 403: The token has no scope for this." },
    ])
    worker.refuse()
    write("v2")
    expect((await one.post("/api/publish", { tag: "post-1" })).status).toBe(200)
    // Its own process knows at once.
    expect(await one.read("/unstable")).toBe("v2")
  })
})
