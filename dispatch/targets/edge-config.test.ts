import { expect, it } from "vitest"
import { FakeEdgeConfig } from "../../test/fakes/mirrors.ts"
import { describeDriver, NOW, sample, SHARED, soon, transportTo } from "./conformance.ts"
import { edgeConfig } from "./edge-config.ts"
import type { TargetConfigOf } from "./target.ts"

const TOKEN = "vercel-token-Zq8vJw2mXr5tYh1kLp9sBn4dCg7f"
const ID = "ecfg_abc123"
const VALUE = '{"tenant":"default","generation":1}'

const config: TargetConfigOf<"edge-config"> = {
  ...SHARED,
  type: "edge-config",
  edgeConfig: ID,
  token: TOKEN,
  team: "team_1",
  heartbeat: 3_600_000,
}
const create = (fetch: typeof globalThis.fetch) =>
  edgeConfig.create(config, { fetch, now: () => NOW, readEpochs: async () => VALUE })
const store = () => new FakeEdgeConfig({ id: ID, team: "team_1", token: TOKEN })

describeDriver("edge-config", () => ({
  create,
  capabilities: edgeConfig.capabilities(config),
  vendor: (request) => store().handle(request),
  unauthorised: () => Response.json({ error: { code: "forbidden", message: "no" } }, { status: 403 }),
  refused: undefined,
  requests: 1,
  secrets: [TOKEN],
}))

it("writes the epochs as one item of the tenant's", async () => {
  const one = store()
  const driver = create(transportTo((request) => one.handle(request)).fetch)
  expect(await driver.purge(sample("everything", "purge"), soon())).toMatchObject({ outcome: "accepted" })
  expect([...one.items]).toEqual([["tidemark_default", JSON.parse(VALUE)]])
  expect(one.complaints).toEqual([])
})

it.each([
  [404, "unauthorised"],
  [402, "unauthorised"],
  [400, "trouble"],
] as const)("a %d is %s: no invalidation is at fault", async (status, outcome) => {
  const error = { error: { code: "x", message: "no such store" } }
  const driver = create(transportTo(() => Response.json(error, { status })).fetch)
  expect(await driver.purge(sample("everything", "purge"), soon())).toMatchObject({
    outcome,
    detail: expect.stringContaining("no such store"),
  })
})
