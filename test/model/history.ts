import * as fc from "fast-check"
import type { InvalidationInput } from "../../protocol/invalidation.ts"
import { HOUR, MINUTE, SECOND } from "../../protocol/time.ts"
import { judgeRecords } from "./judge.ts"
import type { Mood, Publishing } from "./seen.ts"
import { SELECTORS, type Setting } from "./site.ts"
import type { World } from "./world.ts"

/** What may happen, one after another. */

export const settings: fc.Arbitrary<Setting> = fc.record({
  levelled: fc.oneof(
    { weight: 4, arbitrary: fc.constant(true) },
    { weight: 1, arbitrary: fc.constant(false) },
  ),
  tenants: fc.oneof(
    { weight: 4, arbitrary: fc.constant(1 as const) },
    { weight: 1, arbitrary: fc.constant(2 as const) },
  ),
  onUnsupported: fc.constantFrom("widen" as const, "skip" as const),
  resync: fc.oneof(
    { weight: 3, arbitrary: fc.constant("invalidate" as const) },
    { weight: 1, arbitrary: fc.constant("purge" as const) },
  ),
  allowEverything: fc.boolean(),
  spread: fc.oneof(
    { weight: 4, arbitrary: fc.constant("0" as const) },
    { weight: 1, arbitrary: fc.constant("30m" as const) },
  ),
  paced: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
})

/** What of a world decides whether something can happen in it. */
type Seen = Pick<World, "actors" | "hasSnapshot">

class Happening implements fc.AsyncCommand<World, World> {
  readonly name: string
  readonly can: (world: Seen) => boolean
  readonly happen: (world: World) => Promise<void> | void

  constructor(
    name: string,
    happen: (world: World) => Promise<void> | void,
    can: (world: Seen) => boolean = () => true,
  ) {
    this.name = name
    this.happen = happen
    this.can = can
  }

  check(world: Seen): boolean {
    return this.can(world)
  }

  async run(world: World): Promise<void> {
    await this.happen(world)
    // Whatever was begun by it is under way when the next thing happens.
    await new Promise((resolve) => setImmediate(resolve))
    world.check()
  }

  toString(): string {
    return this.name
  }
}

const mode = fc.constantFrom("invalidate" as const, "purge" as const)
const delay = fc.constantFrom("0", "2s", "20m")
const some = (from: readonly string[]) =>
  fc.subarray([...from], { minLength: 1, maxLength: Math.min(2, from.length) })

const inNamespace = Object.entries(SELECTORS).map(([namespace, selectors]) => {
  const lists = Object.entries(selectors).filter(([, values]) => values.length > 0)
  const one = fc.oneof(...lists.map(([list, values]) => some(values).map((chosen) => ({ [list]: chosen }))))
  return fc
    .oneof(
      { weight: 5, arbitrary: one },
      { weight: 1, arbitrary: fc.tuple(one, one).map(([a, b]) => ({ ...a, ...b })) },
      { weight: 2, arbitrary: fc.constant({}) },
    )
    .map((chosen): InvalidationInput => ({ namespace, ...chosen }))
})

const target = fc.oneof(
  { weight: 12, arbitrary: fc.oneof(...inNamespace) },
  { weight: 1, arbitrary: fc.constant<InvalidationInput>({ everything: true }) },
)

const passes = fc.oneof(
  { weight: 6, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.record({ settle: delay, secondPass: delay }) },
  { weight: 1, arbitrary: fc.record({ secondPass: delay }) },
)

const input: fc.Arbitrary<InvalidationInput> = fc
  .tuple(target, mode, passes, fc.option(delay, { freq: 6, nil: undefined }))
  .map(([asked, how, pass, staleFor]) => ({
    ...asked,
    mode: how,
    ...pass,
    ...(how === "invalidate" && staleFor !== undefined ? { staleFor } : {}),
  }))

const inputs = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(input) },
  { weight: 1, arbitrary: fc.array(input, { minLength: 2, maxLength: 4 }) },
)

const rarely = (freq: number) => fc.nat({ max: freq }).map((n) => n === freq)

const publishing: fc.Arbitrary<Publishing> = fc
  .record({
    tenant: fc.nat({ max: 1 }),
    inputs,
    key: fc.option(
      fc.record({
        principal: fc.constantFrom("token:a", "source:b"),
        key: fc.constantFrom("k1", "k2", "k3"),
      }),
      { nil: undefined, freq: 2 },
    ),
    isMute: rarely(5),
    isAnswerLost: rarely(5),
  })
  .map(({ key, ...rest }) => (key ? { ...rest, key } : rest))

const slot = fc.nat({ max: 1 })
const tenant = fc.nat({ max: 1 })
const isThere = (at: number) => (world: Seen) => world.actors[at] !== undefined
const runs = (at: number) => (world: Seen) => world.actors[at]?.state === "running"

const POISON = [
  "tag one",
  "tag common",
  "tag s-one",
  "tag ns/docs",
  "url https://www.example.com/blog/1",
  "prefix https://www.example.com/blog/",
  "prefix https://www.example.com/blog/a/",
  "namespace blog",
  "namespace shop",
  "everything *",
]

/** Things that happen, with how often. */
const KINDS: readonly [number, fc.Arbitrary<Happening>][] = [
  [
    8,
    publishing.map((one) => new Happening(`publish(${JSON.stringify(one)})`, (world) => world.publish(one))),
  ],
  [
    2,
    fc
      .tuple(fc.nat({ max: 9 }), fc.option(inputs, { nil: undefined, freq: 2 }))
      .map(
        ([which, other]) =>
          new Happening(`repeat(${which}, ${JSON.stringify(other)})`, (world) => world.repeat(which, other)),
      ),
  ],
  [4, slot.map((at) => new Happening(`poll(${at})`, (world) => world.poll(at), runs(at)))],
  [
    2,
    fc
      .tuple(slot, fc.nat({ max: 3 }))
      .map(
        ([at, lane]) => new Happening(`nudge(${at}, ${lane})`, (world) => world.nudge(at, lane), runs(at)),
      ),
  ],
  [
    10,
    fc
      .array(fc.nat({ max: 7 }), { minLength: 1, maxLength: 14 })
      .map((picks) => new Happening(`go(${JSON.stringify(picks)})`, (world) => world.go(picks))),
  ],
  [5, slot.map((at) => new Happening(`level(${at})`, (world) => world.level(at), runs(at)))],
  [
    4,
    slot.map(
      (at) =>
        new Happening(
          `start(${at})`,
          (world) => world.start(at),
          (world) => !isThere(at)(world),
        ),
    ),
  ],
  [
    4,
    fc
      .tuple(slot, fc.nat({ max: 3 }), fc.boolean())
      .map(
        ([at, done, taken]) =>
          new Happening(
            `crash(${at}, ${done}, ${taken})`,
            (world) => world.crash(at, done, taken),
            isThere(at),
          ),
      ),
  ],
  [
    2,
    fc
      .tuple(slot, fc.nat({ max: 3 }))
      .map(([at, done]) => new Happening(`cut(${at}, ${done})`, (world) => world.cut(at, done), runs(at))),
  ],
  [1, slot.map((at) => new Happening(`freeze(${at})`, (world) => world.freeze(at), runs(at)))],
  [
    2,
    slot.map(
      (at) =>
        new Happening(
          `thaw(${at})`,
          (world) => world.thaw(at),
          (world) => world.actors[at]?.state === "frozen",
        ),
    ),
  ],
  [2, slot.map((at) => new Happening(`overtake(${at})`, (world) => world.overtake(at), runs(at)))],
  [1, fc.constant(0).map(() => new Happening("loseLeases()", (world) => world.loseLeases()))],
  [
    3,
    fc
      .constantFrom(100, SECOND, 31 * SECOND, 4 * MINUTE, 11 * MINUTE, 2 * HOUR)
      .map((length) => new Happening(`advance(${length})`, (world) => world.advance(length))),
  ],
  [
    1,
    fc
      .tuple(
        fc.constantFrom("redis" as const, 0 as const, 1 as const),
        fc.constantFrom(-2 * HOUR, -SECOND, SECOND, 2 * HOUR),
      )
      .map(
        ([who, length]) =>
          new Happening(`jump(${JSON.stringify(who)}, ${length})`, (world) => world.jump(who, length)),
      ),
  ],
  [1, fc.constant(0).map(() => new Happening("restart()", (world) => world.restart()))],
  [1, fc.constant(0).map(() => new Happening("empty()", (world) => world.empty()))],
  [2, fc.constant(0).map(() => new Happening("snapshot()", (world) => world.snapshot()))],
  [
    3,
    fc.constant(0).map(
      () =>
        new Happening(
          "failOver()",
          (world) => world.failOver(),
          (world) => world.hasSnapshot,
        ),
    ),
  ],
  [
    3,
    fc
      .tuple(tenant, fc.constantFrom("head" as const, "log" as const, "cursor" as const))
      .map(([of, what]) => new Happening(`remove(${of}, "${what}")`, (world) => world.remove(of, what))),
  ],
  [1, tenant.map((of) => new Happening(`trim(${of})`, (world) => world.trim(of)))],
  [
    3,
    fc
      .tuple(
        fc.nat({ max: 1 }),
        fc.constantFrom<Mood>("trouble", "pause", "unauthorised", "unsupported", "deaf", "refusing"),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(0, 2 * SECOND, HOUR),
      )
      .map(
        ([of, mood, left, retryAfter]) =>
          new Happening(`vendor(${of}, "${mood}", ${left}, ${retryAfter})`, (world) =>
            world.vendor(of, mood, left, retryAfter),
          ),
      ),
  ],
  [
    2,
    fc
      .constantFrom(...POISON)
      .map((value) => new Happening(`poison("${value}")`, (world) => world.poison(value))),
  ],
  [1, fc.constant(0).map(() => new Happening("heal()", (world) => world.heal()))],
  [
    2,
    fc
      .tuple(fc.nat({ max: 1 }), fc.nat({ max: 3 }))
      .map(([of, which]) => new Happening(`replay(${of}, ${which})`, (world) => world.replay(of, which))),
  ],
  [2, fc.constant(0).map(() => new Happening("records()", (world) => judgeRecords(world, false)))],
]

/** @param replayPath where a history is to be replayed that was cut down */
export const histories = (replayPath?: string) =>
  fc.commands(
    // Repeated, as `commands` gives each of them the same chance.
    KINDS.flatMap(([weight, kind]) => Array.from({ length: weight }, () => kind)),
    { maxCommands: 40, size: "max", ...(replayPath === undefined ? {} : { replayPath }) },
  )
