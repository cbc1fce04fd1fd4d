/**
 * `npm run bench:drain`: a backlog, from when the relay is woken to when every lane's cursor is at the head, beside one
 * pass of XRANGE and JSON.parse over the same log. The same log is drained again and again: its lanes are put back to
 * its beginning. Ratios and counts matter; absolute times are this machine's.
 */
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { parseConfig } from "../protocol/config/config.ts"
import { parseHead } from "../protocol/epoch.ts"
import { cursorKey, headKey, logKey, wakeChannel } from "../protocol/keys.ts"
import { openStore, publisher } from "../test/support/publish.ts"
import { inTurns, line } from "./support/rounds.ts"
import { writeResults } from "./support/results.ts"
import { onStage, type Part, root, type Stage, usageOf, versionsOf } from "./support/stage.ts"
import { figure, median, ratios, spread } from "./support/statistics.ts"
import { startVendor, type Vendor } from "./support/vendor.ts"

const TENANT = "default"
const NAMESPACES = 1_000
const TAGS = 100_000
/** Of an http target: the vendor's size, by which the least possible number of calls is counted. */
const BATCH = 1_000
const SIZES: readonly number[] = process.env["TIDEMARK_BENCH_QUICK"]
  ? [1_000, 10_000]
  : [1_000, 10_000, 100_000, 1_000_000]
const LANES = [1, 3] as const
const LARGEST = SIZES.at(-1) ?? 0
const PATIENCE = 10 * 60_000
const LEASE = 5_000
const CDN_SECRET = `whsec_${Buffer.alloc(24, 1).toString("base64")}`
const FLOOR = "XRANGE and JSON.parse"
/** Of a plot, in pixels. */
const SIZE = { width: 560, height: 320 } as const
const nameOf = (lanes: number): string => `${lanes} lane${lanes === 1 ? "" : "s"}`

interface Drained {
  /** In milliseconds. */
  readonly took: number
  readonly calls: number
  /** Seconds of processor of whoever read the log. */
  readonly cpu: number
  /** Resident memory in megabytes, at its highest and before. */
  readonly peak: number
  readonly idle: number
}

/** As a relay that was away finds it: what it runs is compiled as it goes, of which a small backlog has little. */
const WARM_UP_BELOW = 10_000

const configOf = (vendors: readonly Vendor[]): ConfigInput => ({
  namespaces: { "*": { maxTags: TAGS } },
  log: { maxEntries: 2 * LARGEST },
  targets: Object.fromEntries(
    vendors.map(({ url }, index) => [
      `cdn-${index}`,
      { type: "http", url, secret: { secret: "CDN_SECRET" }, namespaces: ["*"] },
    ]),
  ),
})

/** The same sequence in every run. */
function* draws(): Generator<number> {
  let state = 1
  for (;;) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    yield (state >>> 8) % TAGS
  }
}

async function main(stage: Stage): Promise<void> {
  const redis = await stage.redis()
  const { store, close } = await openStore(redis.url)
  stage.onClose(close)
  const client = await stage.client(redis.url)
  const vendors = new Map<number, readonly Vendor[]>()
  for (const lanes of LANES) {
    const all: Vendor[] = []
    for (let nth = 0; nth < lanes; nth += 1) {
      const vendor = await startVendor((body) => (body as { data: { tags: string[] } }).data.tags)
      stage.onClose(() => vendor.close())
      all.push(vendor)
    }
    vendors.set(lanes, all)
  }

  const publish = publisher(store, parseConfig(configOf([])))
  const random = draws()
  const distinct = new Set<number>()
  let written = 0
  const fill = async (size: number): Promise<void> => {
    while (written < size) {
      const count = Math.min(5_000, size - written)
      const inputs = Array.from({ length: count }, () => {
        const tag = random.next().value as number
        distinct.add(tag)
        return { namespace: `site-${tag % NAMESPACES}`, tags: [`post-${tag}`] }
      })
      await publish.publish(...inputs)
      written += count
      if (written % 100_000 === 0) line(`${figure(written)} entries written`)
    }
  }

  const rows: Record<string, string | number>[] = []
  const points: { entries: number; what: string; seconds: number }[] = []
  const memory: { entries: number; what: string; megabytes: number }[] = []
  const found = new Map<string, number>()
  for (const size of SIZES) {
    await fill(size)
    const head = parseHead((await client.get(headKey(TENANT))) ?? "")
    const first = await client.xRange(logKey(TENANT), "-", "+", { COUNT: 1 })
    if (!head || (await client.xLen(logKey(TENANT))) !== size)
      throw new Error(`the log has ${await client.xLen(logKey(TENANT))} entries, not ${size}`)
    const start = Number(first?.[0]?.id.split("-")[0]) - 1
    const least = Math.ceil(distinct.size / BATCH)

    const floor = async (): Promise<Drained> => {
      const args = [join(root, "bench/bare/floor.ts"), redis.url, logKey(TENANT), `${head.epoch}-0`]
      const told = JSON.parse((await stage.node(args)).said) as {
        took: number
        entries: number
        tags: number
        cpu: number
      }
      if (told.entries !== size || told.tags !== size)
        throw new Error(`the floor read ${told.entries} of ${size}`)
      return { ...told, calls: 0, peak: Number.NaN, idle: Number.NaN }
    }
    const put = async (lanes: number, at: string): Promise<void> => {
      await client.del(cursorKey(TENANT))
      for (let nth = 0; nth < lanes; nth += 1) await client.hSet(cursorKey(TENANT), `cdn-${nth}`, `- ${at}`)
    }
    const level = `${head.generation} ${head.epoch} ${head.seq}`
    const isLevel = async () =>
      Object.values(await client.hGetAll(cursorKey(TENANT))).every((text) => text.endsWith(` ${level}`))

    const drainOnce = async (relay: Part, receivers: readonly Vendor[]) => {
      const calls = receivers.map((vendor) => vendor.calls())
      for (const { seen } of receivers) seen.clear()
      // While a lease is young its lane does not ask where its cursor is.
      await delay(LEASE / 2 + 100)
      const before = await usageOf(relay.pid)
      await put(receivers.length, `${head.generation} ${start} 1`)
      const began = performance.now()
      await client.publish(wakeChannel(TENANT, "site-0"), "{}")
      while (!(await isLevel())) {
        if (performance.now() - began > PATIENCE) throw new Error(`${size} entries were not drained`)
        await delay(size > 10_000 ? 10 : 1)
      }
      const took = performance.now() - began
      const { cpu } = await usageOf(relay.pid)
      for (const { seen } of receivers)
        if (seen.size !== distinct.size)
          throw new Error(`${seen.size} of ${distinct.size} tags were seen at the vendor`)
      const made = receivers.map((vendor, nth) => vendor.calls() - (calls[nth] ?? 0))
      return { took, calls: Math.max(...made), cpu: cpu - before.cpu }
    }
    // A relay of its own for each run, so that its highest memory is that of this backlog.
    const drain = async (lanes: number): Promise<Drained> => {
      const receivers = vendors.get(lanes) ?? []
      await put(lanes, level)
      const relay = await stage.relay(configOf(receivers), redis.url, { CDN_SECRET })
      const idle = await usageOf(relay.pid)
      if (size <= WARM_UP_BELOW) await drainOnce(relay, receivers)
      const drained = await drainOnce(relay, receivers)
      const { peak } = await usageOf(relay.pid)
      await relay.stop()
      return { ...drained, peak, idle: idle.rss }
    }

    const contenders = [
      ...LANES.map((lanes) => ({ name: nameOf(lanes), run: () => drain(lanes) })),
      { name: FLOOR, run: floor },
    ]
    const results = await inTurns(`${figure(size)} entries`, contenders, (one) => one.run())
    const floorTook = (results.get(FLOOR) ?? []).map(({ took }) => took)
    for (const [name, runs] of results) {
      const lanes = LANES.find((count) => nameOf(count) === name) ?? 1
      const rates = runs.map(({ took }) => (size * lanes) / (took / 1_000))
      const floorRates = floorTook.map((took) => size / (took / 1_000))
      const calls = Math.max(...runs.map((run) => run.calls))
      const peak = median(runs.map((run) => run.peak))
      rows.push({
        entries: size,
        who: name,
        "entries × lanes a second": spread(rates),
        "of the floor": name === FLOOR ? "1" : spread(ratios(rates, floorRates)),
        calls: name === FLOOR ? "" : calls,
        "the least": name === FLOOR ? "" : least,
        "memory, MB":
          name === FLOOR ? "" : `${figure(peak)} (idle ${figure(median(runs.map((run) => run.idle)))})`,
        "CPU s a million": figure(median(runs.map(({ cpu }) => (cpu / (size * lanes)) * 1e6))),
      })
      points.push({ entries: size, what: name, seconds: median(runs.map(({ took }) => took)) / 1_000 })
      if (name !== FLOOR) memory.push({ entries: size, what: name, megabytes: peak })
      found.set(`${size} ${name} rate`, median(ratios(rates, floorRates)))
      found.set(`${size} ${name} calls`, calls / least)
      found.set(`${size} ${name} memory`, peak)
    }
  }
  const value = (key: string) => found.get(`${LARGEST} ${key}`) ?? Number.NaN
  await writeResults({
    name: "drain",
    settings: { namespaces: NAMESPACES, tags: TAGS, batch: BATCH, ...versionsOf("redis", "undici") },
    tables: [{ title: "a backlog drained; medians, with the least and the most", rows }],
    aims: [
      { what: "one lane's rate / the floor's", value: value("1 lane rate"), is: "at least", limit: 0.5 },
      { what: "vendor calls / the least possible", value: value("1 lane calls"), is: "at most", limit: 1.05 },
      { what: "resident memory at its highest, MB", value: value("1 lane memory"), is: "below", limit: 200 },
    ],
    plots: {
      growth: {
        title: "Time to drain a backlog",
        ...SIZE,
        data: { values: points },
        mark: { type: "line", point: true },
        encoding: {
          x: { field: "entries", type: "quantitative", scale: { type: "log" }, title: "entries" },
          y: { field: "seconds", type: "quantitative", scale: { type: "log" }, title: "seconds" },
          color: { field: "what", type: "nominal", title: null },
        },
      },
      memory: {
        title: "Resident memory of the relay at its highest",
        ...SIZE,
        data: { values: memory },
        mark: { type: "line", point: true },
        encoding: {
          x: { field: "entries", type: "quantitative", scale: { type: "log" }, title: "entries" },
          y: { field: "megabytes", type: "quantitative", title: "MB" },
          color: { field: "what", type: "nominal", title: null },
        },
      },
    },
  })
}

await onStage(main)
