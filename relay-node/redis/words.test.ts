import { describe, expect, it } from "vitest"
import { trouble, unfitWords } from "./words.ts"

const info = (fields: Readonly<Record<string, string>>) =>
  `# Server\r\n${Object.entries(fields)
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join("")}`

describe("a Redis that can never do", () => {
  it.each([
    ["a sentinel", { redis_version: "7.0.15", redis_mode: "sentinel" }, /names a sentinel/],
    [
      "6.2",
      { redis_version: "6.2.16", redis_mode: "standalone", gcc_version: "12.2.0" },
      /names a Redis 6\.2, /,
    ],
    ["5", { redis_version: "5.0.14", redis_mode: "standalone" }, /take 7\.0 or newer, or Valkey$/],
  ])("is %s", (_, fields, sentence) => {
    expect(unfitWords(info(fields))).toMatch(sentence)
    expect(unfitWords(info(fields))).toMatch(/^REDIS_URL names /)
  })

  it.each([
    ["Redis 7.0", { redis_version: "7.0.15", redis_mode: "standalone", gcc_version: "12.2.0" }],
    ["a release candidate of it", { redis_version: "6.9.240" }],
    ["Redis 8", { redis_version: "8.0.6" }],
    ["Redis 10", { redis_version: "10.0.0" }],
    ["a node of a cluster, which may be all of it", { redis_version: "7.0.15", redis_mode: "cluster" }],
    ["Valkey", { redis_version: "7.2.4", server_name: "valkey", valkey_version: "9.1.2" }],
    ["KeyDB, which keeps the promises", { redis_version: "6.3.4" }],
    [
      "one that says 6.2 beside a version of its own",
      { redis_version: "6.2.11", dragonfly_version: "df-v1.2" },
    ],
    ["one that says nothing", {}],
    ["one that says no number", { redis_version: "unstable" }],
  ])("is not %s", (_, fields) => {
    expect(unfitWords(info(fields))).toBeUndefined()
  })
})

describe("what Redis answers of itself", () => {
  it("names REDIS_URL where the mend lies there", () => {
    for (const code of ["READONLY", "MASTERDOWN", "MOVED", "CLUSTERDOWN", "NOAUTH", "NOPERM"])
      expect(trouble(`${code} some words`)).toMatch(/^Redis [^:]+: .*REDIS_URL/)
    expect(trouble("LOADING Redis is loading the dataset in memory")).toBe("Redis is loading its data")
    expect(trouble("WRONGTYPE Operation against a key")).toBeUndefined()
  })
})
