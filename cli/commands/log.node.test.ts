import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { recordOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const page = (query: string, epochs: readonly number[], next: number | null = null): Exchange => ({
  method: "GET",
  path: `/v1/invalidations?${query}`,
  answer: { items: epochs.map((epoch) => recordOf({ id: String(epoch), epoch })), next },
})

async function log(args: readonly string[], exchanges: readonly Exchange[]) {
  await using worker = await fakeWorker(TOKEN, exchanges)
  const result = await run(["log", ...args], { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
  expect(worker.complaints()).toEqual([])
  return result
}

const idsOf = (stdout: string): number[] =>
  [...stdout.matchAll(/ {2}(\d+) {2}blog/g)].map((match) => Number(match[1]))

const NEWEST = "before=9007199254740991"

it("lists the newest, newest last", async () => {
  const { code, stdout, stderr } = await log([], [page(`${NEWEST}&limit=100`, [30, 20, 10])])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(idsOf(stdout)).toEqual([10, 20, 30])
  expect(stdout.split("\n").slice(0, 2)).toEqual([
    "ACCEPTED                  ID  NAMESPACE  MODE        STATE  BY            WHAT",
    "2025-11-20T21:00:00.000Z  10  blog       invalidate  done   token deploy  tag post-42",
  ])
})

it("goes back from --before, and on from --after, which comes oldest first", async () => {
  expect(idsOf((await log(["--before", "30"], [page("before=30&limit=100", [20, 10])])).stdout)).toEqual([
    10, 20,
  ])
  expect(idsOf((await log(["--after", "10"], [page("after=10&limit=100", [20, 30])])).stdout)).toEqual([
    20, 30,
  ])
})

it("asks for a namespace", async () => {
  await log(["--ns", "catalog/products"], [page(`${NEWEST}&ns=catalog%2Fproducts&limit=100`, [])])
})

describe("pages", () => {
  it("are asked for until the limit is reached, and say how to go on", async () => {
    const exchanges = [
      page(`${NEWEST}&ns=blog&limit=3`, [90], 80),
      page("before=80&ns=blog&limit=3", [], 50),
      page("before=50&ns=blog&limit=3", [40, 30, 20], 20),
    ]
    const { stdout, stderr } = await log(["--ns", "blog", "--limit", "3"], exchanges)
    expect(idsOf(stdout)).toEqual([30, 40, 90])
    expect(stderr).toBe("there is more: --before 30\n")
  })

  it("are one answer with --json", async () => {
    const exchanges = [page(`${NEWEST}&limit=2`, [90], 80), page("before=80&limit=2", [70])]
    const { code, stdout } = await log(["--limit", "2", "--json"], exchanges)
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      items: [recordOf({ id: "90", epoch: 90 }), recordOf({ id: "70", epoch: 70 })],
      next: null,
    })
  })
})

it("says so where nothing was published", async () => {
  const result = await log([], [page(`${NEWEST}&limit=100`, [])])
  expect(result).toEqual({ code: 0, stdout: "", stderr: "nothing was published here\n" })
})
