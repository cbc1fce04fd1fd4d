import { MINUTE, type Milliseconds, SECOND } from "../time.ts"

/**
 * What the configuration must know of each type of source: one entry a CMS. The adapter of the same name stands in
 * `worker/sources/`.
 */
export interface SourceTraits {
  /** How far from now a signed time may lie, in both directions; undefined where the sender signs no time. */
  readonly tolerance?: Milliseconds
  /** How long after a publish its read API may still answer with the old content. `0`: fresh at once. */
  readonly settle: Milliseconds
  readonly secondPass: Milliseconds
  /** Whether deliveries carry a signature; without one the source needs `auth`. */
  readonly signed: boolean
}

export const SOURCE_TRAITS = {
  "standard-webhooks": { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
  // The toolkit's default time to live of a signature is 30 s:
  // https://github.com/contentful/node-apps-toolkit (src/requests/verify-request.ts)
  contentful: { tolerance: 30 * SECOND, settle: 0, secondPass: 0, signed: true },
} as const satisfies Record<string, SourceTraits>

export type SourceType = keyof typeof SOURCE_TRAITS
