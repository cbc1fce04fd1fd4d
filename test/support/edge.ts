import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { bundleWorker } from "../../cli/dev/bundle.ts"
import { serveWorker } from "../../cli/dev/serve-worker.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import type { RunningServer } from "../../cli/servers/process.ts"
import { workerEntry } from "../../cli/worker-entry.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { Config, ConfigInput } from "../../protocol/config/schema.ts"
import type { Store } from "../../protocol/store.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import { type GatewayRequest, startGateway } from "../../relay-node/gateway/gateway.ts"
import { connectUpstream } from "../../relay-node/redis/upstream.ts"
import { redisStore } from "../../relay-node/store.ts"

/** A real Worker in workerd, in front of a real Redis by the real gateway, whose requests are counted. */
export interface Edge {
  readonly url: string
  readonly redis: RunningServer
  /** Redis by Upstash's REST protocol. */
  readonly rest: { readonly url: string; readonly token: string }
  readonly config: Config
  /** Straight to Redis, past Worker and gateway. */
  readonly store: Store
  /** What the Worker asked of the gateway since the last `clear`. */
  readonly requests: GatewayRequest[]
  /** Tokens by name; one for each of `scopes`. */
  readonly tokens: Readonly<Record<string, string>>
  call(method: string, path: string, options?: CallOptions): Promise<Answer>
  stop(): Promise<void>
}

export interface CallOptions {
  readonly token?: string
  /** Text as it is; anything else as JSON. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body as JSON; undefined when it is none. */
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into answers of any shape
  readonly json: any
}

export interface EdgeOptions {
  readonly config: Omit<ConfigInput, "tokens">
  /** By the token's name. */
  readonly scopes: Readonly<Record<string, readonly string[]>>
  readonly secrets?: Readonly<Record<string, string>>
  readonly tenants?: Readonly<Record<string, string>>
  /** Puts something between Worker and gateway: answers the address that the Worker is to ask. Default: nothing. */
  readonly between?: (gatewayUrl: string) => Promise<string>
}

export async function startEdge({
  config: input,
  scopes,
  secrets = {},
  tenants = {},
  between = (gatewayUrl) => Promise.resolve(gatewayUrl),
}: EdgeOptions): Promise<Edge> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-edge-"))
  const redis = await startRedis({})
  const requests: GatewayRequest[] = []
  const restToken = newToken()
  const gateway = await startGateway({
    redisUrl: redis.url,
    token: restToken,
    port: 0,
    onRequest: (request) => requests.push(request),
  })
  const tokens = Object.fromEntries(Object.keys(scopes).map((name) => [name, newToken()]))
  const withTokens: ConfigInput = {
    ...input,
    tokens: await Promise.all(
      Object.entries(scopes).map(async ([name, held]) => ({
        name,
        sha256: await hashToken(tokens[name] ?? ""),
        scopes: [...held],
        ...(tenants[name] === undefined ? {} : { tenant: tenants[name] }),
      })),
    ),
  }
  const config = parseConfig(withTokens)
  const configPath = join(directory, "tidemark.config.mjs")
  await writeFile(configPath, `export default ${JSON.stringify(withTokens)}\n`)
  const worker = await serveWorker({
    script: await bundleWorker(workerEntry(config), configPath),
    bindings: {
      ...secrets,
      UPSTASH_REDIS_REST_URL: await between(gateway.url),
      UPSTASH_REDIS_REST_TOKEN: restToken,
    },
    host: "127.0.0.1",
    port: 0,
    portVariable: "-",
  })
  const silent = { info: () => {}, warn: () => {}, error: () => {} }
  const upstream = connectUpstream(redis.url, silent)
  await upstream.tried
  return {
    url: worker.url,
    redis,
    rest: { url: gateway.url, token: restToken },
    config,
    store: redisStore(upstream),
    requests,
    tokens,
    async call(method, path, { token, body, headers = {} } = {}) {
      const response = await fetch(worker.url + path, {
        method,
        redirect: "manual",
        headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: parse(text) }
    },
    async stop() {
      upstream.close()
      await worker.stop()
      await gateway.close()
      await redis.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
