import { servesTenant } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { concernedTargets } from "../protocol/concern.ts"
import { type Fault, pointer, Problem } from "../protocol/errors.ts"
import { namespacesOf, type Stray, strayTags } from "../protocol/label-borders.ts"
import {
  countSelectors,
  type EntryBody,
  hasSelectors,
  type Invalidation,
  MAX_SELECTORS,
  NO_SELECTORS,
  type Publisher,
  SELECTOR_LISTS,
} from "../protocol/invalidation.ts"
import { tooManySelectors } from "../protocol/publish-request.ts"
import { type EntryPlan, type PassDefaults, planEntry, settingsFor } from "../protocol/publish.ts"
import { hostWithin, type Territory, urlWithin } from "../protocol/selector.ts"
import type { Kind, TargetTraits } from "./targets/target.ts"

/** What an invalidation is held against before it is recorded: is it declared, does it lie within, can anybody do it. */
export interface Grounds {
  readonly config: Config
  readonly findDriver: (type: string) => TargetTraits | undefined
}

/** What is asked to be published, and by whom. */
export interface Asked {
  readonly tenant: string
  readonly by: Publisher
  /** Where a token may publish. Of a source its configuration says so. Default: nowhere but in what is published. */
  readonly patterns?: readonly string[]
  readonly invalidations: readonly Invalidation[]
  readonly defaults: PassDefaults
  readonly trace?: string
}

/** The tenant's targets, by name. */
const targetsOf = ({ config }: Grounds, tenant: string): Config["targets"] =>
  Object.fromEntries(Object.entries(config.targets).filter(([, target]) => servesTenant(target, tenant)))

/** What lies outside a namespace, by pointer. `at` is the invalidation's own. */
function outsideFaults(
  invalidation: Invalidation,
  territory: Territory,
  at: readonly PropertyKey[],
): Fault[] {
  const outside: Fault[] = []
  const check = (
    list: "urls" | "prefixes" | "hosts",
    within: (value: string, territory: Territory) => boolean,
  ) => {
    for (const [index, value] of invalidation[list].entries()) {
      if (within(value, territory)) continue
      const detail = "lies outside the namespace's hosts and prefixes"
      outside.push({ pointer: pointer([...at, list, index]), detail })
    }
  }
  check("urls", urlWithin)
  check("prefixes", urlWithin)
  check("hosts", hostWithin)
  return outside
}

/**
 * Tags that would purge what belongs to others. A publish is refused; a delivery must not be, as most senders give up
 * for good then: its namespace as a whole stands for what it named.
 *
 * @throws {Problem} `outside_namespace`
 */
function withinBorders(
  { config }: Grounds,
  { tenant, by, patterns }: Pick<Asked, "tenant" | "by" | "patterns">,
  invalidation: Invalidation,
  at: readonly PropertyKey[],
): Invalidation {
  const { namespace, tags } = invalidation
  if (namespace === null) return invalidation
  const source = "source" in by ? config.sources[by.source] : undefined
  const may = source ? namespacesOf(source) : (patterns ?? [namespace])
  const stray = strayTags(config, { tenant, namespace, tags }, may)
  if (stray.length === 0) return invalidation
  if (!source) throw strays(stray, at)
  const note = `a tag ${stray[0]?.detail}: ${namespace} is invalidated as a whole`
  return { ...invalidation, ...NO_SELECTORS, notes: [...(invalidation.notes ?? []), note] }
}

function strays(stray: readonly Stray[], at: readonly PropertyKey[]): Problem {
  const errors = stray.map(({ index, detail }) => ({ pointer: pointer([...at, "tags", index]), detail }))
  return new Problem("outside_namespace", "A tag must not be a label of others, where a cache is shared.", {
    errors,
  })
}

/**
 * Holds invalidations against the configuration.
 *
 * @param at where each stands in the request, for pointers
 * @throws {Problem} `unknown_namespace`, `outside_namespace`, `too_many_selectors`, `everything_not_allowed`,
 *   `not_supported`
 */
export function judgePublish(
  grounds: Grounds,
  { tenant, by, patterns, invalidations: asked, defaults, trace }: Asked,
  at: (index: number) => readonly PropertyKey[],
): EntryPlan[] {
  if (asked.reduce((sum, one) => sum + countSelectors(one), 0) > MAX_SELECTORS) throw tooManySelectors()
  const targets = targetsOf(grounds, tenant)
  return asked.map((one, index) => {
    const invalidation = withinBorders(grounds, { tenant, by, ...(patterns && { patterns }) }, one, at(index))
    const settings = settingsFor(grounds.config, tenant, invalidation)
    if (!settings) {
      const detail = "The namespace is not declared, nor is one that it lies below."
      const errors = [{ pointer: pointer([...at(index), "namespace"]), detail: "is not declared" }]
      throw new Problem("unknown_namespace", detail, { errors })
    }
    const outside = outsideFaults(invalidation, settings, at(index))
    if (outside.length > 0) {
      const detail = "A url, prefix or host must lie within the hosts or prefixes of its namespace."
      throw new Problem("outside_namespace", detail, { errors: outside })
    }
    const longest = Math.max(
      0,
      ...concerned(grounds, tenant, invalidation).map((name) => targets[name]?.secondPass ?? 0),
    )
    const plan = planEntry(invalidation, settings, by, withTarget(defaults, longest), trace)
    checkPossible(grounds, tenant, plan.body)
    return plan
  })
}

/** A target may ask for a second pass where neither the publisher nor the namespace does. */
const withTarget = (defaults: PassDefaults, longest: number): PassDefaults => ({
  ...defaults,
  secondPass: Math.max(defaults.secondPass, longest),
})

const concerned = (grounds: Grounds, tenant: string, invalidation: Invalidation): string[] =>
  concernedTargets(
    { kind: "invalidation", by: { relay: "-" }, ...invalidation },
    tenant,
    targetsOf(grounds, tenant),
  )

function checkPossible(grounds: Grounds, tenant: string, body: EntryBody): void {
  const targets = Object.entries(targetsOf(grounds, tenant))
  if (body.namespace === null) {
    if (targets.length > 0 && !targets.some(([, target]) => target.allowEverything)) {
      throw new Problem("everything_not_allowed", "No target of this tenant has allowEverything.")
    }
    return
  }
  if (!hasSelectors(body)) return
  const names = concernedTargets(body, tenant, grounds.config.targets)
  const impossible = names.filter((name) => impossibleAt(grounds, name, body))
  if (names.length > 0 && impossible.length === names.length) {
    const kinds = SELECTOR_LISTS.filter((list) => body[list].length > 0).join(", ")
    throw new Problem("not_supported", `No target can purge by ${kinds}, and none may widen it.`)
  }
}

const KIND_OF = { tags: "tag", urls: "url", prefixes: "prefix", hosts: "host" } as const satisfies Record<
  string,
  Kind
>

/** Whether a target can do nothing at all with an entry: it knows none of its kinds and may not widen them. */
function impossibleAt({ config, findDriver }: Grounds, name: string, body: EntryBody): boolean {
  const target = config.targets[name]
  const driver = target && findDriver(target.type)
  if (!target || !driver || target.onUnsupported === "widen") return false
  const { kinds } = driver.capabilities(target as never)
  const asked = Object.entries(KIND_OF).filter(([list]) => body[list as keyof typeof KIND_OF].length > 0)
  return asked.every(([, kind]) => kinds[kind] === undefined)
}
