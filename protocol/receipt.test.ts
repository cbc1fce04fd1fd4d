import { expect, it } from "vitest"
import { parseJson, type RangeReceipt, sentAs } from "./receipt.ts"

const receipt: RangeReceipt = { at: 0, attempts: 1, calls: [], callCount: 0, namespaces: ["*"], ex: [] }

it.each([
  ["as it was", receipt, null],
  ["as what the whole range was sent as", { ...receipt, as: "namespace" }, "namespace"],
  ["as what its own epoch was sent as", { ...receipt, asOf: { purge: [4], namespace: [5, 6] } }, "namespace"],
  ["as it was, where only others were widened", { ...receipt, asOf: { namespace: [4, 6] } }, null],
  ["as a resync, where the range was not read", { ...receipt, resync: "gap" }, "resync"],
  [
    "as what is said of it, even in a resync",
    { ...receipt, asOf: { everything: [5] }, resync: "gap" },
    "everything",
  ],
] as const)("an entry was sent %s", (_, range, as) => expect(sentAs(range, 5)).toBe(as))

it("a receipt that is no JSON is none", () => {
  expect(parseJson('{"at":1}')).toEqual({ at: 1 })
  for (const text of [undefined, "", "{", "nothing"]) expect(parseJson(text)).toBeUndefined()
})
