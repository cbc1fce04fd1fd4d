import { onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { Lane, type LaneEvents } from "../../dispatch/lane.ts"
import { pacesOf } from "../../dispatch/limits.ts"
import { createPacer } from "../../dispatch/pace.ts"
import { findDriver, TARGETS } from "../../dispatch/targets/list.ts"
import type { Capabilities } from "../../dispatch/targets/target.ts"
import { parseConfig, resolveSecrets } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import type { Epoch } from "../../protocol/epoch.ts"
import { SOURCES } from "../../worker/sources/list.ts"
import { createWorkerWith } from "../../worker/create-worker.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import type { Fake, Received } from "../fakes/fake.ts"
import type { Subject } from "../fakes/subjects.ts"
import { type OpenStore, openStore, publisher } from "../support/publish.ts"
import { type VirtualTime, virtualTime } from "../support/virtual-time.ts"

export interface TargetStage {
  readonly time: VirtualTime
  readonly fake: Fake
  readonly capabilities: Capabilities
  readonly press: ReturnType<typeof publisher>
  /** What the fake answers first, where a test has it answer something of its own. */
  intercept: (request: Received) => Response | undefined
  /** Requests that reached the fake. */
  readonly requests: readonly Received[]
  readonly events: readonly {
    readonly target: string
    readonly event: keyof LaneEvents
    readonly payload: object
  }[]
  /** Asks a Worker over the same Redis, which knows one token that may do everything. */
  worker(path: string, init?: RequestInit): Promise<Response>
  /** Lets every lane read, until nothing is left to do. */
  level(...epochs: readonly Epoch[]): Promise<void>
}

export interface TargetStageOptions {
  readonly namespaces?: ConfigInput["namespaces"]
  /** Names of targets, all with this configuration; each has a lane at each of `relays`. Default: one, at one. */
  readonly targets?: Readonly<Record<string, object>>
  readonly relays?: number
  readonly isUnlimited?: boolean
  /** Sources of a Worker before them, and their secrets. */
  readonly sources?: ConfigInput["sources"]
  readonly secrets?: Readonly<Record<string, string>>
}

type TargetInput = NonNullable<ConfigInput["targets"]>[string]

/** States of a record's target in which nothing more happens. */
const SETTLED: ReadonlySet<string> = new Set(["done", "dead", "not_supported"])

let tenants = 0

/** A real Redis for the tests of a file. */
export function useRedis(): {
  store(): Promise<OpenStore["store"]>
  start(): Promise<void>
  stop(): Promise<void>
} {
  let redis: Awaited<ReturnType<typeof startRedis>> | undefined
  const opened: OpenStore[] = []
  return {
    async start() {
      redis = await startRedis()
    },
    async store() {
      const one = await openStore(redis?.url ?? "")
      opened.push(one)
      return one.store
    },
    async stop() {
      for (const one of opened) one.close()
      await redis?.stop()
    },
  }
}

/** Lanes of one type of target over a real Redis, in a time of their own, whose calls end at its fake. */
export async function stageOf(
  { target, secrets, fake: fakeOf }: Subject,
  redis: ReturnType<typeof useRedis>,
  { namespaces, targets = { edge: {} }, relays = 1, isUnlimited = false, ...more }: TargetStageOptions = {},
): Promise<TargetStage> {
  const time = virtualTime()
  const tenant = `t-${(tenants += 1)}`
  const token = newToken()
  const input: ConfigInput = {
    tokens: [
      { name: "all", sha256: await hashToken(token), scopes: ["publish:*", "everything", "read:*"], tenant },
    ],
    sources: Object.fromEntries(
      Object.entries(more.sources ?? {}).map(([name, source]) => [name, { ...source, tenant }]),
    ),
    namespaces: namespaces ?? { blog: { hosts: ["www.example.com"] } },
    targets: Object.fromEntries(
      Object.entries(targets).map(([name, own]) => [
        name,
        { namespaces: ["*"], tenants: ["*"], account: tenant, ...target, ...own } as TargetInput,
      ]),
    ),
  }
  const config = parseConfig(input)
  const { config: resolved, missing } = resolveSecrets(config, { ...secrets, ...more.secrets })
  if (missing.length > 0) throw new Error(`secrets are missing: ${JSON.stringify(missing)}`)
  const fake = fakeOf({ now: () => time.clock.now(), isUnlimited })
  const requests: Received[] = []
  const events: TargetStage["events"][number][] = []
  const lanes: Lane[] = []
  let capabilities: Capabilities | undefined

  async function fetch(address: unknown, init: RequestInit = {}): Promise<Response> {
    const request = {
      method: init.method ?? "GET",
      url: String(address),
      headers: new Headers(init.headers),
      body: typeof init.body === "string" ? init.body : "",
    }
    requests.push(request)
    return made.intercept(request) ?? (await time.during(fake.handle(request)))
  }

  for (let nth = 0; nth < relays; nth += 1) {
    // A connection a relay, as they have.
    const store = time.storeOf(await redis.store())
    for (const name of Object.keys(config.targets)) {
      const [own, one] = [config.targets[name], resolved.targets[name]]
      const driver = own && findDriver(own.type)
      if (!own || !one || !driver) throw new Error(`no driver for ${name}`)
      capabilities = driver.capabilities(one)
      const vendor = driver.create(one, { fetch, now: () => time.clock.now() })
      lanes.push(
        new Lane({
          tenant,
          name,
          config,
          target: own,
          capabilities,
          // Signing takes turns of its own, in which no time passes either.
          driver: { purge: (batch, signal) => time.during(vendor.purge(batch, signal)) },
          pacer: createPacer({
            store,
            clock: time.clock,
            account: own.account ?? tenant,
            paces: pacesOf(driver, one),
          }),
          store,
          clock: time.clock,
          relay: `relay-${nth}`,
          emit: (event, payload) => events.push({ target: name, event, payload }),
        }),
      )
    }
  }
  const store = await redis.store()
  // Whoever looks on does not keep time from passing.
  const press = {
    ...publisher(store, config, tenant),
    publish: publisher(time.storeOf(store), config, tenant).publish,
  }
  const edge = createWorkerWith(input, {
    sources: SOURCES,
    targets: TARGETS,
    store: time.storeOf(store),
    now: () => time.clock.now(),
  })
  onTestFinished(async () => {
    await Promise.all(lanes.map((lane) => lane.close()))
    time.stop()
  })
  const made: TargetStage & { intercept: TargetStage["intercept"] } = {
    time,
    fake,
    capabilities: capabilities ?? ({} as Capabilities),
    press,
    requests,
    events,
    intercept: () => undefined,
    async worker(path, init = {}) {
      const headers = new Headers(init.headers)
      if (!path.startsWith("/v1/hooks/")) headers.set("authorization", `Bearer ${token}`)
      return edge.fetch(
        new Request(new URL(path, "http://worker.test"), { ...init, headers }),
        more.secrets ?? {},
      )
    },
    async level(...epochs) {
      const names = Object.keys(config.targets)
      for (;;) {
        for (const lane of lanes) lane.nudge()
        const records = await press.records(epochs)
        const states = records.flatMap(({ targets: of }) => names.map((name) => of[name]?.state))
        const isSettled = states.every((state) => state && SETTLED.has(state))
        // Redis shows a commit before the lane has heard of it, and told of it.
        if (isSettled && lanes.every((lane) => lane.status.state !== "running")) return
        await new Promise((next) => setImmediate(next))
      }
    },
  }
  return made
}
