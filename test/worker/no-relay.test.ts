import { afterAll, beforeAll, expect, test } from "vitest"
import { run, start } from "../../cli/testing/run.ts"
import { RELAYS_KEY } from "../../protocol/keys.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** Whoever waits is told that nobody works: a wait that only ends says nothing of why. */

let edge: Edge
beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: { blog: {} },
      targets: {
        cdn: {
          type: "http",
          url: "https://purge.example/",
          secret: { secret: "HTTP_SECRET" },
          namespaces: ["*"],
        },
      },
      relay: { poll: "1s" },
    },
    scopes: { all: ["publish:*", "read:*"] },
    secrets: {},
  })
})
afterAll(() => edge.stop())

const env = () => ({ TIDEMARK_URL: edge.url, TIDEMARK_TOKEN: edge.tokens["all"] ?? "" })
const WARNING = "warning: of relays none is alive: nothing is purged until one runs (tidemark relay)\n"

const heartbeat = (at: number) => edge.store.pipeline([["ZADD", RELAYS_KEY, String(at), "relay-1"]])

async function pending(): Promise<{ id: string; noRelay?: boolean }> {
  const token = edge.tokens["all"] ?? ""
  const { json } = await edge.call("POST", "/v1/invalidations", { token, body: { namespace: "blog" } })
  return (await edge.call("GET", `/v1/invalidations/${json.id}`, { token })).json
}

test("a record that is pending says whether no relay is alive, by its heartbeat", async () => {
  expect(await pending()).toMatchObject({ state: "pending", noRelay: true })
  await heartbeat(Date.now())
  expect(await pending()).not.toHaveProperty("noRelay")
  // Three polls of a second, and ten.
  await heartbeat(Date.now() - 14_000)
  expect(await pending()).toMatchObject({ noRelay: true })
})

test("a wait says so at once, and only once", async () => {
  const { child, output, finished } = start(["publish", "blog", "--wait=60"], { env: env() })
  await expect.poll(() => output.stderr, { timeout: 30_000 }).toBe(WARNING)
  child.kill("SIGINT")
  expect((await finished).stderr.split(WARNING)).toHaveLength(2)
})

test("status shows it, and its answer holds it", async () => {
  const { id } = await pending()
  const { code, stdout } = await run(["status", id], { env: env() })
  expect(code).toBe(0)
  expect(stdout).toContain("  relay      none is alive: nothing is purged until one runs\n")
  expect(JSON.parse((await run(["status", id, "--json"], { env: env() })).stdout)).toMatchObject({
    noRelay: true,
  })
})

test("while one lives nothing is said", async () => {
  await heartbeat(Date.now() + 60_000)
  const { stderr } = await run(["publish", "blog", "--wait=1"], { env: env() })
  expect(stderr).not.toContain("relays")
})
