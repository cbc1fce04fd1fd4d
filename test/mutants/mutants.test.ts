import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"
import { MUTANTS } from "./list.ts"

const read = (file: string): string => readFileSync(join(import.meta.dirname, "../..", file), "utf8")

/** Whether they are seen is `npm run mutants`; that they still break what they name is told here. */
it.each(MUTANTS)(
  "$name: what it breaks stands once in $file, and so does its test",
  ({ file, find, test }) => {
    expect(read(file).split(find)).toHaveLength(2)
    expect(read(test.suite ?? test.file)).toContain(test.title)
  },
)

it("there is one for each invariant that the code can break", () => {
  const invariants = new Set(MUTANTS.map(({ invariant }) => invariant))
  expect([...invariants]).toEqual(["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11"])
})
