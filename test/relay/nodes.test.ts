import { createServer, type Socket } from "node:net"
import { expect, it, onTestFinished } from "vitest"
import { cursorKey, nodesKey } from "../../protocol/keys.ts"
import { startNameServer } from "../support/name-server.ts"
import { done, poll, stage, type Stage } from "./stage.ts"

/** One cache of a target, as tidemark.vcl answers for it. */
interface Node {
  readonly address: string
  readonly url: string
  /** What it was asked since it was last forgotten: `xkey-purge a b`, `url /p`, `ban host url`. */
  readonly asked: string[]
  /** What it answers instead. */
  status: number
  isMarked: boolean
  stop(): Promise<void>
}

async function node(address = "127.0.0.1", port = 0): Promise<Node> {
  const one: Omit<Node, "url" | "address" | "stop"> = { asked: [], status: 200, isMarked: true }
  const sockets = new Set<Socket>()
  /** Node's own HTTP server knows no BAN. None of these has a body. */
  const answer = (head: string): string => {
    const [, method = "", url = ""] = /^(\w+) (\S+) HTTP/.exec(head) ?? []
    const keys = /^xkey-(?:soft)?purge: (.*)$/im.exec(head)?.[1]
    const said = method === "BAN" ? "ban" : keys === undefined ? `url ${url}` : `keys ${keys}`
    if (one.status === 200 && one.isMarked) one.asked.push(said)
    const mark = one.isMarked ? `x-tidemark-purged: ${method === "BAN" ? "-" : 1}\r\n` : ""
    return `HTTP/1.1 ${one.status} Said\r\n${mark}content-length: 0\r\n\r\n`
  }
  const server = createServer((socket) => {
    sockets.add(socket)
    let text = ""
    socket.on("error", () => {})
    socket.on("data", (data) => {
      text += data.toString("latin1")
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        const head = text.slice(0, end)
        text = text.slice(end + 4)
        socket.write(answer(head))
      }
    })
  })
  await new Promise<void>((ready, failed) => {
    server.once("error", failed)
    server.listen(port, address, ready)
  })
  const found = server.address()
  const host = address.includes(":") ? `[${address}]` : address
  const taken = `${host}:${typeof found === "object" ? found?.port : 0}`
  const stop = () =>
    new Promise<void>((closed) => {
      for (const socket of sockets) socket.destroy()
      server.close(() => closed())
    })
  onTestFinished(stop)
  return Object.assign(one, { address: taken, url: `http://${taken}`, stop })
}

const targetOf = (endpoints: string | readonly string[]) => ({
  edge: { type: "varnish" as const, endpoints: endpoints as string[], namespaces: ["*"], timeout: "1s" },
})

const withNodes = (endpoints: string | readonly string[]) =>
  stage({
    config: {
      namespaces: { blog: { hosts: ["www.example.com"] } },
      targets: targetOf(endpoints),
      relay: { lease: "1s", poll: "1s" },
    },
  })

type Target = { readonly state: string; readonly nodes?: Record<string, { readonly state: string }> }
const edgeOf = async ({ press }: Stage, epoch: number): Promise<Target> =>
  (await press.record(epoch)).targets["edge"] as Target

const statesOf = async (at: Stage, epoch: number): Promise<Record<string, string>> =>
  Object.fromEntries(
    Object.entries((await edgeOf(at, epoch)).nodes ?? {}).map(([name, { state }]) => [name, state]),
  )

it("one that is down delays and widens nothing at the other, and gets what it missed when it is back", async () => {
  const [good, down] = [await node(), await node()]
  const at = await withNodes([good.url, down.url])
  const one = await at.relay()
  await one.ready
  const [before] = await at.press.publish({ namespace: "blog", tags: ["before"] })
  await done(at.press, [before])
  const port = Number(new URL(down.url).port)
  await down.stop()
  good.asked.length = 0

  const published = await at.press.publish(
    { namespace: "blog", mode: "purge", tags: ["tag-2"] },
    { namespace: "blog", mode: "purge", tags: ["tag-3"] },
    { namespace: "blog", mode: "purge", urls: ["https://www.example.com/p4"] },
    { namespace: "blog", mode: "purge", prefixes: ["https://www.example.com/p5/"] },
  )
  await poll(() => good.asked.toSorted()).toEqual(["ban", "keys tag-2 tag-3", "url /p4"])
  const last = published.at(-1)?.epoch ?? 0
  await poll(() => statesOf(at, last)).toEqual({ [good.address]: "done", [down.address]: "retrying" })
  expect((await edgeOf(at, last)).state).toBe("retrying")
  // And what comes later comes there at once, however long the other one is away.
  const [later] = await at.press.publish({ namespace: "blog", mode: "purge", tags: ["later"] })
  await poll(() => good.asked).toContain("keys later")
  const { items } = await one.json("/v1/lanes")
  expect(items).toMatchObject([
    {
      target: "edge",
      state: "retrying",
      nodes: [
        { node: good.address, lag: { entries: 0, ms: 0 } },
        { node: down.address, state: "retrying", error: expect.stringContaining(down.address) },
      ],
    },
  ])

  const back = await node("127.0.0.1", port)
  await done(at.press, [...published, later])
  expect(back.asked.toSorted()).toEqual(["ban", "keys tag-2 tag-3 later", "url /p4"].toSorted())
  // Each of them once: nothing was repeated at the one that had it.
  expect(good.asked.toSorted()).toEqual(["ban", "keys later", "keys tag-2 tag-3", "url /p4"])
})

it("one that answers oddly pauses by itself, and makes no dead letter", async () => {
  const [good, odd] = [await node(), await node()]
  const at = await withNodes([good.url, odd.url])
  const one = await at.relay()
  await one.ready
  const [before] = await at.press.publish({ namespace: "blog", tags: ["before"] })
  await done(at.press, [before])
  for (const [status, isMarked] of [
    [405, false],
    [200, false],
    [404, false],
    [403, true],
  ] as const) {
    Object.assign(odd, { status, isMarked })
    good.asked.length = 0
    const tag = `tag-${status}-${isMarked}`
    const [entry] = await at.press.publish({ namespace: "blog", mode: "purge", tags: [tag] })
    const epoch = entry?.epoch ?? 0
    await poll(() => statesOf(at, epoch)).toEqual({ [good.address]: "done", [odd.address]: "paused" })
    expect(good.asked).toEqual([`keys ${tag}`])
  }
  const { items } = await one.json("/v1/lanes")
  expect(items).toMatchObject([{ state: "paused", dead: 0, error: expect.stringContaining("endpoints") }])
})

it("of a name are looked up, come with a resync, go, and are forgotten", async () => {
  const first = await node("127.0.0.1")
  const port = Number(new URL(first.url).port)
  const [second, third] = [await node("127.0.0.2", port), await node("127.0.0.3", port)]
  const six = await node("::1", port)
  const names = await startNameServer({ addresses: { "varnish.cache.svc": ["127.0.0.1", "127.0.0.2"] } })
  onTestFinished(() => names[Symbol.asyncDispose]())
  const at = await withNodes(`dns://${names.address}/varnish.cache.svc:${port}`)
  const one = await at.relay()
  await one.ready
  const [before] = await at.press.publish({ namespace: "blog", tags: ["before"] })
  await done(at.press, [before])
  expect(Object.keys((await edgeOf(at, before?.epoch ?? 0)).nodes ?? {})).toEqual([
    first.address,
    second.address,
  ])
  expect([third.asked, six.asked]).toEqual([[], []])

  // Two more come while purges pass.
  names.zone.addresses["varnish.cache.svc"] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"]
  const some = await at.press.publish(...["a", "b", "c"].map((tag) => ({ namespace: "blog", tags: [tag] })))
  await poll(() => [third.asked, six.asked].map((asked) => asked.includes("ban"))).toEqual([true, true])
  const [all] = await at.press.publish({ namespace: "blog", tags: ["all"] })
  await done(at.press, [...some, all])
  for (const { asked } of [first, second, third, six]) expect(asked.join(" ")).toMatch(/\ball\b/)

  // One goes: nobody waits for it, and it is not asked any more.
  names.zone.addresses["varnish.cache.svc"] = ["127.0.0.1", "127.0.0.3", "::1"]
  await second.stop()
  await poll(() => one.log("target:nodes").length).toBe(3)
  const [after] = await at.press.publish({ namespace: "blog", tags: ["after"] })
  await done(at.press, [after])
  expect(Object.keys((await edgeOf(at, after?.epoch ?? 0)).nodes ?? {})).toEqual([
    first.address,
    third.address,
    six.address,
  ])
  // What it had read is kept for a while, in case that it comes back.
  expect(Object.keys(await at.admin.hGetAll(cursorKey("default")))).toContain(`edge@${second.address}`)

  // A name that cannot be looked up for a moment leads to where it led.
  names.zone.isSilent = true
  await poll(() => one.log("target:unknown").length).toBe(1)
  const [silent] = await at.press.publish({ namespace: "blog", tags: ["silent"] })
  await done(at.press, [silent])
  for (const { asked } of [first, third, six]) expect(asked.join(" ")).toMatch(/\bsilent\b/)
})

it("of SRV records have ports of their own", async () => {
  const [first, second] = [await node("127.0.0.1"), await node("127.0.0.2")]
  const portOf = ({ url }: Node) => Number(new URL(url).port)
  const names = await startNameServer({
    addresses: { "a.cache.svc": ["127.0.0.1"], "b.cache.svc": ["127.0.0.2"] },
    services: {
      "_http._tcp.cache.svc": [
        { name: "a.cache.svc", port: portOf(first) },
        { name: "b.cache.svc", port: portOf(second) },
      ],
    },
  })
  onTestFinished(() => names[Symbol.asyncDispose]())
  const at = await withNodes([`dns://${names.address}/_http._tcp.cache.svc`])
  const one = await at.relay()
  await one.ready
  const [entry] = await at.press.publish({ namespace: "blog", tags: ["x"] })
  await done(at.press, [entry])
  for (const { asked } of [first, second]) expect(asked.join(" ")).toMatch(/ban|\bx\b/)
  expect(await at.admin.hGet(nodesKey("default"), "edge")).toBe(
    JSON.stringify([first.address, second.address]),
  )
})

it("of a name that leads nowhere are waited for: nothing is done before", async () => {
  const names = await startNameServer()
  onTestFinished(() => names[Symbol.asyncDispose]())
  const found = await node()
  const at = await withNodes(`dns://${names.address}/varnish.cache.svc:${new URL(found.url).port}`)
  const one = await at.relay()
  await one.ready
  const [entry] = await at.press.publish({ namespace: "blog", tags: ["x"] })
  await poll(async () => (await one.json("/v1/lanes")).items).toMatchObject([
    { target: "edge", state: "retrying", error: expect.stringContaining("varnish.cache.svc") },
  ])
  await poll(async () => (await edgeOf(at, entry?.epoch ?? 0)).state).toBe("retrying")
  names.zone.addresses["varnish.cache.svc"] = ["127.0.0.1"]
  await done(at.press, [entry])
  expect(found.asked).toEqual(["ban"])
})
