import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { acceptedOf, ID, pendingTarget, problemOf, recordOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const posted = (body: object, members: Partial<Exchange> = {}): Exchange => ({
  method: "POST",
  path: "/v1/resync",
  body,
  status: 202,
  answer: acceptedOf({ targets: ["www-varnish", "hook\u001b[31m"] }),
  ...members,
})

const read = (members: Partial<Exchange> = {}): Exchange => ({
  method: "GET",
  path: `/v1/invalidations/${ID}`,
  answer: recordOf(),
  ...members,
})

async function resync(args: readonly string[], exchanges: readonly Exchange[]) {
  await using relay = await fakeWorker(TOKEN, exchanges)
  const result = await run(["resync", "--yes", ...args], {
    env: { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(relay.complaints()).toEqual([])
  return result
}

it.for([
  { args: [], body: {}, what: "everything there is" },
  {
    args: ["catalog/products"],
    body: { namespace: "catalog/products" },
    what: "everything of catalog/products",
  },
])("$args says what it means", async ({ args, body, what }) => {
  expect(await resync(args, [posted(body)])).toEqual({
    code: 0,
    stdout: `accepted ${ID}\ngoes to www-varnish, hook\ufffd[31m\n`,
    stderr: `${what} is invalidated, in every target that it concerns and at request time\n`,
  })
})

it("prints the answer, and nothing else, with --json", async () => {
  const { code, stdout, stderr } = await resync(["blog", "--json"], [posted({ namespace: "blog" })])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(JSON.parse(stdout)).toMatchObject({ id: ID, targets: ["www-varnish", "hook\u001b[31m"] })
})

it("of a namespace that is not declared is exit 1, and says nothing of what was not done", async () => {
  const answer = problemOf(422, "unknown_namespace", "The namespace is not declared.")
  const { code, stdout, stderr } = await resync(
    ["blog"],
    [posted({ namespace: "blog" }, { status: 422, answer })],
  )
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
  expect(stderr).toBe("tidemark: The namespace is not declared. (422 unknown_namespace)\n")
})

it.for([
  { end: "done", record: recordOf(), exit: 0 },
  { end: "failed", record: recordOf({ state: "failed" }), exit: 1 },
  {
    end: "late",
    record: recordOf({ state: "pending", targets: { "www-varnish": pendingTarget } }),
    exit: 3,
  },
])("with --wait is $exit when it is $end", async ({ record, exit }) => {
  const exchanges = [posted({}), read({ answer: record, always: exit === 3 })]
  const { code, stdout } = await resync(["--json", "--wait", "0.4"], exchanges)
  expect(code).toBe(exit)
  expect(JSON.parse(stdout)).toEqual(record)
})
