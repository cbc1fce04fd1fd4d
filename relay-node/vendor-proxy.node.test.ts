import { execFile } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http"
import { createServer as createTlsServer } from "node:https"
import { type AddressInfo, connect, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect, it, onTestFinished } from "vitest"
import { ask } from "../dispatch/targets/answer.ts"
import { selfSigned } from "../test/support/certificate.ts"
import { connectVendors, type ProxyEnvironment } from "./vendor-fetch.ts"

const USER = "relay"
const PASSWORD = "p%40ss-that-no-message-may-hold"
const SECRETS = [
  PASSWORD,
  decodeURIComponent(PASSWORD),
  Buffer.from(`${USER}:p@ss-that-no-message-may-hold`).toString("base64"),
]

interface Seen {
  readonly line: string
  readonly authorization: string | undefined
}

async function listen(server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): unknown }>()
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.on("error", () => undefined)
  })
  server.listen(0, "0.0.0.0")
  await once(server, "listening")
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const echo = (incoming: IncomingMessage, response: ServerResponse): void => {
  const { method, url, headers } = incoming
  let body = ""
  incoming.setEncoding("utf8").on("data", (text: string) => (body += text))
  incoming.on("end", () => response.end(JSON.stringify({ method, url, headers, body })))
}

/** A forward proxy, which passes everything on to one vendor, whatever its name. */
async function forwardProxy(vendorPort: number, refusal?: number) {
  const seen: Seen[] = []
  const note = ({ method, url, headers }: IncomingMessage) =>
    seen.push({ line: `${method} ${url}`, authorization: headers["proxy-authorization"] })
  const server = createServer((incoming, response) => {
    note(incoming)
    if (refusal !== undefined) return response.writeHead(refusal).end("<html>no</html>")
    const { pathname, search } = new URL(incoming.url ?? "")
    const { "proxy-authorization": _, ...headers } = incoming.headers
    const { method } = incoming
    const onward = request({ port: vendorPort, path: pathname + search, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 599, answer.headers)
      answer.pipe(response)
    })
    return incoming.pipe(onward)
  })
  server.on("connect", (incoming, socket) => {
    note(incoming)
    socket.on("error", () => undefined)
    if (refusal !== undefined) return socket.end(`HTTP/1.1 ${refusal} No\r\n\r\n`)
    const onward = connect(vendorPort, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n")
      onward.pipe(socket)
      socket.pipe(onward)
    })
    return onward.on("error", () => socket.destroy())
  })
  const port = await listen(server)
  return { seen, port, url: `http://${USER}:${PASSWORD}@127.0.0.1:${port}` }
}

function vendorsBy(env: ProxyEnvironment) {
  const vendors = connectVendors("1.2.3", env)
  onTestFinished(() => vendors.close())
  return vendors
}

const soon = () => AbortSignal.timeout(10_000)

async function told(env: ProxyEnvironment, url: string, signal = soon()) {
  const answer = await ask(vendorsBy(env), new URL(url).host, url, { method: "POST", body: "{}" }, signal)
  for (const secret of SECRETS) expect(JSON.stringify(answer)).not.toContain(secret)
  return "outcome" in answer ? answer.detail : `${answer.status} ${answer.text}`
}

it("calls a vendor by the proxy, to which alone it shows the proxy's user and password", async () => {
  const port = await listen(createServer(echo))
  const proxy = await forwardProxy(port)
  const { fetch } = vendorsBy({ HTTP_PROXY: proxy.url })
  const init = {
    method: "PURGE",
    headers: { "x-a": "b" },
    body: "é",
    redirect: "manual",
    signal: soon(),
  } as const
  const answer = await ask({ fetch }, "vendor", "http://vendor.example/purge?all=1", init, soon())
  if ("outcome" in answer) throw new Error(answer.detail)
  expect(JSON.parse(answer.text)).toMatchObject({
    method: "PURGE",
    url: "/purge?all=1",
    body: "é",
    headers: { host: "vendor.example", "x-a": "b", "user-agent": "tidemark/1.2.3" },
  })
  expect(answer.text).not.toContain("proxy-authorization")
  expect(proxy.seen).toEqual([
    { line: "PURGE http://vendor.example/purge?all=1", authorization: `Basic ${SECRETS[2]}` },
  ])
})

/** What a process of its own is answered by `https://vendor.example/`, which is where Node reads further authorities. */
async function byTls(env: Record<string, string>) {
  const module = fileURLToPath(new URL("vendor-fetch.ts", import.meta.url))
  const answers = fileURLToPath(new URL("../dispatch/targets/answer.ts", import.meta.url))
  const script = `
    const { connectVendors } = await import(${JSON.stringify(module)})
    const { ask } = await import(${JSON.stringify(answers)})
    const vendors = connectVendors("1.2.3", process.env)
    const request = { method: "POST", body: "{}" }
    const answer = await ask(vendors, "vendor", "https://vendor.example/purge", request, AbortSignal.timeout(10_000))
    console.log(JSON.stringify(answer))
    await vendors.close()`
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "--eval", script],
    { env: { PATH: process.env["PATH"], ...env } },
  )
  for (const secret of SECRETS) expect(stdout + stderr).not.toContain(secret)
  return JSON.parse(stdout) as { readonly status?: number; readonly text?: string; readonly detail?: string }
}

it("asks the proxy for a tunnel to https, and trusts what NODE_EXTRA_CA_CERTS names", async () => {
  const { cert, key } = selfSigned("vendor.example")
  const directory = await mkdtemp(join(tmpdir(), "tidemark-ca-"))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const authority = join(directory, "ca.pem")
  await writeFile(authority, cert)
  const port = await listen(createTlsServer({ cert, key }, echo))
  const proxy = await forwardProxy(port)
  for (const env of [
    { HTTPS_PROXY: proxy.url },
    { HTTP_PROXY: proxy.url },
    { https_proxy: proxy.url, HTTPS_PROXY: "http://127.0.0.1:1" },
  ]) {
    const answer = await byTls({ ...env, NODE_EXTRA_CA_CERTS: authority })
    expect(JSON.parse(answer.text ?? "null")).toMatchObject({ method: "POST", url: "/purge", body: "{}" })
    expect(answer.text).not.toContain("proxy-authorization")
  }
  expect(proxy.seen).toEqual(
    Array.from({ length: 3 }, () => ({
      line: "CONNECT vendor.example:443",
      authorization: `Basic ${SECRETS[2]}`,
    })),
  )
  expect(await byTls({ HTTPS_PROXY: proxy.url })).toMatchObject({
    outcome: "trouble",
    detail: "vendor gave no answer (DEPTH_ZERO_SELF_SIGNED_CERT)",
  })
})

it("calls this machine and what NO_PROXY names without it", async () => {
  const port = await listen(createServer(echo))
  const proxy = await forwardProxy(port)
  const env = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url }
  for (const host of ["127.0.0.1", "localhost", "127.8.9.1"])
    expect(await told(env, `http://${host}:${port}/`)).toMatch(/^200 /)
  // No name of loopback, though it leads there.
  const own = `http://0.0.0.0:${port}/`
  for (const NO_PROXY of ["0.0.0.0", `varnish.internal,0.0.0.0:${port}`, "*", "a b 0.0.0.0"])
    expect(await told({ ...env, NO_PROXY }, own)).toMatch(/^200 /)
  expect(await told({ ...env, no_proxy: "0.0.0.0", NO_PROXY: "" }, own)).toMatch(/^200 /)
  expect(proxy.seen).toEqual([])
  expect(await told({ ...env, NO_PROXY: "varnish.internal" }, own)).toMatch(/^200 /)
  expect(proxy.seen.map(({ line }) => line)).toEqual([`POST ${own}`])
})

it("goes without one where none is named, whatever the process was started with", async () => {
  const port = await listen(createServer(echo))
  const proxy = await forwardProxy(port)
  process.env["HTTP_PROXY"] = proxy.url
  onTestFinished(() => void delete process.env["HTTP_PROXY"])
  for (const env of [{}, { HTTP_PROXY: "", HTTPS_PROXY: " " }, { http_proxy: "", HTTP_PROXY: proxy.url }])
    expect(await told(env, `http://0.0.0.0:${port}/`)).toMatch(/^200 /)
  expect(proxy.seen).toEqual([])
})

it("takes an address without a scheme, as others do", async () => {
  const port = await listen(createServer(echo))
  const proxy = await forwardProxy(port)
  const HTTP_PROXY = proxy.url.replace("http://", "")
  expect(await told({ HTTP_PROXY }, "http://vendor.example/")).toMatch(/^200 /)
  expect(proxy.seen).toHaveLength(1)
})

it.each(["http://vendor.example/", "https://vendor.example/"])(
  "says what the proxy answered instead, and nothing of how it was asked: %s",
  async (url) => {
    for (const status of [403, 407, 502]) {
      const proxy = await forwardProxy(0, status)
      const detail = await told({ HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url }, url)
      const isAnswer = url.startsWith("http:") && status !== 407
      expect(detail).toBe(
        isAnswer ? `${status} <html>no</html>` : `vendor.example gave no answer (PROXY_ANSWERED_${status})`,
      )
    }
  },
)

it("gives no answer by a proxy that is not there, breaks off, or says nothing", async () => {
  const proxyOf = (port: number) => `http://${USER}:${PASSWORD}@127.0.0.1:${port}`
  const gone = await listen(createServer().on("connection", (socket) => socket.destroy()))
  const silent = await listen(createServer().on("connect", () => undefined))
  for (const url of ["http://vendor.example/", "https://vendor.example/"]) {
    for (const port of [1, gone]) {
      const env = { HTTP_PROXY: proxyOf(port), HTTPS_PROXY: proxyOf(port) }
      expect(await told(env, url)).toMatch(/^vendor\.example gave no answer(?: \([A-Z_]+\))?$/)
    }
    const env = { HTTP_PROXY: proxyOf(silent), HTTPS_PROXY: proxyOf(silent) }
    expect(await told(env, url, AbortSignal.timeout(100))).toBe("vendor.example gave no answer in time")
  }
})

it.each([
  "ftp://relay:hunter2@proxy.example",
  "http://relay:hunter2%zz@proxy.example",
  "http://relay:hunter2@",
  "http://relay:hunter2@proxy.example:port",
])("refuses %s by the variable's name alone", (address) => {
  for (const name of ["HTTP_PROXY", "https_proxy"]) {
    const open = () => connectVendors("1.2.3", { [name]: address })
    expect(open).toThrow(TypeError)
    expect(open).toThrow(new RegExp(`^${name} is not an http or https URL of a proxy$`))
  }
})
