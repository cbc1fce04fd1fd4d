import { createServer, type Server, type Socket } from "node:net"
import { join } from "node:path"
import { build } from "esbuild"
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare"
import { afterEach, expect, it } from "vitest"
import { COMPATIBILITY_DATE } from "../../cli/dev/serve-worker.ts"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { runIn, type Runtime, RUNTIMES } from "./runtimes.ts"
import type { BrokenReport } from "./runtimes/broken-site.ts"

/**
 * What of a page is kept whose origin breaks off, over real connections: each runtime tells of it in another way. Where
 * the end of the connection is the end of the page (HTTP/1.0), some tell of it in none.
 */

const TIMES = 1_000
const PAGE = "<p>a page</p>".repeat(2_000)

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

/** Breaks off at another byte at the first request for a path; then answers with all of the page. */
async function startOrigin(): Promise<string> {
  const asked = new Map<string, number>()
  const sockets = new Set<Socket>()
  let seed = 11
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket)).on("error", () => undefined)
    let head = ""
    socket.setEncoding("latin1").on("data", (text: string) => {
      head += text
      for (let end = head.indexOf("\r\n\r\n"); end >= 0; end = head.indexOf("\r\n\r\n")) {
        const path = head.split(" ")[1] ?? ""
        head = head.slice(end + 4)
        const count = (asked.get(path) ?? 0) + 1
        asked.set(path, count)
        answer(socket, path, count > 1 ? undefined : random(PAGE.length))
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  ends.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`
}

function answer(socket: Socket, path: string, breaksAt: number | undefined): void {
  const head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
  const body = PAGE.slice(0, breaksAt)
  const isWhole = breaksAt === undefined
  if (path.startsWith("/chunked")) {
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n`
    socket.write(
      `${head}Transfer-Encoding: chunked\r\n\r\n${body === "" ? "" : chunk}${isWhole ? "0\r\n\r\n" : ""}`,
    )
  } else {
    socket.write(`${head}Content-Length: ${PAGE.length}\r\n\r\n${body}`)
  }
  if (!isWhole) socket.end()
}

const expected: BrokenReport = { parts: 0, hits: TIMES, warned: ["cut-short"] }

it.each<Runtime>(RUNTIMES)(`%s keeps no part of a page, ${TIMES} times`, async (runtime) => {
  const [line = ""] = await runIn(runtime, join(import.meta.dirname, "runtimes/broken.ts"), [
    await startOrigin(),
    String(TIMES),
  ])
  expect(JSON.parse(line)).toEqual(expected)
})

it(`workerd keeps no part of a page, ${TIMES} times`, async () => {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, "runtimes/broken-worker.ts")],
    alias: { ...PACKAGE_EXPORTS },
    bundle: true,
    format: "esm",
    target: "es2024",
    write: false,
  })
  const runtime = new Miniflare(
    convertV4MiniflareOptions({
      name: "broken",
      modules: true,
      script: outputFiles[0]?.text ?? "",
      compatibilityDate: COMPATIBILITY_DATE,
      cf: false,
      log: new Log(LogLevel.NONE),
      handleStructuredLogs() {},
    }),
  )
  ends.push(() => runtime.dispose())
  const { origin: worker } = await runtime.ready
  const origin = await startOrigin()
  const total = { parts: 0, hits: 0, warned: new Set<string>() }
  for (let from = 0; from < TIMES; from += 100) {
    const response = await fetch(
      `${worker}/?${new URLSearchParams({ origin, from: `${from}`, to: `${from + 100}` })}`,
    )
    const { parts, hits, warned } = (await response.json()) as BrokenReport
    total.parts += parts
    total.hits += hits
    for (const code of warned) total.warned.add(code)
  }
  expect({ ...total, warned: [...total.warned] }).toEqual(expected)
})
