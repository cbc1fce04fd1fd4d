import { expect, it } from "vitest"
import { pack, unpack } from "./next-bytes.ts"

const bytes = (...values: number[]) => Uint8Array.from(values)
const textOf = (packed: Uint8Array) => new TextDecoder().decode(packed)

it.each([
  [{ a: 1, b: ["x", null] }, []],
  [null, [bytes()]],
  ["naïve 🌊\n", [bytes(0, 10, 255), bytes(), bytes(10)]],
])("packs %j with its parts, byte for byte", (data, parts) => {
  expect(unpack(pack({ data, parts }))).toEqual({ data, parts })
})

it("is a line that people can read, and the bytes", () => {
  const packed = pack({ data: { tags: ["post"] }, parts: [new TextEncoder().encode("<p>")] })
  expect(textOf(packed)).toBe('{"tidemark":1,"data":{"tags":["post"]},"sizes":[3]}\n<p>')
})

const whole = pack({ data: {}, parts: [bytes(1, 2, 3)] })

it.each([
  ["nothing", bytes()],
  ["no line", new TextEncoder().encode("{}")],
  ["another's JSON", new TextEncoder().encode('{"value":"b2xk"}\n')],
  ["null", new TextEncoder().encode("null\n")],
  ["what is no JSON", bytes(200, 201, 10, 1)],
  ["another version", new TextEncoder().encode('{"tidemark":2,"data":{},"sizes":[]}\n')],
  ["sizes that are none", new TextEncoder().encode('{"tidemark":1,"data":{},"sizes":[-1,1.5]}\n')],
  ["no sizes", new TextEncoder().encode('{"tidemark":1,"data":{}}\n')],
  ["less than was written", whole.subarray(0, -1)],
  ["more than was written", bytes(...whole, 4)],
])("reads nothing of %s", (_, other) => {
  expect(unpack(other)).toBeUndefined()
})
