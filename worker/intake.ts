import { pointer } from "../protocol/errors.ts"
import { concernedTargets } from "../protocol/concern.ts"
import { type Fault, Problem } from "../protocol/errors.ts"
import {
  type EntryBody,
  hasSelectors,
  type Invalidation,
  MAX_SELECTORS,
  countSelectors,
  type Publisher,
  SELECTOR_LISTS,
} from "../protocol/invalidation.ts"
import {
  type EntryPlan,
  type Idempotency,
  MAX_NAMESPACES,
  type PassDefaults,
  planEntry,
  publish,
  type PublishOutcome,
  settingsFor,
} from "../protocol/publish.ts"
import { hostWithin, type Territory, urlWithin } from "../protocol/selector.ts"
import { servesTenant } from "../protocol/config/config.ts"
import type { Edge } from "./context.ts"
import { impossibleAt } from "./possible.ts"

/** An invalidation on its way in: held against the configuration, recorded, and told of. */

export interface Accepted {
  readonly epoch: number
  readonly id: string
  readonly tenant: string
  readonly namespace: string | null
  readonly duplicate: boolean
  readonly targets: readonly string[]
  readonly warnings: readonly string[]
}

export interface Intake {
  readonly tenant: string
  readonly by: Publisher
  readonly invalidations: readonly Invalidation[]
  readonly idempotency: Idempotency
  readonly defaults: PassDefaults
  readonly trace?: string
}

/** The tenant's targets, by name. */
const targetsOf = (edge: Edge, tenant: string): Edge["config"]["targets"] =>
  Object.fromEntries(Object.entries(edge.config.targets).filter(([, target]) => servesTenant(target, tenant)))

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
 * Holds invalidations against the configuration.
 *
 * @param at where each stands in the request, for pointers
 * @throws {Problem} `unknown_namespace`, `outside_namespace`, `too_many_selectors`, `everything_not_allowed`,
 *   `not_supported`
 */
export function planIntake(
  edge: Edge,
  { tenant, by, invalidations, defaults, trace }: Omit<Intake, "idempotency">,
  at: (index: number) => readonly PropertyKey[],
): EntryPlan[] {
  if (invalidations.reduce((sum, one) => sum + countSelectors(one), 0) > MAX_SELECTORS)
    throw tooManySelectors()
  const targets = targetsOf(edge, tenant)
  return invalidations.map((invalidation, index) => {
    const settings = settingsFor(edge.config, tenant, invalidation)
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
      ...concerned(edge, tenant, invalidation).map((name) => targets[name]?.secondPass ?? 0),
    )
    const plan = planEntry(invalidation, settings, by, withTarget(defaults, longest), trace)
    checkPossible(edge, tenant, plan.body)
    return plan
  })
}

/** A target may ask for a second pass where neither the publisher nor the namespace does. */
const withTarget = (defaults: PassDefaults, longest: number): PassDefaults => ({
  ...defaults,
  secondPass: Math.max(defaults.secondPass, longest),
})

const concerned = (edge: Edge, tenant: string, invalidation: Invalidation): string[] =>
  concernedTargets(
    { kind: "invalidation", by: { relay: "-" }, ...invalidation },
    tenant,
    targetsOf(edge, tenant),
  )

export const tooManySelectors = (): Problem =>
  new Problem("too_many_selectors", `A request may carry at most ${MAX_SELECTORS} selectors.`)

function checkPossible(edge: Edge, tenant: string, body: EntryBody): void {
  const targets = Object.entries(targetsOf(edge, tenant))
  if (body.namespace === null) {
    if (targets.length > 0 && !targets.some(([, target]) => target.allowEverything)) {
      throw new Problem("everything_not_allowed", "No target of this tenant has allowEverything.")
    }
    return
  }
  if (!hasSelectors(body)) return
  const names = concernedTargets(body, tenant, edge.config.targets)
  const impossible = names.filter((name) => impossibleAt(edge, name, body))
  if (names.length > 0 && impossible.length === names.length) {
    const kinds = SELECTOR_LISTS.filter((list) => body[list].length > 0).join(", ")
    throw new Problem("not_supported", `No target can purge by ${kinds}, and none may widen it.`)
  }
}

/** The indices of those that name a namespace. */
const invalidations = (intake: Intake): number[] =>
  [...intake.invalidations.entries()].flatMap(([index, { namespace }]) => (namespace === null ? [] : [index]))

/**
 * Records invalidations: one round trip, all or nothing.
 *
 * @throws {Problem} as `planIntake`; `idempotency_key_reused`; `invalid_request` for a namespace too many
 * @throws {StoreError}
 */
export async function takeIn(
  edge: Edge,
  intake: Intake,
  at: (index: number) => readonly PropertyKey[] = () => [],
): Promise<{ readonly duplicate: boolean; readonly accepted: readonly Accepted[] }> {
  const entries = planIntake(edge, intake, at)
  const { tenant, idempotency, by } = intake
  const { maxEntries } = edge.config.log
  const outcome: PublishOutcome = await publish(edge.store, {
    tenant,
    entries,
    maxEntries,
    idempotency,
    // A webhook's are those that the configuration names, and it must not be refused.
    ...("token" in by ? { maxNamespaces: MAX_NAMESPACES } : {}),
  })
  if (outcome.status === "reused") {
    throw new Problem(
      "idempotency_key_reused",
      "The idempotency key was used with another body within 24 hours.",
    )
  }
  if (outcome.status === "tooManyNamespaces") {
    const errors = invalidations(intake).map((index) => ({
      pointer: pointer([...at(index), "namespace"]),
      detail: "may be one of those that were published in before",
    }))
    throw new Problem("invalid_request", `A tenant may publish in ${MAX_NAMESPACES} namespaces at most.`, {
      errors,
    })
  }
  const duplicate = outcome.status === "duplicate"
  const accepted = outcome.entries.map(({ epoch }, index): Accepted => {
    // After a change of configuration a repeated webhook may derive another number of invalidations than were recorded.
    const body = entries[index]?.body
    return {
      id: String(epoch),
      epoch,
      tenant,
      namespace: body?.namespace ?? null,
      duplicate,
      targets: body ? concernedTargets(body, tenant, edge.config.targets) : [],
      warnings: [],
    }
  })
  return { duplicate, accepted }
}
