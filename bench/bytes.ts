/**
 * `npm run bench:bytes`: what each kind of key takes in Redis, by MEMORY USAGE over all of its members; what is left of
 * it once it says nothing any more; and what the settings of Redis for small sorted sets are worth and cost, which are
 * compared in turns, each on a Redis of its own. Bytes count; times are this machine's, and so only their ratios.
 */
import { commit } from "../dispatch/commit.ts"
import { sweepTags } from "../dispatch/sweep.ts"
import { parseConfig } from "../protocol/config/config.ts"
import type { Position } from "../protocol/epoch.ts"
import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  idempotencyKey,
  lateKey,
  leaseKey,
  logKey,
  namespaceKey,
  sentKey,
  tagsKey,
} from "../protocol/keys.ts"
import { lookupCommands } from "../protocol/lookup.ts"
import { DAY, type Microseconds } from "../protocol/time.ts"
import { lateReceiptOf, owingOf, receiptOf } from "./support/owed.ts"
import {
  bytesOf,
  copyTenant,
  dropTenant,
  fillTags,
  insideOf,
  leaseOf,
  type Observed,
  observed,
  PLENTY,
  publishTo,
  textOf,
  versionOf,
} from "./support/redis.ts"
import { type Aim, type Table, writeResults } from "./support/results.ts"
import { type Contender, inTurns, line, ROUNDS } from "./support/rounds.ts"
import { onStage, type Stage, versionsOf } from "./support/stage.ts"
import { figure, median, ratios } from "./support/statistics.ts"

const NAMESPACE = "site/blog"
const PARENT = "site"
const TARGET = "edge"
const TENANT = "filled"
const COPY = "copy"
const CONFIG = parseConfig({ namespaces: { [PARENT]: {}, [NAMESPACE]: {}, shop: {} } })

/** Settings of Redis, by how they are called in the tables. The longest member that there may be is a url's: 2,050. */
const DEFAULTS = "defaults"
/** As infra/docker starts it, and infra/redis says. */
const RECOMMENDED = "entries 256, value 2050"
const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  [DEFAULTS]: [],
  "value 2050": ["--zset-max-listpack-value", "2050"],
  [RECOMMENDED]: ["--zset-max-listpack-entries", "256", "--zset-max-listpack-value", "2050"],
  "entries 512": ["--zset-max-listpack-entries", "512"],
  "entries 512, value 2050": ["--zset-max-listpack-entries", "512", "--zset-max-listpack-value", "2050"],
}

const LENGTHS = [12, 40, 100] as const
const COUNTS = [10, 100, 250, 500, 1_000, 100_000] as const
/** Commands of a kind in a round, and scripts that have much to do. */
const TIMES = 500
const FEW = 20
const MANY = 100_000
/** Publishes after which what is trimmed in steps is gone, if it goes at all. */
const STEPS = 200
const PUBLISHES = 10_000
const MAX_ENTRIES = 1_000
const KEEP = 7 * DAY

interface Server extends Contender {
  readonly redis: Observed
}

const micro = (length: number): Microseconds => length * 1_000
const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, nth) => from + nth)
const urlOf = (length: number): string => textOf(1, length, "https://www.example.com/")
const tagsOf = (tenant: string): string => tagsKey(tenant, NAMESPACE)

/** One row a kind of namespace, one column a setting. */
async function acrossServers(
  servers: readonly Server[],
  measure: (redis: Observed) => Promise<number>,
): Promise<Readonly<Record<string, number>>> {
  const found: Record<string, number> = {}
  for (const { name, redis } of servers) {
    found[name] = await measure(redis)
    await dropTenant(redis, TENANT)
  }
  return found
}

const figures = (found: Readonly<Record<string, number>>): Record<string, string> =>
  Object.fromEntries(Object.entries(found).map(([name, value]) => [name, figure(value)]))

async function tagBytes(servers: readonly Server[]): Promise<Table> {
  const rows: Table["rows"][number][] = []
  for (const length of LENGTHS) {
    for (const count of COUNTS) {
      line(`${figure(count)} tags of ${length} characters`)
      const found = await acrossServers(servers, async (redis) => {
        await fillTags(redis, TENANT, NAMESPACE, count, { length })
        await expectTags(redis, TENANT, count)
        return (await bytesOf(redis, tagsOf(TENANT))) / count
      })
      rows.push({ "tags in the namespace": figure(count), characters: length, ...figures(found) })
    }
  }
  return { title: "bytes a tag, by the settings of Redis", rows }
}

/** @throws where it is another number: nothing is said of what was not seen */
async function expectTags({ admin }: Observed, tenant: string, count: number): Promise<void> {
  const there = await admin.zCard(tagsOf(tenant))
  if (there !== count) throw new Error(`there are ${there} tags and not ${count}`)
}

const URL_LENGTHS = [60, 100, 200, 1_000] as const
type Found = Readonly<Record<string, number>>

/** What a namespace of a hundred tags takes, and one with a url as well. */
async function urlBytes(
  servers: readonly Server[],
): Promise<{ readonly table: Table; readonly grown: ReadonlyMap<number, Found> }> {
  const filled = (redis: Observed) => fillTags(redis, TENANT, NAMESPACE, 100)
  const without = await acrossServers(servers, async (redis) => {
    await filled(redis)
    return bytesOf(redis, tagsOf(TENANT))
  })
  const grown = new Map<number, Found>()
  const rows: Table["rows"][number][] = [{ namespace: "100 tags of 12 characters", ...figures(without) }]
  for (const length of URL_LENGTHS) {
    const found = await acrossServers(servers, async (redis) => {
      await filled(redis)
      await publishTo(redis, TENANT, [{ namespace: NAMESPACE, urls: [urlOf(length)] }])
      await expectTags(redis, TENANT, 101)
      return bytesOf(redis, tagsOf(TENANT))
    })
    rows.push({ namespace: `the same and a url of ${length}`, ...figures(found) })
    const times = (name: string) => (found[name] ?? Number.NaN) / (without[name] ?? Number.NaN)
    grown.set(length, Object.fromEntries(servers.map(({ name }) => [name, times(name)])))
  }
  return { table: { title: "bytes of a namespace's tags, one of them a url", rows }, grown }
}

/** Namespaces whose commands are timed. */
const TIMED = [
  { count: 100, length: 12, url: 0 },
  { count: 100, length: 12, url: 200 },
  { count: 128, length: 2_000, url: 0 },
  { count: 250, length: 12, url: 0 },
  // All of it in one request is as many bytes as one may have.
  { count: 250, length: 1_000, url: 0 },
  { count: 500, length: 12, url: 0 },
  { count: 10_000, length: 12, url: 0 },
] as const
type Timed = (typeof TIMED)[number]
const nameOf = ({ count, length, url }: Timed): string =>
  `${figure(count)} of ${figure(length)}${url > 0 ? `, a url of ${url}` : ""}`

const COSTS = [
  "publish, 1 tag",
  "its ZADD",
  "publish of all, 500 at most",
  "ZMSCORE of 10",
  "ZMSCORE of 100",
  "commit of as many owed, 500 at most",
] as const
/** Microseconds inside Redis. */
type Costs = Readonly<Record<(typeof COSTS)[number], Microseconds>>

async function costsOf(redis: Observed, { count, length }: Timed): Promise<Costs> {
  const known = (nth: number) => textOf((nth * 7_919) % count, length)
  const many = Math.min(500, count)
  const publishes = (times: number, size: number) => async () => {
    for (const nth of range(0, times))
      await publishTo(redis, TENANT, [
        { namespace: NAMESPACE, tags: range(nth * size, size).map((one) => known(one)) },
      ])
  }
  const looks = (size: number) => async () => {
    for (const nth of range(0, TIMES)) {
      const tags = range(nth * size, size).map((one) => known(one))
      await redis.store.pipeline(lookupCommands(TENANT, new Map([[NAMESPACE, { tags, urls: [] }]])))
    }
  }
  const lane = { tenant: TENANT, target: TARGET }
  const commits = async () => {
    const lease = leaseOf(redis, lane)
    let held = await lease.take()
    for (const nth of range(0, FEW)) {
      if (!held) throw new Error("the lane is another's")
      const owing = owingOf(NAMESPACE, nth, 1_000_000, many)
      const done = await commit(redis.store, lane, {
        held,
        to: held,
        ...owing,
        letters: [],
        keepFrom: 0,
        maxEntries: PLENTY,
      })
      if (done.status !== "ok") throw new Error(`a commit is ${done.status}`)
    }
  }
  const usual = async (what: string, work: () => Promise<unknown>) => {
    const inside = await insideOf(redis, work)
    return median(inside.flatMap((one) => (one.what === what ? [one.took] : [])))
  }
  await redis.admin.configResetStat()
  const one = await usual("publish.lua", publishes(TIMES, 1))
  // Of what a script calls only the statistics tell.
  const stats = await redis.admin.info("commandstats")
  const zadd = Number(/cmdstat_zadd:.*?usec_per_call=([\d.]+)/.exec(stats)?.[1])
  const found = {
    "publish, 1 tag": one,
    "its ZADD": zadd,
    "publish of all, 500 at most": await usual("publish.lua", publishes(FEW, many)),
    "ZMSCORE of 10": await usual("ZMSCORE", looks(10)),
    "ZMSCORE of 100": await usual("ZMSCORE", looks(100)),
    "commit of as many owed, 500 at most": await usual("commit.lua", commits),
  }
  await redis.admin.del([cursorKey(TENANT), leaseKey(TENANT, TARGET)])
  await redis.admin.del([lateKey, dueKey, dueItemsKey].map((keyOf) => keyOf(TENANT, TARGET)))
  return found
}

interface Timing {
  readonly table: Table
  /** Of a script with much to do, as recommended, in milliseconds. */
  readonly longest: number
}

async function costs(servers: readonly Server[]): Promise<Timing> {
  const rows: Table["rows"][number][] = []
  let longest = 0
  for (const timed of TIMED) {
    for (const { redis } of servers) {
      await fillTags(redis, TENANT, NAMESPACE, timed.count, { length: timed.length })
      if (timed.url > 0) await publishTo(redis, TENANT, [{ namespace: NAMESPACE, urls: [urlOf(timed.url)] }])
    }
    const rounds = await inTurns(`tags: ${nameOf(timed)}`, servers, ({ redis }) => costsOf(redis, timed))
    for (const { redis } of servers) await dropTenant(redis, TENANT)
    for (const cost of COSTS) {
      const of = (name: string) => (rounds.get(name) ?? []).map((round) => round[cost])
      const cell = (name: string): string => {
        const took = figure(median(of(name)))
        return name === DEFAULTS ? took : `${took}: ${figure(median(ratios(of(name), of(DEFAULTS))))}×`
      }
      const cells = servers.map(({ name }) => [name, cell(name)] as const)
      rows.push({ tags: nameOf(timed), command: cost, ...Object.fromEntries(cells) })
      longest = Math.max(longest, median(of(RECOMMENDED)) / 1_000)
    }
  }
  const title = `microseconds inside Redis, and as many times as with the ${DEFAULTS} (medians of the rounds)`
  return { table: { title, rows }, longest }
}

/** A relay's lane that commits after each publish. @param owes a due item and a dead letter, too */
async function laneOver(redis: Observed, owes: boolean, maxEntries: number = PLENTY) {
  const lane = { tenant: TENANT, target: TARGET }
  const lease = leaseOf(redis, lane)
  let held = await lease.take()
  return async (to: Position): Promise<void> => {
    if (!held) throw new Error("the lane is another's")
    const { due, letters } = owingOf(NAMESPACE, to.seq, to.epoch, owes ? 1 : 0)
    const late = [{ receipt: lateReceiptOf(to.epoch) }]
    const keepFrom = micro(Date.now() - KEEP)
    const done = await commit(redis.store, lane, {
      held,
      to,
      receipt: receiptOf(),
      late,
      due,
      letters,
      keepFrom,
      maxEntries,
    })
    if (done.status !== "ok") throw new Error(`a commit is ${done.status}`)
    held = lease.at(to)
  }
}

/** Of what comes in numbers, the mean of a thousand. */
async function otherBytes(redis: Observed): Promise<Table> {
  const rows: Table["rows"][number][] = []
  const row = (what: string, bytes: number) => rows.push({ what, bytes: figure(bytes) })
  const count = 1_000
  for (const tags of [1, 10, 100]) {
    for (const nth of range(0, count))
      await publishTo(redis, TENANT, [
        { namespace: NAMESPACE, tags: range(nth, tags).map((one) => textOf(one, 12)) },
      ])
    row(
      `entry of the log, ${tags} tag${tags === 1 ? "" : "s"}`,
      (await bytesOf(redis, logKey(TENANT))) / count,
    )
    await dropTenant(redis, TENANT)
  }
  const after = await laneOver(redis, true)
  for (const nth of range(0, count)) {
    const idempotency = {
      principal: "token:deploy",
      key: crypto.randomUUID(),
      fingerprint: "0123456789abcdef".repeat(4),
    }
    const published = { namespace: NAMESPACE, tags: [textOf(nth, 12)] }
    const [to] = await publishTo(redis, TENANT, [published], { idempotency })
    if (to) await after(to)
    if (nth === 0) {
      row(
        "idempotency record",
        await bytesOf(redis, idempotencyKey(TENANT, idempotency.principal, idempotency.key)),
      )
      row("namespace's row", await bytesOf(redis, namespaceKey(TENANT, NAMESPACE)))
    }
  }
  const mean = async (...keys: readonly string[]) => {
    let sum = 0
    for (const key of keys) sum += await bytesOf(redis, key)
    return sum / count
  }
  row("receipt of a range", await mean(sentKey(TENANT, TARGET)))
  row("late row", await mean(lateKey(TENANT, TARGET)))
  row("due item", await mean(dueKey(TENANT, TARGET), dueItemsKey(TENANT, TARGET)))
  row("dead letter", await mean(deadKey(TENANT, TARGET)))
  await dropTenant(redis, TENANT)
  return { title: "bytes of all else, each", rows }
}

/** What stays of a lane's books when the log is cut to a length. */
async function cutBooks(redis: Observed): Promise<{ readonly table: Table; readonly most: number }> {
  line(`${figure(PUBLISHES)} publishes at log.maxEntries ${figure(MAX_ENTRIES)}`)
  const after = await laneOver(redis, false, MAX_ENTRIES)
  for (const nth of range(0, PUBLISHES)) {
    const published = { namespace: NAMESPACE, tags: [textOf(nth % 1_000, 12)] }
    const [to] = await publishTo(redis, TENANT, [published], { maxEntries: MAX_ENTRIES })
    if (to) await after(to)
  }
  const found = [
    { what: "entries of the log", key: logKey(TENANT), left: await redis.admin.xLen(logKey(TENANT)) },
    {
      what: "receipts",
      key: sentKey(TENANT, TARGET),
      left: await redis.admin.xLen(sentKey(TENANT, TARGET)),
    },
    {
      what: "late rows",
      key: lateKey(TENANT, TARGET),
      left: await redis.admin.zCard(lateKey(TENANT, TARGET)),
    },
  ]
  const rows: Table["rows"][number][] = []
  for (const { what, key, left } of found)
    rows.push({ what, left: figure(left), bytes: figure(await bytesOf(redis, key)) })
  await dropTenant(redis, TENANT)
  return {
    table: {
      title: `what is left after ${figure(PUBLISHES)} publishes at \`log.maxEntries\` ${figure(MAX_ENTRIES)}, each with a receipt and a late row at one target`,
      rows,
    },
    most: Math.max(...found.slice(1).map(({ left }) => left)),
  }
}

type Publish = Parameters<typeof publishTo>[2][number]
const ONE_TAG: Publish = { namespace: NAMESPACE, tags: ["other"] }
const WHOLE: Publish = { namespace: NAMESPACE }

/** What happens to a namespace of many tags, and how often something is published after it. */
const ENDS: readonly {
  readonly what: string
  readonly first: Publish | undefined
  readonly next: Publish
  readonly isOld?: boolean
}[] = [
  { what: "its whole invalidation, then as many more", first: WHOLE, next: WHOLE },
  { what: "its whole invalidation, then publishes of one tag in it", first: WHOLE, next: ONE_TAG },
  {
    what: "a whole invalidation above it, then publishes of one tag in it",
    first: { namespace: PARENT },
    next: ONE_TAG,
  },
  { what: "everything, then publishes of one tag in it", first: { namespace: null }, next: ONE_TAG },
  {
    what: "maxCacheTtl, then publishes elsewhere",
    first: undefined,
    next: { namespace: "shop" },
    isOld: true,
  },
  { what: "maxCacheTtl, then whole invalidations of it", first: undefined, next: WHOLE, isOld: true },
  { what: "maxCacheTtl, then publishes of one tag in it", first: undefined, next: ONE_TAG, isOld: true },
]

/** What stays of tags that say nothing any more: their namespace was raised above them, or no page is as old. */
async function deadTags(
  redis: Observed,
): Promise<{ readonly table: Table; readonly left: readonly number[] }> {
  const [young, old] = [`${TENANT}-young`, `${TENANT}-old`]
  await fillTags(redis, young, NAMESPACE, MANY)
  await fillTags(redis, old, NAMESPACE, MANY, { clock: micro(Date.now() - 40 * DAY) })
  const before = await bytesOf(redis, tagsOf(young))
  const rows: Table["rows"][number][] = [
    {
      after: "they were published",
      "tags left": figure(MANY),
      bytes: figure(before),
      "after the relay's sweep": "",
    },
  ]
  const left: number[] = []
  for (const { what, first, next, isOld = false } of ENDS) {
    await copyTenant(redis, isOld ? old : young, COPY)
    await expectTags(redis, COPY, MANY)
    if (first) await publishTo(redis, COPY, [first])
    for (const _ of range(0, STEPS)) await publishTo(redis, COPY, [next])
    const there = await redis.admin.zCard(tagsOf(COPY))
    const bytes = figure(await bytesOf(redis, tagsOf(COPY)))
    await sweepTags({ store: redis.store, tenant: COPY, config: CONFIG })
    const swept = await redis.admin.zCard(tagsOf(COPY))
    left.push(swept)
    rows.push({ after: what, "tags left": figure(there), bytes, "after the relay's sweep": figure(swept) })
    line(`${what}: ${figure(there)} tags left, ${figure(swept)} after the relay's sweep`)
    await dropTenant(redis, COPY)
  }
  for (const tenant of [young, old]) await dropTenant(redis, tenant)
  const title = `what is left of ${figure(MANY)} tags that say nothing any more, after ${STEPS} publishes`
  return { table: { title, rows }, left }
}

async function main(stage: Stage): Promise<void> {
  const servers: Server[] = []
  for (const [name, args] of Object.entries(SETTINGS))
    servers.push({ name, redis: await observed(stage, args) })
  const [plain] = servers
  if (!plain) throw new Error("there is no setting")
  const tags = await tagBytes(servers)
  const urls = await urlBytes(servers)
  const books = await cutBooks(plain.redis)
  const dead = await deadTags(plain.redis)
  const others = await otherBytes(plain.redis)
  const timed = await costs(servers)

  const longest = (length: number) => urls.grown.get(length)?.[RECOMMENDED] ?? Number.NaN
  const aims: readonly Aim[] = [
    {
      what: `bytes of 100 tags and a url of 200, with ${RECOMMENDED} / without the url`,
      value: longest(200),
      is: "at most",
      limit: 1.5,
    },
    {
      what: `the longest script of those below with ${RECOMMENDED}, ms`,
      value: timed.longest,
      is: "at most",
      limit: 10,
    },
    {
      what: `receipts or late rows after ${figure(PUBLISHES)} publishes at log.maxEntries ${figure(MAX_ENTRIES)}`,
      value: books.most,
      is: "at most",
      limit: 2 * MAX_ENTRIES,
    },
    {
      what: `tags left that say nothing, of ${figure(MANY)}, after the relay's sweep`,
      value: Math.max(...dead.left),
      is: "at most",
      limit: 1,
    },
  ]
  await writeResults({
    name: "bytes",
    settings: {
      rounds: ROUNDS,
      versions: { ...versionsOf("redis"), "redis-server": await versionOf(plain.redis) },
      settings: SETTINGS,
      bytes: "MEMORY USAGE, SAMPLES 0, of the key divided by its members",
      times: `${TIMES} commands a round, inside Redis: SLOWLOG, and INFO commandstats of the ZADD`,
    },
    tables: [tags, urls.table, timed.table, others, books.table, dead.table],
    aims,
  })
}

await onStage(main)
