/**
 * `npm run bench:lookup`: what it costs to ask of every cached page whether it was invalidated. OpenNext's cache handler
 * is driven with its own tag caches, over D1 and over Durable Objects, and with ours over a real Worker and Redis, all in
 * one workerd. What is counted are calls, at the bindings and at Redis, and not times: here nothing is far away.
 */
import { writeResults } from "./support/results.ts"
import { setTimeout as delay } from "node:timers/promises"
import { SECOND } from "../protocol/time.ts"
import { installApart } from "../scripts/apart.ts"
import type { DrivenCaches } from "../test/frameworks/opennext/serve.ts"
import type { Counts, Kind } from "../test/frameworks/opennext/worker.ts"
import { type Edge, startEdge } from "../test/support/edge.ts"
import { type Publisher, publisher } from "../test/support/publish.ts"

const REQUESTS = 1_000
/** Requests between two publishes, where there are any. */
const BLOCK = 10
const PAGES = 20
const TAGS = [1, 10, 100] as const
/** Milliseconds that pass with each request: 1,000 take 30 s, and so six times the reader's freshness. */
const EVERY = 30
const TTL = 5 * SECOND
const IDLE = 300
const NAMES = {
  tidemark: "Tidemark",
  d1: "OpenNext, D1",
  do: "OpenNext, Durable Objects (4 shards)",
} as const satisfies Partial<Record<Kind, string>>

type Measured = keyof typeof NAMES

const line = (text: string) => process.stderr.write(`${text}\n`)

interface Bench {
  readonly caches: DrivenCaches
  readonly edge: Edge
  readonly publisher: Publisher
}

/** Pages of a cell's own. As in the App Router, some of the tags are those of the path. */
function pagesOf(cell: string, tags: number): Record<string, string[]> {
  const ofPath = tags === 1 ? 1 : tags === 10 ? 3 : 4
  return Object.fromEntries(
    Array.from({ length: PAGES }, (_, page) => [
      `/${cell}-${page}`,
      Array.from({ length: tags }, (__, nth) => `${nth < ofPath ? "_N_T_/" : ""}${cell}-${page}-${nth}`),
    ]),
  )
}

async function invalidate(bench: Bench, kind: Measured, tag: string): Promise<void> {
  // From elsewhere: nothing is known of it by having published it.
  if (kind === "tidemark") await bench.publisher.publish({ namespace: "site", tags: [tag], mode: "purge" })
  else await bench.caches.carry({ do: "revalidate", kind, tags: [tag] })
}

interface Cell {
  readonly tags: number
  readonly namespace: "quiet" | "busy"
  readonly kind: Measured
}

/** @throws when a page is served that was invalidated, or is not that was not */
async function measure(bench: Bench, { tags, namespace, kind }: Cell) {
  const { caches, edge } = bench
  const cell = `${kind}-${tags}-${namespace}`
  const pages = pagesOf(cell, tags)
  const keys = Object.keys(pages)
  await caches.carry({ do: "fill", kind, pages })

  const expectServed = async (asked: readonly string[], served: number, every: number): Promise<Counts> => {
    const seen = await caches.carry({ do: "visit", kind, pages: asked, every })
    if (seen.served === served) return seen.counts
    throw new Error(`${cell}: ${seen.served} of ${asked.length} pages were served, and not ${served}`)
  }
  await expectServed(keys, PAGES, 0)
  // The outcome first: what is counted below must be what tells an invalidated page.
  const [invalidated = "", ...others] = keys
  await invalidate(bench, kind, pages[invalidated]?.at(-1) ?? "")
  await expectServed(others.slice(0, 1), 1, 2 * TTL + 1)
  await expectServed(keys, PAGES - 1, 0)
  await caches.carry({ do: "fill", kind, pages })
  await expectServed(keys, PAGES, 0)

  // Look-ups in the background may still be under way, before as after.
  await delay(IDLE)
  let calls = 0
  edge.requests.length = 0
  for (let sent = 0; sent < REQUESTS; sent += BLOCK) {
    const asked = Array.from({ length: BLOCK }, (_, nth) => keys[(sent + nth) % PAGES] ?? "")
    const counts = await expectServed(asked, BLOCK, EVERY)
    calls += counts.d1 + counts.do + counts.kv + counts.fetch
    if (namespace === "busy") await invalidate(bench, kind, `other-${cell}-${sent}`)
  }
  const most = Math.ceil((REQUESTS * EVERY) / TTL) + 1
  if (kind === "tidemark" && (calls === 0 || calls > most))
    throw new Error(`${cell}: ${calls} look-ups, where the freshness allows ${most}`)
  await delay(IDLE)
  const redis = edge.requests.flatMap(({ commands }) => commands).length
  return { tags, namespace, "tag cache": NAMES[kind], calls, "a request": calls / REQUESTS, redis }
}

async function main(): Promise<void> {
  const closers: (() => unknown)[] = []
  try {
    await installApart("test/frameworks")
    line("starting redis, gateway and two Workers …")
    const edge = await startEdge({ config: { namespaces: { site: {} } }, scopes: { reader: ["epochs:*"] } })
    closers.push(() => edge.stop())
    const { startDrivenCaches } = await import("../test/frameworks/opennext/serve.ts")
    const caches = await startDrivenCaches({
      TIDEMARK_URL: edge.url,
      TIDEMARK_TOKEN: edge.tokens["reader"] ?? "",
    })
    closers.push(() => caches.stop())
    const bench = { caches, edge, publisher: publisher(edge.store, edge.config) }
    await bench.publisher.publish({ namespace: "site" })

    const rows = []
    for (const namespace of ["quiet", "busy"] as const) {
      for (const tags of TAGS) {
        for (const kind of Object.keys(NAMES) as Measured[]) {
          line(`${namespace}, ${tags} tags a page: ${NAMES[kind]}`)
          rows.push(await measure(bench, { tags, namespace, kind }))
        }
      }
    }
    await report(rows)
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

async function report(rows: readonly Awaited<ReturnType<typeof measure>>[]): Promise<void> {
  const title = [
    `${REQUESTS.toLocaleString("en")} requests for ${PAGES} cached pages within ${(REQUESTS * EVERY) / SECOND} s; busy: another tag is invalidated every ${BLOCK}.`,
    "Calls of tag caches only; the incremental cache is read once a request in any case.",
  ].join(" ")
  const table = rows.map(({ redis, ...row }) => ({
    ...row,
    "Redis commands": row["tag cache"] === NAMES.tidemark ? redis : "",
  }))
  const ours = rows.filter((row) => row["tag cache"] === NAMES.tidemark)
  await writeResults({
    name: "lookup",
    settings: { requests: REQUESTS, pages: PAGES, every: EVERY, freshness: TTL },
    tables: [{ title, rows: table }],
    aims: [
      {
        what: "look-ups for 1,000 requests in 30 s, whatever the tags",
        value: Math.max(...ours.map(({ calls }) => calls)),
        is: "at most",
        limit: Math.ceil((REQUESTS * EVERY) / TTL) + 1,
      },
    ],
    plots: {
      calls: {
        title: "Calls of the tag cache for 1,000 requests",
        data: { values: rows.map((row) => ({ ...row, who: row["tag cache"] })) },
        mark: "bar",
        encoding: {
          column: { field: "namespace", type: "nominal", title: null },
          x: { field: "tags", type: "ordinal", title: "tags a page" },
          xOffset: { field: "who", type: "nominal" },
          y: { field: "calls", type: "quantitative", scale: { type: "symlog" }, title: "calls" },
          color: { field: "who", type: "nominal", title: null },
        },
      },
    },
  })
}

await main()
process.exit(0)
