import type { AdoptReason } from "../dispatch/adopt.ts"
import type { LaneEvents } from "../dispatch/lane.ts"
import type { Position } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { Logger } from "./log.ts"
import { type Metrics, RESYNCS } from "./metrics.ts"
import type { SubscriptionEvents } from "./subscription.ts"

/** Everything worth knowing about a running relay, beside its lanes and its subscription. */
export interface RelayEvents {
  "wake:heard": { tenant: string; namespace: Namespace }
  "tenant:adopted": { tenant: string; reason: AdoptReason; head: Position; isFirst: boolean }
  "pace:waited": { account: string; length: Milliseconds }
  "poll:failed": { detail: string }
}

/** Which lane an event is of. */
export interface LaneName {
  readonly tenant: string
  readonly target: string
  readonly type: string
}

/** Logs and metrics only listen: nothing here decides anything. */
export interface RelayEmitter {
  readonly log: Logger
  emit<K extends keyof RelayEvents>(event: K, payload: RelayEvents[K]): void
  lane<K extends keyof LaneEvents>(event: K, payload: LaneName & LaneEvents[K]): void
  subscription<K extends keyof SubscriptionEvents>(event: K, payload: SubscriptionEvents[K]): void
}

/** Resyncs, dead letters and what stops a lane are told loudly; what goes as it should is not. */
const LOUD = new Set<string>([
  "lane:resynced",
  "lane:deadLettered",
  "lane:stopped",
  "lane:failed",
  "subscription:lost",
  "poll:failed",
])
const QUIET = new Set<string>(["wake:heard", "lane:called", "lane:committed", "pace:waited"])

export function createEmitter(log: Logger, metrics: Metrics): RelayEmitter {
  const write = (event: string, payload: object, isLoud = LOUD.has(event)) => {
    if (isLoud) log.warn(payload, event)
    else if (QUIET.has(event)) log.debug(payload, event)
    else log.info(payload, event)
  }
  return {
    log,
    emit(event, payload) {
      metrics.observe(event, payload)
      write(
        event,
        payload,
        "reason" in payload ? RESYNCS.has(payload.reason) && !payload.isFirst : LOUD.has(event),
      )
    },
    lane(event, payload) {
      metrics.observeLane(event, payload)
      write(event, payload, LOUD.has(event) && !("isFirst" in payload && payload.isFirst))
    },
    subscription(event, payload) {
      metrics.observeSubscription(event)
      write(event, payload)
    },
  }
}
