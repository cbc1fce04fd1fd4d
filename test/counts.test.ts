import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { text } from "node:stream/consumers"
import { createClient } from "redis"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { contentfulPublish } from "../cli/demo/webhook.ts"
import { cursorKey, RELAY_ITEMS_KEY, RELAYS_KEY } from "../protocol/keys.ts"
import { listRecords } from "../protocol/records-api.ts"
import type { Principal } from "../protocol/tokens.ts"
import { createTidemark, workerStore } from "../client/index.ts"
import { http } from "../dispatch/targets/http.ts"
import type { Batch } from "../dispatch/targets/target.ts"
import { type Edge, startEdge } from "./support/edge.ts"
import { level, levelled, open, poll, useLanes, world } from "./support/lanes.ts"
import { openStore } from "./support/publish.ts"
import { restingRelay, tenantName } from "./support/resting-relay.ts"

/**
 * What Tidemark asks of others, counted on the wire and held exactly: a subrequest, a command or a byte more is seen
 * here, whatever the machine. Who means it changes the figure.
 */

const SECRET = "c".repeat(64)
const HOOK = "/v1/hooks/cms"

describe("the Worker", () => {
  /** Bodies of its requests to the store. */
  const asked: string[] = []
  let edge: Edge
  const closers: (() => unknown)[] = []

  beforeAll(async () => {
    edge = await startEdge({
      config: {
        namespaces: { blog: {} },
        sources: {
          cms: { type: "contentful", secret: { secret: "CMS" }, namespace: "blog", secondPass: "0" },
        },
      },
      scopes: { publisher: ["publish:*"], reader: ["epochs:*"] },
      secrets: { CMS: SECRET },
      async between(gatewayUrl) {
        const server = createServer((request, response) => {
          const pass = async () => {
            const body = await text(request)
            asked.push(body)
            const { authorization = "" } = request.headers
            const init = { method: "POST", headers: { authorization }, body }
            const answer = await fetch(gatewayUrl + (request.url ?? "/"), init)
            response.writeHead(answer.status).end(await answer.text())
          }
          pass().catch(() => response.destroy())
        }).listen(0, "127.0.0.1")
        await once(server, "listening")
        closers.push(() => server.close())
        return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      },
    })
    closers.push(() => edge.stop())
    // The server does not know the script before it was sent once.
    await publish({ namespace: "blog" })
  })
  afterAll(async () => {
    for (const close of closers.toReversed()) await close()
  })

  const publish = async (body: object) => {
    asked.length = 0
    const answer = await edge.call("POST", "/v1/invalidations", {
      token: edge.tokens["publisher"] ?? "",
      body,
    })
    expect(answer.status).toBe(202)
  }
  const sizes = () => asked.map((body) => Buffer.byteLength(body))

  it("publishes by one request of one command", async () => {
    await publish({ namespace: "blog", tags: ["post-1"] })
    expect(asked.map((body) => (JSON.parse(body) as string[])[0])).toEqual(["EVALSHA"])
    expect(sizes()).toEqual([623])
  })

  it("sends a tag more at the price of the tag", async () => {
    await publish({ namespace: "blog", tags: ["post-1", "post-2"] })
    // In the entry, which is a text in JSON itself, and as an argument.
    expect(sizes()).toEqual([623 + String.raw`\"post-2\",`.length + `"post-2",`.length])
  })

  it("publishes a hundred by one request", async () => {
    const one = { namespace: "blog", tags: ["post-1"] }
    await publish({ invalidations: Array.from({ length: 100 }, () => one) })
    expect(sizes()).toHaveLength(1)
  })

  it("takes a webhook by one request", async () => {
    asked.length = 0
    const { headers, body } = contentfulPublish(SECRET, HOOK, "entry-1", 1, Date.now())
    const answer = await edge.call("POST", HOOK, { body, headers })
    expect([answer.status, answer.json.accepted]).toEqual([200, 1])
    expect(asked.map((one) => (JSON.parse(one) as string[])[0])).toEqual(["EVALSHA"])
  })

  it("looks epochs up by one request for all entries of a freshness interval", async () => {
    const tidemark = createTidemark({
      store: workerStore({ url: edge.url, token: edge.tokens["reader"] ?? "" }),
      ttl: 60_000,
      maxStale: 120_000,
    })
    asked.length = 0
    const { stamp } = await tidemark.begin("blog")
    for (let page = 0; page < 100; page += 1)
      expect(await tidemark.isFresh(stamp, "blog", { tags: [`post-${page}`, "type-post"] })).toBe(true)
    expect(asked).toHaveLength(1)
  })
})

describe("a lane", () => {
  useLanes()

  /** What one connection asks of Redis itself, scripts' own commands left out. */
  async function listening(url: string) {
    const store = await openStore(url)
    const [info] = await store.store.pipeline([["CLIENT", "INFO"]])
    const address = /\baddr=(\S+)/.exec(String(info))?.[1] ?? ""
    const monitor = createClient({ url, RESP: 2 })
    await monitor.connect()
    const heard: string[] = []
    await monitor.monitor((line) => {
      const [, from, command] = /\[\d+ (\S+)\] "(\w+)"/.exec(line) ?? []
      if (from === address) heard.push(command ?? "")
    })
    return {
      store: store.store,
      heard,
      /** Resolves once all that was sent before was heard. */
      async settled() {
        const marks = () => heard.filter((command) => command === "ECHO").length
        const before = marks()
        await store.store.pipeline([["ECHO", "mark"]])
        await poll(marks).toBe(before + 1)
        return heard.splice(0).filter((command) => command !== "ECHO")
      },
      close() {
        store.close()
        monitor.destroy()
      },
    }
  }

  const redisUrl = async () => {
    const [port] = await open.store.pipeline([["CONFIG", "GET", "port"]])
    return `redis://127.0.0.1:${String((port as string[])[1])}`
  }

  it("purges what was published by one read, one call and one commit", async () => {
    const wire = await listening(await redisUrl())
    const [at, one] = await levelled({}, { store: wire.store })
    await wire.settled()
    await at.tags("a")
    one.lane.nudge()
    await level(at, one)
    expect(await wire.settled()).toEqual(["EVALSHA", "EVALSHA"])
    expect(one.driver.attempts).toHaveLength(1)
    wire.close()
  })

  it("drains ten thousand entries over a thousand tags by as many calls as those need", async () => {
    const wire = await listening(await redisUrl())
    const [at, one] = await levelled({}, { store: wire.store })
    await wire.settled()
    await at.tags(...Array.from({ length: 10_000 }, (_, nth) => `tag-${nth % 1_000}`))
    one.lane.nudge()
    await level(at, one)
    const commands = await wire.settled()
    // Pages of five hundred, and the commit.
    expect(commands).toEqual(Array.from({ length: 21 }, () => "EVALSHA"))
    expect(one.driver.attempts).toHaveLength(10)
    wire.close()
  })

  it("has a page of records told by seven commands each, and eight for all", async () => {
    const wire = await listening(await redisUrl())
    const at = world()
    await at.tags(...Array.from({ length: 1_000 }, (_, nth) => `tag-${nth}`))
    const principal: Principal = { name: "ops", scopes: ["read:*"], tenant: at.tenant }
    const page = async (limit: string) => {
      await wire.settled()
      await listRecords({ store: wire.store, principal, targets: at.config.targets }, { limit })
      return wire.settled()
    }
    // Of each its passes, of three kinds: what was published, when it is due, and what a second one waits for.
    expect((await page("1")).length).toBe(8 + 7)
    expect((await page("1000")).length).toBe(8 + 7 * 1_000)
    wire.close()
  })

  it("that is looked at after its lease ended reads and renews once", async () => {
    const wire = await listening(await redisUrl())
    const [at, one] = await levelled({}, { store: wire.store })
    await wire.settled()
    one.clock.advance(at.config.relay.poll)
    await at.expireLease()
    one.lane.nudge()
    await level(at, one)
    const commands = await wire.settled()
    expect(commands.filter((command) => command === "EVALSHA")).toHaveLength(2)
    wire.close()
  })
})

describe("a relay with nothing to do", () => {
  const MINUTE = 60_000

  // Each poll one look, which also says that it lives; each half minute one for each tenant; each ten seconds a probe.
  it.each([
    [1, 12, 2, 6],
    [11, 12, 22, 6],
  ])(
    "of %i tenants asks %i + %i scripts a minute, and publishes %i probes",
    async (tenants, looks, rests, probes) => {
      const one = await restingRelay({ tenants })
      // What it began with is over.
      await one.pass(MINUTE)
      await one.asked()
      await one.pass(MINUTE)
      const asked = await one.asked()
      const count = (name: string) => asked.filter((command) => command === name).length
      expect([count("EVALSHA"), count("PUBLISH"), asked.length]).toEqual([
        looks + rests,
        probes,
        looks + rests + probes,
      ])
    },
  )

  it("asks little more for what is published to it", async () => {
    const one = await restingRelay()
    await one.pass(MINUTE)
    await one.asked()
    await one.press().publish({ namespace: "blog", tags: ["a"] })
    await poll(() => one.purged).toContain("a")
    // Passes are looked for a moment after the wake and the commit: once for both, or once for each.
    const counted: string[] = []
    await poll(async () => {
      counted.push(...(await one.asked()))
      return counted.filter((command) => command === "ZRANGEBYSCORE").length
    }).toBeGreaterThan(0)
    const count = (name: string) => counted.filter((command) => command === name).length
    // Its lease and what trouble was told of the lane, the read, the commit.
    expect([count("EVALSHA"), count("HGET")]).toEqual([3, 1])
    expect(count("ZRANGE")).toBe(2 * count("ZRANGEBYSCORE"))
    expect(counted).toHaveLength(4 + 3 * count("ZRANGEBYSCORE"))
  })

  it("asks two more a minute where another relay has other lanes of the same tenants", async () => {
    const one = await restingRelay({ tenants: 5 })
    await one.pass(MINUTE)
    const now = Date.now()
    const targets = [0, 1, 2, 3, 4].map((nth) => `${tenantName(nth)}/theirs`)
    const theirs = { id: "relay-b", version: "0.0.0", startedAt: now, heartbeatAt: now, lanes: [], targets }
    await one.admin.hSet(RELAY_ITEMS_KEY, "relay-b", JSON.stringify(theirs))
    // As it does with every poll, by the clock that the relay of this test goes by.
    await one.admin.zAdd(RELAYS_KEY, { score: one.clock.now() + 10 * MINUTE, value: "relay-b" })
    for (const nth of [0, 1, 2, 3, 4])
      await one.admin.hSet(cursorKey(tenantName(nth)), "theirs", "relay-b.1 0 0 0")
    await one.pass(2 * MINUTE)
    await one.asked()
    await one.pass(MINUTE)
    const asked = await one.asked()
    const count = (name: string) => asked.filter((command) => command === name).length
    expect([count("HGETALL"), count("ZRANGE"), one.said("target:removed")]).toEqual([1, 1, []])
    expect(asked).toHaveLength(12 + 10 + 6 + 2)
  })

  it("asks the Worker once a minute, where it holds its log against one", async () => {
    const one = await restingRelay({ hasWorker: true })
    await one.pass(MINUTE)
    await one.asked()
    one.askedOfWorker.length = 0
    await one.pass(2 * MINUTE)
    expect(one.askedOfWorker).toHaveLength(2)
    // The head, before and after.
    expect((await one.asked()).filter((command) => command === "GET")).toHaveLength(4)
  })

  it("asks as little a minute after something was published", async () => {
    const one = await restingRelay()
    await one.pass(MINUTE)
    await one.press().publish({ namespace: "blog", tags: ["a"] })
    await poll(() => one.purged).toContain("a")
    await one.rest()
    await one.pass(MINUTE)
    await one.asked()
    await one.pass(MINUTE)
    expect(await one.asked()).toHaveLength(20)
  })
})

describe("a call of a webhook target", () => {
  it("has what was invalidated, and little more", async () => {
    const bodies: string[] = []
    const driver = http.create(
      { type: "http", url: "https://hook.example.net/", secret: `whsec_${"A".repeat(32)}` } as never,
      {
        now: () => 1_760_000_000_000,
        fetch: async (_, init) => {
          bodies.push(await new Response(init?.body ?? null).text())
          return new Response("{}")
        },
      },
    )
    const batch: Batch = {
      id: "inv_1",
      mode: "invalidate",
      tenant: "default",
      values: [{ kind: "tag", value: "post-1", namespaces: ["blog"] }],
      epochs: { first: 1_760_000_000_000_000, last: 1_760_000_000_000_000 },
    }
    await driver.purge(batch, AbortSignal.timeout(1_000))
    expect(bodies.map((body) => body.length)).toEqual([267])
  })
})
