import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { signWebhook } from "../../protocol/standard-webhooks.ts"
import { SUBJECTS } from "../fakes/subjects.ts"
import { stageOf, useRedis } from "./stage.ts"

/** A url, host or prefix that lies outside its namespace reaches no vendor, whoever says it. */
const redis = useRedis()
beforeAll(() => redis.start())
afterAll(() => redis.stop())

const SECRET = `whsec_${Buffer.from("hook-secret-of-thirty-two-bytes!").toString("base64")}`
const NAMESPACES = {
  blog: { hosts: ["www.example.com"] },
  shop: { prefixes: ["https://shop.example.com/shop/"] },
}

/** In none of the two, however they are read. */
const OUTSIDE = [
  "https://evil.example/",
  "https://www.example.com.evil.example/blog",
  "https://evil.example:8443/www.example.com",
  "http://169.254.169.254/latest/evil",
  "https://shop.example.com/evil",
  "https://shop.example.com/shop/../evil",
  "https://shop.example.com/shop/%2e%2e/evil",
  "https://shop.example.com/shopevil",
]

describe.each(Object.entries(SUBJECTS))("%s", (_, subject) => {
  it("is told nothing that lies outside, by a token or by a webhook", async () => {
    const stage = await stageOf(subject, redis, {
      namespaces: NAMESPACES,
      targets: { edge: { onUnsupported: "widen" } },
      sources: {
        cms: {
          type: "standard-webhooks",
          secret: { secret: "HOOK" },
          namespace: "shop",
          fields: { url: "/data/url" },
          rules: [{ urls: ["{url}"], prefixes: ["{url}"] }],
        },
      },
      secrets: { HOOK: SECRET },
    })
    const inside = await stage.worker("/v1/invalidations", {
      method: "POST",
      body: JSON.stringify({ namespace: "blog", tags: ["inside"] }),
    })
    expect(inside.status).toBe(202)
    const epochs = [((await inside.json()) as { epoch: number }).epoch]
    for (const url of OUTSIDE) {
      for (const namespace of ["blog", "shop"]) {
        const bodies = [
          { namespace, urls: [url] },
          { namespace, prefixes: [url] },
          { namespace, hosts: [new URL(url).host] },
          { namespace, tags: ["inside"], urls: [url] },
        ]
        for (const body of bodies.slice(
          0,
          url.includes("shop.example.com") && namespace === "shop" ? 2 : 4,
        )) {
          const answer = await stage.worker("/v1/invalidations", {
            method: "POST",
            body: JSON.stringify(body),
          })
          expect([url, namespace, answer.status]).toEqual([url, namespace, 422])
        }
      }
      const delivery = JSON.stringify({ type: "page.published", data: { id: "1", url } })
      const headers = await signWebhook(SECRET, crypto.randomUUID(), stage.time.clock.now() / 1_000, delivery)
      const hook = await stage.worker("/v1/hooks/cms", { method: "POST", body: delivery, headers })
      expect(hook.status).toBe(200)
      epochs.push(...((await hook.json()) as { epochs: number[] }).epochs)
    }
    await stage.level(...epochs)
    const told = stage.requests.map(({ url, headers, body }) => `${url}\n${[...headers].join("\n")}\n${body}`)
    expect(told.length).toBeGreaterThan(0)
    for (const one of told)
      expect(decodeURIComponent(one.replaceAll(/%(?![0-9a-f]{2})/gi, "%25"))).not.toMatch(/evil|169\.254/)
    expect(stage.fake.complaints).toEqual([])
  })
})
