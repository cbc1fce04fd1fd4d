import { expect, it } from "vitest"
import { TARGETS } from "./list.ts"
import { TARGET_TRAITS } from "./traits.ts"

it("Workers know of every driver what it can do", () => {
  expect(TARGET_TRAITS.map(({ type }) => type)).toEqual(TARGETS.map(({ type }) => type))
  expect(TARGET_TRAITS.filter((traits) => "create" in traits)).toEqual([])
})
