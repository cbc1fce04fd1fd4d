import { afterAll, beforeAll, expect, test } from "vitest"
import { Origin } from "./origin.ts"
import { Readers } from "./readers.ts"
import { type CacheName, CACHES, SETTINGS, tagOf } from "./settings.ts"
import { type Stage, startStage } from "./stage.ts"

/** How long the CMS answers with the old content after its webhook. */
const LAG = 3_000
const PAGES = 2

let origin: Origin
let stage: Stage
let readers: Readers
let purges = 0

beforeAll(async () => {
  origin = new Origin({ pages: PAGES, hold: 0 })
  stage = await startStage({ settings: SETTINGS, origin, relays: 1, onPurge: () => (purges += 1) })
  readers = new Readers(stage.caches, () => {})
})

afterAll(async () => {
  await readers.close()
  await stage.stop()
})

async function publish(page: number, passes: { settle: string; secondPass: string }): Promise<void> {
  const response = await fetch(`${stage.worker}/v1/invalidations`, {
    method: "POST",
    headers: { authorization: `Bearer ${stage.token}` },
    body: JSON.stringify({ namespace: "blog", tags: [tagOf(page)], mode: "purge", ...passes }),
  })
  expect(response.status).toBe(202)
}

/** Visits a page of both caches until that which both serve is as it should be; what they serve then. */
async function visit(
  page: number,
  until: (served: Record<CacheName, number>) => boolean,
): Promise<Record<CacheName, number>> {
  for (;;) {
    const served = { "Worker cache": 0, Varnish: 0 }
    for (const cache of CACHES) served[cache] = (await readers.read(cache, page))?.version ?? 0
    if (until(served)) return served
    await new Promise((next) => setTimeout(next, 20))
  }
}

const both = (version: number) => ({ "Worker cache": version, Varnish: version })
const isBoth =
  (version: number) =>
  (served: Record<CacheName, number>): boolean =>
    CACHES.every((cache) => served[cache] === version)

test("a CMS that serves the old content for a while ends fresh in both caches by its passes", async () => {
  await visit(0, isBoth(1))
  const { visibleAt } = origin.change(0, LAG)
  await publish(0, { settle: "4s", secondPass: "1s" })
  // Refilled by whoever visits meanwhile, from a CMS that does not know better.
  await visit(0, () => Date.now() >= visibleAt)
  expect(await visit(0, isBoth(2))).toEqual(both(2))
})

test("and stays stale in both without them", async () => {
  await visit(1, isBoth(1))
  const before = purges
  const { visibleAt } = origin.change(1, LAG)
  await publish(1, { settle: "0", secondPass: "0" })
  await visit(1, () => Date.now() >= visibleAt && purges > before)
  // As long as the passes would have taken, and the epoch cache its bound.
  const over = visibleAt + 2_000 + 2 * SETTINGS.ttl
  expect(await visit(1, () => Date.now() >= over)).toEqual(both(1))
})
