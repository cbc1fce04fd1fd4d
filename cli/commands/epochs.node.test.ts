import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const EPOCH = 1763672400000000
const url = "https://www.example.com/a?b=c&d"

const lookup = {
  tenant: "default",
  generation: 1700000000000000,
  last: EPOCH,
  stamp: `1700000000000000.${EPOCH}`,
  asOf: 1763672400123,
  namespaces: {
    blog: {
      epoch: 0,
      watermark: EPOCH,
      hard: 0,
      floor: 1700000000000001,
      tags: { "post-42": EPOCH },
      urls: { [url]: EPOCH },
    },
  },
}

async function epochs(args: readonly string[], exchanges: readonly Exchange[]) {
  await using worker = await fakeWorker(TOKEN, exchanges)
  const result = await run(["epochs", "blog", ...args], {
    env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(worker.complaints()).toEqual([])
  return result
}

it("shows what a reader judges by, and what counts for a tag that is not known singly", async () => {
  const query = new URLSearchParams([
    ["ns", "blog"],
    ["tag", "blog:post-42"],
    ["tag", "blog:a:b"],
    ["url", `blog:${url}`],
  ])
  const path = `/v1/epochs?${query.toString()}`
  const args = ["--tag", "post-42", "--tag", "a:b", "--url", url]
  const { code, stdout, stderr } = await epochs(args, [{ method: "GET", path, answer: lookup }])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(stdout.replaceAll(/ {2,}/g, "  ")).toBe(`namespace  blog
stamp  1700000000000000.${EPOCH}
asked  2025-11-20T21:00:00.123Z
epoch  0  never
watermark  ${EPOCH}  2025-11-20T21:00:00.000Z
hard  0  never
floor  1700000000000001  2023-11-14T22:13:20.000Z
tag post-42  ${EPOCH}  2025-11-20T21:00:00.000Z
url ${url}  ${EPOCH}  2025-11-20T21:00:00.000Z
tag a:b  1700000000000001  2023-11-14T22:13:20.000Z  not known singly: the floor
`)
})

it("prints the answer as one object with --json", async () => {
  const { code, stdout } = await epochs(
    ["--json"],
    [{ method: "GET", path: "/v1/epochs?ns=blog", answer: lookup }],
  )
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toEqual(lookup)
})

it.for([
  [{ blog: { "post-42": EPOCH } }, `changed since:\ntag post-42  ${EPOCH}  2025-11-20T21:00:00.000Z\n`],
  [{ blog: {} }, "nothing changed singly since\n"],
  [{ blog: null }, "what changed since is not known, or is too much\n"],
] as const)("lists what changed since: %j", async ([changed, expected]) => {
  const path = "/v1/epochs?ns=blog&after=17"
  const { stdout } = await epochs(
    ["--after", "17"],
    [{ method: "GET", path, answer: { ...lookup, changed } }],
  )
  expect(stdout).toContain(`\n\n${expected}`)
})

it("shows that there is no log where nothing was ever published", async () => {
  const row = { epoch: 0, watermark: 0, hard: 0, floor: 0, tags: {}, urls: {} }
  const asOf = 1763672400123
  const last = asOf * 1_000
  const answer = { ...lookup, generation: 0, last, stamp: `0.${last}`, asOf, namespaces: { blog: row } }
  const { code, stdout } = await epochs([], [{ method: "GET", path: "/v1/epochs?ns=blog", answer }])
  expect(code).toBe(0)
  expect(stdout.replaceAll(/ {2,}/g, "  ")).toContain(
    "stamp  none  nothing was ever published: nothing is fresh\n",
  )
})
