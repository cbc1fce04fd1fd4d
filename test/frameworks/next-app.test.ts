import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { createApp, heard, pause, startWorker, TTL } from "./next-site.ts"

/** The app of `examples/nextjs`, built once by Next.js itself and run as several processes of `next start`. */

/** How long making the slow page takes, in seconds. */
const SLOW = 0.3
const RACES = 3

let worker: Awaited<ReturnType<typeof startWorker>>
let app: ReturnType<typeof createApp>
const write = (content: string) => app.write(content)
const publish: typeof worker.publish = (...what) => worker.publish(...what)

/** A process of the app: what its pages show, and the button that they have. */
async function start(extra?: Readonly<Record<string, string>>) {
  const running = await app.start(extra)
  const pressPurge = async () => {
    const [, action = ""] = /name="(\$ACTION_ID_\w+)"/.exec(await running.get("/")) ?? []
    const body = new FormData()
    body.set(action, "")
    const response = await fetch(running.base, { method: "POST", body })
    expect(response.status).toBe(200)
    return /<h1>(.*?)<\/h1>/.exec(await response.text())?.[1]
  }
  return { ...running, pressPurge }
}

/** What the store was asked while the app was built. */
let askedByBuild = 0

type App = Awaited<ReturnType<typeof start>>
let ours: [App, App]
let stock: [App, App]

beforeAll(async () => {
  worker = await startWorker()
  app = createApp("next-app", join(import.meta.dirname, "../../examples/nextjs"), {
    TIDEMARK_URL: worker.url,
    TIDEMARK_TOKEN: "test",
    TIDEMARK_TTL: String(TTL),
  })
  write("v0")
  await app.build()
  askedByBuild = worker.store.requests.length
  ours = [await start(), await start()]
  stock = [await start({ CACHE: "next" }), await start({ CACHE: "next" })]
})

afterAll(async () => {
  await app.close()
  worker.close()
})

describe("a real app", () => {
  it("asks the store for what it prerenders, too", () => {
    expect(askedByBuild).toBeGreaterThan(0)
  })

  it("shows an entry until it is purged, in every process, whoever published", async () => {
    write("v1")
    await publish("purge")
    await heard()
    const shown = () => Promise.all(ours.map((one) => one.read()))
    expect(await shown()).toEqual(["v1", "v1"])
    write("v2")
    await heard()
    expect(await shown()).toEqual(["v1", "v1"])
    await publish("purge")
    await heard()
    expect(await shown()).toEqual(["v2", "v2"])
    write("v3")
    expect(await ours[0].pressPurge()).toBe("v3")
    await heard()
    expect(await shown()).toEqual(["v3", "v3"])
  })

  it.each([
    ["its page's path", { tags: ["_N_T_/"] }],
    ["its namespace", {}],
  ])("is purged by %s as well", async (_, what) => {
    write("v1")
    await publish("purge")
    await heard()
    expect(await ours[0].read()).toBe("v1")
    write("v2")
    await publish("purge", what)
    await heard()
    expect(await ours[0].read()).toBe("v2")
  })

  it("shows what was softly invalidated until one read of it is done, and then the new", async () => {
    write("v1")
    await publish("purge")
    await heard()
    expect(await ours[0].read()).toBe("v1")
    write("v2")
    await publish("invalidate")
    await heard()
    expect(await ours[0].read()).toBe("v1")
    await expect.poll(() => ours[0].read()).toBe("v2")
    write("v3")
    await heard()
    expect(await ours[0].read()).toBe("v2")
  })

  it.each(["purge", "invalidate"] as const)("never shows as fresh what was read before: %s", async (mode) => {
    const [one] = ours
    for (let race = 0; race < RACES; race += 1) {
      write(`old ${race}`)
      await publish("purge")
      await heard()
      const reading = one.read(`/?slow=${SLOW}`)
      await pause((SLOW * 1_000) / 2)
      write(`new ${race}`)
      await publish(mode)
      expect(await reading).toBe(`old ${race}`)
      await heard()
      const then = one.read(`/?slow=${SLOW}`)
      if (mode === "invalidate") {
        expect(await then).toBe(`old ${race}`)
        await expect.poll(() => one.read(`/?slow=${SLOW}`)).toBe(`new ${race}`)
      } else expect(await then).toBe(`new ${race}`)
    }
  })

  it("with what Next.js brings shows the old, where another process purged", async () => {
    const [one, other] = stock
    write("old")
    await one.pressPurge()
    await other.pressPurge()
    const reading = one.read(`/?slow=${SLOW}`)
    await pause((SLOW * 1_000) / 2)
    write("new")
    await other.pressPurge()
    expect(await reading).toBe("old")
    expect(await one.read(`/?slow=${SLOW}`)).toBe("old")
    // The purge was carried out where it was asked for.
    await one.pressPurge()
    expect(await one.read(`/?slow=${SLOW}`)).toBe("new")
  })

  it("leaves a prerendered page to Next.js, which the app's own purge reaches in that process", async () => {
    const [one] = ours
    const before = await one.read("/shell")
    write("v1")
    await publish("purge")
    await heard()
    expect(await one.read("/shell")).toBe(before)
    await one.pressPurge()
    await expect.poll(() => one.read("/shell")).toBe("v1")
  })

  it("said nothing of errors", () => {
    for (const { output } of [...ours, ...stock]) expect(output()).not.toMatch(/error|warn/i)
  })
})
