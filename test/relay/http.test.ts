import { request } from "node:http"
import { expect, it } from "vitest"
import { parseConfig } from "../../protocol/config/config.ts"
import { logKey, seenKey } from "../../protocol/keys.ts"
import { openStore, publisher } from "../support/publish.ts"
import { TOKENS } from "../support/relay-process.ts"
import { hashToken } from "../../protocol/tokens.ts"
import { done, poll, stage } from "./stage.ts"

const OTHER = "tm_other-tenants-token-that-no-output-may-hold"

const status = (url: string, headers: Record<string, string>): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const asking = request(url, { headers }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode))
    })
    asking.on("error", reject)
    asking.end()
  })

it("answers what its tokens may know, and no more", async () => {
  const { press, relay } = await stage()
  const one = await relay()
  await one.ready
  const [blog, shop, all] = await press.publish(
    { namespace: "blog", tags: ["a"] },
    { namespace: "shop", tags: ["b"] },
    { everything: true },
  )
  await done(press, [all])

  const answers = async (path: string) =>
    Object.fromEntries(
      await Promise.all(
        Object.entries({ ...TOKENS, unknown: "tm_unknown", none: null }).map(
          async ([name, token]) => [name, (await one.get(path, token)).status] as const,
        ),
      ),
    )
  const refused = { unknown: 401, none: 401 }
  for (const path of ["/v1/lanes", "/v1/relays"]) {
    expect(await answers(path)).toEqual({ operator: 200, reader: 403, nobody: 403, ...refused })
  }
  expect(await answers("/metrics")).toEqual({ operator: 200, reader: 403, nobody: 403, ...refused })
  expect(await answers("/v1/invalidations")).toEqual({ operator: 200, reader: 200, nobody: 403, ...refused })
  expect(await answers(`/v1/invalidations/${blog?.epoch}`)).toEqual({
    operator: 200,
    reader: 200,
    nobody: 403,
    ...refused,
  })
  // Which of "there is none" and "not yours" it is, is nobody's business.
  for (const { epoch } of [shop, all].flatMap((entry) => entry ?? [])) {
    expect(await answers(`/v1/invalidations/${epoch}`)).toEqual({
      operator: 200,
      reader: 404,
      nobody: 403,
      ...refused,
    })
  }
  for (const path of ["/healthz", "/readyz"]) {
    expect(await answers(path)).toEqual({ operator: 200, reader: 200, nobody: 200, unknown: 200, none: 200 })
  }
  expect(await answers("/nowhere")).toEqual({
    operator: 404,
    reader: 404,
    nobody: 404,
    unknown: 404,
    none: 404,
  })

  const problem = await one.get("/v1/lanes", null)
  expect(problem.headers.get("content-type")).toContain("application/problem+json")
  expect(problem.headers.get("www-authenticate")).toBe("Bearer")
  expect(await problem.json()).toMatchObject({
    status: 401,
    code: "unauthorized",
    type: "urn:tidemark:error:unauthorized",
  })

  const own = await one.json("/v1/invalidations", TOKENS.reader)
  expect(own.items.map((item: { id: string }) => item.id)).toEqual([String(blog?.epoch)])
  const every = await one.json("/v1/invalidations?limit=1000")
  expect(every.items.map((item: { epoch: number }) => item.epoch)).toEqual(
    expect.arrayContaining([blog?.epoch, shop?.epoch, all?.epoch]),
  )
})

it("answers to its own name only", async () => {
  const { relay } = await stage()
  const one = await relay()
  await one.ready
  for (const host of [`localhost:${one.port}`, `127.0.0.1:${one.port}`, "localhost", "127.0.0.1:1"]) {
    expect(await status(`${one.url}/healthz`, { host })).toBe(200)
  }
  for (const host of [
    "evil.example",
    `evil.example:${one.port}`,
    "127.0.0.1.evil.example",
    "localhost.evil.example",
  ]) {
    for (const path of ["/healthz", "/readyz", "/metrics", "/v1/lanes", "/nowhere"]) {
      expect(
        await status(one.url + path, { host, authorization: `Bearer ${TOKENS.operator}` }),
        `${host} ${path}`,
      ).toBe(421)
    }
  }
})

it("shows lanes and relays as they are", async () => {
  const { vendor, press, relay } = await stage()
  const one = await relay()
  await one.ready
  const [first] = await press.publish({ namespace: "blog", tags: ["a"] })
  await done(press, [first])
  const idle = await one.json("/v1/lanes")
  expect(idle).toEqual({
    items: [
      {
        tenant: "default",
        target: "www-cloudflare",
        state: expect.stringMatching(/idle|running/),
        owner: expect.stringMatching(/^relay-[0-9a-f]{12}\./),
        cursor: first,
        head: first,
        lag: { entries: 0, ms: 0 },
        due: 0,
        dead: 0,
        since: expect.stringMatching(/Z$/),
        attempts: 0,
        // Cloudflare takes labels off: nobody could see whether pages carry the tag that all of them is purged by.
        warnings: [],
      },
    ],
  })

  vendor.answer = () => ({ status: 503 })
  await press.publish({ namespace: "blog", tags: ["b"] }, { namespace: "blog", tags: ["c"] })
  await poll(async () => (await one.json("/v1/lanes")).items[0]).toMatchObject({
    state: "retrying",
    lag: { entries: 2, ms: expect.any(Number) },
    error: expect.stringContaining("503"),
    cursor: first,
  })
  // It grows for as long as the vendor is down, in figures as in metrics, though nothing is published or done.
  const behind = async () => (await one.json("/v1/lanes")).items[0].lag.ms
  const known = await behind()
  await poll(behind).toBeGreaterThan(known)
  const gauge = async () => {
    const text = await (await one.get("/metrics", TOKENS.operator)).text()
    return Number(/^tidemark_lane_lag_seconds\{.*\} (\S+)$/m.exec(text)?.[1])
  }
  const scraped = await gauge()
  expect(scraped).toBeGreaterThanOrEqual(known / 1_000)
  await poll(gauge).toBeGreaterThan(scraped)
  // Also at a relay that rests, as another has the lane.
  const other = await relay()
  await poll(async () => (await other.json("/v1/lanes")).items[0]).toMatchObject({ state: "retrying" })
  vendor.answer = () => undefined
  await poll(async () => (await one.json("/v1/lanes")).items[0]).toMatchObject({
    state: "idle",
    lag: { entries: 0 },
  })

  await poll(async () => (await one.json("/v1/relays")).items.length).toBe(2)
  const { items } = await one.json("/v1/relays")
  for (const item of items) {
    expect(item).toEqual({
      id: expect.stringMatching(/^relay-/),
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      startedAt: expect.stringMatching(/Z$/),
      heartbeatAt: expect.stringMatching(/Z$/),
      lanes: expect.any(Array),
    })
  }
  const metrics = await (await one.get("/metrics", TOKENS.operator)).text()
  expect(metrics).toMatch(/^tidemark_vendor_calls_total\{.*outcome="accepted".*\} \d+$/m)
  expect(metrics).toMatch(/^tidemark_subscription_proven 1$/m)
})

it("warns of a label that was seen on no page only where somebody looks and could see it", async () => {
  const { admin, config, relay } = await stage()
  const looked = { verify: { origins: ["https://www.example.com"] } }
  const keycdn = { type: "keycdn" as const, zone: 1, tags: true, token: { secret: "HOOK_SECRET" } }
  const [cloudflare] = Object.values(config.targets ?? {})
  if (!cloudflare) throw new Error("the stage has a target")
  const namespaces = ["blog"]
  const one = await relay({
    config: {
      ...config,
      targets: {
        "not-looked-at": { ...keycdn, namespaces, endpoint: "http://127.0.0.1:9" },
        "shows-labels": { ...keycdn, namespaces, endpoint: "http://127.0.0.1:9", ...looked },
        "hides-labels": { ...cloudflare, namespaces, ...looked },
      },
    },
  })
  await one.ready
  const warnings = async (): Promise<Record<string, string[]>> =>
    Object.fromEntries(
      ((await one.json("/v1/lanes")).items as { target: string; warnings: string[] }[]).map((lane) => [
        lane.target,
        lane.warnings,
      ]),
    )
  const told = expect.stringContaining("carries ns/blog, by which")
  expect(await warnings()).toEqual({ "not-looked-at": [], "shows-labels": [told], "hides-labels": [] })
  await admin.hSet(seenKey("default"), "blog", "1")
  expect(await warnings()).toEqual({ "not-looked-at": [], "shows-labels": [], "hides-labels": [] })
})

it("keeps tenants apart", async () => {
  const { config, redis, press, relay } = await stage()
  const targets = Object.fromEntries(
    Object.entries(config.targets ?? {}).flatMap(([name, target]) => [
      [name, { ...target, tenants: ["default"] }],
      ["their-edge", { ...target, tenants: ["other"] }],
    ]),
  )
  const tokens = [
    ...(config.tokens ?? []),
    { name: "theirs", tenant: "other", sha256: await hashToken(OTHER), scopes: ["read:*"] },
  ]
  const shared = { ...config, targets, tokens }
  const one = await relay({ config: shared })
  await one.ready
  const open = await openStore(redis.url)
  const theirs = publisher(open.store, parseConfig(shared), "other")
  const [mine] = await press.publish({ namespace: "blog", tags: ["mine"] })
  const [yours] = await theirs.publish({ namespace: "blog", tags: ["yours"] })
  await done(theirs, [yours])
  await done(press, [mine])
  open.close()

  const targetsOf = async (token: string) =>
    (await one.json("/v1/lanes", token)).items.map((item: { target: string }) => item.target)
  expect([await targetsOf(TOKENS.operator), await targetsOf(OTHER)]).toEqual([
    ["www-cloudflare"],
    ["their-edge"],
  ])
  expect((await one.get(`/v1/invalidations/${mine?.epoch}`, OTHER)).status).toBe(404)
  expect((await one.get(`/v1/invalidations/${yours?.epoch}`, OTHER)).status).toBe(200)
  // The fleet is everybody's; what its lanes are called is not.
  for (const [token, prefix] of [
    [TOKENS.operator, "default/"],
    [OTHER, "other/"],
  ] as const) {
    await press.publish({ namespace: "blog", tags: ["again"] })
    const { items } = await one.json("/v1/relays", token)
    expect(items).toHaveLength(1)
    expect(items[0].lanes.every((lane: string) => lane.startsWith(prefix))).toBe(true)
  }
  await poll(async () => (await one.json("/v1/relays")).items[0].lanes).toEqual(expect.any(Array))
})

it("explains a publish as the Worker does, and leaves webhooks to it", async () => {
  const { config, relay, redis } = await stage()
  const PUBLISHER = "tm_publisher-token-that-no-output-may-hold-0000"
  const token = { name: "publisher", sha256: await hashToken(PUBLISHER), scopes: ["publish:blog"] }
  const one = await relay({ config: { ...config, tokens: [...(config.tokens ?? []), token] } })
  await one.ready
  const explain = async (body: unknown, as: string = PUBLISHER) => {
    const answer = await one.send("POST", "/v1/explain", body, as)
    return { status: answer.status, json: await answer.json() }
  }
  const [target] = Object.keys(config.targets ?? {})
  const told = await explain({ invalidation: { namespace: "blog", tags: ["a"] } })
  expect(told.status).toBe(200)
  expect(told.json).toMatchObject({
    rule: null,
    invalidations: [{ namespace: "blog", tags: ["a"] }],
    targets: { [target ?? ""]: { calls: 1, widened: [], cost: 0, seconds: 0 } },
  })
  expect((await explain({ invalidation: { namespace: "nowhere" } })).json.code).toBe("insufficient_scope")
  expect((await explain({ invalidation: { namespace: "blog", tags: [] } })).status).toBe(422)
  expect((await explain({ invalidation: { namespace: "blog" } }, TOKENS.reader)).status).toBe(403)
  expect((await explain({ source: "cms", body: {} })).json).toMatchObject({
    code: "invalid_request",
    detail: expect.stringContaining("by the Worker"),
  })
  expect((await explain("no JSON")).json.code).toBe("invalid_json")
  expect((await one.get("/v1/explain")).status).toBe(405)
  const store = await openStore(redis.url)
  const [log] = await store.store.pipeline([["XLEN", logKey("default")]])
  store.close()
  // The first start's resync, and nothing of these.
  expect(Number(log)).toBe(1)
})
