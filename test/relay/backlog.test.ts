import { expect, it } from "vitest"
import { done, poll, stage, tagsOf } from "./stage.ts"

const DISTINCT = { tags: 300, urls: 250 }
const PUBLISHES = 1_000
const PER_CALL = 100

// Between the publish and its purge: the vendor was asked, and nobody was left to hear its answer.
it("a relay that was killed purges all that was published, in the fewest calls that there are", async () => {
  const { vendor, press, relay } = await stage()
  const first = await relay()
  await first.ready
  const [before] = await press.publish({ namespace: "blog", tags: ["before"] })
  await done(press, [before])

  const letGo = vendor.hold()
  await press.publish({ namespace: "blog", tags: ["tag-0"] })
  await poll(() => vendor.underWay).toBe(1)
  await first.kill()
  letGo()
  await poll(() => vendor.underWay).toBe(0)

  const tags = tagsOf(DISTINCT.tags)
  const urls = Array.from({ length: DISTINCT.urls }, (_, index) => `https://www.example.com/${index}?a=1`)
  const pick = <T>(all: readonly T[], index: number): T => all[index % all.length] as T
  const published = [
    ...(await press.publish(
      ...Array.from({ length: PUBLISHES }, (_, index) => ({ namespace: "blog", tags: [pick(tags, index)] })),
    )),
    ...(await press.publish(
      ...Array.from({ length: PUBLISHES }, (_, index) => ({ namespace: "blog", urls: [pick(urls, index)] })),
    )),
  ]
  vendor.forget()

  const second = await relay()
  await second.ready
  const epochs = published.map(({ epoch }) => epoch)
  await done(press, published)
  expect(vendor.purged("tag")).toEqual(tags.toSorted())
  expect(vendor.purged("url")).toEqual(urls.toSorted())
  const least = { tag: Math.ceil(DISTINCT.tags / PER_CALL), url: Math.ceil(DISTINCT.urls / PER_CALL) }
  expect([vendor.taken("tag").length, vendor.taken("url").length]).toEqual([least.tag, least.url])
  expect(vendor.calls).toHaveLength(least.tag + least.url)

  // And that is what the receipts say: one run over the log, of so many calls.
  for (const epoch of [epochs[0], epochs[777], epochs.at(-1)]) {
    const record = await second.json(`/v1/invalidations/${epoch}`)
    expect(record.targets["www-cloudflare"]).toMatchObject({ state: "done", as: null, attempts: 1 })
    expect(record.targets["www-cloudflare"].calls).toHaveLength(least.tag + least.url)
  }
  // Nothing was missed, so nothing was widened.
  expect(second.log("lane:resynced")).toEqual([])
  expect(await second.json("/v1/lanes")).toMatchObject({
    items: [{ target: "www-cloudflare", state: "idle", lag: { entries: 0, ms: 0 }, due: 0, dead: 0 }],
  })
})

it("two relays share the work without doing any of it twice, and one takes over from the other", async () => {
  const { vendor, press, relay } = await stage()
  const both = [await relay(), await relay()]
  for (const one of both) await one.ready
  const first = await press.publish(...tagsOf(50).map((tag) => ({ namespace: "blog", tags: [tag] })))
  await done(press, first)
  const seen = vendor
    .taken("tag")
    .flatMap(({ values }) => values)
    .filter((value) => value.startsWith("tag-"))
  expect(seen.toSorted()).toEqual(tagsOf(50).toSorted())

  const { items } = await both[0]!.json("/v1/relays")
  expect(items).toHaveLength(2)
  for (const one of both) {
    await one.kill()
    const [entry] = await press.publish({ namespace: "blog", mode: "purge", tags: [`after-${one.port}`] })
    if (one === both[0]) await done(press, [entry])
  }
  expect(vendor.taken().at(-1)).toMatchObject({ mode: "purge", values: [`after-${both[0]!.port}`] })
})

it("a receiver of webhooks gets what was published, signed, and nothing twice under two ids", async () => {
  const { vendor, press, relay } = await stage({
    config: {
      namespaces: { blog: { hosts: ["www.example.com"] }, shop: {} },
      targets: {},
    },
  })
  const config = {
    namespaces: { blog: { hosts: ["www.example.com"] }, shop: {} },
    targets: {
      hook: { type: "http", url: vendor.hookUrl, secret: { secret: "HOOK_SECRET" }, namespaces: ["*"] },
    },
    relay: { lease: "1s", poll: "1s" },
  }
  const one = await relay({ config })
  await one.ready
  vendor.forget()
  await press.publish(
    { namespace: "blog", mode: "purge", tags: ["a", "b"], urls: ["https://www.example.com/1"] },
    { namespace: "shop" },
  )
  await poll(() => vendor.deliveries.map(({ data }) => data.mode).toSorted()).toEqual(["invalidate", "purge"])
  const hard = vendor.deliveries.find(({ data }) => data.mode === "purge")
  expect(hard?.data).toMatchObject({
    tags: ["a", "b"],
    urls: ["https://www.example.com/1"],
    namespaces: [],
    everything: false,
  })
  expect(vendor.deliveries.find(({ data }) => data.mode === "invalidate")?.data.namespaces).toEqual(["shop"])
})
