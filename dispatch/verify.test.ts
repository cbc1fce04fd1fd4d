import { describe, expect, it } from "vitest"
import type { Mode } from "../protocol/invalidation.ts"
import { judge, type Verdict } from "./verify.ts"

const ACCEPTED = Date.UTC(2026, 10, 20, 12, 0, 0)

/** The verdict on an answer that came so many seconds after the invalidation was accepted. */
const verdictOf = (headers: Record<string, string>, seconds = 10, mode: Mode = "purge"): Verdict =>
  judge(new Headers(headers), { acceptedAt: ACCEPTED, now: ACCEPTED + seconds * 1_000, mode }).verdict

describe("an answer after a purge", () => {
  it.each([
    [{ "cf-cache-status": "MISS" }, "fresh"],
    [{ "cf-cache-status": "EXPIRED" }, "fresh"],
    [{ "cf-cache-status": "DYNAMIC" }, "fresh"],
    [{ "cf-cache-status": "REVALIDATED", age: "100" }, "fresh"],
    [{ "cf-cache-status": "HIT", age: "3" }, "fresh"],
    [{ "cf-cache-status": "HIT", age: "100" }, "stale"],
    [{ "cf-cache-status": "HIT" }, "unknown"],
    [{ "cf-cache-status": "UPDATING" }, "stale"],
    [{ "x-cache": "Hit from cloudfront", age: "100" }, "stale"],
    [{ "x-cache": "Miss from cloudfront" }, "fresh"],
    [{ "x-cache": "RefreshHit from cloudfront", age: "100" }, "fresh"],
    [{ "x-cache": "MISS, HIT", age: "100" }, "stale"],
    [{ "x-cache": "HIT, MISS" }, "fresh"],
    [{ "x-vercel-cache": "STALE" }, "stale"],
    [{ "cache-status": "origin; hit, edge; fwd=uri-miss; stored" }, "fresh"],
    [{ "cache-status": "edge; hit; ttl=30", age: "100" }, "stale"],
    [{ "cache-status": "edge; hit; detail=stale-while-revalidate" }, "stale"],
    [{ age: "100" }, "stale"],
    [{ age: "3" }, "fresh"],
    [{ age: "0" }, "unknown"],
    [{}, "unknown"],
    [{ age: "soon", "x-cache": "what" }, "unknown"],
  ] as const)("%j is %s", (headers, verdict) => expect(verdictOf(headers)).toBe(verdict))

  it("is stale by its age only where it must be older, as an age is in whole seconds", () => {
    const at = (age: string) => verdictOf({ "x-cache": "HIT", age }, 10)
    expect([at("9"), at("10"), at("11"), at("12")]).toEqual(["fresh", "fresh", "fresh", "stale"])
  })
})

it("what was only marked stale may be served while it is fetched anew", () => {
  expect(verdictOf({ "cf-cache-status": "UPDATING" }, 10, "invalidate")).toBe("fresh")
  expect(verdictOf({ "cf-cache-status": "HIT", age: "100" }, 10, "invalidate")).toBe("stale")
})
