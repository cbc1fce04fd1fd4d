import { createServer, type IncomingMessage, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import { describe, expect, it, onTestFinished } from "vitest"
import type { Stamp } from "../protocol/epoch.ts"
import { lookupJson, type LookupRequest } from "../protocol/lookup.ts"
import { workerStore } from "./store.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark, type TidemarkOptions } from "./tidemark.ts"
import type { TidemarkError } from "./trouble.ts"

/** A real HTTP server that answers as a Worker does, and another before it that keeps what it should not. */

const TTL = 5_000
const MAX_STALE = 60_000

async function listen(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of request) parts.push(part as Uint8Array)
  return Buffer.concat(parts).toString()
}

async function stage({ keeps = ["GET"], ...options }: { keeps?: string[] } & Partial<TidemarkOptions> = {}) {
  const clock = new Clock()
  const model = new ModelStore(clock)
  const asked: string[] = []
  const origin = await listen((request, response) => {
    void (async () => {
      const { searchParams } = new URL(request.url ?? "", "http://origin")
      const body = await textOf(request)
      const names =
        body === ""
          ? searchParams.getAll("ns")
          : Object.keys((JSON.parse(body) as { namespaces: object }).namespaces)
      const wanted: LookupRequest = new Map(names.map((name) => [name, { tags: [], urls: [] }]))
      asked.push(request.method ?? "")
      const answer = lookupJson(await model.lookup(wanted))
      response.setHeader("content-type", "application/json").end(JSON.stringify(answer))
    })()
  })
  /** What the cache keeps: until it is emptied, whatever the origin says of that. */
  const copies = new Map<string, string>()
  const cache = { isOn: false }
  const front = await listen((request, response) => {
    void (async () => {
      const { method = "GET", headers } = request
      const body = await textOf(request)
      const key = `${method} ${new URL(request.url ?? "", front).pathname}`
      const copy = cache.isOn && keeps.includes(method) ? copies.get(key) : undefined
      const answer =
        copy ??
        (await (
          await fetch(origin + (request.url ?? ""), {
            method,
            headers: { authorization: headers.authorization ?? "" },
            ...(body === "" ? {} : { body }),
          })
        ).text())
      copies.set(key, answer)
      response.setHeader("content-type", "application/json").end(answer)
    })()
  })
  const said: TidemarkError[] = []
  const tidemark = createTidemark({
    store: workerStore({ url: front, token: "t", now: clock.now }),
    ttl: TTL,
    maxStale: MAX_STALE,
    now: clock.now,
    random: () => 0,
    onError: (error) => void said.push(error),
    ...options,
  })
  /** A judgement, and then whatever it began in the background is awaited. */
  const judge = async (stamp: Stamp | undefined) => {
    const begun: Promise<unknown>[] = []
    const waitUntil = (promise: Promise<unknown>) => void begun.push(promise)
    const { verdict } = await tidemark.judge(stamp, "blog", {}, { waitUntil })
    await Promise.all(begun)
    return verdict
  }
  return { clock, model, asked, cache, said, tidemark, judge }
}

describe("behind a cache that keeps look-ups", () => {
  it("a copy is noticed, said and not believed, and the store is asked past it", async () => {
    const { clock, model, cache, said, asked, tidemark, judge } = await stage()
    const { stamp } = await tidemark.begin("blog")
    cache.isOn = true
    clock.time += 1
    model.record({ kind: "namespace", namespace: "blog" })
    clock.time += 2 * TTL
    // Nothing newer is known yet, and the store does as if it were away.
    expect(await judge(stamp)).toBe("fresh")
    expect(said).toMatchObject([{ code: "not-believed" }])
    expect(said[0]?.message).toMatch(/by a cache in between, \d+ s late: \/v1\/epochs must not be cached/)
    // As soon as it is asked again.
    clock.time += 2_000
    await judge(stamp)
    expect(await judge(stamp)).toBe("stale")
    expect(asked).toEqual(["GET", "POST"])
    expect(said).toHaveLength(1)
  })

  it("one that keeps every answer is as a store that is away: unknown after maxStale", async () => {
    const { clock, model, cache, said, tidemark, judge } = await stage({ keeps: ["GET", "POST"] })
    // By POST as well, so that it has a copy of either.
    const { stamp } = await tidemark.begin("blog")
    cache.isOn = true
    const filledAt = clock.time
    model.record({ kind: "namespace", namespace: "blog" })
    const verdicts = new Set<string>()
    while (clock.time < filledAt + 3 * MAX_STALE) {
      clock.time += 1_500
      const verdict = await judge(stamp)
      if (clock.time > filledAt + MAX_STALE + 2_000) verdicts.add(verdict)
    }
    // The first answer to a POST was one of then, and told of the invalidation.
    expect([...verdicts].every((verdict) => verdict !== "fresh")).toBe(true)
    expect(said.every(({ code }) => code === "not-believed")).toBe(true)
    expect((await tidemark.begin("blog")).stamp).toBeUndefined()
    // It is emptied, or set up as it should be.
    cache.isOn = false
    clock.time += 2_000
    expect((await tidemark.begin("blog")).stamp).toBeDefined()
  })

  it("calls nothing fresh by a copy that an invalidation came after, with bypass from 2 * ttl on", async () => {
    const { clock, model, cache, tidemark, judge } = await stage({
      keeps: ["GET", "POST"],
      onStoreFailure: "bypass",
    })
    await tidemark.begin("blog")
    cache.isOn = true
    clock.time += TTL
    // The copy that stands from now on is a POST's of now.
    clock.time += TTL
    await tidemark.begin("blog")
    clock.time += 2_000
    const { stamp } = await tidemark.begin("blog")
    expect(stamp).toBeDefined()
    clock.time += 1
    model.record({ kind: "namespace", namespace: "blog" })
    const invalidatedAt = clock.time
    for (let visit = 0; visit < 100; visit += 1) {
      clock.time += 1_500
      const verdict = await judge(stamp)
      if (clock.time > invalidatedAt + 2 * TTL) expect(verdict).not.toBe("fresh")
    }
  })

  it("believes a Worker whose clock was set back by an hour, after a moment", async () => {
    const { clock, model, tidemark, said, judge } = await stage()
    const { stamp } = await tidemark.begin("blog")
    let ahead = 0
    const { lookup } = model
    Object.assign(model, {
      lookup: async (...wanted: Parameters<typeof lookup>) => {
        const answer = await lookup(...wanted)
        return { ...answer, asOf: answer.asOf + ahead }
      },
    })
    ahead = -3_600_000
    clock.time += 2 * TTL
    for (let visit = 0; visit < 6; visit += 1) {
      clock.time += 1_500
      await judge(stamp)
    }
    model.record({ kind: "namespace", namespace: "blog" })
    clock.time += 2 * TTL
    expect(await judge(stamp)).toBe("stale")
    expect(said.map(({ code }) => code)).toEqual(["not-believed"])
  })
})
