import { expect, it, vi } from "vitest"
import { parseConfig, resolveSecrets } from "../../protocol/config/config.ts"
import { cursorKey, headKey, logKey } from "../../protocol/keys.ts"
import { createEmitter } from "../../relay-node/emitter.ts"
import type { Logger } from "../../relay-node/log.ts"
import { createMetrics } from "../../relay-node/metrics.ts"
import { startRelay } from "../../relay-node/relay.ts"
import { type Proxy, startProxy } from "../support/proxy.ts"
import { openStore, publisher } from "../support/publish.ts"
import { redisCommand } from "../support/redis-command.ts"
import { startReplicatedRedis } from "../support/replicated-redis.ts"

/**
 * The same promise, where time passes: a real primary and its replica behind a link that stalls, publishers, two relays
 * and two targets, and no message of Pub/Sub at all. What was acknowledged was purged afterwards at both targets, by
 * itself or by a resync, whatever died meanwhile.
 *
 * `TIDEMARK_MODEL_ROUNDS`  how many such lives
 * `TIDEMARK_MODEL_SEED`    which; what happens in them is the same again, but not in which order it meets
 */
const { TIDEMARK_MODEL_ROUNDS, TIDEMARK_MODEL_SEED } = process.env
const ROUNDS = Number(TIDEMARK_MODEL_ROUNDS ?? 4)
const SEED = Number(TIDEMARK_MODEL_SEED ?? Date.now() % 2 ** 31)

vi.setConfig({ testTimeout: 3_600_000 })

const TENANT = "default"
const TARGETS = ["one", "two"]
const SECRET = `whsec_${Buffer.alloc(24, 7).toString("base64")}`

const config = parseConfig({
  namespaces: { blog: {}, shop: {} },
  targets: Object.fromEntries(
    TARGETS.map((name) => [
      name,
      { type: "http", url: `http://127.0.0.1:9/${name}`, secret: { secret: "HOOK" }, namespaces: ["*"] },
    ]),
  ),
  relay: { lease: "300ms", poll: "60ms", drain: "10ms" },
})

/** Counts all that happens: before and after in one process. */
let tick = 0

interface Taken {
  readonly at: number
  readonly namespaces: readonly string[]
  readonly tags: readonly string[]
}

/** A receiver of purges, in trouble now and then. */
function receiver(random: () => number) {
  const taken = new Map<string, Taken[]>(TARGETS.map((name) => [name, []]))
  let isWell = false
  return {
    taken,
    heal() {
      isWell = true
    },
    async take(name: string, body: string): Promise<Response> {
      const at = (tick += 1)
      const luck = isWell ? 1 : random()
      if (luck < 0.05) return new Response("", { status: 503 })
      const { data } = JSON.parse(body) as { data: Omit<Taken, "at"> }
      taken.get(name)?.push({ at, namespaces: data.namespaces, tags: data.tags })
      // Taken, and nobody heard that it was.
      return new Response("", { status: luck < 0.08 ? 502 : 200 })
    },
  }
}

/** A relay with a link of its own: what ends the link is its death, as far as anybody can see. */
async function relayOn(front: Proxy, vendor: ReturnType<typeof receiver>) {
  const link = await startProxy(front.url)
  const errors: string[] = []
  let isDead = false
  const quiet = () => {}
  const log: Logger = { debug: quiet, info: quiet, warn: quiet, error: (_, event) => errors.push(event) }
  const relay = startRelay({
    config,
    resolved: resolveSecrets(config, { HOOK: SECRET }).config,
    off: {},
    redisUrl: link.url,
    fetch: async (url, init) => {
      if (isDead) throw new TypeError("fetch failed")
      const request = new Request(url, init)
      return vendor.take(request.url.split("/").at(-1) ?? "", await request.text())
    },
    events: createEmitter(log, createMetrics()),
    version: "0.0.0",
  })
  return {
    freeze: (on: boolean) => link.stall(on),
    async kill() {
      isDead = true
      link.cut(true)
      await relay.close()
      await link[Symbol.asyncDispose]()
      expect(errors).toEqual([])
    },
  }
}

/** A seeded chance, that of mulberry32. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

interface Acknowledged {
  /** Before it was sent: what was purged earlier cannot have been for it. */
  readonly at: number
  readonly tag: string
}

async function life(seed: number): Promise<{ published: number; lost: string[]; story: string[] }> {
  const random = chance(seed)
  const one = <T>(list: readonly T[]): T => {
    const chosen = list[Math.floor(random() * list.length)]
    if (chosen === undefined) throw new Error("there is none")
    return chosen
  }
  await using stack = new AsyncDisposableStack()
  const redis = stack.use(await startReplicatedRedis())
  let server = redis.primary
  const command = (...words: string[]) => redisCommand(server.url, ...words)
  // Not a single wake: publishing to a channel is refused, and so is listening.
  for (const each of [redis.primary, redis.replica])
    await redisCommand(each.url, "ACL", "SETUSER", "default", "resetchannels")
  const vendor = receiver(random)
  const relays = [await relayOn(redis.front, vendor), await relayOn(redis.front, vendor)]
  stack.defer(async () => void (await Promise.all(relays.map((relay) => relay.kill()))))
  const open = await openStore(redis.front.url)
  stack.defer(() => open.close())
  const press = publisher(open.store, config, TENANT)
  const acknowledged: Acknowledged[] = []
  const over = new AbortController()
  const publishing = [0, 1, 2].map(async (who) => {
    for (let count = 0; !over.signal.aborted; count += 1) {
      const tag = `tag-${who}-${count}`
      const at = (tick += 1)
      // Nothing is promised of what was not answered.
      const isAnswered = await press
        .publish({ namespace: count % 3 === 0 ? "shop" : "blog", tags: [tag] })
        .then(
          () => true,
          () => false,
        )
      if (isAnswered) acknowledged.push({ at, tag })
      await pause(isAnswered ? 3 : 20)
    }
  })
  const story: string[] = []
  const replace = async (slot: number, downFor: number) => {
    const old = relays[slot]
    await old?.kill()
    await pause(downFor)
    relays[slot] = await relayOn(redis.front, vendor)
  }
  let hasFailedOver = false
  const happenings: Readonly<Record<string, () => Promise<unknown>>> = {
    crash: () => replace(one([0, 1]), 50),
    "crash of both": () => Promise.all([replace(0, 150), replace(1, 250)]),
    async freeze() {
      const relay = one(relays)
      relay.freeze(true)
      await pause(500)
      relay.freeze(false)
    },
    empty: () => command("FLUSHALL"),
    "no log": () => command("DEL", logKey(TENANT)),
    "no head": () => command("DEL", headKey(TENANT)),
    "no cursor": () => command("DEL", cursorKey(TENANT)),
    trim: () => command("XTRIM", logKey(TENANT), "MAXLEN", "=", "1"),
    async "lost writes"() {
      if (hasFailedOver) return
      hasFailedOver = true
      await redis.caughtUp()
      redis.replication.stall(true)
      // Whoever saw what is lost may be dead when it is lost.
      const areDead = random() < 0.7
      await pause(150)
      if (areDead) await Promise.all(relays.map((relay) => relay.kill()))
      await redis.failOver()
      server = redis.replica
      if (areDead) for (const slot of relays.keys()) relays[slot] = await relayOn(redis.front, vendor)
    },
  }
  const failsAt = Math.floor(random() * 5)
  for (let step = 0; step < 6; step += 1) {
    await pause(40 + 160 * random())
    const name = step === failsAt ? "lost writes" : one(Object.keys(happenings))
    story.push(name)
    await happenings[name]?.()
  }
  await pause(100)
  over.abort()
  await Promise.all(publishing)
  vendor.heal()
  await expect
    .poll(
      async () => {
        const at = (await command("GET", headKey(TENANT))).split(" ").slice(0, 3).join(" ")
        const cursors = (await command("HVALS", cursorKey(TENANT))).split(",")
        return cursors.filter((cursor) => cursor.endsWith(` ${at}`)).length
      },
      { timeout: 60_000, interval: 20 },
    )
    .toBe(TARGETS.length)
  const lost = acknowledged.flatMap(({ at, tag }) =>
    TARGETS.filter(
      (name) =>
        !vendor.taken
          .get(name)
          ?.some((call) => call.at > at && (call.tags.includes(tag) || call.namespaces.length === 2)),
    ).map((name) => `${tag} at ${name}`),
  )
  return { published: acknowledged.length, lost, story }
}

it(`loses nothing in ${ROUNDS} lives of a primary and its replica`, async () => {
  let [published, lost] = [0, 0]
  for (let round = 0; round < ROUNDS; round += 1) {
    const seed = SEED + round
    const seen = await life(seed)
    published += seen.published
    lost += seen.lost.length
    expect(
      seen.lost,
      `TIDEMARK_MODEL_SEED=${seed} TIDEMARK_MODEL_ROUNDS=1: ${seen.story.join(", ")}`,
    ).toEqual([])
  }
  process.stdout.write(`${ROUNDS} rounds, ${published} publishes, ${lost} lost, seed ${SEED}\n`)
})
