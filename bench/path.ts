/**
 * `npm run bench:path`: from a publish to the vendor's call, Tidemark beside the bare chain (the same script by a raw
 * fetch, a bare subscriber, a bare POST), both on raw workerd, in one run. Ratios count; absolute times are this
 * machine's.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as delay } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { Pool } from "undici"
import { bundleWorker } from "../cli/dev/bundle.ts"
import { startRedis } from "../cli/servers/redis.ts"
import { workerEntry } from "../cli/worker-entry.ts"
import { parseConfig } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { publishScript } from "../protocol/scripts.gen.ts"
import { hashToken, newToken } from "../protocol/tokens.ts"
import { startGateway } from "../relay-node/gateway/gateway.ts"
import { writeResults } from "./support/results.ts"
import { median, ms, quantile } from "./support/statistics.ts"
import { startVendor, type Vendor } from "./support/vendor.ts"
import { serveRaw } from "./support/workerd.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const ROUNDS = 4
const SEQUENTIAL = 200
const RATE = 200
const RATE_SECONDS = 2

interface Chain {
  readonly name: string
  readonly vendor: Vendor
  publish(tag: string): Promise<void>
}

interface Samples {
  /** From the publish to its acknowledgement. */
  readonly acknowledged: number[]
  /** From the publish to the vendor's call. */
  readonly purged: number[]
}

const line = (text: string) => process.stderr.write(`${text}\n`)

/** Waits for the first line of a child's standard output. */
async function firstLine(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error("no standard output")
  const [text] = (await once(createInterface({ input: child.stdout }), "line")) as [string]
  return text
}

async function measure(
  chain: Chain,
  samples: Samples,
  tags: readonly string[],
  every: number,
): Promise<void> {
  const pending: Promise<void>[] = []
  const began = performance.now()
  for (const [index, tag] of tags.entries()) {
    if (every > 0) await delay(Math.max(0, began + index * every - performance.now()))
    // In an open loop the clock starts when the publish was due: waiting counts.
    const start = every > 0 ? began + index * every : performance.now()
    const published = chain.publish(tag).then(() => void samples.acknowledged.push(performance.now() - start))
    if (every === 0) {
      await published
      while (!chain.vendor.seen.has(tag)) await new Promise((next) => setImmediate(next))
      samples.purged.push((chain.vendor.seen.get(tag) ?? Number.NaN) - start)
    } else {
      pending.push(
        published.then(async () => {
          while (!chain.vendor.seen.has(tag)) await delay(1)
          samples.purged.push((chain.vendor.seen.get(tag) ?? Number.NaN) - start)
        }),
      )
    }
  }
  await Promise.all(pending)
}

const poster = (url: string, token: string) => {
  const pool = new Pool(new URL(url).origin, { connections: 64 })
  const { pathname } = new URL(url)
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
  return {
    async publish(tag: string) {
      const { statusCode, body } = await pool.request({
        path: pathname,
        method: "POST",
        headers,
        body: JSON.stringify({ namespace: "blog", tags: [tag] }),
      })
      await body.dump()
      if (statusCode !== 202) throw new Error(`a publish was answered ${statusCode}`)
    },
    close: () => pool.close(),
  }
}

async function main(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-path-"))
  const closers: (() => unknown)[] = [() => rm(directory, { recursive: true, force: true })]
  try {
    line("starting redis, gateway, two Workers on workerd, the relay and a bare subscriber …")
    const redis = await startRedis({ onProgress: line })
    closers.push(() => redis.stop())
    const restToken = newToken()
    const gateway = await startGateway({ redisUrl: redis.url, token: restToken, port: 0, allCommands: true })
    closers.push(() => gateway.close())

    const tidemarkVendor = await startVendor((body) => (body as { data: { tags: string[] } }).data.tags)
    const bareVendor = await startVendor((body) => (body as { tags: string[] }).tags)
    closers.push(
      () => tidemarkVendor.close(),
      () => bareVendor.close(),
    )

    const token = newToken()
    const config: ConfigInput = {
      tokens: [{ name: "bench", sha256: await hashToken(token), scopes: ["publish:*", "read:*", "metrics"] }],
      namespaces: { blog: {} },
      targets: {
        cdn: { type: "http", url: tidemarkVendor.url, secret: { secret: "CDN_SECRET" }, namespaces: ["*"] },
      },
    }
    const configPath = join(directory, "tidemark.config.mjs")
    await writeFile(configPath, `export default ${JSON.stringify(config)}\n`)
    const script = await bundleWorker(workerEntry(parseConfig(config)), configPath)
    const bindings = { UPSTASH_REDIS_REST_URL: gateway.url, UPSTASH_REDIS_REST_TOKEN: restToken }
    const worker = await serveRaw(script, bindings)
    closers.push(() => worker.stop())
    const relay = spawn(process.execPath, [join(root, "cli/tidemark.js"), "relay"], {
      env: {
        ...process.env,
        REDIS_URL: redis.url,
        TIDEMARK_CONFIG: configPath,
        TIDEMARK_RELAY_PORT: "0",
        LOG_LEVEL: "error",
        CDN_SECRET: `whsec_${Buffer.alloc(24, 1).toString("base64")}`,
      },
      stdio: ["ignore", "pipe", "inherit"],
    })
    closers.push(() => relay.kill())
    await firstLine(relay)

    const bareScript = await build({
      entryPoints: [join(root, "bench/bare/worker.ts")],
      bundle: true,
      format: "esm",
      write: false,
    })
    const bareWorker = await serveRaw(bareScript.outputFiles[0]?.text ?? "", {
      REST_URL: gateway.url,
      REST_TOKEN: restToken,
      SHA1: publishScript.sha1,
    })
    closers.push(() => bareWorker.stop())
    const subscriber = spawn(
      process.execPath,
      [join(root, "bench/bare/subscriber.ts"), redis.url, bareVendor.url],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    )
    closers.push(() => subscriber.kill())
    await firstLine(subscriber)

    const ours = poster(`${worker.url}/v1/invalidations`, token)
    const bare = poster(`${bareWorker.url}/`, restToken)
    closers.push(
      () => ours.close(),
      () => bare.close(),
    )
    const chains: Chain[] = [
      { name: "Tidemark", vendor: tidemarkVendor, publish: (tag) => ours.publish(tag) },
      { name: "bare chain", vendor: bareVendor, publish: (tag) => bare.publish(tag) },
    ]

    // The script must be known to the server before the bare chain may name it by its digest alone.
    for (const chain of chains) {
      const warm: Samples = { acknowledged: [], purged: [] }
      await measure(chain, warm, tagsOf(`warm-${chain.name}`, 100), 0)
    }
    const results = new Map<string, Samples>()
    for (let round = 0; round < ROUNDS; round += 1) {
      line(`round ${round + 1} of ${ROUNDS}`)
      // The order is reversed every other round, as whoever is first is measured on another machine state.
      for (const chain of round % 2 === 0 ? chains : chains.toReversed()) {
        for (const [mode, count, every] of [
          ["sequential", SEQUENTIAL, 0],
          [`${RATE}/s open loop`, RATE * RATE_SECONDS, 1000 / RATE],
        ] as const) {
          const key = `${mode}\n${chain.name}`
          const samples = results.get(key) ?? { acknowledged: [], purged: [] }
          results.set(key, samples)
          await measure(chain, samples, tagsOf(`${round}-${mode}-${chain.name}`, count), every)
        }
      }
    }
    await report(results, chains)
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

const tagsOf = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`.replaceAll(/[^a-zA-Z0-9-]/g, "_"))

async function report(results: ReadonlyMap<string, Samples>, chains: readonly Chain[]): Promise<void> {
  const rows = [...results].map(([key, { acknowledged, purged }]) => {
    const [mode, chain] = key.split("\n")
    return {
      mode,
      chain,
      publishes: purged.length,
      "ack p50": ms(median(acknowledged)),
      "ack p99": ms(quantile(acknowledged, 0.99)),
      "purge p50": ms(median(purged)),
      "purge p99": ms(quantile(purged, 0.99)),
    }
  })
  const table = rows.toSorted(
    (a, b) => (a.mode ?? "").localeCompare(b.mode ?? "") || (a.chain ?? "").localeCompare(b.chain ?? ""),
  )
  console.log("publish to the vendor's call, milliseconds\n")
  console.table(table)
  for (const mode of new Set(table.map((row) => row.mode))) {
    const [ours, bare] = ["Tidemark", "bare chain"].map((name) =>
      table.find((row) => row.mode === mode && row.chain === name),
    )
    if (!ours || !bare) continue
    const ratio = (column: "purge p50" | "purge p99") =>
      (Number(ours[column]) / Number(bare[column])).toFixed(2)
    console.log(`${mode}: Tidemark / bare = ${ratio("purge p50")} (p50), ${ratio("purge p99")} (p99)`)
  }
  for (const chain of chains) console.log(`${chain.name}: ${chain.vendor.calls()} vendor calls`)
  await writeResults("path", { rows: table })
}

await main()
process.exit(0)
