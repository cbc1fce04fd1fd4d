import { expect, test } from "vitest"
import { readableLine } from "./log-line.ts"

test.each([
  [
    '{"level":40,"time":1,"name":"tidemark-relay","tenant":"default","target":"cdn","detail":"no answer","msg":"lane:stopped"}',
    'relay    lane:stopped  tenant=default  target=cdn  detail="no answer"',
  ],
  ["a stack trace", "a stack trace"],
  ["[1]", "[1]"],
  ["null", "null"],
  ['{"no":"message"}', '{"no":"message"}'],
])("%s", (line, readable) => {
  expect(readableLine("relay", line)).toBe(readable)
})
