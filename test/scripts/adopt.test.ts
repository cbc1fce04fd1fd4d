import { describe, expect, it } from "vitest"
import { Memory } from "../../dispatch/adopt.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { ORIGIN, type Position } from "../../protocol/epoch.ts"
import { headKey, logKey, namespaceKey, neverKey, wakeChannel } from "../../protocol/keys.ts"
import { decodeBody } from "../../protocol/log.ts"
import { ROOT } from "../../protocol/namespace.ts"
import { adoptScript } from "../../protocol/scripts.gen.ts"
import { asList, asText } from "../../protocol/store.ts"
import { epochOf, hearWakes, plan, readHead, readLog, record, snapshot, TENANT, useRedis } from "./support.ts"

const host = useRedis()

interface Adopting {
  readonly seen?: Position
  readonly identity?: string
  readonly onIdentity?: "resync" | "report"
  /** A generation of which something is known to be lost. */
  readonly lost?: number
}

interface Adopted extends Position {
  readonly reason: string | undefined
}

const BEFORE = '{"kind":"resync","namespace":null,"mode":"invalidate","by":{"relay":"r"},"cause":"'

/** Adopts as a relay does that remembers `seen`, on a Redis of that identity. */
async function adopt({
  seen = ORIGIN,
  identity = "one",
  onIdentity = "resync",
  lost = 0,
}: Adopting = {}): Promise<Adopted> {
  const keys = [headKey(TENANT), logKey(TENANT), namespaceKey(TENANT, ROOT), neverKey(TENANT)]
  const args = [
    String(seen.generation),
    String(seen.seq),
    String(seen.epoch),
    wakeChannel(TENANT, ROOT),
    identity,
    onIdentity,
    BEFORE,
    " after ",
    '"}',
    String(lost),
  ]
  const [reason, generation, epoch, seq] = asList(await host.store.script(adoptScript, keys, args)).map(
    asText,
  )
  return { reason, generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
}

const resyncs = async () => (await readLog(host.store)).filter(({ body }) => body.kind === "resync")
const serverTime = async () => {
  const [seconds, micros] = asList(await host.command("TIME")).map(Number)
  return Number(seconds) * 1_000_000 + Number(micros)
}

describe("a log that nobody adopted yet", () => {
  it("is adopted under the identity of its Redis, once, and else left as it is", async () => {
    await record(host.store, [plan(), plan()], { clock: 1_000 })
    expect(await adopt()).toEqual({ reason: "adopted", generation: 1_000, epoch: 1_001, seq: 3 })
    expect(await readHead(host.store)).toEqual({ generation: 1_000, epoch: 1_001, seq: 3, identity: "one" })
    const before = await snapshot(host.store)
    expect(await adopt()).toMatchObject({ reason: "same", generation: 1_000, epoch: 1_001, seq: 3 })
    expect(await snapshot(host.store)).toEqual(before)
  })

  it("keeps its identity through publishes", async () => {
    await epochOf(host.store)
    await adopt()
    await epochOf(host.store)
    expect(await adopt()).toMatchObject({ reason: "same" })
  })

  it("is adopted under the replication id where none is given", async () => {
    const info = asText(await host.command("INFO", "replication")) ?? ""
    await epochOf(host.store)
    await adopt({ identity: "" })
    expect((await readHead(host.store))?.identity).toBe(/master_replid:(\w{16})/.exec(info)?.[1])
  })
})

describe("a resync", () => {
  it("is made where there is no head: one entry, after a gap, above all that the log and the clock know", async () => {
    const before = await serverTime()
    const { reason, generation, epoch, seq } = await adopt()
    expect({ reason, seq }).toEqual({ reason: "missing", seq: 2 })
    expect(epoch).toBeGreaterThanOrEqual(before)
    expect(generation).toBe(epoch)
    expect(await readHead(host.store)).toEqual({ generation, epoch, seq, identity: "one" })
    expect(await readLog(host.store)).toMatchObject([
      { generation, epoch, seq, body: { kind: "resync", namespace: null, cause: "missing after 0" } },
    ])
    expect(asText(await host.command("GET", namespaceKey(TENANT, ROOT)))).toBe(`${epoch} ${epoch} 0 0`)
  })

  it("is made where the head alone is gone, above what the log holds", async () => {
    const ahead = (await serverTime()) + 3_600_000_000
    await record(host.store, [plan(), plan()], { clock: ahead })
    await host.command("DEL", headKey(TENANT))
    expect(await adopt()).toEqual({ reason: "missing", generation: ahead + 2, epoch: ahead + 2, seq: 2 })
    expect((await resyncs())[0]?.body.cause).toBe(`missing after ${ahead + 1}`)
  })

  it("is made where the head is damaged", async () => {
    await epochOf(host.store)
    await host.command("SET", headKey(TENANT), "damaged")
    expect(await adopt()).toMatchObject({ reason: "missing" })
  })

  it("is made of the generation of which something is lost, and of no other: once, whoever knows of it", async () => {
    await epochOf(host.store)
    const { generation } = await adopt()
    expect(await adopt({ lost: generation - 1 })).toMatchObject({ reason: "same", generation })
    const made = await adopt({ lost: generation })
    expect(made).toMatchObject({ reason: "rolledBack" })
    expect(await adopt({ lost: generation })).toMatchObject({ reason: "same", generation: made.generation })
    expect(await resyncs()).toHaveLength(1)
  })

  it("is made of it though another identity alone is only reported", async () => {
    await epochOf(host.store)
    const { generation } = await adopt()
    const made = await adopt({ lost: generation, identity: "two", onIdentity: "report" })
    expect(made).toMatchObject({ reason: "rolledBack" })
    expect((await readHead(host.store))?.identity).toBe("two")
  })

  it("is not made where a Redis does not say who it is, and nothing is written there", async () => {
    await epochOf(host.store)
    await adopt()
    const before = await snapshot(host.store)
    expect(await adopt({ identity: "-" })).toMatchObject({ reason: "same" })
    expect(await snapshot(host.store)).toEqual(before)
  })

  it("is made under another identity: a fail-over may have lost what nobody remembers", async () => {
    await epochOf(host.store)
    const first = await adopt()
    const second = await adopt({ seen: first, identity: "two" })
    expect(second).toMatchObject({ reason: "identity", seq: first.seq + 2 })
    expect(second.epoch).toBeGreaterThan(first.epoch)
    expect(second.generation).toBe(second.epoch)
    expect((await readHead(host.store))?.identity).toBe("two")
    expect(await resyncs()).toHaveLength(1)
  })

  it("under another identity is only reported where the configuration says so", async () => {
    await epochOf(host.store)
    const first = await adopt()
    const reported = await adopt({ seen: first, identity: "two", onIdentity: "report" })
    expect(reported).toEqual({ ...first, reason: "reported" })
    expect((await readHead(host.store))?.identity).toBe("two")
    expect(await resyncs()).toEqual([])
    expect(await adopt({ seen: first, identity: "two", onIdentity: "report" })).toMatchObject({
      reason: "same",
    })
  })

  it.each([
    ["its number fell", { seq: 4 }],
    ["its epoch fell", { epoch: 1_002 }],
  ])("is made where the log was rolled back: %s", async (_, seen) => {
    await record(host.store, [plan(), plan()], { clock: 1_000 })
    await adopt()
    const before = { generation: 1_000, epoch: 1_001, seq: 3 }
    expect(await adopt({ seen: before })).toMatchObject({ reason: "same" })
    const remembered = { ...before, ...seen }
    for (const onIdentity of ["report", "resync"] as const) {
      const again = await adopt({ seen: { ...remembered }, onIdentity, identity: "one" })
      // Whoever comes second finds it done: the generation that it remembers is over.
      expect(again.reason).toBe(onIdentity === "report" ? "rolledBack" : "same")
      expect(again.seq).toBe(5)
    }
    expect(await resyncs()).toHaveLength(1)
  })

  // Everything was lost, on a host whose clock is behind, and somebody published before the relay came back: the log
  // is young and sound in itself, and its epochs are below what was seen.
  it("is made where epochs fell in a log that was begun anew, and lifts them above all that was seen", async () => {
    const seen = { generation: 5_000, epoch: (await serverTime()) + 3_600_000_000, seq: 9 }
    await record(host.store, [plan()], { clock: 1_000 })
    const { reason, epoch, generation } = await adopt({ seen })
    expect({ reason, epoch, generation }).toEqual({
      reason: "rolledBack",
      epoch: seen.epoch + 1,
      generation: seen.epoch + 1,
    })
    expect(await epochOf(host.store)).toBeGreaterThan(seen.epoch)
  })

  it("is not made where another generation goes on above what was seen", async () => {
    await record(host.store, [plan()], { clock: 1_000 })
    expect(await adopt({ seen: { generation: 500, epoch: 900, seq: 70 } })).toMatchObject({
      reason: "adopted",
    })
    expect(await resyncs()).toEqual([])
  })

  it("gives an epoch above what was seen where the store knows nothing and its clock is behind", async () => {
    const seen = { generation: 5, epoch: (await serverTime()) + 3_600_000_000, seq: 9 }
    expect(await adopt({ seen })).toMatchObject({ reason: "missing", epoch: seen.epoch + 1 })
  })

  it("is one entry for two relays, whichever comes first", async () => {
    await epochOf(host.store)
    const seen = await adopt()
    const relays = await Promise.all([host.connect(), host.connect()])
    const stores = [...relays, ...relays]
    await host.command("FLUSHALL")
    const config = parseConfig({})
    const memories = stores.map(() => new Memory())
    const told = await Promise.all(
      memories.map((memory, index) =>
        memory.adopt(stores[index] ?? host.store, TENANT, `relay-${index}`, config),
      ),
    )
    expect(told.map(({ reason }) => reason).toSorted()).toEqual(["missing", "same", "same", "same"])
    expect(new Set(told.map(({ head }) => JSON.stringify(head))).size).toBe(1)
    expect(told[0]?.head.epoch).toBeGreaterThan(seen.epoch)
    expect(await resyncs()).toHaveLength(1)
  })

  it("wakes whoever reads the tenant's log", async () => {
    const heard = await hearWakes(host)
    const { epoch, seq } = await adopt()
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBe(1)
    expect(heard).toEqual([["tm:v1:{default}:", { v: 1, g: epoch, e: epoch, s: seq }]])
  })

  it("keeps how hard the last hard invalidation of everything was", async () => {
    await record(host.store, [plan({ namespace: null, mode: "purge" })], { clock: 1_000 })
    await adopt()
    const { epoch } = await adopt({ identity: "two" })
    expect(asText(await host.command("GET", namespaceKey(TENANT, ROOT)))).toBe(`${epoch} ${epoch} 1000 0`)
  })
})

describe("a relay's memory", () => {
  it("rises with what it is told, so that a later loss is seen", async () => {
    const config = parseConfig({ relay: { resync: { onIdentity: "report", mode: "purge" } } })
    const memory = new Memory()
    await record(host.store, [plan(), plan()], { clock: 1_000 })
    expect(await memory.adopt(host.store, TENANT, "relay-1", config)).toMatchObject({ reason: "adopted" })
    expect(memory.seen).toEqual({ generation: 1_000, epoch: 1_001, seq: 3 })
    const held = asText(await host.command("GET", headKey(TENANT))) ?? ""
    await host.command("SET", headKey(TENANT), held.replace("1001 3", "1000 2"))
    const { reason, head } = await memory.adopt(host.store, TENANT, "relay-1", config)
    expect(reason).toBe("rolledBack")
    expect(memory.seen).toEqual(head)
    expect((await resyncs())[0]?.body).toEqual({
      ...decodeBody("{"),
      mode: "purge",
      by: { relay: "relay-1" },
      cause: "rolledBack after 1000",
    })
  })
})
