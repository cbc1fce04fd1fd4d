import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { doneTarget, ID, pendingTarget, problemOf, recordOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const read = (members: Partial<Exchange>): Exchange => ({
  method: "GET",
  path: `/v1/invalidations/${ID}`,
  answer: recordOf(),
  ...members,
})

async function status(args: readonly string[], exchanges: readonly Exchange[]) {
  await using worker = await fakeWorker(TOKEN, exchanges)
  const result = await run(["status", ID, ...args], {
    env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(worker.complaints()).toEqual([])
  return result
}

const pending = recordOf({ state: "pending", targets: { "www-varnish": pendingTarget } })
const failed = recordOf({ state: "failed", targets: { "www-varnish": { ...pendingTarget, state: "dead" } } })
const unknown = problemOf(404, "not_found", "There is no such invalidation.")

it("shows all that a record tells", async () => {
  const answer = recordOf({
    state: "pending",
    urls: ["https://www.example.com/a"],
    reason: "a typo",
    entity: { type: "post", id: 42 },
    by: { source: "contentful-main" },
    passes: [
      { kind: "settle", epoch: 1763672410000000, at: "2025-11-20T21:00:10.000Z" },
      { kind: "second", epoch: null, at: null },
    ],
    targets: {
      "www-varnish": doneTarget,
      "www-cloudflare": {
        ...pendingTarget,
        state: "retrying",
        attempts: 2,
        as: "namespace",
        error: "429 from the vendor",
        calls: [{ status: 429 }],
      },
    },
  })
  const { code, stdout, stderr } = await status([], [read({ answer })])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(stdout).toBe(`invalidation ${ID}
  state      pending
  namespace  blog
  mode       invalidate
  accepted   2025-11-20T21:00:00.000Z from source contentful-main
  reason     a typo
  entity     post 42
  pass       settle as 1763672410000000 at 2025-11-20T21:00:10.000Z
  pass       second to come
  what       tag post-42
  what       url https://www.example.com/a

TARGET          STATE     AFTER  CALLS           SENT AS    ERROR
www-varnish     done      35 ms  200 v-1         -          -
www-cloudflare  retrying  -      429; attempt 2  namespace  429 from the vendor
`)
})

it.for([
  [{ namespace: "blog", tags: undefined }, "the whole namespace"],
  [{ namespace: null, tags: undefined, everything: true }, "everything"],
  [
    { namespace: null, tags: undefined, resync: true, cause: "the log was lost", by: { relay: "r-1" } },
    "resync",
  ],
] as const)("says what is meant where nothing is selected: %j", async ([members, what]) => {
  const { stdout } = await status([], [read({ answer: recordOf({ ...members, targets: {} }) })])
  expect(stdout).toContain(`  what       ${what}\n`)
  expect(stdout).toContain("no target is concerned")
})

describe("the exit code", () => {
  it.for([recordOf(), pending, failed])("without --watch is 0 when it could be read", async (answer) => {
    const { code, stdout } = await status(["--json"], [read({ answer })])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(answer)
  })

  it("is 1 where it is unknown", async () => {
    expect((await status([], [read({ status: 404, answer: unknown })])).code).toBe(1)
  })

  it.for([
    { end: "done", record: recordOf(), exit: 0 },
    { end: "failed", record: failed, exit: 1 },
  ])("with --watch is $exit once it is $end", async ({ record, exit }) => {
    const exchanges = [read({ answer: pending }), read({ answer: pending }), read({ answer: record })]
    const { code, stdout, stderr } = await status(["--watch", "--json"], exchanges)
    expect({ code, stderr }).toEqual({ code: exit, stderr: "" })
    expect(JSON.parse(stdout)).toEqual(record)
  })

  it("with --watch is 3 when the time is over", async () => {
    const { code, stdout, stderr } = await status(
      ["--watch", "--timeout", "0.4"],
      [read({ answer: pending, always: true })],
    )
    expect({ code, stderr }).toEqual({ code: 3, stderr: "still pending after 0.4 s\n" })
    expect(stdout).toContain("state      pending")
  })

  it("with --watch is 4 as soon as it is refused", async () => {
    const answer = problemOf(403, "insufficient_scope", "The token's scopes hold no read:.")
    expect((await status(["--watch"], [read({ status: 403, answer })])).code).toBe(4)
  })
})
