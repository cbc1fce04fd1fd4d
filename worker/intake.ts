import { type Asked, judgePublish } from "../dispatch/judge.ts"
import { concernedTargets } from "../protocol/concern.ts"
import { pointer, Problem } from "../protocol/errors.ts"
import { type Idempotency, MAX_NAMESPACES, publish, type PublishOutcome } from "../protocol/publish.ts"
import type { Edge } from "./context.ts"

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

export interface Intake extends Asked {
  readonly idempotency: Idempotency
}

/** The indices of those that name a namespace. */
const invalidations = (intake: Intake): number[] =>
  [...intake.invalidations.entries()].flatMap(([index, { namespace }]) => (namespace === null ? [] : [index]))

/**
 * Records invalidations: one round trip, all or nothing.
 *
 * @throws {Problem} as `judgePublish`; `idempotency_key_reused`; `invalid_request` for a namespace too many
 * @throws {StoreError}
 */
export async function takeIn(
  edge: Edge,
  intake: Intake,
  at: (index: number) => readonly PropertyKey[] = () => [],
): Promise<{ readonly duplicate: boolean; readonly accepted: readonly Accepted[] }> {
  const entries = judgePublish(edge, intake, at)
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
