// infra/redis/users.acl against a real Redis: it is enough for the whole path, and nothing in it could be left out.
import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { systemClock } from "../../dispatch/clock.ts"
import { WAKE_PATTERN } from "../../protocol/keys.ts"
import { connectUpstream } from "../../relay-node/redis/upstream.ts"
import { redisStore } from "../../relay-node/store.ts"
import { type Path, startPath } from "./acl-path.ts"
import { type Denial, type GuardedRedis, startGuardedRedis, type UserName, USERS } from "./acl-users.ts"

const silent = { info: () => {}, warn: () => {}, error: () => {} }

let redis: GuardedRedis
let path: Path

beforeAll(async () => {
  redis = await startGuardedRedis()
  path = await startPath(redis)
})

afterAll(async () => {
  await path.stop()
  await redis.stop()
})

/** Sends one command as a user. Resolves with what Redis refused it by, or undefined. */
async function refusal(url: string, command: readonly string[]): Promise<string | undefined> {
  const upstream = connectUpstream(url, silent)
  await upstream.tried
  try {
    await redisStore(upstream).pipeline([command])
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message.split(" ", 1)[0] : "unknown"
  } finally {
    upstream.close()
  }
}

describe("the users are enough", () => {
  it.each(USERS)("for %s, on the whole path", async (user) => {
    await redis.reset(user)
    expect(await firstDenial(user)).toBeUndefined()
  })

  it("for the pattern that wakes are subscribed to, which must stand among the channels as it is", () => {
    for (const user of ["publisher", "relay"] as const)
      expect(redis.grantsOf(user)).toContain(`&${WAKE_PATTERN}`)
  })
})

describe("the users have no more than they need", () => {
  // Read before any Redis runs, as the tests are named after them.
  const grants = readFileSync(new URL("../../infra/redis/users.acl", import.meta.url), "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, user, ...rules] = line.split(" ")
      return rules
        .filter((rule) => /^[+~%&]/.test(rule))
        .map((rule): [UserName, string] => [user as UserName, rule])
    })

  it.each(grants)("%s is refused something without %s", async (user, grant) => {
    await redis.reset(user, grant)
    expect(await firstDenial(user)).toMatchObject({ user })
    await redis.reset(user)
  })

  it.each([
    ["publisher", ["DEL", "tm:{default}:log"]],
    ["publisher", ["GET", "tm:{default}:dead:cdn"]],
    ["publisher", ["HSET", "tm:{default}:cursor", "cdn", "- 0 0 0"]],
    ["publisher", ["PUBLISH", "other", "x"]],
    ["reader", ["MGET", "tm:{default}:idem:token.deploy:key"]],
    ["reader", ["MGET", "tm:{default}:log"]],
    ["reader", ["SET", "tm:{default}:head", "x"]],
    ["reader", ["SUBSCRIBE", "tm:v1:{default}:blog"]],
    ["relay", ["GET", "session:1"]],
    ["relay", ["FLUSHALL"]],
    ["relay", ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]],
    ["relay", ["KEYS", "*"]],
  ] as const)("%s may not %j", async (user, command) => {
    expect(await refusal(redis.urlOf(user), command)).toBe("NOPERM")
  })

  it("nobody gets in without a password", async () => {
    const url = new URL(redis.urlOf("reader"))
    url.username = url.password = ""
    expect(await refusal(url.href, ["PING"])).toBe("NOAUTH")
  })

  it("the file is refused while it has placeholders in it", async () => {
    const [, line = ""] = readFileSync(new URL("../../infra/redis/users.acl", import.meta.url), "utf8").split(
      "\n",
    )
    const set = redis.admin.pipeline([["ACL", "SETUSER", "unfilled", ...line.split(" ").slice(2)]])
    await expect(set).rejects.toThrow(/hash must be exactly 64 characters/)
  })
})

/** Goes the whole path until Redis refuses the user something. Undefined: the path came to its end without. */
async function firstDenial(user: UserName): Promise<Denial | undefined> {
  const over = new AbortController()
  const walk = path[user](over.signal)
    .catch(() => {}) // what was refused may well be told as an error
    .finally(() => over.abort())
  const find = async () => (await redis.denials()).find((denial) => denial.user === user)
  let denial: Denial | undefined
  while (!denial && !over.signal.aborted) {
    await systemClock.sleep(5, over.signal)
    denial = await find()
  }
  over.abort()
  await walk
  return denial ?? find()
}
