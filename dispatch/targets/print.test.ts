import { describe, expect, it } from "vitest"
import { FAST, NOW, sample, SHARED, soon, valueOf } from "./conformance.ts"
import { findDriver } from "./list.ts"
import { print } from "./print.ts"
import type { Batch, Kind } from "./target.ts"

const KINDS: readonly Kind[] = ["tag", "url", "prefix", "host", "namespace", "everything"]

/** A driver that may ask nobody, and the lines that it printed. */
function stage() {
  const lines: string[] = []
  const fetch = () => Promise.reject(new Error("nobody is to be asked"))
  const driver = print.create(
    { type: "print", ...SHARED },
    { fetch, now: () => NOW, print: (line) => lines.push(line) },
  )
  return { driver, lines }
}

describe("driver: print", () => {
  it("is listed under the name of its file", () => expect(findDriver("print")).toBe(print))

  it("takes every kind in every mode, as many as one call may carry, and says so in one line", async () => {
    const { kinds, mixed } = print.capabilities({ type: "print" })
    expect(mixed).toBe(true)
    for (const kind of KINDS) {
      expect(kinds[kind]?.modes).toEqual(["invalidate", "purge"])
      for (const mode of ["invalidate", "purge"] as const) {
        const { driver, lines } = stage()
        const batch = sample(kind, mode, kinds[kind]?.batch)
        expect(await driver.purge(batch, soon())).toEqual({ outcome: "accepted", status: 200 })
        expect(lines).toHaveLength(1)
        expect(lines[0]).not.toMatch(/[\r\n]/)
        expect(JSON.parse(lines[0] ?? "")).toMatchObject({ id: batch.id, tenant: FAST.tenant, mode })
      }
    }
  })

  it("says each value by its kind", async () => {
    const { driver, lines } = stage()
    const values = [valueOf("tag", "post-1\n"), valueOf("url", "https://a.example/"), valueOf("tag", "b")]
    const batch: Batch = { ...FAST, mode: "purge", values }
    await driver.purge(batch, soon())
    expect(lines).toEqual([
      '{"id":"b-1","tenant":"default","mode":"purge","namespaces":[],"tags":["post-1\\n","b"],' +
        '"urls":["https://a.example/"],"prefixes":[],"hosts":[],"everything":false,' +
        '"epochs":{"first":1795000000000000,"last":1795000001500000}}',
    ])
  })

  it("calls an aborted attempt trouble, and prints nothing of it", async () => {
    const { driver, lines } = stage()
    expect((await driver.purge(sample("tag", "purge"), AbortSignal.abort())).outcome).toBe("trouble")
    expect(lines).toEqual([])
  })

  it("accepts where nobody listens", async () => {
    const driver = print.create({ type: "print", ...SHARED }, { fetch, now: () => NOW })
    expect(await driver.purge(sample("tag", "purge"), soon())).toEqual({ outcome: "accepted", status: 200 })
  })

  it("has no pace", () => expect(print.pace({ type: "print", ...SHARED })).toEqual([]))
})
