import type { AdoptReason } from "../dispatch/adopt.ts"
import type { LaneEvents } from "../dispatch/lane.ts"
import type { Removed } from "../dispatch/removed.ts"
import type { Verified } from "../dispatch/verify.ts"
import type { Epoch, Position } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { Logger } from "./log.ts"
import type { SubscriptionEvents } from "./subscription.ts"

/** Everything worth knowing about a running relay, beside its lanes and its subscription. */
export interface RelayEvents {
  "wake:heard": { tenant: string; namespace: Namespace }
  "tenant:adopted": { tenant: string; reason: AdoptReason; head: Position; isFirst: boolean }
  /** Keys of a namespace, or such that every publish needs, were none of ours in type: renamed, and made good for. */
  "tenant:setAside": { tenant: string; namespace: Namespace; keys: readonly string[] }
  "pace:waited": { account: string; length: Milliseconds }
  "poll:failed": { detail: string }
  "letter:replayed": { tenant: string; target: string; letter: string }
  "letter:deleted": { tenant: string; target: string; letter: string }
  /** By hand; null: all of the tenant. */
  "resync:asked": { tenant: string; namespace: Namespace | null; by: string; epoch: Epoch }
  "drain:asked": { by: string }
  /** A target that no live relay has configured any more. */
  "target:removed": { tenant: string } & Removed
  /** The nodes that a target's names lead to now. */
  "target:nodes": { target: string; nodes: readonly string[] }
  /** A name of a target's nodes cannot be looked up; without a detail it can again. */
  "target:unknown": { target: string; detail: string | undefined }
  /** What was seen of a url after it was purged. */
  "target:verified": { tenant: string; target: string } & Verified
  /** Something of Redis that should be known is not told by it: what that means. Once for each. */
  "store:untold": { about: string; detail: string }
  /** Redis is a replica, or has become one: nothing can be written there. */
  "store:demoted": object
  /** Redis went back to an earlier state, whatever it says of itself: what it showed of this relay was older than what it took. */
  "store:wentBack": object
  /** The Worker looks at another log than this relay reads; without a detail it no longer does. */
  "worker:disagrees": { detail: string | undefined }
}

/** Which lane an event is of. */
export interface LaneName {
  readonly tenant: string
  readonly target: string
  readonly type: string
  /** Where the target stands for several caches. */
  readonly node?: string
}

/** Logs and metrics only listen: nothing here decides anything. */
export interface RelayEmitter {
  readonly log: Logger
  emit<K extends keyof RelayEvents>(event: K, payload: RelayEvents[K]): void
  lane<K extends keyof LaneEvents>(event: K, payload: LaneName & LaneEvents[K]): void
  subscription<K extends keyof SubscriptionEvents>(event: K, payload: SubscriptionEvents[K]): void
}
