import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { readRedisAddress, redisUrlFault } from "./address.ts"

describe("an address of Redis", () => {
  it.each([
    "redis://localhost",
    "redis://127.0.0.1:6379",
    "rediss://default:p%40ss%3Aw%2Fo%23r%25d@eu1-cat-1.upstash.io:6379",
    "redis://:password@redis:6379/0",
    "redis://user@redis/3",
    "redis://[::1]:6379/15",
    "REDIS://Host.Example:1",
    "redis://redis_1.internal:6379",
    "redis://h:6379/0?family=0",
    "unix:///run/redis/redis.sock",
    "unix:///run/redis.sock?db=2",
  ])("%s is taken", (url) => {
    expect(redisUrlFault(url)).toBeUndefined()
  })

  const ENCODE = /percent-encode/
  it.each([
    ["", "has no scheme"],
    ["localhost:6379", "has no scheme"],
    ["redis:localhost", "has no scheme"],
    ["//localhost", "has no scheme"],
    [" redis://h", "white space"],
    ["redis://h\n", "line end"],
    ["redis://:pass word@h", "white space"],
    ["valkey://h:6379", "write redis://"],
    ["valkeys://h", "write rediss://"],
    ["redis+unix:///run/x", "unix:///path"],
    ["redis+sentinel://a:1,b:2/main", "Sentinel"],
    ["redis-sentinel://a", "Sentinel"],
    ["redis+cluster://a", "cluster"],
    ["https://eu1-cat-1.upstash.io", "rediss://"],
    ["mysql://h", "is no redis:// or rediss:// URL"],
    ["http://h", "is no redis:// or rediss:// URL"],
    ["redis://:p@ss@h:6379", ENCODE],
    ["redis://:p:ss@h:6379", ENCODE],
    ["redis://:p/ss@h:6379", ENCODE],
    ["redis://:p#ss@h:6379", ENCODE],
    ["redis://:p?ss@h:6379", ENCODE],
    ["redis://:p@:/#w@h", ENCODE],
    ["redis://:100%@h", ENCODE],
    ["redis://:a%zz@h", ENCODE],
    ["redis://:a%ff@h", ENCODE],
    ["redis://h/0#x", ENCODE],
    ["redis://a:1,b:2", "several hosts"],
    ["redis://", "names no host"],
    ["redis://:password@", "names no host"],
    ["redis://:6379", "names no host"],
    ["redis:///0", "names no host"],
    ["redis://h:0", "port"],
    ["redis://h:65536", "port"],
    ["redis://h:-1", "port"],
    ["redis://h:abc", "port"],
    ["redis://h:", "port"],
    ["redis://[::g]:6379", "host that is none"],
    ["redis://a<b", "host that is none"],
    ["redis://h/prod", "number of a database"],
    ["redis://h/-1", "number of a database"],
    ["redis://h/0/1", "number of a database"],
    ["redis://h/99999999999", "number of a database"],
    ["unix://run/redis.sock", "names no socket"],
    ["unix://", "names no socket"],
    ["unix:///", "names no socket"],
    ["unix:///run/x?db=a", "number of a database"],
    ["unix:///run/x?db=0&x=1", "number of a database"],
  ] as const)("%j is refused, and why is said without a part of it", (url, why) => {
    const fault = redisUrlFault(url)
    expect(fault).toMatch(why)
    for (const secret of ["p@ss", "p:ss", "pass word", "100%", "a%zz", "6379", "prod"])
      if (url.includes(secret)) expect(fault).not.toContain(secret)
  })
})

describe("what stands in the environment", () => {
  let folder = ""
  const at = (name: string) => join(folder, name)
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tidemark-pem-"))
    writeFileSync(at("one.pem"), "-----BEGIN CERTIFICATE-----\n")
    writeFileSync(at("text"), "no certificate")
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const read = (env: Record<string, string>) => readRedisAddress(env, "why it is wanted")
  const URL = "rediss://h"

  it("is the address, with the files beside it", () => {
    const pem = "-----BEGIN CERTIFICATE-----\n"
    expect(read({ REDIS_URL: URL })).toEqual({ address: { url: URL }, faults: [] })
    expect(read({ REDIS_URL: URL, REDIS_CA_FILE: "" }).address).toEqual({ url: URL })
    const files = {
      REDIS_CA_FILE: at("one.pem"),
      REDIS_CERT_FILE: at("one.pem"),
      REDIS_KEY_FILE: at("one.pem"),
    }
    expect(read({ REDIS_URL: URL, ...files })).toEqual({
      address: { url: URL, tls: { ca: pem, cert: pem, key: pem } },
      faults: [],
    })
  })

  it.each([
    [{}, "REDIS_URL is not set: why it is wanted"],
    [{ REDIS_URL: "" }, "REDIS_URL is not set: why it is wanted"],
    [{ REDIS_URL: "h" }, "REDIS_URL has no scheme: write redis://host:port"],
    [{ REDIS_URL: URL, REDIS_CA_FILE: "nowhere" }, "REDIS_CA_FILE is no file that can be read"],
    [{ REDIS_URL: URL, REDIS_CA_FILE: "text" }, "REDIS_CA_FILE is no PEM file"],
    [{ REDIS_URL: "redis://h", REDIS_CA_FILE: "one.pem" }, "REDIS_CA_FILE is for rediss:// only"],
    [{ REDIS_URL: URL, REDIS_CERT_FILE: "one.pem" }, "REDIS_KEY_FILE is not set"],
    [{ REDIS_URL: URL, REDIS_KEY_FILE: "one.pem" }, "REDIS_CERT_FILE is not set"],
  ] as const)("%j is refused, naming the variable", (env, why) => {
    const paths = Object.entries(env).map(([name, value]) => [
      name,
      name.endsWith("_FILE") ? at(value) : value,
    ])
    const { faults } = read(Object.fromEntries(paths) as Record<string, string>)
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(why)
  })
})
