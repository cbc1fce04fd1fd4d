/**
 * `npm run bench:propagation`: from the instant at which Redis accepts a publish, its epoch, to the relay's handling of
 * it, beside a plain subscriber of Pub/Sub. Each contender has a Redis of its own, and all have the same publishers,
 * the same script and the same loads, in turns. One machine, so one clock. Ratios count; absolute times are this
 * machine's.
 */
import { join } from "node:path"
import type { TopLevelSpec } from "vega-lite"
import { type Epoch, epochToMs } from "../protocol/epoch.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { tell } from "./propagation/control.ts"
import type { Expected, Handled, Load, Published } from "./propagation/load.ts"
import { type Aim, writeResults } from "./support/results.ts"
import { type Contender as Named, inTurns, line, ROUNDS } from "./support/rounds.ts"
import { onStage, root, type Stage, usageOf, versionsOf } from "./support/stage.ts"
import { figure, median, quantile, ratios, spread } from "./support/statistics.ts"

const RATES = [1_000, 5_000, 10_000] as const
const LOAD_SECONDS = 3
const BURST = { publishers: 500, count: 100_000 } as const
/** What is not handled so long after the last publish was answered is lost. */
const LOST_AFTER: Milliseconds = 30 * SECOND
const POLL_BUFFER: Milliseconds = 50
/** The clocks of two processes are as one within this. */
const CLOCKS_WITHIN: Milliseconds = 0.2
/** Open loops share so few connections, as isolates do; each publish is sent without waiting for those before it. */
const CONNECTIONS = 8

interface Kind extends Named {
  readonly load: Omit<Load, "redisUrl" | "first">
}

const LOADS: readonly Kind[] = [
  ...RATES.map((rate) => ({
    name: `${rate.toLocaleString("en")}/s`,
    load: { rate, count: rate * LOAD_SECONDS, publishers: CONNECTIONS },
  })),
  { name: `${BURST.publishers} at full speed`, load: BURST },
]

interface Contender extends Named {
  readonly redisUrl: string
  readonly control: string
  readonly pid: number
  readonly client: Awaited<ReturnType<Stage["client"]>>
}

/** Of one way to have handled a publish, in one round. Latencies in milliseconds. */
interface Latencies {
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly lost: number
}

interface Round {
  readonly handled: Latencies
  /** The relay's alone. */
  readonly wakes: Latencies | undefined
  /** Publishes a second, as their epochs have it. */
  readonly rate: number
  readonly late: Milliseconds
  readonly batches: number
  /** Kilobytes that Redis held for the subscriber at most: replies that it had not taken, and its whole share. */
  readonly buffer: number
  readonly memory: number
  /** Seconds of processor, of the subscriber's process. */
  readonly cpu: number
}

const TIDEMARK = "Tidemark's relay"
const SUBSCRIBER = "bare subscriber"
const READER = "bare subscriber that reads"

/** How each is called where the two things that the relay does stand apart. */
const WAKE = "Tidemark: wake heard"
const CALL = "Tidemark: vendor called"
const MESSAGE = "bare: message heard"
const READ = "bare: entry read"

let published = 0

async function main(stage: Stage): Promise<void> {
  line("starting three servers, the relay, two bare subscribers and the publishers …")
  const part = (file: string, ...args: readonly string[]) =>
    stage.node([join(root, "bench/propagation", file), ...args])
  const contender = async (name: string, file: string, ...args: readonly string[]): Promise<Contender> => {
    const { url } = await stage.redis()
    const { said, pid } = await part(file, url, ...args)
    return { name, redisUrl: url, control: said, pid, client: await stage.client(url) }
  }
  const contenders = [
    await contender(TIDEMARK, "relay.ts"),
    await contender(SUBSCRIBER, "bare.ts"),
    await contender(READER, "bare.ts", "--read"),
  ]
  const { said: publishers } = await part("publishers.ts")
  const measured = new Map<string, Found>()
  for (const one of contenders)
    await measure(publishers, one, { rate: 2_000, count: 4_000, publishers: CONNECTIONS })
  for (const { name, load } of LOADS)
    measured.set(name, await inTurns(name, contenders, (one) => measure(publishers, one, load)))
  await report(measured)
}

async function measure(publishers: string, contender: Contender, kind: Kind["load"]): Promise<Round> {
  const { name, control, redisUrl, pid, client } = contender
  const first = published
  published += kind.count
  await tell(control, "begin")
  const [before, buffers] = [await usageOf(pid), watchBuffers(client)]
  const load: Load = { ...kind, redisUrl, first }
  const { epochs, late } = await tell<Published>(publishers, "run", load)
  const expected: Expected = { first, count: kind.count, epochs, within: LOST_AFTER }
  await tell(control, "settle", expected)
  const { buffer, memory } = await buffers.stop()
  // Before it tells what it noted, which is none of its work.
  const { cpu } = await usageOf(pid)
  const { at, wakes, batches } = await tell<Handled>(control, "handled", expected)
  const handled = latenciesOf(at, epochs)
  // What is wrong is not worth a figure.
  if (name === TIDEMARK && handled.lost > 0)
    throw new Error(`the relay called no vendor with the tags of ${handled.lost} of ${kind.count} publishes`)
  if (new Set(epochs).size !== kind.count) throw new Error("two publishes have one epoch")
  const inOrder = epochs.toSorted((a, b) => a - b)
  const took = epochToMs((inOrder.at(-1) ?? 0) - (inOrder[0] ?? 0))
  return {
    handled,
    wakes: wakes && latenciesOfWakes(wakes, inOrder),
    rate: ((kind.count - 1) / took) * SECOND,
    late,
    batches,
    buffer,
    memory,
    cpu: cpu - before.cpu,
  }
}

function latenciesOf(at: readonly (number | null)[], epochs: readonly Epoch[]): Latencies {
  const samples = at.flatMap((time, index) => (time === null ? [] : [time - epochToMs(epochs[index] ?? 0)]))
  const least = samples.reduce((most, sample) => Math.min(most, sample), 0)
  // Redis takes the epoch before anybody can hear of it.
  if (least < -CLOCKS_WITHIN) throw new Error(`handled ${figure(-least)} ms before it was published`)
  return {
    p50: median(samples),
    p99: quantile(samples, 0.99),
    max: samples.reduce((most, sample) => Math.max(most, sample), 0),
    lost: at.length - samples.length,
  }
}

/** A wake names no epoch that the relay would believe, but one connection delivers them in the order of the log. */
function latenciesOfWakes(wakes: readonly number[], epochs: readonly Epoch[]): Latencies {
  if (wakes.length > epochs.length) throw new Error(`${wakes.length} wakes of ${epochs.length} publishes`)
  // Which of them were lost cannot be told.
  const lost = epochs.length - wakes.length
  if (lost > 0) return { p50: Number.NaN, p99: Number.NaN, max: Number.NaN, lost }
  return latenciesOf(wakes, epochs)
}

/** Looks at what Redis holds for its one subscriber, over a connection of its own. */
function watchBuffers(client: Contender["client"]) {
  let [buffer, memory] = [0, 0]
  const look = async (): Promise<void> => {
    const list = await client.sendCommand<string>(["CLIENT", "LIST", "TYPE", "pubsub"])
    const most = (name: string) =>
      Math.max(
        ...Array.from(list.matchAll(new RegExp(`\\b${name}=(\\d+)`, "g")), ([, value]) => Number(value)),
      )
    buffer = Math.max(buffer, most("omem") / 1_000)
    memory = Math.max(memory, most("tot-mem") / 1_000)
  }
  let last = look()
  const timer = setInterval(() => {
    last = last.then(look)
    // Told where it is awaited.
    last.catch(() => {})
  }, POLL_BUFFER)
  return {
    async stop() {
      clearInterval(timer)
      await last
      return { buffer, memory }
    },
  }
}

type Row = Record<string, string | number>
/** By contender. */
type Found = ReadonlyMap<string, readonly Round[]>
/** By load. */
type Measured = ReadonlyMap<string, Found>

/** What is compared with what: each step of the relay with the bare subscriber that goes as far. */
const PAIRS = [
  [WAKE, MESSAGE],
  [CALL, READ],
] as const

/** By the way in which a publish was handled, what was found of it in each round. */
function waysOf(contenders: Found): ReadonlyMap<string, readonly Latencies[]> {
  const of = (name: string) => contenders.get(name) ?? []
  const handled = (name: string) => of(name).map((round) => round.handled)
  return new Map([
    [WAKE, of(TIDEMARK).flatMap(({ wakes }) => wakes ?? [])],
    [MESSAGE, handled(SUBSCRIBER)],
    [CALL, handled(TIDEMARK)],
    [READ, handled(READER)],
  ])
}

const latencyRows = (load: string, contenders: Found): Row[] =>
  Array.from(waysOf(contenders), ([way, rounds]) => ({
    load,
    "from a publish's epoch to": way,
    "p50 ms": spread(rounds.map(({ p50 }) => p50)),
    "p99 ms": spread(rounds.map(({ p99 }) => p99)),
    "max ms": spread(rounds.map(({ max }) => max)),
    lost: Math.max(...rounds.map(({ lost }) => lost)),
  }))

const costRows = (load: string, contenders: Found): Row[] =>
  Array.from(contenders, ([contender, rounds]) => ({
    load,
    contender,
    "published a second": spread(rounds.map(({ rate }) => rate)),
    "sent late, ms at most": figure(Math.max(...rounds.map(({ late }) => late))),
    "calls, messages or reads": figure(median(rounds.map(({ batches }) => batches))),
    "output buffer kB": figure(Math.max(...rounds.map(({ buffer }) => buffer))),
    "its memory in Redis kB": figure(Math.max(...rounds.map(({ memory }) => memory))),
    "CPU s": spread(rounds.map(({ cpu }) => cpu)),
  }))

function ratiosOf(
  contenders: Found,
  [ours, theirs]: readonly [string, string],
  share: "p50" | "p99",
): number[] {
  const ways = waysOf(contenders)
  const of = (way: string) => (ways.get(way) ?? []).map((round) => round[share])
  return ratios(of(ours), of(theirs))
}

const ratioRows = (load: string, contenders: Found): Row[] =>
  PAIRS.map((pair) => ({
    load,
    ratio: pair.join(" / "),
    p50: spread(ratiosOf(contenders, pair, "p50")),
    p99: spread(ratiosOf(contenders, pair, "p99")),
  }))

const pointsOf = (load: string, contenders: Found): Row[] =>
  Array.from(waysOf(contenders), ([way, rounds]) =>
    (["p50", "p99", "max"] as const).map((share) => ({
      load,
      way,
      share,
      latency: median(rounds.map((round) => round[share])),
    })),
  ).flat()

async function report(measured: Measured): Promise<void> {
  const rows = (of: typeof latencyRows) => Array.from(measured, ([load, found]) => of(load, found)).flat()
  const lost = [...measured.values()].flatMap((found) => found.get(TIDEMARK) ?? [])
  const slowest = LOADS[0]?.name ?? ""
  const aims: Aim[] = [
    {
      what: "publishes that the relay lost",
      value: lost.reduce((sum, { handled }) => sum + handled.lost, 0),
      is: "at most",
      limit: 0,
    },
    ...PAIRS.map((pair): Aim => {
      const value = median(ratiosOf(measured.get(slowest) ?? new Map(), pair, "p99"))
      return { what: `p99 at ${slowest}, ${pair.join(" / ")}`, value, is: "at most", limit: 3 }
    }),
  ]
  await writeResults({
    name: "propagation",
    settings: {
      ...versionsOf("redis"),
      rounds: ROUNDS,
      loads: LOADS.map(({ load }) => load),
      lostAfter: LOST_AFTER,
    },
    tables: [
      {
        title: "from a publish's epoch to its handling, median of rounds (least–most)",
        rows: rows(latencyRows),
      },
      { title: "ratios, round by round", rows: rows(ratioRows) },
      { title: "what it cost; buffers at their highest of all rounds", rows: rows(costRows) },
    ],
    aims,
    plots: { latency: plot(rows(pointsOf)) },
  })
}

const plot = (values: Row[]): TopLevelSpec => ({
  title: "From a publish's epoch to its handling",
  data: { values },
  facet: { column: { field: "share", sort: ["p50", "p99", "max"], title: null } },
  spec: {
    width: 220,
    height: 260,
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "load", type: "ordinal", sort: LOADS.map(({ name }) => name), title: "publishes" },
      y: { field: "latency", type: "quantitative", scale: { type: "log" }, title: "milliseconds" },
      color: { field: "way", type: "nominal", sort: [WAKE, MESSAGE, CALL, READ], title: null },
    },
  },
})

await onStage(main)
