import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { expect, it, onTestFinished } from "vitest"
import { seenKey, verifyKey } from "../protocol/keys.ts"
import { readRecords } from "../protocol/record.ts"
import { manualClock } from "../test/support/clock.ts"
import { admin, hire, level, NAME, open, poll, useLanes, world } from "../test/support/lanes.ts"
import { type Verified, Verifier } from "./verify.ts"

/** What is seen after a purge, over a real Redis, at a site that answers as it is told. */
useLanes()

async function site(answer: (path: string) => Record<string, string> & { readonly status?: string }) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? "-"} ${request.headers.cookie ?? "-"}`)
    const { status = "200", ...headers } = answer(request.url ?? "")
    response.writeHead(Number(status), headers).end("x".repeat(200_000))
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  onTestFinished(() => void server.close(() => {}))
  onTestFinished(() => server.closeAllConnections())
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

async function stage(headers: Record<string, string>, sample = 3, more: readonly string[] = []) {
  let answer = headers
  const { origin, asked } = await site(() => answer)
  const host = new URL(origin).host
  const at = world({
    namespaces: { blog: { hosts: [host, "elsewhere.example"] } },
    target: { verify: { origins: [origin, ...more], sample } },
  })
  const told: Verified[] = []
  const clock = manualClock()
  let again = 0
  const targetConfig = at.config.targets[NAME]
  if (!targetConfig?.verify) throw new Error("it is told to look")
  const verifier = new Verifier({
    tenant: at.tenant,
    target: NAME,
    lanes: () => [NAME],
    config: at.config,
    targetConfig: { ...targetConfig, verify: targetConfig.verify },
    propagation: undefined,
    store: open.store,
    clock,
    fetch,
    onVerdict: (one) => told.push(one),
    onAgain: () => (again += 1),
  })
  onTestFinished(() => verifier.close())
  const seen: Promise<void>[] = []
  const one = hire(at, { clock, onCommit: (entries) => void seen.push(verifier.watch(entries)) })
  await at.publish({ namespace: "blog", tags: ["before"] })
  one.lane.nudge()
  await level(at, one)
  const waiting = () => admin.zCard(verifyKey(at.tenant, NAME))
  /** Until there is something to look at, then until it was looked at. */
  async function look(): Promise<void> {
    await poll(waiting).toBeGreaterThan(0)
    const before = told.length
    clock.advance(2_000)
    verifier.nudge()
    await poll(() => told.length).toBeGreaterThan(before)
    await poll(waiting).toBe(0)
  }
  const verified = async (epoch: number) => {
    const records = await at.record(epoch)
    return records.targets[NAME]?.verified
  }
  return {
    at,
    one,
    told,
    asked,
    origin,
    look,
    verified,
    waiting,
    clock,
    verifier,
    answers: (now: Record<string, string>) => (answer = now),
    get again() {
      return again
    },
  }
}

it("a page that is gone is told as fresh, in the record too", async () => {
  const stand = await stage({ "x-cache": "MISS" })
  const [entry] = await stand.at.publish({ namespace: "blog", urls: [`${stand.origin}/a`], mode: "purge" })
  stand.one.lane.nudge()
  await stand.look()
  expect(stand.told).toEqual([
    { epoch: entry?.epoch, url: `${stand.origin}/a`, verdict: "fresh", detail: "fetched, no age" },
  ])
  await poll(() => stand.verified(entry?.epoch ?? 0)).toBe("fresh")
  expect(stand.asked).toEqual(["/a - -"])
})

it("a page that is still there is purged once more, and looked at once more and no oftener", async () => {
  const stand = await stage({ "x-cache": "HIT", age: "3600" })
  const [entry] = await stand.at.publish({ namespace: "blog", urls: [`${stand.origin}/a`], mode: "purge" })
  stand.one.lane.nudge()
  await poll(stand.waiting).toBe(1)
  const calls = stand.one.driver.attempts.length
  stand.clock.advance(2_000)
  stand.verifier.nudge()
  await poll(() => stand.told.length).toBe(1)
  await poll(stand.waiting).toBe(1)
  expect(await stand.verified(entry?.epoch ?? 0)).toBe("stale")
  expect(stand.again).toBe(1)
  stand.one.lane.nudge()
  await level(stand.at, stand.one)
  expect(stand.one.driver.attempts.length).toBe(calls + 1)
  expect(stand.one.driver.purged.at(-1)).toBe(`purge url ${stand.origin}/a`)
  expect(await stand.at.state(entry?.epoch ?? 0)).toBe("done")
  // Still there: it stays stale, and that was all.
  await stand.look()
  expect([stand.told.length, stand.again, await stand.verified(entry?.epoch ?? 0)]).toEqual([2, 1, "stale"])
})

it("and told as fresh where the second purge was enough", async () => {
  const stand = await stage({ "x-cache": "HIT", age: "3600" })
  const [entry] = await stand.at.publish({ namespace: "blog", urls: [`${stand.origin}/a`], mode: "purge" })
  stand.one.lane.nudge()
  await poll(stand.waiting).toBe(1)
  stand.clock.advance(2_000)
  stand.verifier.nudge()
  await poll(() => stand.told.length).toBe(1)
  stand.answers({ "x-cache": "MISS" })
  await stand.look()
  await poll(() => stand.verified(entry?.epoch ?? 0)).toBe("fresh")
})

it("only what lies at the named origins is looked at, and no more than the sample", async () => {
  const stand = await stage({ "x-cache": "MISS" }, 2)
  const urls = ["/a", "/b", "/c"].map((path) => stand.origin + path)
  await stand.at.publish({ namespace: "blog", urls: ["https://elsewhere.example/x", ...urls], mode: "purge" })
  stand.one.lane.nudge()
  await stand.look()
  await poll(() => stand.told.map(({ url }) => url)).toEqual(urls.slice(0, 2))
  // Tags name no page.
  await stand.at.publish({ namespace: "blog", tags: ["a"] })
  stand.one.lane.nudge()
  await level(stand.at, stand.one)
  expect(await stand.waiting()).toBe(0)
})

it("notes which namespaces' tags it saw responses carry", async () => {
  const stand = await stage({ "x-cache": "MISS", "cache-tag": "post-1,ns/blog", xkey: "de:ns/shop" })
  await stand.at.publish({ namespace: "blog", urls: [`${stand.origin}/a`], mode: "purge" })
  stand.one.lane.nudge()
  await stand.look()
  await poll(async () => Object.keys(await admin.hGetAll(seenKey(stand.at.tenant))).toSorted()).toEqual([
    "blog",
    "shop",
  ])
})

it("what cannot be said is not told in the record: a redirect, no answer", async () => {
  const stand = await stage({ location: "http://169.254.169.254/", status: "302" }, 3, ["http://127.0.0.1:1"])
  const [entry] = await stand.at.publish({ namespace: "blog", urls: [`${stand.origin}/a`], mode: "purge" })
  stand.one.lane.nudge()
  await stand.look()
  expect(stand.told[0]).toMatchObject({
    verdict: "unknown",
    detail: "it answered 302, which is not followed",
  })
  expect(await stand.verified(entry?.epoch ?? 0)).toBeUndefined()
  expect(stand.asked).toHaveLength(1)
})

it("records of targets that are not looked at say nothing of it", async () => {
  const at = world()
  const one = hire(at)
  const [entry] = await at.tags("a")
  one.lane.nudge()
  await level(at, one)
  const records = await readRecords(open.store, at.tenant, [], at.config.targets)
  expect(records).toEqual([])
  expect((await at.record(entry?.epoch ?? 0)).targets[NAME]).not.toHaveProperty("verified")
})
