import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client"
import type { AdoptReason } from "../dispatch/adopt.ts"
import type { LaneEvents } from "../dispatch/lane.ts"
import type { LaneName, RelayEvents } from "./events.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { SubscriptionEvents } from "./subscription.ts"

/** The relay's events, counted. Label values are names of the configuration and words of ours: bounded. */
export interface Metrics {
  readonly registry: Registry
  observe<K extends keyof RelayEvents>(event: K, payload: RelayEvents[K]): void
  observeLane<K extends keyof LaneEvents>(event: K, payload: LaneName & LaneEvents[K]): void
  observeSubscription(event: keyof SubscriptionEvents): void
  /** Asked at every scrape: what a lane last did says nothing of what it has not done since. */
  readLag(lags: () => Promise<readonly LaneLag[]>): void
}

export interface LaneLag {
  readonly labels: Readonly<Record<string, string>>
  readonly lag: Milliseconds
}

/** Of a tenant's adoptions, those that made a new generation. */
export const RESYNCS: ReadonlySet<AdoptReason> = new Set(["missing", "identity", "rolledBack"])

/** Of a page of metrics, the series of one tenant: no label of ours has a quote in its value. */
export function seriesOf(page: string, tenant: string): string {
  const own = new RegExp(`[{,]tenant="${tenant}"[,}]`)
  const kept: string[] = []
  let heading: string[] = []
  for (const line of page.split("\n")) {
    // `# HELP` begins a metric, and `# TYPE` follows it.
    if (line.startsWith("# HELP")) heading = [line]
    else if (line.startsWith("#")) heading.push(line)
    else if (own.test(line)) {
      kept.push(...heading, line)
      heading = []
    }
  }
  return kept.map((line) => `${line}\n`).join("")
}

export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const lane = ["tenant", "target", "node"] as const

  const wakes = new Counter({ name: "tidemark_wakes_total", help: "Wakes heard by Pub/Sub", registers })
  const calls = new Counter({
    name: "tidemark_vendor_calls_total",
    help: "Calls to vendors by what became of them",
    labelNames: [...lane, "kind", "mode", "outcome"],
    registers,
  })
  const callSeconds = new Histogram({
    name: "tidemark_vendor_call_duration_seconds",
    help: "From the start of a call to a vendor to its answer",
    labelNames: lane,
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
    registers,
  })
  const entries = new Counter({
    name: "tidemark_lane_entries_total",
    help: "Entries of the log that a lane has committed",
    labelNames: lane,
    registers,
  })
  let lags: () => Promise<readonly LaneLag[]> = async () => []
  const lagSeconds = new Gauge({
    name: "tidemark_lane_lag_seconds",
    help: "Age of the oldest entry that a lane has not handled, now; 0 when it is level",
    labelNames: lane,
    registers,
    async collect() {
      // Without an answer of Redis nothing is known of it, and nothing is told.
      const found = await lags().catch(() => [])
      lagSeconds.reset()
      for (const one of found) lagSeconds.set(one.labels, one.lag / SECOND)
    },
  })
  const stops = new Counter({
    name: "tidemark_lane_stops_total",
    help: "Times that a lane stopped for its vendor",
    labelNames: [...lane, "state"],
    registers,
  })
  const laneResyncs = new Counter({
    name: "tidemark_lane_resyncs_total",
    help: "Times that a lane could not prove it saw every entry",
    labelNames: [...lane, "reason"],
    registers,
  })
  const tenantResyncs = new Counter({
    name: "tidemark_tenant_resyncs_total",
    help: "New generations of a tenant's log",
    labelNames: ["tenant", "reason"],
    registers,
  })
  const dead = new Counter({
    name: "tidemark_dead_letters_total",
    help: "Things that were given up on and kept for people",
    labelNames: lane,
    registers,
  })
  const verified = new Counter({
    name: "tidemark_verified_total",
    help: "Urls that were looked at after they were purged, by what was seen",
    labelNames: [...lane, "verdict"],
    registers,
  })
  const waits = new Counter({
    name: "tidemark_pace_wait_seconds_total",
    help: "Time spent waiting for a vendor's published limits",
    labelNames: ["account"],
    registers,
  })
  const lost = new Counter({
    name: "tidemark_subscription_losses_total",
    help: "Subscriptions given up",
    registers,
  })
  const proven = new Gauge({
    name: "tidemark_subscription_proven",
    help: "1 once a probe came back over the present subscription",
    registers,
  })

  const onLane: {
    [K in keyof LaneEvents]?: (labels: Record<string, string>, payload: LaneEvents[K]) => void
  } = {
    "lane:called": (labels, { kind, mode, outcome, took }) => {
      calls.inc({ ...labels, kind, mode, outcome })
      callSeconds.observe(labels, took / 1000)
    },
    "lane:committed": (labels, payload) => entries.inc(labels, payload.entries),
    "lane:stopped": (labels, { state }) => stops.inc({ ...labels, state }),
    "lane:resynced": (labels, { reason }) => laneResyncs.inc({ ...labels, reason }),
    "lane:deadLettered": (labels) => dead.inc(labels),
  }

  return {
    registry,
    observe(event, payload) {
      if (event === "wake:heard") wakes.inc()
      if ("reason" in payload && RESYNCS.has(payload.reason)) {
        tenantResyncs.inc({ tenant: payload.tenant, reason: payload.reason })
      }
      if ("verdict" in payload) {
        verified.inc({ tenant: payload.tenant, target: payload.target, verdict: payload.verdict })
      }
      if ("account" in payload) waits.inc({ account: payload.account }, payload.length / 1000)
    },
    observeLane(event, payload) {
      const { tenant, target, node } = payload
      onLane[event]?.({ tenant, target, ...(node === undefined ? {} : { node }) }, payload)
    },
    readLag(read) {
      lags = read
    },
    observeSubscription(event) {
      if (event === "subscription:lost") {
        lost.inc()
        proven.set(0)
      }
      if (event === "subscription:proven") proven.set(1)
    },
  }
}
