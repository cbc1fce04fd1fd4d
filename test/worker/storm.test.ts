import { afterAll, beforeAll, expect, test } from "vitest"
import { contentfulPublish } from "../../cli/demo/webhook.ts"
import { logKey } from "../../protocol/keys.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** A bulk publish in a CMS: hundreds of signed deliveries at once. None is refused, and each costs Redis one command. */
const SECRET = "c".repeat(64)
const PATH = "/v1/hooks/cms"
const MANY = 400
let edge: Edge

beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: { blog: {} },
      sources: { cms: { type: "contentful", secret: { secret: "CMS" }, namespace: "blog" } },
    },
    scopes: {},
    secrets: { CMS: SECRET },
  })
})
afterAll(() => edge.stop())

test("none of a burst is refused, each is one command, and a repeated one publishes nothing again", async () => {
  await edge.store.pipeline([["FLUSHALL"]])
  const deliveries = Array.from({ length: MANY }, (_, nth) =>
    contentfulPublish(SECRET, PATH, `entry-${nth}`, 1, Date.now()),
  )
  const send = async () => {
    const answers = await Promise.all(
      deliveries.map(({ headers, body }) => edge.call("POST", PATH, { headers, body })),
    )
    return answers.map(({ status, json, headers }) => [
      status,
      headers.get("content-type"),
      json.accepted,
      json.duplicate,
    ])
  }
  // The script is known to Redis by then.
  await send()
  await edge.store.pipeline([["FLUSHALL"]])
  edge.requests.length = 0
  const answers = await send()
  expect(new Set(answers.map((one) => JSON.stringify(one)))).toEqual(
    new Set([JSON.stringify([200, "application/json", 1, false])]),
  )
  expect(edge.requests).toHaveLength(MANY)
  expect((await send()).every(([, , , duplicate]) => duplicate)).toBe(true)
  const [length] = await edge.store.pipeline([["XLEN", logKey("default")]])
  expect(Number(length)).toBe(MANY)
})
