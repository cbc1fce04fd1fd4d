import { expect, it, onTestFinished } from "vitest"
import { parseConfig } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { hashToken } from "../../protocol/tokens.ts"
import { openStore, publisher } from "../support/publish.ts"
import { TOKENS } from "../support/relay-process.ts"
import { done, poll, stage } from "./stage.ts"

/** What one tenant is told of another, and of the relay that both have: nothing. Found in a security review. */

const ACME = "tm_acme-token-that-no-output-may-hold-000000000"
const FLEET = "tm_fleet-token-that-no-output-may-hold-00000000"

/** The stage's configuration with another tenant, whose one token may whatever a tenant may. */
async function withAcme(config: ConfigInput): Promise<ConfigInput> {
  const scopes = ["read:*", "publish:*", "everything", "metrics", "operate"]
  return {
    ...config,
    tokens: [
      ...(config.tokens ?? []),
      { name: "acme", sha256: await hashToken(ACME), scopes, tenant: "acme" },
      { name: "fleet", sha256: await hashToken(FLEET), scopes: ["fleet"] },
    ],
    targets: {
      ...config.targets,
      "acme-only": { type: "print", namespaces: ["*"], tenants: ["acme"] },
    },
  }
}

it("metrics are the tenant's own, and all of them for the fleet", async () => {
  const { press, redis, relay, config } = await stage()
  const one = await relay({ config: await withAcme(config) })
  await one.ready
  const { store, close } = await openStore(redis.url)
  onTestFinished(close)
  const [ours] = await press.publish({ namespace: "blog", tags: ["a"] })
  await done(press, [ours])
  await publisher(store, parseConfig(await withAcme(config)), "acme").publish({
    namespace: "blog",
    tags: ["a"],
  })
  const metrics = async (token: string) => (await one.get("/metrics", token)).text()
  await poll(() => metrics(FLEET)).toMatch(/lane_entries_total\{tenant="acme"/)

  const acme = await metrics(ACME)
  const names = (text: string) =>
    [...text.matchAll(/^(?!#)(\w+)(.*) \S+$/gm)].map(([, name, labels]) => `${name}${labels}`)
  expect(names(acme).length).toBeGreaterThan(0)
  for (const series of names(acme)) expect(series).toMatch(/[{,]tenant="acme"[,}]/)
  expect(acme).not.toMatch(/default|www-cloudflare|process_|wakes|account/)
  expect(acme).toMatch(
    /^# HELP tidemark_lane_entries_total .*\n# TYPE tidemark_lane_entries_total counter\n/m,
  )
  expect(names(await metrics(TOKENS.operator)).join()).not.toMatch(/acme|process_/)
  const all = names(await metrics(FLEET)).join()
  for (const part of ['tenant="acme"', 'tenant="default"', "process_", "tidemark_wakes_total"])
    expect(all).toContain(part)
  for (const token of [TOKENS.reader, TOKENS.nobody])
    expect((await one.get("/metrics", token)).status).toBe(403)
  expect((await one.get("/v1/lanes", FLEET)).status).toBe(403)
})

it("metrics are all there are where there is one tenant", async () => {
  const { relay } = await stage()
  const one = await relay()
  await one.ready
  expect(await (await one.get("/metrics", TOKENS.operator)).text()).toContain("process_cpu_seconds_total")
})

it("readiness names nobody to whoever asks", async () => {
  const { relay, config } = await stage()
  // Nothing listens there.
  const one = await relay({ config: await withAcme(config), redisUrl: "redis://127.0.0.1:1" })
  const answer = await one.get("/readyz", null)
  const text = await answer.text()
  expect([answer.status, JSON.parse(text)]).toMatchObject([
    503,
    { unready: { log: "2 of 2 logs are not yet read" } },
  ])
  expect(text).not.toMatch(/default|acme|cloudflare|127\.0\.0\.1/)
})

it("a relay is ended by a token that may, and by no operator of a tenant", async () => {
  const { relay, config } = await stage()
  const own = await withAcme(config)
  const ender = "tm_drain-token-that-no-output-may-hold-00000000"
  const drain = { name: "drain", sha256: await hashToken(ender), scopes: ["drain"] }
  const one = await relay({ config: { ...own, tokens: [...(own.tokens ?? []), drain] } })
  await one.ready
  for (const token of [ACME, FLEET, TOKENS.reader]) {
    const refused = await one.send("POST", "/v1/drain", undefined, token)
    expect([refused.status, await refused.json()]).toMatchObject([403, { code: "insufficient_scope" }])
  }
  expect((await one.send("POST", "/v1/drain", undefined, null)).status).toBe(401)
  expect(one.isRunning).toBe(true)
  expect((await one.send("POST", "/v1/resync", undefined, ender)).status).toBe(403)
  expect((await one.send("POST", "/v1/drain", undefined, ender)).status).toBe(202)
  expect(await one.exited).toBe(0)
})

it("a target that is off in development is told to its tenant alone", async () => {
  const { relay, config } = await stage()
  const own = await withAcme(config)
  const dev = "tm_dev-token-that-no-output-may-hold-0000000000"
  const customer = {
    type: "fastly" as const,
    service: "abc",
    token: { secret: "MISSING_CUSTOMER_TOKEN" },
    namespaces: ["*"],
    tenants: ["acme"],
  }
  const one = await relay({
    config: { ...own, targets: { ...own.targets, "customer-cdn": customer } },
    env: { TIDEMARK_DEV_TOKEN_SHA256: await hashToken(dev), CLOUDFLARE_PURGE_TOKEN: "x".repeat(40) },
  })
  await one.ready
  const off = async (token: string) =>
    (await one.json("/v1/lanes", token)).items.filter(({ state }: { state: string }) => state === "off")
  expect(await off(ACME)).toEqual([
    { tenant: "acme", target: "customer-cdn", state: "off", missing: ["MISSING_CUSTOMER_TOKEN"] },
  ])
  expect(await off(dev)).toEqual([])
})

it.each([
  ["a user", "http://someone:CANARY@127.0.0.1:1/"],
  ["a user alone", "http://CANARY@127.0.0.1:1/"],
  ["a query", "http://127.0.0.1:1/?key=CANARY"],
  ["a token in its path", "http://127.0.0.1:1/tm_CANARY-CANARY-CANARY-CANARY"],
  ["no scheme of ours", "ftp://CANARY.example.com/"],
])("an address with %s is refused, and not shown", async (_, url) => {
  const { relay } = await stage()
  const one = await relay({ env: { TIDEMARK_URL: url, CLOUDFLARE_PURGE_TOKEN: "x".repeat(40) } })
  expect(await one.exited).toBe(2)
  expect(one.stderr()).toMatch(/TIDEMARK_URL must be an http or https URL/)
  expect(one.stderr() + one.stdout()).not.toContain("CANARY")
})
