import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { type Lookup, lookupJson } from "../protocol/lookup.ts"
import type { EpochStore } from "./epoch-store.ts"
import { workerStore } from "./store.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark, type Judgement, type Tidemark } from "./tidemark.ts"

/**
 * What a reader does when its store does not do what it should: docs/request-time.md tells the same, cell by cell. An
 * entry is filled and fresh; then the store fails in one way, and after some time the entry is judged.
 */

const TTL = 5_000
const MAX_STALE = 60_000
const MINUTE = 60_000

type Verdict = Judgement["verdict"]

interface Row {
  readonly failure: string
  /** What becomes of the store. Default: nothing. */
  readonly breaks?: (
    store: ModelStore,
    tidemark: Tidemark,
    clock: Clock,
  ) => EpochStore["lookup"] | undefined | Promise<EpochStore["lookup"]>
  readonly isMirror?: boolean
  /** Whether the entry is invalidated when the store fails: what was lost must not be served for ever. */
  readonly invalidated?: boolean
  /** The verdicts after `TTL`, `2 * TTL`, `maxStale` and just above it, for `serve-stale` and for `bypass`. */
  readonly serveStale: readonly [Verdict, Verdict, Verdict, Verdict]
  readonly bypass: readonly [Verdict, Verdict, Verdict, Verdict]
}

const KNOWN_UNTIL_MAX_STALE = ["fresh", "fresh", "fresh", "unknown"] as const
const KNOWN_UNTIL_2_TTL = ["fresh", "unknown", "unknown", "unknown"] as const
const ALWAYS = ["fresh", "fresh", "fresh", "fresh"] as const
const SEEN = ["fresh", "stale", "stale", "stale"] as const

const skewed =
  (by: number) =>
  (store: ModelStore): EpochStore["lookup"] =>
  async (...asked) => {
    const answer = await store.lookup(...asked)
    return { ...answer, asOf: answer.asOf + by }
  }

const answering = (garbage: unknown) => (): EpochStore["lookup"] => async () => garbage as Lookup

/** Through a cache that keeps what it was given a moment ago, and gives that to everybody from now on. */
const cached = async (store: ModelStore, _: Tidemark, clock: Clock): Promise<EpochStore["lookup"]> => {
  const copies: Promise<string>[] = []
  const worker = workerStore({
    url: "https://tidemark.example.com",
    token: "t",
    now: clock.now,
    fetch: async () => {
      const request = new Map([["blog", { tags: [], urls: [] }]])
      copies.push(store.lookup(request).then((answer) => JSON.stringify(lookupJson(answer))))
      return new Response((await copies[0]) ?? "")
    },
  })
  await worker.lookup(new Map([["blog", { tags: [], urls: [] }]]))
  return worker.lookup
}

const ROWS: readonly Row[] = [
  { failure: "none", serveStale: ALWAYS, bypass: ALWAYS },
  { failure: "none, and the entry is invalidated", invalidated: true, serveStale: SEEN, bypass: SEEN },
  {
    failure: "away",
    breaks: () => () => Promise.reject(new Error("connection refused")),
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "away, and the entry is invalidated",
    breaks: () => () => Promise.reject(new Error("connection refused")),
    invalidated: true,
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "so slow that it counts as away",
    breaks: () => () => new Promise(() => undefined),
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "a cache in between answers for it, and the entry is invalidated",
    breaks: cached,
    invalidated: true,
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "is empty: it lost everything, and no log has begun",
    breaks: (_, __, clock) => new ModelStore(clock, true).lookup,
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "answers something else: undefined",
    breaks: answering(undefined),
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "answers something else: an object without namespaces",
    breaks: answering({ generation: 1, last: 2, asOf: 3 }),
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
  {
    failure: "answers of another tenant's lower generation",
    breaks: (store) => async (request) => ({
      ...(await store.lookup(request)),
      generation: 1,
      last: 2,
    }),
    serveStale: ["fresh", "fresh", "fresh", "unknown"],
    bypass: ["fresh", "unknown", "unknown", "unknown"],
  },
  {
    failure: "answers from a replica that has not seen a publish of which this reader knows",
    breaks: (store, tidemark) => {
      tidemark.hear(store.record({ kind: "namespace", namespace: "shop" }))
      store.lag = 1
      return undefined
    },
    // Whether the entry is concerned cannot be told: such an answer is used for nothing but to say no.
    serveStale: ["dead", "dead", "dead", "dead"],
    bypass: ["dead", "dead", "dead", "dead"],
  },
  {
    failure: "another generation, a higher one: all that was filled before is gone",
    breaks: (store) => {
      store.renew(0)
      return undefined
    },
    serveStale: ["fresh", "dead", "dead", "dead"],
    bypass: ["fresh", "dead", "dead", "dead"],
  },
  { failure: "its clock is a minute ahead", breaks: skewed(MINUTE), serveStale: ALWAYS, bypass: ALWAYS },
  {
    failure: "its clock is an hour behind",
    breaks: skewed(-60 * MINUTE),
    serveStale: ALWAYS,
    bypass: ALWAYS,
  },
  {
    failure: "its clock is a minute ahead, and the entry is invalidated",
    breaks: skewed(MINUTE),
    invalidated: true,
    serveStale: SEEN,
    bypass: SEEN,
  },
  {
    failure: "a mirror, as old as the last write: half of maxStale",
    isMirror: true,
    breaks: skewed(-MAX_STALE / 2),
    serveStale: ALWAYS,
    bypass: ALWAYS,
  },
  {
    failure: "a mirror by a clock that is a minute ahead",
    isMirror: true,
    breaks: skewed(MINUTE),
    serveStale: ALWAYS,
    bypass: ALWAYS,
  },
  {
    failure: "a mirror that nobody has written for longer than maxStale",
    isMirror: true,
    breaks: skewed(-MAX_STALE - 1),
    serveStale: KNOWN_UNTIL_MAX_STALE,
    bypass: KNOWN_UNTIL_2_TTL,
  },
]

const AGES = [TTL, 2 * TTL, MAX_STALE, MAX_STALE + 1]
const CELLS = ROWS.flatMap((row) =>
  (["serveStale", "bypass"] as const).flatMap((column) =>
    AGES.map((age, index) => ({ ...row, column, age, verdict: row[column][index] })),
  ),
)

describe("a store that fails", () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it.each(CELLS)(
    "$failure; $column; after $age ms: $verdict",
    async ({ breaks, isMirror = false, invalidated, column, age, verdict }) => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      let lookup: EpochStore["lookup"] = (...asked) => store.lookup(...asked)
      store.record({ kind: "everything", namespace: "" })
      const tidemark = createTidemark({
        store: { isMirror, lookup: (...asked) => lookup(...asked) },
        ttl: TTL,
        maxStale: MAX_STALE,
        onStoreFailure: column === "bypass" ? "bypass" : "serve-stale",
        now: clock.now,
        random: () => 0,
        onError: () => undefined,
      })
      store.record({ kind: "namespace", namespace: "shop" })
      const { stamp } = await tidemark.begin("blog")
      lookup = (await breaks?.(store, tidemark, clock)) ?? lookup
      if (invalidated) store.record({ kind: "namespace", namespace: "blog" })
      clock.time += age
      const judged = tidemark.judge(stamp, "blog")
      await vi.advanceTimersByTimeAsync(3_000)
      expect((await judged).verdict).toBe(verdict)
      expect(vi.getTimerCount()).toBe(0)
    },
  )
})

describe("a reader's own clock", () => {
  it.each([-MINUTE, MINUTE])(
    "that jumps by %i ms neither serves what is stale nor misses for ever",
    async (by) => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      store.record({ kind: "everything", namespace: "" })
      const tidemark = createTidemark({ store, ttl: TTL, now: clock.now, random: () => 0 })
      const { stamp } = await tidemark.begin("blog")
      clock.time += by
      store.skew = -by
      store.record({ kind: "namespace", namespace: "blog" })
      clock.time += 2 * TTL
      expect((await tidemark.judge(stamp, "blog")).verdict).toBe("stale")
      const later = await tidemark.begin("blog")
      expect((await tidemark.judge(later.stamp, "blog")).verdict).toBe("fresh")
    },
  )
})
