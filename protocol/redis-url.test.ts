import { describe, expect, it } from "vitest"
import { parseRedisUrl, RedisUrlError } from "./redis-url.ts"

const at = (host: string, port = 6379) => ({ at: { host, port } })
const PLAIN = { isTls: false, username: undefined, password: undefined, database: 0 }

describe("a REDIS_URL", () => {
  it.each([
    ["redis://localhost", { ...PLAIN, ...at("localhost") }],
    ["redis://localhost/", { ...PLAIN, ...at("localhost") }],
    ["REDIS://my_redis.internal:6380/3", { ...PLAIN, ...at("my_redis.internal", 6380), database: 3 }],
    ["redis://10.0.0.1:1", { ...PLAIN, ...at("10.0.0.1", 1) }],
    ["redis://[::1]:6379/15", { ...PLAIN, ...at("::1"), database: 15 }],
    ["redis://[2001:db8::1]", { ...PLAIN, ...at("2001:db8::1") }],
    ["rediss://h", { ...PLAIN, ...at("h"), isTls: true }],
    ["redis://:pw@h", { ...PLAIN, ...at("h"), password: "pw" }],
    ["redis://user:pw@h/0", { ...PLAIN, ...at("h"), username: "user", password: "pw" }],
    [
      "redis://us%3Aer:%40%3A%2F%3F%23%25%20%C3%A9!$&'()*+,;=~-._@h",
      { ...PLAIN, ...at("h"), username: "us:er", password: "@:/?#% é!$&'()*+,;=~-._" },
    ],
    ["unix:///run/redis.sock", { ...PLAIN, at: { path: "/run/redis.sock" } }],
    ["unix:///run/a%3Fb@c.sock?db=2", { ...PLAIN, at: { path: "/run/a?b@c.sock" }, database: 2 }],
    [
      "unix://user:p%40w@/run/redis.sock?db=0",
      { ...PLAIN, at: { path: "/run/redis.sock" }, username: "user", password: "p@w" },
    ],
  ])("%s is read", (text, address) => {
    expect(parseRedisUrl(text)).toEqual(address)
  })

  it.each([
    ["", "is empty"],
    ["s3cret-host:6379", "has no scheme: write redis://"],
    ["s3cret-host", "has no scheme"],
    ["//s3cret-host", "has no scheme"],
    ["redis:s3cret-host", "has no scheme"],
    ["valkey://s3cret", "write redis:// in place of valkey://"],
    ["VALKEYS://s3cret", "write rediss:// in place of valkeys://"],
    ["redis+unix:///s3cret", "write unix:///path"],
    ["redis-sentinel://s3cret:26379/primary", "sentinels cannot be named"],
    ["redis+cluster://s3cret", "a cluster cannot be named"],
    ["https://s3cret.upstash.io", "belongs to UPSTASH_REDIS_REST_URL"],
    ["postgres://s3cret", "has a scheme that is not known here: write redis://"],
    ["constructor://s3cret", "has a scheme that is not known here: write redis://"],
    ["redis://:s3cr@et@h", "percent-encode"],
    ["redis://:s3cr:et@h", "percent-encode"],
    ["redis://u:s3cr/et@h", "percent-encode"],
    ["redis://u:s3cr?et@h", "percent-encode"],
    ["redis://u:s3cr#et@h", "percent-encode"],
    ["redis://u:s3cr%et@h", "percent-encode"],
    ["redis://u:s3cret%@h", "percent-encode"],
    ["redis://u:s3cret%FF@h", "percent-encode"],
    ["redis://s3cret%zz:pw@h", "percent-encode"],
    ["redis://s3cret@h", "has a user without a password"],
    ["redis://s3cret:@h", "has a user without a password"],
    ["redis://@h", "has a user without a password"],
    ["redis://h/s3cret", "names a database that is none"],
    ["redis://h/-1", "names a database that is none"],
    ["redis://h/+1", "names a database that is none"],
    ["redis://h/1.5", "names a database that is none"],
    ["redis://h/1e3", "names a database that is none"],
    ["redis://h/0x1", "names a database that is none"],
    ["redis://h/1/2", "names a database that is none"],
    ["redis://h//1", "names a database that is none"],
    ["redis://h/2147483648", "names a database that is none"],
    ["redis://h/99999999999999999999", "names a database that is none"],
    ["redis://h?db=s3cret", "has a ? or #"],
    ["redis://h/2?ssl=s3cret", "has a ? or #"],
    ["redis://h/2#s3cret", "has a ? or #"],
    ["redis://s3cret,other", "names several hosts"],
    ["redis://u:pw@s3cret:6379,other:6380/0", "names several hosts"],
    ["redis://", "names no host"],
    ["redis:///3", "names no host"],
    ["redis://:6379", "names no host"],
    ["redis://u:s3cret@", "names no host"],
    ["redis://[]", "names no host"],
    ["redis://::1:6379", "without its brackets"],
    ["redis://s3cret:6379:1", "without its brackets"],
    ["redis://[s3cret]", "names a host that can be none"],
    ["redis://[1.2.3.4]", "names a host that can be none"],
    ["redis://[::1", "without its brackets"],
    ["redis://s3cret%20", "names a host that can be none"],
    ["redis://s3crét", "names a host that can be none"],
    ["redis://s3cret|", "names a host that can be none"],
    ["redis://s3cret:", "names a port that is no number"],
    ["redis://s3cret:0", "names a port that is no number"],
    ["redis://s3cret:65536", "names a port that is no number"],
    ["redis://s3cret:-1", "names a port that is no number"],
    ["redis://s3cret:redis", "names a port that is no number"],
    ["redis://s3cret:6379999999999999999999", "names a port that is no number"],
    [" redis://s3cret", "begins or ends with white space"],
    ["redis://s3cret\n", "begins or ends with white space"],
    ["redis://s3cret\r\n", "begins or ends with white space"],
    ["\u00a0redis://s3cret", "begins or ends with white space"],
    ["redis://s3 cret", "has white space or a control character"],
    ["redis://s3\ncret", "has white space or a control character"],
    ["redis://s3\u0000cret", "has white space or a control character"],
    ['"redis://s3cret"', "begins with a quotation mark"],
    ["unix:/s3cret", "has no scheme"],
    ["unix://s3cret.sock", "without its absolute path"],
    ["unix://s3cret/redis.sock", "without its absolute path"],
    ["unix://", "names no Unix socket"],
    ["unix:///", "names no Unix socket"],
    ["unix:///s3cret?db=-1", "names a database that is none"],
    ["unix:///s3cret?db=prod", "names a database that is none"],
    ["unix:///s3cret?database=1", "has more behind its path"],
    ["unix:///s3cret?db=1&db=2", "has more behind its path"],
    ["unix:///s3cret#1", "has more behind its path"],
    ["unix:///s3cret%", "percent-encode"],
    ["unix://u:s3/cret@/redis.sock", "percent-encode"],
    ["unix://u:s3@cret@/redis.sock", "percent-encode"],
  ])("%j is refused: it %s", (text, what) => {
    const read = (name?: string) => () => parseRedisUrl(text, name)
    expect(read()).toThrow(RedisUrlError)
    expect(read()).toThrow(what)
    expect(read()).toThrow(/^REDIS_URL [^\n]+$/)
    expect(read()).not.toThrow(/s3cr|crét/)
    expect(read("redisUrl")).toThrow(/^redisUrl /)
  })
})
