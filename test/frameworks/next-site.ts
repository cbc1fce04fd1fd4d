import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { expect, vi } from "vitest"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { parseInvalidation } from "../../protocol/invalidation.ts"
import { lookupJson, type LookupRequest } from "../../protocol/lookup.ts"

/** Real apps of Next.js, built by itself and run as processes of `next start`, and a Worker that they ask. */

/** How long a look-up is used. */
export const TTL = 50

export const pause = (time: number) => new Promise((resolve) => setTimeout(resolve, time))
/** Until every reader has heard of what was published. */
export const heard = () => pause(3 * TTL)

/** A Worker as an app sees it. */
export async function startWorker() {
  const clock = new Clock()
  const store = new ModelStore(clock)
  const state: { refusal: { readonly status: number; readonly detail: string } | undefined } = {
    refusal: undefined,
  }

  async function answer(request: IncomingMessage, response: ServerResponse) {
    clock.time = Date.now()
    const { pathname, searchParams } = new URL(request.url ?? "", "http://worker")
    const say = (body: unknown) =>
      response.setHeader("content-type", "application/json").end(JSON.stringify(body))
    if (pathname === "/v1/invalidations") {
      const what = JSON.parse(await text(request))
      if (state.refusal) {
        response.statusCode = state.refusal.status
        return say({ type: "about:blank", code: "refused", title: "Refused", ...state.refusal })
      }
      const { errors } = { errors: undefined, ...parseInvalidation(what) }
      if (errors) response.statusCode = 422
      return say(errors ?? (await store.publish(what)))
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
    say(lookupJson(await store.lookup(asked, after === null ? undefined : Number(after))))
  }

  const server = createServer((request, response) => void answer(request, response))
  await once(server.listen(0, "127.0.0.1"), "listening")
  clock.time = Date.now()
  store.record({ kind: "everything", namespace: "" })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    store,
    /** From now on publishes are refused so; by nothing, they are taken. */
    refuse: (refusal?: { readonly status: number; readonly detail: string }) =>
      void (state.refusal = refusal),
    publish(mode: "invalidate" | "purge", what: object = { tags: ["post-1"] }) {
      clock.time = Date.now()
      return store.publish({ namespace: "blog", ...what, mode })
    },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

type Environment = Readonly<Record<string, string | undefined>>

/** An app in a folder of its own, copied from `source`. */
export function createApp(name: string, source: string, environment: Environment) {
  const folder = join(import.meta.dirname, ".tidemark", name)
  const next = join(import.meta.dirname, "node_modules/next/dist/bin/next")
  const running: ChildProcess[] = []
  rmSync(folder, { recursive: true, force: true })
  cpSync(source, folder, {
    recursive: true,
    filter: (path) => !/[\\/](?:node_modules|\.next)$/.test(path),
  })
  // What `npm install` links and `npm run build` makes, from the sources.
  const linked = join(folder, "node_modules/tidemark")
  mkdirSync(linked, { recursive: true })
  const names = ["client", "next", "next-isr", "next-redis"]
  const exports = Object.fromEntries(names.map((entry) => [`./${entry}`, `./${entry}.mjs`]))
  writeFileSync(join(linked, "package.json"), JSON.stringify({ name: "tidemark", exports }))
  for (const entry of names)
    writeFileSync(
      join(linked, `${entry}.mjs`),
      `export * from ${JSON.stringify(PACKAGE_EXPORTS[`tidemark/${entry}`])}\n`,
    )

  function run(args: readonly string[], extra: Environment) {
    const all = {
      PATH: process.env["PATH"],
      NODE_ENV: "production",
      NEXT_TELEMETRY_DISABLED: "1",
      ...environment,
      ...extra,
    }
    const child = spawn(process.execPath, [next, ...args], {
      cwd: folder,
      env: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)),
      stdio: ["ignore", "pipe", "pipe"],
    })
    running.push(child)
    let output = ""
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk))
    return { child, output: () => output }
  }

  return {
    folder,
    write: (content: string) => writeFileSync(join(folder, "content/post-1.txt"), content),
    /** Answers what the build said. */
    async build(extra: Environment = {}) {
      // Not Turbopack: it compiles nothing whose links lead out of the app's own folder.
      const { child, output } = run(["build", "--webpack"], extra)
      const [code] = await once(child, "close")
      expect(code, output()).toBe(0)
      return output()
    },
    /** A process of the app, and what its pages show. */
    async start(extra: Environment = {}, ready = "/") {
      const { output } = run(["start", "--port", "0", "--hostname", "127.0.0.1"], extra)
      const base = await vi.waitFor(
        async () => {
          const [, url = ""] = /Local:\s+(http:\S+)/.exec(output()) ?? []
          expect((await fetch(url + ready)).status).toBe(200)
          return url
        },
        { timeout: 20_000 },
      )
      const get = async (path: string) => (await fetch(base + path)).text()
      const read = async (path = "/") => /<h1>(.*?)<\/h1>/.exec(await get(path))?.[1]
      const post = async (path: string, body: object) =>
        fetch(base + path, { method: "POST", body: JSON.stringify(body) })
      return { base, get, read, post, output }
    },
    /** Ends its processes, and removes it. */
    async close() {
      const ends = running
        .filter((child) => child.exitCode === null && child.signalCode === null)
        .map((child) => {
          child.kill()
          return once(child, "close")
        })
      await Promise.all(ends)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
