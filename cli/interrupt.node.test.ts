import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "./testing/fake-worker.ts"
import { acceptedOf, ID, pendingTarget, recordOf } from "./testing/records.ts"
import { start, TOKEN } from "./testing/run.ts"
import { startOnTerminal } from "./testing/terminal.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const POLLED = { timeout: 30_000, interval: 20 }

const reads: Exchange = {
  method: "GET",
  path: `/v1/invalidations/${ID}`,
  answer: recordOf({ state: "pending", targets: { "www-varnish": pendingTarget } }),
  always: true,
}
const posts = (path: string, body: object): Exchange => ({
  method: "POST",
  path,
  body,
  status: 202,
  answer: acceptedOf(),
})

const WAITS = [
  { args: ["publish", "blog", "--wait=60"], before: [posts("/v1/invalidations", { namespace: "blog" })] },
  { args: ["resync", "--yes", "--wait=60"], before: [posts("/v1/resync", {})] },
  { args: ["status", ID, "--watch", "--timeout", "60"], before: [] },
] satisfies { args: string[]; before: Exchange[] }[]

const envOf = (url: string) => ({ TIDEMARK_URL: url, TIDEMARK_RELAY_URL: url, TIDEMARK_TOKEN: TOKEN })

it.for(WAITS.flatMap((one) => (["SIGINT", "SIGTERM"] as const).map((signal) => ({ ...one, signal }))))(
  "$args says what goes on, and how to ask for it, before it ends by $signal",
  async ({ args, before, signal }) => {
    await using part = await fakeWorker(TOKEN, [...before, reads])
    const { child, output, finished } = start(args, { env: envOf(part.url) })
    await expect.poll(part.count, POLLED).toBeGreaterThan(before.length + 1)
    child.kill(signal)
    await finished
    expect(child.signalCode).toBe(signal)
    expect(output.stderr).toContain(ID)
    expect(output.stderr).toContain(`see: tidemark status ${ID}`)
  },
)

it("with --json the answer is printed, which names the id", async () => {
  await using part = await fakeWorker(TOKEN, [posts("/v1/invalidations", { namespace: "blog" }), reads])
  const { child, finished } = start(["publish", "blog", "--json", "--wait=60"], { env: envOf(part.url) })
  await expect.poll(part.count, POLLED).toBeGreaterThan(2)
  child.kill("SIGINT")
  expect(JSON.parse((await finished).stdout)).toEqual(acceptedOf())
})

it("on a terminal the line of progress is taken away first, and Ctrl-C counts as such", async () => {
  await using part = await fakeWorker(TOKEN, [posts("/v1/invalidations", { namespace: "blog" }), reads])
  const { screen, type, finished } = startOnTerminal(["publish", "blog", "--wait=60"], envOf(part.url))
  await expect.poll(screen, POLLED).toContain("0 of 1 targets done")
  type("\u0003")
  expect(await finished).toBe(130)
  expect(screen()).toMatch(
    new RegExp(`\r\u001b\\[2Kaccepted ${ID}, and goes on; see: tidemark status ${ID}\n$`),
  )
})
