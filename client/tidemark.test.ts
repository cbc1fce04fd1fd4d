import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { Epoch, Generation, Stamp } from "../protocol/epoch.ts"
import { chain } from "../protocol/namespace.ts"
import { Clock, concerns, type Happening, ModelStore } from "./testing/model-store.ts"
import { type EpochStore, StoreRefusal } from "./epoch-store.ts"
import { createTidemark, type TidemarkOptions } from "./tidemark.ts"

const TTL = 5_000
const MAX_STALE = 60_000

function setUp(options: Partial<TidemarkOptions> = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  const tidemark = createTidemark({
    store,
    now: clock.now,
    random: () => 0,
    onError: () => undefined,
    ...options,
  })
  return { clock, store, tidemark }
}

const urlOf = (name: string) => `https://www.example.com/${name}`

describe("a reader with a ttl of 0 and a store that answers: exactly what the server says", () => {
  const kinds: Happening[] = [
    { kind: "tags", namespace: "shop/books", values: ["a"] },
    { kind: "urls", namespace: "shop/books", values: [urlOf("a")] },
    { kind: "namespace", namespace: "shop/books" },
    { kind: "namespace", namespace: "shop" },
    { kind: "everything", namespace: "" },
    { kind: "renewal", namespace: "" },
  ]

  it.each(kinds.flatMap((kind) => [kind, { ...kind, hard: true }]))(
    "$kind of '$namespace', hard: $hard",
    async (event) => {
      const { store, clock, tidemark } = setUp({ ttl: 0, maxStale: MAX_STALE })
      store.record({ kind: "namespace", namespace: "other" })
      const { stamp } = await tidemark.begin("shop/books")
      const key = await tidemark.key("shop/books")
      clock.time += 1_000
      expect(await tidemark.isFresh(stamp, "shop/books", { tags: ["a"], urls: [urlOf("a")] })).toBe(true)
      expect(await tidemark.key("shop/books")).toBe(key)

      store.record(event)
      clock.time += 250
      const judged = await tidemark.judge(stamp, "shop/books", { tags: ["a"], urls: [urlOf("a")] })
      const isDead = event.hard === true || event.kind === "renewal"
      expect(judged).toEqual(isDead ? { verdict: "dead" } : { verdict: "stale", staleFor: 250 })
      expect(await tidemark.isServable(stamp, "shop/books")).toBe(!isDead)
      expect(await tidemark.key("shop/books")).not.toBe(key)

      const isWhole = event.kind !== "tags" && event.kind !== "urls"
      const unrelated = { tags: ["b"], urls: [urlOf("b")] }
      expect(await tidemark.isFresh(stamp, "shop/books", unrelated), "an unrelated tag and url").toBe(
        !isWhole,
      )
      expect(await tidemark.isFresh(stamp, "other"), "another namespace").toBe(
        event.kind !== "everything" && event.kind !== "renewal",
      )
    },
  )

  it("counts staleness from the first of the invalidations that it knows", async () => {
    const { store, clock, tidemark } = setUp({ ttl: 0 })
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    for (const tag of ["a", "b", "c"]) {
      clock.time += 1_000
      store.record({ kind: "tags", namespace: "blog", values: [tag] })
    }
    clock.time += 0.25
    expect(await tidemark.judge(stamp, "blog", { tags: ["c", "b"] })).toEqual({
      verdict: "stale",
      staleFor: 1_000.25,
    })
  })

  it("counts any invalidation in the namespace where it is not known what an entry depends on", async () => {
    const { store, tidemark } = setUp({ ttl: 0 })
    const { stamp } = await tidemark.begin("blog")
    expect(await tidemark.isFresh(stamp, "blog", "anything")).toBe(true)
    store.record({ kind: "tags", namespace: "blog", values: ["b"] })
    const fill = await tidemark.begin("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["b"] })
    expect(await tidemark.isFresh(fill.stamp, "blog", { tags: ["a"] })).toBe(true)
    expect(await tidemark.isFresh(fill.stamp, "blog", "anything")).toBe(false)
    const many = Array.from({ length: 1_001 }, (_, index) => `tag-${index}`)
    expect(await tidemark.isFresh(fill.stamp, "blog", { tags: many })).toBe(false)
    expect(await tidemark.isFresh(fill.stamp, "blog", { tags: many.slice(1) })).toBe(true)
  })

  it("keeps the key of whole bumps only, where that is asked for", async () => {
    const { store, tidemark } = setUp({ ttl: 0 })
    store.record({ kind: "namespace", namespace: "blog" })
    const key = await tidemark.key("blog", { on: "namespace" })
    store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    expect(await tidemark.key("blog", { on: "namespace" })).toBe(key)
    store.record({ kind: "namespace", namespace: "blog" })
    expect(await tidemark.key("blog", { on: "namespace" })).not.toBe(key)
  })
})

// The race that caches without a stamp lose: the origin is read before an invalidation, the entry is stored after it.
describe("a fill that overlaps an invalidation", () => {
  it.each([
    { kind: "tags", namespace: "blog", values: ["a"] },
    { kind: "namespace", namespace: "blog" },
    { kind: "everything", namespace: "" },
  ] as const)("is never fresh: $kind", async (event) => {
    for (const told of [false, true]) {
      const { store, clock, tidemark } = setUp()
      store.record({ kind: "namespace", namespace: "other" })
      const fill = await tidemark.begin("blog")
      store.record(event)
      // Whether or not the reader hears of it while the origin is still being read.
      if (told) await tidemark.judge(fill.stamp, "blog", { tags: ["a"] }, { fresh: { atLeast: store.last } })
      clock.time += 2 * TTL
      expect(await tidemark.isFresh(fill.stamp, "blog", { tags: ["a"] })).toBe(false)
    }
  })

  it("and the next one is fresh", async () => {
    const { store, clock, tidemark } = setUp()
    store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    clock.time += 2 * TTL
    const { stamp } = await tidemark.begin("blog")
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(true)
  })
})

interface Entry {
  readonly namespace: string
  readonly tags: readonly string[]
  readonly url: string
  readonly stamp: Stamp | undefined
  /** What the reader had been told when the fill began, and how far the server was when the origin was read. */
  readonly begun: number
  read: number | undefined
}

const NAMESPACES = ["shop", "shop/books", "shop/books/new", "blog"]
const TAGS = ["a", "b", "c"]
const URLS = ["x", "y"].map(urlOf)

const anyNamespace = fc.constantFrom(...NAMESPACES)
const anyTags = fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 2 })
const anyEvent: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({
    kind: fc.constant("tags" as const),
    namespace: anyNamespace,
    values: fc.uniqueArray(fc.constantFrom(...TAGS), { minLength: 1 }),
    hard: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("urls" as const),
    namespace: anyNamespace,
    values: fc.uniqueArray(fc.constantFrom(...URLS), { minLength: 1 }),
    hard: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("namespace" as const), namespace: anyNamespace, hard: fc.boolean() }),
  fc.record({ kind: fc.constant("everything" as const), namespace: fc.constant(""), hard: fc.boolean() }),
)

type Step =
  | { readonly do: "publish"; readonly event: Happening }
  | { readonly do: "renew"; readonly skew: number }
  | { readonly do: "wait"; readonly time: number }
  | { readonly do: "lag"; readonly events: number }
  | { readonly do: "away"; readonly away: boolean }
  | {
      readonly do: "begin"
      readonly namespace: string
      readonly tags: readonly string[]
      readonly url: string
    }
  | { readonly do: "read"; readonly entry: number }
  | { readonly do: "judge"; readonly entry: number }

const steps = (weights: { renew: number; lag: number; away: number }): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.oneof(
      { weight: 6, arbitrary: anyEvent.map((event): Step => ({ do: "publish", event })) },
      {
        weight: weights.renew,
        arbitrary: fc.constantFrom(-3_600_000, -1, 0, 1).map((skew): Step => ({ do: "renew", skew })),
      },
      {
        weight: 5,
        arbitrary: fc
          .constantFrom(1, 900, 2_000, 5_000, 9_999, 10_000, 61_000)
          .map((time): Step => ({ do: "wait", time })),
      },
      {
        weight: weights.lag,
        arbitrary: fc.integer({ min: 0, max: 4 }).map((events): Step => ({ do: "lag", events })),
      },
      { weight: weights.away, arbitrary: fc.boolean().map((away): Step => ({ do: "away", away })) },
      {
        weight: 5,
        arbitrary: fc
          .tuple(anyNamespace, anyTags, fc.constantFrom(...URLS))
          .map(([namespace, tags, url]): Step => ({ do: "begin", namespace, tags, url })),
      },
      { weight: 3, arbitrary: fc.nat({ max: 30 }).map((entry): Step => ({ do: "read", entry })) },
      { weight: 10, arbitrary: fc.nat({ max: 30 }).map((entry): Step => ({ do: "judge", entry })) },
    ),
    { minLength: 5, maxLength: 60 },
  )

/** What a reader was told, by the rules of the documents and nothing of the code: how much of the list it knows. */
class Ledger {
  generation: Generation | undefined
  version = 0
  readonly #ended = new Set<Generation>()
  readonly #versions = new Map<Generation, number>()
  #lowerSince: number | undefined

  hear(generation: Generation, version: number, now: number): void {
    const present = this.generation
    if (present !== undefined && generation !== present) {
      if (this.#ended.has(generation)) return
      if (generation < present) {
        this.#lowerSince ??= now
        if (now - this.#lowerSince <= MAX_STALE) return
      } else this.#ended.add(present)
    }
    this.#lowerSince = undefined
    this.generation = generation
    this.version = Math.max(version, this.#versions.get(generation) ?? 0)
    this.#versions.set(generation, this.version)
  }
}

/** Some turns of the event loop's inner queue: cheaper than a timer, and alike in every runtime. */
async function later(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await Promise.resolve()
}

interface Seen {
  readonly entry: Entry
  readonly verdict: string
  readonly store: ModelStore
  readonly ledger: Ledger
  readonly now: number
}

/** Runs a history, filling and judging entries, and lets `check` look at every judgement. */
async function run(
  history: readonly Step[],
  options: Partial<TidemarkOptions>,
  check: (seen: Seen) => void,
): Promise<void> {
  const { clock, store, tidemark } = setUp(options)
  const ledger = new Ledger()
  store.onLookup = async (version) => {
    // Told is what has arrived: a refresh in the background arrives after the judgement that set it off.
    await later(30)
    ledger.hear(store.events.at(version - 1)?.generation ?? 0, version, clock.time)
  }
  // The first answers of a store that was never written are of no interest here.
  store.record({ kind: "everything", namespace: "" })
  const entries: Entry[] = []
  for (const step of history) {
    await later(100)
    if (step.do === "publish") store.record(step.event)
    else if (step.do === "renew") {
      if (step.skew === 0) store.record({ kind: "renewal", namespace: "" })
      else store.renew(step.skew)
    } else if (step.do === "wait") clock.time += step.time
    else if (step.do === "lag") store.lag = Math.min(step.events, store.version - 1)
    else if (step.do === "away") store.away = step.away
    else if (step.do === "begin") {
      const { namespace, tags, url } = step
      const { stamp } = await tidemark.begin(namespace)
      entries.push({ namespace, tags, url, stamp, begun: ledger.version, read: undefined })
    } else {
      const entry = entries[step.entry % Math.max(1, entries.length)]
      if (!entry) continue
      // The origin is read at any time after the fill began, and what it then knows is what the entry holds.
      entry.read ??= store.version
      if (step.do === "read") continue
      const { verdict } = await tidemark.judge(entry.stamp, entry.namespace, {
        tags: entry.tags,
        urls: [entry.url],
      })
      check({ entry, verdict, store, ledger, now: clock.time })
    }
  }
}

const newer = ({ store, entry }: Seen, from: number, to: number) =>
  store.events.slice(from, to).filter((event) => concerns(event, entry.namespace, entry.tags, entry.url))

describe("over random histories", () => {
  it("no entry is judged fresh that is staler than what the reader was told", async () => {
    let fresh = 0
    await fc.assert(
      fc.asyncProperty(
        steps({ renew: 1, lag: 3, away: 2 }),
        fc.constantFrom(0, TTL),
        async (history, ttl) => {
          await run(history, { ttl, maxStale: MAX_STALE }, (seen) => {
            if (seen.verdict !== "fresh") return
            fresh += 1
            const { entry, ledger, store } = seen
            expect(entry.stamp?.generation, "its generation is the one that the reader believes").toBe(
              ledger.generation,
            )
            const known = store.events
              .slice(0, ledger.version)
              .filter((event) => event.generation === ledger.generation)
            const missed = known.filter(
              (event) =>
                store.events.indexOf(event) >= (entry.read ?? 0) &&
                concerns(event, entry.namespace, entry.tags, entry.url),
            )
            expect(missed, "told of an invalidation, and served what is older").toEqual([])
          })
        },
      ),
      { numRuns: 1_000 },
    )
    expect(fresh, "entries were fresh at all").toBeGreaterThan(1_000)
  })

  it("with a store that answers and does not lag, nothing is fresh for longer than 2 * ttl after its invalidation", async () => {
    await fc.assert(
      fc.asyncProperty(steps({ renew: 0, lag: 0, away: 0 }), async (history) => {
        await run(history, {}, (seen) => {
          const late = newer(seen, seen.entry.read ?? 0, seen.store.version).filter(
            ({ at }) => seen.now - at >= 2 * TTL,
          )
          if (seen.verdict === "fresh") expect(late).toEqual([])
          expect(seen.verdict).not.toBe("unknown")
        })
      }),
      { numRuns: 500 },
    )
  })

  it("with a ttl of 0 every verdict is the server's: fresh, stale or dead", async () => {
    const seenVerdicts = new Set<string>()
    await fc.assert(
      fc.asyncProperty(steps({ renew: 0, lag: 0, away: 0 }), async (history) => {
        await run(history, { ttl: 0 }, (seen) => {
          const since = newer(seen, seen.entry.begun, seen.store.version)
          const above = chain(seen.entry.namespace)
          const purged = seen.store.events
            .slice(seen.entry.begun)
            .some((event) => event.hard && above.includes(event.namespace))
          expect(seen.verdict).toBe(since.length === 0 ? "fresh" : purged ? "dead" : "stale")
          seenVerdicts.add(seen.verdict)
        })
      }),
      { numRuns: 500 },
    )
    expect([...seenVerdicts].toSorted()).toEqual(["dead", "fresh", "stale"])
  })
})

describe("the mark of a reader (H4)", () => {
  it("caches what is filled under tags that were invalidated before: tags are known only after the read", async () => {
    const { store, clock, tidemark } = setUp()
    store.record({ kind: "tags", namespace: "blog", values: ["author-7"] })
    clock.time += 1
    const { stamp } = await tidemark.begin("blog")
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["author-7"] })).toBe(true)
  })

  it("is held against answers of a replica that lags, which only say no", async () => {
    const { store, clock, tidemark } = setUp({ ttl: 0 })
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    const before = await tidemark.begin("blog")
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    await tidemark.judge(before.stamp, "blog")
    // The replica tells of the first invalidation only, by which the entry would be fresh.
    store.lag = 1
    expect(await tidemark.isFresh(before.stamp, "blog", { tags: ["z"] })).toBe(false)
    expect((await tidemark.judge(before.stamp, "blog", { tags: ["unrelated"] })).verdict).toBe("dead")
    // What is filled now was filled knowing of both, and is fresh by the same replica.
    const after = await tidemark.begin("blog")
    expect(after.stamp?.epoch).toBe(store.last)
    expect(await tidemark.isFresh(after.stamp, "blog", { tags: ["z"] })).toBe(true)
  })

  it("makes an old answer's key one that nobody filled before", async () => {
    const { store, tidemark } = setUp({ ttl: 0 })
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    const old = await tidemark.key("blog")
    store.record({ kind: "tags", namespace: "blog", values: ["z"] })
    const key = await tidemark.key("blog")
    store.lag = 1
    expect(await tidemark.key("blog")).toBe(key)
    expect(key).not.toBe(old)
  })

  it("takes a lower generation for a store that is away until maxStale has passed, then believes it", async () => {
    const { store, clock, tidemark } = setUp()
    store.record({ kind: "namespace", namespace: "blog" })
    const { stamp } = await tidemark.begin("blog")
    const lower = store.renew(-3_600_000)
    expect(lower.generation).toBeLessThan(stamp?.generation ?? 0)
    const verdicts: string[] = []
    for (let second = 0; second <= 75; second += 1) {
      clock.time += 1_000
      verdicts.push((await tidemark.judge(stamp, "blog")).verdict)
    }
    // 5 s from memory, 60 s as if the store were away, then dead by another generation.
    expect(verdicts.slice(0, 59)).toEqual(Array(59).fill("fresh"))
    expect(verdicts.at(-1)).toBe("dead")
    expect(new Set(verdicts.slice(60, 70))).not.toContain("fresh")
    const refilled = await tidemark.begin("blog")
    expect(refilled.stamp).toEqual({ generation: lower.generation, epoch: lower.epoch })
    expect(await tidemark.isFresh(refilled.stamp, "blog")).toBe(true)
  })

  it("does not revive an entry of a generation that ended, though that generation be told again", async () => {
    const { store, clock, tidemark } = setUp({ ttl: 0, maxStale: MAX_STALE })
    store.record({ kind: "namespace", namespace: "blog" })
    const { stamp } = await tidemark.begin("blog")
    clock.time += 1_000
    store.record({ kind: "renewal", namespace: "" })
    expect((await tidemark.judge(stamp, "blog")).verdict).toBe("dead")
    store.lag = 1
    for (let round = 0; round < 5; round += 1) {
      clock.time += MAX_STALE
      expect((await tidemark.judge(stamp, "blog")).verdict).not.toBe("fresh")
    }
  })

  it("reads one's own write", async () => {
    const { store, clock, tidemark } = setUp()
    store.record({ kind: "namespace", namespace: "other" })
    const { stamp } = await tidemark.begin("blog")
    clock.time += 1
    const { epoch } = store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] }), "within ttl").toBe(true)
    const fresh = { atLeast: epoch }
    store.lag = 1
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] }, { fresh }), "the replica lags").toBe(false)
    store.lag = 0
    clock.time += 2_000
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] }, { fresh })).toBe(false)
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["b"] }, { fresh }), "unrelated").toBe(true)
  })

  it("is not raised by an epoch that somebody merely asked for", async () => {
    const { store, clock, tidemark } = setUp()
    store.record({ kind: "namespace", namespace: "blog" })
    const far: Epoch = Number.MAX_SAFE_INTEGER
    const { stamp } = await tidemark.begin("blog", { fresh: { atLeast: far } })
    expect(stamp?.epoch).toBe(store.last)
    clock.time += 3_000
    expect(await tidemark.isFresh(stamp, "blog")).toBe(true)
  })
})

describe("options", () => {
  const { store } = setUp()
  it.each([
    [{ ttl: -1 }, "ttl must be 0 or more, got -1"],
    [{ ttl: Number.NaN }, "ttl must be 0 or more, got NaN"],
    [{ ttl: 5_000, maxStale: 9_999 }, "maxStale must be at least 10000 ms, got 9999"],
  ])("%j is refused, naming what is wrong", (options, message) => {
    expect(() => createTidemark({ store, ...options })).toThrow(new RangeError(message))
  })

  it("a ttl and a maxStale of 0 use an answer at once only", async () => {
    const reader = setUp({ ttl: 0, maxStale: 0 })
    const { stamp } = await reader.tidemark.begin("blog")
    expect(await reader.tidemark.isFresh(stamp, "blog")).toBe(true)
    reader.clock.time += 1
    reader.store.away = true
    expect((await reader.tidemark.judge(stamp, "blog")).verdict).toBe("unknown")
  })
})

describe("publishing", () => {
  it("raises one's own mark: what was filled before is judged anew at once, what is filled now counts", async () => {
    const { store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const before = await tidemark.begin("blog")
    const { epoch, id } = await tidemark.invalidate({ namespace: "blog", tags: ["a"] })
    expect(id).toBe(String(epoch))
    expect((await tidemark.judge(before.stamp, "blog", { tags: ["a"] })).verdict).toBe("stale")
    expect((await tidemark.judge(before.stamp, "blog", { tags: ["b"] })).verdict).toBe("fresh")
    const { stamp } = await tidemark.begin("blog")
    expect(stamp?.epoch).toBe(epoch)
    await tidemark.purge({ everything: true })
    expect((await tidemark.judge(stamp, "blog")).verdict).toBe("dead")
  })

  it("before anything was read, too, and where a replica has not heard of it", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { epoch } = await tidemark.purge({ namespace: "blog" })
    store.lag = 1
    const { stamp } = await tidemark.begin("blog")
    expect(await tidemark.isFresh(stamp, "blog")).toBe(false)
    store.lag = 0
    clock.time += 2_000
    const fill = await tidemark.begin("blog", { fresh: { atLeast: epoch } })
    expect(await tidemark.isFresh(fill.stamp, "blog")).toBe(true)
  })

  it("says so where it cannot, and hands on a refusal", async () => {
    const { store } = setUp()
    const lookup: EpochStore["lookup"] = (...asked) => store.lookup(...asked)
    await expect(createTidemark({ store: { lookup } }).invalidate({ everything: true })).rejects.toThrow(
      new TypeError("this store cannot publish"),
    )
    const refusal = new StoreRefusal(422, "not declared")
    const refusing = createTidemark({ store: { lookup, publish: () => Promise.reject(refusal) } })
    await expect(refusing.purge({ namespace: "blog" })).rejects.toBe(refusal)
  })
})

describe("a wake", () => {
  it("makes what is held count for nothing but to say no, until the store was asked", async () => {
    const { store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    const before = store.requests.length
    const { generation, epoch } = store.record({ kind: "tags", namespace: "blog", values: ["a"] })
    tidemark.hear({ generation, epoch })
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["a"] })).toBe(false)
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["b"] })).toBe(true)
    expect(store.requests).toHaveLength(before + 1)
    tidemark.hear({ generation, epoch: epoch - 1 })
    tidemark.hear({ generation: generation - 1, epoch: epoch + 1 })
    expect(await tidemark.isFresh(stamp, "blog", { tags: ["b"] })).toBe(true)
    expect(store.requests).toHaveLength(before + 1)
  })

  it("that comes while the store is asked does not make its answer too old: what was known before counts", async () => {
    const { clock, store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    clock.time += 2 * TTL
    store.onLookup = () => {
      tidemark.hear(store.record({ kind: "namespace", namespace: "shop" }))
    }
    const before = store.requests.length
    expect((await tidemark.judge(stamp, "blog", { tags: ["a"] })).verdict).toBe("fresh")
    expect(store.requests.length - before).toBe(1)
    // The next one knew of it before it asked.
    store.onLookup = () => undefined
    tidemark.hear(store.record({ kind: "tags", namespace: "blog", values: ["a"] }))
    expect((await tidemark.judge(stamp, "blog", { tags: ["a"] })).verdict).toBe("stale")
  })

  it("of a new generation ends the one before", async () => {
    const { store, tidemark } = setUp()
    store.record({ kind: "everything", namespace: "" })
    const { stamp } = await tidemark.begin("blog")
    const { generation, epoch } = store.renew(0)
    tidemark.hear({ generation, epoch })
    expect((await tidemark.judge(stamp, "blog")).verdict).toBe("dead")
  })
})
