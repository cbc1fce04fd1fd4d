import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { expect, it, onTestFinished } from "vitest"
import { createProbeFetch, isPrivateAddress } from "./probe-fetch.ts"

it.each([
  "127.0.0.1",
  "10.1.2.3",
  "172.31.0.1",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "0.0.0.0",
  "::1",
  "fe80::1",
  "fd00::1",
  "::ffff:127.0.0.1",
  "::ffff:169.254.169.254",
])("%s is of a private network", (address) => expect(isPrivateAddress(address)).toBe(true))

it.each(["1.1.1.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])(
  "%s is not",
  (address) => expect(isPrivateAddress(address)).toBe(false),
)

async function server() {
  let asked = 0
  const one = createServer((_, response) => {
    asked += 1
    response.writeHead(302, { location: "/elsewhere" }).end()
  })
  await new Promise<void>((listening) => one.listen(0, "127.0.0.1", listening))
  const probe = createProbeFetch()
  onTestFinished(async () => {
    await probe.close()
    one.closeAllConnections()
    one.close()
  })
  return { port: (one.address() as AddressInfo).port, probe, asked: () => asked }
}

it("an address that is written as such is asked, and its redirect is handed back", async () => {
  const { port, probe, asked } = await server()
  const answer = await probe.fetch(`http://127.0.0.1:${port}/`, { redirect: "manual" })
  expect([answer.status, asked()]).toEqual([302, 1])
})

it("localhost is asked where it is named", async () => {
  const { port, probe } = await server()
  expect((await probe.fetch(`http://localhost:${port}/`, { redirect: "manual" })).status).toBe(302)
})

// This machine's own name resolves to an address of this machine, as a name of somebody else's may.
it("a name that leads to a private address is not", async () => {
  const { hostname } = await import("node:os")
  const { lookup } = await import("node:dns/promises")
  const found = await lookup(hostname()).catch(() => undefined)
  if (!found || !isPrivateAddress(found.address)) {
    process.stdout.write(`Skipped: ${hostname()} resolves to no private address here.\n`)
    return
  }
  const { port, probe, asked } = await server()
  await expect(probe.fetch(`http://${hostname()}:${port}/`)).rejects.toMatchObject({
    cause: { message: expect.stringContaining("private network") },
  })
  expect(asked()).toBe(0)
})
