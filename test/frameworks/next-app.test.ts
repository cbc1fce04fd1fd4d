import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { parseInvalidation } from "../../protocol/invalidation.ts"
import { lookupJson, type LookupRequest } from "../../protocol/lookup.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"

/** The app of `examples/nextjs`, built once by Next.js itself and run as several processes of `next start`. */

const TTL = 50
/** How long making the slow page takes, in seconds. */
const SLOW = 0.3
const RACES = 3

const app = join(import.meta.dirname, ".tidemark/next-app")
const next = join(import.meta.dirname, "node_modules/next/dist/bin/next")

const pause = (time: number) => new Promise((resolve) => setTimeout(resolve, time))
/** Until every reader has heard of what was published. */
const heard = () => pause(3 * TTL)

const write = (content: string) => writeFileSync(join(app, "content/post-1.txt"), content)

/** A Worker as the app sees it. */
const clock = new Clock()
const store = new ModelStore(clock)
const worker = createServer((request, response) => void answerAsWorker(request, response))

async function answerAsWorker(request: IncomingMessage, response: ServerResponse) {
  clock.time = Date.now()
  const { pathname, searchParams } = new URL(request.url ?? "", "http://worker")
  const answer = (body: unknown) =>
    response.setHeader("content-type", "application/json").end(JSON.stringify(body))
  if (pathname === "/v1/invalidations") {
    const what = JSON.parse(await text(request))
    const { errors } = { errors: undefined, ...parseInvalidation(what) }
    if (errors) response.statusCode = 422
    return answer(errors ?? (await store.publish(what)))
  }
  const after = searchParams.get("after")
  const asked: LookupRequest =
    request.method === "POST"
      ? new Map(Object.entries(JSON.parse(await text(request)).namespaces))
      : new Map(
          searchParams.getAll("ns").map((namespace) => {
            const of = (name: string) =>
              searchParams
                .getAll(name)
                .filter((value) => value.startsWith(`${namespace}:`))
                .map((value) => value.slice(namespace.length + 1))
            return [namespace, { tags: of("tag"), urls: of("url") }]
          }),
        )
  answer(lookupJson(await store.lookup(asked, after === null ? undefined : Number(after))))
}

const running: ChildProcess[] = []

function run(args: readonly string[], extra: Readonly<Record<string, string>> = {}) {
  const { port } = worker.address() as AddressInfo
  const child = spawn(process.execPath, [next, ...args], {
    cwd: app,
    env: {
      PATH: process.env["PATH"],
      NODE_ENV: "production",
      NEXT_TELEMETRY_DISABLED: "1",
      TIDEMARK_URL: `http://127.0.0.1:${port}`,
      TIDEMARK_TOKEN: "test",
      TIDEMARK_TTL: String(TTL),
      ...extra,
    },
    stdio: ["ignore", "pipe", "pipe"],
  })
  running.push(child)
  let output = ""
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk))
  return { child, output: () => output }
}

/** A process of the app: what its pages show, and the button that they have. */
async function start(extra?: Readonly<Record<string, string>>) {
  const { output } = run(["start", "--port", "0", "--hostname", "127.0.0.1"], extra)
  const base = await vi.waitFor(
    async () => {
      const [, url = ""] = /Local:\s+(http:\S+)/.exec(output()) ?? []
      expect((await fetch(url)).status).toBe(200)
      return url
    },
    { timeout: 20_000 },
  )
  const get = async (path: string) => (await fetch(base + path)).text()
  const read = async (path = "/") => /<h1>(.*?)<\/h1>/.exec(await get(path))?.[1]
  const pressPurge = async () => {
    const [, action = ""] = /name="(\$ACTION_ID_\w+)"/.exec(await get("/")) ?? []
    const body = new FormData()
    body.set(action, "")
    const response = await fetch(base, { method: "POST", body })
    expect(response.status).toBe(200)
    return /<h1>(.*?)<\/h1>/.exec(await response.text())?.[1]
  }
  return { read, pressPurge, output }
}

/** What the store was asked while the app was built. */
let askedByBuild = 0

type App = Awaited<ReturnType<typeof start>>
let ours: [App, App]
let stock: [App, App]

beforeAll(async () => {
  rmSync(app, { recursive: true, force: true })
  cpSync(join(import.meta.dirname, "../../examples/nextjs"), app, {
    recursive: true,
    filter: (path) => !/[\\/](?:node_modules|\.next)$/.test(path),
  })
  // What `npm install` links and `npm run build` makes, from the sources.
  const linked = join(app, "node_modules/tidemark")
  mkdirSync(linked, { recursive: true })
  const exports = { "./client": "./client.mjs", "./next": "./next.mjs" }
  writeFileSync(join(linked, "package.json"), JSON.stringify({ name: "tidemark", exports }))
  for (const name of ["client", "next"])
    writeFileSync(
      join(linked, `${name}.mjs`),
      `export * from ${JSON.stringify(PACKAGE_EXPORTS[`tidemark/${name}`])}\n`,
    )
  await once(worker.listen(0, "127.0.0.1"), "listening")
  clock.time = Date.now()
  store.record({ kind: "everything", namespace: "" })
  write("v0")
  // Not Turbopack: it compiles nothing whose links lead out of the app's own folder.
  const { child, output } = run(["build", "--webpack"])
  const [code] = await once(child, "close")
  expect(code, output()).toBe(0)
  askedByBuild = store.requests.length
  ours = [await start(), await start()]
  stock = [await start({ CACHE: "next" }), await start({ CACHE: "next" })]
})

afterAll(async () => {
  const ends = running
    .filter((child) => child.exitCode === null && child.signalCode === null)
    .map((child) => {
      child.kill()
      return once(child, "close")
    })
  await Promise.all(ends)
  worker.closeAllConnections()
  worker.close()
  rmSync(app, { recursive: true, force: true })
})

function publish(mode: "invalidate" | "purge", what: object = { tags: ["post-1"] }) {
  clock.time = Date.now()
  return store.publish({ namespace: "blog", ...what, mode })
}

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
