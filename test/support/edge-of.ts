import { type ConfigInput } from "../../protocol/config/schema.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import { type Gateway, startGateway } from "../../relay-node/gateway/gateway.ts"
import type { UpstreamLog } from "../../relay-node/redis/types.ts"
import { createWorker } from "../../worker/index.ts"

/** The gateway of a Redis that a test has, and a Worker behind it, both in this process. */
export interface EdgeOf extends AsyncDisposable {
  readonly gateway: Gateway
  /** The names of what the gateway logged so far. */
  readonly told: readonly string[]
  publish(tag: string): Promise<{ readonly status: number; readonly json: any }>
  epochs(namespace: string): Promise<number>
}

export async function edgeOf(redisUrl: string, input: ConfigInput): Promise<EdgeOf> {
  const told: string[] = []
  const say = (_: object, message: string) => void told.push(message)
  const log: UpstreamLog = { info: say, warn: say, error: say }
  const token = newToken()
  const gateway = await startGateway({ redisUrl, token, port: 0, log })
  const publisher = { name: "press", sha256: await hashToken(token), scopes: ["publish:*", "epochs:*"] }
  const worker = createWorker({ ...input, tokens: [...(input.tokens ?? []), publisher] })
  const bindings = {
    UPSTASH_REDIS_REST_URL: gateway.url,
    UPSTASH_REDIS_REST_TOKEN: token,
    CLOUDFLARE_PURGE_TOKEN: "x",
  }
  const call = async (path: string, init: RequestInit = {}) =>
    worker.fetch(
      new Request(`http://worker.test${path}`, { ...init, headers: { authorization: `Bearer ${token}` } }),
      bindings,
    )
  return {
    gateway,
    told,
    async publish(tag) {
      const body = JSON.stringify({ namespace: "blog", tags: [tag] })
      const response = await call("/v1/invalidations", { method: "POST", body })
      return { status: response.status, json: await response.json() }
    },
    epochs: async (namespace) => (await call(`/v1/epochs?ns=${namespace}`)).status,
    [Symbol.asyncDispose]: () => gateway.close(),
  }
}
