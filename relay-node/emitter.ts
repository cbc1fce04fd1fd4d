import type { RelayEmitter } from "./events.ts"
import type { Logger } from "./log.ts"
import { type Metrics, RESYNCS } from "./metrics.ts"

/** Resyncs, dead letters and what stops a lane are told loudly; what goes as it should is not. */
const LOUD = new Set<string>([
  "lane:resynced",
  "lane:deadLettered",
  "lane:stopped",
  "lane:failed",
  "subscription:lost",
  "poll:failed",
  "lane:lettersDropped",
  "lane:unreadable",
  "lane:setAside",
  "tenant:setAside",
  "resync:asked",
  "worker:disagrees",
  "store:untold",
  "store:demoted",
  "store:wentBack",
  "target:removed",
  "target:unknown",
])
const QUIET = new Set<string>([
  "target:verified",
  "wake:heard",
  "lane:called",
  "lane:committed",
  "pace:waited",
])

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
