import { describe, expect, it, vi } from "vitest"
import type { LookupRequest } from "../protocol/lookup.ts"
import type { Reply } from "../protocol/store.ts"
import { type RedisConnection, redisStore } from "./redis-store.ts"
import { StoreRefusal } from "./epoch-store.ts"
import { workerStore } from "./store.ts"
import { createTidemark } from "./tidemark.ts"

const REQUEST: LookupRequest = new Map([["blog", { tags: ["post-1"], urls: [] }]])
const HEAD = "10 40 4 -"

/** A connection that gives these replies, in order. */
function connectionOf(...replies: readonly (Reply | Error)[]) {
  const sent: string[][] = []
  const signals: AbortSignal[] = []
  const left = [...replies]
  const connection: RedisConnection = {
    isReady: true,
    async sendCommand(command, { abortSignal }) {
      sent.push([...command])
      signals.push(abortSignal)
      const reply = left.shift() ?? null
      if (reply instanceof Error) throw reply
      return reply
    },
  }
  return { connection, sent, signals }
}

describe("redisStore", () => {
  it.each([
    ["RESP2", ["40"], ["post-1", "40", "post-2", "30"]],
    [
      "RESP3",
      [40],
      [
        ["post-1", 40],
        ["post-2", 30],
      ],
    ],
  ])("asks in one pipeline, and reads what %s answers", async (_, scores, changed) => {
    const rows = [null, "20 40 20 0"]
    const { connection, sent } = connectionOf([HEAD, ...rows], scores, changed, ["20 40 20 0"])
    const store = redisStore(connection, { tenant: "acme", now: () => 99 })
    expect(await store.lookup(REQUEST, 25)).toEqual({
      tenant: "acme",
      generation: 10,
      last: 40,
      asOf: 99,
      namespaces: new Map([
        ["blog", { epoch: 20, watermark: 40, hard: 20, floor: 0, tags: new Map([["post-1", 40]]) }],
      ]),
      after: 25,
      changed: new Map([
        [
          "blog",
          new Map([
            ["post-1", 40],
            ["post-2", 30],
          ]),
        ],
      ]),
    })
    expect(sent.map(([name]) => name)).toEqual(["MGET", "ZMSCORE", "ZRANGEBYSCORE", "MGET"])
    expect(sent[0]).toContain("tm:{acme}:head")
  })

  it("counts from before it asked", async () => {
    let now = 1_000
    const { connection } = connectionOf([HEAD, null, null], [null], [null])
    const slow: RedisConnection = {
      isReady: true,
      sendCommand(...command) {
        now += 500
        return connection.sendCommand(...command)
      },
    }
    expect((await redisStore(slow, { now: () => now }).lookup(REQUEST)).asOf).toBe(1_000)
  })

  it.each([
    ["an error", [new Error("LOADING Redis is loading")]],
    ["no list", ["OK"]],
    ["a head that is none", [["garbage", null, null], [null], [null]]],
    ["a row that is none", [[HEAD, null, "garbage"], [null], [null]]],
    ["a list of lists", [[HEAD, null, ["20 40 20 0"]], [null], [null]]],
    ["too little", [[HEAD, null, null]]],
  ])("rejects where Redis answers %s", async (_, replies) => {
    const { connection } = connectionOf(...(replies as Reply[]))
    await expect(redisStore(connection).lookup(REQUEST)).rejects.toThrow(Error)
    const tidemark = createTidemark({ store: redisStore(connection) })
    expect(await tidemark.begin("blog")).toEqual({ namespace: "blog", stamp: undefined })
    expect(await tidemark.judge({ generation: 10, epoch: 40 }, "blog")).toEqual({ verdict: "unknown" })
  })

  it("tells that this user may not read a namespace", async () => {
    const { connection } = connectionOf(new Error("NOPERM No permissions to access a key"))
    await expect(redisStore(connection).lookup(REQUEST)).rejects.toBeInstanceOf(StoreRefusal)
  })

  it("waits no longer than it was told, and then takes back what was not sent", async () => {
    vi.useFakeTimers()
    try {
      const signals: AbortSignal[] = []
      const silent: RedisConnection = {
        isReady: true,
        sendCommand: (_, { abortSignal }) => {
          signals.push(abortSignal)
          return new Promise((__, reject) => {
            abortSignal.addEventListener("abort", () => reject(new Error("aborted")))
          })
        },
      }
      const refused = expect(redisStore(silent, { timeout: 700 }).lookup(REQUEST)).rejects.toThrow("700 ms")
      await vi.advanceTimersByTimeAsync(699)
      expect(signals[0]?.aborted).toBe(false)
      await vi.advanceTimersByTimeAsync(1)
      await refused
      expect(signals[0]?.aborted).toBe(true)
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  it("sends nothing while there is no connection", async () => {
    const { connection, sent } = connectionOf()
    await expect(redisStore({ ...connection, isReady: false }).lookup(REQUEST)).rejects.toThrow(
      "not connected",
    )
    expect(sent).toEqual([])
  })

  it("has one connection of a pool to itself", async () => {
    const { connection, sent } = connectionOf([HEAD, null, null], [null], [null])
    let taken = 0
    const pool = {
      async execute<T>(work: (connection: RedisConnection) => Promise<T>) {
        taken += 1
        return work(connection)
      },
    }
    expect((await redisStore(pool).lookup(REQUEST)).last).toBe(40)
    expect([taken, sent.length]).toEqual([1, 3])
  })

  it("publishes through a store that can", async () => {
    const { connection } = connectionOf([HEAD, null, null], [], [null])
    const asked: string[] = []
    const worker = workerStore({
      url: "https://tidemark.example.com",
      token: "t",
      fetch: async (url) => {
        asked.push(url)
        return Response.json({ id: "50", epoch: 50 })
      },
    })
    const tidemark = createTidemark({ store: { ...worker, ...redisStore(connection) } })
    expect((await tidemark.begin("blog")).stamp).toEqual({ generation: 10, epoch: 40 })
    expect(await tidemark.purge({ namespace: "blog" })).toEqual({ id: "50", epoch: 50 })
    expect(asked).toEqual(["https://tidemark.example.com/v1/invalidations"])
    expect(redisStore(connection).publish).toBeUndefined()
  })

  it("refuses options that make no sense", () => {
    const { connection } = connectionOf()
    for (const options of [{ tenant: "A:b" }, { timeout: 0 }, { timeout: Infinity }])
      expect(() => redisStore(connection, options)).toThrow(RangeError)
  })
})
