import { type Lookup, lookupJson, parseLookupJson } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { Guard } from "./guard.ts"
import type { Slot } from "./memory.ts"

/**
 * A cache of look-ups between isolates and the store, such as the data centre's. It need not be reliable: what it
 * lost is asked again, what it cannot do is ignored. One cache holds one tenant.
 *
 * It never judges by how long it held an answer: `asOf` travels inside, and readers count from that.
 */
export interface LookupCache {
  /** The newest answer it has that holds this namespace, however old; undefined where it has none. */
  get(namespace: Namespace): Promise<Lookup | undefined>
  /** Keeps an answer for `keep`. Skipped where a newer one is seen to be there already. */
  put(namespace: Namespace, lookup: Lookup, keep: Milliseconds): Promise<void>
}

/** Such a cache, as a reader uses it. Neither method rejects: a cache that fails is a cache that has nothing. */
export interface EpochCache {
  /** What it has of a namespace; nothing where that is of another tenant. */
  find(namespace: Namespace, tenant: string | undefined): Promise<Lookup | undefined>
  /** Gives it all that is held of a namespace: a cold isolate then knows as much as this one. */
  keep(namespace: Namespace, slot: Slot, tenant: string, keep: Milliseconds): Promise<void>
}

/** Pages wait for what is found, and better ask the store than wait any longer. Ours. */
const FIND_TIMEOUT: Milliseconds = SECOND / 2

/**
 * The cache below memory, made of one that keeps look-ups. One that does not answer, within 500 ms where pages wait for
 * it and within 2 s otherwise, is let alone for 5 s.
 */
export function epochCacheOf(cache: LookupCache): EpochCache {
  const finding = new Guard(FIND_TIMEOUT)
  const keeping = new Guard()
  return {
    async find(namespace, tenant) {
      try {
        const found = await finding.run(() => cache.get(namespace))
        return found && (tenant ?? found.tenant) === found.tenant ? found : undefined
      } catch {
        return undefined
      }
    },
    async keep(namespace, { row, knownSince: after }, tenant, keep) {
      if (!row) return
      const changed = new Map([...row.tags].filter(([, epoch]) => epoch > after))
      const lookup = {
        ...row,
        tenant,
        // A copy: what is held goes on changing.
        namespaces: new Map([[namespace, { ...row, tags: new Map(row.tags) }]]),
        after,
        changed: new Map([[namespace, changed]]),
      }
      try {
        await keeping.run(() => cache.put(namespace, lookup, keep))
      } catch {
        // Asked again, then.
      }
    },
  }
}

/** As much of the Cache API as is needed. Not `Cache` itself, which only the DOM's and a Worker's types know. */
interface CacheApi {
  match(key: Request): Promise<Response | undefined>
  put(key: Request, response: Response): Promise<void>
}

/**
 * Look-ups kept in the Cache API, shared by the isolates of one data centre.
 *
 * `baseUrl` is only a name, and needs no server: choose a host that no visitor can ask for, such as
 * `https://epochs.tidemark.invalid/shop/`, and another path for each tenant. What is kept are epochs, names of
 * namespaces and tags: nothing of the pages.
 */
export const cacheApiL2 = (cache: CacheApi, baseUrl: string): EpochCache =>
  epochCacheOf(cacheApiLookups(cache, baseUrl))

export function cacheApiLookups(cache: CacheApi, baseUrl: string): LookupCache {
  const base = baseUrl.replace(/\/*$/, "/")
  const keyOf = (namespace: Namespace) => new Request(new URL(`v1/${encodeURIComponent(namespace)}`, base))
  const get = async (namespace: Namespace): Promise<Lookup | undefined> => {
    const kept = await cache.match(keyOf(namespace))
    return kept && parseLookupJson(await kept.json())
  }
  return {
    get,
    async put(namespace, lookup, keep) {
      // Not atomic; a put that loses the race costs a look-up, since readers hold answers against their own mark.
      const present = await get(namespace).catch(() => undefined)
      if (present && present.generation === lookup.generation && present.asOf >= lookup.asOf) return
      const headers = { "cache-control": `max-age=${Math.ceil(keep / SECOND)}` }
      await cache.put(keyOf(namespace), Response.json(lookupJson(lookup), { headers }))
    },
  }
}
