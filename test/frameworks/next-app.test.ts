import { once } from "node:events"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { redisCommand } from "../support/redis-command.ts"
import { createApp, heard, pause, startWorker, TTL } from "./next-site.ts"

/** The app of `examples/nextjs`, built once by Next.js itself and run as several processes of `next start`. */

/** How long making the slow page takes, in seconds. */
const SLOW = 0.3
const RACES = 3

const example = join(import.meta.dirname, "../../examples/nextjs")

/** A page whose data comes from an origin that may fail. */
const COUNTED = `
import { cacheLife, cacheTag } from "next/cache"
import { Suspense } from "react"

async function read() {
  "use cache"
  cacheTag("post-1")
  cacheLife("days")
  const response = await fetch(process.env.ORIGIN)
  if (!response.ok) throw new Error("the origin is away")
  return response.text()
}

async function Text({ searchParams }) {
  await searchParams
  return <h1>{await read()}</h1>
}

export default function Page({ searchParams }) {
  return <Suspense><Text searchParams={searchParams} /></Suspense>
}
`

/** What the origin answers, and how often it was asked. */
const answers = { text: "v0", isAway: false, count: 0 }
const origin = createServer((_, response) => {
  answers.count += 1
  response.statusCode = answers.isAway ? 500 : 200
  response.end(answers.text)
})

let worker: Awaited<ReturnType<typeof startWorker>>
let app: ReturnType<typeof createApp>
const write = (content: string) => app.write(content)
const publish: typeof worker.publish = (...what) => worker.publish(...what)

type Process = Awaited<ReturnType<ReturnType<typeof createApp>["start"]>>

/** The button that the page has. */
async function pressPurge({ get, base }: Process) {
  const [, action = ""] = /name="(\$ACTION_ID_\w+)"/.exec(await get("/")) ?? []
  const body = new FormData()
  body.set(action, "")
  const response = await fetch(base, { method: "POST", body })
  expect(response.status).toBe(200)
  return /<h1>(.*?)<\/h1>/.exec(await response.text())?.[1]
}

/** A process of the app. */
async function start(extra?: Readonly<Record<string, string>>) {
  const running = await app.start(extra)
  return { ...running, pressPurge: () => pressPurge(running) }
}

/** What the store was asked while the app was built. */
let askedByBuild = 0

type App = Awaited<ReturnType<typeof start>>
let ours: [App, App]
let stock: [App, App]

beforeAll(async () => {
  worker = await startWorker()
  await once(origin.listen(0, "127.0.0.1"), "listening")
  app = createApp("next-app", example, {
    TIDEMARK_URL: worker.url,
    TIDEMARK_TOKEN: "test",
    TIDEMARK_TTL: String(TTL),
    ORIGIN: `http://127.0.0.1:${(origin.address() as AddressInfo).port}`,
  })
  mkdirSync(join(app.folder, "app/counted"))
  writeFileSync(join(app.folder, "app/counted/page.jsx"), COUNTED)
  write("v0")
  await app.build()
  askedByBuild = worker.store.requests.length
  ours = [await start(), await start()]
  stock = [await start({ CACHE: "next" }), await start({ CACHE: "next" })]
})

afterAll(async () => {
  await app.close()
  worker.close()
  origin.close()
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
    for (let race = 0, attempt = 0; race < RACES; attempt += 1) {
      write(`old ${attempt}`)
      await publish("purge")
      await heard()
      const reading = one.read(`/?slow=${SLOW}`)
      await pause((SLOW * 1_000) / 2)
      write(`new ${attempt}`)
      await publish(mode)
      // On a busy machine it may have begun only now, which is no race.
      if ((await reading) !== `old ${attempt}`) continue
      race += 1
      await heard()
      const then = one.read(`/?slow=${SLOW}`)
      if (mode === "invalidate") {
        expect(await then).toBe(`old ${attempt}`)
        await expect.poll(() => one.read(`/?slow=${SLOW}`)).toBe(`new ${attempt}`)
      } else expect(await then).toBe(`new ${attempt}`)
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

  it("shows the old while the new cannot be made, and does not try so at every visit", async () => {
    const [one] = ours
    const text = await one.read("/counted")
    answers.isAway = true
    await publish("invalidate")
    await heard()
    const before = answers.count
    for (let visit = 0; visit < 60; visit += 1) expect(await one.read("/counted")).toBe(text)
    expect(answers.count).toBeGreaterThan(before)
    expect(answers.count - before).toBeLessThan(10)
    Object.assign(answers, { isAway: false, text: "v1" })
    await expect.poll(() => one.read("/counted")).toBe("v1")
    expect(one.output()).toContain("tidemark: revalidation-failed: An entry could not be made anew")
  })
})

describe("with entries in Redis", () => {
  it("serves what another process made, and goes on while Redis hangs or is gone", async () => {
    let redis = await startRedis()
    onTestFinished(() => redis.stop())
    const [one, other] = await Promise.all([start({ REDIS_URL: redis.url }), start({ REDIS_URL: redis.url })])
    const isShared = async (text: string) => {
      write(text)
      await publish("purge")
      await heard()
      await expect.poll(() => one.read()).toBe(text)
      write(`not ${text}`)
      return other.read()
    }
    expect(await isShared("v1")).toBe("v1")
    // It takes connections and bytes, and answers nothing.
    process.kill(redis.pid, "SIGSTOP")
    expect(await one.read()).toBe("not v1")
    expect(await other.read()).toBe("not v1")
    for (const { output } of [one, other])
      expect(output()).toContain("tidemark: storage-failed: The storage could not")
    process.kill(redis.pid, "SIGCONT")
    await expect.poll(() => isShared("v2")).toBe("v2")
    process.kill(redis.pid, "SIGKILL")
    await redis.exited
    expect(await one.read()).toBe("not v2")
    expect(await other.read()).toBe("not v2")
    redis = await startRedis({ port: redis.port })
    await expect.poll(() => isShared("v3")).toBe("v3")
  })
})

describe("the README's file", () => {
  it("is built without any environment, and runs", async () => {
    const [, file = ""] =
      /```js\n(\/\/ cache-handler\.mjs\n.*?)```/s.exec(readFileSync(join(example, "README.md"), "utf8")) ?? []
    expect(file).toContain("process.env.TIDEMARK_URL")
    const bare = createApp("next-bare", example, {})
    onTestFinished(() => bare.close())
    writeFileSync(join(bare.folder, "cache-handler.mjs"), file)
    bare.write("v1")
    await bare.build()
    const running = await bare.start()
    expect(await running.read()).toBe("v1")
    bare.write("v2")
    // Nothing is known, so nothing is kept.
    expect(await running.read()).toBe("v2")
  })
})

describe("the files of the guide to several replicas", () => {
  it.each(["memory", "Redis"])("keep both caches, with entries in %s", async (where) => {
    const guide = readFileSync(join(import.meta.dirname, "../../docs/leaving-vercel.md"), "utf8")
    const files = Array.from(guide.matchAll(/```js\n\/\/ (\S+)\n(.*?)```/gs), ([, name = "", file = ""]) => ({
      name,
      file,
    }))
    expect(files.map(({ name }) => name)).toEqual([
      "caches.mjs",
      "isr-handler.mjs",
      "cache-handler.mjs",
      "next.config.mjs",
    ])
    const redis = where === "Redis" ? await startRedis() : undefined
    const replicated = createApp("next-replicas", example, {
      TIDEMARK_URL: worker.url,
      TIDEMARK_TOKEN: "test",
      ...(redis && { REDIS_URL: redis.url }),
    })
    onTestFinished(async () => {
      await replicated.close()
      await redis?.stop()
    })
    // But for the time that it takes until all have heard.
    const soon = `  ttl: ${TTL},\n  store: workerStore(`
    for (const { name, file } of files)
      writeFileSync(join(replicated.folder, name), file.replace("  store: workerStore(", soon))
    replicated.write("v1")
    await replicated.build()
    const all = await Promise.all([replicated.start(), replicated.start()])
    const [one, other] = all
    const paths = ["/", "/shell"]
    for (const [mode, version] of [
      ["purge", "v2"],
      ["invalidate", "v3"],
      ["purge", "v4"],
    ] as const) {
      replicated.write(version)
      await publish(mode)
      await heard()
      for (const path of paths)
        for (const replica of all)
          await expect.poll(() => replica.read(path), { message: path }).toBe(version)
    }
    replicated.write("v5")
    await heard()
    for (const path of paths) for (const replica of all) expect(await replica.read(path)).toBe("v4")
    const published = worker.store.version
    await pressPurge(one)
    await heard()
    // Next.js does it after the action and again after the page, and each time it tells both handlers.
    expect(worker.store.version).toBe(published + 2)
    for (const path of paths) {
      expect(await one.read(path)).toBe("v5")
      expect(await other.read(path)).toBe("v5")
    }
    for (const { output } of all) expect(output()).not.toMatch(/error|tidemark/i)
    if (redis) expect(Number(await redisCommand(redis.url, "DBSIZE"))).toBeGreaterThan(1)
  })
})
