import { expect, test } from "vitest"
import { isShown, readableLine } from "./log-line.ts"

test.each([
  [
    '{"level":40,"time":1,"name":"tidemark-relay","tenant":"default","target":"cdn","detail":"no answer","msg":"lane:stopped"}',
    'relay    lane:stopped  tenant=default  target=cdn  detail="no answer"',
  ],
  [
    '{"level":20,"target":"cdn","what":"tag a, tag b and 3 more","outcome":"accepted","status":200,"took":11.6,"msg":"lane:called"}',
    "relay    purge    cdn  tag a, tag b and 3 more  200  12 ms",
  ],
  [
    '{"level":20,"target":"cdn","what":"tag a","outcome":"trouble","detail":"gave no answer in time","took":10000,"msg":"lane:called"}',
    "relay    purge    cdn  tag a  trouble  10000 ms  gave no answer in time",
  ],
  [
    '{"level":30,"msg":"webhook","told":["cms","200","accepted 1"]}',
    "relay    webhook  cms  200  accepted 1",
  ],
  [String.raw`{"level":40,"msg":"webhook","told":["\u001b[31m","401"]}`, "relay    webhook  \ufffd[31m  401"],
  ['{"level":30,"target":"dry-run","msg":"{\\"tags\\":[]}"}', 'relay    print    dry-run  {"tags":[]}'],
  ["a stack trace", "a stack trace"],
  ["[1]", "[1]"],
  ["null", "null"],
  ['{"no":"message"}', '{"no":"message"}'],
])("%s", (line, readable) => {
  expect(readableLine("relay", line)).toBe(readable)
})

test.each([
  ['{"level":40,"msg":"lane:stopped"}', true],
  ['{"level":20,"msg":"lane:called"}', true],
  ['{"level":30,"target":"dry-run","msg":"{}"}', true],
  ['{"level":30,"msg":"publish","told":[]}', true],
  ["a stack trace", true],
  ['{"level":30,"msg":"tenant:adopted"}', false],
  ['{"level":20,"msg":"wake:heard"}', false],
])("of %s it is %s that dev shows it", (line, isTold) => {
  expect(isShown(line)).toBe(isTold)
})
