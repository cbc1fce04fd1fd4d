import type { Resolved } from "../../protocol/config/config.ts"
import type { SourceConfig } from "../../protocol/config/schema.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/** One delivery of a webhook, exactly as it arrived. Signatures are over bytes: nothing is parsed before it verified. */
export interface Delivery {
  readonly method: string
  /** Path and query as they were asked for, undecoded. */
  readonly path: string
  readonly headers: Headers
  /** `Uint8Array<ArrayBuffer>`, in words that compilers know for which it is not generic: those before TypeScript 5.7. */
  readonly body: ReturnType<TextEncoder["encode"]>
}

/**
 * Whether a delivery is the sender's own.
 *
 * - `verified`  `replay` says by what a repetition is known: by `deliveryId`, which the sender vouches for and its
 *               retries carry too; by the body's bytes, together with the id where there is one; or not at all
 * - `invalid`   no signature, a wrong one, a malformed one
 * - `stale`     the signature is right, its time is not within the tolerance
 * - `ping`      nothing is signed and nothing is claimed: the sender only tries the address. It is answered 200, and
 *               nothing comes of it, whoever sent it
 */
export type Verification =
  | {
      readonly verdict: "verified"
      readonly deliveryId?: string
      readonly replay: "delivery-id" | "body-hash" | "none"
    }
  | { readonly verdict: "invalid"; readonly detail: string }
  | { readonly verdict: "stale"; readonly detail: string }
  | { readonly verdict: "ping"; readonly note: string }

export type Verified = Extract<Verification, { readonly verdict: "verified" }>

export type EventKind = "publish" | "unpublish" | "update" | "delete" | "deploy" | "tags"

/**
 * What a delivery says happened. Only what the sender told: absent is not empty. What tells two deliveries apart and
 * stands in headers or in the address alone belongs here too (`kind`, `topic`): a repetition is one whose events are
 * the same.
 */
export interface SourceEvent {
  /** Of one record of several in a delivery: as much of the body as is about it, for `fields`. Default: all of it. */
  readonly body?: unknown
  readonly kind: EventKind
  /**
   * The model of the content changed, or the content below some place as a whole, and no record is named: every
   * namespace of the source is invalidated as a whole, whatever its rules say, as hard as `kind` asks.
   */
  readonly isModel?: true
  readonly type?: string
  readonly id?: string
  readonly locale?: string
  readonly slug?: string
  readonly previousSlug?: string
  readonly url?: string
  readonly previousUrl?: string
  readonly version?: string
  readonly environment?: string
  readonly topic?: string
  readonly tags?: readonly string[]
}

/**
 * What a verified delivery means.
 *
 * - `events`      one or more things that happened
 * - `ignored`     nothing that any cache holds changed (a draft, a ping); `note` says so to whoever reads the answer
 * - `unreadable`  signed, but it says nothing usable: every namespace of the source is invalidated instead, as hard as
 *                 `kind` asks where a header, the topic, the address or a member of an older form says so all the same
 */
export type Reading =
  | { readonly reading: "events"; readonly events: readonly SourceEvent[] }
  | { readonly reading: "ignored"; readonly note: string }
  | { readonly reading: "unreadable"; readonly note: string; readonly kind?: EventKind }

export interface SourceContext {
  readonly config: Resolved<SourceConfig>
  readonly now: () => Milliseconds
  /** For a sender's public keys, from its own fixed addresses alone. */
  readonly fetch: typeof fetch
}

/** What a delivery says, once it is verified. */
export interface Said {
  /**
   * The body as JSON, whatever it came in (gzip, Latin-1, UTF-16, a form); undefined where it is none. A number whose
   * digits JavaScript could not hold is a text of those digits.
   */
  readonly body: unknown
  readonly headers: Headers
  /** Path and query as they were asked for: some senders' events stand in the address that they were given. */
  readonly path: string
}

/** One CMS: one file each, listed in `list.ts`. The route's configuration says which one it is, never the delivery. */
export interface SourceAdapter {
  readonly type: SourceConfig["type"]
  /**
   * Raw bytes, WebCrypto, constant time; every secret of the configuration is tried, so that one can be rotated.
   *
   * @throws {Problem} of 500 or more, where it cannot be told now: the sender is to try again
   */
  verify(delivery: Delivery, context: SourceContext): Promise<Verification>
  /** Pure: what was said to events. Throws nothing. A body that it has no use for is `unreadable`. */
  read(said: Said, context: SourceContext): Reading
  /**
   * What a GET of the address is answered with, as text, where the sender asks for that before it delivers; undefined
   * for a query that is no such question. Without this member a GET is 405.
   */
  challenge?(query: URLSearchParams): string | undefined
}
