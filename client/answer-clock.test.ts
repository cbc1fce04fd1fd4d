import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { lookupJson, type LookupRequest } from "../protocol/lookup.ts"
import { AnswerClock } from "./answer-clock.ts"
import { workerStore } from "./store.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Answers as a reader gets them: each takes 100 ms, and the Worker reads its clock half way. */
function setUp(ahead = 0) {
  const clock = new AnswerClock()
  const worker = { ahead }
  let time = 0
  const asOfNow = () => time + 50 + worker.ahead
  /** Waits, asks, and tells how old the answer is found to be: one of now, or a copy. */
  const ask = (wait: number, copyOf?: number) => {
    time += wait
    const sentAt = time
    const asOf = copyOf ?? asOfNow()
    time += 100
    return clock.ageOf(asOf, sentAt, time)
  }
  return { clock, worker, ask, asOfNow }
}

describe("an answer", () => {
  it.each([0, HOUR, -HOUR])("of now is none of a cache, by a clock that is off by %i ms", (ahead) => {
    const { ask } = setUp(ahead)
    for (const wait of [0, 1, 10, 999, 1_000, 5_000, HOUR, DAY, 30 * DAY, 5]) expect(ask(wait)).toBe(0)
  })

  it("that stands still is a copy, from a second on", () => {
    const { ask, asOfNow } = setUp()
    const copy = asOfNow()
    expect(ask(0, copy)).toBe(0)
    expect(ask(500, copy)).toBe(0)
    for (const wait of [1_000, 1_500, 1_500, 1_500, 1_500, 1_500, 5_000, HOUR])
      expect(ask(wait, copy)).toBeGreaterThan(1_000)
    expect(ask(0)).toBe(0)
  })

  it("that moves only when a cache renews it is a copy in between", () => {
    const { ask, asOfNow } = setUp()
    ask(0)
    let found = 0
    for (let renewal = 0; renewal < 20; renewal += 1) {
      const copy = asOfNow()
      for (let visit = 0; visit < 12; visit += 1) if (ask(5_000, copy) > 0) found += 1
    }
    expect(found).toBe(20 * 12)
  })

  it("that goes back to an older copy is one, and does not count as the newest", () => {
    const { ask, asOfNow } = setUp()
    const old = asOfNow()
    ask(5_000)
    expect(ask(5_000, old)).toBeGreaterThan(9_000)
    expect(ask(0, old)).toBeGreaterThan(9_000)
    expect(ask(0)).toBe(0)
  })

  it("is compared with none that was asked for at the same time, or comes out of order", () => {
    const clock = new AnswerClock()
    expect(clock.ageOf(1_000, 0, 20)).toBe(0)
    expect(clock.ageOf(1_000, 0, 30)).toBe(0)
    expect(clock.ageOf(990, 0, 5_000)).toBe(0)
    expect(clock.ageOf(5_500, 4_500, 5_100)).toBe(0)
    expect(clock.ageOf(4_700, 3_700, 5_200)).toBe(0)
  })

  it("of hosts whose clocks differ by less than a second may come in turns", () => {
    const { ask, worker } = setUp()
    for (let visit = 0; visit < 50; visit += 1) {
      worker.ahead = visit % 2 === 0 ? 0 : 900
      expect(ask(visit * 20)).toBe(0)
    }
  })

  it("is believed again soon after the Worker's clock was set back, and at once where it was set ahead", () => {
    const { ask, worker } = setUp()
    ask(0)
    worker.ahead = HOUR
    expect(ask(5_000)).toBe(0)
    worker.ahead = 0
    // As often as a store is asked that failed.
    const ages = Array.from({ length: 6 }, () => ask(1_500))
    expect(ages.slice(0, 2).every((age) => age > 0)).toBe(true)
    expect(ages.slice(3)).toEqual([0, 0, 0])
  })

  it("of a clock that is slower than ours by as much as a clock is slewed is none of a cache", () => {
    const clock = new AnswerClock()
    for (let time = 0; time < 10 * DAY; time += HOUR)
      expect(clock.ageOf(time * 0.9995, time, time + 10)).toBe(0)
  })
})

// Whatever mixture of live answers and of copies a cache gives: a reader that once had a live answer calls nothing
// fresh that was invalidated longer ago than 2 * ttl, but for the second in which a copy is none.
it("never makes an entry fresh that was invalidated before a copy was made", async () => {
  const TTL = 5_000
  const BOUND = 2 * TTL + 1_100
  const step = fc.record({
    wait: fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 60_000 })),
    publishes: fc.boolean(),
    /** Whether a cache gives what it holds of what is asked, and whether it does so for POST, too. */
    cached: fc.constantFrom("no", "GET", "all"),
    namespace: fc.constantFrom("blog", "shop"),
  })
  let judgedByCopies = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      const copies = new Map<string, string>()
      let cached = "no"
      const fetch = async (url: string, init: RequestInit) => {
        const address = new URL(url)
        // A cache that ignores the query, as those do that are set up to keep everything.
        const key = `${init.method ?? "GET"} ${address.searchParams.getAll("ns").join()}`
        const isCopy = cached === "all" || (cached === "GET" && init.method === undefined)
        const copy = copies.get(key)
        if (isCopy && copy !== undefined) {
          judgedByCopies += 1
          return new Response(copy)
        }
        const names =
          typeof init.body === "string"
            ? Object.keys((JSON.parse(init.body) as { namespaces: object }).namespaces)
            : address.searchParams.getAll("ns")
        const request: LookupRequest = new Map(names.map((name) => [name, { tags: [], urls: [] }]))
        const after = address.searchParams.get("after")
        const text = JSON.stringify(
          lookupJson(await store.lookup(request, after === null ? undefined : Number(after))),
        )
        copies.set(key, text)
        return new Response(text)
      }
      const tidemark = createTidemark({
        store: workerStore({ url: "https://tidemark.example", token: "t", fetch, now: clock.now }),
        ttl: TTL,
        onStoreFailure: "bypass",
        now: clock.now,
        random: () => 0,
        onError: () => undefined,
      })
      const filled = { blog: await tidemark.begin("blog"), shop: await tidemark.begin("shop") }
      const invalidatedAt: { blog?: number; shop?: number } = {}
      for (const { wait, publishes, cached: how, namespace } of steps) {
        if (publishes) {
          store.record({ kind: "namespace", namespace })
          invalidatedAt[namespace as "blog"] ??= clock.time
        }
        cached = how
        clock.time += wait
        const at = invalidatedAt[namespace as "blog"]
        const isFresh = await tidemark.isFresh(filled[namespace as "blog"].stamp, namespace)
        if (isFresh && at !== undefined) expect(clock.time - at).toBeLessThanOrEqual(BOUND)
        // Refreshes in the background.
        for (let turn = 0; turn < 50; turn += 1) await Promise.resolve()
      }
    }),
    { numRuns: 300 },
  )
  expect(judgedByCopies).toBeGreaterThan(500)
})
