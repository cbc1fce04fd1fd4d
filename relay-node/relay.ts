import { randomBytes } from "node:crypto"
import { type Adoption, Memory } from "../dispatch/adopt.ts"
import { isWrongType, setAside } from "../dispatch/aside.ts"
import { type Clock, systemClock } from "../dispatch/clock.ts"
import type { Lane } from "../dispatch/lane.ts"
import { look } from "../dispatch/look.ts"
import { runPasses } from "../dispatch/passes.ts"
import { lookAfterRemoved } from "../dispatch/removed.ts"
import { rest } from "../dispatch/rest.ts"
import { findDriver } from "../dispatch/targets/list.ts"
import type { VendorFetch } from "../dispatch/targets/target.ts"
import { Verifier } from "../dispatch/verify.ts"
import { servesTenant, tenantsOf, type Resolved } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { RELAY_ITEMS_KEY, RELAYS_KEY } from "../protocol/keys.ts"
import type { Head } from "../protocol/epoch.ts"
import { matchesAny, type Namespace, patternsOverlap, ROOT } from "../protocol/namespace.ts"
import { type Store, StoreError } from "../protocol/store.ts"
import { HOUR, MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import type { RelayEmitter } from "./events.ts"
import { readFleet, type RelayItem } from "./fleet.ts"
import { Lanes } from "./lanes.ts"
import { connectUpstream, type UpstreamOptions } from "./redis/upstream.ts"
import { trouble } from "./redis/words.ts"
import { isUpstash, redisStore } from "./store.ts"
import { Subscription } from "./subscription.ts"
import { Upkeep } from "./upkeep.ts"
import { type WorkerAddress, WorkerCheck } from "./worker-check.ts"

/** A target that is not purged, as `tidemark dev` lacks something for it. */
export interface OffTarget {
  /** Whose it is: of others it is not told. */
  readonly tenants: readonly string[]
  readonly missing: readonly string[]
}

export interface RelayOptions {
  /** Without the targets that are off. */
  readonly config: Config
  readonly resolved: Resolved<Config>
  /** Targets that are off, with the names of the secrets that they miss. */
  readonly off: Readonly<Record<string, OffTarget>>
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
  /** Whether a tenant's log was read by every lane of it. `unready` is told to anybody, and names no tenant. */
  isRead(tenant: string): boolean
  /** What should be known and is not, by its name: it makes no relay unready. */
  notes(): Unready
  /** There is something new of a tenant, which this relay did itself. */
  wake(tenant: string): void
  /** Begins nothing new, lets calls under way finish within `relay.drain`, and closes every connection. */
  close(): Promise<void>
}

/** How often a tenant at rest is looked at more closely, unless the configuration says. */
const IDLE: Milliseconds = 30 * SECOND

/**
 * The Worker is asked so often while it agrees, as that costs a subrequest there: after so many polls or so long,
 * whichever is sooner. While it is in doubt, every second poll.
 */
const WORKER_EVERY = { length: MINUTE, polls: 12, pollsInDoubt: 2 } as const

/** Targets that were removed are looked after at the start, and then so often. */
const REMOVED_EVERY: Milliseconds = MINUTE

/** What a relay says of itself is written again so often though it is the same: somebody may have deleted it. */
const ITEM_EVERY: Milliseconds = 30 * SECOND

/** A relay whose heartbeat is older, by some polls, is taken for gone. */
const LIVE_WITHIN: Milliseconds = MINUTE

const REPLICA = trouble("READONLY") ?? "Redis is a read-only replica"
const NO_POLICY =
  "Redis does not say whether it evicts keys: make sure that eviction is off where you set it up"
const NO_IDENTITY =
  "Redis does not say who it is: a failover that loses writes is noticed by what this relay remembers alone"

/** What a wake or a commit may have made due is looked at so much later: once for many, and not before the purge itself. */
const PASSES_AFTER: Milliseconds = 50

/** One tenant's log. */
interface Tenant {
  readonly name: string
  readonly memory: Memory
  /** Set once the log was held against what is stored. */
  adopted: boolean
  /** Whether its lanes are to read, as something was adopted; until that was done. */
  toRouse: boolean
  /** Set once every lane came to the end of the log, or to what keeps it from that. */
  isRead: boolean
  /** When it was last looked at closely, and after what was removed. */
  restedAt: Milliseconds | undefined
  removedAt: Milliseconds | undefined
  timer: { readonly id: NodeJS.Timeout; readonly at: Milliseconds } | undefined
  /** Passes are run one round at a time; whoever asks meanwhile gets one more round. */
  passing: "idle" | "running" | "again"
}

/** Starts holding the subscription, and reading every tenant's log for every target. */
export function startRelay(options: RelayOptions): Relay {
  const { config, events, clock = systemClock, version } = options
  const idle = config.relay.idle ?? Math.max(IDLE, config.relay.poll)
  const id = `relay-${randomBytes(6).toString("hex")}`
  const startedAt = clock.now()
  const upstream = connectUpstream(options.redisUrl, events.log, options.redis)
  const store = redisStore(upstream, isUpstash(options.redisUrl))
  const closing = new AbortController()
  /** As Redis last said of itself. */
  let server: { readonly isReplica: boolean; readonly identity: string; readonly policy: string } | undefined
  let lastPoll = 0
  /** What the last poll failed by. */
  let failure: unknown
  let polls = 0
  let pollsAtWorker = 0
  let lastWorker = 0
  /** One poll at a time: what one finds out decides what the next one asks. */
  let polling = Promise.resolve()
  /** The last that Redis acknowledged. */
  let beat = 0
  /** What all relays together have configured, as it was when this one last asked. */
  let configured: { readonly at: Milliseconds; readonly names: ReturnType<typeof readConfigured> } | undefined
  let saidOfUs = { text: "", at: 0 }
  const untold = new Set<string>()
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
        upkeep.passed(tenant, entries)
      },
      onNodes: (tenant) => {
        const found = tenants.get(tenant)
        // At the start nothing is looked at before the subscription stands.
        if (found?.adopted) void rouse(found).catch(failedPoll)
      },
    },
    closing.signal,
  )
  const tenants = new Map(
    tenantsOf(config).map((name): [string, Tenant] => [
      name,
      {
        name,
        memory: new Memory(),
        adopted: false,
        toRouse: false,
        isRead: false,
        restedAt: undefined,
        removedAt: undefined,
        timer: undefined,
        passing: "idle",
      },
    ]),
  )
  const verifiers = new Map([...tenants.keys()].flatMap(verifiersOf))
  const upkeep = new Upkeep({
    store,
    config,
    clock,
    relay: id,
    events,
    signal: closing.signal,
    onPublished: (tenant) => wake(tenant, ROOT),
    onFailed: failedPoll,
  })
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

  const subscription: Subscription = new Subscription({
    redisUrl: options.redisUrl,
    ...(options.redis?.tls ? { tls: options.redis.tls } : {}),
    relay: id,
    clock,
    poll: config.relay.poll,
    publish: async (channel, message) => void (await store.pipeline([["PUBLISH", channel, message]])),
    onWake(tenant, namespace) {
      events.emit("wake:heard", { tenant, namespace })
      wake(tenant, namespace)
    },
    onBroken: (tenant, namespace) => {
      if (tenants.has(tenant)) upkeep.broken(tenant, namespace)
    },
    onSubscribed: () => void catchUp(),
    emit: (event, payload) => events.subscription(event, payload),
  })
  // It may still be at the node that was left, where nothing is published any more.
  upstream.onRecovered(() => subscription.renew())

  /** Wakes the lanes that a namespace concerns; the others move their cursors after the next poll. */
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

  /** Whatever is known of a tenant, its lanes read the log, and what is due is done. */
  async function rouse(tenant: Tenant): Promise<void> {
    // Before the lanes begin: what became of an entry is told by the nodes that Redis knows of.
    await lanes.tell(tenant.name)
    for (const lane of lanes.of(tenant.name)) {
      lane.nudge()
      verifiers.get(`${lane.tenant}/${lane.name}`)?.nudge()
    }
    await passes(tenant)
  }

  /** Where a key that is none of ours stands in the way, it is renamed, and the next poll adopts what is left. */
  async function adopt({ name, memory }: Tenant): Promise<Adoption> {
    try {
      return await memory.adopt(store, name, id, config)
    } catch (error) {
      if (!isWrongType(error)) throw error
      const keys = await setAside(store, name, [], clock.now())
      if (keys.length > 0) events.emit("tenant:setAside", { tenant: name, namespace: ROOT, keys })
      else upkeep.broken(name, ROOT)
      throw error
    }
  }

  /** Takes up what a poll showed of a tenant's log, and asks for more only where something is new, or it is time. */
  async function follow(
    tenant: Tenant,
    head: Head | undefined,
    identity: string,
    now: Milliseconds,
  ): Promise<void> {
    const verdict = tenant.memory.judge(head, identity)
    // Until that was done: what is remembered of the head is not new to the next poll.
    if (verdict !== "same") tenant.restedAt = undefined
    if (verdict === "amiss") {
      const { reason, head: adopted, isFirst } = await adopt(tenant)
      if (reason !== "same")
        events.emit("tenant:adopted", { tenant: tenant.name, reason, head: adopted, isFirst })
      if (!tenant.adopted) await upkeep.begin(tenant.name)
      tenant.adopted = tenant.toRouse = true
    }
    await lanes.tell(tenant.name)
    if (tenant.toRouse) await rouse(tenant)
    tenant.toRouse = false
    // Half a poll sooner, as a timer may be: else it would be a poll later.
    const isRecent =
      tenant.restedAt !== undefined && Math.abs(now - tenant.restedAt) < idle - config.relay.poll / 2
    if (!isRecent) await lookClosely(tenant, now)
  }

  /** Whether a lane, a pass or a look at a page waits for somebody: a wake may be lost, and another relay gone. */
  async function lookClosely(tenant: Tenant, now: Milliseconds): Promise<void> {
    const own = lanes.of(tenant.name)
    const verified = [...verifiers].filter(([key]) => key.startsWith(`${tenant.name}/`))
    // Where it fails, the next poll asks again.
    tenant.restedAt = undefined
    const seen = await rest(store, tenant.name, {
      lanes: own.map((lane) => lane.id),
      verified: verified.map(([key]) => key.slice(tenant.name.length + 1)),
    })
    tenant.restedAt = now
    upkeep.tick(tenant.name)
    for (const [index, lane] of own.entries())
      lane.see(seen.cursors?.get(lane.id), seen.head, seen.dueAt[index])
    for (const [index, [, verifier]] of verified.entries())
      if ((seen.verifyAt[index] ?? Infinity) <= clock.now()) verifier.nudge()
    if (seen.hasWaiting) schedulePasses(tenant.name, PASSES_AFTER)
    if (seen.passAt !== undefined)
      schedulePasses(tenant.name, Math.max(PASSES_AFTER, seen.passAt - clock.now()))
    const isTime = tenant.removedAt === undefined || Math.abs(now - tenant.removedAt) >= REMOVED_EVERY
    if (!isTime) return
    const known = new Set(own.map((lane) => lane.id))
    const foreign = [...(seen.cursors?.keys() ?? [])].filter((lane) => !known.has(lane))
    await lookAfter(tenant.name, foreign, seen.removed.size > 0)
    tenant.removedAt = now
  }

  /**
   * What the wakes only hurry, on every connect and every poll: one command asks how far all logs have come, and says
   * that this relay lives. What it showed to be new, or amiss, is then followed.
   */
  async function poll(): Promise<void> {
    if (closing.signal.aborted) return
    const now = clock.now()
    const own = ownLanes()
    const text = JSON.stringify(own)
    const isTold = text === saidOfUs.text && Math.abs(now - saidOfUs.at) < ITEM_EVERY
    const item: RelayItem = { id, version, startedAt, heartbeatAt: now, ...own }
    try {
      const seen = await look(store, [...tenants.keys()], {
        relay: id,
        last: beat,
        item: isTold ? undefined : JSON.stringify(item),
      })
      takeUp(seen)
      if (seen.isReplica) return
      if (seen.isLost) {
        events.emit("store:wentBack", {})
        for (const { memory } of tenants.values()) memory.loseTrust()
        // What was lost is remembered by tenant from here on; the next beat begins anew.
        beat = 0
        saidOfUs = { text: "", at: 0 }
      } else {
        beat = seen.beat
        if (!isTold && seen.failure === undefined) saidOfUs = { text, at: now }
      }
      const follows = await Promise.allSettled(
        [...tenants.values()].map((tenant, index) => follow(tenant, seen.heads[index], seen.identity, now)),
      )
      for (const one of follows) if (one.status === "rejected") failedPoll(one.reason)
      if (seen.failure !== undefined) throw new StoreError("refused", seen.failure)
      if (follows.every((one) => one.status === "fulfilled")) {
        lastPoll = clock.now()
        failure = undefined
      }
      polls += 1
    } catch (error) {
      failedPoll(error)
    }
  }

  /** Polls after the one that runs, if one does. */
  function pollNow(): Promise<void> {
    polling = polling.then(poll)
    return polling
  }

  /** Until it was done once: the connection for commands may come back later than the subscription. */
  async function catchUp(): Promise<void> {
    const asked = clock.now()
    for (;;) {
      await pollNow()
      if (lastPoll >= asked || closing.signal.aborted) return
      await clock.sleep(Math.min(config.relay.poll, SECOND), closing.signal)
    }
  }

  /** What Redis said of itself: what it does not tell is said once, and a server that is no primary is left. */
  function takeUp({ isReplica, identity, policy }: NonNullable<typeof server>): void {
    const wasReplica = server?.isReplica ?? false
    server = { isReplica, identity, policy }
    if (isReplica && !wasReplica) events.emit("store:demoted", {})
    if (isReplica) upstream.distrust(REPLICA)
    for (const [about, detail] of Object.entries(notes())) {
      if (!untold.has(about)) events.emit("store:untold", { about, detail })
      untold.add(about)
    }
  }

  function notes(): Unready {
    if (!server || server.isReplica) return {}
    return {
      ...(server.policy === "" ? { policy: NO_POLICY } : {}),
      ...(server.identity === "-" ? { identity: NO_IDENTITY } : {}),
    }
  }

  /** What others are to know of this relay, beside that it lives. */
  function ownLanes(): Pick<RelayItem, "lanes" | "targets"> {
    return { lanes: laneNames(lanes.all.filter((lane) => lane.isOurs)), targets: laneNames(lanes.all) }
  }

  async function compareWithWorker(): Promise<void> {
    if (!workerCheck || polls < WORKER_EVERY.pollsInDoubt) return
    const since = polls - pollsAtWorker
    const isTime = since >= WORKER_EVERY.polls || Math.abs(clock.now() - lastWorker) >= WORKER_EVERY.length
    if (!isTime && !(workerCheck.isInDoubt && since >= WORKER_EVERY.pollsInDoubt)) return
    pollsAtWorker = polls
    lastWorker = clock.now()
    await workerCheck.run()
  }

  /** What any live relay has configured, `<tenant>/<lane>`; undefined where one does not say, as of an earlier version. */
  async function readConfigured(): Promise<ReadonlySet<string> | undefined> {
    const alive = (await readFleet(store)).filter(
      ({ heartbeatAt }) => clock.now() - heartbeatAt < LIVE_WITHIN + 3 * config.relay.poll,
    )
    if (alive.some((one) => !Array.isArray(one.targets))) return undefined
    return new Set([...laneNames(lanes.all), ...alive.flatMap((one) => one.targets ?? [])])
  }

  /**
   * What no live relay has configured is nobody's any more.
   *
   * @param foreign the tenant's lanes that are not this relay's
   * @param hasNoted whether some were noted before, which may have come back
   */
  async function lookAfter(tenant: string, foreign: readonly string[], hasNoted: boolean): Promise<void> {
    if (foreign.length === 0 && !hasNoted) return
    const isTheirs = (names: ReadonlySet<string> | undefined) =>
      !hasNoted && foreign.every((lane) => names?.has(`${tenant}/${lane}`))
    const now = clock.now()
    if (!configured || Math.abs(now - configured.at) >= REMOVED_EVERY)
      configured = { at: now, names: readConfigured() }
    // That lanes are another relay's, one answer a minute may say for all tenants; that they are nobody's, only one
    // that was asked for after they were seen.
    if (isTheirs(await configured.names.catch(() => undefined))) return
    const names = await readConfigured()
    if (names === undefined || isTheirs(names)) return
    // Of a name that was not looked up yet nobody knows which lanes it has.
    const unknown = Object.keys(config.targets).filter((name) => lanes.nodesOf(name)?.length === 0)
    const off = new Set([...Object.keys(options.off), ...unknown])
    const live = new Set<string>()
    for (const name of names) if (name.startsWith(`${tenant}/`)) live.add(name.slice(tenant.length + 1))
    for (const removed of await lookAfterRemoved(store, tenant, { live, off }, clock.now())) {
      events.emit("target:removed", { tenant, ...removed })
    }
  }

  function wasRead(tenant: Tenant): boolean {
    // Nodes that come later do not make a relay unready that was ready.
    tenant.isRead ||= tenant.adopted && lanes.of(tenant.name).every((lane) => lane.hasRead)
    return tenant.isRead
  }

  function storeTrouble(): Unready {
    const said = upstream.trouble ?? (server?.isReplica ? REPLICA : undefined)
    const wrong = said ?? (failure === undefined ? undefined : trouble(detailOf(failure)))
    if (wrong !== undefined) return { store: wrong }
    if (clock.now() - lastPoll <= 3 * config.relay.poll + 10 * SECOND) return {}
    const isAnswered = failure instanceof StoreError && failure.failure !== "unreachable"
    return {
      store: isAnswered
        ? "Redis refuses what the poll asks: see poll:failed in the log"
        : "Redis does not answer",
    }
  }

  function failedPoll(error: unknown): void {
    failure = error
    if (!closing.signal.aborted) events.emit("poll:failed", { detail: detailOf(error) })
  }

  function schedulePasses(name: string, wait: Milliseconds): void {
    const tenant = tenants.get(name)
    if (!tenant || closing.signal.aborted) return
    // Not longer than timers can: whoever wakes too early asks again.
    const length = Math.min(wait, HOUR)
    const at = clock.now() + length
    // The sooner one counts: were it put off by each that follows, a busy log would have none.
    if (tenant.timer && tenant.timer.at <= at) return
    clearTimeout(tenant.timer?.id)
    const timeout = setTimeout(() => {
      tenant.timer = undefined
      passes(tenant).catch(failedPoll)
    }, length)
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
      if (next !== undefined) schedulePasses(tenant.name, Math.max(10, next - clock.now()))
    } catch (error) {
      if (isWrongType(error)) upkeep.broken(tenant.name, ROOT)
      schedulePasses(tenant.name, config.relay.poll)
      throw error
    } finally {
      isAgain = (tenant.passing as Tenant["passing"]) === "again"
      tenant.passing = "idle"
    }
    if (isAgain) schedulePasses(tenant.name, PASSES_AFTER)
  }

  const ticking = (async () => {
    while (!closing.signal.aborted) {
      await clock.sleep(config.relay.poll, closing.signal)
      await pollNow()
      // Not within a poll: a Worker that does not answer must not keep a new subscription waiting.
      if (!closing.signal.aborted) await compareWithWorker().catch(failedPoll)
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
      const unread = [...tenants.values()].filter((tenant) => !wasRead(tenant)).length
      return {
        ...(subscription.isProven ? {} : { subscription: "no message was seen to come back from Redis" }),
        ...(unread === 0 ? {} : { log: unreadWords(unread, tenants.size) }),
        ...storeTrouble(),
        ...(server === undefined ? { policy: "not yet known whether Redis evicts keys" } : {}),
        ...(server === undefined || server.policy === "" || server.policy === "noeviction"
          ? {}
          : { policy: `Redis evicts keys (${server.policy}): set maxmemory-policy noeviction` }),
        ...(workerCheck?.disagreement === undefined ? {} : { worker: workerCheck.disagreement }),
        ...(closing.signal.aborted ? { closing: "it drains" } : {}),
      }
    },
    isRead(name) {
      const tenant = tenants.get(name)
      return tenant === undefined || wasRead(tenant)
    },
    notes,
    async close() {
      closing.abort()
      for (const tenant of tenants.values()) clearTimeout(tenant.timer?.id)
      const drained = new AbortController()
      const deadline = clock.sleep(config.relay.drain, drained.signal)
      // The lanes at once: a poll that waits for an absent Redis must not let them begin more calls meanwhile.
      const looking = [...verifiers.values()].map((verifier) => verifier.close())
      await Promise.race([Promise.all([lanes.close(), ...looking, ticking, polling]), deadline])
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

/** Whose they are, a token of theirs is told: names of tenants are not for everybody. */
const unreadWords = (unread: number, all: number): string =>
  `${unread} of ${all} ${all === 1 ? "log is" : "logs are"} not yet read`

const detailOf = (error: unknown): string => (error instanceof Error ? error.message : "unknown")
