import type { VendorAnswer } from "../support/fake-vendor.ts"
import { inTrouble, poison, slow } from "../support/vendor-answers.ts"
import type { Counted, Scenario, ScenarioContext } from "./scenario.ts"
import { insist } from "./waiting.ts"
import { openWorld, type World } from "./world.ts"

const BEFORE = 10
const BACKLOG = 100

const withVendor =
  (harm: (world: World) => Promise<void>) =>
  async (context: ScenarioContext): Promise<Counted> => {
    await using world = await openWorld(context)
    await world.relay()
    await world.publish(BEFORE)
    await world.level()
    await harm(world)
    return await world.count()
  }

/** The CDN gives these answers in turn, while changes come. */
const answering = (answers: readonly VendorAnswer[]) =>
  withVendor(async (world) => {
    const trouble = inTrouble(answers)
    world.vendor.answer = trouble.answer
    for (let published = 0; published < BACKLOG; published += 10) await world.publish(10)
    await insist("the CDN gave all of these answers", async () => {
      if (trouble.left > 0 && world.vendor.underWay === 0) await world.publish(1)
      return trouble.left === 0
    })
    world.over()
  })

const times = (count: number, ...answers: readonly VendorAnswer[]): VendorAnswer[] =>
  Array.from({ length: count }, () => answers).flat()

export const VENDORS: readonly Scenario[] = [
  {
    name: "vendor-429",
    title: "The CDN answers 429, with and without `Retry-After`",
    isQuick: false,
    run: answering(times(3, { status: 429 }, { status: 429, retryAfter: 1 })),
  },
  {
    name: "vendor-trouble",
    title: "The CDN answers 500, 503, 200 with `success: false`, and closes the connection unanswered",
    isQuick: false,
    run: answering([
      { status: 500 },
      { status: 503 },
      { status: 200, success: false, message: "later" },
      "cut",
    ]),
  },
  {
    name: "vendor-answer-lost",
    title: "The CDN takes the purge, and closes the connection before it answers",
    isQuick: true,
    run: answering(times(3, "takenThenCut")),
  },
  {
    name: "vendor-slow",
    title: "The CDN takes two seconds for each call, longer than the relay's lease",
    isQuick: false,
    run: withVendor(async (world) => {
      world.vendor.answer = slow(2_000)
      for (let published = 0; published < BACKLOG; published += 10) await world.publish(10)
      await world.purged()
      world.vendor.answer = () => undefined
      world.over()
    }),
  },
  {
    name: "poison",
    title: "The CDN refuses every batch that holds one certain tag of 100",
    isQuick: true,
    run: withVendor(async (world) => {
      const letGo = world.vendor.hold()
      await world.publish(1)
      await insist("a call was under way", () => world.vendor.underWay > 0)
      const poisoned = world.tag().replace(/\d+$/, (last) => String(Number(last) + BACKLOG / 2))
      world.vendor.answer = poison(poisoned)
      await world.publish(BACKLOG)
      letGo()
      await insist("a batch was refused", () => world.vendor.calls.some(({ status }) => status === 400))
      world.over()
      await insist("the 99 others were taken", () => world.vendor.purged("tag").length >= BEFORE + BACKLOG)
    }),
  },
]
