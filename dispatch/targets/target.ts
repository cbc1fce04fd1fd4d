import type { Resolved } from "../../protocol/config/config.ts"
import type { TargetConfig } from "../../protocol/config/schema.ts"
import type { Epoch } from "../../protocol/epoch.ts"
import type { Mode } from "../../protocol/invalidation.ts"
import type { Namespace } from "../../protocol/namespace.ts"
import type { TagCodec } from "../../protocol/tags.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/** What a purge can name. `namespace` is one that a target takes by its own name, as a receiver of our webhook does. */
export type Kind = "tag" | "url" | "prefix" | "host" | "namespace" | "everything"

export interface KindCapability {
  /** Modes in which the vendor can do it. Where `invalidate` is missing the plan purges hard, and the receipt says so. */
  readonly modes: readonly Mode[]
  /** Most values that one call may carry. */
  readonly batch: number
  /** Most bytes that they may have, each with `valueOverhead` more, where that is less than the call's own `maxBytes`. */
  readonly maxBytes?: number
}

interface Drawn {
  /** Names the limit among those of the account; with the resource in it where each resource has one of its own. */
  readonly bucket: string
  /** Kinds whose calls draw from it. */
  readonly kinds: readonly Kind[]
  /** Of their values only those that it says yes to. Default: all. */
  readonly only?: (value: Pick<Value, "kind" | "value">) => boolean
}

/** Tokens that refill steadily up to `burst`; a call takes one, or one a value where `per` says so. */
export interface RateLimit extends Drawn {
  readonly limit: "rate"
  readonly perSecond: number
  readonly burst: number
  readonly per: "call" | "value"
}

/** At most so many at once, where each lasts for so long after it was asked: nobody tells when one has ended. */
export interface InProgressLimit extends Drawn {
  readonly limit: "inProgress"
  readonly most: number
  readonly lasting: Milliseconds
  readonly per: "call" | "value"
}

/** The same value at most once in so long. */
export interface SpacingLimit extends Drawn {
  readonly limit: "spacing"
  readonly each: Milliseconds
}

/** What may be spent in a calendar month (UTC); when it is used up the lane pauses, and says so. */
export interface BudgetLimit extends Drawn {
  readonly limit: "budget"
  readonly perMonth: number
}

/** One of a vendor's limits, shared by all targets of an account, over all relays. */
export type Pace = RateLimit | InProgressLimit | SpacingLimit | BudgetLimit

/** What a cache can do. The plan asks; a driver never pretends. */
export interface Capabilities {
  readonly kinds: Readonly<Partial<Record<Kind, KindCapability>>>
  /** Whether one call may carry several kinds, `batch` of them in all. Where not, the plan makes a call a kind. */
  readonly mixed: boolean
  /** Whether the urls and prefixes of one call must all be of one host (scheme and port beside). Default false. */
  readonly oneHost?: boolean
  /** Most bytes that the values of one call may have, each with `valueOverhead` more. Default: no limit but `batch`. */
  readonly maxBytes?: number
  /** Bytes that a value takes in the call beside its own, such as quotes and a comma. Default 1. */
  readonly valueOverhead?: number
  readonly tags: TagCodec
  /**
   * Which spellings of an address a url or prefix is said in, where the published one is not the normal one. Default
   * `both`.
   *
   * - `normal` that one alone: the vendor documents that it takes all spellings of RFC 3986 for the same
   * - `both`   the published one and the normal one, as caches keep pages by the bytes that they were asked
   * - `cases`  and the normal one with hex digits in lower case: for caches that cost nothing, and keep no other
   */
  readonly spellings?: "normal" | "both" | "cases"
  /** Whether the vendor knows a call when it is repeated, by `Batch.id`, and does not do it twice. Default false. */
  readonly isIdempotent?: boolean
  /**
   * Set where the target holds epochs and no pages: it is written as a whole whatever was invalidated, again after so
   * long that nothing was, and once more a lease after each time, lest one that was late in writing be the last.
   */
  readonly mirror?: { readonly heartbeat: Milliseconds }
  /** What a value costs, in US dollars, once what is free is used up. Default 0. */
  readonly dollarsPerValue?: number
  /** From acceptance until edges have dropped their copies, as the vendor publishes it; undefined where it does not. */
  readonly propagation?: Milliseconds
}

export interface Value {
  readonly kind: Kind
  /** An address in one of its `spellings`; a tag as the codec wrote it, prefix in front; `everything` is `"*"`. */
  readonly value: string
  /** The namespaces that it was published in. */
  readonly namespaces: readonly Namespace[]
}

/** One call to a vendor: one mode, and one kind unless the target takes several at once. Never empty. */
export interface Batch {
  readonly mode: Mode
  readonly values: readonly Value[]
  /** The same for every attempt at this very batch, for vendors that know a call when it is repeated. */
  readonly id: string
  readonly tenant: string
  /** The first and last epoch that it covers. */
  readonly epochs: { readonly first: Epoch; readonly last: Epoch }
}

/** What a vendor's own headers say is left of a limit, after this call. Lowers what Redis thinks, never raises it. */
export interface Left {
  /** Of a `rate` limit. */
  readonly bucket: string
  readonly tokens: number
}

/**
 * What became of one attempt. Exhaustive on purpose: a new outcome must break every `switch`.
 *
 * - `accepted`      the vendor took every value; its edges may still be dropping their copies
 * - `trouble`       about the *vendor* (429, 5xx, no answer, a redirect): the lane stops and asks again
 * - `unauthorised`  about *us*, whatever the status: credentials, clock, host, zone, product, account. The lane pauses
 *                   and keeps all until that is mended; `mend` names the options that it may lie in
 * - `refused`       about the *batch*: it is cut in two, down to the one value that is at fault; where the vendor says
 *                   which values those are (`at`, their places in the batch) those alone are given up
 * - `unsupported`   this kind or mode cannot be done at all here; or these values (`at`), and the others can
 */
export type Outcome =
  | {
      readonly outcome: "accepted"
      readonly status: number
      readonly vendorId?: string
      readonly left?: readonly Left[]
    }
  | {
      readonly outcome: "trouble"
      readonly status?: number
      readonly detail: string
      readonly retryAfter?: Milliseconds
      readonly left?: readonly Left[]
    }
  | {
      readonly outcome: "unauthorised"
      readonly status: number
      readonly detail: string
      /** Options of the target, such as `token` or `zone`; empty: it is none. Default: all that hold a secret. */
      readonly mend?: readonly string[]
    }
  | {
      readonly outcome: "refused"
      readonly status: number
      readonly detail: string
      readonly at?: readonly number[]
    }
  | { readonly outcome: "unsupported"; readonly detail: string; readonly at?: readonly number[] }

/** One request to a vendor. */
export interface VendorRequest {
  /** Default `GET`. Any token, such as Varnish's `BAN`. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export type VendorHeaders = Pick<Headers, "get" | "has">

/** As much of a `Response` as drivers read. */
export interface VendorAnswer {
  readonly status: number
  readonly headers: VendorHeaders
  /** Null: there is none. Whoever stops before its end has the rest dropped. */
  readonly body: AsyncIterable<Uint8Array> | null
}

/**
 * What drivers need of `fetch`: any will do. Resolves with whatever was answered, redirects too; rejects when nothing
 * was, or the signal was aborted, with an error whose `code`, or whose cause's, is the platform's.
 */
export type VendorFetch = (
  url: string,
  init: VendorRequest & { readonly redirect: "manual"; readonly signal: AbortSignal },
) => Promise<VendorAnswer>

/** Transport and clock come from outside. */
export interface Surroundings {
  readonly fetch: VendorFetch
  readonly now: () => Milliseconds
  /** The tenant's epochs as a mirror holds them, read now: JSON. Only lanes of mirrors have it. @throws {StoreError} */
  readonly readEpochs?: () => Promise<string>
  /** Where a target that has no vendor says what it would do: one line. Default: nowhere. */
  readonly print?: (line: string) => void
}

export interface Driver {
  /**
   * Makes one attempt. Resolves with what became of it, and never rejects: no answer is an outcome too. May be called
   * twice with one batch, as every vendor's purge may safely be repeated. Never retries: the lane paces retries and
   * must see each failure to do so.
   *
   * @param signal aborts the attempt; an aborted one is `trouble`
   */
  purge(batch: Batch, signal: AbortSignal): Promise<Outcome>
}

/** What the cache of one type of target can do. */
export interface TargetTraits<C extends Resolved<TargetConfig> = Resolved<TargetConfig>> {
  readonly type: C["type"]
  capabilities(config: Pick<C, "type"> & Partial<C>): Capabilities
  /** The vendor's published limits, each with its source. Empty: none. */
  pace(config: C): readonly Pace[]
}

/** @throws {TypeError} naming the option, and no value, that a configuration of the right form cannot be used with */
export type CreateDriver<C extends Resolved<TargetConfig> = Resolved<TargetConfig>> = (
  config: C,
  surroundings: Surroundings,
) => Driver

/** A vendor's driver, with its traits: one file each, listed in `list.ts`. */
export interface TargetDriver<
  C extends Resolved<TargetConfig> = Resolved<TargetConfig>,
> extends TargetTraits<C> {
  // A method, so that drivers of one type stand in one list with the others.
  create(config: C, surroundings: Surroundings): Driver
}

/** The configuration of one type of target, secrets in place. */
export type TargetConfigOf<T extends TargetConfig["type"]> = Extract<
  Resolved<TargetConfig>,
  { readonly type: T }
>
