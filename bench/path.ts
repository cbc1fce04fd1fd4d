/**
 * `npm run bench:path`: from a publish to the vendor's call, Tidemark beside the bare chain (the same script by a raw
 * fetch, a bare subscriber, a bare POST), beside BullMQ as it comes, tuned, and tuned behind an edge function, and
 * beside a handler that calls the vendor itself; all in one run. Ratios count; absolute times are this machine's.
 */
import { setTimeout as delay } from "node:timers/promises"
import type { TopLevelSpec } from "vega-lite"
import { bullMqSettings } from "./peers/bullmq.ts"
import { type Chain, NAMES, startChains } from "./peers/chains.ts"
import { type Metronome, startMetronome } from "./support/metronome.ts"
import { type Aim, type Table, writeResults } from "./support/results.ts"
import { inTurns, line, ROUNDS } from "./support/rounds.ts"
import { onStage, type Stage, usageOf, versionsOf } from "./support/stage.ts"
import { figure, median, quantile, ratios, spread } from "./support/statistics.ts"

interface Load {
  readonly name: string
  readonly count: number
  /** Publishes a second, whatever became of those before. Default: each once the one before was purged. */
  readonly rate?: number
}

const SECONDS = 2
const SEQUENTIAL: Load = { name: "sequential", count: 400 }
const FULL: Load = openLoop(1_000)
const LOADS = [SEQUENTIAL, openLoop(100), openLoop(500), FULL]
/** A process of Node still gains in its second thousand of publishes, as what it runs is compiled. */
const WARM_UP: readonly Load[] = [
  { name: "warm-up, sequential", count: 2_000 },
  { name: "warm-up", count: 2_000, rate: 1_000 },
]
const PATIENCE = 30_000

/** A consumer killed when half of these were published, and started again after the pause. */
const KILLED: Load & { readonly rate: number } = { name: "killed in mid-run", count: 1_000, rate: 500 }
const PAUSE = 500
/** BullMQ finds what a dead worker held within 57 to 87 s, by its own defaults. */
const KILLED_PATIENCE = 90_000

const FIGURES = [
  "ack p50",
  "ack p99",
  "purge p50",
  "purge p99",
  "purge max",
  "vendor calls",
  "purges a second",
  "CPU s / 10,000",
] as const
type Figure = (typeof FIGURES)[number]
type Round = Readonly<Record<Figure, number>>

/** Rounds by load, then by chain. */
type Measured = ReadonlyMap<string, ReadonlyMap<string, readonly Round[]>>

interface Publishes {
  readonly tags: readonly string[]
  /** When each was due; `performance.now()`. */
  readonly due: ReadonlyMap<string, number>
  /** Milliseconds from when each was due to its acknowledgement. */
  readonly acknowledged: readonly number[]
}

function openLoop(rate: number): Load {
  return { name: `${figure(rate)} a second`, count: rate * SECONDS, rate }
}

let tagged = 0

/** None is ever used twice, so that a queue that drops what it knows has nothing to drop. */
const tagsOf = (count: number): string[] => Array.from({ length: count }, () => `post-${(tagged += 1)}`)

async function oneByOne({ publish, vendor }: Chain, count: number): Promise<Publishes> {
  const tags = tagsOf(count)
  const due = new Map<string, number>()
  const acknowledged: number[] = []
  for (const tag of tags) {
    const start = performance.now()
    due.set(tag, start)
    await publish(tag)
    acknowledged.push(performance.now() - start)
    const missing = await vendor.all([tag], PATIENCE)
    if (missing.length > 0) break
  }
  return { tags, due, acknowledged }
}

/** The clock of a publish starts when it was due: that it had to wait counts. */
async function atRate(
  { publish }: Chain,
  metronome: Metronome,
  { count, rate }: Required<Pick<Load, "count" | "rate">>,
  onBeat: (beat: number) => void = () => undefined,
): Promise<Publishes> {
  const tags = tagsOf(count)
  const due = new Map<string, number>()
  const acknowledged: number[] = []
  const failures: unknown[] = []
  const pending: Promise<unknown>[] = []
  await metronome.beat(count, 1_000 / rate, (beat, at) => {
    const tag = tags[beat] ?? ""
    due.set(tag, at)
    pending.push(
      publish(tag).then(
        () => acknowledged.push(performance.now() - at),
        (error: unknown) => failures.push(error),
      ),
    )
    onBeat(beat)
  })
  await Promise.all(pending)
  if (failures.length > 0)
    throw new AggregateError(failures, `${failures.length} of ${count} publishes failed`)
  return { tags, due, acknowledged }
}

/** @throws when a publish was not acknowledged, or its tag, or any other, was not seen as it should be */
async function measure(chain: Chain, metronome: Metronome, { name, count, rate }: Load): Promise<Round> {
  const { vendor, pids } = chain
  const before = { calls: vendor.calls(), seen: vendor.seen.size, repeats: vendor.repeats() }
  const cpu = await cpuOf(pids)
  const began = performance.now()
  const { tags, due, acknowledged } =
    rate === undefined ? await oneByOne(chain, count) : await atRate(chain, metronome, { count, rate })
  const missing = await vendor.all(tags, PATIENCE)
  if (missing.length > 0)
    throw new Error(`${chain.name}, ${name}: ${missing.length} of ${count} were not purged: ${missing[0]}`)
  if (acknowledged.length !== count || vendor.seen.size - before.seen !== count)
    throw new Error(
      `${chain.name}, ${name}: of ${count} ${acknowledged.length} were acknowledged, ${vendor.seen.size - before.seen} purged`,
    )
  const purged = purgedAfter(chain, due)
  const last = Math.max(...tags.map((tag) => vendor.seen.get(tag) ?? Number.NaN))
  return {
    "ack p50": median(acknowledged),
    "ack p99": quantile(acknowledged, 0.99),
    "purge p50": median(purged),
    "purge p99": quantile(purged, 0.99),
    "purge max": Math.max(...purged),
    "vendor calls": vendor.calls() - before.calls,
    "purges a second": (count / (last - (due.get(tags[0] ?? "") ?? began))) * 1_000,
    "CPU s / 10,000": (((await cpuOf(pids)) - cpu) / count) * 10_000,
  }
}

/** Milliseconds from when a publish was due to the vendor's call, of those that were seen there. */
const purgedAfter = ({ vendor }: Chain, due: ReadonlyMap<string, number>): number[] =>
  Array.from(due, ([tag, at]) => (vendor.seen.get(tag) ?? Number.NaN) - at).filter(
    (after) => !Number.isNaN(after),
  )

/** Seconds of processor. NaN where nothing tells them. */
async function cpuOf(pids: readonly number[]): Promise<number> {
  const usages = await Promise.all(pids.map((pid) => usageOf(pid).catch(() => undefined)))
  return usages.reduce((sum, usage) => sum + (usage?.cpu ?? Number.NaN), pids.length > 0 ? 0 : Number.NaN)
}

interface Killed {
  readonly name: string
  readonly published: number
  readonly arrived: number
  /** Milliseconds from when they were due, of those that were published while nobody, or another, called. */
  readonly after: readonly number[]
  /** In milliseconds, of all. */
  readonly latest: number
  readonly repeats: number
}

/** Kills whoever calls the vendor and starts another; resolves to the wait for what comes of it. */
async function kill(chain: Chain, metronome: Metronome): Promise<() => Promise<Killed>> {
  const { name, vendor, consumer } = chain
  if (!consumer) throw new Error(`${name} has no consumer that could be killed`)
  const before = vendor.repeats()
  let restarted: Promise<unknown> | undefined
  const restart = async () => {
    await consumer.part.stop("SIGKILL")
    await delay(PAUSE)
    return consumer.start()
  }
  const { tags, due } = await atRate(chain, metronome, KILLED, (beat) => {
    if (beat !== KILLED.count / 2) return
    restarted = restart()
    // Thrown below, where it is awaited.
    restarted.catch(() => undefined)
  })
  await restarted
  const waited = vendor.all(tags, KILLED_PATIENCE)
  return async () => ({
    name,
    published: tags.length,
    arrived: tags.length - (await waited).length,
    after: purgedAfter(chain, new Map([...due].slice(KILLED.count / 2))),
    latest: Math.max(...purgedAfter(chain, due)),
    repeats: vendor.repeats() - before,
  })
}

async function main(stage: Stage): Promise<void> {
  line(`starting ${Object.values(NAMES).join("; ")} …`)
  const chains = await startChains(stage, PATIENCE)
  const metronome = startMetronome()
  stage.onClose(() => metronome.stop())
  for (const load of WARM_UP) {
    await inTurns(load.name, chains, (chain) => measure(chain, metronome, load), 1)
  }
  const measured = new Map<string, ReadonlyMap<string, readonly Round[]>>()
  for (const load of LOADS) {
    measured.set(load.name, await inTurns(load.name, chains, (chain) => measure(chain, metronome, load)))
  }
  const killed: Killed[] = []
  if (!process.env["TIDEMARK_BENCH_QUICK"]) {
    const waits = []
    for (const name of [NAMES.tidemark, NAMES.tuned, NAMES.bare]) {
      line(`${name}: killed in mid-run`)
      const chain = chains.find((one) => one.name === name)
      if (chain) waits.push(await kill(chain, metronome))
    }
    line(`waiting up to ${KILLED_PATIENCE / 1_000} s for what was under way …`)
    killed.push(...(await Promise.all(waits.map((wait) => wait()))))
  }
  await writeResults({
    name: "path",
    settings: await settingsOf(stage),
    tables: tablesOf(measured, killed),
    aims: aimsOf(measured, killed),
    plots: { p50: plotOf(measured, "purge p50"), p99: plotOf(measured, "purge p99") },
  })
}

async function settingsOf(stage: Stage): Promise<Record<string, unknown>> {
  const { url } = await stage.redis()
  const info = await (await stage.client(url)).info("server")
  const { defaults, tuned } = bullMqSettings
  return {
    rounds: ROUNDS,
    loads: LOADS,
    clock: "of a publish: starts when it was due",
    versions: {
      ...versionsOf("bullmq", "ioredis", "redis", "undici", "workerd"),
      "redis-server": /^redis_version:(\S+)/m.exec(info)?.[1],
    },
    redis: "no persistence, noeviction; one for Tidemark and the bare chain, one for each BullMQ",
    vendor: "takes every call at once, in the publisher's process; one for each",
    chains: {
      [NAMES.tidemark]: "Worker on workerd, gateway, Redis, tidemark relay: target http, window 0, no pace",
      [NAMES.bare]:
        "bench/bare/worker.ts on workerd, the same gateway and Redis, bench/bare/subscriber.ts: 16 at once",
      [NAMES.defaults]: `handler on Node, Redis, worker: concurrency ${defaults.concurrency}, automatic job ids`,
      [NAMES.tuned]: { concurrency: tuned.concurrency, ...tuned.queue, job: tuned.job("<tag>") },
      [NAMES.edge]: "a forwarding Worker on workerd before the same",
      [NAMES.naive]: "a Worker on workerd that calls the vendor before it answers",
    },
    killed: { ...KILLED, at: KILLED.count / 2, startedAfter: PAUSE, patience: KILLED_PATIENCE },
  }
}

const figuresOf = (measured: Measured, load: string, chain: string, which: Figure): number[] =>
  (measured.get(load)?.get(chain) ?? []).map((round) => round[which])

const ratiosOf = (measured: Measured, load: string, chain: string, to: string, which: Figure): number[] =>
  ratios(figuresOf(measured, load, chain, which), figuresOf(measured, load, to, which))

function tablesOf(measured: Measured, killed: readonly Killed[]): Table[] {
  const rows = (columns: readonly Figure[], cell: (load: string, chain: string, column: Figure) => string) =>
    LOADS.flatMap(({ name: load }) =>
      Object.values(NAMES).map((chain) => ({
        load,
        chain,
        ...Object.fromEntries(columns.map((column) => [column, cell(load, chain, column)])),
      })),
    )
  const medians = (title: string, columns: readonly Figure[]): Table => ({
    title,
    rows: rows(columns, (load, chain, column) => spread(figuresOf(measured, load, chain, column))),
  })
  const tables = [
    medians("from a publish to its acknowledgement, milliseconds: median of the rounds (least–most)", [
      "ack p50",
      "ack p99",
    ]),
    medians("from a publish to the vendor's call, milliseconds", ["purge p50", "purge p99", "purge max"]),
    medians("what it took", ["vendor calls", "purges a second", "CPU s / 10,000"]),
    {
      title: `as many times as the ${NAMES.bare}, round by round`,
      rows: rows(["ack p50", "purge p50", "purge p99", "CPU s / 10,000"], (load, chain, column) =>
        spread(ratiosOf(measured, load, chain, NAMES.bare, column)),
      ),
    },
  ]
  if (killed.length === 0) return tables
  return [
    ...tables,
    {
      title: `killed in mid-run (SIGKILL at publish ${KILLED.count / 2} of ${figure(KILLED.count)}, ${KILLED.rate} a second; started again ${PAUSE} ms later)`,
      rows: killed.map(({ name, published, arrived, after, latest, repeats }) => ({
        consumer: name,
        published,
        arrived,
        lost: published - arrived,
        "p50 s after the kill": figure(median(after) / 1_000),
        "latest s": figure(latest / 1_000),
        "tags sent again": repeats,
      })),
    },
  ]
}

function aimsOf(measured: Measured, killed: readonly Killed[]): Aim[] {
  const ours = (load: Load, to: string, which: Figure) =>
    median(ratiosOf(measured, load.name, NAMES.tidemark, to, which))
  const beside = (load: Load, percentile: "p50" | "p99", limit: number): Aim => ({
    what: `${load.name}: path ${percentile} / bare chain's`,
    value: ours(load, NAMES.bare, `purge ${percentile}`),
    is: "at most",
    limit,
  })
  return [
    ...LOADS.map((load) => beside(load, "p50", 1.25)),
    ...[SEQUENTIAL, FULL].map((load) => beside(load, "p99", 1.5)),
    ...[NAMES.tuned, NAMES.edge].map((peer): Aim => ({
      what: `${SEQUENTIAL.name}: path p50 / that of ${peer}`,
      value: ours(SEQUENTIAL, peer, "purge p50"),
      is: "below",
      limit: 1,
    })),
    {
      what: `keeps up at ${FULL.name}: purges / publishes a second`,
      value: median(figuresOf(measured, FULL.name, NAMES.tidemark, "purges a second")) / (FULL.rate ?? 0),
      is: "at least",
      limit: 0.98,
    },
    ...killed
      .filter(({ name }) => name === NAMES.tidemark)
      .map(({ published, arrived }): Aim => ({
        what: "relay killed in mid-run: lost",
        value: published - arrived,
        is: "at most",
        limit: 0,
      })),
  ]
}

function plotOf(measured: Measured, which: "purge p50" | "purge p99"): TopLevelSpec {
  const chains = Object.values(NAMES)
  const values = LOADS.flatMap(({ name: load }) =>
    chains.map((chain) => {
      const rounds = figuresOf(measured, load, chain, which)
      return { load, chain, median: median(rounds), least: Math.min(...rounds), most: Math.max(...rounds) }
    }),
  )
  const y = { type: "quantitative", scale: { type: "log" }, title: "milliseconds" } as const
  return {
    title: `from a publish to the vendor's call, ${which.slice(-3)}: median, least and most of ${ROUNDS} rounds`,
    width: 560,
    height: 280,
    data: { values },
    encoding: {
      x: { field: "load", type: "nominal", sort: null, title: null, axis: { labelAngle: 0 } },
      xOffset: { field: "chain", type: "nominal", sort: chains },
      color: { field: "chain", type: "nominal", sort: chains, title: null },
    },
    layer: [
      { mark: "rule", encoding: { y: { ...y, field: "least" }, y2: { field: "most" } } },
      { mark: { type: "point", filled: true, size: 60 }, encoding: { y: { ...y, field: "median" } } },
    ],
  }
}

await onStage(main)
