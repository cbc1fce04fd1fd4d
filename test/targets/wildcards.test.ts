import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SUBJECTS } from "../fakes/subjects.ts"
import { stageOf, useRedis } from "./stage.ts"

/**
 * A url names one page. Found in a security review: `https://www.example.com/*`, published in one namespace, purged a
 * whole distribution of CloudFront that nobody had allowed to be purged as a whole.
 */
const redis = useRedis()
beforeAll(() => redis.start())
afterAll(() => redis.stop())

const OUTSIDE = "https://www.example.com/other/page"

describe.each(Object.entries(SUBJECTS))("%s", (_, subject) => {
  it("purges no page outside of the namespace, whatever a url or prefix in it looks like", async () => {
    const stage = await stageOf(subject, redis, {
      namespaces: {
        blog: { hosts: ["blog.example.com"], wholeBy: "tag" },
        other: { hosts: ["www.example.com"] },
      },
      targets: { edge: {} },
    })
    const publish = async (selectors: object) => {
      const [position] = await stage.press.publish({ namespace: "blog", mode: "purge", ...selectors })
      await stage.level(position?.epoch ?? 0)
    }
    // The first reading resyncs.
    await publish({})
    const urls = ["/*", "/*?*", "/?*", "/a/*", "/layout", "/a/page/", "/", "/%2A"]
    const before = stage.fake.cache.visit(OUTSIDE).version
    await publish({ urls: urls.map((path) => `https://blog.example.com${path}`) })
    await publish({ prefixes: ["/*/b", "/*"].map((path) => `https://blog.example.com${path}`) })
    expect(stage.fake.cache.visit(OUTSIDE)).toEqual({ version: before, how: "hit" })
    expect(stage.fake.complaints).toEqual([])
  })
})
