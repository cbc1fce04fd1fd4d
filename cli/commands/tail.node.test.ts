import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { problemOf, recordOf } from "../testing/records.ts"
import { start, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const page = (query: string, epochs: readonly number[], next: number | null = null): Exchange => ({
  method: "GET",
  path: `/v1/invalidations?${query}`,
  answer: { items: epochs.map((epoch) => recordOf({ id: String(epoch), epoch })), next },
})

const NEWEST = "before=9007199254740991"
const POLLED = { timeout: 20_000, interval: 20 }

const idsOf = (stdout: string): string[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => {
      const { id }: { id: string } = JSON.parse(line)
      return id
    })

describe("tail", () => {
  it.for(["SIGINT", "SIGTERM"] as const)(
    "begins with the newest, follows page by page, and ends with 0 on %s",
    async (signal) => {
      await using worker = await fakeWorker(TOKEN, [
        page(`${NEWEST}&ns=blog&limit=10`, [30, 20]),
        page("after=30&ns=blog", [40, 50], 50),
        page("after=50&ns=blog", [], 60),
        page("after=60&ns=blog", [70]),
        { ...page("after=70&ns=blog", []), always: true },
      ])
      const env = { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN }
      const { child, output, finished } = start(["tail", "--ns", "blog", "--json"], { env })
      await expect.poll(() => worker.count(), POLLED).toBeGreaterThanOrEqual(5)
      expect(idsOf(output.stdout)).toEqual(["20", "30", "40", "50", "70"])
      child.kill(signal)
      expect(await finished).toMatchObject({ code: 0, stderr: "" })
      expect(worker.complaints()).toEqual([])
    },
  )

  it("prints one line an entry", async () => {
    await using worker = await fakeWorker(TOKEN, [
      page(`${NEWEST}&limit=1`, [30]),
      {
        ...page("after=30", []),
        answer: { items: [recordOf({ tags: ["a", "b", "c", "d\u001b[31m"], reason: "a typo" })], next: null },
      },
      { ...page("after=1763672400000001", []), always: true },
    ])
    const env = { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN }
    const { child, output, finished } = start(["tail", "--lines", "0"], { env })
    await expect.poll(() => output.stdout, POLLED).toContain("\n")
    child.kill("SIGINT")
    expect(await finished).toEqual({
      code: 0,
      stdout:
        "2025-11-20T21:00:00.000Z  1763672400000001  blog  invalidate  tag a, tag b, tag c and 1 more  by token deploy (a typo)\n",
      stderr: "",
    })
  })

  it.for([
    { where: "the oldest of the newest, where it may see none of those", next: 90, after: 90 },
    { where: "the beginning, where those are all", next: null, after: 0 },
  ])("goes on from $where", async ({ next, after }) => {
    await using worker = await fakeWorker(TOKEN, [
      page(`${NEWEST}&limit=10`, [], next),
      { ...page(`after=${after}`, []), always: true },
    ])
    const env = { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN }
    const { child, finished } = start(["tail"], { env })
    await expect.poll(() => worker.count(), POLLED).toBeGreaterThanOrEqual(2)
    child.kill("SIGINT")
    expect((await finished).code).toBe(0)
    expect(worker.complaints()).toEqual([])
  })

  it("keeps on through a store that is away and a Worker that restarts", async () => {
    const env = { TIDEMARK_TOKEN: TOKEN }
    const away = problemOf(503, "store_unavailable", "The store did not answer.")
    const first = await fakeWorker(TOKEN, [
      page(`${NEWEST}&limit=10`, [30]),
      { ...page("after=30", []), status: 503, answer: away },
      page("after=30", [40]),
    ])
    const { child, output, finished } = start(["tail", "--json", "--url", first.url], { env })
    await expect.poll(() => output.stderr, POLLED).toContain("answers again")
    await first[Symbol.asyncDispose]()
    await expect.poll(() => output.stderr, POLLED).toContain("ECONNREFUSED; trying again")
    await using second = await fakeWorker(
      TOKEN,
      [page("after=40", [50]), { ...page("after=50", []), always: true }],
      first.port,
    )
    await expect.poll(() => second.count(), POLLED).toBeGreaterThanOrEqual(2)
    child.kill("SIGINT")
    const { code, stdout, stderr } = await finished
    expect(code).toBe(0)
    expect(idsOf(stdout)).toEqual(["30", "40", "50"])
    // Told once a trouble, however often it is tried.
    expect(stderr.match(/trying again/g)).toHaveLength(2)
    expect(stderr.match(/answers again/g)).toHaveLength(2)
    expect([...first.complaints(), ...second.complaints()]).toEqual([])
  })

  it("ends with 4 when its token is revoked meanwhile", async () => {
    const answer = problemOf(401, "unauthorized", "The token is not known, or no longer valid.")
    await using worker = await fakeWorker(TOKEN, [
      page(`${NEWEST}&limit=10`, [30]),
      { ...page("after=30", []), status: 401, answer },
    ])
    const { finished } = start(["tail"], { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
    expect((await finished).code).toBe(4)
  })

  it("ends quietly with its reader", async () => {
    await using worker = await fakeWorker(TOKEN, [
      page(`${NEWEST}&limit=10`, [30]),
      ...[30, 31, 32, 33].map((epoch) => page(`after=${epoch}`, [epoch + 1])),
    ])
    const { child, finished } = start(["tail"], { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
    child.stdout.once("data", () => child.stdout.destroy())
    expect(await finished).toMatchObject({ code: 0, stderr: "" })
  })
})
