import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import { declaredNamespaces } from "../protocol/config/config.ts"
import { concernedTargets } from "../protocol/concern.ts"
import type { Epoch } from "../protocol/epoch.ts"
import { type EntryBody, hasSelectors, NO_SELECTORS, SELECTOR_LISTS } from "../protocol/invalidation.ts"
import type { PassPlan } from "../protocol/publish.ts"
import { type Namespace, patternsOverlap } from "../protocol/namespace.ts"
import { namespaceTag } from "../protocol/tags.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { cut } from "./batches.ts"
import { type Asked, type Grounds, judgePublish } from "./judge.ts"
import { drawsFrom, pacesOf } from "./limits.ts"
import { type Item, type Plan, type PlanContext, planEntries, planOwed } from "./plan.ts"
import type { Capabilities, Pace, TargetTraits } from "./targets/target.ts"

/** What a target would be asked for some invalidations, and what that would take. */
export interface Explained {
  readonly calls: number
  /** What is said wider or harder than it was published, or cannot be said at all (`not_supported`). */
  readonly widened: readonly Widened[]
  /** US dollars, where the vendor charges by what is purged and the month's free part is used up; else 0. */
  readonly cost: number
  /** What must be so for this to be enough, a sentence each. */
  readonly notes: readonly string[]
  /** Seconds until the last call may begin, where nobody else uses the vendor's limits. */
  readonly seconds: number
}

export interface Widened {
  readonly namespace: string | null
  /** Absent where the whole namespace was meant. */
  readonly selector?: string
  readonly as: string
}

/** What a publish would come to, as it is answered. Pure: asks nobody, stores nothing. @throws {Problem} as `judgePublish` */
export function explainPublish(
  grounds: Grounds,
  asked: Asked,
  at: (index: number) => readonly PropertyKey[],
): Pick<Explanation, "invalidations" | "targets" | "notes"> {
  const plans = judgePublish(grounds, asked, at)
  const bodies = plans.map(({ body }) => body)
  const told = Object.entries(explain(bodies, asked.tenant, grounds.config, grounds.findDriver))
  return {
    invalidations: plans.map(({ body, passes }, index) => ({
      ...asked.invalidations[index],
      // The namespace may stand for what a delivery named, and then says why.
      ...(hasSelectors(body) ? {} : { ...NO_SELECTORS, ...(body.notes && { notes: body.notes }) }),
      mode: body.mode,
      passes: passes.flatMap(passOf),
    })),
    targets: Object.fromEntries(told.map(([name, { notes: _notes, ...one }]) => [name, one])),
    notes: told.flatMap(([name, { notes }]) => notes.map((note) => `${name}: ${note}`)),
  }
}

/** Where an invalidation stands in the member `invalidation` of what is asked: alone, or one of several. */
export const explainedAt = (invalidation: unknown, index: number): readonly PropertyKey[] =>
  invalidation !== null && typeof invalidation === "object" && "invalidations" in invalidation
    ? ["invalidation", "invalidations", index]
    : ["invalidation"]

/** What `POST /v1/explain` answers. */
export interface Explanation {
  /** The first of the source's rules that matched; null for a publish, and where none did. */
  readonly rule: number | null
  readonly rules: readonly number[]
  readonly invalidations: readonly object[]
  readonly targets: Readonly<Record<string, Omit<Explained, "notes">>>
  readonly notes: readonly string[]
}

/** Each pass, and how many seconds it comes after what it follows. */
const passOf = ({ kind, delay, secondPass }: PassPlan) => [
  { kind, seconds: delay / SECOND },
  ...(secondPass === undefined ? [] : [{ kind: "second", seconds: secondPass / SECOND }]),
]

/** What every target of the tenant that they concern would do. Pure: asks nobody. */
export function explain(
  bodies: readonly EntryBody[],
  tenant: string,
  config: Config,
  findDriver: (type: string) => TargetTraits | undefined,
): Record<string, Explained> {
  const concerned = new Set(bodies.flatMap((body) => concernedTargets(body, tenant, config.targets)))
  return Object.fromEntries(
    [...concerned].flatMap((name) => {
      const target = config.targets[name]
      const driver = target && findDriver(target.type)
      return target && driver ? [[name, explainAt(bodies, tenant, config, target, driver)] as const] : []
    }),
  )
}

function explainAt(
  bodies: readonly EntryBody[],
  tenant: string,
  config: Config,
  target: TargetConfig,
  driver: TargetTraits,
): Explained {
  // Neither what a driver can do nor its pace depends on a secret.
  const resolved = target as never
  const capabilities = driver.capabilities(resolved)
  const paces = pacesOf(driver, resolved)
  // Each selector by an epoch of its own, so that the plan tells what became of each. A settling entry is purged later.
  const singles = bodies.flatMap(singly).map((body, index) => ({
    body,
    generation: 0,
    epoch: index + 1,
    seq: index + 1,
  }))
  const plan = planEntries(singles, { config, tenant, target, capabilities })
  const bundles = cut(plan.items, capabilities)
  const impossible = new Set(plan.impossible.flatMap(({ epochs }) => epochs))
  return {
    calls: bundles.length,
    widened: singles.flatMap(({ body, epoch }) => widenedOf(body, epoch, plan, impossible)),
    cost: costOf(plan.items, capabilities),
    notes: notesOf(plan),
    seconds: Math.ceil(Math.max(0, ...paces.map((pace) => lengthOf(pace, bundles))) / SECOND),
  }
}

function singly({ settling: _settling, ...body }: EntryBody): EntryBody[] {
  if (!hasSelectors(body)) return [body]
  return SELECTOR_LISTS.flatMap((list) =>
    body[list].map((value): EntryBody => ({ ...body, ...NO_SELECTORS, [list]: [value] })),
  )
}

function widenedOf(body: EntryBody, epoch: Epoch, { as }: Plan, impossible: ReadonlySet<Epoch>): Widened[] {
  const what = impossible.has(epoch) ? "not_supported" : as.get(epoch)
  const [selector] = SELECTOR_LISTS.flatMap((list) => body[list])
  return what === undefined
    ? []
    : [{ namespace: body.namespace, ...(selector === undefined ? {} : { selector }), as: what }]
}

/** A whole namespace that is said by its tag reaches the responses that carry it, and no others. */
const notesOf = ({ items }: Plan): string[] =>
  items
    .filter(
      ({ kind, namespaces, meant }) =>
        kind === "tag" && namespaces.some((name) => meant === namespaceTag(name)),
    )
    .map(({ meant }) => `a namespace as a whole is the tag ${meant} there: its responses must carry it`)

/** The declared namespaces that a target purges as a whole by their tag: those of their pages without it stay. */
export function saidByTag(context: PlanContext): Namespace[] {
  const { config, tenant, target } = context
  const declared = Object.keys(declaredNamespaces(config, tenant)).filter((name) => name !== "*")
  return declared.filter((namespace) => {
    if (!target.namespaces.some((pattern) => patternsOverlap(pattern, namespace))) return false
    const plan = planOwed({ namespace, mode: "invalidate", epochs: [], ...NO_SELECTORS }, context)
    return notesOf(plan).length > 0
  })
}

const costOf = (items: readonly Item[], { dollarsPerValue = 0 }: Capabilities): number =>
  Number((items.length * dollarsPerValue).toFixed(6))

/** How long one limit makes the last of some calls wait, from full. */
function lengthOf(pace: Pace, bundles: readonly { readonly items: readonly Item[] }[]): Milliseconds {
  const drawn = bundles
    .map(({ items }) => items.filter((item) => drawsFrom(pace, item)).length)
    .filter((count) => count > 0)
  const sum = drawn.reduce((total, count) => total + count, 0)
  switch (pace.limit) {
    case "rate": {
      const wanted = pace.per === "value" ? sum : drawn.length
      return (Math.max(0, wanted - pace.burst) / pace.perSecond) * SECOND
    }
    case "inProgress": {
      const wanted = pace.per === "value" ? sum : drawn.length
      return Math.max(0, Math.ceil(wanted / pace.most) - 1) * pace.lasting
    }
    case "spacing":
    case "budget":
      return 0
  }
}
