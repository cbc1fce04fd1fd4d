import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { folder, run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const ANSWER = {
  rule: 1,
  rules: [1],
  invalidations: [
    {
      namespace: "blog",
      mode: "purge",
      tags: ["post-1"],
      prefixes: ["https://www.example.com/a/"],
      passes: [{ kind: "second", seconds: 20 }],
    },
  ],
  targets: {
    "www-cloudfront": { calls: 2, widened: [], cost: 0.01, seconds: 60 },
    "www-varnish": {
      calls: 2,
      widened: [{ namespace: "blog", selector: "https://www.example.com/a/", as: "purge" }],
      cost: 0,
      seconds: 0,
    },
  },
  notes: ["something to know"],
}

async function explain(args: readonly string[], exchanges: readonly Exchange[]) {
  await using worker = await fakeWorker(TOKEN, exchanges)
  const result = await run(["explain", ...args], { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
  expect(worker.complaints()).toEqual([])
  return result
}

const post = (body: unknown): Exchange => ({ method: "POST", path: "/v1/explain", body, answer: ANSWER })

it("asks what a publish would do, and shows it", async () => {
  const invalidation = { namespace: "blog", tags: ["post-1"], mode: "purge" }
  const { code, stdout, stderr } = await explain(
    ["blog", "--tag", "post-1", "--mode", "purge"],
    [post({ invalidation })],
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(stdout.replaceAll(/ {2,}/g, "  ").replaceAll(/ +$/gm, "")).toBe(`NAMESPACE  MODE  WHAT  PASSES
blog  purge  tag post-1, prefix https://www.example.com/a/  second after 20 s

TARGET  CALLS  TAKES  COSTS
www-cloudfront  2  60 s  $0.01
www-varnish  2  0 s  -

TARGET  SAID WIDER OR HARDER  AS
www-varnish  https://www.example.com/a/  purge

something to know
`)
})

it("asks what a webhook would do, with its body from a file and its headers", async () => {
  await using place = await folder()
  const file = join(place.path, "body.json")
  await writeFile(file, '{"a": 1}')
  const body = { source: "cms", headers: { "x-topic": "A: b" }, body: '{"a": 1}' }
  const args = ["--source", "cms", "--header", "x-topic: A: b", "--body", file]
  const { code, stdout } = await explain(args, [post(body)])
  expect([code, stdout.split("\n")[0]]).toEqual([0, "rule 1, counted from 0, matches"])
})

it("prints the answer as it came with --json", async () => {
  const { stdout } = await explain(["blog", "--json"], [post({ invalidation: { namespace: "blog" } })])
  expect(JSON.parse(stdout)).toEqual(ANSWER)
})

it.each([
  [["blog", "--source", "cms"], "do not go together"],
  [["--source", "cms", "--header", "nonsense"], "--header"],
  [["--source", "cms", "--body", "/nowhere/at/all"], "ENOENT"],
  [["blog", "--tag", ""], "was not sent"],
])("%j is wrong usage", async (args, why) => {
  const { code, stderr } = await explain(args, [])
  expect([code, stderr]).toEqual([2, expect.stringContaining(why)])
})

it("says so where somebody else answers", async () => {
  const { code, stderr } = await explain(
    ["blog"],
    [{ ...post({ invalidation: { namespace: "blog" } }), answer: {} }],
  )
  expect([code, stderr]).toEqual([1, expect.stringContaining("is that a Tidemark?")])
})
