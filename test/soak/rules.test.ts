import { describe, expect, test } from "vitest"
import { FETCH_MARGIN, freshBound, Judge, type Mode, PASS_BOUND, type Sighting } from "./rules.ts"
import { type CacheName, SETTINGS } from "./settings.ts"

const NOW = 1_000_000
const BOUND = freshBound(SETTINGS, false)

/** A judge over one page, whose version 2 was acknowledged at `NOW`, and what it finds wrong. */
function judged({ mode = "invalidate", lags = false }: { mode?: Mode; lags?: boolean } = {}) {
  const found: string[] = []
  const settled: number[] = []
  const reads = { last: 0 }
  const judge = new Judge({
    settings: SETTINGS,
    lastOldRead: () => reads.last,
    onViolation: ({ cache, rule }) => found.push(`${cache}: ${rule}`),
    onSettled: ({ version }) => settled.push(version),
  })
  const change = judge.changed({ page: 0, version: 2, mode, visibleAt: NOW - 10, lags })
  judge.acknowledged(change, NOW)
  const saw = (cache: CacheName, after: number, more: Partial<Sighting> = {}) =>
    judge.saw({
      cache,
      page: 0,
      version: 1,
      askedAt: NOW + after,
      answeredAt: NOW + after + 5,
      isStale: false,
      ...more,
    })
  const purged = (after: number, isHard = false) =>
    judge.purged({ startedAt: NOW + after, ackedAt: NOW + after + 1, isHard, covers: (page) => page === 0 })
  return { judge, found, settled, reads, change, saw, purged }
}

describe("the Worker cache", () => {
  test("may serve what is older as fresh up to its bound, and no longer", () => {
    const { saw, found } = judged()
    saw("Worker cache", BOUND)
    expect(found).toEqual([])
    saw("Worker cache", BOUND + 1, { version: 2 })
    expect(found).toEqual([])
    saw("Worker cache", BOUND + 1)
    expect(found).toEqual(["Worker cache: bound"])
  })

  test("may do so up to maxStale while its store is away", () => {
    const { saw, found } = judged()
    saw("Worker cache", SETTINGS.maxStale, { storeFailedAt: NOW + SETTINGS.maxStale - 100 })
    expect(found).toEqual([])
    saw("Worker cache", SETTINGS.maxStale, { storeFailedAt: NOW - 100 })
    saw("Worker cache", SETTINGS.maxStale + 1, { storeFailedAt: NOW + SETTINGS.maxStale })
    expect(found).toEqual(["Worker cache: bound", "Worker cache: bound"])
  })

  test("may serve it as stale for swr more, unless it was purged", () => {
    const { saw, found } = judged()
    saw("Worker cache", BOUND + SETTINGS.swr, { isStale: true })
    expect(found).toEqual([])
    saw("Worker cache", BOUND + SETTINGS.swr + 1, { isStale: true })
    expect(found).toEqual(["Worker cache: swr"])
    const hard = judged({ mode: "purge" })
    hard.saw("Worker cache", BOUND + 1, { isStale: true })
    expect(hard.found).toEqual(["Worker cache: hard"])
  })

  test("of a lagging page counts from when its pass must have been appended", () => {
    const { judge, saw, found } = judged({ lags: true })
    const due = NOW + SETTINGS.settle
    judge.tick(due + 10 * PASS_BOUND, undefined)
    judge.tick(due + PASS_BOUND - 1, NOW)
    judge.tick(due + PASS_BOUND, due + 1)
    saw("Worker cache", 60_000)
    expect(found).toEqual([])
    judge.tick(due + PASS_BOUND, NOW)
    saw("Worker cache", SETTINGS.settle + PASS_BOUND + BOUND + 1)
    expect(found).toEqual(["Worker cache: bound"])
  })
})

describe("Varnish", () => {
  test("may serve what is older until it has answered a purge, and after it as stale for its grace", () => {
    const { saw, purged, found } = judged()
    saw("Varnish", 60_000)
    purged(100)
    saw("Varnish", 101)
    saw("Varnish", 101 + SETTINGS.grace, { isStale: true })
    expect(found).toEqual([])
    saw("Varnish", 102)
    saw("Varnish", 102 + SETTINGS.grace, { isStale: true })
    expect(found).toEqual(["Varnish: purged", "Varnish: grace"])
  })

  test("is not held to a purge that began before the change could be read, or what was read before was stored", () => {
    const { saw, purged, reads, found, change } = judged()
    purged(-10)
    reads.last = Number.POSITIVE_INFINITY
    purged(100)
    reads.last = NOW + 200
    purged(200 + FETCH_MARGIN)
    expect(change.purgedAt).toBeUndefined()
    saw("Varnish", 60_000)
    expect(found).toEqual([])
    purged(201 + FETCH_MARGIN)
    saw("Varnish", 60_000)
    expect(found).toEqual(["Varnish: purged"])
  })

  test("may not serve at all what was purged hard, and must be asked to", () => {
    const { judge, saw, purged, found, settled } = judged({ mode: "purge" })
    purged(100)
    saw("Varnish", 102, { isStale: true })
    judge.settle(NOW + 60_000, false)
    expect([found, settled]).toEqual([[], [2]])
    const other = judged({ mode: "purge" })
    other.purged(100, true)
    other.saw("Varnish", 102, { isStale: true })
    expect(other.found).toEqual(["Varnish: hard"])
    const soft = judged({ mode: "purge" })
    soft.purged(100)
    soft.judge.settle(NOW + 60_000, true)
    expect(soft.found).toEqual(["Varnish: softened"])
  })
})
