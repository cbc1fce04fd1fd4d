import { describe, expect, it, onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { look } from "../../dispatch/look.ts"
import { headKey, RELAY_ITEMS_KEY, RELAYS_KEY } from "../../protocol/keys.ts"
import { DAY } from "../../protocol/time.ts"
import { openStore } from "../support/publish.ts"
import { useRedis } from "./support.ts"

const redis = useRedis()

const beat = (last = 0, item?: string) => ({ relay: "relay-a", last, item })
const score = async () => Number(await redis.command("ZSCORE", RELAYS_KEY, "relay-a"))

describe("a look", () => {
  it("tells who Redis is, how it evicts, and the heads in the order asked, however many", async () => {
    await redis.command("SET", headKey("t-0"), "1 2 3 id")
    await redis.command("SET", headKey("t-1000"), "4 5 6 -")
    const names = Array.from({ length: 1_001 }, (_, nth) => `t-${nth}`)
    const seen = await look(redis.store, names, beat())
    const info = String(await redis.command("INFO", "replication"))
    expect(seen).toMatchObject({
      isReplica: false,
      identity: /master_replid:(\w{16})/.exec(info)?.[1],
      policy: "noeviction",
      isLost: false,
      failure: undefined,
    })
    expect(seen.heads).toHaveLength(1_001)
    expect([seen.heads[0], seen.heads[500], seen.heads[1_000]]).toEqual([
      { generation: 1, epoch: 2, seq: 3, identity: "id" },
      undefined,
      { generation: 4, epoch: 5, seq: 6, identity: "-" },
    ])
  })

  it("says that the relay lives, each time above all before, also where the clock went back", async () => {
    const { beat: first } = await look(redis.store, [], beat())
    expect(await score()).toBe(first)
    const ahead = first + DAY
    await redis.command("ZADD", RELAYS_KEY, String(ahead), "relay-a")
    const { beat: second, isLost } = await look(redis.store, [], beat(ahead))
    expect([second, isLost, await score()]).toEqual([ahead + 1, false, ahead + 1])
  })

  it("counts one that was written and not heard of for its own", async () => {
    const { beat: first } = await look(redis.store, [], beat())
    await look(redis.store, [], beat(first))
    expect(await look(redis.store, [], beat(first))).toMatchObject({ isLost: false })
  })

  it("writes nothing where its beat is gone, so that whoever did not hear the answer hears it again", async () => {
    const { beat: first } = await look(redis.store, [], beat())
    await redis.command("DEL", RELAYS_KEY)
    for (const _ of [1, 2])
      expect(await look(redis.store, [], beat(first, "{}"))).toMatchObject({ isLost: true })
    expect(await redis.command("EXISTS", RELAYS_KEY, RELAY_ITEMS_KEY)).toBe(0)
  })

  it("reads the heads though the beat cannot be written, and says why", async () => {
    await redis.command("SET", RELAYS_KEY, "somebody's")
    await redis.command("SET", headKey("t-0"), "1 2 3 id")
    const seen = await look(redis.store, ["t-0"], beat(7))
    expect(seen).toMatchObject({ beat: 7, isLost: false, failure: expect.stringContaining("WRONGTYPE") })
    expect(seen.heads[0]?.seq).toBe(3)
  })

  it("is answered by a replica, which is told apart and not written to", async () => {
    const replica = await startRedis({ args: ["--replicaof", "127.0.0.1", new URL(redis.url).port] })
    onTestFinished(() => replica.stop())
    const open = await openStore(replica.url)
    onTestFinished(() => open.close())
    await redis.command("SET", headKey("t-0"), "1 2 3 id")
    await expect.poll(async () => (await look(open.store, ["t-0"], beat(7, "{}"))).heads[0]?.seq).toBe(3)
    expect(await look(open.store, ["t-0"], beat(7, "{}"))).toMatchObject({
      isReplica: true,
      beat: 7,
      failure: undefined,
    })
  })
})
