import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { TAG_RULES } from "../../protocol/tag-rules.ts"
import { SUBJECTS } from "../fakes/subjects.ts"
import { stageOf, useRedis } from "./stage.ts"

/** A namespace as a whole reaches pages whose origin sends no tag of ours, whatever the vendor can be told. */
const redis = useRedis()
beforeAll(() => redis.start())
afterAll(() => redis.stop())

const INSIDE = "https://www.example.com/blog/a"
const OUTSIDE = "https://other.example.com/b"

describe.each(Object.entries(SUBJECTS))("%s", (_, subject) => {
  it.each(["prefix", "host"] as const)(
    "drops what lies in a namespace that is said by %s",
    async (wholeBy) => {
      const stage = await stageOf(subject, redis, {
        namespaces: {
          blog: { hosts: ["www.example.com"], prefixes: ["https://www.example.com/blog/"], wholeBy },
          other: { hosts: ["other.example.com"] },
        },
        targets: { edge: { allowEverything: true } },
      })
      const publish = async (mode: "invalidate" | "purge") => {
        const [position] = await stage.press.publish({ namespace: "blog", mode })
        await stage.level(position?.epoch ?? 0)
        return (await stage.press.record(position?.epoch ?? 0)).targets["edge"]
      }
      const { prefix, host, everything } = stage.capabilities.kinds
      // A vendor that knows tags alone reaches no page that carries none.
      if (!prefix && !host && !everything) {
        stage.fake.cache.label(INSIDE, TAG_RULES.vercel.codec.encode("ns/blog"))
      }
      // The first reading resyncs.
      await publish("invalidate")
      for (const page of [INSIDE, OUTSIDE]) stage.fake.cache.visit(page)
      const before = stage.fake.cache.visit(INSIDE).version
      const told = await publish("purge")
      expect([told?.state, stage.fake.cache.visit(INSIDE)]).toEqual([
        "done",
        { version: before + 1, how: "miss" },
      ])
      const isWider = told?.as?.includes("everything") ?? false
      expect(stage.fake.cache.visit(OUTSIDE).how === "hit").toBe(!isWider)
      expect(stage.fake.complaints).toEqual([])
    },
  )
})
