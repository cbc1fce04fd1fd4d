import { AsyncLocalStorage } from "node:async_hooks"
import { createRequire } from "node:module"
import type { CacheHandler as NextCacheHandler } from "next/dist/server/lib/cache-handlers/types.js"
import { afterEach, describe, expect, expectTypeOf, it, onTestFinished, vi } from "vitest"
import {
  type CacheEntry,
  type CacheHandler,
  type CacheHandlerOptions,
  type CacheHandlerWarning,
  createCacheHandler,
  type EntryStorage,
  publishTags,
  type StoredEntry,
} from "../../client/next.ts"
import { type EpochStore, StoreRefusal } from "../../client/epoch-store.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { workerStore } from "../../client/store.ts"
import { createTidemark, type TidemarkOptions } from "../../client/tidemark.ts"
import { parseInvalidation } from "../../protocol/invalidation.ts"

const TTL = 5_000
const MAX_STALE = 60_000
const HOUR = 3_600_000
const RACES = 1_000

const require = createRequire(import.meta.url)

/** The handler that Next.js uses by itself, with what it remembers of tags: as another process would load it. */
function createStockHandler(): NextCacheHandler {
  for (const path of Object.keys(require.cache)) {
    if (/cache-handlers|tags-manifest/.test(path)) delete require.cache[path]
  }
  const { createDefaultCacheHandler } = require("next/dist/server/lib/cache-handlers/default.js") as {
    createDefaultCacheHandler(maxSize: number): NextCacheHandler
  }
  return createDefaultCacheHandler(50 * 2 ** 20)
}

/** The clock from which Next.js takes when making an entry began. */
const nextClock = () => performance.timeOrigin + performance.now()

function streamOf(...chunks: string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk))
      controller.close()
    },
  })
}

interface Made extends Partial<Omit<CacheEntry, "value">> {
  readonly text?: string
  readonly value?: ReadableStream<Uint8Array>
}

/** An entry of one tag, `post`, made from now on. */
const made = ({ text = "old", ...entry }: Made = {}): CacheEntry => ({
  value: streamOf(text),
  tags: ["post"],
  stale: 300,
  timestamp: nextClock(),
  expire: 86_400,
  revalidate: 3_600,
  ...entry,
})

/** Until what is waited for by nobody has gone as far as it goes by itself. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0))

const textOf = (entry: CacheEntry | undefined) =>
  entry ? new Response(entry.value).text() : Promise.resolve("miss")

interface SetUp extends Partial<CacheHandlerOptions> {
  readonly reader?: Partial<TidemarkOptions>
}

function setUp({ reader, ...options }: SetUp = {}) {
  const clock = new Clock()
  const store = new ModelStore(clock)
  store.record({ kind: "everything", namespace: "" })
  const record = store.publish.bind(store)
  store.publish = (what) => {
    // As a Worker would: the model takes anything.
    expect(parseInvalidation(what)).not.toHaveProperty("errors")
    return record(what)
  }
  const warnings: CacheHandlerWarning[] = []
  const tidemark = createTidemark({ store, now: clock.now, random: () => 0, maxStale: MAX_STALE, ...reader })
  const handler = createCacheHandler({
    tidemark,
    namespace: "blog",
    onWarning: (warning) => warnings.push(warning),
    ...options,
  })
  /** As Next.js does with an entry that is missing: it is looked for, made, and handed over. */
  const fill = async (key: string, entry: Made = {}, softTags: string[] = []) => {
    await handler.get(key, softTags)
    await handler.set(key, Promise.resolve(made(entry)))
  }
  /** What is served, and whether Next.js makes it anew in the background. */
  const read = async (key: string, softTags: string[] = []) => {
    const entry = await handler.get(key, softTags)
    return `${await textOf(entry)}${entry?.revalidate === -1 ? ", revalidate" : ""}`
  }
  /** Something is published elsewhere, and time passes until every reader knows. */
  const publish = (event: Partial<Parameters<ModelStore["record"]>[0]> = {}) => {
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["post"], ...event })
    clock.time += 2 * TTL
  }
  return { clock, store, tidemark, handler, fill, read, publish, warnings }
}

describe("the handler", () => {
  it("is one of Next.js", () => {
    expectTypeOf<CacheHandler>().toExtend<NextCacheHandler>()
  })

  it("keeps what was made, with a new stream for each reader", async () => {
    const { handler, fill, read } = setUp()
    await fill("a", { value: streamOf("one ", "two"), tags: ["post", "_N_RP_lang"] })
    const first = await handler.get("a", [])
    const second = await handler.get("a", [])
    expect(await textOf(second)).toBe("one two")
    expect(await textOf(first)).toBe("one two")
    for await (const chunk of (await handler.get("a", []))?.value ?? []) chunk.fill(0)
    expect(await read("a")).toBe("one two")
    const { value: _, timestamp, ...rest } = first ?? made()
    expect(rest).toEqual({ tags: ["post", "_N_RP_lang"], stale: 300, expire: 86_400, revalidate: 3_600 })
    expect(timestamp).toBeLessThan(nextClock())
  })

  it("has Next.js leave soft tags to it, in both call styles", async () => {
    const { handler } = setUp()
    expect(await handler.getExpiration(["_N_T_/a", "_N_T_/b"])).toBe(Infinity)
    expect(await handler.getExpiration("_N_T_/a", "_N_T_/b")).toBe(Infinity)
  })

  it("waits in get for the set of the key, and not for one that fails", async () => {
    const { handler, read } = setUp()
    await handler.get("a", [])
    const entry = Promise.withResolvers<CacheEntry>()
    const set = handler.set("a", entry.promise)
    const waiting = read("a")
    entry.resolve(made())
    expect(await waiting).toBe("old")
    await set
    const failing = Promise.withResolvers<CacheEntry>()
    const failed = handler.set("a", failing.promise)
    const second = read("a")
    failing.reject(new Error("broken"))
    expect(await second).toBe("old")
    await expect(failed).resolves.toBeUndefined()
  })

  it("waits for all that are under way, whichever ends first", async () => {
    const { handler, read } = setUp()
    await handler.get("a", [])
    const slow = Promise.withResolvers<CacheEntry>()
    const both = [handler.set("a", slow.promise), handler.set("a", Promise.resolve(made({ text: "quick" })))]
    await both[1]
    let answered = false
    const waiting = read("a").finally(() => (answered = true))
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(answered).toBe(false)
    slow.resolve(made({ text: "slow" }))
    expect(await waiting).toBe("slow")
    await Promise.all(both)
  })

  it("waits once for a set that never ends, and not for those after it", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
    onTestFinished(() => void vi.useRealTimers())
    const { handler, read } = setUp()
    await handler.get("page", [])
    void handler.set("page", new Promise(() => undefined))
    const waiting = read("page")
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await waiting).toBe("miss")
    // Nothing moves the time on from here.
    expect(await read("page")).toBe("miss")
    await handler.set("page", Promise.resolve(made()))
    expect(await read("page")).toBe("old")
  })

  it("keeps nothing of what broke off", async () => {
    const { handler, read, warnings } = setUp()
    await handler.get("a", [])
    const value = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("half")),
      pull: (controller) => controller.error(new Error("broken")),
    })
    await handler.set("a", Promise.resolve(made({ value })))
    expect(await read("a")).toBe("miss")
    expect(warnings).toEqual([])
  })

  it("keeps nothing that expires at once, and lets go of its stream", async () => {
    const { handler, read } = setUp()
    await handler.get("a", [])
    let cancelled = false
    const value = new ReadableStream<Uint8Array>({ cancel: () => void (cancelled = true) })
    await handler.set("a", Promise.resolve(made({ value, expire: 0 })))
    expect(await read("a")).toBe("miss")
    expect(cancelled).toBe(true)
  })

  it("bounds its memory by bytes, and drops what was not used the longest", async () => {
    const { fill, read } = setUp({ maxBytes: 1_000 })
    const text = "x".repeat(300)
    for (const key of ["a", "b", "c"]) await fill(key, { text })
    await read("a")
    await fill("d", { text })
    expect(await Promise.all(["a", "b", "c", "d"].map((key) => read(key)))).toEqual([
      text,
      "miss",
      text,
      text,
    ])
    await fill("too large", { text: "x".repeat(1_001) })
    expect(await read("too large")).toBe("miss")
    // What is replaced no longer counts.
    for (let count = 0; count < 10; count += 1) await fill("e", { text })
    await fill("f", { text })
    expect(await read("e")).toBe(text)
  })

  it("is made of an environment that may lack everything, as that of a build does", () => {
    // As the README's file has it, in TypeScript.
    const { TIDEMARK_URL: url, TIDEMARK_TOKEN: token } = process.env
    expect([url, token]).toEqual([undefined, undefined])
    const tidemark = createTidemark({ store: workerStore({ url, token }) })
    expect(() => createCacheHandler({ tidemark, namespace: "blog" })).not.toThrow()
  })

  it.each([
    [{ namespace: "" }, /namespace/],
    [{ swr: -1 }, /swr/],
    [{ maxBytes: Number.NaN }, /maxBytes/],
    [{ maxCacheTtl: 0 }, /maxCacheTtl/],
    [{ storageTimeout: 0 }, /storageTimeout/],
    [{ storageTimeout: Infinity }, /storageTimeout/],
  ])("refuses %j", (options, message) => {
    expect(() => setUp(options)).toThrow(message)
  })
})

describe("the in-flight race", () => {
  /** Read begins, the invalidation is published, the entry is written, it is read again: how often it passed for fresh. */
  async function race(
    handler: Pick<NextCacheHandler, "get" | "set">,
    publish: (hard: boolean) => Promise<unknown>,
    between: (key: string) => Promise<unknown> = async () => undefined,
  ): Promise<number> {
    let fresh = 0
    for (let count = 0; count < RACES; count += 1) {
      const key = `race-${count}`
      expect(await handler.get(key, [])).toBeUndefined()
      const entry = made()
      await publish(count % 2 === 0)
      await between(key)
      await handler.set(key, Promise.resolve(entry))
      const found = await handler.get(key, [])
      if (found && found.revalidate !== -1) fresh += 1
    }
    return fresh
  }

  it("never leaves an old entry fresh", async () => {
    const { handler, publish } = setUp()
    expect(await race(handler, async (hard) => publish({ hard }))).toBe(0)
  })

  it("nor when another request looks for the same key in between, and knows of it already", async () => {
    const { handler, publish } = setUp()
    const other = (key: string) => handler.get(key, [])
    expect(await race(handler, async (hard) => publish({ hard }), other)).toBe(0)
  })

  it("nor when the app publishes itself", async () => {
    const { handler } = setUp()
    const update = (hard: boolean) => handler.updateTags(["post"], hard ? undefined : { expire: 60 })
    expect(await race(handler, update)).toBe(0)
  })

  it("is lost by the handler of Next.js, whenever another process published", async () => {
    const handler = createStockHandler()
    const other = createStockHandler()
    const update = (hard: boolean) => other.updateTags(["post"], hard ? undefined : { expire: 60 })
    expect(await race(handler, update)).toBe(RACES)
    // Not because it knew nothing of tags.
    await handler.updateTags(["post"])
    await new Promise((resolve) => setTimeout(resolve, 2))
    expect(await handler.get("race-0", [])).toBeUndefined()
  })

  it("and by the same process, where it published within the same millisecond", async () => {
    const handler = createStockHandler()
    const update = (hard: boolean) => handler.updateTags(["post"], hard ? undefined : { expire: 60 })
    expect(await race(handler, update)).toBeGreaterThan(0)
  })

  it("gives no stamp to what was begun before the first, or in its very instant", async () => {
    let time = 1_000
    const { handler, read } = setUp({ now: () => time })
    await handler.get("a", [])
    for (const timestamp of [999, 1_000]) {
      await handler.set("a", Promise.resolve(made({ timestamp })))
      expect(await read("a")).toBe("miss")
    }
    await handler.set("a", Promise.resolve(made({ timestamp: 1_000.25 })))
    time += 1
    expect(await read("a")).toBe("old")
  })

  it("has a stamp for what Next.js makes without looking for it", async () => {
    const { handler, read, publish } = setUp()
    await handler.refreshTags()
    const entry = made()
    publish()
    await handler.set("a", Promise.resolve(entry))
    expect(await read("a")).toBe("old, revalidate")
  })

  it("has it however many looked for anything since", async () => {
    const { handler, read } = setUp()
    await handler.refreshTags()
    const entry = made()
    for (let count = 0; count < 1_001; count += 1) await handler.refreshTags()
    await handler.set("a", Promise.resolve(entry))
    expect(await read("a")).toBe("old")
  })

  it("is given the newest one, also where one of before comes late", async () => {
    const kept: StoredEntry[] = []
    const { tidemark } = setUp()
    let epoch = 2
    const handler = createCacheHandler({
      tidemark: { ...tidemark, begin: async (namespace) => ({ namespace, stamp: { generation: 1, epoch } }) },
      namespace: "blog",
      storage: { get: () => undefined, set: (_, entry) => void kept.push(entry) },
    })
    await handler.refreshTags()
    epoch = 1
    await handler.refreshTags()
    await handler.set("a", Promise.resolve(made()))
    expect(kept[0]?.stamp).toBe("1.2")
  })

  it("forgets the oldest of very many stamps, and then keeps nothing that is as old", async () => {
    const { handler, read, publish } = setUp()
    await handler.refreshTags()
    const entry = made()
    for (let count = 0; count < 1_001; count += 1) {
      publish()
      await handler.refreshTags()
    }
    await handler.set("a", Promise.resolve(entry))
    expect(await read("a")).toBe("miss")
  })
})

describe("an invalidation", () => {
  it("that is soft leaves the old entry servable until it was made anew, once", async () => {
    const { fill, read, publish } = setUp()
    await fill("a")
    publish()
    expect(await read("a")).toBe("old, revalidate")
    await fill("a", { text: "new" })
    expect(await read("a")).toBe("new")
    publish({ values: ["other"] })
    expect(await read("a")).toBe("new")
  })

  it("that is hard makes it a miss", async () => {
    const { fill, read, publish } = setUp()
    await fill("a")
    publish({ hard: true })
    expect(await read("a")).toBe("miss")
    await fill("a", { text: "new" })
    expect(await read("a")).toBe("new")
  })

  it.each([
    ["its own tag", { values: ["post"] }, true],
    ["its page's path", { values: ["_N_T_/blog/hello"] }, true],
    ["the layout above its page", { values: ["_N_T_/layout"] }, true],
    ["its namespace", { kind: "namespace", values: [] }, true],
    ["everything", { kind: "everything", namespace: "" }, true],
    ["its page's url", { kind: "urls", values: ["https://www.example.com/blog/hello"] }, true],
    ["a tag that is not ASCII, which Next.js encodes", { values: ["pöst 1"] }, true],
    ["the namespace of a tag of it", { namespace: "shop", kind: "namespace", values: [] }, true],
    ["its tag of another namespace", { namespace: "shop", values: ["shop-1"] }, true],
    ["a namespace that a label names", { namespace: "news", kind: "namespace", values: [] }, true],
    ["another tag", { values: ["post-2"] }, false],
    ["a tag of the same name in another namespace", { namespace: "shop", values: ["post"] }, false],
    ["another page's url", { kind: "urls", values: ["https://www.example.com/blog"] }, false],
    ["a name that Next.js keeps for itself", { values: ["_N_RP_lang"] }, false],
    ["another namespace", { namespace: "docs", kind: "namespace", values: [] }, false],
  ] as const)("by %s", async (_, event, concerned) => {
    const { fill, read, publish } = setUp({
      site: "https://www.example.com/",
      namespaceOf: (tag) => (tag.startsWith("shop-") ? "shop" : undefined),
    })
    const soft = ["_N_T_/layout", "_N_T_/blog/layout", "_N_T_/blog/[slug]/page", "_N_T_/blog/hello"]
    await fill("a", { tags: ["post", "p%C3%B6st 1", "shop-1", "ns/news", "_N_RP_lang", "100%"] }, soft)
    expect(await read("a", soft)).toBe("old")
    publish({ hard: true, ...event })
    expect(await read("a", soft)).toBe(concerned ? "miss" : "old")
  })

  it.each([
    [59_999, {}, "old, revalidate"],
    [60_001, {}, "miss"],
    [0, { swr: 0 }, "miss"],
    [864_000_000, { swr: Infinity }, "old, revalidate"],
  ])("is served for no longer than swr: %i ms with %j", async (waited, options, expected) => {
    const { fill, read, store, clock } = setUp({ reader: { ttl: 0 }, ...options })
    await fill("a")
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["post"] })
    clock.time += waited
    expect(await read("a")).toBe(expected)
  })

  it("of the same millisecond as the stamp is seen, and what is made right after it is a hit", async () => {
    const { handler, fill, read, store, clock } = setUp({ reader: { ttl: 0 } })
    for (let count = 0; count < 5; count += 1) {
      const text = `v${count}`
      await fill("a", { text })
      expect(await read("a")).toBe(text)
      store.record({ kind: "tags", namespace: "blog", values: ["post"] })
      expect(await read("a")).toBe(`${text}, revalidate`)
      // Made anew by that very look, and by no other.
      await handler.set("a", Promise.resolve(made({ text: "new" })))
      expect(await read("a")).toBe("new")
    }
    expect(clock.time).toBe(new Clock().time)
  })

  it("that is learnt only in judging counts for the entry that is made for that very look", async () => {
    const entries = new Map<string, StoredEntry>()
    const storage: EntryStorage = {
      get: (key) => entries.get(key),
      set: (key, entry) => void entries.set(key, entry),
    }
    const { fill, publish, store, clock } = setUp({ storage })
    await fill("a")
    publish({ values: ["other"] })
    // A process that knows what changed within a day, and must ask for the tags of what is older.
    clock.time += 48 * HOUR
    const tidemark = createTidemark({ store, now: clock.now, random: () => 0 })
    const handler = createCacheHandler({ tidemark, namespace: "blog", storage, swr: Infinity })
    await handler.refreshTags()
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["post"] })
    expect((await handler.get("a", []))?.revalidate).toBe(-1)
    await handler.set("a", Promise.resolve(made({ text: "new" })))
    const found = await handler.get("a", [])
    expect(`${await textOf(found)} ${found?.revalidate}`).toBe("new 3600")
  })

  it("of the app's namespace reaches what has only tags of others", async () => {
    const { fill, read, publish } = setUp({ namespaceOf: () => "shop" })
    await fill("a")
    publish({ namespace: "shop", values: ["other"], hard: false })
    expect(await read("a")).toBe("old")
    publish({ kind: "namespace", values: [], hard: true })
    expect(await read("a")).toBe("miss")
  })

  it.each([HOUR, -HOUR])("is seen, and ends, with a clock that is %i ms off", async (off) => {
    const clock = new Clock()
    const { fill, read, store, handler } = setUp({ reader: { now: () => clock.time + off } })
    await fill("a")
    expect(await read("a")).toBe("old")
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
    clock.time += 2 * TTL
    expect(await read("a")).toBe("miss")
    await handler.set("a", Promise.resolve(made({ text: "new" })))
    expect(await read("a")).toBe("new")
  })

  it.each([HOUR, -HOUR])(
    "reaches what a host put into a shared storage whose clock is %i ms off",
    async (off) => {
      const entries = new Map<string, StoredEntry>()
      const storage = {
        get: (key: string) => entries.get(key),
        set: (key: string, entry: StoredEntry) => void entries.set(key, entry),
      }
      const there = () => nextClock() + off
      const { fill, tidemark, publish } = setUp({ storage, now: there })
      const here = createCacheHandler({ tidemark, namespace: "blog", storage })
      await fill("a", { timestamp: there() + 1 })
      await fill("a", { timestamp: there() })
      const entry = await here.get("a", [])
      expect(await textOf(entry)).toBe("old")
      publish()
      const stale = await here.get("a", [])
      expect(stale?.revalidate).toBe(-1)
      // So that Next.js does make it anew.
      expect(nextClock()).toBeGreaterThan((stale?.timestamp ?? Infinity) + -1 * 1_000)
      await here.set("a", Promise.resolve(made({ text: "new" })))
      expect(await textOf(await here.get("a", []))).toBe("new")
    },
  )
})

describe("what the app revalidates", () => {
  const published = ({ store }: { store: ModelStore }) =>
    store.events.slice(2).map(({ kind, namespace, values, hard }) => ({ kind, namespace, values, hard }))

  it.each([
    ["updateTag(tag)", undefined, true],
    ["revalidateTag(tag, { expire: 0 })", { expire: 0 }, true],
    ["revalidateTag(tag, 'max')", { expire: 31_536_000 }, false],
    ["revalidateTag(tag, profile without expire)", {}, false],
  ])("%s is published, and known here at once", async (_, durations, hard) => {
    const world = setUp()
    await world.fill("a")
    await world.handler.updateTags(["post", "list"], durations)
    expect(published(world)).toEqual([{ kind: "tags", namespace: "blog", values: ["post", "list"], hard }])
    expect(await world.read("a")).toBe(hard ? "miss" : "old, revalidate")
    await world.fill("a", { text: "new" })
    expect(await world.read("a")).toBe("new")
  })

  it("as Next.js 15 says it", async () => {
    const world = setUp()
    await world.fill("a")
    await world.handler.expireTags("post", "list")
    expect(published(world)).toEqual([
      { kind: "tags", namespace: "blog", values: ["post", "list"], hard: true },
    ])
    expect(await world.read("a")).toBe("miss")
  })

  it("by path is a tag, and with a site also a url", async () => {
    const world = setUp({ site: "https://www.example.com" })
    await world.fill("a", {}, ["_N_T_/blog/hello"])
    await world.handler.updateTags(["_N_T_/blog/hello"])
    expect(published(world)).toEqual([
      { kind: "tags", namespace: "blog", values: ["_N_T_/blog/hello"], hard: true },
      { kind: "urls", namespace: "blog", values: ["https://www.example.com/blog/hello"], hard: true },
    ])
    expect(await world.read("a", ["_N_T_/blog/hello"])).toBe("miss")
  })

  it("goes to the namespaces of its tags; what has no name there, to all of it", async () => {
    const world = setUp({ namespaceOf: (tag) => (tag.startsWith("shop-") ? "shop" : undefined) })
    await world.handler.updateTags(["post", "shop-1", "ns/news", "p%C3%B6st"], { expire: 60 })
    await world.handler.updateTags([" padded ", "post"])
    expect(published(world)).toEqual([
      { kind: "tags", namespace: "blog", values: ["post", "p%C3%B6st", "pöst"], hard: false },
      { kind: "tags", namespace: "shop", values: ["shop-1"], hard: false },
      { kind: "namespace", namespace: "news", values: [], hard: false },
      { kind: "namespace", namespace: "blog", values: [], hard: true },
    ])
  })

  it("rejects where it could not be published", async () => {
    const { handler, store } = setUp()
    const refusal = new StoreRefusal(403, "no such scope")
    store.publish = () => Promise.reject(refusal)
    await expect(handler.updateTags(["post"])).rejects.toBe(refusal)
    const readOnly: EpochStore = { lookup: (request, after) => store.lookup(request, after) }
    const other = createCacheHandler({
      tidemark: createTidemark({ store: readOnly }),
      namespace: "blog",
      onWarning: () => undefined,
    })
    await expect(other.updateTags(["post"])).rejects.toThrow("this store cannot publish")
  })

  it("with publish: false is not published, but asked for at once", async () => {
    const { handler, fill, read, store, clock } = setUp({ publish: false })
    await fill("a")
    clock.time += 1
    store.record({ kind: "tags", namespace: "blog", values: ["post"], hard: true })
    expect(await read("a")).toBe("old")
    await handler.updateTags(["post"])
    expect(store.version).toBe(3)
    expect(await read("a")).toBe("miss")
    await handler.set("a", Promise.resolve(made({ text: "new" })))
    expect(await read("a")).toBe("new")
    // Where nothing was published, nothing comes of it.
    await handler.updateTags(["post"])
    expect(await read("a")).toBe("new")
  })
})

describe("what is published", () => {
  const lists = ({ store }: { store: ModelStore }) =>
    store.events.slice(2).map(({ kind, values }) => `${kind} ${values.length}`)

  it("may be more than one publish takes", async () => {
    const world = setUp()
    await world.handler.updateTags(Array.from({ length: 1_500 }, (_, nth) => `t${nth}`))
    await world.handler.updateTags(Array.from({ length: 300 }, (_, nth) => String(nth).padEnd(1_024, "x")))
    expect(lists(world)).toEqual(["tags 1000", "tags 500", "tags 239", "tags 61"])
  })

  it("in parts is published but for those that fail, and then rejects", async () => {
    const world = setUp()
    const publish = world.store.publish.bind(world.store)
    const refusal = new StoreRefusal(403, "no such scope")
    world.store.publish = async (what) => {
      if ("tags" in what && what.tags?.includes("t0")) throw refusal
      return publish(what)
    }
    const publishing = world.handler.updateTags(Array.from({ length: 2_100 }, (_, nth) => `t${nth}`))
    await expect(publishing).rejects.toBe(refusal)
    expect(lists(world)).toEqual(["tags 1000", "tags 100"])
    expect(world.warnings).toEqual([
      { code: "publish-failed", message: "What the app revalidated was not published.", cause: refusal },
    ])
  })

  it("keeps its tags where a url is refused, and its good urls, and says which was refused", async () => {
    const world = setUp({ site: "https://www.example.com" })
    const publish = world.store.publish.bind(world.store)
    world.store.publish = async (what) => {
      if ("urls" in what && what.urls?.some((url) => url.includes("/bad")))
        throw new StoreRefusal(422, "A url must lie within the hosts.")
      return publish(what)
    }
    await world.handler.updateTags(["/a", "/bad/1", "/b", "/c", "/bad/2"].map((path) => `_N_T_${path}`))
    const values = (kind: string) =>
      world.store.events.slice(2).flatMap((event) => (event.kind === kind ? event.values : []))
    expect(values("tags")).toEqual(["/a", "/bad/1", "/b", "/c", "/bad/2"].map((path) => `_N_T_${path}`))
    expect(values("urls").toSorted()).toEqual(
      ["/a", "/b", "/c"].map((path) => `https://www.example.com${path}`),
    )
    expect(world.warnings.map(({ code, message }) => `${code}: ${message}`).toSorted()).toEqual([
      "publish-refused: The url https://www.example.com/bad/1 was refused. Its tags were published.",
      "publish-refused: The url https://www.example.com/bad/2 was refused. Its tags were published.",
    ])
  })

  it("is lost with a refusal that is not about its urls, and said", async () => {
    const world = setUp({ site: "https://www.example.com" })
    const refusal = new StoreRefusal(422, "The namespace is not declared.")
    world.store.publish = () => Promise.reject(refusal)
    await expect(world.handler.updateTags(["_N_T_/a"])).rejects.toBe(refusal)
    expect(world.warnings.map(({ code }) => code)).toEqual(["publish-failed"])
  })

  it("has no url that is too long to be one", async () => {
    const world = setUp({ site: "https://www.example.com" })
    await world.handler.updateTags([`_N_T_/${"x".repeat(1_000)}`, `_N_T_/${"y".repeat(2_040)}`])
    expect(lists(world)).toEqual(["namespace 0"])
    await world.handler.updateTags([`_N_T_/${"é".repeat(500)}`])
    expect(lists(world).slice(1)).toEqual(["tags 1"])
  })

  it("is so once, where Next.js tells several handlers of one reader in the same turn", async () => {
    const world = setUp()
    const other = createCacheHandler({ tidemark: world.tidemark, namespace: "blog" })
    await Promise.all([world.handler.updateTags(["post"]), other.updateTags(["post"])])
    expect(lists(world)).toEqual(["tags 1"])
    await Promise.all([world.handler.updateTags(["post"]), other.updateTags(["list"], { expire: 60 })])
    await world.handler.updateTags(["post"])
    expect(lists(world)).toEqual(["tags 1", "tags 1", "tags 1", "tags 1"])
  })

  it("can be waited for by a route handler, which is told of a refusal", async () => {
    const world = setUp({ publish: false })
    await world.fill("a")
    await publishTags("post", { mode: "invalidate" })
    expect(await world.read("a")).toBe("old, revalidate")
    await publishTags(["post", "list"])
    expect(await world.read("a")).toBe("miss")
    world.store.publish = () => Promise.reject(new StoreRefusal(401, "no such token"))
    await expect(publishTags("post")).rejects.toThrow("no such token")
    const registry = globalThis as { [name: symbol]: unknown }
    delete registry[Symbol.for("tidemark/next")]
    await expect(publishTags("post")).rejects.toThrow("no cache handler of tidemark/next")
  })
})

describe("a storage that does not answer", () => {
  const hang = () => new Promise<never>(() => undefined)

  /** A storage in memory that hangs while it is told to. */
  function setUpStorage(options: Partial<CacheHandlerOptions> = {}) {
    const entries = new Map<string, StoredEntry>()
    const state = { hangs: { get: false, set: false }, calls: 0 }
    const storage: EntryStorage = {
      get(key) {
        state.calls += 1
        return state.hangs.get ? hang() : entries.get(key)
      },
      async set(key, entry) {
        state.calls += 1
        if (state.hangs.set) await hang()
        entries.set(key, entry)
      },
    }
    return { ...setUp({ storage, storageTimeout: 20, ...options }), entries, state, storage }
  }

  it("is waited for as long as storageTimeout says, then let alone, and that is said once", async () => {
    const { fill, read, warnings, state } = setUpStorage()
    await fill("a")
    expect(await read("a")).toBe("old")
    state.hangs.get = true
    state.calls = 0
    for (let visit = 0; visit < 20; visit += 1) expect(await read("a")).toBe("miss")
    expect(state.calls).toBe(1)
    expect(warnings).toMatchObject([
      { code: "storage-failed", cause: { name: "TimedOut", message: "did not answer within 20 ms" } },
    ])
  })

  it("is waited for no longer than 2 s by default", async () => {
    const timers = vi.spyOn(globalThis, "setTimeout")
    onTestFinished(() => void vi.restoreAllMocks())
    const { read } = setUp({ storage: { get: () => undefined, set: () => undefined } })
    expect(await read("a")).toBe("miss")
    expect(timers.mock.calls.map(([, time]) => time)).toContain(2_000)
  })

  it("has nothing to do with when a set is done, and others find what is on its way", async () => {
    const { handler, read, state, warnings, entries } = setUpStorage()
    state.hangs.set = true
    await handler.get("a", [])
    await handler.set("a", Promise.resolve(made()))
    expect(await read("a")).toBe("old")
    expect([...entries]).toEqual([])
    await expect
      .poll(() => warnings.map(({ message }) => message))
      .toEqual(["The storage could not set an entry."])
    expect(await read("a")).toBe("miss")
  })

  it("and one that throws at once has nothing either", async () => {
    const storage: EntryStorage = {
      get() {
        throw new Error("closed")
      },
      set() {
        throw new Error("closed")
      },
    }
    const { fill, read, warnings } = setUpStorage({ storage })
    await fill("a")
    await turn()
    expect(await read("a")).toBe("miss")
    expect(warnings.map(({ cause }) => String(cause))).toEqual(Array(3).fill("Error: closed"))
  })

  it("nor is anything lost where whoever is told of it throws", async () => {
    const { fill, read, state } = setUpStorage({
      onWarning() {
        throw new Error("no log")
      },
    })
    state.hangs.get = true
    expect(await read("a")).toBe("miss")
    await fill("a")
  })

  it("is told to the console once a minute, in words that hold no secret", async () => {
    const clock = vi.spyOn(performance, "now")
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined)
    onTestFinished(() => void vi.restoreAllMocks())
    // As ioredis rejects a command.
    const cause = Object.assign(new Error("WRONGPASS"), { command: { name: "auth", args: ["secret"] } })
    const { tidemark } = setUp()
    const storage: EntryStorage = { get: () => Promise.reject(cause), set: () => undefined }
    const handler = createCacheHandler({ tidemark, namespace: "blog", storage, now: () => 1 })
    for (const time of [0, 1, 59_999, 60_000, 60_001]) {
      clock.mockReturnValue(time)
      await handler.get("a")
    }
    const line = "tidemark: storage-failed: The storage could not get an entry. (WRONGPASS)"
    expect(warn.mock.calls).toEqual([[line], [line]])
  })
})

describe("an entry that cannot be made anew", () => {
  /** Everything by a clock that only the test moves. */
  function setUpClock(options: SetUp = {}) {
    let time = 1_000_000
    const world = setUp({ now: () => time, swr: Infinity, ...options })
    const pass = (by: number) => (time += by)
    const fill = async (key: string, entry: Made = {}) => {
      await world.handler.get(key, [])
      time += 1
      await world.handler.set(key, Promise.resolve(made({ timestamp: time, ...entry })))
    }
    return { ...world, fill, pass, now: () => time }
  }

  it("is asked for ever more rarely, and said to fail", async () => {
    const { fill, read, publish, pass, now, warnings, handler } = setUpClock()
    await fill("a")
    publish()
    const asked: number[] = []
    const cause = new Error("the CMS is away")
    for (let visit = 0; visit < 1_200; visit += 1) {
      if ((await read("a")) === "old, revalidate") {
        asked.push(visit / 10)
        // As Next.js hands over what broke off.
        const value = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(cause) })
        await handler.set("a", Promise.resolve(made({ value, timestamp: now() })))
      }
      pass(100)
    }
    expect(asked).toEqual([0, 1, 3, 7, 15, 31, 61, 91])
    expect(new Set(warnings.map(({ code }) => code))).toEqual(new Set(["revalidation-failed"]))
    expect(warnings.map((warning) => warning.cause)).toEqual(asked.map(() => cause))
    // Made at last, it is as any other.
    await fill("a", { text: "new" })
    publish()
    expect(await read("a")).toBe("new, revalidate")
    expect(warnings).toHaveLength(8)
  })

  it("is none where there is no old one, or making the new one has not ended", async () => {
    const { fill, read, publish, warnings, handler, pass } = setUpClock()
    const cause = new Error("the CMS is away")
    await handler.set("a", Promise.reject(cause))
    await fill("a")
    await handler.set("a", Promise.reject(cause))
    expect(warnings).toEqual([])
    publish()
    for (let visit = 0; visit < 10; visit += 1) {
      expect(await read("a")).toBe("old, revalidate")
      pass(10_000)
    }
    // As Next.js 15 hands over what it could not make.
    await handler.set("a", Promise.reject(cause))
    expect(warnings).toMatchObject([{ code: "revalidation-failed", cause }])
    expect(await read("a")).toBe("old")
  })

  it("meanwhile has Next.js look again soon, and expires as it would", async () => {
    const { fill, publish, pass, handler, now } = setUpClock()
    await fill("a", { expire: 600 })
    publish()
    await handler.get("a")
    await handler.set("a", Promise.reject(new Error("the CMS is away")))
    pass(400)
    expect(await handler.get("a")).toMatchObject({ revalidate: 1, timestamp: now(), expire: 599.6 })
  })

  it("does not lend its content to what is made from it: that is as old", async () => {
    const { fill, read, publish, handler, pass, now } = setUpClock()
    await fill("inner")
    publish()
    await handler.get("inner")
    await handler.set("inner", Promise.reject(new Error("the CMS is away")))
    pass(1)
    const inner = await handler.get("inner")
    // As Next.js makes one from another: with its tags.
    await handler.get("outer")
    pass(1)
    await handler.set("outer", Promise.resolve(made({ tags: inner?.tags ?? [], timestamp: now() })))
    expect(await read("outer")).toBe("old, revalidate")
    expect((await handler.get("outer"))?.tags.filter((tag) => tag === "post")).toHaveLength(1)
    publish({ values: ["other"] })
    await fill("other", { tags: ["other"] })
    expect(await read("other")).toBe("old")
  })
})

describe("while the store is away", () => {
  it("serves by what is known up to maxStale, then nothing, and keeps nothing that it knows nothing of", async () => {
    const { fill, read, store, clock, handler } = setUp()
    await fill("a")
    store.away = true
    clock.time += MAX_STALE
    expect(await read("a")).toBe("old")
    clock.time += 2_000
    expect(await read("a")).toBe("miss")
    await expect(handler.refreshTags()).resolves.toBeUndefined()
    await expect(handler.updateTags([])).resolves.toBeUndefined()
    store.away = false
    clock.time += 2_000
    expect(await read("a")).toBe("old")
  })

  it("from the start, nothing is kept and nothing throws", async () => {
    const { fill, read, store } = setUp()
    store.away = true
    await fill("a")
    expect(await read("a")).toBe("miss")
  })
})

describe("what is no entry of ours", () => {
  const valid: StoredEntry = {
    value: new TextEncoder().encode("old"),
    tags: ["post"],
    stamp: "0.0",
    stale: 0,
    timestamp: 0,
    expire: 60,
    revalidate: 60,
  }

  it.each([
    ["nothing", null],
    ["a text", "old"],
    ["no stamp", { ...valid, stamp: undefined }],
    ["a stamp that is none", { ...valid, stamp: "yesterday" }],
    ["a stamp of another generation", valid],
    ["tags that are no texts", { ...valid, tags: [1] }],
    ["no tags", { ...valid, tags: undefined }],
    ["a stream that was stored as JSON", { ...valid, value: {} }],
    ["no times", { ...valid, expire: null }],
  ])("is a miss: %s", async (_, entry) => {
    const { read, handler } = setUp({
      storage: { get: async () => entry as StoredEntry, set: () => undefined },
    })
    expect(await read("a")).toBe("miss")
    await expect(handler.get("a")).resolves.toBeUndefined()
  })

  it("nor one with more tags than can be asked for fresh after anything in its namespace", async () => {
    const { fill, read, publish } = setUp()
    await fill("a", { tags: Array.from({ length: 1_001 }, (_, index) => `tag-${index}`) })
    expect(await read("a")).toBe("old")
    publish({ values: ["none of these"] })
    expect(await read("a")).toBe("old, revalidate")
  })

  it("and a storage that fails has nothing, and says so", async () => {
    const cause = new Error("no connection")
    const storage: EntryStorage = { get: () => Promise.reject(cause), set: () => Promise.reject(cause) }
    const { fill, read, warnings } = setUp({ storage })
    await fill("a")
    await turn()
    expect(await read("a")).toBe("miss")
    expect(warnings.map((warning) => `${warning.code}: ${warning.message}`)).toEqual([
      "storage-failed: The storage could not get an entry.",
      "storage-failed: The storage could not set an entry.",
      "storage-failed: The storage could not get an entry.",
    ])
  })

  it("an entry may travel as JSON", async () => {
    const kept = new Map<string, string>()
    const { fill, read, publish } = setUp({
      storage: {
        get(key) {
          const entry = JSON.parse(kept.get(key) ?? "null")
          return entry ? { ...entry, value: Buffer.from(entry.value, "base64") } : undefined
        },
        set: (key, entry) =>
          void kept.set(
            key,
            JSON.stringify({ ...entry, value: Buffer.from(entry.value).toString("base64") }),
          ),
      },
    })
    await fill("a", { text: "naïve 🌊", expire: Infinity })
    expect(await read("a")).toBe("naïve 🌊")
    publish({ hard: true })
    expect(await read("a")).toBe("miss")
  })

  it("a storage is given plain data, and how long it may be of use", async () => {
    const kept: [string, StoredEntry, number][] = []
    const storage: EntryStorage = { get: () => undefined, set: (...given) => void kept.push(given) }
    const { fill, store } = setUp({ storage })
    await fill("a", { expire: 60 })
    await fill("b", { expire: Infinity, revalidate: Infinity })
    const [first, second] = kept
    const { value, ...rest } = second?.[1] ?? valid
    expect([first?.[2], second?.[2]]).toEqual([60_000, 30 * 24 * HOUR])
    expect(value).toBeInstanceOf(Uint8Array)
    expect(JSON.parse(JSON.stringify(rest))).toEqual(rest)
    expect(rest.stamp).toBe(`${store.generation}.${store.last}`)
  })
})

describe("within a request of Next.js", () => {
  const scope = globalThis as { AsyncLocalStorage?: unknown }
  afterEach(() => delete scope.AsyncLocalStorage)

  it("asks the store and the storage as if there were none", async () => {
    scope.AsyncLocalStorage = AsyncLocalStorage
    const request = new AsyncLocalStorage<string>()
    const seen = new Set<unknown>()
    const look = () => void seen.add(request.getStore())
    const { handler, store } = setUp({ storage: { get: look, set: look } })
    store.onLookup = look
    await request.run("prerender", async () => {
      await handler.refreshTags()
      await handler.get("a", [])
      await handler.set("a", Promise.resolve(made()))
      await handler.updateTags(["post"])
      expect(request.getStore()).toBe("prerender")
    })
    expect([...seen]).toEqual([undefined])
  })
})
