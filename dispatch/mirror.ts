import { declaredNamespaces } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { lookupCommands, lookupJson, readLookup } from "../protocol/lookup.ts"
import { type Namespace, patternsOverlap } from "../protocol/namespace.ts"
import type { Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Whose epochs a mirror holds. */
export interface MirrorOf {
  readonly tenant: string
  readonly config: Config
  /** The target's: what lies in none of them is left out. */
  readonly patterns: readonly string[]
}

/**
 * What a mirror holds of a tenant, as JSON in the form of a look-up's answer: every declared namespace, and no tags. A
 * tag that is not listed counts as the floor, so the floor is the watermark here: more is stale by a mirror than by the
 * store, and never less.
 *
 * @throws {StoreError}
 */
export async function readMirror(
  store: Store,
  { tenant, config, patterns }: MirrorOf,
  now: Milliseconds,
): Promise<string> {
  const declared = Object.keys(declaredNamespaces(config, tenant)).filter((name) => name !== "*")
  const names = declared.filter((name) => patterns.some((pattern) => patternsOverlap(pattern, name)))
  const request = new Map(
    names.map((name): [Namespace, { tags: []; urls: [] }] => [name, { tags: [], urls: [] }]),
  )
  const lookup = readLookup(tenant, request, await store.pipeline(lookupCommands(tenant, request)), now)
  const namespaces = new Map(
    [...lookup.namespaces].map(([name, row]) => [name, { ...row, floor: row.watermark }] as const),
  )
  return JSON.stringify(lookupJson({ ...lookup, namespaces }))
}
