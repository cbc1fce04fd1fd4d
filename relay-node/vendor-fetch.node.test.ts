import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { expect, it, onTestFinished } from "vitest"
import { ask } from "../dispatch/targets/answer.ts"
import type { VendorRequest } from "../dispatch/targets/target.ts"
import { connectVendors } from "./vendor-fetch.ts"

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown

async function vendor(handler: Handler) {
  const vendors = connectVendors("1.2.3")
  let connections = 0
  const closed: Promise<unknown>[] = []
  const server = createServer(handler).on("connection", (socket) => {
    connections += 1
    closed.push(new Promise((resolve) => socket.on("close", resolve)))
    // Whoever is cut off sees it reset.
    socket.on("error", () => undefined)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  onTestFinished(async () => {
    await vendors.close()
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/purge?all=1`
  const call = (request: VendorRequest = {}, signal = AbortSignal.timeout(5_000)) =>
    ask(vendors, "the vendor", url, request, signal)
  return { call, url, vendors, connections: () => connections, closed }
}

const echo: Handler = async (request, response) => {
  const body = (await request.toArray()).join("")
  const { method, url, headers } = request
  response.end(JSON.stringify({ method, url, headers, body }))
}

const echoed = async (call: ReturnType<typeof ask>) => {
  const answer = await call
  if ("outcome" in answer) throw new Error(answer.detail)
  return JSON.parse(answer.text) as {
    method: string
    url: string
    headers: Record<string, string>
    body: string
  }
}

it("sends what a driver asks, and who it is", async () => {
  const { call } = await vendor(echo)
  const headers = { host: "shop.example.com", "x-tidemark-tags": "a b" }
  const got = await echoed(call({ method: "PURGE", headers, body: "é" }))
  expect(got).toMatchObject({ method: "PURGE", url: "/purge?all=1", body: "é" })
  expect(got.headers).toMatchObject({ ...headers, "content-length": "2" })
  expect(got.headers).toMatchObject({ "user-agent": "tidemark/1.2.3", "accept-encoding": "identity" })
})

it("asks by GET and without a body where a driver says nothing else", async () => {
  const { call } = await vendor(echo)
  expect(await echoed(call())).toMatchObject({ method: "GET", body: "" })
})

it("is called what a driver calls itself", async () => {
  const { call } = await vendor(echo)
  const { headers } = await echoed(call({ headers: { "user-agent": "another" } }))
  expect(headers["user-agent"]).toBe("another")
})

it("tells headers whatever their case, those that came twice as one, and those that did not as null", async () => {
  const { call } = await vendor((_, response) => {
    response.writeHead(202, [
      ["Retry-After", "7"],
      ["X-Left", "1"],
      ["x-left", "2"],
    ] as never)
    response.end()
  })
  const answer = await call()
  if ("outcome" in answer) throw new Error(answer.detail)
  const { status, headers, text } = answer
  expect([status, text]).toEqual([202, ""])
  expect(["retry-after", "Retry-After", "x-left", "x-right"].map((name) => headers.get(name))).toEqual([
    "7",
    "7",
    "1, 2",
    null,
  ])
  expect([headers.has("X-LEFT"), headers.has("x-right")]).toEqual([true, false])
})

it("does not follow a redirect", async () => {
  const { call, url } = await vendor((_, response) => response.writeHead(307, { location: url }).end())
  expect(await call({ method: "POST", body: "{}" })).toMatchObject({ status: 307 })
})

it("uses connections again, as answers are read to the end", async () => {
  const { call, connections } = await vendor((_, response) => response.end("x".repeat(10_000)))
  for (let at = 0; at < 20; at += 1) expect(await call()).toMatchObject({ status: 200 })
  // The next call may begin while the pool still takes the first one back.
  expect(connections()).toBeLessThanOrEqual(2)
})

it("reads no more of an endless answer than it needs, and closes its connection", async () => {
  const { call, closed } = await vendor((_, response) => {
    const more = () => {
      while (response.write("x".repeat(16_384)));
    }
    response.on("drain", more)
    more()
  })
  const answer = await call()
  expect("text" in answer && answer.text.length).toBeGreaterThanOrEqual(65_536)
  expect("text" in answer && answer.text.length).toBeLessThan(1_000_000)
  await closed[0]
})

it("takes the status for the answer where the rest of it breaks off", async () => {
  const { call } = await vendor((_, response) => {
    response.writeHead(500, { "content-length": "100" })
    response.write("half", () => response.destroy())
  })
  expect(await call()).toMatchObject({ status: 500, text: "half" })
})

it("gives up with its signal, before an answer and in the middle of one, and closes the connection", async () => {
  const silent = await vendor(() => undefined)
  expect(await silent.call({}, AbortSignal.timeout(50))).toEqual({
    outcome: "trouble",
    detail: "the vendor gave no answer in time",
  })
  await silent.closed[0]
  const slow = await vendor((_, response) => void response.write("half"))
  expect(await slow.call({}, AbortSignal.timeout(200))).toMatchObject({ status: 200, text: "half" })
  await slow.closed[0]
})

it("begins nothing once its signal is aborted", async () => {
  const { call, connections } = await vendor(echo)
  expect(await call({}, AbortSignal.abort())).toMatchObject({ outcome: "trouble" })
  expect(connections()).toBe(0)
})

it("says by its code why there was no answer, and no more", async () => {
  const { call, url, vendors } = await vendor((request) => request.socket.destroy())
  expect(await call()).toEqual({
    outcome: "trouble",
    detail: "the vendor gave no answer (UND_ERR_SOCKET)",
  })
  const free = url.replace(/:\d+\//, ":1/")
  expect(await ask(vendors, "nobody", free, {}, AbortSignal.timeout(5_000))).toEqual({
    outcome: "trouble",
    detail: "nobody gave no answer (ECONNREFUSED)",
  })
  const headers = { authorization: "Bearer secret\n" }
  const refused = await call({ headers })
  expect(refused).toMatchObject({ outcome: "trouble" })
  expect(JSON.stringify(refused)).not.toContain("secret")
})
