import { randomUUID } from "node:crypto"
import { once } from "node:events"
import { createServer, type Server } from "node:http"
import { text } from "node:stream/consumers"
import { systemClock } from "../../dispatch/clock.ts"
import { sweepTags } from "../../dispatch/sweep.ts"
import { parseConfig, resolveSecrets } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { leaseKey, logKey, sentKey, tagsKey } from "../../protocol/keys.ts"
import { lookupCommands, readLookup } from "../../protocol/lookup.ts"
import type { InvalidationRecord } from "../../protocol/record.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import { createEmitter } from "../../relay-node/emitter.ts"
import { startGateway } from "../../relay-node/gateway/gateway.ts"
import { relayApp } from "../../relay-node/http.ts"
import { createMetrics } from "../../relay-node/metrics.ts"
import { connectUpstream } from "../../relay-node/redis/upstream.ts"
import { startRelay } from "../../relay-node/relay.ts"
import { redisStore } from "../../relay-node/store.ts"
import { createWorker } from "../../worker/index.ts"
import type { GuardedRedis, UserName } from "./acl-users.ts"

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const POLL_MS = 10

/** All that Tidemark asks of Redis, by whom: each function ends when its part has been gone through, or is given up. */
export type Path = Readonly<Record<UserName, (givenUp: AbortSignal) => Promise<void>>> & {
  stop(): Promise<void>
}

export async function startPath(redis: GuardedRedis): Promise<Path> {
  const token = newToken()
  const vendor = await startVendor()
  const input = configOf(await hashToken(token), vendor.url)
  const gateway = await startGateway({ redisUrl: redis.urlOf("publisher"), token, port: 0 })
  const worker = createWorker(input)
  const bindings = { UPSTASH_REDIS_REST_URL: gateway.url, UPSTASH_REDIS_REST_TOKEN: token }
  const headers = { authorization: `Bearer ${token}` }

  const call = async (path: string, body?: unknown): Promise<unknown> => {
    const init = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) }
    return (await worker.fetch(new Request(`http://worker.test${path}`, init), bindings)).json()
  }
  const publish = async (body: object) =>
    (await call("/v1/invalidations", { namespace: "blog", ...body })) as InvalidationRecord

  return {
    async publisher() {
      // A gateway that starts asks what Redis it is at, as the one above did.
      const upstream = connectUpstream(redis.urlOf("publisher"), silent)
      await upstream.tried
      upstream.close()
      // Into an empty Redis: only at a birth is the log's own end looked at.
      await publish({ tags: ["a"] })
      // More tags than are kept singly.
      const { id, epoch } = await publish({ tags: ["b", "c", "d"], secondPass: "1h" })
      await call(`/v1/epochs?ns=blog&tag=blog:a&after=${epoch - 1}`)
      await call(`/v1/invalidations/${id}`)
      await call("/v1/invalidations?limit=1")
      await call(`/v1/invalidations?before=${epoch}`)
      // As a whole: no tag says anything any more.
      await publish({})
      // What is refused at last is taken back.
      await redis.admin.pipeline([["SET", logKey("default"), "somebody's"]])
      await publish({ tags: ["e"], secondPass: "1h" })
      await redis.admin.pipeline([["DEL", logKey("default")]])
    },

    async reader() {
      const upstream = connectUpstream(redis.urlOf("reader"), silent)
      await upstream.tried
      try {
        const request = new Map([["blog", { tags: ["a"], urls: [] }]])
        const replies = await redisStore(upstream).pipeline(lookupCommands("default", request, 0))
        readLookup("default", request, replies, Date.now(), 0)
      } finally {
        upstream.close()
      }
    },

    async relay(givenUp) {
      const config = parseConfig(input)
      const { config: resolved } = resolveSecrets(config, SECRETS)
      const metrics = createMetrics()
      // The lane is another relay's at first.
      const letAnotherHaveIt = () =>
        redis.admin.pipeline([["SET", leaseKey("default", "cdn"), "another.1", "PX", "200"]])
      await letAnotherHaveIt()
      const relay = startRelay({
        config,
        resolved,
        off: {},
        redisUrl: redis.urlOf("relay"),
        fetch,
        events: createEmitter(silent, metrics),
        version: "0.0.0",
        // Nobody waits seconds for what is done now and then.
        clock: { ...systemClock, sleep: (length, signal) => systemClock.sleep(length / 10, signal) },
      })
      const app = relayApp({
        relay,
        metrics,
        tokens: resolved.tokens,
        host: "127.0.0.1",
        events: createEmitter(silent, metrics),
        drain: () => {},
      })
      const ask = async <T>(path: string, method = "GET", body?: object): Promise<T> => {
        const answer = await app.request(path, {
          method,
          headers: { ...headers, host: "127.0.0.1" },
          ...(body ? { body: JSON.stringify(body) } : {}),
        })
        return (answer.status === 204 ? {} : await answer.json()) as T
      }
      const until = async (isSo: () => boolean | Promise<boolean>) => {
        while (!givenUp.aborted && !(await isSo())) await systemClock.sleep(POLL_MS, givenUp)
      }
      try {
        // Until this one has asked for how long, however slowly it starts.
        await until(async () => {
          if ((await calls(redis)).has("pttl")) return true
          await letAnotherHaveIt()
          return false
        })
        await until(() => Object.keys(relay.unready()).length === 0)
        const { id } = await publish({ tags: ["a"], secondPass: "1ms" })
        // The pass that raises it then is the first in its namespace.
        await redis.admin.pipeline([["DEL", tagsKey("default", "blog")]])
        // A second pass is appended by the relay, once the first was delivered.
        await until(async () => {
          const record = await ask<InvalidationRecord>(`/v1/invalidations/${id}`)
          return (
            (record["passes"] as { epoch: number | null }[] | undefined)?.some(
              ({ epoch }) => epoch !== null,
            ) ?? false
          )
        })
        await ask("/v1/lanes")
        await ask("/v1/relays")
        await ask(`/v1/invalidations?before=${id}`)
        // Two dead letters: one is put back, one is dropped; and a key that is none of ours, which is set aside.
        await redis.admin.pipeline([["DEL", sentKey("default", "cdn")]])
        await redis.admin.pipeline([["SET", sentKey("default", "cdn"), "somebody's"]])
        await publish({ tags: ["bad-1", "bad-2", "good"] })
        const letters = "/v1/dead-letters/cdn"
        const listed = async () => (await ask<{ items?: { id: string }[] }>(letters)).items ?? []
        await until(async () => (await listed()).length >= 2)
        const [one, two] = await listed()
        await ask(`${letters}/${one?.id}/replay`, "POST")
        await ask(`${letters}/${two?.id}`, "DELETE")
        await until(async () => (await listed()).length === 1)
        // Tags that say nothing any more: all of a namespace, and only some.
        const old = ["1", "old", "2", "older"]
        await redis.admin.pipeline([["ZADD", tagsKey("default", "blog"), ...old]])
        await sweepTags({ store: relay.store, tenant: "default", config })
        await redis.admin.pipeline([["DEL", tagsKey("default", "blog")]])
        await redis.admin.pipeline([["ZADD", tagsKey("default", "blog"), ...old]])
        await sweepTags({ store: relay.store, tenant: "default", config })
        // One that nobody has published in yet.
        await ask("/v1/resync", "POST", { namespace: `blog/${randomUUID()}` })
        // The subscription is only asked by a PING where a probe cannot be published.
        await redis.admin.pipeline([["CLIENT", "PAUSE", "60000", "WRITE"]])
        await until(async () => (await calls(redis)).has("ping"))
      } finally {
        await redis.admin.pipeline([["CLIENT", "UNPAUSE"]])
        await relay.close()
      }
    },

    async stop() {
      await gateway.close()
      await vendor.close()
    },
  }
}

const SECRETS = { HOOK_SECRET: `whsec_${Buffer.alloc(32, 1).toString("base64")}` }

const configOf = (sha256: string, url: string): ConfigInput => ({
  tokens: [{ name: "test", sha256, scopes: ["publish:*", "read:*", "epochs:*", "operate"] }],
  namespaces: { blog: { maxTags: 2 } },
  targets: {
    cdn: {
      type: "http",
      url,
      secret: { secret: "HOOK_SECRET" },
      namespaces: ["*"],
      onUnsupported: "skip",
      rate: { perSecond: 1_000, burst: 1_000 },
    },
  },
  relay: { poll: "1s" },
})

/** The commands that Redis has run for anybody, also inside scripts, since its statistics were reset. */
async function calls(redis: GuardedRedis): Promise<Set<string>> {
  const [info] = await redis.admin.pipeline([["INFO", "commandstats"]])
  return new Set([...String(info).matchAll(/^cmdstat_([\w|-]+):calls=[1-9]/gm)].map(([, name]) => name ?? ""))
}

/** A vendor that takes everything but what is bad. */
async function startVendor(): Promise<{ url: string; close(): Promise<void> }> {
  const server: Server = createServer((request, response) => {
    void text(request).then((body) => response.writeHead(body.includes("bad-") ? 422 : 204).end())
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  const port = typeof address === "object" && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}/purge`,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  }
}
