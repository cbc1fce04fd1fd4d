/**
 * `npm run bench:intake`: a signed webhook, from its delivery to its answer, at Tidemark's Worker beside a route that
 * reads the body, verifies nothing and makes the same call to Redis; both on raw workerd, in one run. Ratios count;
 * absolute times are this machine's.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { createClient } from "redis"
import { Pool } from "undici"
import { bundleWorker } from "../cli/dev/bundle.ts"
import { contentfulPublish } from "../cli/demo/webhook.ts"
import { startRedis } from "../cli/servers/redis.ts"
import { workerEntry } from "../cli/worker-entry.ts"
import { parseConfig } from "../protocol/config/config.ts"
import { publishScript } from "../protocol/scripts.gen.ts"
import { newToken } from "../protocol/tokens.ts"
import { startGateway } from "../relay-node/gateway/gateway.ts"
import { writeResults } from "./support/results.ts"
import { median, ms, quantile } from "./support/statistics.ts"
import { serveRaw } from "./support/workerd.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const ROUNDS = 5
const SECRET = "c".repeat(64)
const PATH = "/v1/hooks/cms"
/** Deliveries under way at once, and how many of them a round has. */
const LOADS = [
  [1, 300],
  [64, 3_000],
] as const

const line = (text: string) => process.stderr.write(`${text}\n`)

interface Route {
  readonly name: string
  readonly pool: Pool
}

interface Samples {
  readonly latencies: number[]
  /** Deliveries a second, one a round. */
  readonly rates: number[]
}

let sent = 0

async function measure({ pool }: Route, atOnce: number, count: number, samples: Samples): Promise<void> {
  // Signed before the clock starts: it is the sender's work.
  const deliveries = Array.from({ length: count }, () => {
    sent += 1
    return contentfulPublish(SECRET, PATH, `entry-${sent}`, sent, Date.now())
  })
  const began = performance.now()
  let next = 0
  const work = async (): Promise<void> => {
    for (let delivery = deliveries[next++]; delivery; delivery = deliveries[next++]) {
      const start = performance.now()
      const { statusCode, body } = await pool.request({
        path: PATH,
        method: "POST",
        headers: delivery.headers,
        body: delivery.body,
      })
      const answer = (await body.json()) as { accepted?: number }
      if (statusCode !== 200 || answer.accepted !== 1)
        throw new Error(`answered ${statusCode}: ${JSON.stringify(answer)}`)
      samples.latencies.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  samples.rates.push(count / ((performance.now() - began) / 1000))
}

async function main(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-intake-"))
  const closers: (() => unknown)[] = [() => rm(directory, { recursive: true, force: true })]
  try {
    line("starting redis, gateway and two Workers on workerd …")
    const redis = await startRedis({ onProgress: line })
    closers.push(() => redis.stop())
    const restToken = newToken()
    const gateway = await startGateway({ redisUrl: redis.url, token: restToken, port: 0, allCommands: true })
    closers.push(() => gateway.close())
    const client = createClient({ url: redis.url, RESP: 2 })
    await client.connect()
    closers.push(() => client.destroy())

    const config = parseConfig({
      namespaces: { blog: {} },
      sources: {
        cms: { type: "contentful", secret: { secret: "CMS_SECRET" }, namespace: "blog", secondPass: "0" },
      },
    })
    const script = await bundleWorker(workerEntry(config), join(directory, "tidemark.config.mjs"))
    const worker = await serveRaw(script, {
      UPSTASH_REDIS_REST_URL: gateway.url,
      UPSTASH_REDIS_REST_TOKEN: restToken,
      CMS_SECRET: SECRET,
    })
    closers.push(() => worker.stop())
    const bareScript = await build({
      entryPoints: [join(root, "bench/bare/hook.ts")],
      bundle: true,
      format: "esm",
      write: false,
    })
    const bare = await serveRaw(bareScript.outputFiles[0]?.text ?? "", {
      REST_URL: gateway.url,
      REST_TOKEN: restToken,
      SHA1: publishScript.sha1,
    })
    closers.push(() => bare.stop())
    const routes: Route[] = [
      { name: "Tidemark", pool: new Pool(worker.url, { connections: 64 }) },
      { name: "bare route", pool: new Pool(bare.url, { connections: 64 }) },
    ]
    for (const { pool } of routes) closers.push(() => pool.close())

    // The script must be known to the server before the bare route may name it by its digest alone.
    for (const route of routes) await measure(route, 8, 200, { latencies: [], rates: [] })
    const results = new Map<string, Samples>()
    for (let round = 0; round < ROUNDS; round += 1) {
      line(`round ${round + 1} of ${ROUNDS}`)
      // The order is reversed every other round, as whoever is first is measured on another machine state.
      for (const route of round % 2 === 0 ? routes : routes.toReversed()) {
        for (const [atOnce, count] of LOADS) {
          const key = `${atOnce}\n${route.name}`
          const samples = results.get(key) ?? { latencies: [], rates: [] }
          results.set(key, samples)
          await measure(route, atOnce, count, samples)
        }
      }
    }
    // Each delivery is in a log, or the figures are of something else.
    const logged = (await client.xLen("tm:{default}:log")) + (await client.xLen("tm:{bare}:log"))
    if (logged !== sent) throw new Error(`${sent} deliveries, ${logged} log entries`)
    await report(results)
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

async function report(results: ReadonlyMap<string, Samples>): Promise<void> {
  const rows = [...results].map(([key, { latencies, rates }]) => {
    const [atOnce, route] = key.split("\n")
    return {
      "at once": Number(atOnce),
      route,
      deliveries: latencies.length,
      "a second": Math.round(median(rates)),
      p50: ms(median(latencies)),
      p99: ms(quantile(latencies, 0.99)),
    }
  })
  console.log("signed webhook to its answer, milliseconds\n")
  console.table(rows)
  for (const [atOnce] of LOADS) {
    const of = (name: string) => rows.find((row) => row["at once"] === atOnce && row.route === name)
    const [ours, bare] = [of("Tidemark"), of("bare route")]
    if (!ours || !bare) continue
    const rate = (ours["a second"] / bare["a second"]).toFixed(2)
    const p50 = (Number(ours.p50) / Number(bare.p50)).toFixed(2)
    console.log(`${atOnce} at once: Tidemark / bare = ${rate} (deliveries a second), ${p50} (p50)`)
  }
  await writeResults("intake", { rows })
}

await main()
process.exit(0)
