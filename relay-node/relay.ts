import { randomBytes } from "node:crypto"
import { Memory } from "../dispatch/adopt.ts"
import { type Clock, systemClock } from "../dispatch/clock.ts"
import type { Lane } from "../dispatch/lane.ts"
import { runPasses } from "../dispatch/passes.ts"
import { lookAfterRemoved } from "../dispatch/removed.ts"
import { findDriver } from "../dispatch/targets/list.ts"
import type { VendorFetch } from "../dispatch/targets/target.ts"
import { Verifier } from "../dispatch/verify.ts"
import { servesTenant, tenantsOf, type Resolved } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { RELAY_ITEMS_KEY, RELAYS_KEY } from "../protocol/keys.ts"
import { matchesAny, type Namespace, patternsOverlap, ROOT } from "../protocol/namespace.ts"
import { parseJson } from "../protocol/receipt.ts"
import { readHash } from "../protocol/record.ts"
import { asList, asText, type Store, StoreError } from "../protocol/store.ts"
import { DAY, MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import type { RelayEmitter } from "./events.ts"
import { Lanes } from "./lanes.ts"
import { connectUpstream, type UpstreamOptions } from "./redis/upstream.ts"
import { trouble } from "./redis/words.ts"
import { isUpstash, readInfo, redisStore } from "./store.ts"
import { Subscription } from "./subscription.ts"
import { type WorkerAddress, WorkerCheck } from "./worker-check.ts"

export interface RelayOptions {
  /** Without the targets that are off. */
  readonly config: Config
  readonly resolved: Resolved<Config>
  /** Targets that are off, with the names of the secrets that they miss. */
  readonly off: Readonly<Record<string, readonly string[]>>
  readonly redisUrl: string
  /** How Redis is spoken to. Default: as `connectUpstream` does by itself. */
  readonly redis?: UpstreamOptions
  /** What vendors are called by. */
  readonly fetch: VendorFetch
  /** What sites are looked at by after a purge. Default: the runtime's own. */
  readonly probe?: typeof fetch
  readonly events: RelayEmitter
  readonly version: string
  readonly clock?: Clock
  /** Whose epochs are held against the log. Default: none. */
  readonly worker?: WorkerAddress
}

/** Why a relay is not ready, by the name of the check; empty when it is. */
export type Unready = Readonly<Record<string, string>>

export interface Relay {
  readonly id: string
  readonly startedAt: Milliseconds
  readonly store: Store
  readonly config: Config
  readonly off: RelayOptions["off"]
  readonly version: string
  readonly lanes: Lanes
  /** By its clock, ms since 1970. */
  now(): Milliseconds
  unready(): Unready
  /** There is something new of a tenant, which this relay did itself. */
  wake(tenant: string): void
  /** Begins nothing new, lets calls under way finish within `relay.drain`, and closes every connection. */
  close(): Promise<void>
}

/** The Worker is asked every so many polls: it costs one subrequest there. */
const WORKER_EVERY = 2

/** Targets that were removed are looked after at the first poll, and then every so many. */
const REMOVED_EVERY = 12

/** How long a relay that no longer says anything is still listed. */
const FORGET_RELAYS: Milliseconds = DAY

/** A relay whose heartbeat is older, by some polls, is taken for gone. */
const LIVE_WITHIN: Milliseconds = MINUTE

/** What a wake or a commit may have made due is looked at so much later: once for many, and not before the purge itself. */
const PASSES_AFTER: Milliseconds = 50

/** What a relay says of itself in Redis. */
export interface RelayItem {
  readonly id: string
  readonly version: string
  readonly startedAt: Milliseconds
  readonly heartbeatAt: Milliseconds
  /** `<tenant>/<lane>` of the lanes that it holds. */
  readonly lanes: readonly string[]
  /** The same, of all that it has configured. */
  readonly targets?: readonly string[]
}

/** One tenant's log. */
interface Tenant {
  readonly name: string
  readonly memory: Memory
  /** Set once the log was held against what is stored. */
  adopted: boolean
  /** Set once every lane came to the end of the log, or to what keeps it from that. */
  isRead: boolean
  timer: { readonly id: NodeJS.Timeout; readonly at: Milliseconds } | undefined
  /** Passes are run one round at a time; whoever asks meanwhile gets one more round. */
  passing: "idle" | "running" | "again"
}

/** Starts holding the subscription, and reading every tenant's log for every target. */
export function startRelay(options: RelayOptions): Relay {
  const { config, events, clock = systemClock, version } = options
  const id = `relay-${randomBytes(6).toString("hex")}`
  const startedAt = clock.now()
  const upstream = connectUpstream(options.redisUrl, events.log, options.redis)
  const store = redisStore(upstream, isUpstash(options.redisUrl))
  const closing = new AbortController()
  /** How Redis evicts; undefined until it was asked, "" where it does not say. */
  let policy: string | undefined
  let lastPoll = 0
  /** What Redis said of itself in place of answering the last poll. */
  let refused: string | undefined
  /** Whether it answered that poll at all, though by an error. */
  let isAnswered = false
  let polls = 0
  const workerCheck =
    options.worker &&
    new WorkerCheck({
      worker: options.worker,
      store,
      config,
      fetch: options.fetch,
      onChange: (detail) => events.emit("worker:disagrees", { detail }),
    })

  const lanes = new Lanes(
    {
      config,
      resolved: options.resolved,
      store,
      clock,
      relay: id,
      fetch: options.fetch,
      events,
      onCommit({ tenant, name }, entries) {
        schedulePasses(tenant, PASSES_AFTER)
        void verifiers.get(`${tenant}/${name}`)?.watch(entries).catch(failedPoll)
      },
      onNodes: (tenant) => {
        const found = tenants.get(tenant)
        // At the start nothing is looked at before the subscription stands.
        if (found?.adopted) void look(found).catch(failedPoll)
      },
    },
    closing.signal,
  )
  const tenants = new Map(
    tenantsOf(config).map((name): [string, Tenant] => [
      name,
      { name, memory: new Memory(), adopted: false, isRead: false, timer: undefined, passing: "idle" },
    ]),
  )
  const verifiers = new Map([...tenants.keys()].flatMap(verifiersOf))
  const laneNames = (of: readonly Lane[]) => of.map((lane) => `${lane.tenant}/${lane.id}`)

  /** Of the targets that are to be looked at after a purge. */
  function verifiersOf(tenant: string): [string, Verifier][] {
    return Object.entries(config.targets).flatMap(([target, targetConfig]): [string, Verifier][] => {
      const resolved = options.resolved.targets[target]
      const driver = findDriver(targetConfig.type)
      const { verify } = targetConfig
      if (!verify || !resolved || !driver || !servesTenant(targetConfig, tenant)) return []
      const ofTarget = () => lanes.ofTarget(tenant, target)
      const verifier = new Verifier({
        tenant,
        target,
        lanes: () => ofTarget().map((lane) => lane.id),
        config,
        targetConfig: { ...targetConfig, verify },
        propagation: driver.capabilities(resolved).propagation,
        store,
        clock,
        fetch: options.probe ?? fetch,
        onVerdict: (told) => events.emit("target:verified", { tenant, target, ...told }),
        onAgain: () => ofTarget().forEach((lane) => lane.nudge()),
      })
      return [[`${tenant}/${target}`, verifier]]
    })
  }

  const subscription = new Subscription({
    redisUrl: options.redisUrl,
    ...(options.redis?.tls ? { tls: options.redis.tls } : {}),
    relay: id,
    clock,
    publish: async (channel, message) => void (await store.pipeline([["PUBLISH", channel, message]])),
    onWake(tenant, namespace) {
      events.emit("wake:heard", { tenant, namespace })
      wake(tenant, namespace)
    },
    onSubscribed: () => void catchUp(),
    emit: (event, payload) => events.subscription(event, payload),
  })
  // It may still be at the node that was left, where nothing is published any more.
  upstream.onRecovered(() => subscription.renew())

  /** Wakes the lanes that a namespace concerns; the others move their cursors when they next poll. */
  function wake(name: string, namespace: Namespace): void {
    const tenant = tenants.get(name)
    if (!tenant) return
    for (const lane of lanes.of(name)) {
      const patterns = config.targets[lane.name]?.namespaces ?? []
      const concerned =
        namespace === ROOT ||
        matchesAny(namespace, patterns) ||
        patterns.some((one) => patternsOverlap(one, namespace))
      if (concerned) lane.nudge()
    }
    schedulePasses(name, PASSES_AFTER)
  }

  async function look(tenant: Tenant): Promise<void> {
    const { reason, head, isFirst } = await tenant.memory.adopt(store, tenant.name, id, config)
    if (reason !== "same") events.emit("tenant:adopted", { tenant: tenant.name, reason, head, isFirst })
    tenant.adopted = true
    // Before the lanes begin: what became of an entry is told by the nodes that Redis knows of.
    await lanes.tell(tenant.name)
    for (const lane of lanes.of(tenant.name)) {
      lane.nudge()
      verifiers.get(`${lane.tenant}/${lane.name}`)?.nudge()
    }
    await passes(tenant)
  }

  /** What the wakes only hurry: every tenant's log is looked at on every connect and every poll. */
  async function poll(): Promise<void> {
    const looks = await Promise.allSettled([...tenants.values()].map(look))
    for (const one of looks) {
      if (one.status === "rejected") events.emit("poll:failed", { detail: detailOf(one.reason) })
    }
    const failures = looks.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []))
    if (failures.length === 0) lastPoll = clock.now()
    try {
      policy = (await readInfo(store, "memory")).get("maxmemory_policy") ?? ""
      if (!closing.signal.aborted) await heartbeat()
      if (!closing.signal.aborted && polls % REMOVED_EVERY === 0) await lookAfter()
      polls += 1
      if (!closing.signal.aborted && polls % WORKER_EVERY === 0) await workerCheck?.run()
    } catch (error) {
      failures.push(error)
      events.emit("poll:failed", { detail: detailOf(error) })
    }
    refused = failures.map((error) => trouble(detailOf(error))).find((words) => words !== undefined)
    isAnswered = failures.some((error) => error instanceof StoreError && error.failure !== "unreachable")
  }

  /** Until it was done once: the connection for commands may come back later than the subscription. */
  async function catchUp(): Promise<void> {
    const asked = clock.now()
    for (;;) {
      await poll()
      if (lastPoll >= asked || closing.signal.aborted) return
      await clock.sleep(Math.min(config.relay.poll, SECOND), closing.signal)
    }
  }

  async function heartbeat(): Promise<void> {
    const now = clock.now()
    const held = laneNames(lanes.all.filter((lane) => lane.holds))
    const targets = laneNames(lanes.all)
    const [silent] = await store.pipeline([
      ["ZRANGEBYSCORE", RELAYS_KEY, "-inf", String(now - FORGET_RELAYS)],
      ["ZADD", RELAYS_KEY, String(now), id],
      [
        "HSET",
        RELAY_ITEMS_KEY,
        id,
        JSON.stringify({ id, version, startedAt, heartbeatAt: now, lanes: held, targets }),
      ],
    ])
    const gone = asList(silent).flatMap((one) => asText(one) ?? [])
    if (gone.length > 0)
      await store.pipeline([
        ["ZREM", RELAYS_KEY, ...gone],
        ["HDEL", RELAY_ITEMS_KEY, ...gone],
      ])
  }

  /** What no live relay has configured is nobody's any more. */
  async function lookAfter(): Promise<void> {
    const [reply] = await store.pipeline([["HGETALL", RELAY_ITEMS_KEY]])
    const fleet = [...readHash(reply).values()].map((text) => parseJson<RelayItem>(text))
    const alive = fleet.filter(
      (one) => clock.now() - (one?.heartbeatAt ?? 0) < LIVE_WITHIN + 3 * config.relay.poll,
    )
    // One of an earlier version does not say what it has configured: then nothing is known to be nobody's.
    if (alive.some((one) => !Array.isArray(one?.targets))) return
    const names = new Set([...laneNames(lanes.all), ...alive.flatMap((one) => one?.targets ?? [])])
    // Of a name that was not looked up yet nobody knows which lanes it has.
    const unknown = Object.keys(config.targets).filter((name) => lanes.nodesOf(name)?.length === 0)
    const off = new Set([...Object.keys(options.off), ...unknown])
    for (const tenant of tenants.keys()) {
      const live = new Set<string>()
      for (const name of names) if (name.startsWith(`${tenant}/`)) live.add(name.slice(tenant.length + 1))
      for (const removed of await lookAfterRemoved(store, tenant, { live, off }, clock.now())) {
        events.emit("target:removed", { tenant, ...removed })
      }
    }
  }

  function failedPoll(error: unknown): void {
    if (!closing.signal.aborted) events.emit("poll:failed", { detail: detailOf(error) })
  }

  function schedulePasses(name: string, wait: Milliseconds): void {
    const tenant = tenants.get(name)
    if (!tenant || closing.signal.aborted) return
    const at = clock.now() + wait
    // The sooner one counts: were it put off by each that follows, a busy log would have none.
    if (tenant.timer && tenant.timer.at <= at) return
    clearTimeout(tenant.timer?.id)
    const timeout = setTimeout(() => {
      tenant.timer = undefined
      passes(tenant).catch(failedPoll)
    }, wait)
    tenant.timer = { id: timeout, at }
  }

  async function passes(tenant: Tenant): Promise<void> {
    if (tenant.passing !== "idle") {
      tenant.passing = "again"
      return
    }
    tenant.passing = "running"
    let isAgain = false
    try {
      const next = await runPasses({ store, tenant: tenant.name, config, clock, relay: id })
      const wait =
        next === undefined ? config.relay.poll : Math.min(config.relay.poll, Math.max(0, next - clock.now()))
      schedulePasses(tenant.name, Math.max(10, wait))
    } finally {
      isAgain = (tenant.passing as Tenant["passing"]) === "again"
      tenant.passing = "idle"
    }
    if (isAgain) schedulePasses(tenant.name, PASSES_AFTER)
  }

  const polling = (async () => {
    while (!closing.signal.aborted) {
      await clock.sleep(config.relay.poll, closing.signal)
      if (!closing.signal.aborted) await poll()
    }
  })()

  return {
    id,
    startedAt,
    store,
    config,
    off: options.off,
    version,
    lanes,
    now: () => clock.now(),
    wake: (tenant) => wake(tenant, ROOT),
    unready() {
      for (const tenant of tenants.values()) {
        // Nodes that come later do not make a relay unready that was ready.
        tenant.isRead ||= tenant.adopted && lanes.of(tenant.name).every((lane) => lane.hasRead)
      }
      const overdue =
        clock.now() - lastPoll <= 3 * config.relay.poll + 10_000
          ? undefined
          : isAnswered
            ? "Redis refuses what the poll asks: see poll:failed in the log"
            : "Redis does not answer"
      const wrong = upstream.trouble ?? refused ?? overdue
      const unread = [...tenants.values()].filter(({ isRead }) => !isRead).map(({ name }) => name)
      return {
        ...(subscription.isProven ? {} : { subscription: "no message was seen to come back from Redis" }),
        ...(unread.length === 0 ? {} : { log: `not yet read: ${unread.join(", ")}` }),
        ...(wrong === undefined ? {} : { store: wrong }),
        ...(policy === undefined ? { policy: "not yet known whether Redis evicts keys" } : {}),
        ...(policy === undefined || policy === "" || policy === "noeviction"
          ? {}
          : { policy: `Redis evicts keys (${policy}): set maxmemory-policy noeviction` }),
        ...(workerCheck?.disagreement === undefined ? {} : { worker: workerCheck.disagreement }),
        ...(closing.signal.aborted ? { closing: "it drains" } : {}),
      }
    },
    async close() {
      closing.abort()
      for (const tenant of tenants.values()) clearTimeout(tenant.timer?.id)
      const drained = new AbortController()
      const deadline = clock.sleep(config.relay.drain, drained.signal)
      // The lanes at once: a poll that waits for an absent Redis must not let them begin more calls meanwhile.
      const looking = [...verifiers.values()].map((verifier) => verifier.close())
      await Promise.race([Promise.all([lanes.close(), ...looking, polling]), deadline])
      drained.abort()
      await subscription.close()
      await store
        .pipeline([
          ["ZREM", RELAYS_KEY, id],
          ["HDEL", RELAY_ITEMS_KEY, id],
        ])
        .catch(() => {})
      upstream.close()
    },
  }
}

const detailOf = (error: unknown): string => (error instanceof Error ? error.message : "unknown")
