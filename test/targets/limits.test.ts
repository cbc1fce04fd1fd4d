import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Kind } from "../../dispatch/targets/target.ts"
import type { InvalidationInput } from "../../protocol/invalidation.ts"
import { SUBJECTS } from "../fakes/subjects.ts"
import { stageOf, type TargetStage, useRedis } from "./stage.ts"

/**
 * Each vendor's limits, kept by real lanes over a real Redis and judged by the vendor's fake, on its own clock: no call
 * too many, and none refused.
 */
const redis = useRedis()
beforeAll(() => redis.start())
afterAll(() => redis.stop())

const MANY = 10_000
const PER_ENTRY = 1_000
/**
 * Enough to be limited by every vendor: one that takes a value a call is asked no ten thousand times, unless
 * `TIDEMARK_LIMITS_CALLS=10000` says so.
 */
const MANY_CALLS = Number(process.env["TIDEMARK_LIMITS_CALLS"] ?? 300)
const ENTRIES = 30

/** Tags, or urls where the vendor has no tags. */
/** Every call would name one tag more otherwise. */
const WITHOUT_OVERFLOW = { namespaces: { blog: { hosts: ["www.example.com"], overflowTag: false } } }

const listOf = ({ capabilities }: TargetStage): "tags" | "urls" => (capabilities.kinds.tag ? "tags" : "urls")
const KIND_OF = { tags: "tag", urls: "url" } as const satisfies Record<string, Kind>

const valuesOf = (list: "tags" | "urls", from: number, count: number): string[] =>
  Array.from({ length: count }, (_, index) =>
    list === "tags" ? `post-${from + index}` : `https://www.example.com/p/${from + index}`,
  )

/** What one call may carry of them. */
const batchOf = (stage: TargetStage): number => stage.capabilities.kinds[KIND_OF[listOf(stage)]]?.batch ?? 1

/** As the page of a lane: what was published before it began to read is read as one. */
async function publishAll(stage: TargetStage, inputs: readonly InvalidationInput[]): Promise<number[]> {
  const positions = await stage.press.publish(...inputs)
  await stage.level(...positions.map(({ epoch }) => epoch))
  return positions.map(({ epoch }) => epoch)
}

/** A lane's first reading resyncs: it is over before anything is counted. */
async function begun(stage: TargetStage): Promise<void> {
  await publishAll(stage, [{ namespace: "blog", [listOf(stage)]: valuesOf(listOf(stage), 1e6, 1) }])
}

/** Least calls that so many values take, one after the other: a call ends where the next value would be too much. */
function leastCalls({ capabilities }: TargetStage, list: "tags" | "urls", count: number): number {
  const { valueOverhead = 1, kinds } = capabilities
  const { batch = 1, maxBytes = capabilities.maxBytes ?? Number.POSITIVE_INFINITY } =
    kinds[KIND_OF[list]] ?? {}
  let [calls, held, bytes] = [0, batch, 0]
  for (const { length } of valuesOf(list, 0, count)) {
    const isFull = held === batch || bytes + length + valueOverhead > maxBytes
    if (isFull) [calls, held, bytes] = [calls + 1, 0, 0]
    held += 1
    bytes += length + valueOverhead
  }
  return calls
}

describe.each(Object.entries(SUBJECTS))("%s", (_, subject) => {
  it(
    "takes up to ten thousand values in the fewest calls that it allows, and refuses none",
    { timeout: 900_000 },
    async () => {
      const stage = await stageOf(subject, redis, WITHOUT_OVERFLOW)
      await begun(stage)
      const before = stage.fake.taken.length
      const list = listOf(stage)
      const many = Math.min(MANY, MANY_CALLS * batchOf(stage))
      const inputs = Array.from({ length: Math.ceil(many / PER_ENTRY) }, (__, nth) => ({
        namespace: "blog",
        [list]: valuesOf(list, nth * PER_ENTRY, Math.min(PER_ENTRY, many - nth * PER_ENTRY)),
      }))
      await publishAll(stage, inputs)
      const calls = stage.fake.taken.slice(before)
      expect(calls.reduce((sum, count) => sum + count, 0)).toBe(many)
      expect(calls).toHaveLength(leastCalls(stage, list, many))
      expect([stage.fake.limited, stage.fake.complaints]).toEqual([0, []])
    },
  )

  it("is one account to two targets over two relays, also where it says 429 now and then", async () => {
    const stage = await stageOf(subject, redis, {
      ...WITHOUT_OVERFLOW,
      targets: { one: {}, two: {} },
      relays: 2,
    })
    await begun(stage)
    const list = listOf(stage)
    let nth = 0
    stage.intercept = () =>
      (nth += 1) % 20 === 0 ? new Response("{}", { status: 429, headers: { "retry-after": "1" } }) : undefined
    const before = stage.fake.taken.length
    const each = Math.min(100, (MANY_CALLS / ENTRIES) * batchOf(stage))
    await publishAll(
      stage,
      Array.from({ length: ENTRIES }, (__, entry) => ({
        namespace: "blog",
        [list]: valuesOf(list, entry * each, each),
      })),
    )
    const values = stage.fake.taken.slice(before).reduce((sum, count) => sum + count, 0)
    expect(values).toBeGreaterThanOrEqual(2 * ENTRIES * each)
    expect([stage.fake.limited, stage.fake.complaints]).toEqual([0, []])
  })

  it("loses one bad value in a thousand and no other, by few calls more", async () => {
    const stage = await stageOf(subject, redis, {
      ...WITHOUT_OVERFLOW,
      targets: { edge: { onUnsupported: "skip" } },
    })
    await begun(stage)
    const before = stage.fake.taken.length
    const list = listOf(stage)
    const [asked, known] = [stage.requests.length, stage.events.length]
    const poison = list === "tags" ? "poison" : "https://www.example.com/poison"
    const values = [...valuesOf(list, 0, 499), poison, ...valuesOf(list, 500, 500)]
    const [epoch] = await publishAll(stage, [{ namespace: "blog", [list]: values }])
    const record = await stage.press.record(epoch ?? 0)
    expect(record.targets["edge"]?.state).toBe("dead")
    const letters = stage.events.slice(known).filter(({ event }) => event === "lane:deadLettered")
    expect(letters).toHaveLength(1)
    expect(stage.fake.taken.slice(before).reduce((sum, count) => sum + count, 0)).toBe(999)
    const batch = batchOf(stage)
    const extra = stage.requests.length - asked - leastCalls(stage, list, 1_000)
    expect(extra).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(Math.min(batch, 1_000))) + 1)
  })
})
