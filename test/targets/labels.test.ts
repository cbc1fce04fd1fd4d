import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { tagHeader } from "../../client/tag-header.ts"
import { TAG_RULES, type TagCache } from "../../protocol/tag-rules.ts"
import { SUBJECTS } from "../fakes/subjects.ts"
import { stageOf, useRedis } from "./stage.ts"

/** The header that `tidemark/client` writes, and the purge that a lane makes, name a page alike at each vendor. */
const redis = useRedis()
beforeAll(() => redis.start())
afterAll(() => redis.stop())

const PAGE = "https://www.example.com/a"
const OTHER = "https://www.example.com/b"
/** More than any header has room for. */
const TAGS = Array.from({ length: 3_000 }, (_, index) => `tag-number-${index}`)

const known = Object.entries(SUBJECTS).filter(([name]) => Object.hasOwn(TAG_RULES, name))

describe.each(known)("%s", (name, subject) => {
  const inFront = name as TagCache
  const header = (tags: readonly string[]): string => {
    const own = TAG_RULES[inFront].header
    return tagHeader("blog", tags, TAG_RULES[inFront], { tagPrefix: "de:" }).headers[own] ?? ""
  }
  const open = () =>
    stageOf(subject, redis, {
      namespaces: {
        blog: { hosts: ["www.example.com"], wholeBy: "tag", tagPrefix: "de:" },
      },
      isUnlimited: true,
    })

  it.each(["N*r;L", "t#k[uP", "post:42", "node:12", "a b,c", "*", "first*", "naïve 🌊", "x".repeat(600)])(
    "a page is purged by its tag %s, and no other page",
    async (tag) => {
      const stage = await open()
      stage.fake.cache.label(PAGE, header(["first", tag, "last"]))
      stage.fake.cache.label(OTHER, header(["first", "last"]))
      const [before] = await stage.press.publish({ namespace: "blog", tags: ["nothing"] })
      await stage.level(before?.epoch ?? 0)
      for (const page of [PAGE, OTHER]) stage.fake.cache.visit(page)
      const [position] = await stage.press.publish({ namespace: "blog", tags: [tag], mode: "purge" })
      await stage.level(position?.epoch ?? 0)
      expect([stage.fake.cache.visit(PAGE).how, stage.fake.cache.visit(OTHER).how]).toEqual(["miss", "hit"])
      expect(stage.fake.complaints).toEqual([])
    },
  )

  it("a page with more tags than there is room for is purged by each of them", async () => {
    const stage = await open()
    stage.fake.cache.label(PAGE, header(TAGS))
    stage.fake.cache.label(OTHER, header(["a"]))
    const [before] = await stage.press.publish({ namespace: "blog", tags: ["nothing"] })
    await stage.level(before?.epoch ?? 0)
    for (const tag of [TAGS[0], TAGS.at(-1)]) {
      for (const page of [PAGE, OTHER]) stage.fake.cache.visit(page)
      const [position] = await stage.press.publish({ namespace: "blog", tags: [tag ?? ""], mode: "purge" })
      await stage.level(position?.epoch ?? 0)
      expect([stage.fake.cache.visit(PAGE).how, stage.fake.cache.visit(OTHER).how]).toEqual(["miss", "hit"])
    }
    expect(stage.fake.complaints).toEqual([])
  })
})
