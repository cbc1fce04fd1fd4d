import { expect, it } from "vitest"
import { FakeKv } from "../../test/fakes/mirrors.ts"
import { cloudflareKv } from "./cloudflare-kv.ts"
import { describeDriver, NOW, sample, SHARED, soon, transportTo } from "./conformance.ts"
import type { TargetConfigOf } from "./target.ts"

const TOKEN = "kv-token-Zq8vJw2mXr5tYh1kLp9sBn4dCg7fAe3u"
const ACCOUNT = "01a7362d577a6c3019a474fd6f485823"
const NAMESPACE = "0f2ac74b498b48028cb68387c421e279"
const VALUE = '{"tenant":"default","generation":1}'

const config: TargetConfigOf<"cloudflare-kv"> = {
  ...SHARED,
  type: "cloudflare-kv",
  accountId: ACCOUNT,
  kvNamespace: NAMESPACE,
  token: TOKEN,
  heartbeat: 120_000,
}
const create = (fetch: typeof globalThis.fetch, readEpochs = async () => VALUE) =>
  cloudflareKv.create(config, { fetch, now: () => NOW, readEpochs })
const kv = () =>
  new FakeKv({ account: ACCOUNT, namespace: NAMESPACE, token: TOKEN, now: () => NOW, isUnlimited: true })
const answer = (status: number, errors: readonly object[]) =>
  Response.json({ success: false, errors }, { status })

describeDriver("cloudflare-kv", () => ({
  create,
  capabilities: cloudflareKv.capabilities(config),
  vendor: (request) => kv().handle(request),
  unauthorised: () => answer(403, [{ code: 10000, message: "Authentication error" }]),
  refused: undefined,
  requests: 1,
  secrets: [TOKEN],
}))

it("writes what is read just then, under the tenant's key", async () => {
  const store = kv()
  const driver = create(transportTo((request) => store.handle(request)).fetch)
  expect(await driver.purge(sample("everything", "invalidate"), soon())).toMatchObject({
    outcome: "accepted",
  })
  expect([...store.values]).toEqual([["tidemark/default", VALUE]])
  expect(store.complaints).toEqual([])
})

it("asks nobody where the epochs cannot be read", async () => {
  const transport = transportTo((request) => kv().handle(request))
  const driver = create(transport.fetch, () => Promise.reject(new Error("gone")))
  expect(await driver.purge(sample("everything", "purge"), soon())).toMatchObject({ outcome: "trouble" })
  expect(transport.received).toEqual([])
})

it.each([
  [404, 7003, "unauthorised"],
  [400, 10013, "unauthorised"],
  [400, 10014, "trouble"],
  [413, 10014, "trouble"],
] as const)("a %d with %d is %s: no invalidation is at fault", async (status, code, outcome) => {
  const driver = create(transportTo(() => answer(status, [{ code, message: "no such namespace" }])).fetch)
  expect(await driver.purge(sample("everything", "purge"), soon())).toMatchObject({
    outcome,
    detail: expect.stringContaining("no such namespace"),
  })
})

it("keeps to a write a second", () => {
  expect(cloudflareKv.pace(config)).toEqual([
    { limit: "rate", bucket: `kv:${NAMESPACE}`, kinds: ["everything"], per: "call", perSecond: 1, burst: 1 },
  ])
})
