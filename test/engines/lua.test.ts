import { afterAll, beforeAll, expect, it } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { Memory } from "../../dispatch/adopt.ts"
import { Lease } from "../../dispatch/lease.ts"
import { listLetters, replayLetter } from "../../dispatch/letters.ts"
import { setNamespaceAside } from "../../dispatch/aside.ts"
import { look } from "../../dispatch/look.ts"
import { rest } from "../../dispatch/rest.ts"
import { sweepTags } from "../../dispatch/sweep.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { NO_SELECTORS } from "../../protocol/invalidation.ts"
import { holdKey, namespaceKey, paceKey, paceNeverKey, tagsKey } from "../../protocol/keys.ts"
import { encodeOwed } from "../../protocol/letter.ts"
import * as generated from "../../protocol/scripts.gen.ts"
import type { Store } from "../../protocol/store.ts"
import { DAY } from "../../protocol/time.ts"
import { acquire, commit, plan, positionOf, readAfter, readLog, record, TENANT } from "../scripts/support.ts"
import { manualClock } from "../support/clock.ts"
import { openStore } from "../support/publish.ts"
import { available } from "./available.ts"
import { type Comparing, startComparing } from "./comparing.ts"
import { findLua, type Interpreter, LUA_VERSIONS, startInterpreter } from "./lua.ts"

// A script called the global `unpack`, which Lua has no more since 5.2. What is tried here is tried at length by
// `npm run engines -- lua-5.4`: every test of test/scripts.

const luas = await available(() => Promise.all(LUA_VERSIONS.map((version) => findLua(version))))
const onLua = it.skipIf(luas === undefined)

const stack = new AsyncDisposableStack()
let store: Store
let comparing: Comparing
let interpreters: Interpreter[]

beforeAll(async () => {
  if (luas === undefined) return
  const redis = await startRedis()
  stack.defer(() => redis.stop())
  interpreters = await Promise.all(luas.map((lua, index) => startInterpreter(lua, redis, index + 1)))
  for (const each of interpreters) stack.use(each)
  comparing = stack.use(await startComparing(redis.url, interpreters))
  const open = await openStore(redis.url)
  stack.defer(() => open.close())
  store = comparing.over(open.store)
})
afterAll(() => stack.disposeAsync())

async function publishes(): Promise<void> {
  const { body } = plan()
  const passes = [
    { kind: "settle", delay: 2_500, body },
    { kind: "second", delay: 30_000, body },
  ] as const
  await record(store, [plan(), plan({ namespace: null, mode: "purge" }), plan({}, {}, passes)])
  const idempotency = { principal: "token.deploy", key: "k", fingerprint: "f" }
  for (let nth = 0; nth < 2; nth += 1) await record(store, [plan()], { idempotency })
  for (let nth = 0; nth < 5; nth += 1) await record(store, [plan()], { maxEntries: 3 })
}

async function publishesTags(): Promise<void> {
  const many = Array.from({ length: 300 }, (_, index) => `post-${index}`)
  await record(store, [plan({ tags: many }), plan({ tags: ["a"] })])
  // The floor rises by age, and by number.
  await record(store, [plan({ tags: ["b"] }, { maxCacheTtl: 0 })], { clock: (Date.now() + DAY) * 1_000 })
  await record(store, [plan({ tags: many, mode: "purge" }, { maxTags: 20 })])
}

async function adopts(): Promise<void> {
  const memory = new Memory()
  const resync = parseConfig({})
  const report = parseConfig({ relay: { resync: { onIdentity: "report" } } })
  for (const config of [resync, resync]) await memory.adopt(store, TENANT, "r1", config)
  const [head = ""] = (await store.pipeline([["GET", `tm:{${TENANT}}:head`]])) as string[]
  for (const config of [report, resync]) {
    await store.pipeline([["SET", `tm:{${TENANT}}:head`, head.replace(/\S+$/, "another")]])
    await memory.adopt(store, TENANT, "r1", config)
  }
  await store.pipeline([["SET", `tm:{${TENANT}}:head`, head]])
  await memory.adopt(store, TENANT, "r1", resync)
  await store.pipeline([["DEL", `tm:{${TENANT}}:head`]])
  await memory.adopt(store, TENANT, "r1", resync)
}

async function lanes(): Promise<void> {
  const entries = await readLog(store)
  const newest = entries.at(-1)
  if (!newest) throw new Error("nothing is in the log")
  await readAfter(store, 0, 100)
  await readAfter(store, 0, 2, 10)
  const held = (await acquire(store, "edge", "r1.a%1")) ?? ""
  await acquire(store, "edge", "r2.b")
  const to = positionOf(newest)
  const owed = { ...NO_SELECTORS, namespace: "blog", mode: "purge", epochs: [newest.epoch] } as const
  const dead = encodeOwed({ ...owed, tags: ["a"], error: "no", at: 1 })
  const due = [[1_764_000_000_000.5, "item-1", "{}"] as const, [1_764_000_000_001, "item-2", "{}"] as const]
  const late = [{ epoch: newest.epoch }]
  expect(await commit(store, { target: "edge", held, to, due, done: ["item-1"], late, dead: [dead] })).toBe(
    "ok",
  )
  expect(await commit(store, { target: "edge", held: "nobody", to })).toBe("lost")
  await readAfter(store, newest.epoch)
  const now = (await acquire(store, "edge", "r1.c")) ?? ""
  expect(await commit(store, { target: "edge", held: now, to, keep: newest.epoch })).toBe("ok")

  const lane = { tenant: TENANT, target: "edge" }
  const [letter] = await listLetters(store, lane, { after: undefined, limit: 1 })
  for (const wanted of [true, false])
    expect(await replayLetter(store, lane, letter?.id ?? "", 1_764_000_000_000.5)).toBe(wanted)

  const lease = new Lease({
    store,
    clock: manualClock(),
    ...lane,
    target: "other",
    relay: "r1",
    length: 60_000,
  })
  await lease.take()
  await lease.release()
}

async function looks(): Promise<void> {
  const beat = { relay: "r1", last: 0, item: "{}" }
  const { beat: last } = await look(store, [TENANT, "other"], beat)
  await look(store, [TENANT], { ...beat, last })
  await rest(store, TENANT, { lanes: ["edge"], verified: ["edge"] })
}

async function keepsUp(): Promise<void> {
  await record(store, [plan({ tags: ["a", "b"] }), plan({ namespace: "blog/below", tags: ["a"] })])
  await record(store, [plan()])
  await sweepTags({ store, tenant: TENANT, config: parseConfig({}) })
  await store.pipeline([["RENAME", tagsKey(TENANT, "blog"), "elsewhere"]]).catch(() => {})
  for (const key of [namespaceKey(TENANT, "blog"), tagsKey(TENANT, "blog")]) {
    await store.pipeline([
      ["DEL", key],
      ["RPUSH", key, "somebody's"],
    ])
    await setNamespaceAside(store, TENANT, "blog", { now: 1, invalidate: () => Promise.resolve() })
  }
}

async function paces(): Promise<void> {
  const shared = [holdKey("account"), paceNeverKey("account")]
  const limits = {
    rate: ["rate", "0.3", "7.5", "3"],
    calls: ["inProgress", "300.5", "3", "2"],
    urls: ["spacing", "1500.25", "0", "0"],
    month: ["budget", "1000", "86400000", "3"],
  }
  const keys = [...shared, ...Object.keys(limits).map((bucket) => paceKey("account", bucket))]
  const args = Object.values(limits).flat()
  const take = () => store.script(generated.paceScript, keys, args)
  for (let nth = 0; nth < 4; nth += 1) await take()
  await store.script(generated.holdScript, [...shared, paceKey("account", "rate")], ["0", "1.25"])
  await store.script(generated.holdScript, shared, ["1500.5"])
  await take()
}

onLua("every script comes to the same replies and keys under Lua 5.1 to 5.4 as by EVAL", async () => {
  await publishes()
  await adopts()
  await lanes()
  await looks()
  await keepsUp()
  await paces()
  const missing = Object.values(generated).filter(({ name }) => !comparing.compared.has(name))
  expect(missing.map(({ name }) => `nothing above runs ${name}.lua`)).toEqual([])
})

onLua("tags are published under Lua 5.1 to 5.4 as by EVAL", publishesTags)

onLua("a script that is another thing under another Lua is found out", async () => {
  const script = (text: string) => ({ name: "probe", text, sha1: "", upstashSha1: "" })
  const refused = async (text: string) =>
    store.script(script(text), ["k"], ["1", "2"]).then(
      () => "nothing",
      (error: Error) => /under (Lua 5\.\d)/.exec(error.message)?.[1],
    )
  expect(await refused("return {redis.call('TIME')[1] * 1, redis.call('SET', KEYS[1], ARGV[1])}")).toBe(
    "nothing",
  )
  expect(await refused("return {unpack(ARGV)}")).toBe("Lua 5.2")
  expect(await refused("return math.pow(2, 3)")).toBe("Lua 5.2")
  expect(await refused("redis.call('SET', KEYS[1], ARGV[1] / 1 .. '')")).toBe("Lua 5.3")
  expect(await refused("return string.format('%d', 3.5)")).toBe("Lua 5.3")
  expect(await refused("return ARGV[1] / 0 .. ''")).toBe("nothing")
})
