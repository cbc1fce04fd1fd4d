import { describe, expect, it } from "vitest"
import { parseConfig } from "./config/config.ts"
import type { Invalidation } from "./invalidation.ts"
import { NO_SELECTORS } from "./invalidation.ts"
import { parsePass, passId, planEntry, settingsFor } from "./publish.ts"
import { DAY, MINUTE, SECOND } from "./time.ts"

const invalidation: Invalidation = { namespace: "blog", mode: "invalidate", ...NO_SELECTORS, tags: ["a"] }
const settings = { maxCacheTtl: DAY, maxTags: 10, settle: undefined, secondPass: undefined }
const by = { token: "deploy" }
const none = { settle: 0, secondPass: 0 }

const passesOf = (...given: Parameters<typeof planEntry>) =>
  planEntry(...given).passes.map(({ kind, delay, secondPass }) => [kind, delay, secondPass])

it("an entry has each selector once", () => {
  const { body } = planEntry({ ...invalidation, tags: ["b", "a", "b"] }, settings, by, none)
  expect(body.tags).toEqual(["b", "a"])
})

describe("passes", () => {
  it("are none unless somebody asks", () => {
    const plan = planEntry(invalidation, settings, by, none)
    expect(plan.passes).toEqual([])
    expect(plan.body).toEqual({ kind: "invalidation", by, ...invalidation })
  })

  it("are as the invalidation says, else its namespace, else its publisher's default", () => {
    const defaults = { settle: SECOND, secondPass: 0 }
    const own = { ...settings, settle: 2 * SECOND }
    expect(passesOf({ ...invalidation, settle: 3 * SECOND }, own, by, defaults)).toEqual([
      ["settle", 3_000, undefined],
    ])
    expect(passesOf(invalidation, own, by, defaults)).toEqual([["settle", 2_000, undefined]])
    expect(passesOf(invalidation, settings, by, defaults)).toEqual([["settle", 1_000, undefined]])
  })

  it("are switched off by 0, at each level", () => {
    const defaults = { settle: SECOND, secondPass: SECOND }
    expect(passesOf({ ...invalidation, settle: 0, secondPass: 0 }, settings, by, defaults)).toEqual([])
    expect(passesOf(invalidation, { ...settings, settle: 0, secondPass: 0 }, by, defaults)).toEqual([])
  })

  it("a settle pass purges for the entry, which targets skip", () => {
    const { body, passes } = planEntry({ ...invalidation, settle: SECOND }, settings, by, none)
    expect(body.settling).toBe(true)
    expect(passes[0]?.body).not.toHaveProperty("settling")
    expect(passes[0]?.body.tags).toEqual(["a"])
  })

  it("a second pass follows the settle pass, not the entry", () => {
    const asked = { ...invalidation, settle: SECOND, secondPass: MINUTE }
    expect(passesOf(asked, settings, by, none)).toEqual([["settle", 1_000, 60_000]])
    expect(passesOf({ ...asked, settle: 0 }, settings, by, none)).toEqual([["second", 60_000, undefined]])
  })

  it("what may be stale for a while is purged after it", () => {
    const { body, passes } = planEntry({ ...invalidation, staleFor: MINUTE }, settings, by, none)
    expect(body.mode).toBe("invalidate")
    expect(passes).toMatchObject([{ kind: "stale", delay: MINUTE, body: { mode: "purge", tags: ["a"] } }])
    expect(passesOf({ ...invalidation, staleFor: 0 }, settings, by, none)).toEqual([])
  })

  it("the entry carries the trace, and tells nothing of how it is passed on", () => {
    const asked = { ...invalidation, settle: SECOND, secondPass: SECOND, staleFor: SECOND, reason: "typo" }
    const { body } = planEntry(asked, settings, by, none, "00-trace")
    expect(body).toEqual({
      kind: "invalidation",
      ...invalidation,
      by,
      reason: "typo",
      trace: "00-trace",
      settling: true,
    })
  })
})

describe("a stored pass", () => {
  it("is named after its first entry", () => expect(passId(5, "second")).toBe("5:second"))

  it.each(["", "{}", '{"delay":1}', '\n{"kind":"x"}', '{"delay":"1"}\n{}', "x\n{}"])(
    "that is %j is none",
    (text) => {
      expect(parsePass(text)).toBeUndefined()
    },
  )

  it("whose body is unreadable is the wider thing", () => {
    expect(parsePass('{"delay":5}\n{')).toMatchObject({ delay: 5, body: { kind: "resync", namespace: null } })
  })
})

describe("settings", () => {
  const config = parseConfig({ namespaces: { blog: { maxTags: 5, maxCacheTtl: "1d" } } })

  it("are the namespace's own", () => {
    expect(settingsFor(config, "default", invalidation)).toMatchObject({ maxTags: 5, maxCacheTtl: DAY })
  })

  it("are none where it is not declared", () => {
    expect(settingsFor(config, "default", { ...invalidation, namespace: "shop" })).toBeUndefined()
  })

  it("of everything need no declaration", () => {
    expect(settingsFor(config, "default", { ...invalidation, namespace: null })).toMatchObject({
      wholeBy: "tag",
    })
  })
})
