import { expect, it, onTestFinished } from "vitest"
import { startEdge } from "../support/edge.ts"
import { fakeVendor } from "../support/fake-vendor.ts"
import { startRelayProcess, TOKENS, tokenConfig } from "../support/relay-process.ts"

/** How many, one after the other. */
const PUBLISHES = 40

// `npm run engines` runs this on every engine: see docs/engines.md.
it("forty publishes go through Worker, gateway, Redis and relay to a CDN, and each is recorded as done", async () => {
  const vendor = await fakeVendor()
  onTestFinished(async () => {
    await vendor[Symbol.asyncDispose]()
    expect(vendor.complaints).toEqual([])
  })
  const config = {
    namespaces: { blog: { hosts: ["www.example.com"] } },
    targets: {
      cdn: {
        type: "http" as const,
        url: vendor.hookUrl,
        secret: { secret: "HOOK_SECRET" },
        namespaces: ["*"],
      },
    },
    relay: { lease: "1s", poll: "1s" } as const,
  }
  const secrets = { HOOK_SECRET: vendor.hookSecret }
  const edge = await startEdge({ config, secrets, scopes: { deploy: ["publish:*", "read:*"] } })
  onTestFinished(() => edge.stop())
  await using relay = await startRelayProcess({
    redisUrl: edge.redis.url,
    config: { ...config, tokens: await tokenConfig() },
    env: secrets,
  })
  await relay.ready
  vendor.forget()

  const publish = (tag: string, headers: Readonly<Record<string, string>> = {}) =>
    edge.call("POST", "/v1/invalidations", {
      token: edge.tokens["deploy"] ?? "",
      body: { namespace: "blog", tags: [tag] },
      headers,
    })
  const tags = Array.from({ length: PUBLISHES }, (_, index) => `post-${index}`)
  const answers: number[] = []
  for (const tag of tags) answers.push((await publish(tag)).status)
  expect(answers).toEqual(tags.map(() => 202))

  const waited = await publish("last", { prefer: "wait=30" })
  expect([waited.status, waited.json.state]).toEqual([200, "done"])
  // A lane goes in the log's order: what was published before is purged too.
  const purged = vendor.deliveries.flatMap(({ data }) => data.tags)
  expect(new Set(purged)).toEqual(new Set([...tags, "last"]))
  expect(vendor.deliveries.some(({ data }) => data.everything || data.namespaces.length > 0)).toBe(false)

  expect((await relay.get("/readyz")).status).toBe(200)
  const { items } = await relay.json("/v1/lanes", TOKENS.operator)
  expect(items).toMatchObject([{ lag: { entries: 0 } }])
})
