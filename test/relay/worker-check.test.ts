import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest"
import { createClient } from "redis"
import { startRedis } from "../../cli/servers/redis.ts"
import { type Edge, startEdge } from "../support/edge.ts"
import { fakeVendor } from "../support/fake-vendor.ts"
import { startRelayProcess } from "../support/relay-process.ts"
import { poll } from "./stage.ts"

let edge: Edge

const config = {
  namespaces: { blog: {} },
  relay: { poll: "200ms", lease: "1s", resync: { onIdentity: "report" as const } },
}

beforeAll(async () => {
  edge = await startEdge({ config, scopes: { all: ["publish:*", "epochs:*"], none: ["publish:*"] } })
})

afterAll(() => edge.stop())

async function relayOn(redisUrl: string, env: Record<string, string> = {}) {
  const vendor = await fakeVendor()
  onTestFinished(() => vendor[Symbol.asyncDispose]())
  const worker = { TIDEMARK_URL: edge.url, TIDEMARK_TOKEN: edge.tokens["all"] ?? "", ...env }
  const relay = await startRelayProcess({
    redisUrl,
    config: { ...config, tokens: edge.config.tokens },
    env: worker,
  })
  onTestFinished(() => relay[Symbol.asyncDispose]())
  return relay
}

async function adminOf(url: string) {
  const admin = createClient({ url })
  admin.on("error", () => {})
  await admin.connect()
  onTestFinished(() => admin.destroy())
  return admin
}

const publish = () =>
  edge.call("POST", "/v1/invalidations", {
    token: edge.tokens["all"] ?? "",
    body: { namespace: "blog", tags: ["a"] },
  })

const unready = async (relay: Awaited<ReturnType<typeof relayOn>>) =>
  ((await relay.json("/readyz", null)) as { unready?: Record<string, string> }).unready ?? {}

it("is content where Worker and relay have one database, while it is written to", async () => {
  const relay = await relayOn(edge.redis.url)
  await relay.ready
  for (let nth = 0; nth < 100; nth += 1) await publish()
  expect(await unready(relay)).toEqual({})
  expect(relay.log("worker:disagrees")).toEqual([])
})

it("turns red where the Worker has another database, and green again once it has the same", async () => {
  const other = await startRedis()
  onTestFinished(() => other.stop())
  await publish()
  const relay = await relayOn(other.url)
  await poll(() => unready(relay)).toEqual({ worker: expect.stringContaining("another generation") })
  expect((await relay.get("/readyz")).status).toBe(503)
  expect(relay.log("worker:disagrees")).toMatchObject([{ level: 40 }])
  expect(relay.stderr()).not.toContain(edge.tokens["all"])
  // Newer than what the relay saw: else it would take the change for a loss, and begin a generation of its own.
  await publish()
  const admin = await adminOf(other.url)
  await admin.replicaOf("127.0.0.1", Number(new URL(edge.redis.url).port))
  await poll(async () => (await admin.info("replication")).includes("master_link_status:up")).toBe(true)
  await admin.sendCommand(["REPLICAOF", "NO", "ONE"])
  await poll(() => unready(relay)).toEqual({})
})

// Its probe, its PINGs and its log are all as they should be.
it("turns red on an old primary that was cut off and goes on by itself", async () => {
  const old = await startRedis()
  onTestFinished(() => old.stop())
  const admin = await adminOf(edge.redis.url)
  const relay = await relayOn(old.url)
  const { port } = new URL(old.url)
  await admin.replicaOf("127.0.0.1", Number(port))
  await relay.ready
  await poll(async () => (await admin.info("replication")).includes("master_link_status:up")).toBe(true)
  await poll(() => admin.exists("tm:{default}:head")).toBe(1)
  // Promoted; the Worker publishes there from now on.
  await admin.sendCommand(["REPLICAOF", "NO", "ONE"])
  await poll(() => unready(relay)).toEqual({})
  await publish()
  await poll(() => unready(relay)).toEqual({ worker: expect.stringContaining("does not have") })
})

it("says nothing where the Worker does not answer, or not to this token", async () => {
  const gone = await relayOn(edge.redis.url, { TIDEMARK_URL: "http://127.0.0.1:1" })
  const refused = await relayOn(edge.redis.url, { TIDEMARK_TOKEN: edge.tokens["none"] ?? "" })
  await Promise.all([gone.ready, refused.ready])
  for (const relay of [gone, refused]) expect(await unready(relay)).toEqual({})
})

it.each([
  ["an address that is none", { TIDEMARK_URL: "redis://x" }, "TIDEMARK_URL"],
  ["a token that nobody knows", { TIDEMARK_TOKEN: "tm_unknown" }, "TIDEMARK_TOKEN"],
])("does not start with %s", async (_, env, named) => {
  const relay = await relayOn(edge.redis.url, env)
  expect(await relay.exited).toBe(2)
  expect(relay.stderr()).toContain(named)
  expect(relay.stderr()).not.toContain("tm_unknown")
})
