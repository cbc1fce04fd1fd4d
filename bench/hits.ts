/**
 * `npm run bench:lookup`, its second part: what a hit costs. A judgement that memory answers beside a bare `Map.get` and
 * a date check; a page from the cache through our middleware beside Hono's own, on raw workerd over one and the same
 * cache. Ratios count; absolute times are this machine's.
 */
import { Pool } from "undici"
import { createTidemark } from "../client/index.ts"
import { writeResults } from "./support/results.ts"
import { bundled, versionsOf } from "./support/stage.ts"
import { median, ratios, spread } from "./support/statistics.ts"
import { serveRaw } from "./support/workerd.ts"

const ROUNDS = 15
/** Rounds before those that count: both middlewares get faster for some 10,000 requests, and not by the same. */
const WARM_UP = 3
const JUDGEMENTS = 200_000
const REQUESTS = 4_000
const CONNECTIONS = 32

const line = (text: string) => process.stderr.write(`${text}\n`)

type Samples = Map<string, number[]>

/** Runs what is compared in turns, and in the other order every other round. */
async function inTurns(names: readonly string[], one: (name: string) => Promise<number>): Promise<Samples> {
  const samples: Samples = new Map(names.map((name) => [name, []]))
  for (let round = -WARM_UP; round < ROUNDS; round += 1)
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const value = await one(name)
      if (round >= 0) samples.get(name)?.push(value)
    }
  return samples
}

/** Nanoseconds a judgement, each awaited, as a request would. */
async function judgements(): Promise<Samples> {
  const epochs = new Map<string, { readonly epoch: number; readonly until: number }>()
  for (let tag = 0; tag < 1_000; tag += 1)
    epochs.set(`post-${tag}`, { epoch: 5, until: Date.now() + 3_600_000 })
  const bare = async (stamp: number, tag: string): Promise<boolean> => {
    const known = epochs.get(tag)
    return known !== undefined && Date.now() < known.until && stamp >= known.epoch
  }
  const row = { epoch: 1, watermark: 9, hard: 1, floor: 1 }
  const tags = new Map(Array.from({ length: 100 }, (_, tag): [string, number] => [`post-${tag}`, 5]))
  const tidemark = createTidemark({
    store: {
      lookup: async () => ({
        tenant: "default",
        generation: 1,
        last: 9,
        asOf: Date.now(),
        namespaces: new Map([["blog", { ...row, tags }]]),
        after: 4,
        changed: new Map([["blog", tags]]),
      }),
    },
    ttl: 3_600_000,
    maxStale: 7_200_000,
  })
  const current = { generation: 1, epoch: 9 }
  const older = { generation: 1, epoch: 5 }
  const depends = (count: number) => ({ tags: Array.from({ length: count }, (_, tag) => `post-${tag}`) })
  const [one, ten, hundred] = [depends(1), depends(10), depends(100)]
  const subjects: Record<string, () => Promise<boolean>> = {
    "Map.get and a date check": () => bare(6, "post-7"),
    "above the watermark, 1 tag": () => tidemark.isFresh(current, "blog", one),
    "above the watermark, 100 tags": () => tidemark.isFresh(current, "blog", hundred),
    "by its tags, 1 tag": () => tidemark.isFresh(older, "blog", one),
    "by its tags, 10 tags": () => tidemark.isFresh(older, "blog", ten),
    "by its tags, 100 tags": () => tidemark.isFresh(older, "blog", hundred),
  }
  return inTurns(Object.keys(subjects), async (name) => {
    const judge = subjects[name]
    const count = name.includes("100") ? JUDGEMENTS / 10 : JUDGEMENTS
    const began = process.hrtime.bigint()
    for (let nth = 0; nth < count; nth += 1) if (!(await judge?.())) throw new Error(`${name}: not fresh`)
    return Number(process.hrtime.bigint() - began) / count
  })
}

/** Requests a second. */
async function pages(): Promise<Samples> {
  const worker = await serveRaw(
    await bundled("bench/bare/pages.ts"),
    {},
    { cache: await bundled("bench/bare/map-cache.ts") },
  )
  const pool = new Pool(worker.url, { connections: CONNECTIONS })
  const ask = async (path: string) => {
    const { statusCode, headers, body } = await pool.request({ path, method: "GET" })
    return { statusCode, headers, length: (await body.arrayBuffer()).byteLength }
  }
  try {
    const plain = await ask("/plain")
    for (const path of ["/cache", "/epochs"]) await ask(path)
    for (const [path, header, hit] of [
      ["/cache", "cf-cache-status", "HIT"],
      ["/epochs", "cache-status", "tidemark; hit"],
    ] as const) {
      const { headers, length } = await ask(path)
      if (headers[header] !== hit || length !== plain.length)
        throw new Error(`${path} is no hit: ${String(headers[header])}, ${length} bytes`)
    }
    return await inTurns(["/plain", "/cache", "/epochs"], async (path) => {
      let left = REQUESTS
      const work = async () => {
        while (left-- > 0) if ((await ask(path)).statusCode !== 200) throw new Error(`${path} failed`)
      }
      const began = performance.now()
      await Promise.all(Array.from({ length: CONNECTIONS }, work))
      return REQUESTS / ((performance.now() - began) / 1_000)
    })
  } finally {
    await pool.close()
    await worker.stop()
  }
}

const rowsOf = (samples: Samples, beside: string) =>
  [...samples].map(([name, values]) => ({
    name,
    median: spread(values),
    [`/ ${beside}`]: spread(ratios(values, samples.get(beside) ?? [])),
  }))

const MAP = "Map.get and a date check"
line(`judgements: ${ROUNDS} rounds of ${JUDGEMENTS} …`)
const judged = await judgements()
line(`pages: ${ROUNDS} rounds of ${REQUESTS} requests over ${CONNECTIONS} connections …`)
const served = await pages()
const ratio = (samples: Samples, name: string, beside: string) =>
  median(ratios(samples.get(name) ?? [], samples.get(beside) ?? []))
await writeResults({
  name: "hits",
  settings: {
    judgements: JUDGEMENTS,
    requests: REQUESTS,
    connections: CONNECTIONS,
    ...versionsOf("hono", "workerd"),
  },
  tables: [
    { title: "a judgement that memory answers, nanoseconds", rows: rowsOf(judged, MAP) },
    {
      title: "a page of 2 kB, requests a second; /cache is Hono's own middleware, /plain has no cache",
      rows: rowsOf(served, "/cache"),
    },
  ],
  aims: [
    {
      what: "a judgement from memory / Map.get and a date check",
      value: ratio(judged, "above the watermark, 1 tag", MAP),
      is: "at most",
      limit: 3,
    },
    {
      what: "a hit's requests a second / Hono's cache()",
      value: ratio(served, "/epochs", "/cache"),
      is: "at least",
      limit: 0.9,
    },
  ],
})
process.exit(0)
