import { afterEach, describe, expect, it, vi } from "vitest"
import { type EpochStore, StoreRefusal } from "./epoch-store.ts"
import { epochCacheOf } from "./l2.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark, type TidemarkOptions } from "./tidemark.ts"
import { TidemarkError } from "./trouble.ts"

const MINUTE = 60_000

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** A reader over a store that a test breaks, and what it says. */
function setUp(options: Partial<TidemarkOptions> = {}, isEmpty = false) {
  const clock = new Clock()
  const model = new ModelStore(clock, isEmpty)
  const store: Pick<EpochStore, "lookup"> = { lookup: model.lookup }
  const said: TidemarkError[] = []
  const tidemark = createTidemark({
    store: { lookup: (...asked) => store.lookup(...asked) },
    now: clock.now,
    random: () => 0,
    onError: (error) => void said.push(error),
    ...options,
  })
  const fails = (error: unknown) => {
    store.lookup = () => Promise.reject(error)
  }
  /** Asks, once what failed before is not let alone any more. */
  const ask = async (namespace = "blog") => {
    clock.time += 2_000
    return tidemark.begin(namespace)
  }
  return { clock, model, store, tidemark, said, fails, ask }
}

describe("a reader that can know nothing", () => {
  it("says so at once, and the same no more than once a minute", async () => {
    const { fails, ask, said, clock, model, store } = setUp()
    fails(new Error("connection refused"))
    const began = clock.time
    while (clock.time < began + MINUTE) await ask()
    expect(said).toHaveLength(1)
    expect(said[0]).toBeInstanceOf(TidemarkError)
    expect(said[0]).toMatchObject({
      name: "TidemarkError",
      code: "unreachable",
      message: "connection refused",
      namespaces: ["blog"],
    })
    // It works, and fails again.
    store.lookup = model.lookup
    expect((await ask()).stamp).toBeDefined()
    fails(new Error("connection refused"))
    clock.time += MINUTE
    await ask("shop")
    await ask("shop")
    expect(said).toHaveLength(2)
  })

  it("says another trouble at once, though not one that differs by a number only", async () => {
    const { fails, ask, said } = setUp()
    for (const words of ["reset", "reset by 127.0.0.1:50001", "reset by 127.0.0.1:50002", "reset"]) {
      fails(new Error(words))
      await ask()
    }
    fails("no error at all")
    await ask()
    fails(undefined)
    await ask()
    expect(said.map(({ message }) => message)).toEqual([
      "reset",
      "reset by 127.0.0.1:50001",
      "no error at all",
      "undefined",
    ])
  })

  it("says no more than 16 texts a minute", async () => {
    const { fails, said, clock, tidemark } = setUp({ ttl: 0, maxStale: 0 })
    const failWith = async (words: string) => {
      fails(new Error(words))
      // In the past, what failed is not let alone, and what was said is of another time.
      clock.time += 1_000
      await tidemark.begin("blog")
    }
    for (let nth = 0; nth < 40; nth += 1) await failWith(String.fromCodePoint(0x61 + nth))
    expect(said).toHaveLength(16)
    clock.time += MINUTE
    await failWith("again")
    expect(said).toHaveLength(17)
  })

  it("says which namespace of several is refused, in the store's words", async () => {
    const { model, tidemark, said, clock } = setUp()
    model.refused.add("shop").add("secret")
    const fills = await Promise.all(["blog", "shop", "secret"].map((name) => tidemark.begin(name)))
    expect(fills.map(({ stamp }) => stamp !== undefined)).toEqual([true, false, false])
    clock.time += 2_000
    await Promise.all(["blog", "shop"].map((name) => tidemark.begin(name)))
    expect(said).toMatchObject([
      { code: "refused", message: "namespace shop: not declared", namespaces: ["shop"] },
      { code: "refused", message: "namespace secret: not declared", namespaces: ["secret"] },
    ])
  })

  it("says each one's words where all are refused, and of a store that says nothing", async () => {
    const { store, tidemark, said } = setUp()
    store.lookup = async () => {
      const refused = new Map([["blog", new StoreRefusal(403, "out of scope")]])
      throw new StoreRefusal(422, "not declared", refused)
    }
    await Promise.all(["blog", "shop"].map((name) => tidemark.begin(name)))
    const silent = setUp()
    silent.store.lookup = async (request) => {
      const answer = await silent.model.lookup(request)
      return { ...answer, namespaces: new Map() }
    }
    await silent.tidemark.begin("blog")
    expect([...said, ...silent.said].map(({ code, message }) => [code, message])).toEqual([
      ["refused", "namespace blog: out of scope"],
      ["refused", "namespace shop: not declared"],
      ["refused", "namespace blog: the store did not answer"],
    ])
  })

  it("says what is no namespace", async () => {
    const { ask, said } = setUp()
    await ask("Blog posts!")
    expect(said).toMatchObject([{ code: "refused", message: "namespace Blog posts!: that is no namespace" }])
  })

  it("takes the kind of trouble from the store", async () => {
    const { fails, ask, said } = setUp()
    fails(new TidemarkError("unauthorized", "no such token"))
    await ask()
    fails(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }))
    await ask()
    expect(said.map(({ code }) => code)).toEqual(["unauthorized", "unreachable"])
  })

  it("says that the store does not answer, and waits no longer than 2 s for it", async () => {
    vi.useFakeTimers()
    const { store, tidemark, said } = setUp()
    store.lookup = () => new Promise(() => undefined)
    const asked = tidemark.begin("blog")
    await vi.advanceTimersByTimeAsync(1_999)
    expect(said).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect((await asked).stamp).toBeUndefined()
    expect(said).toMatchObject([{ code: "unreachable", message: "the store did not answer within 2000 ms" }])
    expect(vi.getTimerCount()).toBe(0)
  })

  it("says that an answer was not believed, and that a store is empty", async () => {
    const { model, ask, said, clock } = setUp()
    await ask()
    model.renew(-MINUTE)
    clock.time += 10_000
    await ask()
    const empty = setUp({}, true)
    await empty.ask()
    await empty.ask()
    expect([...said, ...empty.said].map(({ code }) => code)).toEqual(["not-believed", "empty"])
    const mirror = setUp()
    mirror.store.lookup = async (...asked) => ({ ...(await mirror.model.lookup(...asked)), asOf: 1 })
    const tidemark = createTidemark({
      store: { ...mirror.store, isMirror: true },
      now: mirror.clock.now,
      onError: (error) => void mirror.said.push(error),
    })
    await tidemark.begin("blog")
    expect(mirror.said.map(({ code }) => code)).toEqual(["not-believed"])
  })

  it("warns on the console, where nobody listens", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined)
    const clock = new Clock()
    const store = { lookup: () => Promise.reject(new Error("connection refused")) }
    for (const onError of [undefined, () => undefined]) {
      const tidemark = createTidemark({ store, now: clock.now, ...(onError ? { onError } : {}) })
      await tidemark.begin("blog")
    }
    expect(warn.mock.calls).toEqual([["tidemark: connection refused"]])
  })

  it.each([
    [
      "throws",
      () => {
        throw new Error("from a listener")
      },
    ],
    ["rejects", () => Promise.reject(new Error("from a listener"))],
  ])("is none the worse where whoever listens %s", async (_, onError) => {
    const { fails, ask, model, store } = setUp({ onError })
    fails(new Error("reset"))
    expect((await ask()).stamp).toBeUndefined()
    store.lookup = model.lookup
    expect((await ask()).stamp).toBeDefined()
  })
})

describe("what does not answer", () => {
  const hang = () => new Promise<never>(() => undefined)

  it("in the cache below is waited for 500 ms, and then the store answers", async () => {
    vi.useFakeTimers()
    for (const l2 of [epochCacheOf({ get: hang, put: hang }), { find: hang, keep: hang }]) {
      const { tidemark } = setUp({ l2 })
      const kept: Promise<unknown>[] = []
      const asked = tidemark.begin("blog", { waitUntil: (promise) => void kept.push(promise) })
      await vi.advanceTimersByTimeAsync(500)
      expect((await asked).stamp).toBeDefined()
      await vi.advanceTimersByTimeAsync(2_000)
      await Promise.all(kept)
      expect(vi.getTimerCount()).toBe(0)
    }
  })

  it("in the cache below is let alone for a while", async () => {
    vi.useFakeTimers()
    let gets = 0
    const get = () => {
      gets += 1
      return hang()
    }
    const { tidemark, clock } = setUp({ l2: epochCacheOf({ get, put: async () => undefined }) })
    for (let visit = 0; visit < 5; visit += 1) {
      clock.time += 10_000
      const asked = tidemark.begin("blog")
      if (visit === 0) await vi.advanceTimersByTimeAsync(500)
      expect((await asked).stamp).toBeDefined()
    }
    expect(gets).toBe(1)
  })

  it("there and in the store as well, costs 2 s in all", async () => {
    vi.useFakeTimers()
    const { tidemark, store } = setUp({ l2: { find: hang, keep: hang } })
    store.lookup = hang
    let isDone = false
    const asked = Promise.all([
      tidemark.begin("blog"),
      tidemark.key("blog"),
      tidemark.isFresh({ generation: 1, epoch: 1 }, "blog", { tags: ["a"] }),
    ])
    void asked.then(() => (isDone = true))
    await vi.advanceTimersByTimeAsync(1_999)
    expect(isDone).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(isDone).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  it("is what a look-up joined: it waits no longer for its own one after that", async () => {
    vi.useFakeTimers()
    const { tidemark, store } = setUp()
    store.lookup = hang
    const first = tidemark.begin("blog")
    await vi.advanceTimersByTimeAsync(1_000)
    let isDone = false
    void tidemark.begin("blog").then(() => (isDone = true))
    await vi.advanceTimersByTimeAsync(1_000)
    expect((await first).stamp).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(isDone).toBe(true)
  })

  it("soon enough is waited for no longer than 2 s in all, however often it is asked", async () => {
    const { model, clock, tidemark } = setUp()
    const { stamp } = await tidemark.begin("blog")
    clock.time += 2 * 86_400_000
    model.record({ kind: "tags", namespace: "blog", values: ["z"] })
    vi.useFakeTimers()
    model.onLookup = () => new Promise((resolve) => setTimeout(resolve, 1_500))
    const before = model.requests.length
    let verdict: string | undefined
    const cold = createTidemark({ store: model, now: clock.now, random: () => 0 })
    void cold.judge(stamp, "blog", { tags: ["a"] }).then((judged) => (verdict = judged.verdict))
    await vi.advanceTimersByTimeAsync(1_999)
    // The namespace first, then its tags, of which what is told along does not tell enough.
    expect([model.requests.length - before, verdict]).toEqual([2, undefined])
    await vi.advanceTimersByTimeAsync(1)
    expect(verdict).toBe("stale")
  })

  it.each(["find", "keep"])("rightly (%s throws) is as if there were no cache below", async (method) => {
    const broken = () => {
      throw new Error("not a promise, either")
    }
    const l2 = { find: async () => undefined, keep: async () => undefined, [method]: broken }
    const { ask } = setUp({ l2 })
    expect((await ask()).stamp).toBeDefined()
  })
})
