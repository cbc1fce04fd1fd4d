import { expect, it } from "vitest"
import { RELAY_ITEMS_KEY, RELAYS_KEY } from "../../protocol/keys.ts"
import { done, poll, stage, tagsOf } from "./stage.ts"

const slow = { relay: { lease: "1s", poll: "1s", drain: "1m" } }

it.each(["SIGTERM", "SIGINT"] as const)(
  "%s: begins nothing, lets calls under way finish, exits 0, leaves nothing",
  async (signal) => {
    const { admin, vendor, press, relay } = await stage({ config: slow })
    const connections = async () =>
      (await admin.sendCommand<string>(["CLIENT", "LIST"])).trim().split("\n").length
    const before = await connections()
    const one = await relay()
    await one.ready
    const [warm] = await press.publish({ namespace: "blog", tags: ["warm"] })
    await done(press, [warm])
    vendor.forget()

    const letGo = vendor.hold()
    // Four calls at once, and two that wait for theirs.
    const [entry] = await press.publish({ namespace: "blog", mode: "purge", tags: tagsOf(600) })
    await poll(() => vendor.underWay).toBe(4)
    one.signal(signal)
    await poll(async () => (await one.get("/readyz")).status).toBe(503)
    expect((await one.json("/readyz", null)).unready).toMatchObject({ closing: expect.any(String) })
    expect([one.isRunning, vendor.calls.length]).toEqual([true, 4])
    letGo()
    expect(await one.exited).toBe(0)
    expect([vendor.calls.length, vendor.taken().length]).toEqual([4, 4])
    await poll(connections).toBe(before)
    expect([await admin.zCard(RELAYS_KEY), await admin.hLen(RELAY_ITEMS_KEY)]).toEqual([0, 0])
    expect(one.log("poll:failed")).toEqual([])

    // Nothing was committed that was not all called: whoever comes next does it all.
    expect((await press.record(entry?.epoch ?? 0)).state).toBe("pending")
    const next = await relay()
    await next.ready
    await done(press, [entry])
    expect(vendor.purged("tag")).toEqual(tagsOf(600).toSorted())
  },
)

it("commits what was all called when it was told to stop", async () => {
  const { vendor, press, relay } = await stage({ config: slow })
  const one = await relay()
  await one.ready
  const letGo = vendor.hold()
  const [entry] = await press.publish({ namespace: "blog", tags: ["a"] })
  await poll(() => vendor.underWay).toBe(1)
  one.signal("SIGTERM")
  await poll(async () => (await one.get("/readyz")).status).toBe(503)
  letGo()
  expect(await one.exited).toBe(0)
  expect((await press.record(entry?.epoch ?? 0)).state).toBe("done")
})

it("does not wait for a vendor longer than its drain", async () => {
  const { config, vendor, press, relay } = await stage()
  // Longer than any test: only the drain ends it.
  const patient = Object.entries(config.targets ?? {}).map(([name, target]) => [
    name,
    { ...target, timeout: "10m" },
  ])
  const one = await relay({
    config: {
      ...config,
      targets: Object.fromEntries(patient),
      relay: { lease: "1s", poll: "1s", drain: "200ms" },
    },
  })
  await one.ready
  const letGo = vendor.hold()
  await press.publish({ namespace: "blog", tags: ["a"] })
  await poll(() => vendor.underWay).toBe(1)
  expect(await one.stop()).toBe(0)
  letGo()
})

it("ends where it is told to before it was ever ready, and where Redis is away", async () => {
  const { redis, relay } = await stage()
  const away = await relay({ redisUrl: "redis://127.0.0.1:1" })
  expect((await away.get("/readyz")).status).toBe(503)
  expect(await away.stop()).toBe(0)
  expect(away.stdout()).toBe("")

  const lost = await relay()
  await lost.ready
  await redis.stop()
  await poll(async () => (await lost.get("/readyz")).status).toBe(503)
  expect(await lost.stop()).toBe(0)
})

it("is not kept by whoever keeps a connection to it open", async () => {
  const { relay } = await stage()
  const one = await relay()
  await one.ready
  const { connect } = await import("node:net")
  const socket = connect(one.port, "127.0.0.1", () =>
    socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"),
  )
  socket.on("error", () => socket.destroy())
  await new Promise((connected) => socket.once("connect", connected))
  expect(await one.stop()).toBe(0)
  socket.destroy()
})
