import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { acceptedOf, doneTarget, ID, pendingTarget, problemOf, recordOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const posted = (body: unknown, members: Partial<Exchange> = {}): Exchange => ({
  method: "POST",
  path: "/v1/invalidations",
  body,
  status: 202,
  answer: acceptedOf(),
  ...members,
})

const read = (members: Partial<Exchange>): Exchange => ({
  method: "GET",
  path: `/v1/invalidations/${ID}`,
  answer: recordOf(),
  ...members,
})

async function publish(args: readonly string[], exchanges: readonly Exchange[]) {
  await using worker = await fakeWorker(TOKEN, exchanges)
  const result = await run(["publish", ...args], { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
  expect(worker.complaints()).toEqual([])
  expect(result.stdout + result.stderr).not.toContain(TOKEN)
  return result
}

describe("what is sent", () => {
  it.for([
    { args: ["blog"], body: { namespace: "blog" } },
    {
      args: ["catalog/products", "--tag", "a", "--tag", "b"],
      body: { namespace: "catalog/products", tags: ["a", "b"] },
    },
    {
      args: ["blog", "--url", "https://www.example.com/a", "--url", "https://www.example.com/b"],
      body: { namespace: "blog", urls: ["https://www.example.com/a", "https://www.example.com/b"] },
    },
    {
      args: [
        "--prefix",
        "https://www.example.com/x/",
        "--host",
        "www.example.com",
        "--mode",
        "purge",
        "blog",
      ],
      body: {
        namespace: "blog",
        prefixes: ["https://www.example.com/x/"],
        hosts: ["www.example.com"],
        mode: "purge",
      },
    },
    {
      args: ["--everything", "--yes", "--reason", "new layout"],
      body: { everything: true, reason: "new layout" },
    },
    {
      args: ["blog", "--mode", "invalidate", "--stale-for", "5m", "--settle", "500ms", "--second-pass", "0"],
      body: { namespace: "blog", mode: "invalidate", staleFor: "5m", settle: "500ms", secondPass: "0" },
    },
  ])("$args", async ({ args, body }) => {
    const { code, stdout, stderr } = await publish(args, [posted(body)])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toBe(`accepted ${ID}\ngoes to www-varnish\n`)
  })

  it("its idempotency key", async () => {
    const { code, stdout } = await publish(
      ["blog", "--idempotency-key", "build 17"],
      [
        posted(
          { namespace: "blog" },
          { headers: { "idempotency-key": "build 17" }, answer: acceptedOf({ duplicate: true }) },
        ),
      ],
    )
    expect(code).toBe(0)
    expect(stdout).toContain("as before: the key was used already")
  })
})

it("prints the answer as one object with --json", async () => {
  const answer = acceptedOf({ warnings: ["mind this"] })
  const { code, stdout, stderr } = await publish(
    ["blog", "--json"],
    [posted({ namespace: "blog" }, { answer })],
  )
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toEqual(answer)
  expect(stderr).toBe("warning: mind this\n")
})

it("says so where no target is concerned", async () => {
  const { stdout } = await publish(
    ["blog"],
    [posted({ namespace: "blog" }, { answer: acceptedOf({ targets: [] }) })],
  )
  expect(stdout).toContain("no target is concerned")
})

it("does not send what it can see is wrong, and tells all of it", async () => {
  const { code, stdout, stderr } = await publish(["bl og", "--tag", " x", "--url", "y", "--json"], [])
  expect(code).toBe(2)
  for (const pointer of ["/namespace", "/tags/0", "/urls/0"]) expect(stderr).toContain(`  ${pointer}: `)
  expect(JSON.parse(stdout)).toMatchObject({ code: "usage", errors: [{ pointer: "/namespace" }, {}, {}] })
})

describe("--wait", () => {
  const body = { namespace: "blog" }
  const pending = recordOf({ state: "pending", targets: { "www-varnish": pendingTarget } })

  it("reads the record until it is done: exit 0", async () => {
    const away = problemOf(503, "store_unavailable", "The store did not answer.")
    const exchanges = [
      posted(body),
      // A replica that lags, and a store that is away for a moment.
      read({ status: 404, answer: problemOf(404, "not_found", "There is no such invalidation.") }),
      read({ status: 503, answer: away }),
      read({ answer: pending }),
      read({ answer: recordOf() }),
    ]
    const { code, stdout, stderr } = await publish(["blog", "--wait", "10"], exchanges)
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toContain(`invalidation ${ID}\n  state      done\n`)
    expect(stdout).toMatch(/www-varnish +done +35 ms +200 v-1/)
  })

  it("ends with exit 1 when it has failed", async () => {
    const failed = recordOf({
      state: "failed",
      targets: {
        a: doneTarget,
        b: { ...pendingTarget, state: "dead", attempts: 3, error: "the zone is\u001b[31m gone" },
      },
    })
    const exchanges = [posted(body), read({ answer: failed })]
    const { code, stdout } = await publish(["blog", "--wait=5"], exchanges)
    expect(code).toBe(1)
    expect(stdout).toMatch(/b +dead +- +attempt 3 +- +the zone is\ufffd\[31m gone/)
  })

  it("ends with exit 3 when the time is over, with the record as it stands", async () => {
    for (const json of [false, true]) {
      const exchanges = [posted(body), read({ answer: pending, always: true })]
      const began = performance.now()
      const { code, stdout, stderr } = await publish(
        ["blog", "--wait", "0.5", ...(json ? ["--json"] : [])],
        exchanges,
      )
      expect(code).toBe(3)
      expect(performance.now() - began).toBeGreaterThan(450)
      expect(stderr).toContain(
        `accepted as ${ID}, but not known to be done; see: tidemark status ${ID} --watch`,
      )
      if (json) expect(JSON.parse(stdout)).toEqual(pending)
      else expect(stdout).toContain("pending")
    }
  })

  it("prints the record, and nothing else, with --json", async () => {
    const { code, stdout, stderr } = await publish(["blog", "--json", "--wait"], [posted(body), read({})])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(JSON.parse(stdout)).toEqual(recordOf())
  })

  it("is exit 3, at once, where the token may publish and not read: it was accepted all the same", async () => {
    const answer = problemOf(403, "insufficient_scope", "The token's scopes hold no read:.")
    const exchanges = [posted(body), read({ status: 403, answer })]
    const { code, stdout, stderr } = await publish(["blog", "--json", "--wait"], exchanges)
    expect(code).toBe(3)
    expect(JSON.parse(stdout)).toEqual(acceptedOf())
    expect(stderr).toContain("The token's scopes hold no read:.")
    expect(stderr).toContain(`accepted as ${ID}`)
  })

  it("is exit 3 where the record stays unknown", async () => {
    const answer = problemOf(404, "not_found", "There is no such invalidation.")
    const exchanges = [posted(body), read({ status: 404, answer, always: true })]
    expect((await publish(["blog", "--wait", "0.3"], exchanges)).code).toBe(3)
  })

  it("does not wait for what was refused", async () => {
    const answer = problemOf(422, "unknown_namespace", "The namespace is not declared.")
    expect((await publish(["blog", "--wait"], [posted(body, { status: 422, answer })])).code).toBe(1)
  })
})
