/**
 * `npm run bench:growth`: how long Redis, which does one thing at a time, is busy with the longest command of each kind
 * once a tenant has grown to its limits: 10^6 tags in a namespace, 10^6 entries in the log, a backlog of large ones. By
 * SLOWLOG, so that the network and this process are not in it. Ends with 1 where any is above its aim.
 */
import { commit, type Commit, type LaneName } from "../dispatch/commit.ts"
import { readLog, readOn } from "../dispatch/reading.ts"
import { type Epoch, ORIGIN, type Position } from "../protocol/epoch.ts"
import { MAX_BATCH, MAX_SELECTORS } from "../protocol/invalidation.ts"
import { cursorKey, lateKey, logKey, tagsKey } from "../protocol/keys.ts"
import { lookupCommands } from "../protocol/lookup.ts"
import { DAY, type Microseconds, type Milliseconds } from "../protocol/time.ts"
import { lateReceiptOf, owingOf, receiptOf } from "./support/owed.ts"
import {
  copyTenant,
  dropTenant,
  fillTags,
  headOf,
  type Inside,
  insideOf,
  leaseOf,
  MAX_CACHE_TTL,
  type Observed,
  observed,
  PLENTY,
  publishTo,
  textOf,
  versionOf,
  waitedFor,
} from "./support/redis.ts"
import { type Aim, type Table, writeResults } from "./support/results.ts"
import { line, ROUNDS } from "./support/rounds.ts"
import { onStage, type Stage, versionsOf } from "./support/stage.ts"
import { figure, median, spread } from "./support/statistics.ts"

const GROWN = process.env["TIDEMARK_BENCH_QUICK"] ? 100_000 : 1_000_000
const ROWS = GROWN / 10
/** Of the backlog that is read: 200 KB each. */
const LARGE = { entries: 300, tags: 1_000, length: 200 } as const
/** As often is each done in a round: what is cut into steps shows in the later ones. */
const TIMES = 20
const NAMESPACE = "site"
const TARGET = "edge"
/** What no command may take, as everyone else waits meanwhile. */
const AIM: Microseconds = 10_000

/** What was filled once. A round that would use it up has a copy. */
const TAGGED = "tagged"
const LOGGED = "logged"
const OWING = "owing"
const BACKLOG = "backlog"
const COPY = "copy"

interface Scenario {
  readonly what: string
  /** Whose keys it is carried out on; of `isSpent` a copy of them, each round. */
  readonly on: string
  readonly isSpent?: boolean
  /** Before it is measured, each round. */
  readonly prepare?: (tenant: string) => Promise<void>
  readonly work: (tenant: string) => Promise<unknown>
  /** Nobody can ask for it: measured, and not judged. */
  readonly isBeyond?: boolean
}

interface Measured {
  readonly scenario: Scenario
  /** A round each: all that Redis was asked in it. */
  readonly rounds: readonly (readonly Inside[])[]
  /** A round each: for how long Redis had no processor. */
  readonly waits: readonly Milliseconds[]
}

async function repeat(times: number, work: (nth: number) => Promise<unknown>): Promise<void> {
  for (let nth = 0; nth < times; nth += 1) await work(nth)
}

const micro = (length: number): Microseconds => length * 1_000
/** Once all tags that there are have passed `maxCacheTtl`. */
const later = (): Microseconds => micro(Date.now() + MAX_CACHE_TTL + DAY)

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, nth) => from + nth)

async function fill(redis: Observed): Promise<void> {
  line(`${figure(GROWN)} tags …`)
  await fillTags(redis, TAGGED, NAMESPACE, GROWN)
  for (let from = 0; from < 10_000; from += MAX_BATCH) {
    await publishTo(
      redis,
      TAGGED,
      range(from, MAX_BATCH).map((nth) => ({ namespace: `other-${nth}` })),
    )
  }
  line(`${figure(GROWN)} entries of the log …`)
  for (let from = 0; from < GROWN; from += MAX_BATCH) {
    await publishTo(
      redis,
      LOGGED,
      range(from, MAX_BATCH).map((nth) => ({ namespace: NAMESPACE, tags: [textOf(nth % 1_000, 12)] })),
    )
    if (from > 0 && from % 200_000 === 0) line(`${figure(from)} written`)
  }
  line(`${figure(ROWS)} receipts and late rows …`)
  await fillOwing(redis)
  line(`a backlog of ${LARGE.entries} entries of ${(LARGE.tags * LARGE.length) / 1_000} KB …`)
  for (const nth of range(0, LARGE.entries)) {
    const tags = range(nth * 10, LARGE.tags).map((tag) => textOf(tag, LARGE.length))
    await publishTo(redis, BACKLOG, [{ namespace: NAMESPACE, tags }])
  }
}

/** A lane that went on entry by entry, each of which had a receipt of its own and a row. */
async function fillOwing(redis: Observed): Promise<void> {
  for (let from = 0; from < ROWS; from += MAX_BATCH)
    await publishTo(
      redis,
      OWING,
      range(0, MAX_BATCH).map(() => ({ namespace: NAMESPACE })),
    )
  const lane = { tenant: OWING, target: TARGET }
  const lease = leaseOf(redis, lane)
  let held = await lease.take()
  if (!held) throw new Error("the lane is another's")
  const entries: Position[] = []
  for await (const page of readOn(redis.store, lane, await beforeFirst(redis, OWING))) entries.push(...page)
  if (entries.length !== ROWS) throw new Error(`${entries.length} of ${ROWS} entries were read`)
  for (const to of entries) {
    const late = [{ receipt: lateReceiptOf(to.epoch) }]
    const done = await commit(redis.store, lane, {
      held,
      to,
      receipt: receiptOf([to.epoch]),
      late,
      keepFrom: 0,
      maxEntries: PLENTY,
    })
    if (done.status !== "ok") throw new Error(`a commit is ${done.status}`)
    held = lease.at(to)
  }
  const rows = await redis.admin.zCard(lateKey(OWING, TARGET))
  if (rows !== ROWS) throw new Error(`there are ${rows} late rows of ${ROWS}`)
}

/** Where a cursor stands that has read nothing of a log. */
async function beforeFirst({ store }: Observed, tenant: string): Promise<Position> {
  const { entries } = await readLog(store, { tenant, target: TARGET }, ORIGIN.epoch)
  const [first] = entries
  if (!first) throw new Error(`the log of ${tenant} is empty`)
  return { generation: first.generation, epoch: first.epoch - 1, seq: first.seq - 1 }
}

/** Commits up to a tenant's head, again and again. @param keepFrom of the head: epochs below may go */
async function commitAll(
  redis: Observed,
  tenant: string,
  rest: (nth: number, head: Position) => Partial<Commit> & Pick<Commit, "keepFrom">,
): Promise<void> {
  const lane: LaneName = { tenant, target: TARGET }
  const lease = leaseOf(redis, lane)
  let held = await lease.take()
  const head = await headOf(redis, tenant)
  for (const nth of range(0, TIMES)) {
    if (!held) throw new Error("the lane is another's")
    const done = await commit(redis.store, lane, {
      held,
      to: head,
      receipt: receiptOf(),
      maxEntries: PLENTY,
      ...rest(nth, head),
    })
    if (done.status !== "ok") throw new Error(`a commit is ${done.status}`)
    held = lease.at(head)
  }
}

function scenarios(redis: Observed): readonly Scenario[] {
  const press = (tenant: string, tags: readonly string[], clock?: Microseconds, maxTags?: number) =>
    publishTo(redis, tenant, [{ namespace: NAMESPACE, tags }], {
      ...(clock === undefined ? {} : { clock }),
      ...(maxTags === undefined ? {} : { maxTags }),
    })
  let fresh = GROWN
  let first: Position = ORIGIN
  const known = (nth: number) => textOf((nth * 7_919) % GROWN, 12)
  const knowns = (nth: number, count: number) => range(nth * count, count).map((one) => known(one))
  const news = (count: number, length = 12) =>
    range((fresh += count), count).map((nth) => textOf(nth, length))
  const lookUp = (tenant: string, tags: readonly string[], after?: Epoch) =>
    redis.store.pipeline(lookupCommands(tenant, new Map([[NAMESPACE, { tags, urls: [] }]]), after))
  const lane = (tenant: string): LaneName => ({ tenant, target: TARGET })
  const million = figure(GROWN)
  /** 256 KiB of tags, with passes and an idempotency key: what a request may have at most. */
  const largest = (tenant: string, perEntry: number, length: number) =>
    publishTo(
      redis,
      tenant,
      range(0, MAX_BATCH).map(() => ({ namespace: NAMESPACE, tags: news(perEntry, length) })),
      {
        withPasses: true,
        idempotency: { principal: "bench", key: String((fresh += 1)), fingerprint: "0".repeat(64) },
      },
    )

  return [
    ...[
      { what: "publish, 1 known tag", tags: (nth: number) => [known(nth)] },
      { what: "publish, 1 new tag", tags: () => news(1), isSpent: true },
      { what: "publish, 1,000 known tags", tags: (nth: number) => knowns(nth, 1_000) },
      { what: "publish, 1,000 new tags", tags: () => news(1_000), isSpent: true },
    ].map(({ tags, ...rest }) => ({
      ...rest,
      on: TAGGED,
      work: (tenant: string) => repeat(TIMES, (nth) => press(tenant, tags(nth))),
    })),
    {
      what: `publish, ${MAX_BATCH} namespaces of 10,000 in one request`,
      on: TAGGED,
      work: (tenant) =>
        repeat(TIMES, (nth) =>
          publishTo(
            redis,
            tenant,
            range(nth * MAX_BATCH, MAX_BATCH).map((one) => ({ namespace: `other-${one}` })),
          ),
        ),
    },
    {
      what: `largest request: ${MAX_BATCH} entries, ${figure(MAX_SELECTORS)} new tags, 256 KiB, settle, staleFor and a key`,
      on: TAGGED,
      isSpent: true,
      work: (tenant) => repeat(TIMES, () => largest(tenant, MAX_SELECTORS / MAX_BATCH, 240)),
    },
    {
      what: `${MAX_BATCH} entries of 200 new tags, which no request may have (${figure(MAX_SELECTORS)} selectors)`,
      on: TAGGED,
      isSpent: true,
      isBeyond: true,
      work: (tenant) => repeat(TIMES, () => largest(tenant, 200, 12)),
    },
    {
      what: `first ${TIMES} publishes after ${million} tags passed maxCacheTtl`,
      on: TAGGED,
      isSpent: true,
      work: (tenant) => repeat(TIMES, () => press(tenant, news(1), later())),
    },
    {
      what: `first ${TIMES} publishes of 1,000 tags after the same`,
      on: TAGGED,
      isSpent: true,
      work: (tenant) => repeat(TIMES, () => press(tenant, news(1_000), later())),
    },
    {
      what: `first ${TIMES} publishes after maxTags was lowered from ${million} to 1`,
      on: TAGGED,
      isSpent: true,
      work: (tenant) => repeat(TIMES, () => press(tenant, news(1), undefined, 1)),
    },
    {
      what: `a namespace of ${million} tags as a whole, then ${TIMES} publishes`,
      on: TAGGED,
      isSpent: true,
      async work(tenant) {
        await publishTo(redis, tenant, [{ namespace: NAMESPACE }])
        await repeat(TIMES, () => press(tenant, news(1)))
      },
    },
    {
      what: `everything, with ${million} tags in one namespace, then ${TIMES} publishes there`,
      on: TAGGED,
      isSpent: true,
      async work(tenant) {
        await publishTo(redis, tenant, [{ namespace: null }])
        await repeat(TIMES, () => press(tenant, news(1)))
      },
    },
    {
      what: `first ${TIMES} publishes after log.maxEntries was lowered from ${million} to 1,000`,
      on: LOGGED,
      isSpent: true,
      work: (tenant) =>
        repeat(TIMES, () => publishTo(redis, tenant, [{ namespace: NAMESPACE }], { maxEntries: 1_000 })),
    },
    {
      what: "look-up of 10 tags",
      on: TAGGED,
      work: (tenant) => repeat(TIMES, (nth) => lookUp(tenant, knowns(nth, 10))),
    },
    {
      what: "look-up of 1,000 tags",
      on: TAGGED,
      work: (tenant) => repeat(TIMES, (nth) => lookUp(tenant, knowns(nth, 1_000))),
    },
    {
      what: "look-up of 10 tags with after",
      on: TAGGED,
      work: (tenant) => repeat(TIMES, (nth) => lookUp(tenant, knowns(nth, 10), 1)),
    },
    {
      what: `read of a log of ${million}, from its beginning`,
      on: LOGGED,
      work: (tenant) => repeat(TIMES, () => readLog(redis.store, lane(tenant), ORIGIN.epoch)),
    },
    {
      what: "read of a backlog of entries of 200 KB, again and again to its end",
      on: BACKLOG,
      async work(tenant) {
        let [after, seen] = [ORIGIN.epoch, 0]
        for (;;) {
          const { entries } = await readLog(redis.store, lane(tenant), after)
          seen += entries.length
          if (entries.length === 0) break
          after = entries.at(-1)?.epoch ?? after
        }
        if (seen !== LARGE.entries) throw new Error(`${seen} of ${LARGE.entries} entries were read`)
      },
    },
    {
      what: "the same backlog, read on page by page",
      on: BACKLOG,
      async prepare(tenant) {
        first = await beforeFirst(redis, tenant)
      },
      async work(tenant) {
        let seen = 0
        for await (const page of readOn(redis.store, { tenant, target: TARGET }, first)) seen += page.length
        if (seen !== LARGE.entries) throw new Error(`${seen} of ${LARGE.entries} entries were read`)
      },
    },
    {
      what: `commit that lets ${million} entries of the log go, and ${TIMES - 1} after it`,
      on: LOGGED,
      isSpent: true,
      work: (tenant) => commitAll(redis, tenant, (_, head) => ({ keepFrom: head.epoch })),
    },
    {
      what: `commit that lets ${figure(ROWS)} receipts, late rows and entries go, and ${TIMES - 1} after it`,
      on: OWING,
      isSpent: true,
      async prepare(tenant) {
        await redis.admin.del(cursorKey(tenant))
      },
      work: (tenant) => commitAll(redis, tenant, (_, head) => ({ keepFrom: head.epoch })),
    },
    {
      what: "commit with 1,000 late rows, letters and due items, those of before finished and replaced",
      on: TAGGED,
      isSpent: true,
      work: (tenant) =>
        commitAll(redis, tenant, (nth, head) => ({
          ...owingOf(NAMESPACE, nth, head.epoch, 1_000),
          keepFrom: 0,
        })),
    },
  ]
}

async function measure(redis: Observed, scenario: Scenario): Promise<Measured> {
  const { what, on, isSpent = false, prepare, work } = scenario
  const rounds: (readonly Inside[])[] = []
  const waits: Milliseconds[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const tenant = isSpent ? COPY : on
    if (isSpent) await copyTenant(redis, on, COPY)
    await prepare?.(tenant)
    const waited = await waitedFor(redis)
    rounds.push(await insideOf(redis, () => work(tenant)))
    waits.push((await waitedFor(redis)) - waited)
    if (isSpent) await dropTenant(redis, COPY)
  }
  line(`${what}: ${spread(rounds.map((round) => longest(round).took / 1_000))} ms`)
  return { scenario, rounds, waits }
}

function longest(round: readonly Inside[]): Inside {
  return round.reduce((most, one) => (one.took > most.took ? one : most), { what: "–", took: 0 })
}

/** The longest of each round. */
const longestOf = ({ rounds }: Measured): number[] => rounds.map((round) => longest(round).took / 1_000)

async function main(stage: Stage): Promise<void> {
  const redis = await observed(stage)
  await fill(redis)
  // What is counted must be there, or all below is of something else.
  const grown = await Promise.all([
    redis.admin.zCard(tagsKey(TAGGED, NAMESPACE)),
    redis.admin.xLen(logKey(LOGGED)),
  ])
  if (grown.some((count) => count !== GROWN))
    throw new Error(`there are ${grown.join(" and ")}, not ${GROWN}`)
  const measured: Measured[] = []
  for (const scenario of scenarios(redis)) measured.push(await measure(redis, scenario))

  const aims = measured
    .filter(({ scenario }) => !scenario.isBeyond)
    .map((one): Aim => ({
      what: `${one.scenario.what}: ms`,
      value: median(longestOf(one)),
      is: "at most",
      limit: AIM / 1_000,
    }))
  await writeResults({
    name: "growth",
    settings: {
      rounds: ROUNDS,
      versions: { ...versionsOf("redis"), "redis-server": await versionOf(redis) },
      tags: GROWN,
      entries: GROWN,
      backlog: LARGE,
      clock: "inside Redis, by SLOWLOG",
      times: `each is done ${TIMES} times in a round, or to the backlog's end`,
    },
    tables: [
      {
        title:
          "milliseconds inside Redis of one command, the longest of a round, and how long Redis had no processor in all of a round: median of the rounds (least–most)",
        rows: measured.map(rowOf),
      },
    ],
    aims,
  })
  const missed = aims.filter(({ value, limit }) => value > limit).length
  line(
    missed === 0
      ? `none is above ${AIM / 1_000} ms`
      : `${missed} of ${aims.length} are above ${AIM / 1_000} ms`,
  )
  if (missed > 0) process.exitCode = 1
}

function rowOf(measured: Measured): Table["rows"][number] {
  const { scenario, rounds, waits } = measured
  const command = busiest(rounds)
  const all = rounds.flat().flatMap(({ what, took }) => (what === command ? [took / 1_000] : []))
  return {
    what: scenario.what,
    command,
    longest: spread(longestOf(measured)),
    "median of all": figure(median(all)),
    "waited for a processor": spread(waits),
    aim: scenario.isBeyond ? "none" : `at most ${AIM / 1_000}`,
  }
}

/** The command that Redis was busy with for most of the time. */
function busiest(rounds: readonly (readonly Inside[])[]): string {
  const sums = new Map<string, number>()
  for (const { what, took } of rounds.flat()) sums.set(what, (sums.get(what) ?? 0) + took)
  return Array.from(sums).reduce((most, one) => (one[1] > most[1] ? one : most), ["–", 0])[0]
}

await onStage(main)
