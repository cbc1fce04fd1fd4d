import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startVarnishEnd, type VarnishEnd } from "../support/varnish-log.ts"
import { SCENARIOS } from "./list.ts"

let varnish: VarnishEnd

beforeAll(async () => {
  varnish = await startVarnishEnd()
})

afterAll(() => varnish[Symbol.asyncDispose]())

// In their short forms. `npm run faults` makes all of them, and longer.
describe("nothing is lost", () => {
  it.each(SCENARIOS.filter(({ isQuick }) => isQuick))("$name", async ({ name, run }) => {
    const outcome = await run({ name, isShort: true, varnish })
    // Those that a machine may not allow are not among the quick ones.
    if ("skipped" in outcome) throw new Error(outcome.skipped)
    expect(outcome).toMatchObject({ lost: 0, level: expect.any(Number), faults: [] })
    expect(outcome.publishes).toBeGreaterThan(0)
  })
})
