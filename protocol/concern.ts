import { servesTenant } from "./config/config.ts"
import { type EntryBody, hasSelectors } from "./invalidation.ts"
import { isWithin, matchesAny } from "./namespace.ts"

/** Which caches a target stands for. */
export interface TargetScope {
  readonly namespaces: readonly string[]
  readonly tenants: readonly string[]
}

/**
 * Whether an entry concerns a target: it is published in one of its namespaces, or reaches down into one, as whole
 * bumps, prefixes and hosts do; `everything` and a resync concern all.
 */
export function concerns(body: EntryBody, namespaces: readonly string[]): boolean {
  const { namespace } = body
  if (namespace === null || matchesAny(namespace, namespaces)) return true
  const reachesDown = !hasSelectors(body) || body.prefixes.length > 0 || body.hosts.length > 0
  return reachesDown && namespaces.some((pattern) => isWithin(pattern, namespace))
}

/** The names of the targets that an entry concerns, in the order of the configuration. */
export const concernedTargets = (
  body: EntryBody,
  tenant: string,
  targets: Readonly<Record<string, TargetScope>>,
): string[] =>
  Object.entries(targets)
    .filter(([, target]) => servesTenant(target, tenant) && concerns(body, target.namespaces))
    .map(([name]) => name)
