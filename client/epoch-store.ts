import type { Epoch } from "../protocol/epoch.ts"
import type { Lookup, LookupRequest } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"

/**
 * Where epochs are looked up. The reader above caches, batches and paces; a store only asks.
 *
 * Safe to call concurrently. Answers the namespaces that were asked, each with the asked tags that it knows; one that is
 * not listed counts as the namespace's floor. A namespace that is missing in the answer was refused.
 *
 * With `after`, the answer's `changed` tells what changed since that epoch, where the store can say.
 */
export interface EpochStore {
  /**
   * Its answers may be much older than the asking: then `asOf` tells how old, by a clock that goes with ours. Of any
   * other store an answer is as of when it was asked, whatever its clock says. Default false.
   */
  readonly isMirror?: boolean
  /**
   * One round trip, or several at once where it takes no more in one. Settles within a bounded time: after 2 s the
   * reader counts the store as away. Never retries: the reader does.
   *
   * @throws {StoreRefusal} when all of it was refused, as for a namespace that is not declared
   * @throws {TidemarkError} when it cannot answer, and can say what kind of trouble that is
   * @throws whatever it likes when it cannot answer. Its words are told to people: they hold no secret
   */
  lookup(request: LookupRequest, after?: Epoch): Promise<StoreAnswer>
  /**
   * Records an invalidation. Missing where the store can only be read.
   *
   * @throws {StoreRefusal} when it was refused: nothing was recorded
   * @throws whatever it likes when there was no answer: it may have been recorded, or not
   */
  publish?(invalidation: Publication & { readonly mode: "invalidate" | "purge" }): Promise<Published>
}

/** What a store answers. */
export interface StoreAnswer extends Lookup {
  /** In the store's words, why it refused a namespace that was asked and is not in the answer. */
  readonly refused?: ReadonlyMap<Namespace, Error>
}

/**
 * What is invalidated, in the words of `POST /v1/invalidations`: tags, urls, prefixes and hosts of a namespace; with
 * none of these the whole namespace; or, standing alone, everything.
 */
export type Publication = (
  | {
      readonly namespace: Namespace
      readonly tags?: readonly string[]
      readonly urls?: readonly string[]
      readonly prefixes?: readonly string[]
      readonly hosts?: readonly string[]
    }
  | { readonly everything: true }
) & {
  /** For people, in the log. At most 200 characters. */
  readonly reason?: string
}

export interface Published {
  /** By which its record is found: `GET /v1/invalidations/{id}`. */
  readonly id: string
  readonly epoch: Epoch
}

/**
 * The store is there, and says no to this very request: a namespace is not declared, or the token does not reach it.
 * Others that were asked in the same request are not held responsible.
 */
export class StoreRefusal extends Error {
  readonly status: number
  /** Where several namespaces were refused, each with its own words. */
  readonly refused: ReadonlyMap<Namespace, Error> | undefined

  constructor(status: number, message: string, refused?: ReadonlyMap<Namespace, Error>) {
    super(message)
    this.name = "StoreRefusal"
    this.status = status
    this.refused = refused
  }
}
