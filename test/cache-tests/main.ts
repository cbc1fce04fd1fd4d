/**
 * `npm run cache-tests -- <folder>`: Mark Nottingham's tests of HTTP caches (https://github.com/http-tests/cache-tests, a
 * clone of which lies in the folder, with its packages installed) against `tidemark/fetch` on Node, in front of their
 * origin. Prints how many of the required ones pass, and which do not; docs/request-time.md says why.
 */
import { spawn } from "node:child_process"
import { createServer, request as ask } from "node:http"
import type { AddressInfo } from "node:net"
import { join, resolve } from "node:path"
import { Readable } from "node:stream"
import type { ReadableStream as NodeStream } from "node:stream/web"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { withEpochCache } from "../../client/fetch.ts"
import { memoryPages } from "../../client/memory-pages.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark } from "../../client/tidemark.ts"

const USAGE = `Usage: npm run cache-tests -- [options] <folder>

Runs the tests of https://github.com/http-tests/cache-tests, a clone of which lies in the folder, against tidemark/fetch.

  --vary <names>  headers that pages differ by, with commas
  --port <n>      where their origin listens (29105)
  --help`

/** About one connection: neither is passed on. */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"])

interface Test {
  readonly id: string
  readonly kind?: string
  readonly browser_only?: boolean
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    vary: { type: "string", default: "" },
    port: { type: "string", default: "29105" },
    help: { type: "boolean", short: "h", default: false },
  },
})
const [folder] = positionals
if (values.help || folder === undefined) {
  process.stdout.write(`${USAGE}\n`)
  process.exit(values.help ? 0 : 2)
}
const directory = resolve(folder)

/** Their origin, asked as a proxy does: what they send is not touched by a client's own ideas of HTTP. */
function askOrigin(request: Request): Promise<Response> {
  const { pathname, search } = new URL(request.url)
  const headers = Object.fromEntries([...request.headers].filter(([name]) => !HOP_BY_HOP.has(name)))
  return new Promise((done, fail) => {
    const options = {
      host: "127.0.0.1",
      port: values.port,
      path: pathname + search,
      method: request.method,
      headers,
    }
    const sent = ask(options, (answer) => {
      const own = new Headers()
      for (let at = 0; at < answer.rawHeaders.length; at += 2) {
        const [name = "", value = ""] = answer.rawHeaders.slice(at, at + 2)
        try {
          // They list headers in Connection that are not to be kept.
          if (!HOP_BY_HOP.has(name.toLowerCase()) || name.toLowerCase() === "connection")
            own.append(name, value)
        } catch {
          // What is no header cannot be passed on.
        }
      }
      const { statusCode: status = 502, statusMessage: statusText = "" } = answer
      const isBare = [204, 205, 304].includes(status) || request.method === "HEAD"
      if (isBare) answer.resume()
      const body = isBare ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>)
      try {
        done(new Response(body, { status, statusText, headers: own }))
      } catch (error) {
        // A status that no Response has.
        answer.resume()
        fail(error)
      }
    }).on("error", fail)
    if (request.body) Readable.fromWeb(request.body as NodeStream).pipe(sent)
    else sent.end()
  })
}

const clock = new Clock()
const site = withEpochCache(askOrigin, {
  tidemark: createTidemark({ store: new ModelStore(clock), now: clock.now }),
  namespace: "tests",
  cache: memoryPages(),
  vary: values.vary.split(",").filter(Boolean),
  onWarning: () => undefined,
})

const server = createServer((incoming, outgoing) => {
  const serve = async (): Promise<void> => {
    const hasBody = !/^(?:GET|HEAD)$/.test(incoming.method ?? "")
    const response = await site(
      new Request(`http://127.0.0.1${incoming.url}`, {
        method: incoming.method ?? "GET",
        headers: Object.entries(incoming.headersDistinct).flatMap(([name, all = []]) =>
          all.map((value): [string, string] => [name, value]),
        ),
        ...(hasBody && { body: Readable.toWeb(incoming) as ReadableStream<Uint8Array>, duplex: "half" }),
      }),
      {},
      {},
    )
    const fields = [...response.headers].filter(([name]) => !["set-cookie", "connection"].includes(name))
    outgoing.writeHead(response.status, response.statusText, [
      ...fields.flat(),
      ...response.headers.getSetCookie().flatMap((cookie) => ["set-cookie", cookie]),
    ])
    if (!response.body) outgoing.end()
    else
      Readable.fromWeb(response.body as NodeStream)
        .on("error", () => outgoing.destroy())
        .pipe(outgoing)
  }
  serve().catch((error: unknown) => {
    if (!outgoing.headersSent) outgoing.writeHead(502)
    outgoing.end(String(error))
  })
})
await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

const environment = { ...process.env, npm_config_port: values.port, npm_config_protocol: "http" }
const origin = spawn(process.execPath, ["test-engine/server/server.mjs"], {
  cwd: directory,
  env: { ...environment, npm_config_base: "", npm_config_pidfile: join(directory, ".origin.pid") },
  stdio: ["ignore", "ignore", "inherit"],
})
process.once("exit", () => origin.kill())
process.stderr.write("Running the tests, which takes a minute…\n")
await new Promise((started) => setTimeout(started, 2_000))
const client = spawn(process.execPath, ["--no-warnings", "test-engine/cli.mjs"], {
  cwd: directory,
  env: { ...environment, npm_config_base: base, npm_config_id: "", npm_package_config_id: "" },
  stdio: ["ignore", "pipe", "inherit"],
})
let printed = ""
for await (const text of client.stdout.setEncoding("utf8")) printed += text

const { default: suites } = (await import(pathToFileURL(join(directory, "tests/index.mjs")).href)) as {
  default: readonly { readonly name: string; readonly tests: readonly Test[] }[]
}
const results = JSON.parse(printed) as Readonly<Record<string, true | readonly [string, string]>>
const required = suites.flatMap(({ tests }) =>
  tests.filter(
    ({ id, kind = "required", browser_only: isOfBrowsers }) =>
      kind === "required" && !isOfBrowsers && id in results,
  ),
)
const failed = required.filter(({ id }) => results[id] !== true)
for (const { id } of failed) process.stdout.write(`${id}: ${String(results[id])}\n`)
process.stdout.write(`${required.length - failed.length} of ${required.length} required tests pass\n`)
process.exit()
