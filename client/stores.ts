import type { Epoch } from "../protocol/epoch.ts"
import {
  type Lookup,
  lookupCommands,
  type LookupRequest,
  parseLookupJson,
  readLookup,
} from "../protocol/lookup.ts"
import { edgeConfigKey, kvKey } from "../protocol/mirror-keys.ts"
import type { Command, Reply } from "../protocol/store.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { inParts } from "./in-parts.ts"
import type { EpochStore } from "./epoch-store.ts"
import { addressOf, reached } from "./store.ts"
import { TidemarkError } from "./trouble.ts"
import { withoutSecrets } from "./words.ts"

/** Stores of epochs beside the Worker's own route. All of them are only read. */

export interface TenantOptions {
  /** Whose epochs. Default `"default"`. */
  readonly tenant?: string
}

export interface UpstashStoreOptions extends TenantOptions {
  /** `UPSTASH_REDIS_REST_URL`. */
  readonly url: string | undefined
  /** A *read-only* token: it needs `MGET`, `ZMSCORE` and `ZRANGEBYSCORE`, and sees all of the database. */
  readonly token: string | undefined
  /** Default: the global `fetch`. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>
  /** After this many milliseconds the store counts as away. Default 2,000; 0 is refused. */
  readonly timeout?: Milliseconds
  /** Default `Date.now`. */
  readonly now?: () => Milliseconds
}

/**
 * Looks epochs up in Redis itself by Upstash's REST protocol, in one pipeline: no Worker in between, and no scopes
 * either. Which namespaces are declared it does not know: one that was never published to is fresh for ever.
 *
 * @see https://upstash.com/docs/redis/features/restapi
 * @throws {RangeError} when `timeout` is not a positive number
 */
export function upstashStore({
  url,
  token,
  tenant = "default",
  fetch: send = (address, init) => fetch(address, init),
  timeout = 2 * SECOND,
  now = Date.now,
}: UpstashStoreOptions): EpochStore {
  if (!(timeout > 0)) throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
  return pipelineStore(
    async (commands) => {
      const address = addressOf("upstashStore", url, token)
      return reached(new URL(address).origin, timeout, async () => {
        const response = await send(`${address}/pipeline`, {
          method: "POST",
          headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
          body: JSON.stringify(commands),
          redirect: "manual",
          signal: AbortSignal.timeout(timeout),
        })
        const answer: unknown =
          response.status === 200 ? await response.json() : await response.body?.cancel()
        if (!Array.isArray(answer) || answer.length !== commands.length)
          throw new TidemarkError(
            response.status === 401 ? "unauthorized" : "unreachable",
            `Upstash answered with status ${response.status}`,
          )
        return answer.map((each: { readonly result?: Reply; readonly error?: string }) => {
          if (each.result !== undefined) return each.result
          throw new TidemarkError(
            "unreachable",
            `Upstash refused a command of the look-up: ${withoutSecrets(String(each.error))}`,
          )
        })
      })
    },
    tenant,
    now,
  )
}

/** Looks epochs up in Redis by a pipeline that somebody else sends. */
export const pipelineStore = (
  pipeline: (commands: readonly Command[]) => Promise<readonly Reply[]>,
  tenant: string,
  now: () => Milliseconds,
): EpochStore => ({
  lookup: inParts(async (request, after) => {
    // Before it is asked: an answer may be older than this says, never younger.
    const asOf = now()
    return readLookup(tenant, request, await pipeline(lookupCommands(tenant, request, after)), asOf, after)
  }),
})

/** As much of a Workers KV binding as is needed. */
interface KvBinding {
  get(key: string, type: "json"): Promise<unknown>
}

/**
 * Reads the mirror that a `cloudflare-kv` target writes. It is as old as the last write and KV's own delay (up to 60 s
 * and more, https://developers.cloudflare.com/kv/concepts/how-kv-works/): set `maxStale` above that and the target's
 * `heartbeat`. It tells no tags: an entry is stale after any invalidation in its namespace.
 */
export const kvStore = (kv: KvBinding, { tenant = "default" }: TenantOptions = {}): EpochStore =>
  mirrorStore(() => kv.get(kvKey(tenant), "json"))

/** As much of `@vercel/edge-config`'s client as is needed. */
interface EdgeConfigClient {
  get(key: string): Promise<unknown>
}

/**
 * Reads the mirror that an `edge-config` target writes, as `kvStore` does: `edgeConfigStore(createClient(process.env.EDGE_CONFIG))`.
 *
 * @see https://vercel.com/docs/edge-config/edge-config-sdk
 */
export const edgeConfigStore = (
  client: EdgeConfigClient,
  { tenant = "default" }: TenantOptions = {},
): EpochStore => mirrorStore(() => client.get(edgeConfigKey(tenant)))

const mirrorStore = (read: () => Promise<unknown>): EpochStore => ({
  isMirror: true,
  async lookup(request) {
    const told = parseLookupJson(await read())
    if (!told) throw new Error("the mirror holds no epochs: is its target configured, and its relay running?")
    return narrowed(told, request)
  },
})

/**
 * What was asked of all that a mirror holds. Of a namespace that it does not hold, as it does not those that are only
 * declared by one above them, nothing is known but how far the log has come: whatever was invalidated counts.
 */
function narrowed({ tenant, generation, last, asOf, ...told }: Lookup, request: LookupRequest): Lookup {
  const namespaces = Array.from(request.keys(), (namespace) => {
    const row = told.namespaces.get(namespace)
    const wide = { epoch: last, watermark: last, hard: last, floor: last, tags: new Map<string, Epoch>() }
    return [namespace, row ?? wide] as const
  })
  return { tenant, generation, last, asOf, namespaces: new Map(namespaces) }
}
