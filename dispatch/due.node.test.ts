import { describe, expect, it } from "vitest"
import { cursorKey, dueItemsKey, laterKey } from "../protocol/keys.ts"
import { encodeOwed } from "../protocol/letter.ts"
import { NO_SELECTORS } from "../protocol/invalidation.ts"
import { MINUTE } from "../protocol/time.ts"
import { refusing, trouble } from "../test/support/fake-driver.ts"
import { admin, hire, LEASE, level, levelled, NAME, open, poll, world } from "../test/support/lanes.ts"
import { useLanes, type Hired, type World } from "../test/support/lanes.ts"
import { Memory } from "./adopt.ts"
import { deleteLetter, isLetterId, listLetters, replayLetter } from "./letters.ts"

useLanes()

const nameOf = (at: World) => ({ tenant: at.tenant, target: NAME })
const lettersOf = (at: World, after?: string, limit = 100) =>
  listLetters(open.store, nameOf(at), { after, limit })

/** Time goes by, for Redis too: a lease that nobody renews by then is over. */
async function pass(at: World, one: Hired, length: number): Promise<void> {
  await at.expireLease()
  one.clock.advance(length)
}

/** A lane that has made one dead letter of the tag `bad`, and the vendor's mind changed since. */
async function withLetter(): Promise<{ at: World; one: Hired; epoch: number; id: string }> {
  const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
  one.driver.answer = refusing("bad")
  const [entry] = await at.publish({ namespace: "blog", tags: ["bad", "good"], mode: "purge" })
  one.lane.nudge()
  await level(at, one)
  one.driver.answer = () => undefined
  one.driver.forget()
  const [stored] = await lettersOf(at)
  return { at, one, epoch: entry?.epoch ?? 0, id: stored?.id ?? "" }
}

describe("a dead letter", () => {
  it("is listed as it was published", async () => {
    const { at, epoch } = await withLetter()
    expect(await lettersOf(at)).toEqual([
      {
        id: expect.stringMatching(/^\d+-\d+$/),
        letter: {
          ...NO_SELECTORS,
          namespace: "blog",
          tags: ["bad"],
          mode: "purge",
          epochs: [epoch],
          error: "bad value",
          at: expect.any(Number),
        },
      },
    ])
  })

  it("that is put back is purged as hard, alone, and its invalidation done", async () => {
    const { at, one, epoch, id } = await withLetter()
    expect(await replayLetter(open.store, nameOf(at), id, one.clock.now())).toBe(true)
    expect(await at.state(epoch)).toBe("pending")
    expect(await lettersOf(at)).toEqual([])
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual(["purge tag bad"])
    expect(await at.target(epoch)).toMatchObject({ state: "done", error: null })
    expect((await at.record(epoch)).state).toBe("done")
    expect(one.told("lane:repaid")).toMatchObject([{ why: "replay", epochs: [epoch], calls: 1, refused: 0 }])
    expect(await admin.zCard(at.key.due)).toBe(0)
    expect(await admin.hLen(dueItemsKey(at.tenant, NAME))).toBe(0)
  })

  it("that is put back and refused again is a dead letter again", async () => {
    const { at, one, epoch, id } = await withLetter()
    one.driver.answer = refusing("bad")
    await replayLetter(open.store, nameOf(at), id, one.clock.now())
    one.lane.nudge()
    await level(at, one)
    expect(await at.state(epoch)).toBe("dead")
    const letters = await lettersOf(at)
    expect(letters).toMatchObject([{ letter: { tags: ["bad"], epochs: [epoch], mode: "purge" } }])
    expect(letters[0]?.id).not.toBe(id)
  })

  it("of an address that is refused in each spelling is one, and goes out in all of them again", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    const [published, normal] = ["https://www.example.com/%d9", "https://www.example.com/%D9"]
    one.driver.answer = refusing(published, normal)
    const [entry] = await at.publish({ namespace: "blog", urls: [published] })
    one.lane.nudge()
    await level(at, one)
    const [stored, ...others] = await lettersOf(at)
    expect([stored?.letter?.urls, stored?.letter?.epochs, others]).toEqual([[published], [entry?.epoch], []])
    one.driver.answer = () => undefined
    one.driver.forget()
    await replayLetter(open.store, nameOf(at), stored?.id ?? "", one.clock.now())
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual([`invalidate url ${published}`, `invalidate url ${normal}`])
    expect(await at.state(entry?.epoch ?? 0)).toBe("done")
  })

  it("waits for a vendor in trouble, and nothing of it is lost", async () => {
    const { at, one, epoch, id } = await withLetter()
    one.driver.answer = () => trouble()
    await replayLetter(open.store, nameOf(at), id, one.clock.now())
    one.lane.nudge()
    await poll(() => one.lane.status.state).toBe("retrying")
    expect([await at.state(epoch), await lettersOf(at), await admin.zCard(at.key.due)]).toEqual([
      "pending",
      [],
      1,
    ])
    one.driver.answer = () => undefined
    await pass(at, one, MINUTE)
    await level(at, one)
    expect([one.driver.purged, await at.state(epoch)]).toEqual([["purge tag bad"], "done"])
  })

  it("is put back by the configuration of now", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    one.driver.answer = refusing("bad")
    await at.tags("bad")
    one.lane.nudge()
    await level(at, one)
    one.driver.forget()
    await one.close()
    // Its namespace's tags have got a prefix meanwhile, and the value the vendor's liking.
    const later = world({ namespaces: { blog: { tagPrefix: "v2-" }, shop: {} } }, at.tenant)
    const two = hire(later, { relay: "relay-b" })
    const [letter] = await lettersOf(at)
    await replayLetter(open.store, nameOf(at), letter?.id ?? "", two.clock.now())
    two.lane.nudge()
    await poll(() => two.driver.purged).toEqual(["invalidate tag v2-bad"])
  })

  it("is not put back twice, nor when it is gone", async () => {
    const { at, one, id } = await withLetter()
    const put = () => replayLetter(open.store, nameOf(at), id, one.clock.now())
    expect((await Promise.all([put(), put(), put()])).filter(Boolean)).toHaveLength(1)
    expect(await put()).toBe(false)
    expect(await replayLetter(open.store, nameOf(at), "1-1", 0)).toBe(false)
    expect(await admin.zCard(at.key.due)).toBe(1)
  })

  it("of several of one invalidation leaves it pending until the last has come, and dead while one is left", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    one.driver.answer = refusing("bad-1", "bad-2", "bad-3")
    const [entry] = await at.publish({ namespace: "blog", tags: ["bad-1", "bad-2", "bad-3", "good"] })
    const epoch = entry?.epoch ?? 0
    one.lane.nudge()
    await level(at, one)
    const ids = (await lettersOf(at)).map(({ id }) => id)
    expect(ids).toHaveLength(3)
    one.driver.answer = () => undefined
    const put = (id: string | undefined) => replayLetter(open.store, nameOf(at), id ?? "", one.clock.now())
    await put(ids[0])
    one.lane.nudge()
    await level(at, one)
    expect(await at.state(epoch)).toBe("dead")
    // Put back while its lane is at another: neither forgets the other.
    await Promise.all([put(ids[1]), put(ids[2])])
    expect(await at.state(epoch)).toBe("pending")
    one.lane.nudge()
    await level(at, one)
    expect(await at.state(epoch)).toBe("done")
  })

  it("put back while its lane carries out another is not taken for done", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    one.driver.answer = refusing("bad-1", "bad-2")
    const [entry] = await at.publish({ namespace: "blog", tags: ["bad-1", "bad-2", "good"] })
    one.lane.nudge()
    await level(at, one)
    const [first, second] = (await lettersOf(at)).map(({ id }) => id)
    const under = Promise.withResolvers<void>()
    const letGo = Promise.withResolvers<undefined>()
    one.driver.answer = () => {
      under.resolve()
      return letGo.promise
    }
    await replayLetter(open.store, nameOf(at), first ?? "", one.clock.now())
    one.lane.nudge()
    await under.promise
    await replayLetter(open.store, nameOf(at), second ?? "", one.clock.now() + MINUTE)
    letGo.resolve(undefined)
    await poll(() => one.told("lane:repaid").length).toBe(1)
    expect(await at.state(entry?.epoch ?? 0)).toBe("pending")
    one.driver.answer = () => undefined
    await pass(at, one, MINUTE)
    await poll(() => at.state(entry?.epoch ?? 0)).toBe("done")
  })

  it("is dropped by whoever asks for it, once", async () => {
    const { at, epoch, id } = await withLetter()
    expect(await deleteLetter(open.store, nameOf(at), id)).toBe(true)
    expect(await deleteLetter(open.store, nameOf(at), id)).toBe(false)
    expect([await lettersOf(at), await at.state(epoch)]).toEqual([[], "dead"])
  })

  it("is read in pages", async () => {
    const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
    const bad = ["bad-1", "bad-2", "bad-3"]
    one.driver.answer = refusing(...bad)
    await at.tags(...bad, "good")
    one.lane.nudge()
    await level(at, one)
    const first = await lettersOf(at, undefined, 2)
    const rest = await lettersOf(at, first.at(-1)?.id, 2)
    const tags = [...first, ...rest].flatMap(({ letter }) => letter?.tags ?? [])
    expect(tags.toSorted()).toEqual(bad)
  })

  it("has an id of one form", () => {
    expect(["1-1", "1795272188595-0"].every(isLetterId)).toBe(true)
    expect(["", "-", "+", "1", "1-1-1", "a-1", "1-1 "].some(isLetterId)).toBe(false)
  })
})

describe("a due item", () => {
  const put = async (at: World, id: string, text: string, dueAt: number) => {
    await admin.hSet(dueItemsKey(at.tenant, NAME), id, text)
    await admin.zAdd(at.key.due, { score: dueAt, value: id })
  }
  const tagged = (tag: string) =>
    encodeOwed({
      why: "replay",
      ...NO_SELECTORS,
      namespace: "blog",
      tags: [tag],
      mode: "invalidate",
      epochs: [1],
    })

  it("waits for its time, and needs nobody to nudge", async () => {
    const [at, one] = await levelled()
    await put(at, "x", tagged("later"), one.clock.now() + MINUTE)
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.attempts).toEqual([])
    await pass(at, one, MINUTE - 1)
    expect(one.driver.attempts).toEqual([])
    await pass(at, one, 1)
    await poll(() => one.driver.purged).toEqual(["invalidate tag later"])
    await poll(() => admin.zCard(at.key.due)).toBe(0)
  })

  it("takes turns with the log", async () => {
    const [at, one] = await levelled()
    for (const nth of [1, 2, 3]) await put(at, `x-${nth}`, tagged(`due-${nth}`), nth)
    await at.tags("published")
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual([
      "invalidate tag due-1",
      "invalidate tag published",
      "invalidate tag due-2",
      "invalidate tag due-3",
    ])
  })

  it.each([
    ["no JSON", "{"],
    ["of another form", JSON.stringify({ why: "replay", namespace: 7 })],
    ["gone", ""],
  ])("whose text is %s is a dead letter, and holds nobody up", async (_, text) => {
    const [at, one] = await levelled()
    if (text === "") await admin.zAdd(at.key.due, { score: 1, value: "x" })
    else await put(at, "x", text, 1)
    await at.tags("published")
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual(["invalidate tag published"])
    expect(await lettersOf(at)).toMatchObject([
      { letter: { namespace: null, error: expect.stringContaining("could not be read"), raw: text } },
    ])
    expect(one.told("lane:deadLettered")).toHaveLength(1)
  })

  it("is carried out once more where the cursor was another's by the time of the commit", async () => {
    const [at, one] = await levelled()
    await put(at, "x", tagged("a"), 1)
    one.driver.answer = async () => {
      one.driver.answer = () => undefined
      await admin.hSet(cursorKey(at.tenant), NAME, "somebody-else 0 0 0")
      return undefined
    }
    one.lane.nudge()
    await poll(() => one.told("lane:repaid").length).toBe(1)
    expect(one.told("lane:lost")).toHaveLength(1)
    expect(one.driver.purged.filter((said) => said === "invalidate tag a")).toHaveLength(2)
    expect(await admin.zCard(at.key.due)).toBe(0)
  })
})

describe("a resync that takes its time", () => {
  const spread = { relay: { resync: { spread: "3m" } }, namespaces: { a: {}, b: {}, c: {} } }

  it("purges what was published at once, and its parts one after the other", async () => {
    const at = world(spread)
    const one = hire(at)
    const [entry] = await at.publish({ namespace: "a", tags: ["x"] })
    one.lane.nudge()
    await poll(() => one.told("lane:resynced")).toMatchObject([{ reason: "gap" }])
    await level(at, one)
    // The first part is due at once.
    expect(one.driver.purged).toEqual(["invalidate tag x", "invalidate tag ns/a"])
    expect(await at.state(entry?.epoch ?? 0)).toBe("done")
    await pass(at, one, MINUTE)
    await poll(() => one.driver.purged.at(-1)).toBe("invalidate tag ns/b")
    await level(at, one)
    await pass(at, one, MINUTE)
    await poll(() => one.driver.purged.at(-1)).toBe("invalidate tag ns/c")
    await poll(() => admin.zCard(at.key.due)).toBe(0)
    expect(one.driver.purged).toHaveLength(4)
  })

  it("is pending in the record of a tenant's resync until the last part", async () => {
    const at = world(spread)
    const one = hire(at)
    await at.publish({ namespace: "a", tags: ["x"] })
    const memory = new Memory()
    await memory.adopt(open.store, at.tenant, "relay-a", at.config)
    one.lane.nudge()
    await level(at, one)
    await pass(at, one, 3 * MINUTE)
    await level(at, one)
    await admin.del(at.key.head)
    one.driver.forget()
    const { reason, head } = await memory.adopt(open.store, at.tenant, "relay-a", at.config)
    expect(reason).toBe("missing")
    one.lane.nudge()
    await poll(() => one.driver.purged.length).toBe(1)
    expect(await at.state(head.epoch)).toBe("pending")
    // A lane that is at work would take the lease again, and by its clock lose it at once to itself.
    await poll(() => one.lane.status.state).toBe("idle")
    await pass(at, one, 2 * MINUTE)
    await poll(() => one.driver.purged).toEqual([
      "invalidate tag ns/a",
      "invalidate tag ns/b",
      "invalidate tag ns/c",
    ])
    await poll(() => at.state(head.epoch)).toBe("done")
  })

  it("is not forgotten where its relay dies in between", async () => {
    const at = world(spread)
    const one = hire(at)
    await at.publish({ namespace: "a", tags: ["x"] })
    one.lane.nudge()
    await poll(() => one.driver.purged.length).toBe(2)
    await level(at, one)
    await one.close()
    const two = hire(at, { relay: "relay-b" })
    await pass(at, two, 3 * MINUTE)
    two.lane.nudge()
    await poll(() => two.driver.purged).toEqual(["invalidate tag ns/b", "invalidate tag ns/c"])
  })

  it("is made at once where it is one thing", async () => {
    const at = world({ ...spread, target: { allowEverything: true } })
    const one = hire(at)
    await at.publish({ namespace: "a", tags: ["x"] })
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged).toEqual(["invalidate everything *"])
  })
})

describe("what is not as we write it", () => {
  it.each(["sent", "late", "due", "dead"] as const)(
    "does not stop a lane: %s of another type is set aside, and told",
    async (which) => {
      const [at, one] = await levelled({ target: { onUnsupported: "skip" } })
      one.driver.answer = refusing("bad")
      await admin.del(at.key[which])
      await admin.set(at.key[which], "somebody's")
      const [bad] = await at.tags("bad")
      one.lane.nudge()
      await poll(() => one.told("lane:setAside")).toEqual([{ keys: [at.key[which]] }])
      await poll(() => one.clock.sleepers.length).toBeGreaterThan(0)
      await pass(at, one, MINUTE)
      await level(at, one)
      expect(await at.state(bad?.epoch ?? 0)).toBe("dead")
      expect(await lettersOf(at)).toHaveLength(1)
      const [aside] = await admin.keys(`${at.key[which]}:aside:*`)
      expect(await admin.get(aside ?? "")).toBe("somebody's")
    },
  )

  it.each([
    // Nothing was unread: the head says so.
    ["log", 1, "invalidate tag after"],
    ["cursor", 2, "invalidate tag ns/blog"],
  ] as const)(
    "a %s of another type is set aside, and what is missed for it resynced",
    async (which, resyncs, purged) => {
      const [at, one] = await levelled()
      await admin.del(at.key[which])
      await admin.set(at.key[which], "somebody's")
      await pass(at, one, LEASE)
      one.lane.nudge()
      await poll(() => one.told("lane:setAside")).toEqual([{ keys: [at.key[which]] }])
      await poll(() => one.clock.sleepers.length).toBeGreaterThan(0)
      await pass(at, one, MINUTE)
      await at.tags("after")
      one.lane.nudge()
      await poll(() => one.driver.purged).toContain(purged)
      await poll(() => one.told("lane:resynced").length).toBe(resyncs)
    },
  )

  it("an entry of a version to come is purged as everything, and kept as a dead letter", async () => {
    const [at, one] = await levelled()
    const head = await at.head()
    const epoch = (head?.epoch ?? 0) + 1
    const entry = { v: "7", g: String(head?.generation), s: String((head?.seq ?? 0) + 1), d: "something new" }
    await admin.xAdd(at.key.log, `${epoch}-0`, entry)
    await admin.set(at.key.head, `${head?.generation} ${epoch} ${entry.s} ${head?.identity}`)
    await at.tags("after")
    one.lane.nudge()
    await level(at, one)
    expect(one.driver.purged.toSorted()).toEqual([
      "invalidate tag after",
      "invalidate tag ns/blog",
      "invalidate tag ns/shop",
    ])
    expect(await lettersOf(at)).toMatchObject([
      { letter: { namespace: null, epochs: [epoch], raw: "something new" } },
    ])
    expect(one.told("lane:unreadable")).toEqual([{ epochs: [epoch] }])
    expect(one.told("lane:resynced")).toHaveLength(1)
    expect(await admin.exists(laterKey(at.tenant))).toBe(0)
  })
})
