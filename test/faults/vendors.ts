import { lanesKey } from "../../protocol/keys.ts"
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

/** The CDN answers so of whatever it is asked, until somebody mends it on our side. */
const unmended = (answer: VendorAnswer) =>
  withVendor(async (world) => {
    world.vendor.answer = () => answer
    await world.publish(BACKLOG)
    const began = world.vendor.calls.length
    await insist("the lane was paused", async () => (await laneOf(world)).state === "paused")
    await world.publish(BACKLOG)
    await insist("it was asked again", () => world.vendor.calls.length > began + 1)
    if ((await world.deadLetters()) > 0) throw new Error("something was given up")
    world.vendor.answer = () => undefined
    world.over()
    await world.purged()
    if ((await world.deadLetters()) > 0) throw new Error("something was given up")
  })

async function laneOf({ command }: World): Promise<{ readonly state?: string }> {
  const text = await command("HGET", lanesKey("default"), "www-cloudflare")
  return text === "null" ? {} : (JSON.parse(text) as { state: string })
}

export const VENDORS: readonly Scenario[] = [
  {
    name: "vendor-credentials",
    title: "The CDN does not take the credentials for a while, and says so by 403",
    isQuick: false,
    run: unmended({ status: 403, code: 10_000, message: "Authentication error" }),
  },
  {
    name: "vendor-clock",
    title: "A clock is off for a while: the CDN refuses whatever it is asked by a 400 that nobody knows",
    isQuick: true,
    run: unmended({ status: 400, code: 1_999, message: "Invalid timestamp" }),
  },
  {
    name: "vendor-suspended",
    title: "The CDN has suspended the account for a while, and says so by a 404 for its zone",
    isQuick: false,
    run: unmended({ status: 404, code: 7_003, message: "Could not route to /zones, account suspended" }),
  },
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
