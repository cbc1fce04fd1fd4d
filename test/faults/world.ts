import type { RunningServer } from "../../cli/servers/process.ts"
import { type RedisOptions, startRedis } from "../../cli/servers/redis.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { deadKey } from "../../protocol/keys.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import type { CacheNode } from "../support/cache-node.ts"
import { type FakeVendor, fakeVendor } from "../support/fake-vendor.ts"
import { type Proxy, startProxy } from "../support/proxy.ts"
import { type OpenStore, openStore, publisher } from "../support/publish.ts"
import { redisCommand } from "../support/redis-command.ts"
import { type RelayProcess, startRelayProcess, TOKENS, tokenConfig } from "../support/relay-process.ts"
import { type ReplicatedRedis, startReplicatedRedis } from "../support/replicated-redis.ts"
import { type InProcessRelay, type InProcessRelayOptions, startInProcessRelay } from "./in-process-relay.ts"
import { startUntold } from "../support/untold.ts"
import { HOST, judge, type Published } from "./ledger.ts"
import { type PlainSubscriber, plainMessage, startPlainSubscriber } from "./plain-subscriber.ts"
import type { Counted, ScenarioContext } from "./scenario.ts"
import { comesTrue, insist } from "./waiting.ts"

/** A Redis behind a proxy, a CDN, a Varnish, relays to come, and a list of all that was published: one scenario's. */
export interface World extends AsyncDisposable {
  /** The Redis that publishers write to. */
  readonly redis: RunningServer
  /** Between the relays, with a plain subscriber if there is one, and Redis. */
  readonly front: Proxy
  readonly replicated: ReplicatedRedis | undefined
  /** What is judged beside the CDN and Varnish; more may be put in. */
  readonly nodes: CacheNode[]
  /** How many lie there, of all targets. */
  deadLetters(): Promise<number>
  readonly vendor: FakeVendor
  readonly config: ConfigInput
  readonly secrets: Readonly<Record<string, string>>
  /** One command straight to Redis. */
  command(...words: readonly string[]): Promise<string>
  /** A relay behind the front; resolves when it says that it is ready. */
  relay(): Promise<RelayProcess>
  /** One in this process, by a clock of its own. */
  relayWith(clock: InProcessRelayOptions["clock"]): InProcessRelay
  /** Publishes so many, each with a tag of its own, past the front; waits first until Redis answers. */
  publish(count: number, reason?: string): Promise<void>
  /** Takes down what somebody else published and had acknowledged. */
  note(published: Published): void
  /** A tag that nobody used yet. */
  tag(): string
  /** Until both ends have purged all that was published. @throws {Error} where they never do */
  purged(): Promise<void>
  /** And every lane has written that down. */
  level(): Promise<void>
  /** Ends Redis in order, and starts another at its place. */
  restart(options?: RedisOptions): Promise<void>
  /** Publishers, and `command`, use this one from now on. */
  follow(redis: RunningServer): Promise<void>
  /** The fault ends now: what follows counts as coming level again. */
  over(): void
  /** Waits until all is level, publishes a few more and waits for those; then counts. */
  count(): Promise<Counted>
}

export interface WorldOptions {
  readonly redis?: RedisOptions
  readonly isReplicated?: boolean
  /** Whether Redis shows relays neither who it is nor how it evicts. Default: it does, as every Redis. */
  readonly isUntold?: boolean
  /** Whether a plain subscriber runs beside the relay. Default: no. */
  readonly hasPlain?: boolean
  readonly config?: ConfigInput
  /** A target `www-nodes` of several caches, by their addresses or by a name. Default: there is none. */
  readonly endpoints?: string | readonly string[]
  /** Those of its nodes that are to lose nothing. */
  readonly nodes?: readonly CacheNode[]
  /** Names of nodes that are not waited for, as they are down all the while. */
  readonly down?: readonly string[]
}

interface Lagging {
  readonly lag: { readonly entries: number }
}

interface Node extends Lagging {
  readonly node: string
}

export const NAMESPACE = "blog"
/** After the fault, to see that it left nothing lame behind. */
const AFTERWARDS = 5
/** Varnish says what it did a moment later. */
const LOG_DELAY: Milliseconds = 5_000

/** Shorter than by default, as nothing here is about how long these are. */
const SHORT: ConfigInput["relay"] = { lease: "1s", poll: "1s" }

export async function openWorld(context: ScenarioContext, options: WorldOptions = {}): Promise<World> {
  await using stack = new AsyncDisposableStack()
  const replicated = options.isReplicated ? stack.use(await startReplicatedRedis()) : undefined
  let redis = replicated?.primary ?? (await startRedis(options.redis))
  // Not the one that is followed: whoever started that ends it.
  let own = redis
  stack.defer(() => own.stop())
  const front = replicated?.front ?? stack.use(await startProxy(redis.url))
  const untold = options.isUntold ? stack.use(await startUntold(front.url)) : undefined
  const relayUrl = untold?.url ?? front.url
  const vendor = stack.use(await fakeVendor())
  const config: ConfigInput = {
    tokens: await tokenConfig(),
    namespaces: { [NAMESPACE]: { hosts: [HOST], wholeBy: "tag" } },
    targets: {
      "www-cloudflare": {
        type: "cloudflare",
        zone: vendor.zone,
        token: { secret: "CLOUDFLARE_PURGE_TOKEN" },
        plan: "enterprise",
        endpoint: vendor.endpoint,
        namespaces: ["*"],
      },
      "www-varnish": { type: "varnish", endpoints: [context.varnish.url], namespaces: ["*"] },
      ...(options.endpoints === undefined
        ? {}
        : {
            "www-nodes": {
              type: "varnish",
              endpoints: typeof options.endpoints === "string" ? options.endpoints : [...options.endpoints],
              namespaces: ["*"],
            },
          }),
    },
    relay: SHORT,
    ...options.config,
  }
  const secrets = { CLOUDFLARE_PURGE_TOKEN: vendor.token }
  const relays: (RelayProcess | InProcessRelay)[] = []
  const nodes: CacheNode[] = [...(options.nodes ?? [])]
  const { down = [] } = options
  const published: Published[] = []
  const told: string[] = []
  let open: OpenStore = await openStore(redis.url)
  stack.defer(() => open.close())
  const plain: PlainSubscriber | undefined = options.hasPlain
    ? await startPlainSubscriber(front.url)
    : undefined
  stack.defer(() => plain?.close())
  let tags = 0
  let overAt = 0

  const kept = stack.move()
  const judgement = () => judge(published, vendor, context.varnish, nodes)
  const areCovered = (): boolean => judgement().lost.length === 0

  async function areLevel(): Promise<boolean> {
    const running = relays.filter((one) => one.isRunning)
    if (running.length === 0) return false
    for (const one of running) {
      const asked = one.get("/v1/lanes", TOKENS.operator)
      const { items } = (await (await asked).json()) as { items: (Lagging & { nodes?: Node[] })[] }
      const lanes = items.flatMap(
        (item): readonly Lagging[] => item.nodes?.filter(({ node }) => !down.includes(node)) ?? [item],
      )
      if (lanes.length === 0 || lanes.some(({ lag }) => lag.entries > 0)) return false
    }
    return true
  }

  const world: Omit<World, "redis" | typeof Symbol.asyncDispose> = {
    nodes,
    async deadLetters() {
      const counts = await Promise.all(
        Object.keys(config.targets ?? {}).map((name) => world.command("XLEN", deadKey("default", name))),
      )
      return counts.reduce((sum, count) => sum + Number(count), 0)
    },
    front,
    replicated,
    vendor,
    config,
    secrets,
    command: (...words) => redisCommand(redis.url, ...words),
    async relay() {
      const one = await startRelayProcess({ redisUrl: relayUrl, config, env: secrets })
      kept.use(one)
      relays.push(one)
      let isReady = false
      const ready = one.ready.then(() => (isReady = true))
      await Promise.race([ready, insist("the relay was ready", () => isReady)])
      return one
    },
    relayWith(clock) {
      const one = startInProcessRelay({ redisUrl: relayUrl, config, secrets, clock })
      kept.defer(() => one.close())
      relays.push(one)
      return one
    },
    tag: () => `${context.name}-${(tags += 1)}`,
    async publish(count, reason) {
      await insist("Redis answered", async () => (await open.store.pipeline([["PING"]])).length === 1)
      const names = Array.from({ length: count }, () => world.tag())
      const press = publisher(open.store, parseConfig(config))
      for (let from = 0; from < names.length; from += 100) {
        const some = names.slice(from, from + 100)
        await press.publish(
          ...some.map((tag) => ({ namespace: NAMESPACE, tags: [tag], ...(reason ? { reason } : {}) })),
        )
        const acknowledgedAt = Date.now()
        for (const tag of some) published.push({ tag, namespace: NAMESPACE, acknowledgedAt })
        if (plain) {
          await open.store.pipeline(some.map(plainMessage))
          told.push(...some)
        }
      }
    },
    note: (one) => void published.push(one),
    purged: () => insist("both ends purged what was published", areCovered),
    level: () => insist("the lanes were level", async () => areCovered() && (await areLevel())),
    async restart(restartOptions = {}) {
      await own.stop()
      own = await startRedis({ ...restartOptions, port: own.port })
      redis = own
    },
    async follow(other) {
      redis = other
      open.close()
      open = await openStore(other.url)
    },
    over() {
      overAt = performance.now()
    },
    async count() {
      if (overAt === 0) world.over()
      const isLevel = await comesTrue(async () => areCovered() && (await areLevel()))
      const level = isLevel ? performance.now() - overAt : undefined
      await insist("Redis could be written to", async () => {
        return (await open.store.pipeline([["SET", "tm:faults", "1"]])).length === 1
      })
      await world.publish(AFTERWARDS)
      await comesTrue(areCovered, isLevel ? undefined : LOG_DELAY)
      if (plain) await comesTrue(() => told.every((tag) => plain.heard.has(tag)), 2_000)
      const { lost, twice } = judgement()
      const crashes = relays.flatMap((one) =>
        "stderr" in one && /unhandled|\n\s+at .*\.ts:\d+/i.test(one.stderr()) ? ["a relay crashed"] : [],
      )
      return {
        publishes: published.length,
        lost: lost.length,
        twice: twice.length,
        level,
        plainLost: plain && told.filter((tag) => !plain.heard.has(tag)).length,
        faults: [
          ...vendor.complaints,
          ...crashes,
          ...(isLevel ? [] : ["the lanes did not come level again"]),
        ],
      }
    },
  }
  return Object.defineProperties(world, {
    redis: { get: () => redis },
    [Symbol.asyncDispose]: { value: () => kept.disposeAsync() },
  }) as World
}
