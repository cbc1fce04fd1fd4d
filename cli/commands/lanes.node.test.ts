import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { problemOf } from "../testing/records.ts"
import { run, start, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const POLLED = { timeout: 20_000, interval: 20 }

const head = { generation: 1763672400000000, epoch: 1763672400000009, seq: 9 }

const laneOf = (members: Readonly<Record<string, unknown>> = {}) => ({
  tenant: "default",
  target: "www-varnish",
  state: "idle",
  owner: null,
  cursor: head,
  head,
  lag: { entries: 0, ms: 0 },
  due: 0,
  dead: 0,
  ...members,
})

const read = (items: readonly object[], members: Partial<Exchange> = {}): Exchange => ({
  method: "GET",
  path: "/v1/lanes",
  answer: { items },
  ...members,
})

const envOf = (url: string) => ({ TIDEMARK_RELAY_URL: url, TIDEMARK_TOKEN: TOKEN })

async function lanes(args: readonly string[], exchanges: readonly Exchange[]) {
  await using relay = await fakeWorker(TOKEN, exchanges)
  const result = await run(["lanes", ...args], { env: envOf(relay.url) })
  expect(relay.complaints()).toEqual([])
  return result
}

const paused = laneOf({
  target: "www-cloudflare",
  state: "paused",
  owner: "r-1:7",
  lag: { entries: 12, ms: 250_000 },
  due: 2,
  dead: 3,
  error: "403: the token\u001b[31m is gone",
})
const off = {
  tenant: "default",
  target: "hook",
  state: "off",
  missing: ["HOOK_SECRET", "HOOK\u001b[31m_URL"],
}

it("shows how each target stands, and what is in trouble: exit 0 all the same", async () => {
  const { code, stdout, stderr } = await lanes([], [read([laneOf(), paused, off])])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(stdout).toBe(`\
TARGET          STATE   LAG  BEHIND      DUE  DEAD  OWNER  ERROR
www-varnish     idle    0    -           0    0     -      -
www-cloudflare  paused  12   4 min 10 s  2    3     r-1:7  403: the token\ufffd[31m is gone
hook            off     -    -           -    -     -      the environment holds no HOOK_SECRET, HOOK\ufffd[31m_URL

www-cloudflare is paused
www-cloudflare has dead letters: tidemark dead list www-cloudflare
hook is off
`)
})

it("says nothing of trouble where there is none", async () => {
  const { stdout } = await lanes([], [read([laneOf()])])
  expect(stdout.trimEnd().split("\n")).toHaveLength(2)
})

it("warns of what Redis does not tell the relay", async () => {
  const notes = { policy: "Redis does not say whether it evicts keys\u001b[31m", odd: 7 }
  const answer = { items: [laneOf()], notes }
  const { code, stdout, stderr } = await lanes([], [read([], { answer })])
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: "warning: Redis does not say whether it evicts keys\ufffd[31m\n",
  })
  expect(stdout).not.toContain("evicts")
})

it("says so where no target is configured", async () => {
  expect(await lanes([], [read([])])).toEqual({ code: 0, stdout: "no target is configured\n", stderr: "" })
})

it("prints the answer as one object with --json", async () => {
  const { code, stdout } = await lanes(["--json"], [read([laneOf(), paused, off])])
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toEqual({ items: [laneOf(), paused, off] })
})

it("takes no name of a target that could not be one", async () => {
  const { code, stdout } = await lanes([], [read([laneOf({ target: "../healthz" })])])
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
})

it("with --watch prints again what changed, through a relay that is away, until it is interrupted", async () => {
  const away = problemOf(503, "store_unavailable", "Redis did not answer.")
  await using relay = await fakeWorker(TOKEN, [
    read([laneOf()]),
    read([laneOf()]),
    read([], { status: 503, answer: away }),
    read([paused]),
    read([paused], { always: true }),
  ])
  const { child, output, finished } = start(["lanes", "--watch", "--json"], { env: envOf(relay.url) })
  await expect.poll(() => relay.count(), POLLED).toBeGreaterThanOrEqual(5)
  child.kill("SIGINT")
  const { code, stdout } = await finished
  expect(code).toBe(0)
  expect(
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([{ items: [laneOf()] }, { items: [paused] }])
  expect(output.stderr).toBe(
    "warning: Redis did not answer. (503 store_unavailable); trying again\nanswers again\n",
  )
  expect(relay.complaints()).toEqual([])
})
