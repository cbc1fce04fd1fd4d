import dns from "node:dns"
import { expect, it, onTestFinished, vi } from "vitest"
import { manualClock } from "../test/support/clock.ts"
import { startNameServer } from "../test/support/name-server.ts"
import { fixedNodes, isName, type NodeAddress, watchNodes } from "./node-addresses.ts"

/** The system's own ways to an address are stood in for: nobody but root could tell it other names. */
function stub(addresses: () => readonly string[]) {
  const lookup = (_name: string, _options: object, done: (error: Error | null, all?: object) => void) => {
    const found = addresses()
    if (found.length === 0) done(new Error("ENOTFOUND"))
    else
      done(
        null,
        found.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
      )
  }
  const spy = vi.spyOn(dns, "lookup").mockImplementation(lookup as unknown as typeof dns.lookup)
  onTestFinished(() => spy.mockRestore())
}

function watch(...endpoints: readonly string[]) {
  const clock = manualClock()
  const over = new AbortController()
  onTestFinished(() => over.abort())
  const told: (readonly string[])[] = []
  const troubles: (string | undefined)[] = []
  const onNodes = (nodes: readonly NodeAddress[]) => told.push(nodes.map(({ endpoint }) => endpoint))
  const onTrouble = (detail: string | undefined) => troubles.push(detail)
  void watchNodes({ endpoints, clock, signal: over.signal, onNodes, onTrouble })
  /** Until it sleeps, which it then has done. */
  const next = async () => {
    await expect.poll(() => clock.sleepers.length).toBe(1)
    const [wait = 0] = clock.sleepers
    clock.advance(wait)
    await expect.poll(() => clock.sleepers.length).toBe(1)
    return wait
  }
  return { told, troubles, clock, next }
}

it.each([
  ["http://10.0.0.1:6081", false],
  ["http://[::1]:6081", false],
  ["http://localhost:6081", false],
  ["https://varnish.example", false],
  ["http://varnish.cache.svc:6081", true],
  ["dns://varnish.cache.svc:6081", true],
])("%s is a name that may lead to several: %s", (endpoint, expected) =>
  expect(isName(endpoint)).toBe(expected),
)

it("nodes are named by host, port and path", () => {
  const endpoints = ["http://10.0.0.1", "https://a.example/varnish/", "http://[::1]:6081/"]
  expect(fixedNodes(endpoints).map(({ node }) => node)).toEqual([
    "10.0.0.1:80",
    "a.example:443/varnish",
    "[::1]:6081",
  ])
})

it("an http name with several addresses is each of them, with one it is itself", async () => {
  let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
  stub(() => addresses)
  const { told, next } = watch("http://varnish.cache.svc:6081/base/")
  await next()
  expect(told).toEqual([addresses.map((address) => `http://${address}:6081/base/`)])
  // One address of either family is one node.
  addresses = ["10.0.0.1", "fd00::1"]
  await next()
  expect(told.at(-1)).toEqual(["http://varnish.cache.svc:6081/base/"])
})

it("a name that leads nowhere any more leads to where it led, and one that never did is told of", async () => {
  let addresses = ["10.0.0.1"]
  stub(() => addresses)
  const { told, troubles, next } = watch("http://varnish.cache.svc:6081")
  await next()
  addresses = []
  await next()
  expect(told).toEqual([["http://varnish.cache.svc:6081"]])
  expect(troubles).toEqual(["varnish.cache.svc has no address"])
  addresses = ["10.0.0.1"]
  await next()
  expect([told.length, troubles]).toEqual([1, ["varnish.cache.svc has no address", undefined]])
})

it("answers of a name server count for as long as it says, within bounds", async () => {
  const names = await startNameServer({ addresses: { "a.svc": ["127.0.0.1"] }, ttl: 7 })
  onTestFinished(() => names[Symbol.asyncDispose]())
  const { told, next } = watch(`dns://${names.address}/a.svc:6081`)
  expect(await next()).toBe(7_000)
  names.zone.ttl = 0
  await next()
  expect(await next()).toBe(1_000)
  names.zone.ttl = 86_400
  await next()
  expect(await next()).toBe(60_000)
  expect(told).toEqual([["http://127.0.0.1:6081"]])
})
