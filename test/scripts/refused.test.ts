import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  idempotencyKey,
  laterAfterKey,
  laterItemsKey,
  laterKey,
  lateKey,
  logKey,
  namespaceKey,
  namespacesKey,
  taggedKey,
  tagsKey,
} from "../../protocol/keys.ts"
import { publish, type PublishRequest } from "../../protocol/publish.ts"
import { asList, asText, type Store, StoreError } from "../../protocol/store.ts"
import { Memory } from "../../dispatch/adopt.ts"
import { replayLetter } from "../../dispatch/letters.ts"
import { gapOf } from "../../dispatch/reading.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { NO_SELECTORS } from "../../protocol/invalidation.ts"
import { encodeOwed } from "../../protocol/letter.ts"
import {
  acquire,
  commit,
  hearWakes,
  plan,
  readAfter,
  readHead,
  record,
  snapshot,
  TENANT,
  useRedis,
} from "./support.ts"

/**
 * A command is refused in the middle of a script: each that the script has, in turn, for each reason that can be made
 * here. What a publish wrote before it is not there afterwards, and nothing but what the next one names is invalidated.
 */

const host = useRedis()

/** The commands that a script names in its text, as Redis knows them. */
async function commandsOf(script: string): Promise<string[]> {
  const text = readFileSync(join(import.meta.dirname, "../../protocol/lua", `${script}.lua`), "utf8")
  const named = new Set([...text.matchAll(/'([A-Z]{3,})'/g)].map(([, name]) => name?.toLowerCase() ?? ""))
  const known = asList(await host.command("COMMAND", "LIST")).map((name) => asText(name) ?? "")
  return known.filter((name) => named.has(name)).toSorted()
}

const body = plan({ tags: ["a"] }).body

/** A request that makes use of every command: names that are new and known, tags, passes, one that is carried out. */
const request: PublishRequest = {
  tenant: TENANT,
  entries: [
    plan({ tags: ["known", "new"], mode: "purge" }, { maxTags: 4 }, [
      { kind: "stale", delay: 5_000, body },
      { kind: "second", delay: 60_000, body },
    ]),
    plan({ namespace: "born", tags: ["x"] }),
    plan({ namespace: "whole" }),
    plan({ namespace: null }),
  ],
  maxEntries: 100,
  maxNamespaces: 100,
  idempotency: { principal: "token.deploy", key: "1", fingerprint: "f" },
  pass: { id: "1000:settle", origin: 1_000 },
}

/** What was there before: a log, tags at their most, passes that wait. */
async function prepare(): Promise<void> {
  await record(host.store, [
    plan({ tags: ["known", "b", "c", "d"] }),
    plan({ namespace: "whole", tags: ["a"] }),
  ])
  await record(host.store, [
    plan({ tags: ["known"] }, {}, [{ kind: "second", delay: 1, body }]),
    plan({ namespace: "whole", tags: ["b"] }),
  ])
  await host.command("ZADD", laterKey(TENANT), "5", "1000:settle", "6", "2000:settle")
  await host.command("ZADD", laterAfterKey(TENANT), "7", "1000:settle")
  await host.command("HSET", laterItemsKey(TENANT), "1000:settle", "x", "2000:settle", "y")
}

/** That nothing of a refused publish is there, and that the next one is the log's next entry, and all that a lane reads. */
async function expectNothing(before: Awaited<ReturnType<typeof snapshot>>): Promise<void> {
  expect(await snapshot(host.store)).toEqual(before)
  const head = await readHead(host.store)
  const { entries } = await record(host.store, [plan({ namespace: "other", tags: ["z"] })])
  expect(entries[0]?.seq).toBe((head?.seq ?? 1) + 1)
  if (!head) return
  const read = await readAfter(host.store, head.epoch)
  expect(read.entries.map((entry) => entry.body.namespace)).toEqual(["other"])
  expect(read.head && gapOf(head, read.head, read.entries)).toBeUndefined()
}

it("knows which commands a script has", async () => {
  const reads = "get hget time xrevrange zcard zcount zmscore zrange zscore"
  const writes = "hdel hset publish set unlink xadd xdel zadd zrem zremrangebyrank"
  expect(await commandsOf("publish")).toEqual(`${reads} ${writes}`.split(" ").toSorted())
})

describe("a publish of which a command is refused for a right that is missing", () => {
  it("leaves nothing, or is accepted whole", async () => {
    const outcomes: Record<string, string> = {}
    for (const command of await commandsOf("publish")) {
      await host.command("FLUSHALL")
      await prepare()
      await host.command("ACL", "SETUSER", "less", "reset", "on", ">x", "~*", "&*", "+@all", `-${command}`)
      const less = await host.connect({ name: "less", password: "x" })
      const before = await snapshot(host.store)
      try {
        const { status } = await publish(less, request)
        outcomes[command] = status
      } catch (error) {
        expect(error).toBeInstanceOf(StoreError)
        expect(error).toMatchObject({
          failure: "refused",
          message: expect.stringMatching(/NOPERM|ACL failure|can't run this command/),
        })
        outcomes[command] = "refused"
        await expectNothing(before)
      }
    }
    // What only tidies up afterwards, or takes back, or is for a head that is gone, is not missed.
    const accepted = ["publish", "unlink", "xdel", "xrevrange", "zcount", "zrange"]
    expect(Object.keys(outcomes).filter((command) => outcomes[command] === "accepted")).toEqual(
      [...accepted, "zremrangebyrank"].toSorted(),
    )
    expect(new Set(Object.values(outcomes))).toEqual(new Set(["accepted", "refused"]))
  })
})

describe("a publish that meets a key of another type", () => {
  const keys: readonly (readonly [key: string, type: "string" | "list"])[] = [
    [headKey(TENANT), "list"],
    [logKey(TENANT), "string"],
    [namespaceKey(TENANT, ""), "list"],
    [namespaceKey(TENANT, "blog"), "list"],
    [namespaceKey(TENANT, "born"), "list"],
    [tagsKey(TENANT, "blog"), "string"],
    [tagsKey(TENANT, "born"), "list"],
    [idempotencyKey(TENANT, "token.deploy", "1"), "list"],
    [laterKey(TENANT), "string"],
    [laterItemsKey(TENANT), "string"],
    [laterAfterKey(TENANT), "list"],
    [namespacesKey(TENANT), "list"],
  ]

  // Every publish needs these.
  const whole = [headKey(TENANT), logKey(TENANT), namespaceKey(TENANT, ""), namespacesKey(TENANT)]

  it.each(keys)("under %s leaves nothing, names the key, and breaks nothing else", async (key, type) => {
    await prepare()
    await host.command("DEL", key)
    await host.command(...(type === "list" ? ["RPUSH", key, "x"] : ["SET", key, "x"]))
    const before = await snapshot(host.store)
    for (let round = 0; round < 5; round += 1) {
      await expect(publish(host.store, request)).rejects.toMatchObject({
        failure: "refused",
        message: expect.stringMatching(/^WRONGTYPE /),
      })
      await expect(publish(host.store, request)).rejects.toThrow(key)
    }
    expect(await snapshot(host.store)).toEqual(before)
    if (whole.includes(key)) return
    await expectNothing(before)
  })

  it("that only tidying needs is accepted", async () => {
    await host.command("SET", taggedKey(TENANT), "x")
    expect(await publish(host.store, request)).toMatchObject({ status: "accepted" })
  })

  it("tells the relay where to look, and writes nothing for that", async () => {
    const heard = await hearWakes(host)
    await host.command("RPUSH", namespaceKey(TENANT, "blog"), "x")
    await expect(publish(host.store, request)).rejects.toThrow(namespaceKey(TENANT, "blog"))
    await expect.poll(() => heard.map(([channel]) => channel)).toContain("tm:v1:{default}:blog")
    expect(heard.find(([channel]) => channel === "tm:v1:{default}:blog")?.[1]).toEqual({ v: 1, broken: true })
  })
})

describe("a commit of which a command is refused for a right that is missing", () => {
  const TARGET = "edge"
  const receipt = { state: "dead", attempts: 1 } as const

  /** A lane that has read three entries and owes for one that is due. */
  async function lane(): Promise<Parameters<typeof commit>[1]> {
    await host.command("FLUSHALL")
    const { generation, entries } = await record(host.store, [plan(), plan({ tags: ["a"] }), plan()], {
      clock: 1_000,
    })
    const held = await acquire(host.store, TARGET, "r1.a")
    await host.command("ZADD", dueKey(TENANT, TARGET), "5", "old")
    await host.command("HSET", dueItemsKey(TENANT, TARGET), "old", "{}")
    await host.command("ZADD", lateKey(TENANT, TARGET), "1", "a row")
    const last = entries[2]
    return {
      target: TARGET,
      held: held ?? "",
      to: `${generation} ${last?.epoch} ${last?.seq}`,
      keep: 1_001,
      due: [[9_000, "new", "{}"]],
      done: ["old"],
      late: [{ ...receipt, epoch: 1_001 }],
      dead: ["a letter", "another"],
    }
  }

  /** Letters have ids of their own time. */
  async function outcome() {
    const { [deadKey(TENANT, TARGET)]: _, ...others } = await snapshot(host.store)
    return { ...others, letters: await host.command("XLEN", deadKey(TENANT, TARGET)) }
  }

  it("is as if it had not been, once it was made again", async () => {
    const undisturbed = await lane()
    expect(await commit(host.store, undisturbed)).toBe("ok")
    const expected = await outcome()
    const refused: string[] = []
    for (const command of await commandsOf("commit")) {
      const what = await lane()
      await host.command("ACL", "SETUSER", "less", "reset", "on", ">x", "~*", "&*", "+@all", `-${command}`)
      const less = await host.connect({ name: "less", password: "x" })
      const cursor = await host.command("HGET", cursorKey(TENANT), TARGET)
      const status = await commit(less, what).catch((error: unknown) => {
        expect(error).toBeInstanceOf(StoreError)
        return "refused"
      })
      if (status !== "refused") continue
      refused.push(command)
      expect(await host.command("HGET", cursorKey(TENANT), TARGET), command).toBe(cursor)
      expect(await host.command("XLEN", deadKey(TENANT, TARGET)), command).toBe(0)
      expect(await commit(host.store, what), command).toBe("ok")
      expect(await outcome(), command).toEqual(expected)
    }
    expect(refused).toEqual(expect.arrayContaining(["del", "hdel", "hget", "hset", "xadd", "zadd", "zrem"]))
  })
})

describe("a resync of which a command is refused for a right that is missing", () => {
  it("leaves no entry and raises nothing, however often it is tried, and is made once it may be", async () => {
    const config = parseConfig({})
    const refused: string[] = []
    for (const command of await commandsOf("adopt")) {
      await host.command("FLUSHALL")
      await record(host.store, [plan({ tags: ["a"] })])
      const generation = (await readHead(host.store))?.generation
      await host.command("SET", headKey(TENANT), `${generation} 1 1 another`)
      const before = await snapshot(host.store)
      await host.command("ACL", "SETUSER", "less", "reset", "on", ">x", "~*", "&*", "+@all", `-${command}`)
      const less = await host.connect({ name: "less", password: "x" })
      const adopt = (store: Store) => new Memory().adopt(store, TENANT, "r1", config)
      const first = await adopt(less).catch((error: unknown) => {
        expect(error).toBeInstanceOf(StoreError)
        return undefined
      })
      if (first) continue
      refused.push(command)
      for (let round = 0; round < 3; round += 1) await adopt(less).catch(() => {})
      expect(await snapshot(host.store), command).toEqual(before)
      expect((await adopt(host.store)).reason, command).toBe("identity")
      expect(await host.command("XLEN", logKey(TENANT)), command).toBe(2)
    }
    expect(refused).toEqual(expect.arrayContaining(["del", "get", "info", "set", "time", "xadd"]))
  })
})

describe("a dead letter that is put back, of which a command is refused for a right that is missing", () => {
  it("is there still, or due, and comes to the same once it is put back again", async () => {
    const lane = { tenant: TENANT, target: "edge" }
    const letter = encodeOwed({
      ...NO_SELECTORS,
      namespace: "blog",
      mode: "purge",
      epochs: [1_000],
      error: "no",
      at: 1,
    })
    const lay = async () => {
      await host.command("FLUSHALL")
      await host.command("XADD", deadKey(TENANT, "edge"), "5-0", "d", letter)
      const row = JSON.stringify({ epoch: 1_000, state: "dead", at: 1, attempts: 1, calls: [], letters: 1 })
      await host.command("ZADD", lateKey(TENANT, "edge"), "1000", row)
    }
    await lay()
    expect(await replayLetter(host.store, lane, "5-0", 7_000)).toBe(true)
    const { [deadKey(TENANT, "edge")]: _, ...expected } = await snapshot(host.store)
    const refused: string[] = []
    for (const command of await commandsOf("replay")) {
      await lay()
      await host.command("ACL", "SETUSER", "less", "reset", "on", ">x", "~*", "&*", "+@all", `-${command}`)
      const less = await host.connect({ name: "less", password: "x" })
      const done = await replayLetter(less, lane, "5-0", 7_000).catch(() => false)
      if (done) continue
      refused.push(command)
      expect(await host.command("XLEN", deadKey(TENANT, "edge")), command).toBe(1)
      expect(await replayLetter(host.store, lane, "5-0", 7_000), command).toBe(true)
      const { [deadKey(TENANT, "edge")]: _left, ...others } = await snapshot(host.store)
      expect(others, command).toEqual(expected)
    }
    expect(refused).toEqual(expect.arrayContaining(["hset", "xdel", "xrange", "zadd"]))
  })
})

describe("a publish that was refused, with a clock that stands still", () => {
  it("does not stand in the way of the next, whose epoch it would have had", async () => {
    await record(host.store, [plan()], { clock: 5_000 })
    await host.command("ACL", "SETUSER", "less", "reset", "on", ">x", "~*", "&*", "+@all", "-set")
    // An entry that was taken back leaves its id with the stream, which takes no lower one.
    await host.command("XADD", logKey(TENANT), "9000-0", "v", "1")
    await host.command("XDEL", logKey(TENANT), "9000-0")
    const { entries } = await record(host.store, [plan({ tags: ["a"] })], { clock: 1_000 })
    expect(entries[0]?.epoch).toBeGreaterThan(9_000)
    expect(entries[0]?.seq).toBe(3)
    expect(await readHead(host.store)).toMatchObject({ ...entries[0] })
  })
})
