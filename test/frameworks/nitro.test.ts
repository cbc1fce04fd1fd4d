import {
  cachedFunction,
  type CacheOptions,
  createBlobStorage,
  createMemoryStorage,
  defineCachedFunction,
  defineCachedHandler,
  type HTTPEvent,
  type StorageInterface,
} from "ocache"
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest"
import {
  defineEpochCachedFunction,
  defineEpochCachedHandler,
  type EpochFunctionOptions,
  type EpochHandlerOptions,
} from "../../client/nitro.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { cloudflare, labelsFor } from "../../client/tags.ts"
import { createTidemark, type Tidemark, type TidemarkOptions } from "../../client/tidemark.ts"
import { importNitro2 } from "./nitro2-app.ts"
import { loadNitro3, type Nitro3 } from "./nitro3-runtime.ts"

const TTL = 5_000
const TRIES = 1_000
const SITE = "https://www.example.com"
const LONG = { maxAge: 3_600, swr: true }

function setUp(reader: Partial<TidemarkOptions> = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const createReader = () => createTidemark({ store, now: clock.now, random: () => 0, ...reader })
  return { clock, store, createReader, tidemark: createReader(), storage: createMemoryStorage() }
}

/** A storage as Redis is one: what it keeps is JSON. */
function jsonStorage(): StorageInterface & { readonly kept: Map<string, string> } {
  const kept = new Map<string, string>()
  return {
    kept,
    get: (key) => JSON.parse(kept.get(key) ?? "null"),
    set: (key, value) => void (value === null ? kept.delete(key) : kept.set(key, JSON.stringify(value))),
  }
}

/** What is read in the origin, and how often. */
class Origin {
  text = "old"
  reads = 0
  gate: Promise<void> = Promise.resolve()
  readonly began = Promise.withResolvers<void>()

  readonly read = async (id: string): Promise<{ id: string; text: string }> => {
    this.reads += 1
    const { text } = this
    this.began.resolve()
    await this.gate
    return { id, text }
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

type Post = { id: string; text: string }
const tags = ({ id }: Post) => [`post-${id}`]

describe("a cached function under stamps", () => {
  const setUpFunction = ({
    reader,
    ...options
  }: Partial<EpochFunctionOptions<Post, [id: string]>> & { reader?: Partial<TidemarkOptions> } = {}) => {
    const system = setUp(reader)
    const origin = new Origin()
    const get = defineEpochCachedFunction(defineCachedFunction, origin.read, {
      tidemark: system.tidemark,
      namespace: "blog",
      tags,
      name: "post",
      storage: system.storage,
      ...LONG,
      ...options,
    })
    const text = async (id = "1") => (await get(id)).text
    return { ...system, origin, get, text }
  }

  it("runs once, and is then answered from the storage", async () => {
    const { origin, get, text } = setUpFunction()
    expect([await text(), await text(), await text("2")]).toEqual(["old", "old", "old"])
    expect(origin.reads).toBe(2)
    expect(await get.resolveKeys("1")).toHaveLength(1)
    await get.invalidate("1")
    await text()
    expect(origin.reads).toBe(3)
  })

  it.each([
    ["memory", createMemoryStorage],
    ["JSON", jsonStorage],
  ])(
    "never answers what was read before an invalidation and stored after it, in another process (%s)",
    async (_, create) => {
      let stale = 0
      for (let attempt = 0; attempt < TRIES; attempt += 1) {
        const { clock, tidemark, createReader } = setUp()
        const storage = create()
        const origin = new Origin()
        const gate = Promise.withResolvers<void>()
        const inProcess = (reader: Tidemark) =>
          defineEpochCachedFunction(defineCachedFunction, origin.read, {
            tidemark: reader,
            namespace: "blog",
            tags,
            name: "post",
            storage,
            ...LONG,
          })
        const [one, other] = [inProcess(tidemark), inProcess(createReader())]
        origin.gate = gate.promise
        const filling = one("1")
        await origin.began.promise
        origin.text = "new"
        // By the process that is filling: it knows of it when it stores the value.
        await tidemark[attempt % 2 === 0 ? "purge" : "invalidate"]({ namespace: "blog", tags: ["post-1"] })
        gate.resolve()
        await filling
        await settled()
        clock.time += 2 * TTL
        // After a soft one it may be served while it is revalidated, once.
        if (attempt % 2 === 1) await other("1").then(settled)
        if ((await other("1")).text !== "new") stale += 1
      }
      expect(stale).toBe(0)
    },
  )

  it("which ocache alone does, and `validate` by mtime does; its own process ocache does fence", async () => {
    const outcome = { anotherProcess: 0, byMtime: 0, ownProcess: 0 }
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      for (const kind of ["anotherProcess", "byMtime", "ownProcess"] as const) {
        const storage = createMemoryStorage()
        const origin = new Origin()
        const gate = Promise.withResolvers<void>()
        let invalidatedAt = 0
        const options: CacheOptions<Post, [string]> = {
          name: "post",
          storage,
          ...LONG,
          ...(kind === "byMtime" ? { validate: ({ mtime = 0 }) => mtime >= invalidatedAt } : {}),
        }
        const [one, other] = [cachedFunction(origin.read, options), cachedFunction(origin.read, options)]
        origin.gate = gate.promise
        const filling = one("1")
        await origin.began.promise
        origin.text = "new"
        invalidatedAt = Date.now()
        if (kind !== "byMtime") await (kind === "ownProcess" ? one : other).invalidate("1")
        gate.resolve()
        await filling
        await settled()
        if ((await other("1")).text === "old") outcome[kind] += 1
      }
    }
    expect(outcome).toEqual({ anotherProcess: TRIES, byMtime: TRIES, ownProcess: 0 })
  })

  it("gives a caller who joined a fill from before an invalidation a value from after it", async () => {
    const { origin, text, tidemark } = setUpFunction()
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    const first = text()
    await origin.began.promise
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    origin.text = "new"
    const joined = [text(), text(), text()]
    await settled()
    expect(origin.reads).toBe(1)
    gate.resolve()
    expect(await first).toBe("old")
    expect(await Promise.all(joined)).toEqual(["new", "new", "new"])
    expect(origin.reads).toBe(2)
    expect(await text()).toBe("new")
  })

  it("of which ocache alone gives everyone the value from before", async () => {
    const origin = new Origin()
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    const get = cachedFunction(origin.read, { name: "post", ...LONG })
    const first = get("1")
    await origin.began.promise
    origin.text = "new"
    const joined = get("1")
    gate.resolve()
    expect([(await first).text, (await joined).text]).toEqual(["old", "old"])
  })

  it("serves the old value after a soft invalidation while one revalidation runs, and never after a hard one", async () => {
    const { origin, text, tidemark } = setUpFunction()
    await text()
    await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
    origin.text = "new"
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    expect([await text(), await text(), await text()]).toEqual(["old", "old", "old"])
    expect(origin.reads).toBe(2)
    gate.resolve()
    await settled()
    expect(await text()).toBe("new")
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    origin.text = "newer"
    expect([await text(), await text()]).toEqual(["newer", "newer"])
    expect(origin.reads).toBe(3)
  })

  it("waits for the new value after a soft one where there is no swr, or longer ago than staleMaxAge", async () => {
    for (const [options, waited, expected] of [
      [{ swr: false }, 0, "new"],
      [{ staleMaxAge: 60 }, 59_000, "old"],
      [{ staleMaxAge: 60 }, 60_000, "new"],
      [{ staleMaxAge: 0 }, 0, "new"],
    ] as const) {
      const { origin, text, tidemark, clock } = setUpFunction(options)
      await text()
      clock.time += 1
      await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
      clock.time += waited
      origin.text = "new"
      expect(await text()).toBe(expected)
    }
  })

  it("is untouched by what it does not depend on", async () => {
    const { origin, text, tidemark } = setUpFunction()
    await text()
    await tidemark.purge({ namespace: "blog", tags: ["post-2"] })
    await tidemark.purge({ namespace: "shop" })
    await text()
    expect(origin.reads).toBe(1)
    await tidemark.purge({ namespace: "blog" })
    await text()
    expect(origin.reads).toBe(2)
  })

  it("keeps what is read at once after an invalidation, and sees the next in the same millisecond", async () => {
    const { origin, text, store, clock, tidemark } = setUpFunction()
    await text()
    for (let round = 1; round <= 3; round += 1) {
      await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
      expect(store.last % 1_000).toBe(round)
      await text()
      await text()
      expect(origin.reads).toBe(1 + round)
    }
    clock.time += 10 * TTL
    await text()
    expect(origin.reads).toBe(4)
  })

  it.each([3_600_000, -3_600_000])(
    "with a clock that is %d ms off neither serves old nor misses for ever",
    async (skew) => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      store.skew = -skew
      store.record({ kind: "everything", namespace: "" })
      const { origin, text } = setUpFunction({
        tidemark: createTidemark({ store, now: clock.now, random: () => 0 }),
      })
      for (let round = 1; round <= 3; round += 1) {
        expect([await text(), await text()]).toEqual(["old", "old"])
        expect(origin.reads).toBe(round)
        store.record({ kind: "tags", namespace: "blog", values: ["post-1"], hard: true })
        clock.time += 2 * TTL
      }
    },
  )

  it.each([
    ["none", undefined],
    ["no object", "1.1"],
    ["nothing in it", {}],
    ["a stamp that is none", { stamp: 5, tags: [], urls: [] }],
    ["a stamp of another generation", { stamp: "17.1800000000000000", tags: [], urls: [] }],
  ])("takes an entry for a miss whose mark is wrong: %s", async (_, tidemark) => {
    const storage = jsonStorage()
    const { origin, text } = setUpFunction({ storage })
    await text()
    for (const [key, entry] of storage.kept)
      storage.kept.set(key, JSON.stringify({ ...JSON.parse(entry), tidemark }))
    expect([await text(), await text()]).toEqual(["old", "old"])
    expect(origin.reads).toBe(2)
  })

  it.each([
    ["no list", 5],
    ["no texts", [null, {}]],
    ["no tags", ["", "x".repeat(5_000), "\u0000"]],
  ])("does not throw over tags that are wrong: %s", async (_, wrong) => {
    const { origin, text, tidemark } = setUpFunction({ tags: () => wrong as string[] })
    await text()
    await text()
    expect(origin.reads).toBe(1)
    await tidemark.purge({ namespace: "blog" })
    await text()
    expect(origin.reads).toBe(2)
  })

  it("goes by what is known while the store is away, then past the storage, which keeps what it has", async () => {
    const { origin, text, store, clock } = setUpFunction({ reader: { maxStale: 60_000 } })
    await text()
    store.away = true
    clock.time += 50_000
    await text()
    expect(origin.reads).toBe(1)
    clock.time += 20_000
    for (let call = 0; call < 3; call += 1) await text()
    expect(origin.reads).toBe(4)
    store.away = false
    clock.time += 5_000
    await text()
    expect(origin.reads).toBe(4)
  })

  it("never throws, though the store was never there", async () => {
    const { origin, text, store } = setUpFunction()
    store.away = true
    expect([await text(), await text()]).toEqual(["old", "old"])
    expect(origin.reads).toBe(2)
  })
})

describe("a cached function's own options", () => {
  it("see and keep the function's own values", async () => {
    const { tidemark, storage } = setUp()
    const seen: unknown[] = []
    const get = defineEpochCachedFunction(
      defineCachedFunction,
      async (id: number) => ({ id, at: new Date(0) }),
      {
        tidemark,
        namespace: "blog",
        name: "own",
        storage,
        ...LONG,
        tags: ({ at }, id) => [`at-${at.getTime()}`, `id-${id}`],
        getMaxAge: ({ value }) => (seen.push(value?.at instanceof Date), 60),
        serialize: ({ value }) => ({ id: value?.id, at: value?.at.toISOString() }),
        validate: ({ value }) => value === undefined || typeof value.at === "string",
        transform: ({ value, status }) => ({ id: value?.id, at: new Date(String(value?.at)), status }),
      },
    )
    const all = await Promise.all([get(1), get(1)])
    expect([...all, await get(1)]).toEqual([
      { id: 1, at: new Date(0), status: "miss" },
      { id: 1, at: new Date(0), status: "miss" },
      { id: 1, at: new Date(0), status: "hit" },
    ])
    expect(seen).toEqual([true])
    const [key = ""] = await get.resolveKeys(1)
    expect(await storage.get(key)).toMatchObject({
      value: { id: 1, at: "1970-01-01T00:00:00.000Z" },
      maxAge: 60,
      tidemark: { tags: ["at-0", "id-1"] },
    })
  })

  it.each([null, 0, "", false, "text", { a: 1 }])(
    "give %j to whoever asked, also to who joined",
    async (value) => {
      const { tidemark } = setUp()
      let calls = 0
      const get = defineEpochCachedFunction(defineCachedFunction, async () => ((calls += 1), value), {
        tidemark,
        namespace: "blog",
        name: "values",
        ...LONG,
      })
      expect(await Promise.all([get(), get(), get()])).toEqual([value, value, value])
      expect(await get()).toEqual(value)
      expect(calls).toBe(1)
    },
  )

  it.each([
    ["JSON", jsonStorage],
    [
      "bytes",
      () => {
        const kept = new Map<string, Uint8Array>()
        return createBlobStorage({
          get: (key) => kept.get(key) ?? null,
          set: (key, bytes) => void (bytes ? kept.set(key, bytes) : kept.delete(key)),
        })
      },
    ],
  ])("keep bytes as bytes in a storage of %s", async (_, create) => {
    const { tidemark } = setUp()
    let calls = 0
    const get = defineEpochCachedFunction(
      defineCachedFunction,
      async () => ((calls += 1), new Uint8Array([1, 2, 255]).buffer),
      {
        tidemark,
        namespace: "blog",
        name: "bytes",
        storage: create(),
        ...LONG,
      },
    )
    for (let call = 0; call < 3; call += 1)
      expect(new Uint8Array(await get())).toEqual(new Uint8Array([1, 2, 255]))
    expect(calls).toBe(1)
  })

  it("bypass, reject and expire as they do in ocache", async () => {
    const { tidemark } = setUp()
    let calls = 0
    const get = defineEpochCachedFunction(
      defineCachedFunction,
      async (id: string) => {
        calls += 1
        if (id === "bad") throw new Error("no such")
        return calls
      },
      { tidemark, namespace: "blog", name: "rest", ...LONG, shouldBypassCache: (id) => id === "live" },
    )
    expect([await get("live"), await get("live")]).toEqual([1, 2])
    await expect(get("bad")).rejects.toThrow("no such")
    expect([await get("a"), await get("a")]).toEqual([4, 4])
    await get.expire("a")
    expect(await get("a")).toBe(4)
    await settled()
    expect(await get("a")).toBe(5)
  })
})

describe("a cached handler under stamps", () => {
  const setUpHandler = ({
    reader,
    handler,
    ...options
  }: Partial<EpochHandlerOptions<HTTPEvent>> & {
    reader?: Partial<TidemarkOptions>
    handler?: (event: HTTPEvent, origin: Origin) => unknown
  } = {}) => {
    const system = setUp(reader)
    const origin = new Origin()
    const create = (more: Partial<EpochHandlerOptions<HTTPEvent>> = {}) =>
      defineEpochCachedHandler(
        defineCachedHandler,
        async (event: HTTPEvent) => {
          const { text } = await origin.read("1")
          return handler ? handler(event, origin) : new Response(text, { headers: { "x-own": "1" } })
        },
        {
          tidemark: system.tidemark,
          namespace: "blog",
          name: "page",
          storage: system.storage,
          ...LONG,
          tags: () => ["post-1"],
          labels: labelsFor(cloudflare),
          ...options,
          ...more,
        },
      )
    const serve = create()
    const open = (path = "/a", init?: RequestInit) => serve({ req: new Request(SITE + path, init) })
    const text = async (path?: string, init?: RequestInit) => (await open(path, init)).text()
    return { ...system, origin, serve, open, text, create }
  }

  it("is made once, labelled, and served without its mark", async () => {
    const { open, origin } = setUpHandler()
    for (const status of ["MISS", "HIT"]) {
      const response = await open()
      expect(Object.fromEntries(response.headers)).toMatchObject({
        "x-cache": status,
        "cache-tag": "ns/blog,post-1",
        "x-own": "1",
      })
      expect(response.headers.has("tidemark-entry")).toBe(false)
      expect(await response.text()).toBe("old")
    }
    expect(origin.reads).toBe(1)
  })

  it.each([
    ["a response", () => new Response("page", { headers: { "cache-tag": "own" } }), "page"],
    ["text", () => "page", "page"],
    ["a number", () => 5, "5"],
  ])("may be %s", async (_, handler, expected) => {
    const { open, origin } = setUpHandler({ handler })
    for (let visit = 0; visit < 2; visit += 1) {
      const response = await open()
      expect(await response.text()).toBe(expected)
      expect(response.headers.get("cache-tag")).toMatch(/ns\/blog,post-1$/)
    }
    expect(origin.reads).toBe(1)
  })

  it("may be what h3 makes of it, with the headers that were prepared for it", async () => {
    const { tidemark, storage } = setUp()
    let calls = 0
    // As Nitro wraps ocache: h3 makes the response, by the event, and takes what was prepared.
    const define: typeof defineCachedHandler = (handler, options) =>
      defineCachedHandler(handler, {
        toResponse: (value, event) =>
          Response.json(value, { headers: (event as unknown as { res: { headers: Headers } }).res.headers }),
        ...options,
      })
    const serve = defineEpochCachedHandler(define, () => ({ calls: (calls += 1) }), {
      tidemark,
      namespace: "blog",
      storage,
      ...LONG,
    })
    for (let visit = 0; visit < 2; visit += 1) {
      const event = { req: new Request(SITE), res: { headers: new Headers({ "x-prepared": "1" }) } }
      const response = await serve(event)
      expect(await response.json()).toEqual({ calls: 1 })
      expect(response.headers.get("x-prepared")).toBe("1")
      expect(response.headers.has("tidemark-entry")).toBe(false)
    }
  })

  it("may be kept in unstorage, as Nitro keeps it", async () => {
    const kept = new Map<string, string>()
    const useStorage = () => ({
      getItem: async (key: string) => JSON.parse(kept.get(key) ?? "null"),
      setItem: async (key: string, value: unknown) => void kept.set(key, JSON.stringify(value)),
    })
    const { text, origin, tidemark } = setUpHandler({ storage: useStorage })
    expect([await text(), await text()]).toEqual(["old", "old"])
    expect(origin.reads).toBe(1)
    await tidemark.purge({ namespace: "blog", urls: [`${SITE}/a`] })
    await text()
    expect(origin.reads).toBe(2)
  })

  it("never answers what was made before an invalidation and stored after it; ocache alone does", async () => {
    const stale = { stamped: 0, stock: 0 }
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const isHard = attempt % 2 === 0
      const { tidemark, clock, createReader, storage, origin, create } = setUpHandler()
      const gate = Promise.withResolvers<void>()
      origin.gate = gate.promise
      const [one, other] = [create(), create({ tidemark: createReader() })]
      const event = () => ({ req: new Request(`${SITE}/a`) })
      const filling = one(event())
      await origin.began.promise
      origin.text = "new"
      await tidemark[isHard ? "purge" : "invalidate"]({ namespace: "blog", urls: [`${SITE}/a`] })
      gate.resolve()
      await (await filling).text()
      await settled()
      clock.time += 2 * TTL
      if (!isHard) await other(event()).then(settled)
      if ((await (await other(event())).text()) !== "new") stale.stamped += 1

      const stock = new Origin()
      const stockGate = Promise.withResolvers<void>()
      stock.gate = stockGate.promise
      const define = () =>
        defineCachedHandler(async () => (await stock.read("1")).text, { name: "stock", storage, ...LONG })
      const [stockOne, stockOther] = [define(), define()]
      const stockFilling = stockOne(event())
      await stock.began.promise
      stock.text = "new"
      await (isHard ? stockOther.invalidate(event()) : stockOther.expire(event()))
      stockGate.resolve()
      await stockFilling
      await settled()
      if (!isHard) await stockOther(event())
      await settled()
      if ((await ((await stockOther(event())) as Response).text()) === "old") stale.stock += 1
    }
    expect(stale).toEqual({ stamped: 0, stock: TRIES })
  })

  it("gives a request which joined a fill from before an invalidation a page from after it", async () => {
    const { origin, text, tidemark } = setUpHandler()
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    const first = text()
    await origin.began.promise
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    origin.text = "new"
    const joined = text()
    await settled()
    gate.resolve()
    expect([await first, await joined, await text()]).toEqual(["old", "new", "new"])
  })

  it("serves the old page after a soft invalidation while one revalidation runs, as no-store; never after a hard one", async () => {
    const { origin, open, text, tidemark } = setUpHandler()
    await text()
    await tidemark.invalidate({ namespace: "blog", tags: ["post-1"] })
    origin.text = "new"
    const gate = Promise.withResolvers<void>()
    origin.gate = gate.promise
    for (let visit = 0; visit < 3; visit += 1) {
      const response = await open()
      expect(await response.text()).toBe("old")
      expect(Object.fromEntries(response.headers)).toMatchObject({
        "x-cache": "STALE",
        "cache-control": "no-store",
      })
    }
    expect(origin.reads).toBe(2)
    gate.resolve()
    await settled()
    expect((await open()).headers.get("cache-control")).toBe(
      "public, max-age=0, must-revalidate, s-maxage=3600",
    )
    expect(await text()).toBe("new")
    await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
    origin.text = "newer"
    expect([await text(), await text()]).toEqual(["newer", "newer"])
    expect(origin.reads).toBe(3)
  })

  it("is revalidated by conditional requests too", async () => {
    const { origin, open, tidemark } = setUpHandler()
    const etag = (await open()).headers.get("etag") ?? ""
    const ask = () => open("/a", { headers: { "if-none-match": etag } })
    expect((await ask()).status).toBe(304)
    await tidemark.invalidate({ namespace: "blog" })
    origin.text = "new"
    await ask()
    await settled()
    const response = await ask()
    expect([response.status, await response.text()]).toEqual([200, "new"])
  })

  it.each([3_600_000, -3_600_000])(
    "with a clock that is %d ms off neither serves old nor misses for ever",
    async (skew) => {
      const clock = new Clock()
      const store = new ModelStore(clock)
      store.skew = -skew
      store.record({ kind: "everything", namespace: "" })
      const { origin, text } = setUpHandler({
        tidemark: createTidemark({ store, now: clock.now, random: () => 0 }),
      })
      for (let round = 1; round <= 3; round += 1) {
        await text()
        await text()
        expect(origin.reads).toBe(round)
        store.record({ kind: "tags", namespace: "blog", values: ["post-1"], hard: true })
        clock.time += 2 * TTL
      }
    },
  )

  it("keeps what is made at once after an invalidation, and sees the next in the same millisecond", async () => {
    const { origin, text, tidemark } = setUpHandler()
    await text()
    for (let round = 1; round <= 3; round += 1) {
      await tidemark.purge({ namespace: "blog", tags: ["post-1"] })
      await text()
      await text()
      expect(origin.reads).toBe(1 + round)
    }
  })

  it.each([
    undefined,
    "",
    "{",
    "5",
    '{"stamp":5}',
    '{"stamp":"17.1800000000000000","tags":[],"urls":[]}',
    "null",
  ])("takes a response for a miss whose mark is %j", async (mark) => {
    const storage = jsonStorage()
    const { origin, text } = setUpHandler({ storage })
    await text()
    for (const [key, kept] of storage.kept) {
      const entry = JSON.parse(kept)
      entry.value.headers["tidemark-entry"] = mark
      storage.kept.set(key, JSON.stringify(entry))
    }
    expect([await text(), await text()]).toEqual(["old", "old"])
    expect(origin.reads).toBe(2)
  })

  it.each([5, "text", { value: 1 }, { value: { headers: null } }, {}])(
    "nor minds an entry that is %j",
    async (entry) => {
      const storage = jsonStorage()
      const { text, serve } = setUpHandler({ storage })
      const [key = ""] = await serve.resolveKeys({ req: new Request(`${SITE}/a`) })
      storage.kept.set(key, JSON.stringify(entry))
      expect(await text()).toBe("old")
    },
  )

  it("goes by what is known while the store is away, then past the storage, which keeps what it has", async () => {
    const { origin, text, store, clock } = setUpHandler()
    await text()
    store.away = true
    clock.time += 50_000
    await text()
    expect(origin.reads).toBe(1)
    clock.time += 20_000
    for (let visit = 0; visit < 3; visit += 1) await text()
    expect(origin.reads).toBe(4)
    store.away = false
    clock.time += 5_000
    await text()
    expect(origin.reads).toBe(4)
  })

  it("can be expired and invalidated by its own methods", async () => {
    const { origin, text, serve } = setUpHandler()
    const event = () => ({ req: new Request(`${SITE}/a`) })
    await text()
    origin.text = "new"
    await serve.expire(event())
    expect(await text()).toBe("old")
    await settled()
    expect(await text()).toBe("new")
    await serve.invalidate(event())
    await text()
    expect(origin.reads).toBe(3)
  })
})

describe("a storage that does not answer", () => {
  const never = () => new Promise<never>(() => undefined)

  it.each(["get", "set"] as const)(
    "is waited for no longer than it is told, and its outage told once (%s)",
    async (what) => {
      const errors: unknown[] = []
      const options = { storageTimeout: 20, onError: (error: unknown) => errors.push(error), ...LONG }
      for (const kind of ["function", "handler"] as const) {
        const { tidemark, storage } = setUp()
        const hanging = { ...storage, [what]: never }
        let calls = 0
        const get =
          kind === "function"
            ? defineEpochCachedFunction(defineCachedFunction, async () => ((calls += 1), "made"), {
                tidemark,
                namespace: "blog",
                name: "hanging",
                storage: () => hanging,
                ...options,
              })
            : defineEpochCachedHandler(defineCachedHandler, () => ((calls += 1), "made"), {
                tidemark,
                namespace: "blog",
                storage: hanging,
                ...options,
              })
        for (let call = 0; call < 3; call += 1) {
          const made = await get({ req: new Request(SITE) })
          expect(typeof made === "string" ? made : await made.text()).toBe("made")
          await vi.waitFor(() => expect(errors).toHaveLength(1))
        }
        expect(calls).toBeGreaterThan(0)
        expect(String(errors.splice(0))).toBe("Error: The storage did not answer within 20 ms")
      }
    },
  )

  it("is told of again once it was back", async () => {
    const errors: unknown[] = []
    const { tidemark, storage } = setUp()
    let isDown = true
    const get = defineEpochCachedFunction(defineCachedFunction, async () => "made", {
      tidemark,
      namespace: "blog",
      name: "returning",
      storage: {
        get: (key) => (isDown ? Promise.reject(new Error("down")) : storage.get(key)),
        set: (key, value) => storage.set(key, value),
      },
      onError: (error) => errors.push(error),
      ...LONG,
    })
    for (isDown of [true, true, false, true, true]) await get().then(settled)
    expect(errors).toEqual([new Error("down"), new Error("down")])
  })

  it("is refused a timeout that is none", () => {
    const { tidemark } = setUp()
    const options = { tidemark, namespace: "blog", storageTimeout: 0 }
    expect(() => defineEpochCachedFunction(defineCachedFunction, () => 1, options)).toThrow(RangeError)
  })
})

describe("bypass", () => {
  // All of them had the name of the plug's own function, and put each other's entries out.
  it("keeps handlers without a name apart, in one storage and at one path", async () => {
    const { tidemark } = setUp()
    const storage = jsonStorage()
    const made = { one: 0, other: 0 }
    const options = { tidemark, namespace: "blog", storage, maxAge: 3_600 }
    const handlers = [
      defineEpochCachedHandler(defineCachedHandler, () => `one ${(made.one += 1)}`, options),
      defineEpochCachedHandler(defineCachedHandler, () => `other ${(made.other += 1)}`, options),
    ]
    for (let round = 0; round < 3; round += 1)
      for (const serve of handlers) {
        await serve({ req: new Request("https://www.example.com/") })
        await settled()
      }
    expect(made).toEqual({ one: 1, other: 1 })
  })

  it("has a function run, and a handler, as if nothing was cached", async () => {
    const { tidemark, storage } = setUp()
    let calls = 0
    const get = defineEpochCachedFunction(
      defineCachedFunction,
      async (id: string) => `${id} ${(calls += 1)}`,
      {
        tidemark,
        namespace: "blog",
        name: "bypassed",
        storage,
        bypass: (id) => id === "draft",
        ...LONG,
      },
    )
    expect([await get("draft"), await get("draft"), await get("a"), await get("a")]).toEqual([
      "draft 1",
      "draft 2",
      "a 3",
      "a 3",
    ])
    const serve = defineEpochCachedHandler(defineCachedHandler, () => `page ${(calls += 1)}`, {
      tidemark,
      namespace: "blog",
      storage,
      bypass: (event: HTTPEvent) => event.req.headers.has("cookie"),
      ...LONG,
    })
    const ask = async (headers: Record<string, string>) => serve({ req: new Request(SITE, { headers }) })
    const texts = []
    for (const headers of [{}, { cookie: "draft=1" }, { cookie: "draft=1" }, {}])
      texts.push(await (await ask(headers)).text())
    expect(texts).toEqual(["page 4", "page 5", "page 6", "page 4"])
    expect((await ask({ cookie: "draft=1" })).headers.has("cache-control")).toBe(false)
  })
})

describe("what browsers are told", () => {
  const setUpSite = (
    options: Partial<EpochHandlerOptions<HTTPEvent>> = {},
    headers?: Record<string, string>,
  ) => {
    const { tidemark, storage } = setUp()
    const serve = defineEpochCachedHandler(
      defineCachedHandler,
      () => new Response("page", headers ? { headers } : {}),
      {
        tidemark,
        namespace: "blog",
        storage,
        ...LONG,
        ...options,
      },
    )
    return async () => (await serve({ req: new Request(SITE) })).headers.get("cache-control")
  }

  it.each<
    [string, Partial<EpochHandlerOptions<HTTPEvent>>, Record<string, string> | undefined, string | null]
  >([
    ["by default", {}, undefined, "public, max-age=0, must-revalidate"],
    [
      "with labels",
      { labels: labelsFor(cloudflare) },
      undefined,
      "public, max-age=0, must-revalidate, s-maxage=3600",
    ],
    ["what the handler says", {}, { "cache-control": "max-age=7" }, "max-age=7"],
    ["what ocache says", { sendCacheControl: true }, undefined, "max-age=3600, s-maxage=3600"],
    ["nothing", { sendCacheControl: false }, undefined, null],
  ])("is %s", async (_, options, headers, expected) => {
    const read = setUpSite(options, headers)
    expect([await read(), await read()]).toEqual([expected, expected])
  })
})

describe("in Nitro 3 itself, under h3 2", () => {
  let nitro: Nitro3
  beforeAll(async () => {
    nitro = await loadNitro3("nitro")
  })

  const setUpApp = (handler: (event: any) => unknown) => {
    const system = setUp()
    const app = new nitro.H3()
    let calls = 0
    app.use((event) => {
      const who = event.req.headers.get("x-who")
      event.res.headers.set("x-refreshed-token", `token-of-${who}`)
      event.res.headers.set(`x-${who}`, "1")
      if (who === "new") event.res.headers.append("set-cookie", "sid=rotated")
    })
    const serve = defineEpochCachedHandler(
      nitro.defineCachedHandler,
      async (event: HTTPEvent) => ((calls += 1), handler(event)),
      { tidemark: system.tidemark, namespace: "blog", storage: system.storage, ...LONG },
    )
    app.get("/page", serve)
    const get = (headers: Record<string, string> = {}) => app.request(`${SITE}/page`, { headers })
    return { ...system, get, calls: () => calls }
  }

  it.each<[string, (event: any) => unknown]>([
    ["text", () => "page"],
    ["a response", () => new Response("page", { headers: { "x-page": "1" } })],
    ["a value, with headers of its own", (event) => (event.res.headers.set("x-page", "1"), "page")],
  ])(
    "never keeps what others prepared for a visitor, which goes along with what is kept: %s",
    async (_, handler) => {
      const { get, calls } = setUpApp(handler)
      for (const who of ["alice", "bob", "new", "carol"]) {
        const response = await get({ "x-who": who })
        expect([response.status, await response.text()]).toEqual([200, "page"])
        const own = [...response.headers.keys()].filter((name) => /^x-(?:alice|bob|new|carol)$/.test(name))
        expect(own).toEqual([`x-${who}`])
        expect(response.headers.get("x-refreshed-token")).toBe(`token-of-${who}`)
        expect(response.headers.getSetCookie()).toEqual(who === "new" ? ["sid=rotated"] : [])
        expect(response.headers.get("cache-control")).toBe(
          who === "new" ? "private, no-cache" : "public, max-age=0, must-revalidate",
        )
        expect(response.headers.has("tidemark-entry")).toBe(false)
        await settled()
      }
      expect(calls()).toBe(1)
    },
  )

  it("which Nitro's own cache keeps, for an hour", async () => {
    const app = new nitro.H3()
    app.use((event) => {
      event.res.headers.set(`x-${event.req.headers.get("x-who")}`, "1")
    })
    const { storage } = setUp()
    app.get(
      "/page",
      nitro.defineCachedHandler(() => "page", { storage: () => storage, ...LONG, name: "stock" }),
    )
    const get = async (who: string) =>
      (await app.request(`${SITE}/page`, { headers: { "x-who": who } })).headers
    await get("alice")
    await settled()
    const second = await get("bob")
    expect(second.get("cache-control")).toContain("max-age=3600")
    expect(second.get("x-alice")).toBe("1")
  })

  it("is purged, and answers 304", async () => {
    const { get, tidemark, calls } = setUpApp(() => "page")
    const etag = (await get()).headers.get("etag") ?? ""
    await settled()
    expect((await get({ "if-none-match": etag })).status).toBe(304)
    await tidemark.purge({ namespace: "blog", urls: [`${SITE}/page`] })
    await get()
    expect(calls()).toBe(2)
  })
})

describe("what is not ocache's", () => {
  let app: Awaited<ReturnType<typeof importNitro2>>
  beforeAll(async () => {
    app = await importNitro2()
  })
  afterAll(() => app.remove())

  const options = () => ({ ...setUp(), namespace: "blog" })

  it("is refused when it is defined: Nitro 2, which is in Nuxt 3 and 4", () => {
    const { defineCachedFunction: fn, defineCachedEventHandler: handler } = app.nitro.runtime
    expect(() => defineEpochCachedFunction(fn as never, () => 1, options())).toThrow(/ocache.*tidemark\/nuxt/)
    expect(() => defineEpochCachedHandler(handler as never, () => 1, options())).toThrow(
      /ocache.*tidemark\/nuxt/,
    )
  })

  it("is refused when it is defined, or asked: a Nitro 3 of before", async () => {
    const older = await loadNitro3("nitro-without-ocache")
    expect(() => defineEpochCachedFunction(older.defineCachedFunction, () => 1, options())).toThrow("ocache")
    const served = new older.H3()
    served.get(
      "/page",
      defineEpochCachedHandler(older.defineCachedHandler, () => "page", options()),
    )
    expect((await served.request("/page")).status).toBe(500)
    const serve = defineEpochCachedHandler(older.defineCachedHandler, () => "page", options())
    await expect(serve({ req: new Request(SITE), url: new URL(SITE) })).rejects.toThrow("ocache")
  })
})
