import { expect, it } from "vitest"
import { FakeCache, InProgress, TokenBucket } from "./fake.ts"

/** A fake that takes too much makes every test against it say nothing. */
function clock() {
  let now = 0
  return { now: () => now, pass: (length: number) => (now += length) }
}

it("a bucket gives its burst and what has passed, and no more", () => {
  const { now, pass } = clock()
  const bucket = new TokenBucket(2, 3, { now })
  expect([bucket.take(3), bucket.take()]).toEqual([true, false])
  pass(499)
  expect(bucket.take()).toBe(false)
  pass(1)
  expect([bucket.take(), bucket.take()]).toEqual([true, false])
  pass(1e9)
  expect([bucket.take(4), bucket.take(3)]).toEqual([false, true])
})

it("what is in progress ends after its time, each by itself", () => {
  const { now, pass } = clock()
  const running = new InProgress(5, 100, { now })
  expect([running.take(3), running.take(3)]).toEqual([true, false])
  pass(50)
  expect([running.take(2), running.take()]).toEqual([true, false])
  pass(50)
  expect([running.take(4), running.take(3), running.take()]).toEqual([false, true, false])
})

it("a cache serves a copy until it is purged, and a stale one once more", () => {
  const cache = new FakeCache({ separator: ",", foldsCase: true, maxLabels: 2 })
  const page = "https://www.example.com/a"
  cache.label(page, "One, two,three")
  expect([cache.visit(page), cache.visit(page)]).toEqual([
    { version: 1, how: "miss" },
    { version: 1, how: "hit" },
  ])
  expect(cache.purge("hard", ({ has }) => has("three"))).toBe(0)
  expect(cache.purge("soft", ({ has }) => has("oNE"))).toBe(1)
  expect([cache.visit(page), cache.visit(page)]).toEqual([
    { version: 1, how: "stale" },
    { version: 2, how: "hit" },
  ])
  expect(cache.purge("hard", ({ url, has }) => url.pathname === "/a" && has("two"))).toBe(1)
  expect(cache.visit(page)).toEqual({ version: 3, how: "miss" })
})
