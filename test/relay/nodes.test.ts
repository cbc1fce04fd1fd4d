import { expect, it, onTestFinished } from "vitest"
import { cursorKey, nodesKey } from "../../protocol/keys.ts"
import { type CacheNode, startCacheNode } from "../support/cache-node.ts"
import { startNameServer } from "../support/name-server.ts"
import { done, poll, stage, type Stage } from "./stage.ts"

async function node(address?: string, port?: number) {
  const one = await startCacheNode(address, port)
  onTestFinished(() => one.stop())
  return one
}

/** What it was asked, in order. */
const asked = ({ taken }: CacheNode): string[] => taken.map(({ said }) => said)

const targetOf = (endpoints: string | readonly string[]) => ({
  edge: {
    type: "varnish" as const,
    endpoints: endpoints as string[],
    namespaces: ["*"],
    timeout: "1s",
  },
})

const withNodes = (endpoints: string | readonly string[]) =>
  stage({
    config: {
      namespaces: { blog: { hosts: ["www.example.com"], overflowTag: false } },
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
  good.taken.length = 0

  const published = await at.press.publish(
    { namespace: "blog", mode: "purge", tags: ["tag-2"] },
    { namespace: "blog", mode: "purge", tags: ["tag-3"] },
    { namespace: "blog", mode: "purge", urls: ["https://www.example.com/p4"] },
    { namespace: "blog", mode: "purge", prefixes: ["https://www.example.com/p5/"] },
  )
  await poll(() => asked(good).toSorted()).toEqual(["ban", "keys tag-2 tag-3", "url /p4"])
  const last = published.at(-1)?.epoch ?? 0
  await poll(() => statesOf(at, last)).toEqual({ [good.address]: "done", [down.address]: "retrying" })
  expect((await edgeOf(at, last)).state).toBe("retrying")
  // And what comes later comes there at once, however long the other one is away.
  const [later] = await at.press.publish({ namespace: "blog", mode: "purge", tags: ["later"] })
  await poll(() => asked(good)).toContain("keys later")
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
  expect(asked(back).toSorted()).toEqual(["ban", "keys tag-2 tag-3 later", "url /p4"].toSorted())
  // Each of them once: nothing was repeated at the one that had it.
  expect(asked(good).toSorted()).toEqual(["ban", "keys later", "keys tag-2 tag-3", "url /p4"])
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
    good.taken.length = 0
    const tag = `tag-${status}-${isMarked}`
    const [entry] = await at.press.publish({ namespace: "blog", mode: "purge", tags: [tag] })
    const epoch = entry?.epoch ?? 0
    await poll(() => statesOf(at, epoch)).toEqual({ [good.address]: "done", [odd.address]: "paused" })
    expect(asked(good)).toEqual([`keys ${tag}`])
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
  expect([asked(third), asked(six)]).toEqual([[], []])

  // Two more come while purges pass.
  names.zone.addresses["varnish.cache.svc"] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"]
  const some = await at.press.publish(...["a", "b", "c"].map((tag) => ({ namespace: "blog", tags: [tag] })))
  await poll(() => [third, six].map((each) => asked(each).includes("ban"))).toEqual([true, true])
  const [all] = await at.press.publish({ namespace: "blog", tags: ["all"] })
  await done(at.press, [...some, all])
  for (const each of [first, second, third, six]) expect(asked(each).join(" ")).toMatch(/\ball\b/)

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
  for (const each of [first, third, six]) expect(asked(each).join(" ")).toMatch(/\bsilent\b/)
})

it("of SRV records have ports of their own", async () => {
  const [first, second] = [await node("127.0.0.1"), await node("127.0.0.2")]
  const portOf = ({ url }: CacheNode) => Number(new URL(url).port)
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
  for (const each of [first, second]) expect(asked(each).join(" ")).toMatch(/ban|\bx\b/)
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
  expect(asked(found)).toEqual(["ban"])
})
