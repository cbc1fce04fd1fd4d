import { createServer } from "node:http"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { expect, it } from "vitest"
import { RUNTIMES, runIn } from "./runtimes.ts"

const script = (name: string): string => join(import.meta.dirname, "runtimes", name)

it.each(RUNTIMES)(
  "%s keeps a page, serves it stale after a soft invalidation, and never after a hard one",
  async (runtime) => {
    const lines = await runIn(runtime, script("page.ts"))
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { what: "miss", status: "tidemark; fwd=uri-miss; stored", body: "page 1" },
      { what: "hit", status: "tidemark; hit", body: "page 1" },
      { what: "soft", status: "tidemark; hit; detail=stale-while-revalidate", body: "page 1" },
      { what: "after soft", status: "tidemark; hit", body: "page 2" },
      { what: "hard", status: "tidemark; fwd=stale; detail=purged; stored", body: "page 3" },
      { what: "after hard", status: "tidemark; hit", body: "page 3" },
    ])
  },
)

// Bytes of gzip went to clients that had asked for none; and on Deno, what was fetched compressed could not be read.
it.each(RUNTIMES)("%s lets nobody have an encoding that they cannot read", async (runtime) => {
  const origin = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html", "content-encoding": "gzip" })
    response.end(gzipSync("a fetched page"))
  })
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve))
  const address = origin.address()
  const port = typeof address === "object" ? address?.port : undefined
  try {
    const lines = await runIn(runtime, script("encodings.ts"), [`http://127.0.0.1:${port}`])
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      [200, "fwd=uri-miss; stored", "gzip", "gzip"],
      [200, "hit", "gzip", "gzip"],
      [200, "fwd=uri-miss; stored", "plain", null],
      [200, "hit", "plain", null],
      [200, "hit", "plain", null],
      [304, "hit", "", null],
      [200, "hit", "", "gzip"],
      [200, "fwd=uri-miss; stored", "a fetched page", null],
      [200, "hit", "a fetched page", null],
      [200, "hit", "a fetched page", null],
    ])
  } finally {
    await new Promise((resolve) => origin.close(resolve))
  }
})

it("is that runtime, and its oldest Node is one that Next.js 16 still runs on", async () => {
  const said = await Promise.all(
    RUNTIMES.map(async (runtime) =>
      (await runIn(runtime, script("version.ts"), ["one", "two"], { SAID: "three" })).join(" "),
    ),
  )
  expect(said).toEqual([
    expect.stringMatching(/^node 2[2-9]\S+ one two three$/),
    expect.stringMatching(/^node 20\S+ one two three$/),
    expect.stringMatching(/^bun 1\S+ one two three$/),
    expect.stringMatching(/^deno 2\S+ one two three$/),
  ])
})

it("says what a script printed that fails", async () => {
  await expect(runIn("node20", script("fails.ts"))).rejects.toThrow(
    /^node20 ended with 3:\nas far as this\n$/,
  )
})
