import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { Epoch, Generation, Stamp } from "./epoch.ts"
import { type Answer, askedTags, type HighWater, isFresh, isServable, raise, stampOf } from "./freshness.ts"
import { chain, isWithin, type Namespace, ROOT } from "./namespace.ts"

/** One thing that was published. `prefix` stands for prefixes and hosts, which raise their namespace. */
interface Event {
  readonly kind: "tag" | "url" | "prefix" | "namespace" | "everything"
  readonly namespace: Namespace
  readonly value: string
  readonly isHard: boolean
}

interface Row {
  readonly epoch: Epoch
  readonly watermark: Epoch
  readonly hard: Epoch
  readonly floor: Epoch
  readonly tags: ReadonlyMap<string, Epoch>
}

const EMPTY: Row = { epoch: 0, watermark: 0, hard: 0, floor: 0, tags: new Map() }

/** What a replica holds that has seen a log up to some version of it. */
interface Version {
  readonly last: Epoch
  readonly rows: ReadonlyMap<Namespace, Row>
}

/** One generation of a tenant: its events, and what the store held after each of them. */
class Log {
  readonly generation: Generation
  readonly events: Event[] = []
  readonly versions: Version[]

  constructor(generation: Generation) {
    this.generation = generation
    this.versions = [{ last: generation, rows: new Map() }]
  }

  get version(): number {
    return this.events.length
  }

  publish(event: Event, now: Epoch, maxTags: number): void {
    const before = this.at(this.version)
    const epoch = Math.max(before.last + 1, now)
    const { kind, namespace, value, isHard } = event
    const row = before.rows.get(namespace) ?? EMPTY
    const isTag = kind === "tag" || kind === "url"
    // In the order of their epochs, as the last one is always the highest.
    const tags = new Map(row.tags)
    tags.delete(value)
    let { floor } = row
    if (isTag) tags.set(value, epoch)
    for (const [tag, dropped] of [...tags].slice(0, Math.max(0, tags.size - maxTags))) {
      tags.delete(tag)
      floor = dropped
    }
    const hard = isHard ? epoch : row.hard
    const after: Row = { epoch: isTag ? row.epoch : epoch, watermark: epoch, hard, floor, tags }
    this.versions.push({ last: epoch, rows: new Map([...before.rows, [namespace, after]]) })
    this.events.push(event)
  }

  at(version: number): Version {
    const found = this.versions[version]
    if (!found) throw new RangeError(`there is no version ${version}`)
    return found
  }

  /** What a replica at that version answers of one namespace, asked for these tags. */
  answer(version: number, namespace: Namespace, tags: readonly string[]): Answer {
    const { last, rows } = this.at(version)
    const folded = chain(namespace).map((name) => rows.get(name) ?? EMPTY)
    const own = rows.get(namespace) ?? EMPTY
    const epoch = Math.max(...folded.map((row) => row.epoch))
    return {
      generation: this.generation,
      last,
      epoch,
      watermark: Math.max(own.watermark, epoch),
      hard: Math.max(...folded.map((row) => row.hard)),
      floor: own.floor,
      tags: new Map([...own.tags].filter(([tag]) => tags.includes(tag))),
    }
  }
}

/** A cached page: under which stamp it was filled, and how much of which log its content reflects. */
interface Entry {
  readonly log: number
  readonly version: number
  readonly stamp: Stamp
  readonly namespace: Namespace
  readonly tags: readonly string[]
}

const isAbout = ({ kind, namespace, value }: Event, entry: Entry): boolean => {
  if (kind === "everything") return true
  if (kind === "namespace" || kind === "prefix") return isWithin(entry.namespace, namespace)
  return namespace === entry.namespace && entry.tags.includes(value)
}

const NAMESPACES = ["shop", "shop/cart", "blog"]
const TAGS = ["x", "y", "z"]
const URLS = ["https://www.example.com/x", "https://www.example.com/y"]

const namespace = fc.constantFrom(...NAMESPACES)
const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("tag" as const),
      namespace,
      value: fc.constantFrom(...TAGS),
      isHard: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("url" as const),
      namespace,
      value: fc.constantFrom(...askedTags({ urls: URLS })),
      isHard: fc.boolean(),
    }),
  },
  fc.record({
    kind: fc.constantFrom("prefix" as const, "namespace" as const),
    namespace,
    value: fc.constant(""),
    isHard: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("everything" as const),
    namespace: fc.constant(ROOT),
    value: fc.constant(""),
    isHard: fc.boolean(),
  }),
)

const depends = fc.record({
  namespace,
  tags: fc
    .tuple(fc.subarray(TAGS), fc.subarray(URLS, { maxLength: 1 }))
    .map(([tags, urls]) => askedTags({ tags, urls })),
})

type Step =
  | { readonly step: "publish"; readonly event: Event; readonly wait: number }
  /** The store lost everything, and began another log on a host whose clock shows something else. */
  | { readonly step: "renew"; readonly clock: number }
  /** The reader is answered by a replica that lags so many events behind, maybe in a log of before. */
  | { readonly step: "hear"; readonly logsBack: number; readonly lag: number }
  /** Somebody fills an entry, under what a replica answered. */
  | {
      readonly step: "fill"
      readonly logsBack: number
      readonly lag: number
      readonly entry: Pick<Entry, "namespace" | "tags">
    }

const behind = {
  logsBack: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 2 })),
  lag: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 4 })),
}

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ step: fc.constant("publish" as const), event, wait: fc.nat(3) }) },
  {
    weight: 1,
    arbitrary: fc.record({ step: fc.constant("renew" as const), clock: fc.integer({ min: 1, max: 60 }) }),
  },
  { weight: 4, arbitrary: fc.record({ step: fc.constant("hear" as const), ...behind }) },
  { weight: 4, arbitrary: fc.record({ step: fc.constant("fill" as const), ...behind, entry: depends }) },
)

/** A reader, and what it must be able to tell of the store from all that it was told. */
class Reader {
  high: HighWater | undefined
  log = -1
  version = -1

  hear(answer: HighWater, log: number, version: number): void {
    // A log that this reader has seen end is not believed any more: whoever tells of it lags, or was replaced.
    if (log < this.log) return
    this.high = raise(this.high, answer)
    if (log > this.log) this.version = -1
    this.log = log
    this.version = Math.max(this.version, version)
  }
}

describe("what is served", () => {
  it("is never what was invalidated in what the reader knew, and is all that was not", () => {
    let judged = 0
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 4, maxLength: 40, size: "max" }),
        fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
        (steps, maxTags) => {
          let now = 20
          const logs = [new Log(now)]
          const entries: Entry[] = []
          const reader = new Reader()
          const find = ({ logsBack, lag }: { readonly logsBack: number; readonly lag: number }) => {
            const index = Math.max(0, logs.length - 1 - logsBack)
            const log = logs[index]
            if (!log) throw new RangeError(`there is no log ${index}`)
            return { index, log, version: Math.max(0, log.version - lag) }
          }
          for (const one of steps) {
            if (one.step === "publish") {
              now += one.wait
              find({ logsBack: 0, lag: 0 }).log.publish(one.event, now, maxTags)
            } else if (one.step === "renew") {
              now = one.clock
              // Microseconds of two beginnings do not coincide.
              while (logs.some((log) => log.generation === now)) now += 1
              logs.push(new Log(now))
            } else if (one.step === "fill") {
              const { index, log, version } = find(one)
              const stamp = stampOf(log.answer(version, one.entry.namespace, []))
              entries.push({ log: index, version, stamp, ...one.entry })
            } else {
              const { index, log, version } = find(one)
              reader.hear(stampedAt(log, version), index, version)
              for (const entry of entries) {
                judged += 1
                judge(entry, reader, log.answer(version, entry.namespace, entry.tags), index, version, logs)
              }
            }
          }
        },
      ),
      { numRuns: 1_000 },
    )
    expect(judged).toBeGreaterThan(10_000)
  })
})

const stampedAt = (log: Log, version: number): HighWater => ({
  generation: log.generation,
  last: log.at(version).last,
})

function judge(
  entry: Entry,
  reader: Reader,
  answer: Answer,
  answeredLog: number,
  answeredVersion: number,
  logs: readonly Log[],
): void {
  const { stamp, tags } = entry
  const known = logs[reader.log]
  const since = (version: number): readonly Event[] => known?.events.slice(entry.version, version) ?? []
  const inItsLog = entry.log === reader.log
  const missed = since(reader.version).filter((one) => isAbout(one, entry))
  const fresh = isFresh(stamp, answer, tags, reader.high)
  const servable = isServable(stamp, answer, reader.high)

  if (fresh) expect({ inItsLog, missed }).toEqual({ inItsLog: true, missed: [] })
  if (servable)
    expect({ inItsLog, hard: missed.filter(({ isHard }) => isHard) }).toEqual({ inItsLog: true, hard: [] })

  // A reader that was never told anything before knows what this answer tells, and no more.
  if (isFresh(stamp, answer, tags)) {
    expect(entry.log).toBe(answeredLog)
    const told = logs[answeredLog]?.events.slice(entry.version, answeredVersion) ?? []
    expect(told.filter((one) => isAbout(one, entry))).toEqual([])
  }

  if (!inItsLog || answeredLog !== reader.log) return
  if (entry.version >= reader.version) expect(fresh).toBe(true)
  if (answeredVersion < reader.version) return
  const isKnownSingly = answer.floor <= stamp.epoch
  if (missed.length === 0 && isKnownSingly) expect(fresh).toBe(true)
  const hardAbove = since(reader.version).filter(
    (one) => one.isHard && isWithin(entry.namespace, one.namespace),
  )
  expect(servable).toBe(hardAbove.length === 0)
}

const answer = (parts: Partial<Answer>): Answer => ({
  generation: 1,
  last: 400,
  epoch: 100,
  watermark: 300,
  hard: 50,
  floor: 0,
  tags: new Map([
    ["x", 200],
    ["y", 300],
  ]),
  ...parts,
})
const at = (epoch: Epoch, generation = 1): Stamp => ({ generation, epoch })

describe("an entry is fresh", () => {
  it.each([
    ["when nothing in its namespace was invalidated since", at(300), ["x", "y"], answer({}), true],
    ["when what was invalidated is no tag of its own", at(200), ["x"], answer({}), true],
    ["not when a tag of its own was", at(200), ["x", "y"], answer({}), false],
    ["not when its whole namespace was", at(99), [], answer({}), false],
    [
      "not when an ancestor was, though its own watermark never moved",
      at(350),
      [],
      answer({ epoch: 351, watermark: 351 }),
      false,
    ],
    ["when a tag that is not listed can be no newer than it", at(200), ["z"], answer({ floor: 200 }), true],
    ["not when such a tag may be newer", at(200), ["z"], answer({ floor: 201 }), false],
    // A tag that is only known after the read: the stamp is of the tenant, not of the tags that were asked.
    ["at once, whatever tags the read turns up", at(400), ["y", "unheard of"], answer({}), true],
    [
      "not in another generation, though its clock is behind",
      at(1_005, 1),
      [],
      answer({ generation: 2, last: 1_002 }),
      false,
    ],
    ["not in another generation, though its clock is ahead", at(10, 2), [], answer({ epoch: 0 }), false],
  ] as const)("%s", (_, stamp, tags, told, fresh) => expect(isFresh(stamp, told, tags)).toBe(fresh))
})

describe("an answer that tells less than the reader knew", () => {
  const high = { generation: 1, last: 401 }

  it("is used for nothing but to say no", () => {
    // The replica has not seen what came at 401: it may have been y, and what it says of y proves nothing.
    expect(isFresh(at(400), answer({}), ["y"], high)).toBe(false)
    expect(isServable(at(400), answer({}), high)).toBe(false)
    expect(isFresh(at(401), answer({}), ["y"], high)).toBe(true)
  })

  it("says nothing at all in another generation", () => {
    const later = { generation: 2, last: 10 }
    expect(isFresh(at(400), answer({}), [], later)).toBe(false)
    expect(isServable(at(400), answer({}), later)).toBe(false)
  })
})

describe("a stale entry may be served while it is revalidated", () => {
  it.each([
    ["when it is newer than the last hard invalidation", at(60), true],
    ["when it is as new: that one was before the origin was read", at(50), true],
    ["not when it is older", at(49), false],
    ["not in another generation", at(60, 2), false],
  ])("%s", (_, stamp, servable) => expect(isServable(stamp, answer({}))).toBe(servable))
})

describe("the high-water mark", () => {
  it("rises within a generation, and gives way to another", () => {
    const mark = { generation: 2, last: 20 }
    expect(raise(undefined, mark)).toEqual(mark)
    expect(raise(mark, { generation: 2, last: 19 })).toBe(mark)
    expect(raise(mark, { generation: 2, last: 21 })).toEqual({ generation: 2, last: 21 })
    expect(raise(mark, { generation: 1, last: 5 })).toEqual({ generation: 1, last: 5 })
    expect(raise(mark, { generation: 3, last: 5 })).toEqual({ generation: 3, last: 5 })
  })
})

it("a url is asked as the tag that holds it", () => {
  expect(askedTags({ tags: ["x"], urls: ["https://www.example.com/"] })).toEqual([
    "x",
    "u:https://www.example.com/",
  ])
  expect(askedTags({})).toEqual([])
})
