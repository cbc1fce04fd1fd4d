import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { modelWorker } from "./model-worker.ts"

/** An app of Nuxt 4 and one of Nuxt 3, built by Nuxt itself, and two processes of each. */

const TTL = 50
const RACES = 5

const pause = (time: number) => new Promise((resolve) => setTimeout(resolve, time))
/** Until every reader has heard of what was published. */
const heard = () => pause(3 * TTL)

const FILES = {
  "package.json": JSON.stringify({ private: true, type: "module" }),
  "nuxt.config.mjs": `
    export default {
      telemetry: false,
      devtools: { enabled: false },
      compatibilityDate: "2026-01-01",
      srcDir: "app/",
      serverDir: ${JSON.stringify("@server")},
      alias: ${JSON.stringify(PACKAGE_EXPORTS)},
      // Has Nuxt serve payloads at run time; on Node it caches nothing.
      routeRules: { "/posts/**": { isr: true } },
    }`,
  "server/utils/epochs.ts": `
    import { createTidemark, workerStore } from "tidemark/client"
    const { TIDEMARK_URL: url, TIDEMARK_TOKEN: token } = process.env
    export const epochs = {
      tidemark: createTidemark({ store: workerStore({ url, token }), ttl: ${TTL} }),
      namespace: "blog",
      storage: () => useStorage("cache"),
    }
    export const readPost = defineEpochCachedFunction((id) => fetch(process.env.ORIGIN + id).then((one) => one.text()), {
      ...epochs,
      name: "post",
      tags: (_, id) => ["post-" + id],
    })`,
  "server/api/posts/[id].get.ts": `
    export default defineEpochCachedEventHandler(
      async (event) => {
        const id = getRouterParam(event, "id")
        const response = await fetch(process.env.ORIGIN + id)
        if (!response.ok) throw createError({ statusCode: 503 })
        return { text: await response.text() }
      },
      { ...epochs, tags: (_, event) => ["post-" + getRouterParam(event, "id")] },
    )`,
  "server/api/titles/[id].get.ts": `
    export default defineEventHandler((event) => readPost(getRouterParam(event, "id")))`,
  "server/middleware/visitor.ts": `
    export default defineEventHandler((event) => {
      setHeader(event, "x-visitor", getHeader(event, "x-who") ?? "")
    })`,
  "server/plugins/epochs.ts": `
    export default defineNitroPlugin(
      epochPages({
        ...epochs,
        version: useRuntimeConfig().app.buildId,
        pages: (event) => event.path.startsWith("/posts/"),
        bypass: (event) => getCookie(event, "draft") !== undefined,
      }),
    )`,
  "app/pages/posts/[id].vue": `
    <script setup>
    import { depend } from "tidemark/nuxt"
    const { id } = useRoute().params
    const { data, error } = await useFetch("/api/posts/" + id)
    if (error.value) throw createError({ statusCode: 503, fatal: true })
    depend(useRequestEvent(), ["page-" + id])
    const url = useRequestURL().href
    const cookie = useCookie("sid")
    if (id === "sets") useCookie("seen").value = "1"
    if (id === "moved") await navigateTo("/elsewhere")
    </script>
    <template><div><h1>{{ data.text }}</h1><i>{{ url }}</i><b>{{ cookie }}</b></div></template>`,
  "app/pages/account.vue": `
    <script setup>
    const cookie = useCookie("sid")
    </script>
    <template><b>{{ cookie }}</b></template>`,
}

/** What the app reads. */
const content = { text: "v0", status: 200, gate: Promise.resolve() as Promise<unknown>, reads: 0 }
const origin = createServer((_, response) => {
  content.reads += 1
  const { text: now, status } = content
  void content.gate.then(() => response.writeHead(status).end(now))
})
const clock = new Clock()
const store = new ModelStore(clock)
const answerAsWorker = modelWorker(store, clock)
const worker = createServer((request, response) => void answerAsWorker(request, response))
const addressOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

function publish(mode: "invalidate" | "purge", what: object) {
  clock.time = Date.now()
  return store.publish({ namespace: "blog", ...what, mode })
}

interface Answered {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
  readonly h1: string | undefined
  readonly url: string | undefined
  readonly cookie: string | undefined
}

/**
 * Nuxt looks for itself and its parts from the app, and from each other: has them find this version, also where it is
 * installed by another name.
 */
function linkNuxt(name: string, root: string): string {
  const installed = join(import.meta.dirname, "node_modules", name)
  const nested = join(installed, "node_modules")
  const modules = join(root, "node_modules")
  mkdirSync(join(modules, "@nuxt"), { recursive: true })
  symlinkSync(installed, join(modules, "nuxt"))
  if (name !== "nuxt") {
    for (const part of readdirSync(join(nested, "@nuxt")))
      symlinkSync(join(nested, "@nuxt", part), join(modules, "@nuxt", part))
    if (!existsSync(join(nested, "nuxt"))) symlinkSync(installed, join(nested, "nuxt"))
  }
  return join(modules, "nuxt")
}

/** Every page is asked for as that of one site, whatever process answers. */
async function ask(base: string, path: string, headers: Record<string, string> = {}): Promise<Answered> {
  const sent = httpRequest(base + path, {
    headers: { host: "www.example.com", ...headers },
    agent: false,
  }).end()
  const [response] = (await once(sent, "response")) as [IncomingMessage]
  const body = await text(response)
  const within = (tag: string) => new RegExp(`<${tag}>(.*?)</${tag}>`).exec(body)?.[1]
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body,
    h1: within("h1"),
    url: within("i"),
    cookie: within("b"),
  }
}

beforeAll(async () => {
  await once(worker.listen(0, "127.0.0.1"), "listening")
  await once(origin.listen(0, "127.0.0.1"), "listening")
  clock.time = Date.now()
  store.record({ kind: "everything", namespace: "" })
})

afterAll(() => {
  for (const server of [worker, origin]) {
    server.closeAllConnections()
    server.close()
  }
})

describe.each([
  ["nuxt", "4"],
  ["nuxt3", "3"],
])("an app of %s", (name, major) => {
  let root: string
  const running: ChildProcess[] = []
  let one: string
  let other: string

  function run(args: readonly string[], extra: Readonly<Record<string, string>> = {}) {
    const child = spawn(process.execPath, args, {
      cwd: root,
      env: {
        PATH: process.env["PATH"],
        NODE_ENV: "production",
        NUXT_TELEMETRY_DISABLED: "1",
        CI: "1",
        TIDEMARK_URL: addressOf(worker),
        TIDEMARK_TOKEN: "test",
        ORIGIN: `${addressOf(origin)}/`,
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

  async function start(): Promise<string> {
    const { output } = run([join(root, ".output/server/index.mjs")], { HOST: "127.0.0.1", PORT: "0" })
    return vi.waitFor(
      () => {
        const [, url] = /Listening on (http:\/\/\S+)/.exec(output()) ?? []
        expect(url, output()).toBeDefined()
        return (url ?? "").replace(/\/$/, "")
      },
      { timeout: 20_000 },
    )
  }

  beforeAll(async () => {
    const within = join(import.meta.dirname, ".tidemark")
    mkdirSync(within, { recursive: true })
    root = mkdtempSync(join(within, `${name}-`))
    for (const [file, source] of Object.entries(FILES)) {
      mkdirSync(join(root, file, ".."), { recursive: true })
      const exports = `import { defineEpochCachedEventHandler, defineEpochCachedFunction, epochPages } from "tidemark/nuxt"\n`
      const isServer = file.startsWith("server/")
      writeFileSync(
        join(root, file),
        (isServer ? exports : "") + source.replace('"@server"', JSON.stringify(join(root, "server"))),
      )
    }
    const nuxt = linkNuxt(name, root)
    const { child, output } = run([join(nuxt, "bin/nuxt.mjs"), "build", "."])
    const [code] = await once(child, "close")
    expect(code, output()).toBe(0)
    const built = JSON.parse(readFileSync(join(root, ".output/nitro.json"), "utf8"))
    expect(built.framework.version.split(".")[0]).toBe(major)
    ;[one, other] = [await start(), await start()]
  }, 240_000)

  afterAll(async () => {
    await Promise.all(
      running
        .filter((child) => child.exitCode === null && child.signalCode === null)
        .map((child) => {
          child.kill()
          return once(child, "close")
        }),
    )
    rmSync(root, { recursive: true, force: true })
  })

  afterEach(() => {
    Object.assign(content, { status: 200, gate: Promise.resolve() })
  })

  let posts = 0
  const newPost = () => `post${(posts += 1)}`

  it("keeps pages until they are purged, by tags and by urls, in every process", async () => {
    const id = newPost()
    const path = `/posts/${id}`
    const shown = async () => [(await ask(one, path)).h1, (await ask(other, path)).h1]
    content.text = "v1"
    expect(await shown()).toEqual(["v1", "v1"])
    content.text = "v2"
    await heard()
    expect(await shown()).toEqual(["v1", "v1"])
    expect((await ask(one, path)).headers).toMatchObject({
      "cache-status": "tidemark; hit",
      "cache-control": "public, max-age=0, must-revalidate",
      "content-type": "text/html;charset=utf-8",
    })
    const read = content.reads
    await publish("purge", { tags: [`page-${id}`, `post-${id}`] })
    await heard()
    expect(await shown()).toEqual(["v2", "v2"])
    expect(content.reads).toBe(read + 2)
    content.text = "v3"
    const urls = [path, `/api${path}`].map((each) => `http://www.example.com${each}`)
    await publish("purge", { urls })
    await heard()
    expect(await shown()).toEqual(["v3", "v3"])
  })

  it("keeps the payload of a page with it", async () => {
    const id = newPost()
    const payload = `/posts/${id}/_payload.json`
    content.text = "v1"
    await ask(one, `/posts/${id}`)
    const first = await ask(one, payload)
    expect([first.status, first.headers["content-type"]]).toEqual([200, "application/json;charset=utf-8"])
    expect(first.body).toContain("v1")
    await expect.poll(async () => (await ask(one, payload)).headers["cache-status"]).toBe("tidemark; hit")
    content.text = "v2"
    await publish("purge", { tags: [`post-${id}`], urls: [`http://www.example.com/posts/${id}`] })
    await heard()
    expect((await ask(one, payload)).body).toContain("v2")
    expect((await ask(one, `/posts/${id}`)).h1).toBe("v2")
  })

  it("serves the old page after a soft invalidation, as no-store, and then the new", async () => {
    const id = newPost()
    content.text = "v1"
    await ask(one, `/posts/${id}`)
    await publish("invalidate", { tags: [`page-${id}`, `post-${id}`] })
    await heard()
    content.text = "v2"
    const stale = await ask(one, `/posts/${id}`)
    expect(stale).toMatchObject({ h1: "v1", headers: { "cache-control": "no-store" } })
    // What it is made of was not served stale to it.
    await vi.waitFor(async () => expect((await ask(one, `/posts/${id}`)).h1).toBe("v2"))
  })

  it.each(["purge", "invalidate"] as const)(
    "never shows as fresh what was read before and stored after: %s",
    async (mode) => {
      for (let race = 0; race < RACES; race += 1) {
        const id = newPost()
        content.text = "old"
        const gate = Promise.withResolvers<void>()
        content.gate = gate.promise
        const before = content.reads
        const reading = ask(one, `/posts/${id}`)
        await vi.waitFor(() => expect(content.reads).toBe(before + 1))
        content.text = "new"
        await publish(mode, { tags: [`page-${id}`, `post-${id}`] })
        gate.resolve()
        expect((await reading).h1).toBe("old")
        await heard()
        if (mode === "invalidate")
          await vi.waitFor(async () => expect((await ask(one, `/posts/${id}`)).h1).toBe("new"))
        expect((await ask(one, `/posts/${id}`)).h1).toBe("new")
      }
    },
  )

  it("makes pages without what is the visitor's own, and sends along what others prepared for them", async () => {
    const id = newPost()
    content.text = "v1"
    const alice = await ask(one, `/posts/${id}?utm_source=x`, { cookie: "sid=alice", "x-who": "alice" })
    const bob = await ask(one, `/posts/${id}`, { cookie: "sid=bob", "x-who": "bob" })
    expect([alice.cookie, bob.cookie, bob.headers["x-visitor"]]).toEqual(["", "", "bob"])
    expect([alice.url, bob.url]).toEqual(Array(2).fill(`http://www.example.com/posts/${id}`))
    expect(bob.headers["cache-status"]).toBe("tidemark; hit")
    const evil = await ask(one, `/posts/${id}`, { host: "evil.example" })
    expect(evil.url).toBe(`http://evil.example/posts/${id}`)
    const after = await ask(one, `/posts/${id}`)
    expect(after.url).toBe(`http://www.example.com/posts/${id}`)
    // Other pages, and those whom `bypass` knows, are as they were.
    expect((await ask(one, "/account", { cookie: "sid=alice" })).cookie).toBe("alice")
    expect((await ask(one, `/posts/${id}`, { cookie: "draft=1; sid=alice" })).cookie).toBe("alice")
  })

  it("answers a browser that has the page with 304", async () => {
    const id = newPost()
    const { headers } = await ask(one, `/posts/${id}`)
    const known = await ask(one, `/posts/${id}`, { "if-none-match": String(headers.etag) })
    expect([known.status, known.body]).toEqual([304, ""])
  })

  it("keeps no redirect, no error and no page with a cookie, and answers as Nuxt does", async () => {
    for (let visit = 0; visit < 2; visit += 1) {
      expect(await ask(one, "/posts/moved")).toMatchObject({
        status: 302,
        headers: { location: "/elsewhere" },
      })
      expect((await ask(one, "/posts/sets")).headers["set-cookie"]).toEqual([
        expect.stringContaining("seen="),
      ])
    }
    const id = newPost()
    content.status = 500
    expect((await ask(one, `/posts/${id}`)).status).toBe(503)
    content.status = 200
    content.text = "back"
    expect(await ask(one, `/posts/${id}`)).toMatchObject({ status: 200, h1: "back" })
  })

  it("keeps what its functions and handlers answer", async () => {
    const id = newPost()
    content.text = "v1"
    for (let visit = 0; visit < 2; visit += 1) {
      expect((await ask(one, `/api/titles/${id}`)).body).toBe("v1")
      expect((await ask(one, `/api/posts/${id}`)).body).toBe('{"text":"v1"}')
    }
    content.text = "v2"
    await publish("purge", { tags: [`post-${id}`] })
    await heard()
    expect((await ask(one, `/api/titles/${id}`)).body).toBe("v2")
    expect((await ask(one, `/api/posts/${id}`)).body).toBe('{"text":"v2"}')
  })
})
